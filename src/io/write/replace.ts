// How changed bytes reach the disk: wheelfix writes a copy beside the file, then renames it once. A process that has the
// old file open or mapped keeps it. A run that is killed in between leaves a temporary file, and the old file complete.
import {
  closeSync,
  constants,
  fchmodSync,
  fchownSync,
  fstatSync,
  futimesSync,
  lstatSync,
  openSync,
  renameSync,
  rmSync,
  type Stats,
  symlinkSync,
} from 'node:fs'
import { crypto } from '../crypto.ts'
import type { FileEdit } from '../../elf/edit/file-edit.ts'
import { encodeText } from '../../elf/text.ts'
import { changedMeanwhile, errnoOf, WheelfixError } from '../error.ts'
import { fsPath } from '../path.ts'
import { type FileStatus, sourceOf } from '../source.ts'
import { writeEdited, writeFully } from './content.ts'
import { type OpenFolders, within, withFolders } from './folder.ts'
import { ordersReplacement, syncFile } from './sync.ts'

const SUFFIX = '.wheelfix-tmp'
/** NAME_MAX of Linux's file systems, in bytes. */
const LONGEST_NAME = 255

/**
 * Is this the name of a temporary file of wheelfix? If no other run works on the venv, a killed run has left such a file.
 */
export function isTemporary(name: string): boolean {
  return name.startsWith('.') && name.endsWith(SUFFIX)
}

/** Length in bytes of the random part of a name: 12 digits. */
const RANDOM = 6

/**
 * Where a file's next content is written before the rename: in the same folder, under a name that `isTemporary`
 * recognises. The name is new each time, so other users who may write to the folder cannot put a file or a link under
 * it beforehand.
 */
export function temporaryOf(path: string): string {
  const slash = path.lastIndexOf('/')
  const name = path.slice(slash + 1)
  const random = `.${crypto().randomBytes(RANDOM).toString('hex')}${SUFFIX}`
  const isLong = encodeText(name).length + 1 + random.length > LONGEST_NAME
  return `${path.slice(0, slash + 1)}.${isLong ? digestOfName(name) : name}${random}`
}

/** Makes a new file that nobody else can read or write yet, and returns its descriptor. The file must not exist. */
export function createFile(path: string): number {
  const { O_RDWR, O_CREAT, O_EXCL, O_NOFOLLOW } = constants
  return openSync(fsPath(path), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600)
}

function digestOfName(name: string): string {
  return crypto().createHash('sha256').update(encodeText(name)).digest('hex').slice(0, 32)
}

/** The complete next content of a file, beside it, waiting for the rename. */
export interface Staged {
  readonly path: string
  readonly temporary: string
  /** The open folder of both, which must stay open until the rename; null without /proc. */
  readonly folder: number | null
  /** True if the bytes must be on the disk before the rename. Without this a power loss could leave an empty file. */
  readonly mustSync: boolean
}

/**
 * Writes a file's new bytes beside it, with the file's mode, owner and times. A file with more than one link gets its own
 * inode: the other names (in a package manager's cache) keep the old bytes.
 * @param folders must stay open until the staged file is renamed or discarded
 * @param expected the file that the edit was made for
 * @throws WheelfixError `BUSY` if the path is now another file, or the file changed meanwhile; the errors of open(2) and
 * write(2), among them ELOOP for a link. No temporary file is left after an error
 */
export function stageFile(
  folders: OpenFolders,
  path: string,
  edit: FileEdit,
  expected: FileStatus | null = null,
  { see = () => {}, ctimeMs = null }: Watch = {},
): Staged {
  const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = constants
  const source = sourceOf(openSync(fsPath(folders.at(path)), O_RDONLY | O_NOFOLLOW | O_NONBLOCK))
  try {
    if (expected !== null && source.status.ino !== expected.ino) {
      throw new WheelfixError('BUSY', 'another program replaced it during this run: run wheelfix again', path)
    }
    return stage(folders, path, fstatSync(source.fd), fd => {
      writeEdited(fd, source, edit, see)
      if (ctimeMs !== null && fstatSync(source.fd).ctimeMs !== ctimeMs) {
        throw changedMeanwhile(path)
      }
    })
  } finally {
    source.close()
  }
}

/** How a caller makes sure of the bytes that are copied. */
export interface Watch {
  /** Gets all bytes of the new content in order; gets nothing where the file system copies by reference. */
  readonly see?: (bytes: Uint8Array) => void
  /** The file must have this ctime, in milliseconds, once its bytes are copied. null: any. */
  readonly ctimeMs?: number | null
}

/**
 * Writes a file's new content beside it, with the mode, owner and times of the existing file, if there is one.
 * @param folders must stay open until the staged file is renamed or discarded
 * @param mode the mode to have instead; null: the mode of the existing file
 */
export function stageContent(
  folders: OpenFolders,
  path: string,
  content: string | Uint8Array,
  mode: number | null = null,
): Staged {
  const bytes = typeof content === 'string' ? Buffer.from(content) : content
  const status = lstatSync(fsPath(folders.at(path)), { throwIfNoEntry: false }) ?? null
  return stage(folders, path, status, fd => writeFully(fd, bytes, 0), mode)
}

/** The mode of a new file, before the umask. */
const NEW_FILE = 0o666

function stage(
  folders: OpenFolders,
  path: string,
  status: Stats | null,
  write: (fd: number) => void,
  mode: number | null = null,
): Staged {
  const temporary = temporaryOf(path)
  const folder = folders.holding(path)
  const fd = createFile(within(folder, temporary))
  try {
    write(fd)
    if (status !== null) keepStatus(fd, status)
    // a link has the mode 777, which says nothing about a file
    if (status?.isFile() !== true) fchmodSync(fd, NEW_FILE & ~process.umask())
    if (mode !== null) fchmodSync(fd, mode)
  } catch (error) {
    rmSync(fsPath(within(folder, temporary)), { force: true })
    throw error
  } finally {
    closeSync(fd)
  }
  return { path, temporary, folder, mustSync: status === null || !ordersReplacement(path) }
}

/**
 * Syncs a staged file to the disk, where that is needed.
 * @throws the errors of fdatasync(2); no staged file is left then
 */
export function syncStaged(staged: Staged): void {
  if (staged.mustSync) orDiscard(staged, () => syncFile(within(staged.folder, staged.temporary)))
}

/**
 * Renames a staged file, which must be synced, to its final name.
 * @throws the errors of rename(2); the file is unchanged then
 */
export function renameStaged(staged: Staged): void {
  const { folder, temporary, path } = staged
  orDiscard(staged, () => renameSync(fsPath(within(folder, temporary)), fsPath(within(folder, path))))
}

/** Removes a staged file. */
export function discardStaged({ folder, temporary }: Staged): void {
  rmSync(fsPath(within(folder, temporary)), { force: true })
}

function orDiscard(staged: Staged, action: () => void): void {
  try {
    action()
  } catch (error) {
    discardStaged(staged)
    throw error
  }
}

/**
 * Gives a file new bytes by a rename.
 * @throws the errors of `stageFile`, fdatasync(2) and rename(2); the file is unchanged then
 */
export function replaceFile(path: string, edit: FileEdit): void {
  withFolders(folders => commit(stageFile(folders, path, edit)))
}

/** Gives a new or existing file its content by a rename. @throws the errors of `replaceFile` */
export function replaceContent(path: string, content: string | Uint8Array): void {
  withFolders(folders => commit(stageContent(folders, path, content)))
}

/** Like `replaceContent`, but the file may be empty after a power loss. Its readers can do without it. */
export function replaceExpendable(path: string, content: string | Uint8Array): void {
  withFolders(folders => renameStaged(stageContent(folders, path, content)))
}

/**
 * Puts a symbolic link at a path by a rename, and replaces what is there.
 * @throws the errors of symlink(2) and rename(2)
 */
export function replaceLink(path: string, target: string): void {
  withFolders(({ at }) => {
    const temporary = fsPath(at(temporaryOf(path)))
    symlinkSync(fsPath(target), temporary)
    try {
      renameSync(temporary, fsPath(at(path)))
    } catch (error) {
      rmSync(temporary, { force: true })
      throw error
    }
  })
}

/**
 * Replaces a link to a file by a copy of that file, with its mode, owner and times.
 * @throws the errors of open(2), write(2) and rename(2); the link is unchanged then
 */
export function replaceLinkByCopy(path: string): void {
  withFolders(folders => {
    const source = sourceOf(openSync(fsPath(folders.at(path)), constants.O_RDONLY | constants.O_NONBLOCK))
    try {
      const unchanged = { baseSize: source.size, tail: [], patches: [], header: new Uint8Array() }
      commit(stage(folders, path, fstatSync(source.fd), fd => writeEdited(fd, source, unchanged)))
    } finally {
      source.close()
    }
  })
}

function commit(staged: Staged): void {
  syncStaged(staged)
  renameStaged(staged)
}

/** The bits that let a program run as its owner or group. */
export const SET_ID = 0o6000

/** Sets mode, owner and times. The mode comes last, because a change of the owner clears the set-user-ID bit. */
function keepStatus(fd: number, { uid, gid, mode, atimeMs, mtimeMs }: Stats): void {
  let isOwners = true
  try {
    if (uid !== process.getuid?.() || gid !== process.getgid?.()) fchownSync(fd, uid, gid)
  } catch (error) {
    // only root may change an owner, but another user with write access to the folder may replace the file
    if (errnoOf(error) !== 'EPERM') throw error
    isOwners = false
  }
  fchmodSync(fd, mode & 0o7777 & ~(isOwners ? 0 : SET_ID))
  keepTimes(fd, { atimeMs, mtimeMs })
}

/**
 * Sets the times of an open file. Node sets times in microseconds and cuts off the rest. So half a microsecond is added:
 * the time then stays the same through any number of changes.
 */
export function keepTimes(fd: number, { atimeMs, mtimeMs }: Pick<Stats, 'atimeMs' | 'mtimeMs'>): void {
  const seconds = (milliseconds: number): number => (Math.round(milliseconds * 1000) + 0.5) / 1e6
  futimesSync(fd, seconds(atimeMs), seconds(mtimeMs))
}

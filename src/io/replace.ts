// How changed bytes reach the disk: wheelfix writes a copy beside the file, then renames it once. A process that has the
// old file open or mapped keeps it. A run that is killed in between leaves a temporary file, and the old file complete.
import {
  closeSync,
  constants,
  copyFileSync,
  existsSync,
  fchmodSync,
  fchownSync,
  fstatSync,
  ftruncateSync,
  futimesSync,
  lstatSync,
  openSync,
  readSync,
  renameSync,
  rmSync,
  type Stats,
  symlinkSync,
  writeSync,
} from 'node:fs'
import { crypto } from './crypto.ts'
import { ElfError } from '../elf/error.ts'
import type { FileEdit, FilePiece } from '../elf/edit/file-edit.ts'
import { graftedSource } from '../elf/graft/graft.ts'
import { encodeText } from '../elf/text.ts'
import { errnoOf, WheelfixError } from './error.ts'
import { directoryOf, entriesIn, fileNameOf, fsPath } from './path.ts'
import { type FileSource, type FileStatus, sourceOf } from './source.ts'
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
  /**
   * The open folder of both. Everything happens in it, even if another user puts a link in place of the folder. null where
   * the folder cannot be read, or /proc is missing.
   */
  readonly folder: number | null
  /** True if the bytes must be on the disk before the rename. Without this a power loss could leave an empty file. */
  readonly mustSync: boolean
}

/**
 * Writes a file's new bytes beside it, with the file's mode, owner and times. A file with more than one link gets its own
 * inode: the other names (in a package manager's cache) keep the old bytes.
 * @param expected the file that the edit was made for
 * @throws WheelfixError `BUSY` if the path is now another file, or the file changed meanwhile; the errors of open(2) and
 * write(2), among them ELOOP for a link. No temporary file is left after an error
 */
export function stageFile(
  path: string,
  edit: FileEdit,
  expected: FileStatus | null = null,
  { see = () => {}, ctimeMs = null }: Watch = {},
): Staged {
  return inOpenFolder(path, folder => {
    const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = constants
    const source = sourceOf(openSync(fsPath(within(folder, path)), O_RDONLY | O_NOFOLLOW | O_NONBLOCK))
    try {
      // the right file is in this folder, so this is the right folder
      if (expected !== null && source.status.ino !== expected.ino) {
        throw new WheelfixError('BUSY', 'another program replaced it during this run: run wheelfix again', path)
      }
      return stage(path, folder, fstatSync(source.fd), fd => {
        writeEdited(fd, source, edit, see)
        if (ctimeMs !== null && fstatSync(source.fd).ctimeMs !== ctimeMs) {
          throw new WheelfixError('BUSY', 'another program changed it during this run: run wheelfix again', path)
        }
      })
    } finally {
      source.close()
    }
  })
}

/** Opens the folder of a file for `stage`. After an error it is closed. */
function inOpenFolder(path: string, use: (folder: number | null) => Staged): Staged {
  const folder = openFolder(directoryOf(path))
  try {
    return use(folder)
  } catch (error) {
    closeFolder(folder)
    throw error
  }
}

function openFolder(path: string): number | null {
  if (!existsSync('/proc/self/fd')) return null
  try {
    return openSync(fsPath(path), constants.O_RDONLY | constants.O_DIRECTORY)
  } catch (error) {
    if (errnoOf(error) === 'EACCES') return null
    throw error
  }
}

function closeFolder(folder: number | null): void {
  if (folder !== null) closeSync(folder)
}

/** The path of a file by way of its open folder, as openat(2) would find it. */
function within(folder: number | null, path: string): string {
  return folder === null ? path : `/proc/self/fd/${folder}/${fileNameOf(path)}`
}

/** How a caller makes sure of the bytes that are copied. */
export interface Watch {
  /** Gets all bytes of the new content in order; gets nothing where the file system copies by reference. */
  readonly see?: (bytes: Uint8Array) => void
  /** The file must have this ctime, in milliseconds, once its bytes are copied. null: any. */
  readonly ctimeMs?: number | null
}

/**
 * Writes the edited content of an open file into a new, empty file. It copies by reference where the file system can.
 * Otherwise it writes each byte once, in order, and keeps the holes of a sparse file. ext4 sends only new blocks to the
 * disk before a rename. A header that is written over the copy of an old one could arrive half a minute later.
 */
export function writeEdited(
  to: number,
  source: FileSource,
  edit: FileEdit,
  see: (bytes: Uint8Array) => void = () => {},
): void {
  if (cloned(to, source)) writeEdit(to, edit)
  else {
    const { blocks, size } = fstatSync(source.fd)
    writeOnce(to, editedChunks(source, edit), blocks * 512 < size ? 0 : edit.baseSize, see)
  }
}

/** Writes an edit into a clone: an open file that nobody else uses. */
function writeEdit(fd: number, { baseSize, tail, patches, header }: FileEdit): void {
  ftruncateSync(fd, baseSize)
  for (const { offset, bytes } of patches) writeFully(fd, bytes, offset)
  writePieces(fd, tail, baseSize)
  writeFully(fd, header, 0)
}

/**
 * Writes a file's new content beside it, with the mode, owner and times of the existing file, if there is one.
 * @param mode the mode to have instead; null: the mode of the existing file
 */
export function stageContent(path: string, content: string | Uint8Array, mode: number | null = null): Staged {
  const bytes = typeof content === 'string' ? Buffer.from(content) : content
  return inOpenFolder(path, folder => {
    const status = lstatSync(fsPath(within(folder, path)), { throwIfNoEntry: false }) ?? null
    return stage(path, folder, status, fd => writeFully(fd, bytes, 0), mode)
  })
}

/** The mode of a new file, before the umask. */
const NEW_FILE = 0o666

function stage(
  path: string,
  folder: number | null,
  status: Stats | null,
  write: (fd: number) => void,
  mode: number | null = null,
): Staged {
  const temporary = temporaryOf(path)
  const fd = createFile(within(folder, temporary))
  try {
    write(fd)
    if (status === null) fchmodSync(fd, NEW_FILE & ~process.umask())
    else keepStatus(fd, status)
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
  closeFolder(folder)
}

/** Removes a staged file. */
export function discardStaged({ folder, temporary }: Staged): void {
  rmSync(fsPath(within(folder, temporary)), { force: true })
  closeFolder(folder)
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
  commit(stageFile(path, edit))
}

/** Gives a new or existing file its content by a rename. @throws the errors of `replaceFile` */
export function replaceContent(path: string, content: string | Uint8Array): void {
  commit(stageContent(path, content))
}

/** Like `replaceContent`, but the file may be empty after a power loss. Its readers can do without it. */
export function replaceExpendable(path: string, content: string | Uint8Array): void {
  renameStaged(stageContent(path, content))
}

/**
 * Puts a symbolic link at a path by a rename, and replaces what is there.
 * @throws the errors of symlink(2) and rename(2)
 */
export function replaceLink(path: string, target: string): void {
  const temporary = temporaryOf(path)
  symlinkSync(fsPath(target), fsPath(temporary))
  try {
    renameSync(fsPath(temporary), fsPath(path))
  } catch (error) {
    rmSync(fsPath(temporary), { force: true })
    throw error
  }
}

/**
 * Replaces a link to a file by a copy of that file, with its mode, owner and times.
 * @throws the errors of open(2), write(2) and rename(2); the link is unchanged then
 */
export function replaceLinkByCopy(path: string): void {
  const source = sourceOf(openSync(fsPath(path), constants.O_RDONLY | constants.O_NONBLOCK))
  try {
    const unchanged = { baseSize: source.size, tail: [], patches: [], header: new Uint8Array() }
    commit(
      inOpenFolder(path, folder => stage(path, folder, fstatSync(source.fd), fd => writeEdited(fd, source, unchanged))),
    )
  } finally {
    source.close()
  }
}

function commit(staged: Staged): void {
  syncStaged(staged)
  renameStaged(staged)
}

/** The devices of file systems without clones. */
const cannotClone = new Set<bigint>()

/**
 * Makes a file share the bytes of another one. Both are given by their descriptors, so that nobody can replace one of them
 * meanwhile.
 * @returns false where the file system cannot do it, or /proc is missing
 */
function cloned(to: number, { fd, status: { dev } }: FileSource): boolean {
  if (cannotClone.has(dev)) return false
  try {
    copyFileSync(`/proc/self/fd/${fd}`, `/proc/self/fd/${to}`, constants.COPYFILE_FICLONE_FORCE)
    return true
  } catch (error) {
    const errno = errnoOf(error)
    if (errno === undefined) throw error
    if (errno === 'ENOTSUP') cannotClone.add(dev)
    // if the disk is full, the write of the bytes will fail again
    ftruncateSync(to, 0)
    return false
  }
}

/** The unit in which holes are kept: the block size of most file systems. */
const BLOCK = 4096

/** The size of a read in bytes, small enough for the cache of a processor core. */
const CHUNK = 1 << 18

/** One buffer for all copies. New buffers would keep the garbage collector busy. */
let copied: Uint8Array | null = null

/** The content of an edited file in order. The bytes of a chunk are valid until the next one. */
function* editedChunks(source: FileSource, edit: FileEdit): Generator<Uint8Array> {
  const whole = graftedSource(source, edit)
  const changed = [...edit.patches, { offset: 0, bytes: edit.header }]
  const memory = (copied ??= new Uint8Array(CHUNK))
  for (let offset = 0; offset < whole.size; offset += CHUNK) {
    const end = Math.min(offset + CHUNK, whole.size)
    if (end > edit.baseSize) {
      yield whole.read(offset, end - offset)
      continue
    }
    const chunk = memory.subarray(0, end - offset)
    readFully(source.fd, chunk, chunk.length, offset)
    for (const { offset: at, bytes } of changed) {
      if (at >= end || at + bytes.length <= offset) continue
      const from = Math.max(at, offset)
      chunk.set(bytes.subarray(from - at, end - at), from - offset)
    }
    yield chunk
  }
}

function readFully(fd: number, bytes: Uint8Array, length: number, offset: number): void {
  for (let done = 0; done < length;) {
    const count = readSync(fd, bytes, done, length - done, offset + done)
    if (count === 0)
      throw new ElfError('TRUNCATED', `the file ended at ${offset + done} while being copied: run wheelfix again`)
    done += count
  }
}

/**
 * Writes the chunks of a file, each byte once, from the first to the last. From `sparseFrom` on, blocks of zeros become
 * holes. (Node does not have lseek(2)'s SEEK_HOLE.)
 */
function writeOnce(
  to: number,
  chunks: Iterable<Uint8Array>,
  sparseFrom: number,
  see: (bytes: Uint8Array) => void,
): void {
  const zeros = Buffer.alloc(BLOCK)
  let offset = 0
  let written = 0
  for (const chunk of chunks) {
    see(chunk)
    // consecutive blocks are written together
    let start = 0
    for (let at = firstBlock(sparseFrom - offset); at < chunk.length; at += BLOCK) {
      const block = chunk.subarray(at, at + BLOCK)
      if (!zeros.subarray(0, block.length).equals(block)) continue
      if (start < at) writeFully(to, chunk.subarray(start, at), offset + start)
      start = at + block.length
    }
    if (start < chunk.length) {
      writeFully(to, chunk.subarray(start), offset + start)
      written = offset + chunk.length
    }
    offset += chunk.length
  }
  // the file ends with a hole
  if (written < offset) ftruncateSync(to, offset)
}

/** The first block boundary at or after an offset. */
function firstBlock(offset: number): number {
  return Math.max(0, Math.ceil(offset / BLOCK) * BLOCK)
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

/** Writes pieces to an open file, from `offset` on. Ranges are copied within the file. */
export function writePieces(fd: number, pieces: readonly FilePiece[], offset: number): void {
  let at = offset
  for (const piece of pieces) {
    if (piece instanceof Uint8Array) writeFully(fd, piece, at)
    else if ('copyFrom' in piece) copyWithin(fd, piece.copyFrom, piece.length, at)
    at += piece.length
  }
}

function copyWithin(fd: number, from: number, length: number, to: number): void {
  const chunk = new Uint8Array(Math.min(CHUNK, length))
  for (let done = 0; done < length; done += chunk.length) {
    const count = Math.min(chunk.length, length - done)
    readFully(fd, chunk, count, from + done)
    writeFully(fd, chunk.subarray(0, count), to + done)
  }
}

/** Writes all the bytes at a file offset. */
export function writeFully(fd: number, bytes: Uint8Array, offset: number): void {
  for (let done = 0; done < bytes.length;) done += writeSync(fd, bytes, done, bytes.length - done, offset + done)
}

/** The temporary files below a folder, `depth` levels of folders deep. No link is followed. */
export function temporaryFiles(folder: string, depth: number): string[] {
  if (depth === 0) return []
  return entriesIn(folder).flatMap(({ name, kind }) => {
    const path = `${folder}/${name}`
    if (kind === 'directory') return temporaryFiles(path, depth - 1)
    return isTemporary(name) ? [path] : []
  })
}

/** Removes these files. The caller makes sure that no other run works there. @throws the errors of unlink(2) */
export function removeTemporaries(folder: string, depth: number): void {
  for (const path of temporaryFiles(folder, depth)) rmSync(fsPath(path), { force: true })
}

/** Without a lock, only the age of a temporary file shows that its run is gone: a run writes one file in seconds. */
const OLD_MS = 3_600_000

/** Removes the old temporary files of one file, at a place where another run may be writing now. */
export function removeOldTemporaries(path: string): void {
  const folder = directoryOf(path)
  for (const { name } of entriesIn(folder)) {
    if (!isTemporary(name) || !name.startsWith(`.${fileNameOf(path)}.`)) continue
    const old = `${folder}/${name}`
    const status = lstatSync(fsPath(old), { throwIfNoEntry: false })
    if (status !== undefined && Date.now() - status.mtimeMs > OLD_MS) rmSync(fsPath(old), { force: true })
  }
}

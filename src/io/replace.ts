// How changed bytes reach the disk: into a copy beside the file, then one rename. Who has the old file open or mapped
// keeps it; who is killed in between leaves a temporary file and the old one whole.
import { createHash } from 'node:crypto'
import {
  chmodSync,
  chownSync,
  closeSync,
  constants,
  copyFileSync,
  ftruncateSync,
  lstatSync,
  openSync,
  readSync,
  renameSync,
  rmSync,
  type Stats,
  symlinkSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { ElfError } from '../elf/error.ts'
import type { FileEdit, FilePiece } from '../elf/file-edit.ts'
import { encodeText } from '../elf/text.ts'
import { errnoOf } from './error.ts'
import { fsPath } from './path.ts'
import { ordersReplacement, syncFile } from './sync.ts'

const SUFFIX = '.wheelfix-tmp'
/** NAME_MAX of Linux's file systems, in bytes. */
const LONGEST_NAME = 255

/** Is this the name of a temporary file of ours? Found while nobody else works on the venv, it is a killed run's. */
export function isTemporary(name: string): boolean {
  return name.startsWith('.') && name.endsWith(SUFFIX)
}

/** Where a file's next content is written before the rename: in the same folder, under a name that `isTemporary` knows. */
export function temporaryOf(path: string): string {
  const slash = path.lastIndexOf('/')
  const name = path.slice(slash + 1)
  const isLong = encodeText(name).length + 1 + SUFFIX.length > LONGEST_NAME
  return `${path.slice(0, slash + 1)}.${isLong ? digestOfName(name) : name}${SUFFIX}`
}

function digestOfName(name: string): string {
  return createHash('sha256').update(encodeText(name)).digest('hex').slice(0, 32)
}

/** A next content, whole beside its file, that waits for the rename. */
export interface Staged {
  readonly path: string
  readonly temporary: string
  /** Its bytes must be on the disk before the rename, or a power loss leaves an empty file. */
  readonly mustSync: boolean
}

/**
 * Writes a file's new bytes beside it; mode, owner and times are the file's. A file with more than one link gets an inode of
 * its own: the others (a package manager's cache) keep the old bytes. (Node cannot copy extended attributes.)
 * @throws the errors of open(2) and write(2); nothing is left then
 */
export function stageFile(path: string, edit: FileEdit): Staged {
  const status = lstatSync(fsPath(path))
  return stage(path, status, temporary => {
    copyFile(path, temporary, status)
    chmodSync(fsPath(temporary), 0o600)
    const fd = openSync(fsPath(temporary), 'r+')
    try {
      writeEdit(fd, edit)
    } finally {
      closeSync(fd)
    }
  })
}

/** Writes an edit into an open file that nobody else uses: a copy. */
export function writeEdit(fd: number, { baseSize, tail, patches, header }: FileEdit): void {
  ftruncateSync(fd, baseSize)
  for (const { offset, bytes } of patches) writeFully(fd, bytes, offset)
  writePieces(fd, tail, baseSize)
  writeFully(fd, header, 0)
}

/** Writes a file's new content beside it; mode, owner and times are the file's, where there is one. */
export function stageContent(path: string, content: string | Uint8Array): Staged {
  const status = lstatSync(fsPath(path), { throwIfNoEntry: false }) ?? null
  return stage(path, status, temporary => writeFileSync(fsPath(temporary), content, { flag: 'wx' }))
}

function stage(path: string, status: Stats | null, make: (temporary: string) => void): Staged {
  const temporary = temporaryOf(path)
  rmSync(fsPath(temporary), { force: true })
  try {
    make(temporary)
    if (status !== null) keepStatus(temporary, status)
  } catch (error) {
    rmSync(fsPath(temporary), { force: true })
    throw error
  }
  return { path, temporary, mustSync: status === null || !ordersReplacement(path) }
}

/** Puts what is staged on the disk, where that is asked for. @throws the errors of fdatasync(2); nothing is left then */
export function syncStaged(staged: Staged): void {
  if (staged.mustSync) orDiscard(staged, () => syncFile(staged.temporary))
}

/** Gives what is staged its name. It is synced before. @throws the errors of rename(2); the file is as it was then */
export function renameStaged(staged: Staged): void {
  orDiscard(staged, () => renameSync(fsPath(staged.temporary), fsPath(staged.path)))
}

function orDiscard({ temporary }: Staged, action: () => void): void {
  try {
    action()
  } catch (error) {
    rmSync(fsPath(temporary), { force: true })
    throw error
  }
}

/** Gives a file new bytes by a rename. @throws the errors of `stageFile`, fdatasync(2) and rename(2); it is as it was then */
export function replaceFile(path: string, edit: FileEdit): void {
  commit(stageFile(path, edit))
}

/** Gives a file, or a new one, a content by a rename. @throws as `replaceFile` */
export function replaceContent(path: string, content: string | Uint8Array): void {
  commit(stageContent(path, content))
}

/** The same for a file that may be empty after a power loss: who reads it then does without. */
export function replaceExpendable(path: string, content: string | Uint8Array): void {
  renameStaged(stageContent(path, content))
}

/** Puts a symbolic link in the place of what is there, by a rename. @throws the errors of symlink(2) and rename(2) */
export function replaceLink(path: string, target: string): void {
  const temporary = temporaryOf(path)
  rmSync(fsPath(temporary), { force: true })
  symlinkSync(fsPath(target), fsPath(temporary))
  renameSync(fsPath(temporary), fsPath(path))
}

function commit(staged: Staged): void {
  syncStaged(staged)
  renameStaged(staged)
}

/** Copies a file: by reference where the file system can, and without filling the holes of a sparse one. */
function copyFile(path: string, copy: string, { size, blocks }: Stats): void {
  if (blocks * 512 >= size) {
    copyFileSync(fsPath(path), fsPath(copy), constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE)
    return
  }
  try {
    copyFileSync(fsPath(path), fsPath(copy), constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE_FORCE)
  } catch (error) {
    if (errnoOf(error) === undefined) throw error
    rmSync(fsPath(copy), { force: true })
    copySparse(path, copy, size)
  }
}

/** The unit in which a hole is kept: the block of most file systems. */
const BLOCK = 4096

/** lseek(2)'s SEEK_HOLE is not in Node: a block of zeros is taken for a hole. */
function copySparse(path: string, copy: string, size: number): void {
  const from = openSync(fsPath(path), 'r')
  const to = openSync(fsPath(copy), 'wx')
  const chunk = Buffer.alloc(CHUNK)
  const zeros = Buffer.alloc(BLOCK)
  try {
    ftruncateSync(to, size)
    for (let offset = 0; offset < size;) {
      const count = readSync(from, chunk, 0, chunk.length, offset)
      if (count === 0) throw new ElfError('TRUNCATED', `the file ended at ${offset} while being copied: run again`)
      for (let at = 0; at < count; at += BLOCK) {
        const block = chunk.subarray(at, Math.min(at + BLOCK, count))
        if (!block.equals(zeros.subarray(0, block.length))) writeFully(to, block, offset + at)
      }
      offset += count
    }
  } finally {
    closeSync(from)
    closeSync(to)
  }
}

function keepStatus(path: string, { uid, gid, mode, atimeMs, mtimeMs }: Stats): void {
  try {
    if (uid !== process.getuid?.() || gid !== process.getgid?.()) chownSync(fsPath(path), uid, gid)
  } catch (error) {
    // only root may give a file away; who may write into the folder may still replace it
    if (errnoOf(error) !== 'EPERM') throw error
  }
  chmodSync(fsPath(path), mode & 0o7777)
  utimesSync(fsPath(path), atimeMs / 1000, mtimeMs / 1000)
}

/** Appends pieces to an open file, from `offset` on; ranges are copied within the file. */
export function writePieces(fd: number, pieces: readonly FilePiece[], offset: number): void {
  let at = offset
  for (const piece of pieces) {
    if (piece instanceof Uint8Array) writeFully(fd, piece, at)
    else if ('copyFrom' in piece) copyWithin(fd, piece.copyFrom, piece.length, at)
    at += piece.length
  }
}

const CHUNK = 1 << 20

function copyWithin(fd: number, from: number, length: number, to: number): void {
  const chunk = new Uint8Array(Math.min(CHUNK, length))
  for (let done = 0; done < length;) {
    const count = readSync(fd, chunk, 0, Math.min(chunk.length, length - done), from + done)
    if (count === 0) throw new ElfError('TRUNCATED', `the file ended at ${from + done} while being copied: run again`)
    writeFully(fd, chunk.subarray(0, count), to + done)
    done += count
  }
}

/** Writes all the bytes at a file offset. */
export function writeFully(fd: number, bytes: Uint8Array, offset: number): void {
  for (let done = 0; done < bytes.length;) done += writeSync(fd, bytes, done, bytes.length - done, offset + done)
}

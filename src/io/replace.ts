// How changed bytes reach the disk: into a copy beside the file, then one rename. Who has the old file open or mapped
// keeps it; who is killed in between leaves a temporary file and the old one whole.
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
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { ElfError } from '../elf/error.ts'
import type { FileEdit, FilePiece } from '../elf/file-edit.ts'
import { errnoOf } from './error.ts'
import { fsPath } from './path.ts'

const SUFFIX = '.wheelfix-tmp'

/** Is this the name of a temporary file of ours? Found while nobody else works on the venv, it is a killed run's. */
export function isTemporary(name: string): boolean {
  return name.startsWith('.') && name.endsWith(SUFFIX)
}

/** Where a file's next content is written before the rename: in the same folder, under a name that `isTemporary` knows. */
export function temporaryOf(path: string): string {
  const slash = path.lastIndexOf('/')
  return `${path.slice(0, slash + 1)}.${path.slice(slash + 1)}${SUFFIX}`
}

/**
 * Gives a file new bytes by a rename; mode, owner and times stay. A file with more than one link gets an inode of its own:
 * the others (a package manager's cache) keep the old bytes. (Node cannot copy extended attributes.)
 * @throws the errors of open(2), write(2) and rename(2); the file is as it was then
 */
export function replaceFile(path: string, edit: FileEdit): void {
  replaceBy(path, lstatSync(fsPath(path)), temporary => {
    copyFileSync(fsPath(path), fsPath(temporary), constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE)
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

/** Gives a file a new content by a rename; mode, owner and times stay. */
export function replaceContent(path: string, content: string | Uint8Array): void {
  replaceBy(path, lstatSync(fsPath(path)), temporary => writeFileSync(fsPath(temporary), content, { flag: 'wx' }))
}

function replaceBy(path: string, status: Stats, make: (temporary: string) => void): void {
  const temporary = temporaryOf(path)
  rmSync(fsPath(temporary), { force: true })
  try {
    make(temporary)
    keepStatus(temporary, status)
    renameSync(fsPath(temporary), fsPath(path))
  } catch (error) {
    rmSync(fsPath(temporary), { force: true })
    throw error
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

// The new content of a file: the bytes of the old one, edited. It is copied by reference where the file system can, else each
// byte is written once, in order.
import { constants, copyFileSync, fstatSync, ftruncateSync, writeSync } from 'node:fs'
import type { FileEdit, FilePiece } from '../../elf/edit/file-edit.ts'
import { graftedSource } from '../../elf/graft/graft.ts'
import { errnoOf } from '../error.ts'
import { type FileSource, readFully } from '../source.ts'

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

/** The end of the message about a file that ends while it is copied. */
const COPIED = 'copied: run wheelfix again'

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
    readFully(source.fd, chunk, chunk.length, offset, COPIED)
    for (const { offset: at, bytes } of changed) {
      if (at >= end || at + bytes.length <= offset) continue
      const from = Math.max(at, offset)
      chunk.set(bytes.subarray(from - at, end - at), from - offset)
    }
    yield chunk
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
    readFully(fd, chunk, count, from + done, COPIED)
    writeFully(fd, chunk.subarray(0, count), to + done)
  }
}

/** Writes all the bytes at a file offset. */
export function writeFully(fd: number, bytes: Uint8Array, offset: number): void {
  for (let done = 0; done < bytes.length;) done += writeSync(fd, bytes, done, bytes.length - done, offset + done)
}

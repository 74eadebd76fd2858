// A file as a ByteSource. A few cached blocks serve small reads, and large reads go straight to the disk. So a 500 MB
// library costs some KB of memory.
import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs'
import { isElf } from '../elf/read.ts'
import { assertInside, type ByteSource } from '../elf/source.ts'
import { ElfError } from '../elf/error.ts'
import { fsPath } from './path.ts'

/** Most headers, program headers and a small dynamic table are inside the first block. */
const BLOCK = 4096
/** The most blocks that are cached: enough for the tables of most objects. */
const MOST_BLOCKS = 8

/** Blocks of closed sources, for reuse. New memory outside of the heap would keep the garbage collector busy. */
const spare: Uint8Array[] = []

/** Identity and state of an open file, from fstat(2). */
export interface FileStatus {
  readonly dev: bigint
  readonly ino: bigint
  readonly nlink: number
  readonly size: number
  readonly mode: number
}

/** A part of the file in memory. */
interface Block {
  readonly offset: number
  readonly length: number
  /** Two BLOCKs, of which `length` bytes count. */
  readonly bytes: Uint8Array
}

/**
 * An open file; the caller closes it. The bytes it returns are valid until it is closed: copy them to keep them longer.
 */
export interface FileSource extends ByteSource {
  readonly status: FileStatus
  readonly fd: number
  close(): void
}

/** Opens a regular file for reading. @throws the errors of open(2); ElfError `NOT_ELF` for anything but a regular file */
export function openSource(path: string): FileSource {
  // O_NONBLOCK: the open must not wait for the writer of a FIFO
  return sourceOf(openSync(fsPath(path), constants.O_RDONLY | constants.O_NONBLOCK))
}

/**
 * An open file as a source, which owns it from now on and closes it.
 * @throws ElfError `NOT_ELF` for anything but a regular file
 */
export function sourceOf(fd: number): FileSource {
  return sourceWith(fd, null)
}

/**
 * Opens a file if it begins with the ELF magic; else null. Most files of a venv do not begin with it. The same read also
 * gets the headers of an ELF file.
 * @throws the errors of `openSource`
 */
export function openElf(path: string): FileSource | null {
  const fd = openSync(fsPath(path), constants.O_RDONLY | constants.O_NONBLOCK)
  const bytes = spare.pop() ?? new Uint8Array(2 * BLOCK)
  let length
  try {
    length = readSync(fd, bytes, 0, bytes.length, 0)
  } catch (error) {
    closeSync(fd)
    throw error
  }
  if (length >= 4 && isElf(bytes)) return sourceWith(fd, { offset: 0, length, bytes })
  spare.push(bytes)
  closeSync(fd)
  return null
}

/** @param first what was read of the start of the file */
function sourceWith(fd: number, first: Block | null): FileSource {
  const stat = fstatSync(fd, { bigint: true })
  if (!stat.isFile()) {
    closeSync(fd)
    throw new ElfError('NOT_ELF', 'not a regular file')
  }
  const size = Number(stat.size)
  const blocks: Block[] = first === null ? [] : [first]
  let replaced = 0

  const readBlock = (offset: number): Block => {
    const start = offset - (offset % BLOCK)
    const isMore = blocks.length === MOST_BLOCKS
    const bytes = (isMore ? undefined : spare.pop()) ?? new Uint8Array(2 * BLOCK)
    const block = { offset: start, length: Math.min(bytes.length, size - start), bytes }
    readFully(fd, bytes, block.length, start)
    // the memory of a dropped block is not reused, because a caller may still read it
    blocks[isMore ? replaced++ % MOST_BLOCKS : blocks.length] = block
    return block
  }

  const known = (offset: number, length: number): Block | undefined =>
    blocks.find(block => offset >= block.offset && offset + length <= block.offset + block.length)

  return {
    size,
    fd,
    status: { dev: stat.dev, ino: stat.ino, nlink: Number(stat.nlink), size, mode: Number(stat.mode) },
    read(offset, length) {
      assertInside(size, offset, length)
      if (length > BLOCK) {
        const bytes = new Uint8Array(length)
        readFully(fd, bytes, length, offset)
        return bytes
      }
      const block = known(offset, length) ?? readBlock(offset)
      return block.bytes.subarray(offset - block.offset, offset - block.offset + length)
    },
    readInto(target, offset) {
      assertInside(size, offset, target.length)
      const block = known(offset, target.length)
      if (block === undefined) readFully(fd, target, target.length, offset)
      else target.set(block.bytes.subarray(offset - block.offset, offset - block.offset + target.length))
    },
    close() {
      for (const { bytes } of blocks.splice(0)) spare.push(bytes)
      closeSync(fd)
    },
  }
}

/** Runs `use` over an opened file and closes the file in any case. */
export function withSource<T>(path: string, use: (source: FileSource) => T): T {
  const source = openSource(path)
  try {
    return use(source)
  } finally {
    source.close()
  }
}

/**
 * Reads `length` bytes of the file into `bytes`.
 * @param during the end of the message about a file that ends sooner: what was done with it, and what to do
 * @throws ElfError `TRUNCATED` where the file ends sooner
 */
export function readFully(fd: number, bytes: Uint8Array, length: number, offset: number, during = 'read'): void {
  for (let done = 0; done < length;) {
    const count = readSync(fd, bytes, done, length - done, offset + done)
    if (count === 0)
      throw new ElfError('TRUNCATED', `the file ended at ${offset + done} while being ${during}`, offset + done)
    done += count
  }
}

// A file as a ByteSource: small reads come from one cached block of the head, large ones go straight to the disk, so
// that a 500 MB library costs some KB.
import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs'
import { assertInside, type ByteSource } from '../elf/source.ts'
import { ElfError } from '../elf/error.ts'
import { fsPath } from './path.ts'

/** Most headers, program headers and a small dynamic table are inside the first block. */
const BLOCK = 4096

/** Identity and state of an open file, as fstat(2) tells. */
export interface FileStatus {
  readonly dev: bigint
  readonly ino: bigint
  readonly nlink: number
  readonly size: number
  readonly mode: number
}

/** An open file; the caller closes it. */
export interface FileSource extends ByteSource {
  readonly status: FileStatus
  readonly fd: number
  close(): void
}

/** Opens a regular file for reading. @throws the errors of open(2); ElfError `NOT_ELF` for anything but a regular file */
export function openSource(path: string): FileSource {
  // without waiting for the writer of a FIFO
  return sourceOf(openSync(fsPath(path), constants.O_RDONLY | constants.O_NONBLOCK))
}

/** An open file as a source, which closes it from now on. @throws ElfError `NOT_ELF` for anything but a regular file */
export function sourceOf(fd: number): FileSource {
  const stat = fstatSync(fd, { bigint: true })
  if (!stat.isFile()) {
    closeSync(fd)
    throw new ElfError('NOT_ELF', 'not a regular file')
  }
  const size = Number(stat.size)
  let block: { offset: number; bytes: Uint8Array } | undefined

  const readFresh = (offset: number, length: number): Uint8Array => {
    const bytes = new Uint8Array(length)
    let done = 0
    while (done < length) {
      const count = readSync(fd, bytes, done, length - done, offset + done)
      if (count === 0)
        throw new ElfError('TRUNCATED', `the file ended at ${offset + done} while being read`, offset + done)
      done += count
    }
    return bytes
  }

  return {
    size,
    fd,
    status: { dev: stat.dev, ino: stat.ino, nlink: Number(stat.nlink), size, mode: Number(stat.mode) },
    read(offset, length) {
      assertInside(size, offset, length)
      if (length > BLOCK) return readFresh(offset, length)
      if (block === undefined || offset < block.offset || offset + length > block.offset + block.bytes.length) {
        const start = offset - (offset % BLOCK)
        block = { offset: start, bytes: readFresh(start, Math.min(2 * BLOCK, size - start)) }
      }
      return block.bytes.subarray(offset - block.offset, offset - block.offset + length)
    },
    close: () => closeSync(fd),
  }
}

/** Runs `use` over an opened file and closes it whatever happens. */
export function withSource<T>(path: string, use: (source: FileSource) => T): T {
  const source = openSource(path)
  try {
    return use(source)
  } finally {
    source.close()
  }
}

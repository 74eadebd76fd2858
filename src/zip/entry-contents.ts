// The contents of a wheel's entries. One pass inflates every entry and compares its size and checksum (yauzl compares
// neither), so that no corrupt entry gets into a result. ELF objects need random reads, and a deflate stream cannot be
// read from the middle. So the objects are kept in an unlinked scratch file. Memory stays at a few MB for a wheel of
// any size.
import { randomBytes } from 'node:crypto'
import { closeSync, openSync, unlinkSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { crc32, createInflateRaw, inflateRawSync } from 'node:zlib'
import { isElf } from '../elf/headers.ts'
import { assertInside, type ByteSource } from '../elf/source.ts'
import { errnoOf, systemReason, WheelfixError } from '../io/error.ts'
import { fsPath } from '../io/path.ts'
import { writeFully } from '../io/write/content.ts'
import { readFully } from '../io/source.ts'
import { count } from '../io/words.ts'
import { type Archive, refusal, STORED, type WheelEntry } from './read.ts'

/** Entries up to this size are inflated in one call: a stream costs about 0.5 ms, as much as inflating 150 KB. */
const AT_ONCE = 256 * 1024
/** Larger entries are read and inflated this many bytes at a time. */
const CHUNK = 1 << 20
/** Size of the blocks that serve small reads of an object. */
const BLOCK = 4096

/** The checked contents. The caller closes them, which also closes the scratch file. */
export interface Contents {
  /** Every ELF object, in the order of the directory. */
  readonly objects: ReadonlyMap<WheelEntry, ByteSource>
  close(): void
}

/**
 * Checks every entry and opens the ELF objects.
 * @param scratchFolder where the scratch file is made and unlinked at once; it needs room for the objects
 * @param onProgress receives the number of compressed bytes just processed
 * @throws WheelfixError `WHEEL_INVALID` for damaged contents, `IO` where the scratch file cannot be written
 */
export async function openContents(
  archive: Archive,
  scratchFolder: string,
  onProgress: (bytes: number) => void = () => {},
): Promise<Contents> {
  const scratch = openScratch(scratchFolder)
  const ranges = new Map<WheelEntry, ByteSource>()
  try {
    const queue = archive.entries.values()
    const work = async (): Promise<void> => {
      for (const entry of queue) {
        const kept = await checkEntry(archive, entry, scratch)
        if (kept !== undefined) ranges.set(entry, kept)
        onProgress(entry.compressedSize)
      }
    }
    const workers = Array.from({ length: availableParallelism() }, work)
    // all workers must have stopped before the scratch file is closed
    for (const result of await Promise.allSettled(workers)) if (result.status === 'rejected') throw result.reason
  } catch (error) {
    scratch.close()
    throw error
  }
  const objects = new Map<WheelEntry, ByteSource>()
  for (const entry of archive.entries) {
    const source = ranges.get(entry)
    if (source !== undefined) objects.set(entry, source)
  }
  return { objects, close: () => scratch.close() }
}

/** The contents of one small entry (RECORD, METADATA, a script). @throws WheelfixError `WHEEL_INVALID` */
export function readEntry(archive: Archive, entry: WheelEntry): Uint8Array {
  const raw = readRange(archive.source.fd, entry.dataOffset, entry.compressedSize)
  const bytes = entry.method === STORED ? raw : inflate(archive, entry, raw)
  if (crc32(bytes) !== entry.crc32) throw wrongChecksum(archive, entry)
  return bytes
}

function wrongChecksum(archive: Archive, entry: WheelEntry): WheelfixError {
  return refusal(archive.path, `the entry ${JSON.stringify(entry.name)} is damaged: its checksum is wrong`)
}

function wrongSize(archive: Archive, entry: WheelEntry): WheelfixError {
  return refusal(
    archive.path,
    `the entry ${JSON.stringify(entry.name)} does not hold the ${count(entry.size, 'byte')} that it claims`,
  )
}

function damaged(archive: Archive, entry: WheelEntry, error: Error): WheelfixError {
  return refusal(archive.path, `the entry ${JSON.stringify(entry.name)} is damaged: ${error.message}`)
}

function inflate(archive: Archive, entry: WheelEntry, raw: Uint8Array): Uint8Array {
  // @types/node has no overload for `info`
  let result: { buffer: Buffer; engine: { bytesWritten: number } }
  try {
    const options = {
      info: true,
      maxOutputLength: Math.max(entry.size, 1),
      chunkSize: Math.min(Math.max(entry.size, 64), CHUNK),
    }
    result = inflateRawSync(raw, options) as unknown as typeof result
  } catch (error) {
    if (errnoOf(error) === 'ERR_BUFFER_TOO_LARGE') throw wrongSize(archive, entry)
    throw error instanceof Error ? damaged(archive, entry, error) : error
  }
  if (result.buffer.length !== entry.size || result.engine.bytesWritten !== entry.compressedSize)
    throw wrongSize(archive, entry)
  return result.buffer
}

/** Checks one entry; returns a source for an ELF object. */
async function checkEntry(archive: Archive, entry: WheelEntry, scratch: Scratch): Promise<ByteSource | undefined> {
  if (entry.directory) return undefined
  if (entry.size <= AT_ONCE) {
    const bytes = readEntry(archive, entry)
    if (!isElf(bytes)) return undefined
    return entry.method === STORED ? stored(archive, entry) : scratch.keep(entry.size)(bytes)
  }
  let sum = 0
  let size = 0
  let elf = false
  let keep: ((bytes: Uint8Array) => ByteSource) | undefined
  let kept: ByteSource | undefined
  await eachChunk(archive, entry, bytes => {
    if (size === 0) {
      elf = isElf(bytes)
      if (elf && entry.method !== STORED) keep = scratch.keep(entry.size)
    }
    size += bytes.length
    if (size > entry.size) throw wrongSize(archive, entry)
    sum = crc32(bytes, sum)
    kept = keep?.(bytes)
  })
  if (size !== entry.size) throw wrongSize(archive, entry)
  if (sum !== entry.crc32) throw wrongChecksum(archive, entry)
  return elf ? (kept ?? stored(archive, entry)) : undefined
}

function stored(archive: Archive, entry: WheelEntry): ByteSource {
  return rangeSource(archive.source.fd, entry.dataOffset, entry.size)
}

/** Passes on the contents of a large entry in pieces. An error from `use` ends the reading. */
async function eachChunk(archive: Archive, entry: WheelEntry, use: (bytes: Uint8Array) => void): Promise<void> {
  const { fd } = archive.source
  if (entry.method === STORED) {
    for (const piece of piecesOf(fd, entry.dataOffset, entry.compressedSize)) use(piece)
    return
  }
  try {
    const used = await inflateChunks(fd, entry.dataOffset, entry.compressedSize, use)
    if (used !== entry.compressedSize) throw wrongSize(archive, entry)
  } catch (error) {
    throw isOfZlib(error) ? damaged(archive, entry, error) : error
  }
}

/** Is this an error with one of zlib's own codes: Z_DATA_ERROR, Z_BUF_ERROR …? */
function isOfZlib(error: unknown): error is Error {
  return error instanceof Error && 'code' in error && String(error.code).startsWith('Z_')
}

/** Size and checksum of the contents of a deflate stream in a file. @throws the errors of zlib */
export async function inflatedSums(
  fd: number,
  offset: number,
  length: number,
): Promise<{ size: number; crc32: number }> {
  let size = 0
  let sum = 0
  const used = await inflateChunks(fd, offset, length, bytes => {
    size += bytes.length
    sum = crc32(bytes, sum)
  })
  return { size: used === length ? size : -1, crc32: sum }
}

function* piecesOf(fd: number, offset: number, length: number): Generator<Buffer> {
  for (let at = 0; at < length; at += CHUNK) yield readRange(fd, offset + at, Math.min(CHUNK, length - at))
}

/** Inflates a deflate stream in a file; returns how many bytes of the stream zlib consumed. */
function inflateChunks(fd: number, offset: number, length: number, use: (bytes: Uint8Array) => void): Promise<number> {
  const stream = createInflateRaw({ chunkSize: CHUNK })
  return new Promise((resolve, reject) => {
    let settled = false
    const settle = (): void => {
      settled = true
      stream.destroy()
    }
    const fail = (error: unknown): void => {
      settle()
      reject(error instanceof Error ? error : new Error(String(error)))
    }
    const rest = piecesOf(fd, offset, length)
    // reads the next piece when the last one is inflated; after the end of the data zlib consumes no more
    const feed = (): void => {
      if (settled) return
      try {
        const next = rest.next()
        if (next.done === true) stream.end()
        else stream.write(next.value, error => (error ? undefined : feed()))
      } catch (error) {
        fail(error)
      }
    }
    stream.on('data', (bytes: Buffer) => {
      if (settled) return
      try {
        use(bytes)
      } catch (error) {
        fail(error)
      }
    })
    stream.on('error', fail)
    stream.on('end', () => {
      settle()
      resolve(stream.bytesWritten)
    })
    feed()
  })
}

/** The scratch file: a file without a name. It disappears with the process, however the process ends. */
interface Scratch {
  /**
   * Reserves a range of `size` bytes. Each call of the result writes the next bytes of the range and returns the range.
   */
  keep(size: number): (bytes: Uint8Array) => ByteSource
  close(): void
}

function openScratch(folder: string): Scratch {
  let fd: number | undefined
  let end = 0
  const opened = (): number => {
    if (fd === undefined) {
      // a random name, so that nobody can have made the file before
      const path = join(folder, `.wheelfix-scratch-${randomBytes(12).toString('hex')}`)
      fd = openSync(fsPath(path), 'wx+', 0o600)
      unlinkSync(fsPath(path))
    }
    return fd
  }
  const guarded = <T>(call: () => T): T => {
    try {
      return call()
    } catch (error) {
      const errno = errnoOf(error)
      if (errno === undefined) throw error
      throw new WheelfixError(
        'IO',
        `${folder} cannot hold the unpacked libraries of a wheel: ${systemReason(errno)}`,
        folder,
      )
    }
  }
  return {
    keep(size) {
      const start = end
      end += size
      let at = start
      return bytes =>
        guarded(() => {
          const file = opened()
          writeFully(file, bytes, at)
          at += bytes.length
          return rangeSource(file, start, size)
        })
    },
    close() {
      if (fd !== undefined) closeSync(fd)
      fd = undefined
    },
  }
}

/** A range of an open file as a source. One cached block serves small reads. */
function rangeSource(fd: number, start: number, size: number): ByteSource {
  let block: { readonly offset: number; readonly bytes: Uint8Array } | undefined
  return {
    size,
    read(offset, length) {
      assertInside(size, offset, length)
      if (length > BLOCK) return readRange(fd, start + offset, length)
      if (block === undefined || offset < block.offset || offset + length > block.offset + block.bytes.length) {
        const from = offset - (offset % BLOCK)
        block = { offset: from, bytes: readRange(fd, start + from, Math.min(2 * BLOCK, size - from)) }
      }
      return block.bytes.subarray(offset - block.offset, offset - block.offset + length)
    },
  }
}

/** @throws ElfError `TRUNCATED` where the file ends sooner */
export function readRange(fd: number, offset: number, length: number): Buffer {
  const bytes = Buffer.allocUnsafeSlow(length)
  readFully(fd, bytes, length, offset)
  return bytes
}

// Compresses the new contents of changed entries, in order, on all cores. Deflate is cut into pieces of fixed length that
// see the 32 KiB before them (as pigz does), so the bytes depend neither on the number of cores nor on how busy they are.
import { availableParallelism } from 'node:os'
import { promisify } from 'node:util'
import { constants, crc32, deflateRaw, type ZlibOptions } from 'node:zlib'
import type { ByteSource } from '../elf/source.ts'
import { DEFLATED, STORED } from './read.ts'

/** Length of a piece. Each costs up to five bytes for its end mark; below 256 KiB that and the threads begin to show. */
const PIECE = 1 << 20
/** How far back deflate can refer. */
const WINDOW = 1 << 15

/** One entry to encode. */
export interface Job {
  readonly method: typeof STORED | typeof DEFLATED
  /** zlib's level */
  readonly level: number
  /** Asked when the job's turn comes: all bytes of the jobs before it have been read then. */
  content(): ByteSource
  /** Gets every byte of the content once, in order. */
  onBytes?(bytes: Uint8Array): void
}

/** A piece of a job's encoded bytes. */
export interface Piece {
  readonly bytes: Uint8Array
  /** Of the job's whole content. */
  readonly size: number
  /** Of the job's whole content, with its last piece. */
  readonly crc32: number | undefined
}

const deflate = promisify<Uint8Array, ZlibOptions, Buffer>(deflateRaw)

/** Encodes the jobs; their pieces come in order. Memory: some MB per core. */
export async function* encode(jobs: Iterable<Job>): AsyncGenerator<Piece> {
  const running: Promise<Piece>[] = []
  try {
    for (const piece of start(jobs)) {
      running.push(piece)
      // a failure is met when its turn comes
      piece.catch(() => {})
      if (running.length > availableParallelism()) yield await take(running)
    }
    while (running.length > 0) yield await take(running)
  } finally {
    await Promise.allSettled(running)
  }
}

function take(running: Promise<Piece>[]): Promise<Piece> {
  const first = running.shift()
  if (first === undefined) throw new Error('nothing is running')
  return first
}

function* start(jobs: Iterable<Job>): Generator<Promise<Piece>> {
  for (const job of jobs) {
    const content = job.content()
    const { size } = content
    let sum = 0
    let window: Uint8Array | undefined
    let at = 0
    do {
      const bytes = content.read(at, Math.min(PIECE, size - at))
      job.onBytes?.(bytes)
      sum = crc32(bytes, sum)
      at += bytes.length
      yield encodePiece(job, bytes, window, size, at === size ? sum : undefined)
      window = bytes.subarray(Math.max(0, bytes.length - WINDOW))
    } while (at < size)
  }
}

async function encodePiece(
  job: Job,
  bytes: Uint8Array,
  dictionary: Uint8Array | undefined,
  size: number,
  crc32: number | undefined,
): Promise<Piece> {
  if (job.method === STORED) return { bytes, size, crc32 }
  const encoded = await deflate(bytes, {
    level: job.level,
    // one call of the thread pool for all of it
    chunkSize: PIECE + (PIECE >> 4),
    finishFlush: crc32 === undefined ? constants.Z_SYNC_FLUSH : constants.Z_FINISH,
    ...(dictionary === undefined ? {} : { dictionary }),
  })
  return { bytes: encoded, size, crc32 }
}

/** zlib's level for an entry, from what its flags tell of the one it was made with (4.4.4, bits 1 and 2). */
export function levelOf(flags: number): number {
  return [6, 9, 2, 1][(flags >> 1) & 3] ?? 6
}

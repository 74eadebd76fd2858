// Compresses the new contents of changed entries, in order, on all cores. Deflate works on pieces of fixed length that
// see the 32 KiB before them (as in pigz). So the bytes depend neither on the number of cores nor on their load.
import { availableParallelism } from 'node:os'
import { promisify } from 'node:util'
import { constants, crc32, deflateRaw, type ZlibOptions } from 'node:zlib'
import type { ByteSource } from '../elf/source.ts'
import { DEFLATED, STORED } from './read.ts'
import type { ReadStream } from './blocks.ts'
import { type Range, spliceStream, type StreamPiece, unspliceStream } from './splice.ts'

/**
 * Length of a piece in bytes. Each piece costs up to five bytes for its end mark. Below 256 KiB this cost and the cost
 * of the threads begin to show.
 */
const PIECE = 1 << 20
/** How far back deflate can refer, in bytes. */
const WINDOW = 1 << 15

/** One entry to encode. */
export interface Job {
  readonly method: typeof STORED | typeof DEFLATED
  /** zlib's level */
  readonly level: number
  /** Called when the job's turn comes: all contents of the jobs before it have been read by then. */
  content(): ByteSource
  /** Gets every byte of the content once, in order. */
  onBytes?(bytes: Uint8Array): void
}

/** A piece of a job's encoded bytes. */
export interface Piece<Bytes = StreamPiece> {
  /** The bytes, or a range of the entry's old data. */
  readonly bytes: Bytes
  /** Size of the job's whole content. */
  readonly size: number
  /** Checksum of the job's whole content; only with its last piece. */
  readonly crc32: number | undefined
}

const deflate = promisify<Uint8Array, ZlibOptions, Buffer>(deflateRaw)

/** Encodes the jobs; their pieces come in order. Uses a few MB of memory per core. */
export async function* encodeJobs(jobs: Iterable<Job>): AsyncGenerator<Piece<Uint8Array>> {
  const running: Promise<Piece<Uint8Array>>[] = []
  try {
    for (const piece of startPieces(jobs)) {
      running.push(piece)
      // a failure is reported when its turn comes
      piece.catch(() => {})
      if (running.length > availableParallelism()) yield await take(running)
    }
    while (running.length > 0) yield await take(running)
  } finally {
    await Promise.allSettled(running)
  }
}

function take<T>(running: Promise<T>[]): Promise<T> {
  const first = running.shift()
  if (first === undefined) throw new Error('nothing is running')
  return first
}

function* startPieces(jobs: Iterable<Job>): Generator<Promise<Piece<Uint8Array>>> {
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
): Promise<Piece<Uint8Array>> {
  if (job.method === STORED) return { bytes, size, crc32 }
  const encoded = await deflate(bytes, {
    level: job.level,
    // one call of the thread pool for the whole piece
    chunkSize: PIECE + (PIECE >> 4),
    finishFlush: crc32 === undefined ? constants.Z_SYNC_FLUSH : constants.Z_FINISH,
    ...(dictionary === undefined ? {} : { dictionary }),
  })
  return { bytes: encoded, size, crc32 }
}

/** The present state of an entry whose new contents differ in a few places. */
interface Before {
  /** Its present data, deflated. */
  readonly read: ReadStream
  /** Size of its present contents. */
  readonly size: number
  /** Where the new contents differ within the first `size` bytes. */
  readonly changes: readonly Range[]
}

/** Like `encodeJobs` with one job, but copies the existing stream where possible. */
export async function* encodeSpliced(job: Job, { read, size, changes }: Before): AsyncGenerator<Piece> {
  const content = job.content()
  yield* encoded(job, content, await spliceStream(read, size, content, changes, job.level))
}

/** Like `encodeJobs` with one job, but makes the same stream as zlib: the stream from before `encodeSpliced`. */
export async function* encodeLikeZlib(
  job: Job,
  { read, changes }: { readonly read: ReadStream; readonly changes: readonly Range[] | null },
): AsyncGenerator<Piece> {
  const content = job.content()
  yield* encoded(job, content, unspliceStream(read, content, changes, job.level))
}

async function* encoded(job: Job, content: ByteSource, pieces: StreamPiece[] | null): AsyncGenerator<Piece> {
  if (pieces === null) {
    yield* encodeJobs([{ ...job, content: () => content }])
    return
  }
  let sum = 0
  for (let at = 0; at < content.size; at += PIECE) {
    const bytes = content.read(at, Math.min(PIECE, content.size - at))
    job.onBytes?.(bytes)
    sum = crc32(bytes, sum)
  }
  for (const [index, bytes] of pieces.entries())
    yield { bytes, size: content.size, crc32: index === pieces.length - 1 ? sum : undefined }
}

/** zlib's level for an entry, from the flags that hint at the level with which it was made (4.4.4, bits 1 and 2). */
export function levelOf(flags: number): number {
  return [6, 9, 2, 1][(flags >> 1) & 3] ?? 6
}

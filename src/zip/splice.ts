// Makes the deflate stream of an entry that changed in a few places and grew. A graft changes an object in this way: it
// changes the header and appends bytes. Only the blocks around a change are compressed again. All other blocks are
// copied, whatever compressor made them, because deflate refers back no further than 32 KiB. A block may begin at any
// bit. So empty blocks of the right length come before a copied block. The bits of this block then have their old place
// in the byte, and whole bytes can be copied.
import { promisify } from 'node:util'
import { constants, deflateRaw, type ZlibOptions } from 'node:zlib'
import type { ByteSource } from '../elf/source.ts'
import { findBlocks, type ReadStream } from './blocks.ts'
import { deflateLikeZlib } from './deflate.ts'

/** The first bytes of the new content equal the old content, except in these ranges. */
export interface Range {
  readonly offset: number
  readonly length: number
}

/** Bytes of the new stream, or a range of the old one. */
export type StreamPiece = Uint8Array | Range

/** How far back deflate can refer, in bytes. */
const WINDOW = 1 << 15

/** How many bytes are compressed at a time. */
const PIECE = 1 << 20
/** Beyond this many bytes, compressing everything on all processors is better. */
const MOST_DIRTY = 32 << 20

const deflate = promisify<Uint8Array, ZlibOptions, Buffer>(deflateRaw)

/**
 * The new stream, in pieces; null where so much must be compressed again that copying does not pay.
 * @param read reads the old stream, which zlib has accepted
 * @param size of the old content
 * @param content the new content, at least as long as the old
 * @param changes where the first `size` bytes differ
 */
export async function spliceStream(
  read: ReadStream,
  size: number,
  content: ByteSource,
  changes: readonly Range[],
  level: number,
): Promise<StreamPiece[] | null> {
  const { bits, outputs } = findBlocks(read)
  const blocks = bits.length - 1
  if (outputs[blocks] !== size) throw new Error(`the blocks of ${size} bytes were counted as ${outputs[blocks] ?? 0}`)
  const { dirty, bytes } = dirtyBlocks(outputs, changes)
  if (bytes * 2 > size || bytes > MOST_DIRTY) return null

  const writer = streamWriter(read, { at: bits[blocks - 1] ?? 0, last: false })
  for (let block = 0; block < blocks;) {
    let end = block + 1
    while (end < blocks && dirty.has(end) === dirty.has(block)) end += 1
    if (dirty.has(block)) await compress(content, outputs[block] ?? 0, outputs[end] ?? 0, level, false, writer)
    else writer.copy(bits[block] ?? 0, bits[end] ?? 0)
    block = end
  }
  await compress(content, size, content.size, level, true, writer)
  return writer.pieces
}

/** Beginnings of these lengths are tried, until one ends after a block that was copied. */
const BEGINNINGS = [256 << 10, 4 << 20]
/** If no block was copied, content up to this size is compressed as a whole; more would take too long. */
const MOST_LIKE_ZLIB = 64 << 20
/** zlib looks ahead by less than this. Up to there, it compresses a beginning in the same way as the whole content. */
const LOOKAHEAD = 1 << 10

/**
 * The reverse of `spliceStream`: the stream that zlib made of `content`, from the stream that `spliceStream` made after
 * a change and an appended graft. Blocks that were copied then are copied again, and only the blocks before them are
 * compressed again. Null where that would take too long. The result inflates to `content`. Only a comparison can tell
 * whether it is the original stream.
 * @param read reads the spliced stream, which zlib has accepted
 * @param changes where `content` differs from the beginning of that stream's content; null: anywhere
 */
export function unspliceStream(
  read: ReadStream,
  content: ByteSource,
  changes: readonly Range[] | null,
  level: number,
): StreamPiece[] | null {
  const { size } = content
  const least = changes === null ? size : WINDOW + Math.max(0, ...changes.map(({ offset, length }) => offset + length))
  const spliced = findBlocks(read)
  const end = spliced.outputs.indexOf(size)
  for (const length of end < 0 ? [] : BEGINNINGS.filter(length => length > least && length < size)) {
    const beginning = deflateLikeZlib(content.read(0, length), level)
    const made = findBlocks((offset, count) => beginning.subarray(offset, offset + count))
    for (const [block, output] of made.outputs.entries()) {
      const bit = made.bits[block] ?? 0
      // of several blocks with the same output all but the last are empty
      const same = spliced.outputs.lastIndexOf(output)
      const from = spliced.bits[same] ?? 0
      if (output < least || output > length - LOOKAHEAD || same < 0 || from % 8 !== bit % 8) continue
      const writer = streamWriter(read, { at: spliced.bits[end - 1] ?? 0, last: true })
      writer.begin(beginning, bit)
      writer.copy(from, spliced.bits[end] ?? 0)
      writer.end()
      return writer.pieces
    }
  }
  return size > MOST_LIKE_ZLIB ? null : [deflateLikeZlib(content.read(0, size), level)]
}

/** The blocks that give changed bytes, or may refer to changed bytes. */
function dirtyBlocks(
  outputs: readonly number[],
  changes: readonly Range[],
): { readonly dirty: ReadonlySet<number>; readonly bytes: number } {
  const dirty = new Set<number>()
  let bytes = 0
  for (const { offset, length } of changes) {
    for (let block = blockOf(outputs, offset); block < outputs.length - 1; block += 1) {
      const start = outputs[block] ?? 0
      if (start >= offset + length + WINDOW) break
      if (dirty.has(block)) continue
      dirty.add(block)
      bytes += (outputs[block + 1] ?? 0) - start
    }
  }
  return { dirty, bytes }
}

/** The last block that begins at or before an offset in the content. */
function blockOf(outputs: readonly number[], offset: number): number {
  let low = 0
  let high = outputs.length - 1
  while (high - low > 1) {
    const middle = (low + high) >> 1
    if ((outputs[middle] ?? 0) <= offset) low = middle
    else high = middle
  }
  return low
}

async function compress(
  content: ByteSource,
  from: number,
  to: number,
  level: number,
  last: boolean,
  writer: StreamWriter,
): Promise<void> {
  writer.align()
  let at = from
  do {
    const end = Math.min(to, at + PIECE)
    const before = Math.max(0, at - WINDOW)
    const finish = last && end === to
    const encoded = await deflate(content.read(at, end - at), {
      level,
      chunkSize: PIECE + (PIECE >> 4),
      finishFlush: finish ? constants.Z_FINISH : constants.Z_SYNC_FLUSH,
      ...(before === at ? {} : { dictionary: content.read(before, at - before) }),
    })
    writer.bytes(encoded)
    at = end
  } while (at < to)
}

interface StreamWriter {
  readonly pieces: StreamPiece[]
  /** Adds the first bits of another stream. */
  begin(stream: Uint8Array, bits: number): void
  /** Ends the present bits with an empty stored block, so that whole bytes can follow. */
  align(): void
  /** Adds blocks that begin and end at a byte boundary. */
  bytes(bytes: Uint8Array): void
  /** Adds blocks of the old stream; the arguments are bit offsets. */
  copy(from: number, to: number): void
  /** Ends the last byte. */
  end(): void
}

/** @param header bit offset of a block of the old stream whose final-block bit changes, and its new value */
function streamWriter(read: ReadStream, header: { readonly at: number; readonly last: boolean }): StreamWriter {
  const pieces: StreamPiece[] = []
  let pending: number[] = []
  let partial = 0
  let phase = 0

  const flush = (): void => {
    if (pending.length > 0) pieces.push(Uint8Array.from(pending))
    pending = []
  }
  const bits = (value: number, count: number): void => {
    partial |= value << phase
    phase += count
    for (; phase >= 8; phase -= 8) {
      pending.push(partial & 0xff)
      partial >>>= 8
    }
  }
  const copyBytes = (offset: number, end: number): void => {
    if (offset >= end) return
    flush()
    pieces.push({ offset, length: end - offset })
  }
  const finalByte = Math.floor(header.at / 8)
  const finalBit = 1 << (header.at % 8)
  const byteAt = (offset: number): number => {
    const byte = read(offset, 1)[0] ?? 0
    if (offset !== finalByte) return byte
    return header.last ? byte | finalBit : byte & ~finalBit
  }
  /** Adds empty blocks until the next bit has the wanted place in its byte. */
  const fill = (wanted: number): void => {
    if ((wanted - phase) % 2 !== 0) for (const [value, count] of ODD_BLOCK) bits(value, count)
    for (let blocks = ((wanted - phase + 8) % 8) / 2; blocks > 0; blocks -= 1) bits(FIXED_BLOCK, 10)
  }
  return {
    pieces,
    begin(stream, count) {
      const whole = Math.floor(count / 8)
      pieces.push(stream.subarray(0, whole))
      if (count % 8 > 0) bits((stream[whole] ?? 0) & ((1 << (count % 8)) - 1), count % 8)
    },
    end() {
      if (phase > 0) bits(0, 8 - phase)
      flush()
    },
    align() {
      if (phase > 0) {
        bits(0, 3)
        if (phase > 0) bits(0, 8 - phase)
        pending.push(0, 0, 0xff, 0xff)
      }
      flush()
    },
    bytes(bytes) {
      pieces.push(bytes)
    },
    copy(from, to) {
      const [start, shift] = [Math.floor(from / 8), from % 8]
      const [end, rest] = [Math.floor(to / 8), to % 8]
      fill(shift)
      if (start === end) {
        bits((byteAt(start) >> shift) & ((1 << (rest - shift)) - 1), rest - shift)
        return
      }
      if (shift > 0) bits(byteAt(start) >> shift, 8 - shift)
      const first = shift > 0 ? start + 1 : start
      if (finalByte >= first && finalByte < end) {
        copyBytes(first, finalByte)
        bits(byteAt(finalByte), 8)
        copyBytes(finalByte + 1, end)
      } else copyBytes(first, end)
      if (rest > 0) bits(byteAt(end) & ((1 << rest) - 1), rest)
    },
  }
}

/** An empty block of the fixed code: 0, 01, and seven zeros that end it. */
const FIXED_BLOCK = 0b010

/** An empty block with its own code, as pairs of value and number of bits: 95 bits, an odd number. */
const ODD_BLOCK: readonly (readonly [number, number])[] = [
  // not the last block, dynamic codes; 257 literals, 2 distances, 19 code lengths
  [0, 1],
  [2, 2],
  [0, 5],
  [1, 5],
  [15, 4],
  // in the order of RFC 1951, 3.2.7: 18 and 1 have one bit each, 1 the code 0 and 18 the code 1
  ...Array.from({ length: 19 }, (_, index): [number, number] => [index === 2 || index === 17 ? 1 : 0, 3]),
  // literal 0 has one bit, 255 literals have none (138 and 117), the end has one bit; both distances have one bit
  [0, 1],
  [1, 1],
  [138 - 11, 7],
  [1, 1],
  [117 - 11, 7],
  [0, 1],
  [0, 1],
  [0, 1],
  // the code of the end symbol
  [1, 1],
]

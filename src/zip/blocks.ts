// Finds where the blocks of a deflate stream begin, in bits, and which bytes they give. It is a decoder (RFC 1951) that
// only counts. zlib does not report this. Nothing is checked here, because zlib has already inflated and checked the
// stream.

/** Reads a range of the stream; returns fewer bytes only at its end. */
export type ReadStream = (offset: number, length: number) => Uint8Array

/** The blocks of a stream, in order. The arrays have one more element than there are blocks: the end. */
interface Blocks {
  /** Bit offsets in the stream of the block headers. */
  readonly bits: readonly number[]
  /** Offsets of the blocks' output in the contents. */
  readonly outputs: readonly number[]
}

const CHUNK = 1 << 20
/** More bytes than a symbol with its extra bits, or a block's header of code lengths, can take. */
const MARGIN = 512

const LENGTH_BASE = [
  3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258,
]
const LENGTH_EXTRA = [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0]
const CODE_LENGTH_ORDER = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15]
const END_OF_BLOCK = 256

/**
 * Codes of up to this many bits are looked up in one step. Longer codes, one in some thousand symbols, are read bit by
 * bit.
 */
const LOOKUP_BITS = 11

/** A Huffman code. A packed number says what to do for each symbol (`packLiteral`, `packDistance`). */
interface Code {
  /** By the next `LOOKUP_BITS` bits; 0 for a longer code. */
  readonly lookup: Uint32Array
  /** By code length: the first code, and where its symbols begin in `sorted` (as in zlib's contrib/puff). */
  readonly counts: Uint16Array
  readonly sorted: Uint32Array
}

/** Packed: code length (4 bits), extra bits (4 bits), IS_LENGTH, base (from bit 9). */
const IS_LENGTH = 0x100

function packLiteral(symbol: number): number {
  if (symbol < END_OF_BLOCK) return 1 << 9
  if (symbol === END_OF_BLOCK) return IS_LENGTH
  return ((LENGTH_BASE[symbol - 257] ?? 0) << 9) | IS_LENGTH | ((LENGTH_EXTRA[symbol - 257] ?? 0) << 4)
}

function packDistance(symbol: number): number {
  // only the number of the following bits matters
  return (1 << 9) | ((symbol < 4 ? 0 : (symbol >> 1) - 1) << 4)
}

function packSymbol(symbol: number): number {
  return (symbol << 9) | IS_LENGTH
}

function makeCode(lengths: Uint8Array, pack: (symbol: number) => number): Code {
  const counts = new Uint16Array(16)
  for (const length of lengths) counts[length] = (counts[length] ?? 0) + 1
  counts[0] = 0
  const offsets = new Uint16Array(17)
  const next = new Uint16Array(17)
  for (let length = 1; length < 16; length += 1) {
    offsets[length + 1] = (offsets[length] ?? 0) + (counts[length] ?? 0)
    next[length + 1] = ((next[length] ?? 0) + (counts[length] ?? 0)) << 1
  }
  const sorted = new Uint32Array(lengths.length)
  const lookup = new Uint32Array(1 << LOOKUP_BITS)
  for (let symbol = 0; symbol < lengths.length; symbol += 1) {
    const length = lengths[symbol] ?? 0
    if (length === 0) continue
    const packed = pack(symbol) | length
    const index = offsets[length] ?? 0
    sorted[index] = packed
    offsets[length] = index + 1
    const code = next[length] ?? 0
    next[length] = code + 1
    if (length > LOOKUP_BITS) continue
    let reversed = 0
    for (let bit = 0; bit < length; bit += 1) if ((code >> bit) & 1) reversed |= 1 << (length - 1 - bit)
    for (let at = reversed; at < 1 << LOOKUP_BITS; at += 1 << length) lookup[at] = packed
  }
  return { lookup, counts, sorted }
}

/** The packed value of the code at the start of the bits, found one bit at a time. */
function decodeLong({ counts, sorted }: Code, bits: number): number {
  let code = 0
  let first = 0
  let index = 0
  for (let length = 1; length < 16; length += 1) {
    code |= (bits >>> (length - 1)) & 1
    const count = counts[length] ?? 0
    if (code - count < first) return sorted[index + (code - first)] ?? 0
    index += count
    first = (first + count) << 1
    code <<= 1
  }
  throw new Error('a deflate stream that zlib accepted has an invalid code')
}

const FIXED_LITERALS = makeCode(
  Uint8Array.from({ length: 288 }, (_, symbol) => (symbol < 144 ? 8 : symbol < 256 ? 9 : symbol < 280 ? 7 : 8)),
  packLiteral,
)
const FIXED_DISTANCES = makeCode(new Uint8Array(30).fill(5), packDistance)

/** The bits of a stream, lowest first. A chunk of the stream is in memory. */
interface BitReader {
  /** The chunk, with zeros after the end of the stream. */
  readonly view: DataView
  /** Byte offset of the chunk in the stream. */
  start: number
  /** Bit offset in the chunk. */
  at: number
  /** Bit offset in the chunk. From there on, more must be loaded. */
  end: number
  /** Loads the stream from a byte offset on. */
  load(from: number): void
}

function bitReader(read: ReadStream): BitReader {
  const chunk = new Uint8Array(CHUNK + MARGIN)
  return {
    view: new DataView(chunk.buffer),
    start: 0,
    at: 0,
    end: 0,
    load(from) {
      this.start = from
      const bytes = read(from, CHUNK)
      chunk.set(bytes)
      chunk.fill(0, bytes.length)
      this.end = bytes.length < CHUNK ? Number.MAX_SAFE_INTEGER : (CHUNK - MARGIN) * 8
    },
  }
}

/** Loads more of the stream if the chunk may not hold all bits that are needed next. */
function ensure(reader: BitReader): void {
  if (reader.at < reader.end) return
  const bytes = reader.at >>> 3
  reader.at &= 7
  reader.load(reader.start + bytes)
}

function peek({ view, at }: BitReader): number {
  return view.getUint32(at >>> 3, true) >>> (at & 7)
}

function take(reader: BitReader, count: number): number {
  const value = peek(reader) & ((1 << count) - 1)
  reader.at += count
  return value
}

/**
 * The codes of a block with dynamic Huffman codes (RFC 1951, 3.2.7): one for literals and lengths, one for distances.
 */
function readCodes(reader: BitReader): [Code, Code] {
  const literals = take(reader, 5) + 257
  const distances = take(reader, 5) + 1
  const codes = take(reader, 4) + 4
  const lengths = new Uint8Array(19)
  for (let index = 0; index < codes; index += 1) lengths[CODE_LENGTH_ORDER[index] ?? 0] = take(reader, 3)
  const code = makeCode(lengths, packSymbol)
  const all = new Uint8Array(literals + distances)
  for (let index = 0; index < all.length;) {
    const packed = code.lookup[peek(reader) & ((1 << LOOKUP_BITS) - 1)] ?? 0
    reader.at += packed & 15
    const symbol = packed >>> 9
    if (symbol < 16) {
      all[index] = symbol
      index += 1
      continue
    }
    const repeated = symbol === 16 ? (all[index - 1] ?? 0) : 0
    const times = symbol === 16 ? 3 + take(reader, 2) : symbol === 17 ? 3 + take(reader, 3) : 11 + take(reader, 7)
    all.fill(repeated, index, index + times)
    index += times
  }
  return [makeCode(all.subarray(0, literals), packLiteral), makeCode(all.subarray(literals), packDistance)]
}

/** Skips the symbols of a block. Returns how many bytes they stand for. */
function skipSymbols(reader: BitReader, literals: Code, distances: Code): number {
  const { view } = reader
  const mask = (1 << LOOKUP_BITS) - 1
  const literalLookup = literals.lookup
  const distanceLookup = distances.lookup
  // local variables make the loop fast
  let here = reader.at
  let limit = reader.end
  let given = 0
  for (;;) {
    if (here >= limit) {
      reader.at = here
      ensure(reader)
      here = reader.at
      limit = reader.end
    }
    let window = view.getUint32(here >>> 3, true) >>> (here & 7)
    let packed = literalLookup[window & mask] ?? 0
    if (packed === 0) packed = decodeLong(literals, window)
    const length = packed & 15
    if ((packed & IS_LENGTH) === 0) {
      here += length
      given += 1
      // the window still holds 25 bits: mostly enough for the next symbol
      packed = length > LOOKUP_BITS ? IS_LENGTH : (literalLookup[(window >>> length) & mask] ?? 0)
      if (packed === 0 || (packed & IS_LENGTH) !== 0) continue
      here += packed & 15
      given += 1
      continue
    }
    const base = packed >>> 9
    const extra = (packed >>> 4) & 15
    here += length + extra
    if (base === 0) break
    given += base + ((window >>> length) & ((1 << extra) - 1))
    window = view.getUint32(here >>> 3, true) >>> (here & 7)
    let distance = distanceLookup[window & mask] ?? 0
    if (distance === 0) distance = decodeLong(distances, window)
    here += (distance & 15) + ((distance >>> 4) & 15)
  }
  reader.at = here
  return given
}

/** Finds the blocks of a valid deflate stream. */
export function findBlocks(read: ReadStream): Blocks {
  const bits: number[] = []
  const outputs: number[] = []
  const reader = bitReader(read)
  let out = 0
  reader.load(0)
  for (let last = false; !last;) {
    ensure(reader)
    bits.push(reader.start * 8 + reader.at)
    outputs.push(out)
    last = take(reader, 1) === 1
    const type = take(reader, 2)
    if (type === 0) {
      reader.at = (reader.at + 7) & ~7
      const length = take(reader, 16)
      const from = reader.start + (reader.at >>> 3) + 2 + length
      out += length
      reader.at = 0
      reader.load(from)
    } else {
      const [literals, distances] = type === 1 ? [FIXED_LITERALS, FIXED_DISTANCES] : readCodes(reader)
      out += skipSymbols(reader, literals, distances)
    }
  }
  bits.push(reader.start * 8 + reader.at)
  outputs.push(out)
  return { bits, outputs }
}

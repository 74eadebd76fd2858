// zlib's own deflate, to the bit. Which bytes a compressor makes is nobody's standard, and those of Node's zlib are others
// than the ones of Python's, which most wheels are made with: a restored wheel is the original again only where its
// streams are compressed by the very steps of zlib (deflate_slow and trees.c of zlib 1.2.3 to 1.3, without the changes
// that Chromium, zlib-ng and Intel make). Names are zlib's where they name the same thing.

/** good, lazy, nice, chain of zlib's configuration_table; levels 1 to 3 work otherwise. */
const CONFIGURATIONS: Readonly<Record<number, readonly [number, number, number, number]>> = {
  4: [4, 4, 16, 16],
  5: [8, 16, 32, 32],
  6: [8, 16, 128, 128],
  7: [8, 32, 128, 256],
  8: [32, 128, 258, 1024],
  9: [32, 258, 258, 4096],
}

/** The levels that `deflateLikeZlib` knows, those first that wheels are made with. */
export const ZLIB_LEVELS: readonly number[] = [6, 9, 8, 7, 5, 4]

const MIN_MATCH = 3
const MAX_MATCH = 258
const WINDOW = 1 << 15
const WINDOW_MASK = WINDOW - 1
const MIN_LOOKAHEAD = MAX_MATCH + MIN_MATCH + 1
const MAX_DIST = WINDOW - MIN_LOOKAHEAD
/** Matches of three bytes that are farther away do not pay. */
const TOO_FAR = 4096
/** For memLevel 8, which is everyone's: 15 bits of hash, and blocks of so many symbols. */
const HASH_MASK = (1 << 15) - 1
const BLOCK_SYMBOLS = (1 << 14) - 1

const END_BLOCK = 256
const LENGTH_CODES = 29
const LITERAL_CODES = 257 + LENGTH_CODES
const DISTANCE_CODES = 30
const BIT_LENGTH_CODES = 19
const MAX_BITS = 15
const HEAP_SIZE = 2 * LITERAL_CODES + 1
const BIT_LENGTH_ORDER = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15]
const [REPEAT_3_6, ZEROS_3_10, ZEROS_11_138] = [16, 17, 18]

const LENGTH_EXTRA = Uint8Array.of(
  0,
  0,
  0,
  0,
  0,
  0,
  0,
  0,
  1,
  1,
  1,
  1,
  2,
  2,
  2,
  2,
  3,
  3,
  3,
  3,
  4,
  4,
  4,
  4,
  5,
  5,
  5,
  5,
  0,
)
const DISTANCE_EXTRA = Uint8Array.from({ length: DISTANCE_CODES }, (_, code) => (code < 4 ? 0 : (code >> 1) - 1))
const BIT_LENGTH_EXTRA = Uint8Array.from({ length: BIT_LENGTH_CODES }, (_, code) => [2, 3, 7][code - 16] ?? 0)

/** First length (less 3) and first distance (less 1) of each code. */
const LENGTH_BASE = basesOf(LENGTH_EXTRA)
const DISTANCE_BASE = basesOf(DISTANCE_EXTRA)
/** By length less 3. The longest has a code of its own. */
const LENGTH_CODE = codesOf(LENGTH_BASE, 256)
LENGTH_CODE[255] = LENGTH_CODES - 1
LENGTH_BASE[LENGTH_CODES - 1] = 255
/** By distance less 1. */
const DISTANCE_CODE = codesOf(DISTANCE_BASE, WINDOW)

function basesOf(extra: Uint8Array): Uint16Array {
  const bases = new Uint16Array(extra.length)
  for (let code = 1; code < extra.length; code += 1)
    bases[code] = (bases[code - 1] ?? 0) + (1 << (extra[code - 1] ?? 0))
  return bases
}

function codesOf(bases: Uint16Array, count: number): Uint8Array {
  const codes = new Uint8Array(count)
  for (let code = 0; code < bases.length; code += 1) codes.fill(code, bases[code], bases[code + 1] ?? count)
  return codes
}

/** A Huffman code in the making (zlib's tree_desc): what its symbols are worth, and what they become. */
interface Tree {
  /** By symbol, then by inner node. */
  readonly frequencies: Uint32Array
  readonly lengths: Uint8Array
  readonly codes: Uint16Array
  readonly symbols: number
  readonly extra: Uint8Array
  /** The first symbol with extra bits. */
  readonly base: number
  readonly longest: number
  /** Lengths of the fixed code. */
  readonly fixed: Uint8Array | null
}

function makeTree(symbols: number, extra: Uint8Array, base: number, longest: number, fixed: Uint8Array | null): Tree {
  const frequencies = new Uint32Array(HEAP_SIZE)
  return {
    frequencies,
    lengths: new Uint8Array(HEAP_SIZE),
    codes: new Uint16Array(symbols),
    symbols,
    extra,
    base,
    longest,
    fixed,
  }
}

const FIXED_LITERAL_LENGTHS = Uint8Array.from({ length: 288 }, (_, symbol) =>
  symbol < 144 ? 8 : symbol < 256 ? 9 : symbol < 280 ? 7 : 8,
)
const FIXED_DISTANCE_LENGTHS = new Uint8Array(DISTANCE_CODES).fill(5)
const FIXED_LITERAL_CODES = codesOfLengths(FIXED_LITERAL_LENGTHS, 288)
const FIXED_DISTANCE_CODES = codesOfLengths(FIXED_DISTANCE_LENGTHS, DISTANCE_CODES)

/** gen_codes: the codes of given lengths, their bits reversed. */
function codesOfLengths(lengths: Uint8Array, count: number, codes: Uint16Array = new Uint16Array(count)): Uint16Array {
  const next = new Uint16Array(MAX_BITS + 2)
  for (let symbol = 0; symbol < count; symbol += 1) {
    const length = lengths[symbol] ?? 0
    if (length > 0) next[length + 1] = (next[length + 1] ?? 0) + 1
  }
  for (let length = 1; length <= MAX_BITS + 1; length += 1)
    next[length] = ((next[length - 1] ?? 0) + (next[length] ?? 0)) << 1
  for (let symbol = 0; symbol < count; symbol += 1) {
    const length = lengths[symbol] ?? 0
    if (length === 0) continue
    let code = next[length] ?? 0
    next[length] = code + 1
    let reversed = 0
    for (let bit = 0; bit < length; bit += 1, code >>= 1) reversed = (reversed << 1) | (code & 1)
    codes[symbol] = reversed
  }
  return codes
}

/** What a code costs, in bits, extra bits included: with lengths of its own, and with the fixed ones. */
interface Cost {
  readonly own: number
  readonly fixed: number
  /** The last symbol with a code. */
  readonly last: number
}

const heap = new Uint16Array(HEAP_SIZE)
const depth = new Uint8Array(HEAP_SIZE)
const parents = new Uint16Array(HEAP_SIZE)

/** build_tree: gives each symbol its length and code. */
function buildTree(tree: Tree): Cost {
  const { frequencies, lengths, symbols, fixed } = tree
  let count = 0
  let last = -1
  let own = 0
  let fixedCost = 0
  for (let symbol = 0; symbol < symbols; symbol += 1) {
    lengths[symbol] = 0
    if (frequencies[symbol] === 0) continue
    heap[(count += 1)] = symbol
    depth[symbol] = 0
    last = symbol
  }
  // at least two codes, the fixed format wants that; they cost nothing, as nothing is said by them
  while (count < 2) {
    const symbol = last < 2 ? (last += 1) : 0
    heap[(count += 1)] = symbol
    frequencies[symbol] = 1
    depth[symbol] = 0
    own -= 1
    fixedCost -= fixed?.[symbol] ?? 0
  }
  for (let node = count >> 1; node >= 1; node -= 1) sift(frequencies, node, count)
  let top = HEAP_SIZE
  let node = symbols
  do {
    const first = heap[1] ?? 0
    heap[1] = heap[count] ?? 0
    count -= 1
    sift(frequencies, 1, count)
    const second = heap[1] ?? 0
    heap[(top -= 1)] = first
    heap[(top -= 1)] = second
    frequencies[node] = (frequencies[first] ?? 0) + (frequencies[second] ?? 0)
    depth[node] = Math.max(depth[first] ?? 0, depth[second] ?? 0) + 1
    parents[first] = node
    parents[second] = node
    heap[1] = node
    node += 1
    sift(frequencies, 1, count)
  } while (count >= 2)
  heap[(top -= 1)] = heap[1] ?? 0

  const cost = setLengths(tree, top, last)
  codesOfLengths(lengths, last + 1, tree.codes)
  return { own: own + cost.own, fixed: fixedCost + cost.fixed, last }
}

/** pqdownheap: lets a node of the heap sink to its place. */
function sift(frequencies: Uint32Array, start: number, count: number): void {
  const node = heap[start] ?? 0
  let at = start
  for (let child = at << 1; child <= count; child <<= 1) {
    if (child < count && isSmaller(frequencies, heap[child + 1] ?? 0, heap[child] ?? 0)) child += 1
    const other = heap[child] ?? 0
    if (isSmaller(frequencies, node, other)) break
    heap[at] = other
    at = child
  }
  heap[at] = node
}

function isSmaller(frequencies: Uint32Array, a: number, b: number): boolean {
  const x = frequencies[a] ?? 0
  const y = frequencies[b] ?? 0
  return x < y || (x === y && (depth[a] ?? 0) <= (depth[b] ?? 0))
}

/** gen_bitlen: lengths from the tree in the heap from `top` on, none of them too long. */
function setLengths(tree: Tree, top: number, last: number): { own: number; fixed: number } {
  const { frequencies, lengths, extra, base, longest, fixed } = tree
  const counts = new Uint16Array(MAX_BITS + 1)
  let own = 0
  let fixedCost = 0
  let overflow = 0
  lengths[heap[top] ?? 0] = 0
  for (let at = top + 1; at < HEAP_SIZE; at += 1) {
    const node = heap[at] ?? 0
    let bits = (lengths[parents[node] ?? 0] ?? 0) + 1
    if (bits > longest) {
      bits = longest
      overflow += 1
    }
    lengths[node] = bits
    if (node > last) continue
    counts[bits] = (counts[bits] ?? 0) + 1
    const more = node >= base ? (extra[node - base] ?? 0) : 0
    own += (frequencies[node] ?? 0) * (bits + more)
    if (fixed !== null) fixedCost += (frequencies[node] ?? 0) * ((fixed[node] ?? 0) + more)
  }
  if (overflow === 0) return { own, fixed: fixedCost }
  for (; overflow > 0; overflow -= 2) {
    let bits = longest - 1
    while (counts[bits] === 0) bits -= 1
    counts[bits] = (counts[bits] ?? 0) - 1
    counts[bits + 1] = (counts[bits + 1] ?? 0) + 2
    counts[longest] = (counts[longest] ?? 0) - 1
  }
  let at = HEAP_SIZE
  for (let bits = longest; bits > 0; bits -= 1) {
    for (let left = counts[bits] ?? 0; left > 0;) {
      const node = heap[(at -= 1)] ?? 0
      if (node > last) continue
      own += (bits - (lengths[node] ?? 0)) * (frequencies[node] ?? 0)
      lengths[node] = bits
      left -= 1
    }
  }
  return { own, fixed: fixedCost }
}

/** scan_tree and send_tree: the lengths of a code, runs of them put together. */
function eachRun(lengths: Uint8Array, last: number, say: (symbol: number, extra: number) => void): void {
  let previous = -1
  let count = 0
  let next = lengths[0] ?? 0
  let [most, least] = next === 0 ? [138, 3] : [7, 4]
  for (let symbol = 0; symbol <= last; symbol += 1) {
    const length = next
    next = symbol === last ? -1 : (lengths[symbol + 1] ?? 0)
    count += 1
    if (count < most && length === next) continue
    if (count < least) for (; count > 0; count -= 1) say(length, 0)
    else if (length !== 0) {
      if (length !== previous) {
        say(length, 0)
        count -= 1
      }
      say(REPEAT_3_6, count - 3)
    } else if (count <= 10) say(ZEROS_3_10, count - 3)
    else say(ZEROS_11_138, count - 11)
    count = 0
    previous = length
    ;[most, least] = next === 0 ? [138, 3] : length === next ? [6, 3] : [7, 4]
  }
}

interface BitWriter {
  /** At most 16 bits. */
  put(value: number, count: number): void
  /** Begins a byte, and adds bytes as they are. */
  bytes(bytes: Uint8Array): void
  /** All of it, the last byte filled with zeros. */
  end(): Uint8Array
}

function bitWriter(expected: number): BitWriter {
  let out = new Uint8Array(Math.max(64, expected))
  let at = 0
  let partial = 0
  let held = 0
  const room = (count: number): void => {
    if (at + count <= out.length) return
    const larger = new Uint8Array(Math.max(2 * out.length, at + count))
    larger.set(out)
    out = larger
  }
  const align = (): void => {
    room(2)
    for (; held > 0; held -= 8) {
      out[at] = partial
      at += 1
      partial >>>= 8
    }
    partial = 0
    held = 0
  }
  return {
    put(value, count) {
      partial |= value << held
      held += count
      if (held < 16) return
      room(2)
      out[at] = partial
      out[at + 1] = partial >>> 8
      at += 2
      // a shift by 32 would be none
      partial >>>= 16
      held -= 16
    },
    bytes(bytes) {
      align()
      room(bytes.length)
      out.set(bytes, at)
      at += bytes.length
    },
    end() {
      align()
      return out.subarray(0, at)
    },
  }
}

/** The length of the match that `longestMatch` found last. */
let matched = 0

/**
 * longest_match: where a match is that is longer than `than`, 0 for none; looks at the places in `previous` from `from` on.
 */
function longestMatch(
  window: Uint8Array,
  previous: Int32Array,
  start: number,
  from: number,
  than: number,
  limit: number,
  nice: number,
  chain: number,
): number {
  let found = 0
  let best = than
  let at = from
  let left = chain
  let end = window[start + best]
  let beforeEnd = window[start + best - 1]
  const first = window[start]
  const second = window[start + 1]
  do {
    if (
      window[at + best] === end &&
      window[at + best - 1] === beforeEnd &&
      window[at] === first &&
      window[at + 1] === second
    ) {
      let length = 2
      while (length < MAX_MATCH && window[at + length] === window[start + length]) length += 1
      if (length > best) {
        found = at
        best = length
        if (length >= nice) break
        end = window[start + best]
        beforeEnd = window[start + best - 1]
      }
    }
    at = previous[at & WINDOW_MASK] ?? 0
    left -= 1
  } while (at > limit && left > 0)
  matched = best
  return found
}

/** The deflate stream that zlib makes of a content, with default strategy, memLevel and window. @param level 4 to 9 */
export function deflateLikeZlib(content: Uint8Array, level: number): Uint8Array {
  const configuration = CONFIGURATIONS[level]
  if (configuration === undefined) throw new Error(`no level ${level}`)
  const [goodMatch, maxLazy, niceLength, maxChain] = configuration
  const size = content.length
  // a comparison may read behind the end; what it finds there is cut off
  const window = new Uint8Array(size + MAX_MATCH + 2)
  window.set(content)
  const head = new Int32Array(HASH_MASK + 1)
  const previous = new Int32Array(WINDOW)
  const distances = new Uint16Array(BLOCK_SYMBOLS)
  const lengths = new Uint8Array(BLOCK_SYMBOLS)
  const literalTree = makeTree(LITERAL_CODES, LENGTH_EXTRA, 257, MAX_BITS, FIXED_LITERAL_LENGTHS)
  const distanceTree = makeTree(DISTANCE_CODES, DISTANCE_EXTRA, 0, MAX_BITS, FIXED_DISTANCE_LENGTHS)
  const lengthTree = makeTree(BIT_LENGTH_CODES, BIT_LENGTH_EXTRA, 0, 7, null)
  const literalFrequencies = literalTree.frequencies
  const distanceFrequencies = distanceTree.frequencies
  const out = bitWriter(size >> 1)
  let symbols = 0
  let blockStart = 0
  literalFrequencies[END_BLOCK] = 1

  const flushBlock = (end: number, last: boolean): void => {
    const literals = buildTree(literalTree)
    const distancesCost = buildTree(distanceTree)
    lengthTree.frequencies.fill(0)
    const count = (symbol: number): void => {
      lengthTree.frequencies[symbol] = (lengthTree.frequencies[symbol] ?? 0) + 1
    }
    eachRun(literalTree.lengths, literals.last, count)
    eachRun(distanceTree.lengths, distancesCost.last, count)
    const lengthsCost = buildTree(lengthTree)
    let order = BIT_LENGTH_CODES - 1
    while (order >= 3 && lengthTree.lengths[BIT_LENGTH_ORDER[order] ?? 0] === 0) order -= 1
    const header = 3 * (order + 1) + 5 + 5 + 4
    const own = (literals.own + distancesCost.own + lengthsCost.own + header + 3 + 7) >>> 3
    const fixed = (literals.fixed + distancesCost.fixed + 3 + 7) >>> 3
    const stored = end - blockStart
    const final = last ? 1 : 0
    if (stored + 4 <= Math.min(own, fixed)) {
      out.put(final, 3)
      const sizes = Buffer.alloc(4)
      sizes.writeUInt16LE(stored, 0)
      sizes.writeUInt16LE(~stored & 0xffff, 2)
      out.bytes(sizes)
      out.bytes(content.subarray(blockStart, end))
    } else if (fixed <= own) {
      out.put((1 << 1) | final, 3)
      putSymbols(FIXED_LITERAL_LENGTHS, FIXED_LITERAL_CODES, FIXED_DISTANCE_LENGTHS, FIXED_DISTANCE_CODES)
    } else {
      out.put((2 << 1) | final, 3)
      out.put(literals.last + 1 - 257, 5)
      out.put(distancesCost.last + 1 - 1, 5)
      out.put(order + 1 - 4, 4)
      for (let index = 0; index <= order; index += 1) out.put(lengthTree.lengths[BIT_LENGTH_ORDER[index] ?? 0] ?? 0, 3)
      const say = (symbol: number, extra: number): void => {
        out.put(lengthTree.codes[symbol] ?? 0, lengthTree.lengths[symbol] ?? 0)
        const more = BIT_LENGTH_EXTRA[symbol] ?? 0
        if (more > 0) out.put(extra, more)
      }
      eachRun(literalTree.lengths, literals.last, say)
      eachRun(distanceTree.lengths, distancesCost.last, say)
      putSymbols(literalTree.lengths, literalTree.codes, distanceTree.lengths, distanceTree.codes)
    }
    literalFrequencies.fill(0)
    distanceFrequencies.fill(0)
    literalFrequencies[END_BLOCK] = 1
    symbols = 0
    blockStart = end
  }

  const putSymbols = (
    literalLengths: Uint8Array,
    literalCodes: Uint16Array,
    distanceLengths: Uint8Array,
    distanceCodes: Uint16Array,
  ): void => {
    for (let index = 0; index < symbols; index += 1) {
      const distance = distances[index] ?? 0
      const value = lengths[index] ?? 0
      if (distance === 0) {
        out.put(literalCodes[value] ?? 0, literalLengths[value] ?? 0)
        continue
      }
      const lengthCode = LENGTH_CODE[value] ?? 0
      out.put(literalCodes[lengthCode + 257] ?? 0, literalLengths[lengthCode + 257] ?? 0)
      const lengthExtra = LENGTH_EXTRA[lengthCode] ?? 0
      if (lengthExtra > 0) out.put(value - (LENGTH_BASE[lengthCode] ?? 0), lengthExtra)
      const distanceCode = DISTANCE_CODE[distance - 1] ?? 0
      out.put(distanceCodes[distanceCode] ?? 0, distanceLengths[distanceCode] ?? 0)
      const distanceExtra = DISTANCE_EXTRA[distanceCode] ?? 0
      if (distanceExtra > 0) out.put(distance - 1 - (DISTANCE_BASE[distanceCode] ?? 0), distanceExtra)
    }
    out.put(literalCodes[END_BLOCK] ?? 0, literalLengths[END_BLOCK] ?? 0)
  }

  /** _tr_tally: adds a literal (distance 0) or a match (`value` is its length less 3); true when the block is full. */
  const tally = (distance: number, value: number): boolean => {
    distances[symbols] = distance
    lengths[symbols] = value
    symbols += 1
    if (distance === 0) literalFrequencies[value] = (literalFrequencies[value] ?? 0) + 1
    else {
      const literal = (LENGTH_CODE[value] ?? 0) + 257
      literalFrequencies[literal] = (literalFrequencies[literal] ?? 0) + 1
      const code = DISTANCE_CODE[distance - 1] ?? 0
      distanceFrequencies[code] = (distanceFrequencies[code] ?? 0) + 1
    }
    return symbols === BLOCK_SYMBOLS
  }

  /** INSERT_STRING; gives the last place with the same hash, 0 for none: the first byte of all is never referred to. */
  const insert = (at: number): number => {
    const hash = (((window[at] ?? 0) << 10) ^ ((window[at + 1] ?? 0) << 5) ^ (window[at + 2] ?? 0)) & HASH_MASK
    const found = head[hash] ?? 0
    previous[at & WINDOW_MASK] = found
    head[hash] = at
    return found
  }

  // deflate_slow: a match is taken only when the next byte does not begin a longer one
  let at = 0
  let matchStart = 0
  let matchLength = MIN_MATCH - 1
  let available = false
  while (at < size) {
    const found = at + MIN_MATCH <= size ? insert(at) : 0
    const previousLength = matchLength
    const previousStart = matchStart
    matchLength = MIN_MATCH - 1
    if (found !== 0 && previousLength < maxLazy && at - found <= MAX_DIST) {
      const nice = Math.min(niceLength, size - at)
      const limit = Math.max(0, at - MAX_DIST)
      const chain = previousLength >= goodMatch ? maxChain >> 2 : maxChain
      const start = longestMatch(window, previous, at, found, previousLength, limit, nice, chain)
      if (start > 0) {
        matchStart = start
        matchLength = Math.min(matched, size - at)
      } else matchLength = Math.min(previousLength, size - at)
      if (matchLength === MIN_MATCH && at - matchStart > TOO_FAR) matchLength = MIN_MATCH - 1
    }
    if (previousLength >= MIN_MATCH && matchLength <= previousLength) {
      const lastInsert = size - MIN_MATCH
      const full = tally(at - 1 - previousStart, previousLength - MIN_MATCH)
      const end = at + previousLength - 1
      for (at += 1; at < end; at += 1) if (at <= lastInsert) insert(at)
      available = false
      matchLength = MIN_MATCH - 1
      if (full) flushBlock(at, false)
    } else if (available) {
      if (tally(0, window[at - 1] ?? 0)) flushBlock(at, false)
      at += 1
    } else {
      available = true
      at += 1
    }
  }
  if (available) tally(0, window[size - 1] ?? 0)
  flushBlock(size, true)
  return out.end()
}

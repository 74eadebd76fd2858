// Strings of an ELF file, and paths, as JavaScript strings. Both are bytes, and nearly all are UTF-8. In the others
// each odd byte 0x80…0xFF becomes a lone surrogate U+DC80…U+DCFF, as in Python's os.fsdecode (PEP 383). This is
// reversible: JSON.stringify writes the surrogate as the escape "\udcXX", and Python's json and os.fsencode turn that
// back into the same byte.
import { isUtf8 } from 'node:buffer'

/** Shorter strings are kept. */
export const SHORT = 64

/**
 * Decoded strings, by a hash of their bytes. The objects of a venv share most strings (libc.so.6, GLIBC_2.2.5). Finding
 * a string here is quicker than decoding it again, and memory holds it once.
 */
const recent: string[] = []
const MOST_RECENT = 1 << 12

/** The short ASCII string at `start` that ends with a NUL inside `bytes`; null for any other. */
export function shortTextAt(bytes: Uint8Array, start: number): string | null {
  const most = Math.min(bytes.length, start + SHORT)
  let end = start
  let hash = 0
  for (let byte = 1; ; end++) {
    if (end >= most) return null
    byte = bytes[end] ?? 0
    if (byte === 0) break
    if (byte >= 0x80) return null
    hash = (Math.imul(hash, 31) + byte) | 0
  }
  return recentText(hash, bytes, start, end)
}

/** Short ASCII bytes as a string; null for others. */
function decodeShort(bytes: Uint8Array): string | null {
  const { length } = bytes
  let hash = 0
  for (let at = 0; at < length; at++) {
    const byte = bytes[at] ?? 0
    if (byte >= 0x80) return null
    hash = (Math.imul(hash, 31) + byte) | 0
  }
  return recentText(hash, bytes, 0, length)
}

function recentText(hash: number, bytes: Uint8Array, start: number, end: number): string {
  const slot = (hash ^ (hash >>> 15) ^ (end - start)) & (MOST_RECENT - 1)
  const known = recent[slot]
  if (known !== undefined && holds(known, bytes, start, end)) return known
  const text = String.fromCharCode(...bytes.subarray(start, end))
  recent[slot] = text
  return text
}

function holds(text: string, bytes: Uint8Array, start: number, end: number): boolean {
  if (text.length !== end - start) return false
  for (let at = start; at < end; at++) if (text.charCodeAt(at - start) !== bytes[at]) return false
  return true
}

/** The bytes of a decoded string; the inverse of `decodeBytes`. */
export function encodeText(text: string): Buffer {
  if (text.isWellFormed()) return Buffer.from(text)
  const parts: Buffer[] = []
  let plain = ''
  for (const char of text) {
    const code = char.codePointAt(0) ?? 0
    if (code >= 0xdc80 && code <= 0xdcff) {
      parts.push(Buffer.from(plain), Buffer.from([code - 0xdc00]))
      plain = ''
    } else plain += char
  }
  parts.push(Buffer.from(plain))
  return Buffer.concat(parts)
}

/** Decodes bytes as UTF-8. Each byte that is not UTF-8 becomes a lone surrogate. */
export function decodeBytes(bytes: Uint8Array): string {
  if (bytes.length < SHORT) {
    // nearly all strings are short and ASCII
    const short = decodeShort(bytes)
    if (short !== null) return short
  }
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (isUtf8(buffer)) return buffer.toString('utf8')
  let text = ''
  let at = 0
  while (at < buffer.length) {
    const length = utf8Length(buffer, at)
    if (length === 0) text += String.fromCharCode(0xdc00 + (buffer[at] ?? 0))
    else text += buffer.toString('utf8', at, at + length)
    at += Math.max(length, 1)
  }
  return text
}

/** Length in bytes of the UTF-8 character at `at`, 0 where there is none. */
function utf8Length(buffer: Buffer, at: number): number {
  const first = buffer[at] ?? 0
  const length = first < 0x80 ? 1 : first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0
  return length > 0 && at + length <= buffer.length && isUtf8(buffer.subarray(at, at + length)) ? length : 0
}

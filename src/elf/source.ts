// Where ELF bytes come from. The core sees only this interface, which fits a file, a zip entry and a buffer.
import { ElfError } from './error.ts'

/** Random access to the bytes of one object. */
export interface ByteSource {
  /** Size in bytes. */
  readonly size: number
  /**
   * All of the `length` bytes at file offset `offset`.
   * @throws ElfError `TRUNCATED` when the range is not wholly inside the source.
   */
  read(offset: number, length: number): Uint8Array
  /**
   * Fills `target` with the bytes at file offset `offset`, where the source can do that without another buffer.
   * @throws ElfError as `read`
   */
  readInto?(target: Uint8Array, offset: number): void
}

/** @throws ElfError `TRUNCATED` when `offset … offset + length` is not inside `size` bytes. */
export function assertInside(size: number, offset: number, length: number): void {
  if (!(offset >= 0 && length >= 0 && offset <= size && length <= size - offset)) {
    throw new ElfError(
      'TRUNCATED',
      `the ${length}-byte range at ${offset} lies outside the ${size}-byte file`,
      offset,
      length,
    )
  }
}

/** Fills `target` with the bytes at a file offset. @throws ElfError as `read` of the source does */
export function readInto(source: ByteSource, target: Uint8Array, offset: number): void {
  if (source.readInto === undefined) target.set(source.read(offset, target.length))
  else source.readInto(target, offset)
}

/** Bytes of a source around the last place that was looked at. One read serves many small records or strings. */
export interface Window {
  bytes: Uint8Array
  /** File offset of the first byte. */
  offset: number
}

/** In bytes. A source of a file keeps as much in memory anyway. */
const WINDOW = 4096

/** A window that holds nothing yet. The first access reads. */
export function emptyWindow(): Window {
  return { bytes: NOTHING, offset: 0 }
}

const NOTHING = new Uint8Array()

/**
 * The index in `window.bytes` of the byte at a file offset, with at least `length` bytes from there on.
 * @throws ElfError `TRUNCATED`
 */
export function locate(source: ByteSource, window: Window, offset: number, length: number): number {
  const at = offset - window.offset
  if (at >= 0 && at + length <= window.bytes.length) return at
  window.bytes = source.read(offset, Math.max(length, Math.min(WINDOW, source.size - offset)))
  window.offset = offset
  return 0
}

/** A source over bytes in memory. It returns views, not copies. */
export function bytesSource(bytes: Uint8Array): ByteSource {
  return {
    size: bytes.length,
    read(offset, length) {
      assertInside(bytes.length, offset, length)
      return bytes.subarray(offset, offset + length)
    },
  }
}

// zlib's own deflate, to the bit. Which bytes a compressor makes is no standard, and Node's zlib makes other ones than
// Python's, which compressed most wheels: a restored wheel is the original again only where its streams are compressed by
// the very steps of zlib. pako 2.1.0 is a port of them; later versions make other bytes, so the version is pinned.
import { deflateRaw } from 'pako'

/** The levels at which wheels are made, the most frequent first. */
export const ZLIB_LEVELS = [6, 9, 8, 7, 5, 4] as const

/**
 * The deflate stream that zlib makes of a content, with default strategy, memLevel and window.
 * @param level one of `ZLIB_LEVELS`
 */
export function deflateLikeZlib(content: Uint8Array, level: number): Uint8Array {
  const known = ZLIB_LEVELS.find(candidate => candidate === level)
  if (known === undefined) throw new Error(`no level ${level}`)
  return deflateRaw(content, { level: known })
}

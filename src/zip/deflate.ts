// zlib's own deflate, exact to the bit. No standard says which bytes a compressor makes. Python's zlib compressed most
// wheels, and Node's zlib makes other bytes. A restored wheel equals the original only if its streams are compressed by
// the exact steps of zlib. pako 2.1.0 is a port of these steps. Later versions make other bytes, so the version is
// pinned.
import { deflateRaw } from 'pako'

/** The levels with which wheels are made, the most frequent first. */
export const ZLIB_LEVELS = [6, 9, 8, 7, 5, 4, 1, 3, 2, 0] as const

/**
 * The deflate stream that zlib makes from some content, with default strategy, memLevel and window.
 * Exact at every level but 0, where the blocks of more than 32 KiB depend on the buffers of zlib's caller.
 * @param level one of `ZLIB_LEVELS`
 */
export function deflateLikeZlib(content: Uint8Array, level: number): Uint8Array {
  const known = ZLIB_LEVELS.find(candidate => candidate === level)
  if (known === undefined) throw new Error(`no level ${level}`)
  return deflateRaw(content, { level: known })
}

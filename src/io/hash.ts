// The hash of a whole file of any size.
import { createHash } from 'node:crypto'
import type { ByteSource } from '../elf/source.ts'

/** The size of a read in bytes. It fits the cache of a processor. */
const CHUNK = 1 << 17

/** One buffer for all files. New buffers would cost a tenth of the time, and the same again for garbage collection. */
const shared = Buffer.alloc(CHUNK)

/**
 * Reads a source from its first byte to its last.
 * @param use gets the bytes at an offset, which are valid during the call only. It must not read through another source
 * @throws errors of the source
 */
export function readThrough(source: ByteSource, use: (bytes: Uint8Array, offset: number) => void): void {
  for (let offset = 0; offset < source.size; offset += CHUNK) {
    const length = Math.min(CHUNK, source.size - offset)
    if (source.readInto === undefined) use(source.read(offset, length), offset)
    else {
      const bytes = shared.subarray(0, length)
      source.readInto(bytes, offset)
      use(bytes, offset)
    }
  }
}

/** @param algorithm as `createHash` of node:crypto names it. @throws errors of the source */
export function digestOf(source: ByteSource, algorithm: string, encoding: 'hex' | 'base64url'): string {
  const hash = createHash(algorithm)
  readThrough(source, bytes => hash.update(bytes))
  return hash.digest(encoding)
}

// The hash of a whole file of any size.
import { createHash } from 'node:crypto'
import type { ByteSource } from '../elf/source.ts'

/** One buffer for all files: a new one for each piece costs a tenth of the time, and as much again for garbage collection. */
const CHUNK = 1 << 17
const chunk = Buffer.alloc(CHUNK)

/** @param algorithm as `createHash` of node:crypto names it. @throws errors of the source */
export function digestOf(source: ByteSource, algorithm: string, encoding: 'hex' | 'base64url'): string {
  const hash = createHash(algorithm)
  for (let at = 0; at < source.size; at += CHUNK) {
    const length = Math.min(CHUNK, source.size - at)
    if (source.readInto === undefined) hash.update(source.read(at, length))
    else {
      const piece = chunk.subarray(0, length)
      source.readInto(piece, at)
      hash.update(piece)
    }
  }
  return hash.digest(encoding)
}

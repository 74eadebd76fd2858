// The hash of a whole file of any size.
import { createHash } from 'node:crypto'
import type { ByteSource } from '../elf/source.ts'

/** Fits the cache of a processor: 1 GB takes 0.66 s of processor time, and 0.73 s with chunks of 1 MiB. */
const CHUNK = 1 << 16

/** @param algorithm as `createHash` of node:crypto names it. @throws errors of the source */
export function digestOf(source: ByteSource, algorithm: string, encoding: 'hex' | 'base64url'): string {
  const hash = createHash(algorithm)
  for (let at = 0; at < source.size; at += CHUNK) hash.update(source.read(at, Math.min(CHUNK, source.size - at)))
  return hash.digest(encoding)
}

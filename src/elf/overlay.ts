// Views of a source with some of its bytes replaced and something put behind it: an edited file before it is written, and
// the original of an edited one, without a copy of either.
import { assertInside, type ByteSource } from './source.ts'

/** Bytes that stand at a file offset instead of those of the base. */
export interface Patch {
  readonly offset: number
  readonly bytes: Uint8Array
}

/** The first `size` bytes of `base`, with the patches in place. */
export function patchedSource(base: ByteSource, size: number, patches: readonly Patch[]): ByteSource {
  return {
    size,
    read(offset, length) {
      assertInside(size, offset, length)
      const bytes = base.read(offset, length)
      const touching = patches.filter(
        patch => patch.offset < offset + length && patch.offset + patch.bytes.length > offset,
      )
      if (touching.length === 0) return bytes
      const patched = new Uint8Array(bytes)
      for (const patch of touching) {
        const from = Math.max(offset, patch.offset)
        const to = Math.min(offset + length, patch.offset + patch.bytes.length)
        patched.set(patch.bytes.subarray(from - patch.offset, to - patch.offset), from - offset)
      }
      return patched
    },
  }
}

/** A stretch of bytes: themselves, a part of another source, or a hole, which reads as zeros. */
type Piece =
  | Uint8Array
  | { readonly source: ByteSource; readonly offset: number; readonly length: number }
  | { readonly hole: true; readonly length: number }

/** `base` with the pieces behind it. */
export function extendedSource(base: ByteSource, pieces: readonly Piece[]): ByteSource {
  const placed: { start: number; piece: Piece }[] = []
  let size = base.size
  for (const piece of pieces) {
    placed.push({ start: size, piece })
    size += piece.length
  }
  return {
    size,
    read(offset, length) {
      assertInside(size, offset, length)
      if (offset + length <= base.size) return base.read(offset, length)
      const parts: Uint8Array[] = []
      if (offset < base.size) parts.push(base.read(offset, base.size - offset))
      for (const { start, piece } of placed) {
        const from = Math.max(offset, start) - start
        const to = Math.min(offset + length, start + piece.length) - start
        if (from >= to) continue
        parts.push(readPiece(piece, from, to - from))
      }
      return parts.length === 1 && parts[0] !== undefined ? parts[0] : Buffer.concat(parts)
    },
  }
}

function readPiece(piece: Piece, offset: number, length: number): Uint8Array {
  if (piece instanceof Uint8Array) return piece.subarray(offset, offset + length)
  return 'hole' in piece ? new Uint8Array(length) : piece.source.read(piece.offset + offset, length)
}

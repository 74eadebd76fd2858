// Views of a source in which some bytes are replaced or something is appended. They show an edited file before it is
// written, and the original of an edited file, without copying either.
import { assertInside, type ByteSource, readInto } from './source.ts'

/** Bytes that replace those of the base at a file offset. */
export interface Patch {
  readonly offset: number
  readonly bytes: Uint8Array
}

/** The first `size` bytes of `base`, with the patches in place. */
export function patchedSource(base: ByteSource, size: number, patches: readonly Patch[]): ByteSource {
  const touching = (offset: number, length: number): readonly Patch[] =>
    patches.filter(patch => patch.offset < offset + length && patch.offset + patch.bytes.length > offset)
  return {
    size,
    read(offset, length) {
      assertInside(size, offset, length)
      const bytes = base.read(offset, length)
      const some = touching(offset, length)
      if (some.length === 0) return bytes
      const patched = new Uint8Array(bytes)
      layOver(patched, offset, some)
      return patched
    },
    readInto(target, offset) {
      assertInside(size, offset, target.length)
      readInto(base, target, offset)
      layOver(target, offset, touching(offset, target.length))
    },
  }
}

/** Replaces bytes of a range that begins at `offset`. Each patch touches the range. */
function layOver(range: Uint8Array, offset: number, patches: readonly Patch[]): void {
  for (const patch of patches) {
    const from = Math.max(offset, patch.offset)
    const to = Math.min(offset + range.length, patch.offset + patch.bytes.length)
    range.set(patch.bytes.subarray(from - patch.offset, to - patch.offset), from - offset)
  }
}

/** A range of bytes: bytes in memory, a part of another source, or a hole, which reads as zeros. */
type SourcePiece =
  | Uint8Array
  | { readonly source: ByteSource; readonly offset: number; readonly length: number }
  | { readonly hole: true; readonly length: number }

/** `base` with the pieces appended. */
export function extendedSource(base: ByteSource, pieces: readonly SourcePiece[]): ByteSource {
  const placed: { start: number; piece: SourcePiece }[] = []
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

function readPiece(piece: SourcePiece, offset: number, length: number): Uint8Array {
  if (piece instanceof Uint8Array) return piece.subarray(offset, offset + length)
  return 'hole' in piece ? new Uint8Array(length) : piece.source.read(piece.offset + offset, length)
}

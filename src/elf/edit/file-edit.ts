// New bytes for a file, in terms of those that it has: what an edit of an object comes out as, and what is written.
import type { Patch } from '../overlay.ts'

/**
 * Bytes; or a stretch of the base file, its patches included, to be copied: a string table may be 80 MB large; or a hole,
 * which reads as zeros and takes no room on the disk: a program with a large .bss has one of that size. A hole is never last.
 */
export type FilePiece =
  | Uint8Array
  | { readonly copyFrom: number; readonly length: number }
  | { readonly hole: true; readonly length: number }

export interface FileEdit {
  /** The file is cut to this size, then `tail` is appended. */
  readonly baseSize: number
  readonly tail: readonly FilePiece[]
  /** Ranges below `baseSize` that change, besides the header; a later one wins. */
  readonly patches: readonly Patch[]
  /** The new ELF header, written last, at offset 0. */
  readonly header: Uint8Array
}

/** How large the file becomes. */
export function sizeAfter({ baseSize, tail }: Pick<FileEdit, 'baseSize' | 'tail'>): number {
  return tail.reduce((sum, { length }) => sum + length, baseSize)
}

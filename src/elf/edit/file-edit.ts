// The new content of a file, described by the old content: the result of an edit, and the input of the writer.
import type { Patch } from '../overlay.ts'

/**
 * One of three: bytes; a range to copy from the base file with its patches (a string table may be 80 MB large); or a
 * hole, which reads as zeros and takes no room on the disk (a program with a large .bss has one of that size). A hole
 * is never last.
 */
export type FilePiece =
  | Uint8Array
  | { readonly copyFrom: number; readonly length: number }
  | { readonly hole: true; readonly length: number }

export interface FileEdit {
  /** The file is cut to this size before `tail` is appended. */
  readonly baseSize: number
  readonly tail: readonly FilePiece[]
  /** Ranges below `baseSize` that change, besides the header. A later patch wins. */
  readonly patches: readonly Patch[]
  /** The new ELF header, written last, at offset 0. */
  readonly header: Uint8Array
}

/** The size of the edited file in bytes. */
export function sizeAfter({ baseSize, tail }: Pick<FileEdit, 'baseSize' | 'tail'>): number {
  return tail.reduce((sum, { length }) => sum + length, baseSize)
}

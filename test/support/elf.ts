// Reading and editing ELF files with wheelfix's own core, for what the tests build.
import type { ElfEdit } from '../../src/elf/edit/edit.ts'
import { type GraftOptions, makeGraft } from '../../src/elf/graft/graft.ts'
import type { FilePiece } from '../../src/elf/edit/file-edit.ts'
import { isElf, readElf } from '../../src/elf/read.ts'
import { replaceFile } from '../../src/io/write/replace.ts'
import { withSource } from '../../src/io/source.ts'

/** PT_INTERP of a file; null where it has none, or is not an ELF file. */
export function interpreterOf(path: string): string | null {
  return withSource(path, source => (isElf(source.read(0, Math.min(4, source.size))) ? readElf(source).ptInterp : null))
}

/** Edits a file; its mode and times stay. */
export function editElf(path: string, edit: ElfEdit, options: GraftOptions = {}): void {
  const graft = withSource(path, source => makeGraft(source, edit, options))
  if (graft !== null) replaceFile(path, graft)
}

/** Edits a file so that it passes for one that was built so: nothing takes it for one that can be changed back. */
export function rebuildElf(path: string, edit: ElfEdit): void {
  const graft = withSource(path, source => makeGraft(source, edit))
  if (graft !== null) replaceFile(path, { ...graft, tail: graft.tail.map(disowned) })
}

/** The undo note's owner (elf/graft/undo-note.ts) with another name of the same length. */
function disowned(piece: FilePiece): FilePiece {
  if (!(piece instanceof Uint8Array)) return piece
  const bytes = Buffer.from(piece)
  const owner = bytes.indexOf('wheelfix\0\0\0\0')
  if (owner >= 0) bytes.write('somebody', owner)
  return bytes
}

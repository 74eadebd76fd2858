// The headers of a grafted object: its program headers, including the graft's PT_LOAD, and its ELF header.
import { EI_OSABI, PF_R, PF_W, PT_DYNAMIC, PT_GNU_STACK, PT_INTERP, PT_LOAD, PT_PHDR } from '../constants.ts'
import { type GraftLayout, lengthened } from './placement.ts'
import type { GraftParts } from './new-parts.ts'
import type { GraftSections, Placed } from './new-sections.ts'
import { encode, type Format, formatOf } from '../layout.ts'
import type { Editable } from '../rules/refuse.ts'
import type { ElfState } from '../edit/state.ts'
import type { ElfObject, ProgramHeader } from '../types.ts'
import type { Patch } from '../overlay.ts'

/** The program headers of the grafted file. PT_LOADs stay sorted by p_vaddr (gABI, Program Header). */
export function newProgramHeaders(
  { dynamicSegment }: Editable,
  { stack }: ElfState,
  parts: GraftParts,
  { start, address, align, dynamic, interpreter, programHeaders, loadEnd, strings, stringsPlace }: GraftLayout,
): ProgramHeader[] {
  const template = { ...dynamicSegment, type: PT_LOAD, flags: PF_R | PF_W, align }
  const ours = moved(template, { at: start, address, length: loadEnd - start })
  // PT_LOADs must be sorted by address
  const predecessor = parts.programHeaders.findLastIndex(({ type, vaddr }) => type === PT_LOAD && vaddr < address)
  const table = parts.programHeaders.flatMap((old, index): ProgramHeader[] => {
    let changed = old
    if (old.type === PT_DYNAMIC) changed = moved(old, dynamic)
    else if (old.type === PT_INTERP && interpreter !== null) changed = moved(old, interpreter)
    else if (old.type === PT_PHDR) changed = moved(old, { ...programHeaders, length: loadEnd - programHeaders.at })
    else if (old.type === PT_GNU_STACK && stack !== null) changed = { ...old, flags: stack }
    else if (stringsPlace === 'grown' && old === parts.lastLoad) changed = lengthened(old, strings.at + strings.length)
    return index === predecessor ? [changed, ours] : [changed]
  })
  if (parts.addsStack) table.push(stackHeader(stack ?? 0))
  return table
}

function moved(old: ProgramHeader, to: Placed): ProgramHeader {
  return {
    ...old,
    offset: to.at,
    vaddr: to.address,
    paddr: to.address,
    filesz: to.length,
    memsz: BigInt(to.length),
  }
}

function stackHeader(flags: number): ProgramHeader {
  return { type: PT_GNU_STACK, flags, offset: 0, vaddr: 0n, paddr: 0n, filesz: 0, memsz: 0n, align: 16n }
}

/** The program headers as the bytes of their table. */
export function encodeProgramHeaders(format: Format, programHeaders: readonly ProgramHeader[]): Uint8Array {
  const { phdr } = format
  const bytes = new Uint8Array(programHeaders.length * phdr.bytes)
  for (const [index, header] of programHeaders.entries()) encode(phdr, format, bytes, index * phdr.bytes, header)
  return bytes
}

/** The patch that changes one program header in place. */
export function programHeaderPatch({ header }: ElfObject, index: number, changed: ProgramHeader): Patch {
  const format = formatOf(header)
  return { offset: header.phoff + index * format.phdr.bytes, bytes: encodeProgramHeaders(format, [changed]) }
}

/**
 * @param sections null where the object has no section table that can be read. The header then names none: what it named
 *   outside of the file would lie in the graft.
 */
export function newElfHeader(
  format: Format,
  old: Uint8Array,
  { osabi }: ElfState,
  programHeaders: { readonly at: number; readonly count: number },
  sections: GraftSections | null,
): Uint8Array {
  const header = new Uint8Array(old)
  encode(format.ehdr, format, header, 0, { phoff: programHeaders.at, phnum: programHeaders.count })
  header[EI_OSABI] = osabi
  const { at, shnum, shstrndx } = sections ?? { at: 0, shnum: 0, shstrndx: 0 }
  encode(format.ehdr, format, header, 0, { shoff: at, shnum, shstrndx })
  return header
}

// What cannot be edited safely, with the reason. All that the graft relies on is checked here, so that the writer need
// not check it.
import {
  DF_1_PIE,
  DT_STRSZ,
  DT_STRTAB,
  ET_CORE,
  ET_DYN,
  ET_EXEC,
  ET_REL,
  PN_XNUM,
  PT_DYNAMIC,
  PT_INTERP,
  PT_LOAD,
  SHT_DYNAMIC,
  SHT_STRTAB,
} from '../constants.ts'
import { ElfError } from '../error.ts'
import { type Extent, extentAt } from '../memory.ts'
import { formatOf } from '../layout.ts'
import { SMALLEST_PAGE } from '../machine.ts'
import {
  endOfSections,
  findSection,
  readSections,
  sectionAddress,
  sectionNumber,
  type SectionTable,
} from '../tables/sections.ts'
import { areRemainsOfSections } from './remains.ts'
import { type ByteSource } from '../source.ts'
import { definesSymbol } from '../tables/symbols.ts'
import { valueOf } from '../tables/entries.ts'
import { STRING_TAGS } from '../graft/new-strings.ts'
import type { DynamicEntry, ElfObject, ProgramHeader } from '../types.ts'
import { readUndo } from '../graft/undo-note.ts'
import { isMapped } from './rules.ts'

/** What every editable object has. */
export interface Editable {
  readonly dynamicSegment: ProgramHeader
  /** The place of the old dynamic string table in the file. */
  readonly strtab: Extent
  readonly sections: SectionTable | null
}

/** How many bytes at each end of the data behind an object are searched for anything but zeros. */
const SLACK_SAMPLE = 4096

/**
 * All checks except the one for a payload.
 * @throws ElfError `REFUSED` with the reason, or what is wrong with the file
 */
export function assertEditable(source: ByteSource, object: ElfObject): Editable {
  const { header, programHeaders, dynamic } = object
  if (header.type === ET_CORE) throw refused('it is a core file')
  if (header.type === ET_REL) throw refused('it is a relocatable object, not linked yet')
  if (header.type !== ET_EXEC && header.type !== ET_DYN) throw refused(`e_type is ${header.type}`, header.type)
  const loads = programHeaders.filter(({ type }) => type === PT_LOAD)
  assertLoads(source, loads)
  const dynamicSegment = only(programHeaders, PT_DYNAMIC, 'PT_DYNAMIC')
  const interpreter = only(programHeaders, PT_INTERP, 'PT_INTERP')
  const sections = readSections(source, header)
  if (dynamicSegment === undefined || dynamic === null) {
    throw refused(
      sections !== null && findSection(sections, index => sectionNumber(sections, index, 'type') === SHT_DYNAMIC) > 0
        ? 'no PT_DYNAMIC names its .dynamic, so no loader would read it'
        : 'it is statically linked: it has no dynamic segment (PT_DYNAMIC)',
    )
  }
  if (interpreter === undefined && (object.flags1 & DF_1_PIE) !== 0n) {
    throw refused('it is statically linked (static-pie): it loads no libraries')
  }
  if (isMuslLibc(source, object)) {
    throw refused(
      'it is musl itself, which looks for its own program headers in its first page: after an edit, no program would start',
    )
  }
  // PN_XNUM: neither the kernel nor glibc reads such a table
  if (programHeaders.length + 2 >= PN_XNUM) throw refused(`it has ${programHeaders.length} program headers`)
  const loaded = asLoaded(object, dynamicSegment, dynamic)
  if (dynamic.some(({ tag }) => !Number.isSafeInteger(tag))) throw refused('it has a dynamic tag past 2^53')
  // throws for the record of a later version, which this version could not take off any more
  readUndo(source, object)
  return { dynamicSegment: loaded, strtab: stringTable(object, sections), sections }
}

/** The dynamic segment as loaders take it: they go by its address, and read on to DT_NULL whatever p_offset and p_filesz say. */
function asLoaded(
  { header, programHeaders }: ElfObject,
  segment: ProgramHeader,
  dynamic: readonly DynamicEntry[],
): ProgramHeader {
  const placed = extentAt(programHeaders, segment.vaddr)
  if (placed === null) throw refused('its dynamic segment is in no PT_LOAD', segment.vaddr)
  const length = (dynamic.length + 1) * formatOf(header).dyn.bytes
  if (length > placed.length) throw refused('its dynamic table has no DT_NULL in its PT_LOAD', placed.length)
  const isWhole = segment.filesz >= length && segment.filesz <= placed.length
  return { ...segment, offset: placed.offset, filesz: isWhole ? segment.filesz : length }
}

/**
 * Is this musl's libc, which is also its loader? It relocates itself by the program headers behind its ELF header, in
 * its own first page (ldso/dlstart.c). A graft moves the headers elsewhere. The libc of other systems has a separate
 * loader.
 */
function isMuslLibc(source: ByteSource, object: ElfObject): boolean {
  const { header, ptInterp: interpreter, needed } = object
  const mayBe = interpreter === null && needed.length === 0 && header.entry !== 0n
  return mayBe && definesSymbol(source, object, '__libc_start_main')
}

function refused(reason: string, value?: bigint | number): ElfError {
  return new ElfError('REFUSED', `cannot be edited: ${reason}`, undefined, value)
}

function only(programHeaders: readonly ProgramHeader[], type: number, name: string): ProgramHeader | undefined {
  const found = programHeaders.filter(header => header.type === type)
  if (found.length > 1) throw refused(`it has ${found.length} ${name} segments`, found.length)
  return found[0]
}

function assertLoads(source: ByteSource, loads: readonly ProgramHeader[]): void {
  if (loads.length === 0) throw refused('it has no PT_LOAD')
  let end = 0n
  for (const { vaddr, offset, filesz, memsz, align } of loads) {
    const at = `the PT_LOAD at 0x${vaddr.toString(16)}`
    if (offset + filesz > source.size) {
      throw new ElfError('TRUNCATED', `${at} ends at ${offset + filesz}, past the end of the file`, offset, filesz)
    }
    if (BigInt(filesz) > memsz) throw refused(`${at} is larger in the file than in memory`, memsz)
    if (vaddr < end) throw refused(`${at} overlaps the one before it, or comes after a higher one`, vaddr)
    if ((align & (align - 1n)) !== 0n) throw refused(`${at} has an alignment that is not a power of two`, align)
    // glibc before 2.35 wants agreement modulo p_align; later versions, musl and the kernel only need agreement modulo
    // the page
    const page = align < SMALLEST_PAGE ? align : BigInt(SMALLEST_PAGE)
    if (page > 1n && (vaddr - BigInt(offset)) % page !== 0n) {
      throw refused(`address and offset of ${at} do not agree modulo the page size`, align)
    }
    end = vaddr + memsz
  }
}

/** DT_STRTAB with DT_STRSZ. If the section is longer, its length counts: loaders check neither. */
function stringTable({ programHeaders, dynamic, header }: ElfObject, sections: SectionTable | null): Extent {
  const address = valueOf(dynamic, DT_STRTAB)
  if (address === undefined) throw refused('its dynamic table has no DT_STRTAB')
  const extent = extentAt(programHeaders, address)
  if (extent === null) throw refused('its dynamic strings are in no PT_LOAD', address)
  const index = sections === null ? -1 : findStringSection(sections, address)
  const inSection = sections === null || index < 0 ? 0 : sectionNumber(sections, index, 'size')
  const told = Number(valueOf(dynamic, DT_STRSZ) ?? 0n)
  // a table that a graft made longer goes on into the next PT_LOAD (isMapped in rules.ts)
  const isWhole = told <= extent.length || isMapped(programHeaders, address, BigInt(told))
  const length = Math.max(isWhole ? told : 0, Math.min(inSection, extent.length))
  // no loader heeds DT_STRSZ: where it cannot be, all that is mapped there may be strings
  const table = { offset: extent.offset, length: length === 0 ? extent.length : length }
  const outside = dynamic?.find(({ tag, value }) => STRING_TAGS.has(tag) && value >= BigInt(table.length))
  if (outside !== undefined) throw refused('a string of its dynamic table lies outside DT_STRSZ', outside.value)
  if (header.class === 32 && table.length > 0x7fffffff) throw refused('it has too many dynamic strings')
  return table
}

/** The index of the section of the dynamic strings, found by its address; -1 without one. */
export function findStringSection(sections: SectionTable, address: bigint): number {
  return findSection(
    sections,
    index =>
      sectionNumber(sections, index, 'type') === SHT_STRTAB && sectionAddress(sections, index, 'addr') === address,
  )
}

/**
 * Refuses a file with data behind the last section and segment. The data belongs to the program (PyInstaller, bun,
 * deno, pkg, an AppImage, a zip). The program finds it from the end of its own file, and would not find it behind a
 * graft.
 */
export function assertNoPayload(source: ByteSource, object: ElfObject, { sections }: Editable): void {
  const { header, programHeaders } = object
  let end = header.phoff + programHeaders.length * (header.class === 64 ? 56 : 32)
  for (const { offset, filesz } of programHeaders) {
    // no loader heeds the size of a segment that lies in a PT_LOAD
    if (offset + filesz <= source.size) end = Math.max(end, offset + filesz)
  }
  if (sections !== null) {
    end = Math.max(end, header.shoff + sections.bytes.length, endOfSections(sections, source.size))
  }
  const slack = source.size - end
  if (slack <= 0) return
  const first = source.read(end, Math.min(slack, SLACK_SAMPLE))
  const final = source.read(source.size - Math.min(slack, SLACK_SAMPLE), Math.min(slack, SLACK_SAMPLE))
  if (first.some(byte => byte !== 0) || final.some(byte => byte !== 0)) {
    if (areRemainsOfSections(source, object, end)) return
    throw refused(
      `${slack} ${slack === 1 ? 'byte is' : 'bytes are'} appended to it (a payload that the program looks for at its end)`,
      slack,
    )
  }
}

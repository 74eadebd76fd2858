// The section header table, as raw records that can be changed and written back. Loaders never look at it, and it may
// have been stripped. It is kept correct for the tools that read it.
import {
  PT_DYNAMIC,
  SHN_LORESERVE,
  SHN_UNDEF,
  SHN_XINDEX,
  SHT_NOBITS,
  SHT_NULL,
  SHT_STRTAB,
  SHT_SYMTAB,
} from '../constants.ts'
import { encode, type FieldName, type Format, formatOf, getAddress, getNumber, getRounded } from '../layout.ts'
import type { ByteSource } from '../source.ts'
import type { ElfHeader, ElfObject, ProgramHeader } from '../types.ts'

export type SectionField = FieldName<Format['shdr']>

/** Section names of real objects take some hundred bytes; an object with 70,000 sections has 2 MB of them. */
export const MOST_SECTION_NAMES = 1 << 24

/** A copy of the section header table, and the index of the section that holds the names. */
export interface SectionTable {
  readonly format: Format
  readonly count: number
  readonly namesIndex: number
  readonly bytes: Uint8Array
}

/**
 * Null where there is no section table, or where it lies outside the file, has another record size or does not begin with
 * the null section. Loaders never look at the table, so such a file runs like any other.
 */
export function readSections(source: ByteSource, header: ElfHeader): SectionTable | null {
  if (header.shoff === 0 || header.shnum === 0) return null
  const format = formatOf(header)
  const entrySize = getNumber(format, source.read(0, format.ehdr.bytes), 0, format.ehdr.shentsize)
  const length = header.shnum * entrySize
  if (entrySize !== format.shdr.bytes || header.shoff + length > source.size) return null
  const bytes = new Uint8Array(source.read(header.shoff, length))
  const table = { format, count: header.shnum, namesIndex: header.shstrndx, bytes }
  return beginsWithNull(table) ? table : null
}

/** Is section 0 the null section? Only numbers that do not fit into the ELF header are in it. */
export function beginsWithNull(table: SectionTable): boolean {
  const fields = ['name', 'type', 'offset'] as const
  return fields.every(field => sectionNumber(table, 0, field) === 0)
}

/**
 * A field of a section header as a number. `index` counts from 0, the null section. A number past 2^53 is rounded: it
 * leaves every file, and no loader looks at it.
 */
export function sectionNumber({ format, bytes }: SectionTable, index: number, field: SectionField): number {
  return getRounded(format, bytes, index * format.shdr.bytes, format.shdr[field])
}

/** A field of a section header as a bigint, for addresses (sh_addr). */
export function sectionAddress({ format, bytes }: SectionTable, index: number, field: SectionField): bigint {
  return getAddress(format, bytes, index * format.shdr.bytes, format.shdr[field])
}

/** Changes fields of a section header in the bytes of the table. */
export function setSection(
  { format, bytes }: SectionTable,
  index: number,
  fields: Partial<Readonly<Record<SectionField, number | bigint>>>,
): void {
  encode(format.shdr, format, bytes, index * format.shdr.bytes, fields)
}

/** The lowest index (never 0, the null section) for which the test is true; -1 without one. */
export function findSection(table: SectionTable, test: (index: number) => boolean): number {
  for (let index = 1; index < table.count; index++) if (test(index)) return index
  return -1
}

/** A longer table: the same sections first, and room for `more` behind them. */
export function growSections(table: SectionTable, more: number): SectionTable {
  const bytes = new Uint8Array(table.bytes.length + more * table.format.shdr.bytes)
  bytes.set(table.bytes)
  return { ...table, count: table.count + more, bytes }
}

/** Is the string table of the section names used by no symbol table? */
export function hasOwnNames(table: SectionTable): boolean {
  return (
    findSection(
      table,
      index =>
        sectionNumber(table, index, 'type') === SHT_SYMTAB && sectionNumber(table, index, 'link') === table.namesIndex,
    ) < 0
  )
}

/**
 * Does the file hold only the debug information of another file (objcopy --only-keep-debug, eu-strip -f)? Its headers are
 * those of the other file, and its sections of code and data have no bytes.
 */
export function isDebugFile(
  source: ByteSource,
  { header, programHeaders }: Pick<ElfObject, 'header' | 'programHeaders'>,
): boolean {
  const table = readSections(source, header)
  if (table === null) return false
  const dynamic = programHeaders.find(({ type }) => type === PT_DYNAMIC)
  const loaded = [header.entry, dynamic?.vaddr ?? 0n].filter(address => address !== 0n)
  const isEmptied = (index: number, address: bigint): boolean => {
    const start = sectionAddress(table, index, 'addr')
    const isInside = address >= start && address < start + sectionAddress(table, index, 'size')
    return sectionNumber(table, index, 'type') === SHT_NOBITS && isInside
  }
  return loaded.some(address => findSection(table, index => isEmptied(index, address)) > 0)
}

/** The bytes of the section names; null without such a section in the file, and where they take more than `most` bytes. */
export function readSectionNames(source: ByteSource, table: SectionTable, most: number): Uint8Array | null {
  const { namesIndex } = table
  if (namesIndex === SHN_UNDEF || namesIndex >= table.count) return null
  if (sectionNumber(table, namesIndex, 'type') !== SHT_STRTAB) return null
  const offset = sectionNumber(table, namesIndex, 'offset')
  const length = sectionNumber(table, namesIndex, 'size')
  return length > most || offset + length > source.size ? null : source.read(offset, length)
}

/**
 * The file offset behind the last byte of any section, in a file of that size. Ignores sections that leave the file.
 */
export function endOfSections(table: SectionTable, size: number): number {
  let end = 0
  for (let index = 1; index < table.count; index++) {
    const last = endOfSection(table, index)
    if (last <= size) end = Math.max(end, last)
  }
  return end
}

/** The file offset behind the last byte of a section; 0 for one without bytes in the file. */
export function endOfSection(table: SectionTable, index: number): number {
  const type = sectionNumber(table, index, 'type')
  if (type === SHT_NULL || type === SHT_NOBITS) return 0
  return sectionNumber(table, index, 'offset') + sectionNumber(table, index, 'size')
}

/** The file offset behind the last section in a segment; the end of the segment where it has no section. */
export function endOfContent({ offset, filesz }: ProgramHeader, table: SectionTable | null): number {
  if (table === null) return offset + filesz
  let end = offset
  for (let index = 1; index < table.count; index++) {
    const type = sectionNumber(table, index, 'type')
    const start = sectionNumber(table, index, 'offset')
    const behind = start + sectionNumber(table, index, 'size')
    if (type !== SHT_NOBITS && start >= offset && behind <= offset + filesz) end = Math.max(end, behind)
  }
  return end > offset ? end : offset + filesz
}

/** e_shnum and e_shstrndx of the table. Numbers that do not fit go into its section 0 (gABI, “ELF header”). */
export function sectionNumbers(table: SectionTable, namesIndex: number): { shnum: number; shstrndx: number } {
  const many = table.count >= SHN_LORESERVE
  const far = namesIndex >= SHN_LORESERVE
  if (many) setSection(table, 0, { size: table.count })
  if (far) setSection(table, 0, { link: namesIndex })
  return { shnum: many ? 0 : table.count, shstrndx: far ? SHN_XINDEX : namesIndex }
}

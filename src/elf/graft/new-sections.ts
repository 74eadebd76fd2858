// The section headers of an edited object. New tables get new sections at the end of the section table, under the old
// names. The old sections stay as plain data, because their bytes are still in the file and still mapped.
import {
  SHF_ALLOC,
  SHF_WRITE,
  SHT_DYNAMIC,
  SHT_GNU_VERNEED,
  SHT_PROGBITS,
  SHT_SHLIB,
  SHT_STRTAB,
} from '../constants.ts'
import { findStringSection } from '../rules/refuse.ts'
import {
  findSection,
  growSections,
  MOST_SECTION_NAMES,
  hasOwnNames,
  readSectionNames,
  sectionAddress,
  sectionNumber,
  sectionNumbers,
  type SectionTable,
  setSection,
} from '../tables/sections.ts'
import { extentAt } from '../memory.ts'
import type { ByteSource } from '../source.ts'
import type { ProgramHeader } from '../types.ts'

/** A range of the edited file that a section describes. */
export interface Placed {
  /** File offset. */
  readonly at: number
  readonly address: bigint
  readonly length: number
}

/**
 * One of four: the string table is copied, with the new strings behind it; the old table stays where it is, and its
 * end moves up to the new strings; the old table is the last thing in the file, and the new strings come right behind
 * it; or there are no new strings.
 */
export type StringsPlace = 'copied' | 'extended' | 'grown' | 'kept'

/** The new tables of a graft, and the places of the tables that they replace. */
interface GraftTables {
  readonly note: Placed
  readonly programHeaders: Placed
  /** The PT_LOAD holds all program headers. */
  readonly headersInLoad: boolean
  readonly dynamic: Placed & { readonly was: bigint }
  readonly strings: Placed & { readonly was: bigint; readonly place: StringsPlace; readonly added: Placed }
  readonly interpreter: (Placed & { readonly was: bigint }) | null
  readonly versions: (Placed & { readonly was: bigint }) | null
}

/** The new section headers with their file offset and their numbers for the ELF header. */
export interface GraftSections {
  readonly table: SectionTable
  readonly at: number
  readonly shnum: number
  readonly shstrndx: number
  /** The new section names and their file offset; null where there were none. */
  readonly names: { readonly bytes: Uint8Array; readonly at: number } | null
  /** File offset. */
  readonly end: number
}

/**
 * Makes the section headers for the new tables. The section names go to the file offset `start`, the headers behind
 * them.
 */
export function graftSections(
  source: ByteSource,
  old: SectionTable,
  tables: GraftTables,
  start: number,
): GraftSections {
  const names = sectionNames(source, old)
  const oldStrings = findStringSection(old, tables.strings.was)
  const draft = draftOf(old, names, moreSections(names, tables, oldStrings))
  addTables(draft, old, tables, oldStrings)

  let { namesIndex } = old
  if (names.bytes !== null) {
    if (!names.moves) {
      namesIndex = draft.count()
      setSection(draft.table, namesIndex, { name: names.add('.shstrtab'), type: SHT_STRTAB, addralign: 1 })
    }
    setSection(draft.table, namesIndex, { offset: start, size: names.bytes().length })
  }
  const bytes = names.bytes?.() ?? null
  const behind = Math.ceil((start + (bytes?.length ?? 0)) / 8) * 8
  return {
    table: { ...draft.table, namesIndex },
    at: behind,
    ...sectionNumbers(draft.table, namesIndex),
    names: bytes === null ? null : { bytes, at: start },
    end: behind + draft.table.bytes.length,
  }
}

/**
 * The sections. A section becomes plain data if nothing was mapped at its address before, and the graft is there now. A
 * graft that another tool has changed leaves such a section (`.wheelfix.phdr`), or its address is nonsense.
 */
export function withoutStrays(
  table: SectionTable | null,
  before: readonly ProgramHeader[],
  after: readonly ProgramHeader[],
): SectionTable | null {
  if (table === null) return null
  const isStray = (index: number): boolean => {
    if ((sectionNumber(table, index, 'flags') & SHF_ALLOC) === 0) return false
    const address = sectionAddress(table, index, 'addr')
    if (extentAt(before, address) !== null) return false
    const now = extentAt(after, address)
    return now !== null && now.offset !== sectionNumber(table, index, 'offset')
  }
  if (findSection(table, isStray) < 0) return table
  const changed = growSections(table, 0)
  for (let index = 1; index < table.count; index++) {
    if (!isStray(index)) continue
    const flags = sectionAddress(table, index, 'flags') & ~BigInt(SHF_ALLOC)
    setSection(changed, index, { type: SHT_PROGBITS, flags, addr: 0 })
  }
  return changed
}

/** The names of the sections, with the added ones behind them. */
interface SectionNames {
  /** Adds a name and returns its offset; 0 where the object has no names. */
  readonly add: (name: string) => number
  /** All names; null where the object has none. */
  readonly bytes: (() => Uint8Array) | null
  /** Their section holds nothing else. It moves, and no other section is added for it. */
  readonly moves: boolean
}

function sectionNames(source: ByteSource, old: SectionTable): SectionNames {
  const oldNames = readSectionNames(source, old, MOST_SECTION_NAMES)
  if (oldNames === null) return { add: () => 0, bytes: null, moves: false }
  const parts: Buffer[] = [Buffer.from(oldNames), Buffer.alloc(oldNames.at(-1) === 0 ? 0 : 1)]
  let length = parts.reduce((sum, part) => sum + part.length, 0)
  return {
    add(name) {
      const bytes = Buffer.from(`${name}\0`)
      parts.push(bytes)
      length += bytes.length
      return length - bytes.length
    },
    bytes: () => Buffer.concat(parts),
    moves: hasOwnNames(old),
  }
}

/** How many sections are added: note, program headers, .dynamic, and the tables that move. */
function moreSections(
  { bytes, moves }: SectionNames,
  { strings, interpreter, versions }: GraftTables,
  oldStrings: number,
): number {
  const optional = [
    strings.place === 'copied' || strings.place === 'extended' || oldStrings < 0,
    strings.place === 'extended',
    interpreter !== null,
    versions !== null,
    bytes !== null && !moves,
  ]
  return 3 + optional.filter(Boolean).length
}

/** A section table that grows. */
interface Draft {
  readonly table: SectionTable
  readonly names: SectionNames
  readonly count: () => number
  /**
   * Adds a section for a new table and returns its index. The section that it replaces becomes plain data.
   * @param replaced the index of the section whose fields the new one takes over; below 0: none
   */
  readonly add: (name: string, placed: Placed, like: SectionRecord, replaced: number) => number
}

function draftOf(old: SectionTable, names: SectionNames, more: number): Draft {
  const table = growSections(old, more)
  const { bytes: size } = table.format.shdr
  let next = old.count
  return {
    table,
    names,
    count: () => next,
    add(name, { at: offset, address: addr, length }, like, replaced) {
      const index = next++
      const place = { offset, addr, size: length }
      if (replaced < 0) {
        setSection(table, index, { name: names.add(name), ...like, ...place })
        return index
      }
      table.bytes.copyWithin(index * size, replaced * size, (replaced + 1) * size)
      setSection(table, index, place)
      setSection(table, replaced, { name: names.add(`${name}.old`), type: SHT_PROGBITS, link: 0, info: 0, entsize: 0 })
      return index
    },
  }
}

/** Adds the sections of the new tables, and points the links of other sections to them. */
function addTables(draft: Draft, old: SectionTable, tables: GraftTables, oldStrings: number): void {
  const { table, add } = draft
  const { strings, interpreter, versions } = tables
  const byType = (type: number): number => findSection(old, index => sectionNumber(old, index, 'type') === type)
  const byAddress = (type: number, address: bigint): number =>
    findSection(
      old,
      index => sectionNumber(old, index, 'type') === type && sectionAddress(old, index, 'addr') === address,
    )
  const word = table.format.class / 8
  add('.wheelfix.undo', tables.note, { type: SHT_PROGBITS, flags: SHF_ALLOC, addralign: 4 }, -1)
  // outside of the PT_LOAD: gdb warns of any other type there. eu-strip keeps the bytes of any allocated section.
  const phdrType = tables.headersInLoad ? SHT_PROGBITS : SHT_SHLIB
  add('.wheelfix.phdr', tables.programHeaders, { type: phdrType, flags: SHF_ALLOC, addralign: 8 }, -1)
  const dynamicLike = { type: SHT_DYNAMIC, flags: SHF_ALLOC | SHF_WRITE, addralign: word, entsize: 2 * word }
  const newDynamic = add('.dynamic', tables.dynamic, dynamicLike, byType(SHT_DYNAMIC))
  const newStrings = addStrings(draft, strings, oldStrings)
  if (interpreter !== null) {
    const replaced = byAddress(SHT_PROGBITS, interpreter.was)
    add('.interp', interpreter, { type: SHT_PROGBITS, flags: SHF_ALLOC, addralign: 1 }, replaced)
  }
  const linked = [newDynamic]
  if (versions !== null) {
    const like = { type: SHT_GNU_VERNEED, flags: SHF_ALLOC, addralign: 4, link: newStrings }
    linked.push(add('.gnu.version_r', versions, like, byAddress(SHT_GNU_VERNEED, versions.was)))
  }
  if (oldStrings >= 0 && strings.place === 'copied') {
    for (let index = 1; index < draft.count(); index++) {
      if (sectionNumber(table, index, 'link') === oldStrings) linked.push(index)
    }
  }
  for (const index of linked) setSection(table, index, { link: newStrings })
}

/**
 * A string table that reaches over other sections must not be called .dynstr, nor be allocated: patchelf fills the
 * .dynstr that it replaces with rubbish. Without that name patchelf refuses the file.
 */
function addStrings({ table, names, add }: Draft, strings: GraftTables['strings'], oldStrings: number): number {
  if (strings.place === 'extended') {
    // strip and similar tools keep only what an allocated section covers
    add('.wheelfix.names', strings.added, { type: SHT_PROGBITS, flags: SHF_ALLOC, addralign: 1 }, -1)
    const like = { type: SHT_STRTAB, flags: 0, addralign: 1 }
    const index = add('.wheelfix.strings', { ...strings, address: 0n }, like, -1)
    if (oldStrings >= 0) setSection(table, oldStrings, { name: names.add('.dynstr.old') })
    return index
  }
  if (strings.place === 'grown' && oldStrings >= 0) setSection(table, oldStrings, { size: strings.length })
  if (strings.place !== 'copied' && oldStrings >= 0) return oldStrings
  return add('.dynstr', strings, { type: SHT_STRTAB, flags: SHF_ALLOC, addralign: 1 }, oldStrings)
}

interface SectionRecord {
  readonly type: number
  readonly flags: number
  readonly addralign: number
  readonly entsize?: number
  readonly link?: number
}

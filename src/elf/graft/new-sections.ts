// The section headers of an edited object. New tables get new sections at the end of the section table, under the old
// names; the old ones stay where they are as plain data, as their bytes are still in the file and still mapped.
import { SHF_ALLOC, SHF_WRITE, SHT_DYNAMIC, SHT_GNU_VERNEED, SHT_PROGBITS, SHT_STRTAB } from '../constants.ts'
import { findStringSection } from '../rules/refuse.ts'
import {
  findSection,
  growSections,
  hasOwnNames,
  readSectionNames,
  sectionAddress,
  sectionNumber,
  sectionNumbers,
  type SectionTable,
  setSection,
} from '../tables/sections.ts'
import type { ByteSource } from '../source.ts'

/** Section names of real objects take some hundred bytes; of one with 70,000 sections 2 MB. */
const MOST_NAMES = 1 << 24

/** A stretch of the edited file that a section describes. */
export interface Placed {
  /** File offset. */
  readonly at: number
  readonly address: bigint
  readonly length: number
}

/**
 * The string table is copied, with the new strings behind it; or it stays where it was and reaches as far as the new ones;
 * or there are no new ones.
 */
export type StringsPlace = 'copied' | 'extended' | 'kept'

/** The new tables of a graft, and where those stood that they replace. */
export interface GraftTables {
  readonly note: Placed
  readonly programHeaders: Placed
  readonly dynamic: Placed & { readonly was: bigint }
  readonly strings: Placed & { readonly was: bigint; readonly place: StringsPlace }
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

/** The section headers for the new tables, which go to the file offset `start` with the section names before them. */
export function graftSections(
  source: ByteSource,
  old: SectionTable,
  tables: GraftTables,
  start: number,
): GraftSections {
  const oldNames = readSectionNames(source, old, MOST_NAMES)
  const names: Buffer[] = oldNames === null ? [] : [Buffer.from(oldNames), Buffer.alloc(oldNames.at(-1) === 0 ? 0 : 1)]
  let namesLength = names.reduce((sum, { length }) => sum + length, 0)
  const addName = (name: string): number => {
    if (oldNames === null) return 0
    const bytes = Buffer.from(`${name}\0`)
    names.push(bytes)
    namesLength += bytes.length
    return namesLength - bytes.length
  }
  const movesNames = oldNames !== null && hasOwnNames(old)
  const { dynamic, strings, interpreter, versions } = tables
  const oldStrings = findStringSection(old, strings.was)
  const addsStrings = strings.place !== 'kept' || oldStrings < 0
  const more =
    3 +
    (addsStrings ? 1 : 0) +
    (interpreter === null ? 0 : 1) +
    (versions === null ? 0 : 1) +
    (oldNames === null || movesNames ? 0 : 1)
  const table = growSections(old, more)
  let next = old.count
  const at = ({ at: offset, address: addr, length: size }: Placed) => ({ offset, addr, size })

  /** A section for what is new; what it replaces becomes plain data. */
  const add = (name: string, placed: Placed, like: SectionRecord, replaced: number): number => {
    const index = next++
    if (replaced >= 0) {
      table.bytes.copyWithin(
        index * table.format.shdr.bytes,
        replaced * table.format.shdr.bytes,
        (replaced + 1) * table.format.shdr.bytes,
      )
      setSection(table, index, at(placed))
      setSection(table, replaced, { name: addName(`${name}.old`), type: SHT_PROGBITS, link: 0, info: 0, entsize: 0 })
    } else setSection(table, index, { name: addName(name), ...like, ...at(placed) })
    return index
  }
  const byType = (type: number): number => findSection(old, index => sectionNumber(old, index, 'type') === type)
  const byAddress = (type: number, address: bigint): number =>
    findSection(
      old,
      index => sectionNumber(old, index, 'type') === type && sectionAddress(old, index, 'addr') === address,
    )
  const { class: elfClass } = table.format
  const word = elfClass / 8

  add('.wheelfix.undo', tables.note, { type: SHT_PROGBITS, flags: SHF_ALLOC, addralign: 4 }, -1)
  add('.wheelfix.phdr', tables.programHeaders, { type: SHT_PROGBITS, flags: SHF_ALLOC, addralign: 8 }, -1)
  const newDynamic = add(
    '.dynamic',
    dynamic,
    { type: SHT_DYNAMIC, flags: SHF_ALLOC | SHF_WRITE, addralign: word, entsize: 2 * word },
    byType(SHT_DYNAMIC),
  )
  // A table that reaches over other sections must not be called .dynstr, nor be allocated: patchelf, for one, fills the
  // .dynstr that it replaces with rubbish. Without that name it refuses the file.
  let newStrings = oldStrings
  if (strings.place === 'extended') {
    const like = { type: SHT_STRTAB, flags: 0, addralign: 1 }
    newStrings = add('.wheelfix.strings', { ...strings, address: 0n }, like, -1)
    if (oldStrings >= 0) setSection(table, oldStrings, { name: addName('.dynstr.old') })
  } else if (strings.place === 'copied' || oldStrings < 0) {
    newStrings = add('.dynstr', strings, { type: SHT_STRTAB, flags: SHF_ALLOC, addralign: 1 }, oldStrings)
  }
  if (interpreter !== null) {
    const replaced = byAddress(SHT_PROGBITS, interpreter.was)
    add('.interp', interpreter, { type: SHT_PROGBITS, flags: SHF_ALLOC, addralign: 1 }, replaced)
  }
  let newVersions: number | null = null
  if (versions !== null) {
    const replaced = byAddress(SHT_GNU_VERNEED, versions.was)
    newVersions = add(
      '.gnu.version_r',
      versions,
      { type: SHT_GNU_VERNEED, flags: SHF_ALLOC, addralign: 4, link: newStrings },
      replaced,
    )
  }
  if (oldStrings >= 0 && strings.place === 'copied') {
    for (let index = 1; index < next; index++) {
      if (sectionNumber(table, index, 'link') === oldStrings) setSection(table, index, { link: newStrings })
    }
  }
  setSection(table, newDynamic, { link: newStrings })
  if (newVersions !== null) setSection(table, newVersions, { link: newStrings })
  let { namesIndex } = old
  if (oldNames !== null) {
    if (!movesNames) {
      namesIndex = next
      setSection(table, namesIndex, { name: addName('.shstrtab'), type: SHT_STRTAB, addralign: 1 })
    }
    setSection(table, namesIndex, { offset: start, size: namesLength })
  }
  const behind = Math.ceil((start + namesLength) / 8) * 8
  return {
    table: { ...table, namesIndex },
    at: behind,
    ...sectionNumbers(table, namesIndex),
    names: oldNames === null ? null : { bytes: Buffer.concat(names), at: start },
    end: behind + table.bytes.length,
  }
}

interface SectionRecord {
  readonly type: number
  readonly flags: number
  readonly addralign: number
  readonly entsize?: number
  readonly link?: number
}

// Which strings of the dynamic string table are unused after an edit, so that their bytes are free. Linkers let a
// string begin inside another one with the same end: a search path may be the end of a symbol's name.
import { valueOf } from '../tables/entries.ts'
import {
  DT_NEEDED,
  DT_RPATH,
  DT_RUNPATH,
  DT_SONAME,
  DT_STRTAB,
  DT_SYMTAB,
  DT_VERDEF,
  DT_VERNEED,
  SHT_DYNAMIC,
  SHT_DYNSYM,
  SHT_GNU_VERDEF,
  SHT_GNU_VERNEED,
} from '../constants.ts'
import { newDynamic } from '../tables/dynamic.ts'
import { extentAt, readStringBytes } from '../memory.ts'
import { formatOf, getNumber } from '../layout.ts'
import { type Editable, findStringSection } from '../rules/refuse.ts'
import { findSection, sectionAddress, sectionNumber } from '../tables/sections.ts'
import type { ByteSource } from '../source.ts'
import type { ElfState } from '../edit/state.ts'
import { STRING_TAGS } from './new-strings.ts'
import type { ElfObject } from '../types.ts'
import { readVersionDefinitions, readVersionNeeds } from '../tables/symbol-versions.ts'

/** A larger symbol table is not searched. */
const MOST_SYMBOL_BYTES = 1 << 27
const SYMBOLS_AT_ONCE = 1 << 15

/** A string of the table; a NUL follows it. */
interface StringSlot {
  /** In bytes from DT_STRTAB. */
  readonly offset: number
  /** In bytes, without the NUL. */
  readonly length: number
}

/** The tags whose strings an edit may leave unused. */
const EDITED = new Set([DT_NEEDED, DT_SONAME, DT_RPATH, DT_RUNPATH])
/** The sections whose references to strings are known here. */
const READERS = new Set([SHT_DYNSYM, SHT_DYNAMIC, SHT_GNU_VERDEF, SHT_GNU_VERNEED])

/**
 * The strings of `EDITED` entries to which nothing refers any more, not even to a part of them. Empty where the
 * references cannot be known: only the section of the symbols tells how many there are, because loaders need not know.
 * @param offsetOf the place of each string of the wanted state, from DT_STRTAB
 */
export function unusedStrings(
  source: ByteSource,
  object: ElfObject,
  { strtab, sections }: Editable,
  wanted: ElfState,
  offsetOf: (text: string) => number,
): StringSlot[] {
  const { header, programHeaders } = object
  const dynamic = object.dynamic ?? []
  const value = (tag: number): bigint | undefined => valueOf(object.dynamic, tag)
  const dynsym =
    sections === null ? -1 : findSection(sections, index => sectionNumber(sections, index, 'type') === SHT_DYNSYM)
  if (sections === null || dynsym < 0 || sectionAddress(sections, dynsym, 'addr') !== value(DT_SYMTAB)) return []
  const table = findStringSection(sections, value(DT_STRTAB) ?? 0n)
  const isForeign = (index: number): boolean =>
    sectionNumber(sections, index, 'link') === table && !READERS.has(sectionNumber(sections, index, 'type'))
  // a linker may keep the section names in the same table
  if (table < 0 || table === sections.namesIndex || findSection(sections, isForeign) >= 0) return []
  const start = sectionNumber(sections, dynsym, 'offset')
  const symbolBytes = sectionNumber(sections, dynsym, 'size')
  if (symbolBytes > MOST_SYMBOL_BYTES || symbolBytes === 0) return []
  const mapped = extentAt(programHeaders, value(DT_SYMTAB) ?? 0n)
  if (mapped === null || mapped.offset !== start || mapped.length < symbolBytes) return []

  const needs = readVersionNeeds(source, header, programHeaders, value(DT_VERNEED))
  const used = [
    ...newDynamic(object, wanted, offsetOf)
      .filter(({ tag }) => STRING_TAGS.has(tag))
      .map(entry => Number(entry.value)),
    ...needs.flatMap(({ file, versions }, index) => {
      const name = wanted.versionFiles[index]
      const moved = name !== undefined && name !== object.versionNeeds[index]?.file
      return [moved ? offsetOf(name) : Number(file), ...versions.map(version => Number(version.name))]
    }),
    ...readVersionDefinitions(source, header, programHeaders, value(DT_VERDEF)).map(({ name }) => Number(name)),
  ]
  const isFree = ({ offset, length }: StringSlot, at: number): boolean => at < offset || at > offset + length
  const slots = [...new Set(dynamic.filter(({ tag }) => EDITED.has(tag)).map(entry => Number(entry.value)))]
    .filter(offset => offset > 0 && source.read(strtab.offset + offset - 1, 1)[0] === 0)
    .map(offset => {
      const rest = { offset: strtab.offset + offset, length: strtab.length - offset }
      return { offset, length: readStringBytes(source, rest).length }
    })
    .filter(slot => used.every(at => isFree(slot, at)))
  if (slots.length === 0) return []

  const format = formatOf(header)
  const step = format.sym.bytes * SYMBOLS_AT_ONCE
  let free = slots
  for (let read = 0; read < symbolBytes; read += step) {
    const symbols = source.read(start + read, Math.min(step, symbolBytes - read))
    for (let at = 0; at + format.sym.bytes <= symbols.length; at += format.sym.bytes) {
      const name = getNumber(format, symbols, at, format.sym.name)
      if (free.some(slot => !isFree(slot, name))) free = free.filter(slot => isFree(slot, name))
    }
  }
  return free
}

// Edits that fit into what is there: for files to which nothing can be appended, as a payload behind them is addressed from
// the end. No undo record, as there is no room for one. Only `wheelfix elf` asks for this.
import { DT_RPATH, DT_RUNPATH, PT_GNU_STACK, PT_INTERP, SHT_DYNSYM } from './constants.ts'
import { encodeDynamic, moveDebugHook, newDynamic } from './dynamic.ts'
import { formatOf, getNumber, put } from './layout.ts'
import type { Editable } from './refuse.ts'
import { findSection, sectionNumber } from './sections.ts'
import type { ByteSource } from './source.ts'
import { differences, type ElfState, stateOf } from './state.ts'
import { newStrings } from './strings.ts'
import { encodeText } from './text.ts'
import type { ElfObject } from './types.ts'
import type { Patch } from './view.ts'

/** The symbols of a larger table are not looked through. */
const MOST_SYMBOL_BYTES = 1 << 25

/** The ranges to change, all inside the file; null where the edit does not fit. */
export function editInPlace(
  source: ByteSource,
  object: ElfObject,
  editable: Editable,
  wanted: ElfState,
): Patch[] | null {
  const changes = new Set(differences(stateOf(object), wanted))
  if (changes.has('versionFiles')) return null
  const patches: Patch[] = []
  const { header, programHeaders } = object
  const format = formatOf(header)

  if (changes.has('stack')) {
    const index = programHeaders.findIndex(({ type }) => type === PT_GNU_STACK)
    if (index < 0) return null
    const bytes = new Uint8Array(4)
    put(format, bytes, 0, { at: 0, width: 4 }, wanted.stack ?? 0)
    patches.push({ offset: header.phoff + index * format.phdr.bytes + format.phdr.flags.at, bytes })
  }
  if (changes.has('interpreter')) {
    const segment = programHeaders.find(({ type }) => type === PT_INTERP)
    const text = encodeText(wanted.interpreter ?? '')
    if (segment === undefined || text.length >= segment.filesz) return null
    const bytes = new Uint8Array(segment.filesz)
    bytes.set(text)
    patches.push({ offset: segment.offset, bytes })
  }
  changes.delete('stack')
  changes.delete('interpreter')
  if (changes.size === 0) return patches

  // a search path may be written over the old one; every other string must be there already
  const strings = newStrings(object, editable.strtab.length)
  const slot = searchPathSlot(source, object, editable)
  const searchPath = wanted.runpath ?? wanted.rpath
  const overwrites =
    searchPath !== null &&
    searchPath !== (object.runpath ?? object.rpath) &&
    slot !== null &&
    encodeText(searchPath).length <= slot.length
  const entries = newDynamic(object, wanted, text =>
    overwrites && text === searchPath ? slot.offset : strings.offsetOf(text),
  )
  if (strings.length() > 0) return null
  const { dynamicSegment, strtab } = editable
  const table = encodeDynamic(format, moveDebugHook(object, entries, dynamicSegment.vaddr, dynamicSegment.vaddr))
  if (table.length > dynamicSegment.filesz) return null
  const bytes = new Uint8Array(dynamicSegment.filesz)
  bytes.set(table)
  patches.push({ offset: dynamicSegment.offset, bytes })
  if (overwrites) {
    const text = new Uint8Array(slot.length + 1)
    text.set(encodeText(searchPath))
    patches.push({ offset: strtab.offset + slot.offset, bytes: text })
  }
  return patches
}

/** Offset from DT_STRTAB and length of the search path that stands alone; null where something shares its bytes. */
function searchPathSlot(
  source: ByteSource,
  object: ElfObject,
  { strtab, sections }: Editable,
): { offset: number; length: number } | null {
  const entries = object.dynamic?.filter(({ tag }) => tag === DT_RPATH || tag === DT_RUNPATH) ?? []
  const [entry] = entries
  const text = object.runpath ?? object.rpath
  if (entry === undefined || entries.length > 1 || text === null || sections === null) return null
  const offset = Number(entry.value)
  const length = encodeText(text).length
  const inside = (at: number): boolean => at >= offset && at <= offset + length
  const dynsym = findSection(sections, index => sectionNumber(sections, index, 'type') === SHT_DYNSYM)
  if (dynsym < 0) return null
  const size = sectionNumber(sections, dynsym, 'size')
  if (size > MOST_SYMBOL_BYTES) return null
  const format = formatOf(object.header)
  const symbols = source.read(sectionNumber(sections, dynsym, 'offset'), size)
  for (let at = 0; at + format.sym.bytes <= symbols.length; at += format.sym.bytes) {
    if (inside(getNumber(format, symbols, at, format.sym.name))) return null
  }
  // names of libraries and versions are no paths; where one equals the end of the search path they may share it
  const names = [
    ...object.needed,
    ...(object.soname === null ? [] : [object.soname]),
    ...object.filters,
    ...object.auxiliaries,
    ...object.versionDefinitions,
    ...object.versionNeeds.flatMap(({ file, versions }) => [file, ...versions.map(({ name }) => name)]),
  ]
  if (names.some(name => text.endsWith(name))) return null
  return offset + length < strtab.length ? { offset, length } : null
}

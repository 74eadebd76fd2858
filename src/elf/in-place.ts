// Edits that fit into what is there, without an undo record, as there is no room for one. Single words are always changed
// so: the opposite edit undoes them. All else is only for `wheelfix elf`, and all but a new name that is there already only
// where nothing can be appended, as a payload behind the object is addressed from the end.
import { DT_NEEDED, DT_RPATH, DT_RUNPATH, PT_GNU_STACK, PT_INTERP, SHT_DYNSYM } from './constants.ts'
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

/** An edit of the stack's flags or of EI_OSABI, which is in the header that `patched` writes; null for any other edit. */
export function editWords(object: ElfObject, wanted: ElfState): Patch[] | null {
  const { header, programHeaders } = object
  const format = formatOf(header)
  const patches: Patch[] = []
  for (const change of differences(stateOf(object), wanted)) {
    if (change === 'stack') {
      const index = programHeaders.findIndex(({ type }) => type === PT_GNU_STACK)
      if (index < 0) return null
      const bytes = new Uint8Array(4)
      put(format, bytes, 0, { at: 0, width: 4 }, wanted.stack ?? 0)
      patches.push({ offset: header.phoff + index * format.phdr.bytes + format.phdr.flags.at, bytes })
    } else if (change !== 'osabi') return null
  }
  return patches
}

/**
 * A needed whose new name is the end of the old one, or the other way round, where the longer one stands in the string
 * table: one word for each. Null for any other edit.
 */
export function renameInPlace(
  source: ByteSource,
  object: ElfObject,
  { dynamicSegment, strtab }: Editable,
  wanted: ElfState,
): Patch[] | null {
  const changes = differences(stateOf(object), wanted)
  if (changes.length !== 1 || changes[0] !== 'needed' || wanted.needed.length !== object.needed.length) return null
  const format = formatOf(object.header)
  const { bytes: size, value: field } = format.dyn
  const patches: Patch[] = []
  let next = 0
  for (const [index, { tag, value }] of (object.dynamic ?? []).entries()) {
    if (tag !== DT_NEEDED) continue
    const old = encodeText(object.needed[next] ?? '')
    const name = encodeText(wanted.needed[next++] ?? '')
    const at = Number(value) + old.length - name.length
    if (at === Number(value)) {
      if (!name.equals(old)) return null
      continue
    }
    if (name.length === 0 || at < 0 || !name.equals(source.read(strtab.offset + at, name.length))) return null
    const bytes = new Uint8Array(field.width)
    put(format, bytes, 0, { at: 0, width: field.width }, at)
    patches.push({ offset: dynamicSegment.offset + index * size + field.at, bytes })
  }
  return patches
}

/** The ranges to change, all inside the file; null where the edit does not fit. */
export function editInPlace(
  source: ByteSource,
  object: ElfObject,
  editable: Editable,
  wanted: ElfState,
): Patch[] | null {
  const old = stateOf(object)
  if (differences(old, wanted).includes('versionFiles')) return null
  const { interpreter, stack, osabi } = wanted
  const patches = editWords(object, { ...old, stack, osabi })
  if (patches === null) return null
  if (interpreter !== old.interpreter) {
    const segment = object.programHeaders.find(({ type }) => type === PT_INTERP)
    const text = encodeText(interpreter ?? '')
    if (segment === undefined || text.length >= segment.filesz) return null
    // what stands behind the name is not the name's
    const rest = source.read(segment.offset, segment.filesz).subarray(encodeText(old.interpreter ?? '').length)
    if (rest.some(byte => byte !== 0)) return null
    const bytes = new Uint8Array(segment.filesz)
    bytes.set(text)
    patches.push({ offset: segment.offset, bytes })
  }
  if (differences({ ...old, interpreter, stack, osabi }, wanted).length === 0) return patches

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
  const format = formatOf(object.header)
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

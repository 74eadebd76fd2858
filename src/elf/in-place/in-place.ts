// Edits that fit into the existing bytes. They leave no undo record, because there is no room for one. Single words are
// always changed in place, because the opposite edit undoes them. All other edits in place are for two kinds of files:
// programs, which other tools take as templates, and files to which nothing can be appended, because a payload behind
// the object is addressed from the end. A new text goes where the same text exists already, into the place of an unused
// text, or behind the segment of the strings (slack.ts).
import { valueOf } from '../tables/entries.ts'
import { DT_NEEDED, DT_STRSZ, DT_STRTAB, DT_VERNEED, PT_GNU_STACK, PT_INTERP, SHT_PROGBITS } from '../constants.ts'
import { encodeDynamic, moveDebugHook, newDynamic, withValues } from '../tables/dynamic.ts'
import { programHeaderPatch } from '../graft/new-headers.ts'
import { type DroppedCache, withoutCache } from '../graft/resolution-cache.ts'
import { stringTableAddress } from '../graft/placement.ts'
import { encodeField, formatOf } from '../layout.ts'
import { type Editable, findStringSection } from '../rules/refuse.ts'
import { findSection, growSections, sectionNumber, type SectionTable, setSection } from '../tables/sections.ts'
import { type Slack, slackOf } from './slack.ts'
import type { ByteSource } from '../source.ts'
import { changedFields, type ElfState, stateOf } from '../edit/state.ts'
import { newStrings } from '../graft/new-strings.ts'
import { encodeText } from '../text.ts'
import type { ElfHeader, ElfObject } from '../types.ts'
import { unusedStrings } from '../graft/unused-strings.ts'
import { readVersionNeeds } from '../tables/symbol-versions.ts'
import type { Patch } from '../overlay.ts'

/**
 * An edit of the stack's flags or of EI_OSABI (`patched` writes the header that holds EI_OSABI); null for any other
 * edit.
 */
export function editWords(object: ElfObject, wanted: ElfState): Patch[] | null {
  const { header, programHeaders } = object
  const format = formatOf(header)
  const patches: Patch[] = []
  for (const change of changedFields(stateOf(object), wanted)) {
    if (change === 'stack') {
      const index = programHeaders.findIndex(({ type }) => type === PT_GNU_STACK)
      if (index < 0) return null
      const { flags, bytes: size } = format.phdr
      const bytes = encodeField(format, flags, wanted.stack ?? 0)
      patches.push({ offset: header.phoff + index * size + flags.at, bytes })
    } else if (change !== 'osabi') return null
  }
  return patches
}

/**
 * Renames a needed where the new name is the end of the old one, or the reverse, and the string table holds the longer
 * one. Changes one word for each name, besides those of `editWords`. Null for any other edit.
 */
export function renameInPlace(
  source: ByteSource,
  object: ElfObject,
  { dynamicSegment, strtab }: Editable,
  wanted: ElfState,
): Patch[] | null {
  const old = stateOf(object)
  const { needed, stack, osabi } = wanted
  if (needed.length !== object.needed.length) return null
  if (changedFields({ ...old, needed, stack, osabi }, wanted).length > 0) return null
  // also changes the words of `editWords`, so that one edit can undo several edits made one by one
  const patches = editWords(object, { ...old, stack, osabi })
  if (patches === null) return null
  const format = formatOf(object.header)
  const { bytes: size, value: field } = format.dyn
  let next = 0
  for (const [index, { tag, value }] of (object.dynamic ?? []).entries()) {
    if (tag !== DT_NEEDED) continue
    const before = encodeText(object.needed[next] ?? '')
    const name = encodeText(needed[next++] ?? '')
    const at = Number(value) + before.length - name.length
    if (at === Number(value)) {
      if (!name.equals(before)) return null
      continue
    }
    if (name.length === 0 || at < 0 || !name.equals(source.read(strtab.offset + at, name.length))) return null
    const bytes = encodeField(format, field, at)
    patches.push({ offset: dynamicSegment.offset + index * size + field.at, bytes })
  }
  return patches
}

/**
 * The ranges to change, all inside the file; null where the edit does not fit.
 * @param apart no section may reach over another one: GNU objcopy and strip would move the code or data there
 */
export function editInPlace(
  source: ByteSource,
  object: ElfObject,
  editable: Editable,
  wanted: ElfState,
  apart = false,
): Patch[] | null {
  const old = stateOf(object)
  const { interpreter, stack, osabi } = wanted
  const slack = slackOf(source, object, editable)
  const head = { ...old, interpreter, stack, osabi }
  const patches = interpreterInPlace(source, object, head) ?? interpreterInSlack(source, object, editable, head, slack)
  if (patches === null) return null
  if (changedFields(head, wanted).length === 0) return [...patches, ...slack.patches()]
  const strings = stringsInPlace(source, object, editable, wanted, slack, apart)
  if (strings === null) return null
  const { dynamicSegment } = editable
  const format = formatOf(object.header)
  const entries = withValues(newDynamic(object, wanted, strings.offsetOf), strings.values)
  const table = encodeDynamic(format, moveDebugHook(object, entries, dynamicSegment.vaddr, dynamicSegment.vaddr))
  if (table.length > dynamicSegment.filesz) return null
  const bytes = new Uint8Array(dynamicSegment.filesz)
  bytes.set(table)
  patches.push({ offset: dynamicSegment.offset, bytes }, ...strings.patches)
  const versions = newVersionFiles(source, object, wanted, strings.offsetOf)
  return [...patches, ...versions, ...slack.patches()]
}

/** Drops the resolution cache of patchelf. The sections of the dropped notes become plain data. */
export function dropInPlace(object: ElfObject, cache: DroppedCache): Patch[] {
  const { sections } = cache
  const programHeaders = withoutCache(object.programHeaders, cache)
  return [
    ...cache.patches,
    ...programHeaders.flatMap((changed, index) =>
      cache.segments.has(index) ? [programHeaderPatch(object, index, changed)] : [],
    ),
    ...(sections === null ? [] : cache.changed.map(index => sectionPatch(object.header, sections, index, {}))),
  ]
}

/** PATH_MAX: the kernel accepts no longer path. */
const LONGEST_PATH = 4096

/**
 * Writes the interpreter over the old one, and changes single words; null for any other edit and where it does not fit.
 */
export function interpreterInPlace(source: ByteSource, object: ElfObject, wanted: ElfState): Patch[] | null {
  const { interpreter } = wanted
  const patches = editWords(object, { ...wanted, interpreter: object.ptInterp })
  if (patches === null || interpreter === null || interpreter === object.ptInterp) return patches
  const segments = object.programHeaders.filter(({ type }) => type === PT_INTERP)
  const [segment] = segments
  const text = encodeText(interpreter)
  if (segment === undefined || segments.length > 1 || text.length >= segment.filesz) return null
  if (segment.filesz > LONGEST_PATH) return null
  // the bytes behind the name are not part of it
  const rest = source.read(segment.offset, segment.filesz).subarray(encodeText(object.ptInterp ?? '').length)
  if (rest.some(byte => byte !== 0)) return null
  const bytes = new Uint8Array(segment.filesz)
  bytes.set(text)
  return [...patches, { offset: segment.offset, bytes }]
}

/** Writes the interpreter behind the segment of the strings, and changes single words; null where there is no room. */
function interpreterInSlack(
  source: ByteSource,
  object: ElfObject,
  { sections }: Editable,
  wanted: ElfState,
  slack: Slack,
): Patch[] | null {
  const { header, programHeaders } = object
  const patches = editWords(object, { ...wanted, interpreter: object.ptInterp })
  const index = programHeaders.findIndex(({ type }) => type === PT_INTERP)
  const segment = programHeaders[index]
  const text = encodeText(`${wanted.interpreter ?? ''}\0`)
  const place = patches === null || segment === undefined ? null : slack.take(text)
  if (patches === null || segment === undefined || place === null) return null
  const { offset, address } = place
  const memsz = BigInt(text.length)
  const moved = { ...segment, offset, vaddr: address, paddr: address, filesz: text.length, memsz }
  patches.push(programHeaderPatch(object, index, moved))
  // a tool that goes by the section must find the same string
  const isOld = (table: SectionTable, at: number): boolean =>
    sectionNumber(table, at, 'type') === SHT_PROGBITS && sectionNumber(table, at, 'offset') === segment.offset
  const at = sections === null ? -1 : findSection(sections, index => isOld(sections, index))
  if (sections !== null && at > 0) {
    if (sectionNumber(sections, at, 'size') === segment.filesz)
      patches.push(blank(source, segment.offset, segment.filesz))
    patches.push(sectionPatch(header, sections, at, { offset, addr: address, size: text.length }))
  }
  return patches
}

/** Zeros for what has moved: Nix keeps every store path that the bytes of a file name. */
function blank(source: ByteSource, offset: number, length: number): Patch {
  return { offset, bytes: new Uint8Array(source.read(offset, length).length) }
}

function sectionPatch(
  { shoff }: ElfHeader,
  sections: SectionTable,
  index: number,
  fields: Parameters<typeof setSection>[2],
): Patch {
  const table = growSections(sections, 0)
  setSection(table, index, fields)
  const { bytes: size } = table.format.shdr
  return { offset: shoff + index * size, bytes: table.bytes.subarray(index * size, (index + 1) * size) }
}

/** Larger than the string table of any object. */
const MOST_STRING_BYTES = 1 << 27

/**
 * Finds a place for the strings of the wanted state: where the string exists already (also as the end of another one),
 * else in the place of an unused string, else behind the segment. Null where a string fits nowhere.
 */
function stringsInPlace(
  source: ByteSource,
  object: ElfObject,
  editable: Editable,
  wanted: ElfState,
  slack: Slack,
  apart: boolean,
): StringsInPlace | null {
  const { strtab } = editable
  if (strtab.length > MOST_STRING_BYTES) return null
  const table = Buffer.from(source.read(strtab.offset, strtab.length))
  const known = newStrings(object, strtab.length)
  known.settle(strtab.length)
  const placed = new Map<string, number>()
  const missing = new Set<string>()
  const offsetOf = (text: string): number => {
    let offset = placed.get(text)
    if (offset === undefined) {
      offset = known.offsetOf(text)
      if (offset >= strtab.length) offset = table.indexOf(encodeText(`${text}\0`))
      if (offset < 0) missing.add(text)
      else placed.set(text, offset)
    }
    return offset
  }
  newDynamic(object, wanted, offsetOf)
  newVersionFiles(source, object, wanted, offsetOf)
  const values = new Map<number, bigint>()
  if (missing.size === 0) return { offsetOf, patches: [], values }
  let { length } = strtab

  const slots = unusedStrings(source, object, editable, wanted, offsetOf).sort((a, b) => a.length - b.length)
  const moved = apart ? movedStrings(source, object, editable, { table, missing, placed, slots }, slack) : null
  if (moved !== null) return { offsetOf, ...moved }
  const patches: Patch[] = []
  const texts = [...missing].map(text => ({ text, bytes: encodeText(text) }))
  for (const { text, bytes } of texts.sort((a, b) => b.bytes.length - a.bytes.length)) {
    const index = slots.findIndex(({ length }) => length >= bytes.length)
    const [slot] = index < 0 ? [] : slots.splice(index, 1)
    if (slot === undefined) {
      if (apart) return null
      const place = slack.take(encodeText(`${text}\0`))
      if (place === null) return null
      placed.set(text, place.offset - strtab.offset)
      length = place.offset - strtab.offset + bytes.length + 1
      values.set(DT_STRSZ, BigInt(length))
      continue
    }
    placed.set(text, slot.offset)
    const filled = new Uint8Array(slot.length + 1)
    filled.set(bytes)
    patches.push({ offset: strtab.offset + slot.offset, bytes: filled })
  }
  const { sections } = editable
  const section = sections === null ? -1 : findStringSection(sections, stringTableAddress(object))
  if (sections !== null && section > 0 && length > strtab.length) {
    // readelf goes by the section. A section that reaches over others must not be called .dynstr: patchelf fills the
    // .dynstr that it replaces with rubbish. Without the dot patchelf refuses the file.
    const name = sectionNumber(sections, section, 'name')
    const names = sections.namesIndex < sections.count ? sectionNumber(sections, sections.namesIndex, 'offset') : 0
    const dot = names + name < source.size && source.read(names + name, 1)[0] === 0x2e ? 1 : 0
    patches.push(sectionPatch(object.header, sections, section, { size: length, name: name + dot }))
  }
  return { offsetOf, patches, values }
}

interface Strings {
  readonly table: Buffer
  /** The strings that the table does not have. */
  readonly missing: ReadonlySet<string>
  /** The offset of each string of the wanted state, from DT_STRTAB. */
  readonly placed: Map<string, number>
  /** The places of the unused strings. */
  readonly slots: readonly { readonly offset: number; readonly length: number }[]
}

/**
 * Moves the whole table, with the missing strings, behind the segment. Null where there is no room, or where the new
 * strings fit into the places of old ones. The section moves too, so that no two sections overlap.
 */
function movedStrings(
  source: ByteSource,
  object: ElfObject,
  { strtab, sections }: Editable,
  { table, missing, placed, slots }: Strings,
  slack: Slack,
): Omit<StringsInPlace, 'offsetOf'> | null {
  const section = sections === null ? -1 : findStringSection(sections, stringTableAddress(object))
  if (sections === null || section <= 0 || fitsInto(missing, slots)) return null
  const old = Buffer.from(table)
  for (const { offset, length } of slots) old.fill('X', offset, offset + length)
  const isEnded = old.at(-1) === 0
  let length = old.length + (isEnded ? 0 : 1)
  const added = [...missing].map(text => {
    const bytes = encodeText(`${text}\0`)
    placed.set(text, length)
    length += bytes.length
    return bytes
  })
  const place = slack.take(Buffer.concat([old, ...(isEnded ? [] : [Buffer.alloc(1)]), ...added]))
  if (place === null) return null
  const { offset, address } = place
  const values = new Map([
    [DT_STRTAB, address],
    [DT_STRSZ, BigInt(length)],
  ])
  const patches = [
    blank(source, strtab.offset, strtab.length),
    sectionPatch(object.header, sections, section, { offset, addr: address, size: length }),
  ]
  return { patches, values }
}

function fitsInto(texts: ReadonlySet<string>, slots: readonly { readonly length: number }[]): boolean {
  const left = slots.map(({ length }) => length).sort((a, b) => a - b)
  return [...texts]
    .map(text => encodeText(text).length)
    .sort((a, b) => b - a)
    .every(length => {
      const index = left.findIndex(room => room >= length)
      if (index >= 0) left.splice(index, 1)
      return index >= 0
    })
}

interface StringsInPlace {
  /** Returns an offset from DT_STRTAB. */
  readonly offsetOf: (text: string) => number
  readonly patches: readonly Patch[]
  /** The dynamic entries that change with the strings. */
  readonly values: ReadonlyMap<number, bigint>
}

/** The changed file names in .gnu.version_r, one word each. */
function newVersionFiles(
  source: ByteSource,
  object: ElfObject,
  wanted: ElfState,
  offsetOf: (text: string) => number,
): Patch[] {
  const { header, programHeaders, versionNeeds } = object
  const format = formatOf(header)
  const address = valueOf(object.dynamic, DT_VERNEED)
  return readVersionNeeds(source, header, programHeaders, address).flatMap(({ at }, index): Patch[] => {
    const file = wanted.versionFiles[index]
    if (file === undefined || file === versionNeeds[index]?.file) return []
    const field = format.verneed.file
    return [{ offset: at + field.at, bytes: encodeField(format, field, offsetOf(file)) }]
  })
}

// What a graft adds to an object, before its place is known: the new strings, the lengths of the new tables, the
// program headers that stay, and the undo record.
import { DT_VERNEED, PT_GNU_STACK, PT_INTERP, PT_PHDR, SHT_PROGBITS } from '../constants.ts'
import { valueOf } from '../tables/entries.ts'
import { newDynamic } from '../tables/dynamic.ts'
import { hasMovedHeaders, isExecutable, namesMusl } from '../kind.ts'
import { MOST_PADDING, paddingOf } from './padding.ts'
import { encode, formatOf } from '../layout.ts'
import type { Editable } from '../rules/refuse.ts'
import { findSection, sectionNumber } from '../tables/sections.ts'
import type { ByteSource } from '../source.ts'
import type { ElfState } from '../edit/state.ts'
import { loadOfLastStrings } from './last-strings.ts'
import { newStrings, type NewStrings } from './new-strings.ts'
import { decodeBytes, encodeText } from '../text.ts'
import type { ElfObject, ProgramHeader } from '../types.ts'
import type { Owner, Undo } from './undo-note.ts'
import type { DroppedCache } from './resolution-cache.ts'
import { unusedStrings } from './unused-strings.ts'
import { readVersionNeeds } from '../tables/symbol-versions.ts'
import type { Patch } from '../overlay.ts'

export interface GraftOptions {
  /** Who makes the change; default `elf`. */
  readonly owner?: Owner
  /** A text to keep in the undo record. */
  readonly record?: string
  /** The libc that loads the object, where it is known; otherwise the object itself tells. */
  readonly libc?: 'glibc' | 'musl'
  /** The page size to lay the file out for, in bytes, instead of the machine's largest. */
  readonly pageSize?: number
  /**
   * Edit a program in place where the edit fits, and also a file to which nothing can be appended. Keeps no undo
   * record.
   */
  readonly inPlace?: boolean
  /**
   * Which search paths, interpreters and library names to overwrite in the old tables, once nothing uses them. The undo
   * record brings them back.
   */
  readonly wipes?: (text: string) => boolean
  /** Gives memory of zeros for the bytes of the graft, of this length. */
  readonly allocate?: (length: number) => Buffer
}

export interface GraftParts {
  /** The loader decides where the program headers go. */
  readonly kind: 'executable' | 'glibc' | 'musl'
  readonly undo: Undo & { readonly owner: Owner }
  /** What changes below the original size, besides the header. */
  readonly patches: readonly Patch[]
  /** Not settled yet: the layout decides their distance from DT_STRTAB. */
  readonly strings: NewStrings
  /** The PT_LOAD that grows with the string table; null where something follows the table. */
  readonly lastLoad: ProgramHeader | null
  /** Bytes of the dynamic table, its DT_NULL included. */
  readonly dynamicLength: number
  /** PT_INTERP's string with its NUL; null where it does not change. */
  readonly interpreter: Uint8Array | null
  /** Bytes of .gnu.version_r; null where it does not change. */
  readonly versionsLength: number | null
  /** The program headers that stay or only move. */
  readonly programHeaders: readonly ProgramHeader[]
  readonly addsStack: boolean
  /** Bytes of the new program header table. */
  readonly headersLength: number
}

/**
 * A library whose own code looks for its program headers gets the layout of a program, where memory has room for it.
 */
function kindOf(source: ByteSource, object: ElfObject, forMusl: boolean): GraftParts['kind'] {
  if (isExecutable(object)) return 'executable'
  if (forMusl) return 'musl'
  return hasMovedHeaders(object) && paddingOf(source.size, object) < MOST_PADDING / 2 ? 'executable' : 'glibc'
}

/** What a graft must hold for the object to be as `wanted`, without the places in the file. */
export function newParts(
  source: ByteSource,
  object: ElfObject,
  editable: Editable,
  wanted: ElfState,
  { owner = 'elf', record, libc, wipes }: GraftOptions,
  cache: DroppedCache,
): GraftParts {
  const { strtab } = editable
  const format = formatOf(object.header)
  const forMusl = (libc ?? (namesMusl(object) ? 'musl' : 'glibc')) === 'musl'
  const kind = kindOf(source, object, forMusl)

  const strings = newStrings(object, strtab.length)
  // the string table must end with a NUL before anything is put behind it
  if (source.read(strtab.offset + strtab.length - 1, 1)[0] !== 0) strings.offsetOf('')
  const dynamicLength = (newDynamic(object, wanted, strings.offsetOf).length + 1) * format.dyn.bytes
  const interpreter = wanted.interpreter === object.ptInterp ? null : encodeText(`${wanted.interpreter ?? ''}\0`)
  const versionsLength = newVersionNeeds(source, object, wanted, strings.offsetOf)?.bytes.length ?? null

  // PT_PHDR must not name a table outside of memory: glibc would take the table for mapped
  const programHeaders = object.programHeaders.filter(
    ({ type }, index) => (type !== PT_PHDR || kind !== 'glibc') && !cache.segments.has(index),
  )
  const addsStack = wanted.stack !== null && !object.programHeaders.some(({ type }) => type === PT_GNU_STACK)
  const header = new Uint8Array(source.read(0, format.ehdr.bytes))
  // only now do the new strings have offsets, which the search for unused strings asks for
  strings.settle(strtab.length)
  const wiped =
    wipes === undefined ? [] : unusedTexts(source, object, editable, wanted, strings).filter(({ text }) => wipes(text))
  const patches = [
    ...wiped.map(({ offset, bytes }) => ({ offset, bytes: Buffer.alloc(bytes.length, 'X') })),
    ...cache.patches,
  ]
  const before = patches.map(({ offset, bytes }) => {
    return { offset, bytes: new Uint8Array(source.read(offset, bytes.length)) }
  })
  return {
    kind,
    patches,
    undo: { owner, originalSize: source.size, header, patches: before, record: record ?? null },
    strings,
    lastLoad: kind === 'glibc' ? loadOfLastStrings(source, object, editable) : null,
    dynamicLength,
    interpreter,
    versionsLength,
    programHeaders,
    addsStack,
    headersLength: (programHeaders.length + (addsStack ? 2 : 1)) * format.phdr.bytes,
  }
}

/** Longer texts would make the undo record too long. */
const LONGEST_UNUSED = 1 << 16

/** The texts that nothing refers to after the graft, with their bytes. */
function unusedTexts(
  source: ByteSource,
  object: ElfObject,
  editable: Editable,
  wanted: ElfState,
  { offsetOf }: NewStrings,
): (Patch & { readonly text: string })[] {
  const { strtab, sections } = editable
  const places = unusedStrings(source, object, editable, wanted, offsetOf)
    .filter(({ length }) => length > 0 && length <= LONGEST_UNUSED)
    .map(({ offset, length }) => ({ offset: strtab.offset + offset, length }))
  const segment = object.programHeaders.find(({ type }) => type === PT_INTERP)
  if (wanted.interpreter !== object.ptInterp && object.ptInterp !== null && segment !== undefined) {
    const { length } = encodeText(object.ptInterp)
    // a section that holds only this text
    const isAlone =
      sections !== null &&
      length + 1 === segment.filesz &&
      findSection(
        sections,
        index =>
          sectionNumber(sections, index, 'type') === SHT_PROGBITS &&
          sectionNumber(sections, index, 'offset') === segment.offset &&
          sectionNumber(sections, index, 'size') === segment.filesz,
      ) > 0
    if (isAlone) places.push({ offset: segment.offset, length })
  }
  return places.map(({ offset, length }) => {
    const bytes = new Uint8Array(source.read(offset, length))
    return { offset, bytes, text: decodeBytes(bytes) }
  })
}

/**
 * A copy of .gnu.version_r with other file names; null where the names do not change. Its inner offsets are relative.
 */
export function newVersionNeeds(
  source: ByteSource,
  object: ElfObject,
  wanted: ElfState,
  offsetOf: (text: string) => number,
): { bytes: Uint8Array; was: bigint } | null {
  const files = object.versionNeeds.map(({ file }) => file)
  const was = valueOf(object.dynamic, DT_VERNEED)
  if (was === undefined || files.every((file, index) => wanted.versionFiles[index] === file)) return null
  const format = formatOf(object.header)
  const needs = readVersionNeeds(source, object.header, object.programHeaders, was)
  const start = Math.min(...needs.map(({ at }) => at))
  let end = start
  for (const need of needs) {
    end = Math.max(end, need.at + format.verneed.bytes)
    for (const { at } of need.versions) end = Math.max(end, at + format.vernaux.bytes)
  }
  const bytes = new Uint8Array(source.read(start, end - start))
  for (const [index, { at }] of needs.entries()) {
    const file = wanted.versionFiles[index]
    if (file !== undefined && file !== files[index])
      encode(format.verneed, format, bytes, at - start, { file: offsetOf(file) })
  }
  return { bytes, was }
}

// The graft only appends: all new bytes go past the end of the file as one more PT_LOAD, and one write of the ELF
// header switches to it. No code or data changes its address, so no reference has to be found and corrected.
//
// A graft is: undo note · .dynamic · [PT_INTERP's string] · [.gnu.version_r] · .dynstr · program headers · section
// names · section headers. The end of its PT_LOAD decides what loaders and strip make of the file (src/elf/README.md):
// - Shared objects for glibc: it ends before the program headers. glibc copies a table that is not in memory.
// - Executables: it ends before the last program header. The kernel tells them by AT_PHDR where their headers are. The
//   last header is in memory too, because pages are mapped whole. The same layout serves libraries whose own code looks
//   for their program headers (kind.ts).
// - Shared objects for musl: it ends behind all program headers. Otherwise musl does not report the headers of the
//   object, and unwinding fails.
// In the first two cases no PT_LOAD holds the whole table. GNU strip and objcopy would lay out the table again and
// destroy the file; because of this they refuse the file and leave it alone. In the third case they write their table
// to the start of the PT_LOAD, so there is a gap for it. Allocated sections cover our table, so eu-strip and llvm-strip
// keep it.
import { DT_STRSZ, DT_STRTAB, DT_VERNEED, EI_OSABI, ET_DYN, ET_EXEC, PT_INTERP } from '../constants.ts'
import { encodeDynamic, moveDebugHook, newDynamic, withValues } from '../tables/dynamic.ts'
import type { ElfEdit } from '../edit/edit.ts'
import type { FileEdit } from '../edit/file-edit.ts'
import { encodeProgramHeaders, newElfHeader, newProgramHeaders } from './new-headers.ts'
import { type GraftLayout, layOut, stringTableAddress } from './placement.ts'
import { type GraftOptions, type GraftParts, newParts, newVersionNeeds } from './new-parts.ts'
import { type DroppedCache, droppedCache } from './resolution-cache.ts'
import { graftSections, type GraftSections, withoutStrays } from './new-sections.ts'
import { dropInPlace, editInPlace, editWords, interpreterInPlace, renameInPlace } from '../in-place/in-place.ts'
import { ElfError } from '../error.ts'
import { isExecutable } from '../kind.ts'
import { formatOf } from '../layout.ts'
import { readElf } from '../read.ts'
import { assertEditable, assertNoPayload, type Editable } from '../rules/refuse.ts'
import { type ByteSource, readInto } from '../source.ts'
import type { SectionTable } from '../tables/sections.ts'
import { applyEdit, changedFields, type ElfState, stateOf } from '../edit/state.ts'
import type { ElfObject, ProgramHeader } from '../types.ts'
import { encodeNote, sealNote, readUndo } from './undo-note.ts'
import { extendedSource, type Patch, patchedSource } from '../overlay.ts'

export type { GraftOptions } from './new-parts.ts'

/** Larger string tables are copied by reference. */
const COPY_BY_REFERENCE = 1 << 16

/**
 * Makes the edit; null when the object already is in the wanted state.
 * @param source the file without a graft of wheelfix (`originalSource`)
 * @throws ElfError `REFUSED` with the reason where the object cannot be edited safely; errors of `readElf`
 */
export function makeGraft(source: ByteSource, edit: ElfEdit, options: GraftOptions = {}): FileEdit | null {
  const object = readElf(source)
  return graftTo(source, object, applyEdit(stateOf(object), edit), options)
}

/**
 * As `makeGraft`, but takes the wanted state instead of an edit; null when the object already is in that state.
 * @param fill makes the bytes of the graft
 */
export function graftTo(
  source: ByteSource,
  object: ElfObject,
  wanted: ElfState,
  options: GraftOptions = {},
  fill: (design: GraftDesign) => FileEdit = fillGraft,
): FileEdit | null {
  const changes = changedFields(stateOf(object), wanted)
  if (changes.length === 0) return null
  const inPlace = options.inPlace === true
  const words = editWords(object, wanted)
  if (words !== null) return patched(source, object, words, wanted)
  let editable: Editable
  try {
    editable = assertEditable(source, object)
  } catch (error) {
    // the kernel reads the interpreter's name of any kind of object
    const isProgram = object.header.type === ET_EXEC || object.header.type === ET_DYN
    const patches = inPlace && isProgram ? interpreterInPlace(source, object, wanted) : null
    if (patches === null) throw error
    return patched(source, object, patches, wanted)
  }
  const cache = droppedCache(source, object, editable.sections, wanted)
  const inside = (patches: readonly Patch[]): FileEdit =>
    patched(source, object, [...patches, ...dropInPlace(object, cache)], wanted)
  // only a graft can keep a record
  const renamed = inPlace && options.record === undefined ? renameInPlace(source, object, editable, wanted) : null
  if (renamed !== null) return inside(renamed)
  try {
    assertNoPayload(source, object, editable)
  } catch (error) {
    const patches = inPlace ? editInPlace(source, object, editable, wanted) : null
    if (patches === null) throw error
    return inside(patches)
  }
  // objcopy accepts no grafted program as a template (PyInstaller, bun); an edit in place would break the record of a
  // graft
  const isPlain = inPlace && isExecutable(object) && readUndo(source) === null
  const fitting = isPlain ? editInPlace(source, object, editable, wanted, true) : null
  if (fitting !== null) return inside(fitting)
  try {
    return fill(designGraft(source, object, editable, wanted, options, cache))
  } catch (error) {
    // the .bss of the program leaves no place for a graft; an edit in place would break the record of an existing graft
    const fits = inPlace && error instanceof ElfError && error.code === 'REFUSED' && readUndo(source) === null
    const patches = fits ? editInPlace(source, object, editable, wanted) : null
    if (patches === null) throw error
    return inside(patches)
  }
}

/** The file after the graft. */
export function graftedSource(source: ByteSource, graft: FileEdit): ByteSource {
  const base = patchedSource(source, graft.baseSize, [...graft.patches, { offset: 0, bytes: graft.header }])
  if (graft.tail.length === 0) return base
  return extendedSource(
    base,
    graft.tail.map(piece =>
      'copyFrom' in piece ? { source: base, offset: piece.copyFrom, length: piece.length } : piece,
    ),
  )
}

/** A graft that appends nothing. */
function patched(source: ByteSource, { header }: ElfObject, patches: readonly Patch[], { osabi }: ElfState): FileEdit {
  const head = new Uint8Array(source.read(0, formatOf(header).ehdr.bytes))
  head[EI_OSABI] = osabi
  return { baseSize: source.size, tail: [], patches, header: head }
}

/** A graft whose parts have their places. From here on, nothing makes it fail. */
export interface GraftDesign {
  readonly source: ByteSource
  readonly object: ElfObject
  readonly editable: Editable
  readonly wanted: ElfState
  readonly cache: DroppedCache
  readonly parts: GraftParts
  readonly layout: GraftLayout
  readonly programHeaders: readonly ProgramHeader[]
  readonly allocate: (length: number) => Buffer
}

/** Collects the new parts and places them. */
function designGraft(
  source: ByteSource,
  object: ElfObject,
  editable: Editable,
  wanted: ElfState,
  options: GraftOptions,
  cache: DroppedCache,
): GraftDesign {
  const parts = newParts(source, object, editable, wanted, options, cache)
  const layout = layOut(source.size, object, editable, parts, options.pageSize)
  const programHeaders = newProgramHeaders(editable, wanted, parts, layout)
  const settle = (table: SectionTable | null) => withoutStrays(table, object.programHeaders, programHeaders)
  const sections = settle(editable.sections)
  return {
    source,
    object,
    editable: { ...editable, sections },
    wanted,
    // usually nothing is dropped, and the table is the same
    cache: { ...cache, sections: cache.sections === editable.sections ? sections : settle(cache.sections) },
    parts,
    layout,
    programHeaders,
    allocate: options.allocate ?? (length => Buffer.alloc(length)),
  }
}

/** Writes the bytes of a graft, and seals them. */
export function fillGraft(design: GraftDesign): FileEdit {
  const { source, object, editable, wanted, cache, parts, layout, programHeaders } = design
  const format = formatOf(object.header)
  parts.strings.settle(layout.firstNewString)
  const versions = newVersionNeeds(source, object, wanted, parts.strings.offsetOf)
  const changed = { ...editable, sections: cache.sections }
  const sections = newSections(source, object, changed, layout, versions?.was ?? 0n)
  const { at } = layout.programHeaders
  const header = newElfHeader(format, parts.undo.header, wanted, { at, count: programHeaders.length }, sections)
  const end = sections?.end ?? layout.end
  const { patches } = parts
  const wiped = patchedSource(source, source.size, patches)

  const content = emptyContent(layout, end, design.allocate)
  content.write(encodeProgramHeaders(format, programHeaders), layout.programHeaders.at)
  writeTables(content, wiped, object, editable, wanted, parts, layout)
  if (versions !== null && layout.versions !== null) content.write(versions.bytes, layout.versions.at)
  if (sections !== null) {
    if (sections.names !== null) content.write(sections.names.bytes, sections.names.at)
    content.write(sections.table.bytes, sections.at)
  }
  const note = encodeNote(format, parts.undo, content.end)
  content.write(note, layout.note.at)
  const { copiedByReference, first, before, behind } = content
  const padding = layout.note.at - source.size - first.length
  const edit: FileEdit = {
    baseSize: source.size,
    tail: [
      ...(first.length === 0 ? [] : [first]),
      ...(padding === 0 ? [] : [{ hole: true, length: padding } as const]),
      before,
      ...(copiedByReference ? [{ copyFrom: editable.strtab.offset, length: layout.copiedLength }] : []),
      ...(behind.length === 0 ? [] : [behind]),
    ],
    patches,
    header,
  }
  sealNote(format, note, parts.undo, graftedSource(source, edit), layout.note.at)
  content.write(note, layout.note.at)
  return edit
}

/** The section headers and their names, behind everything else; null where the object has no sections. */
function newSections(
  source: ByteSource,
  object: ElfObject,
  { dynamicSegment, sections }: Editable,
  layout: GraftLayout,
  versionsWere: bigint,
): GraftSections | null {
  if (sections === null) return null
  const { note, programHeaders, dynamic, interpreter, versions, stringTable, stringsPlace } = layout
  const interpreterWas = object.programHeaders.find(({ type }) => type === PT_INTERP)?.vaddr ?? 0n
  return graftSections(
    source,
    sections,
    {
      note,
      programHeaders,
      headersInLoad: programHeaders.at + programHeaders.length <= layout.loadEnd,
      dynamic: { ...dynamic, was: dynamicSegment.vaddr },
      strings: { ...stringTable, was: stringTableAddress(object), place: stringsPlace, added: layout.strings },
      interpreter: interpreter === null ? null : { ...interpreter, was: interpreterWas },
      versions: versions === null ? null : { ...versions, was: versionsWere },
    },
    layout.end,
  )
}

/**
 * The bytes of a graft from its note on, in two parts: before and behind a large copy of strings, which is never in
 * memory. The new strings of a table that grows come first, before the note.
 */
interface GraftContent {
  readonly first: Buffer
  readonly before: Buffer
  readonly copiedByReference: boolean
  readonly behind: Buffer
  /** File offset. */
  readonly end: number
  /** Puts bytes at a file offset. */
  write(this: void, bytes: Uint8Array, at: number): void
  /** Puts bytes of a source, from an offset on, at a file offset. */
  copy(this: void, source: ByteSource, from: number, length: number, at: number): void
}

function emptyContent(
  { note, strings, stringsPlace, copiedLength }: GraftLayout,
  end: number,
  allocate: (length: number) => Buffer,
): GraftContent {
  const copiedByReference = copiedLength > COPY_BY_REFERENCE
  const first = allocate(stringsPlace === 'grown' ? strings.length : 0)
  const cut = stringsPlace === 'grown' ? end : strings.at
  const split = copiedByReference ? strings.at + copiedLength : cut
  const before = allocate(cut - note.at)
  const behind = allocate(end - split)
  /** The rest of the part that holds a file offset, from there on. */
  const from = (at: number): Buffer => {
    if (at < note.at) return first.subarray(at - strings.at)
    return at < cut ? before.subarray(at - note.at) : behind.subarray(at - split)
  }
  return {
    first,
    before,
    copiedByReference,
    behind,
    end,
    write: (bytes, at) => from(at).set(bytes),
    copy: (source, offset, length, at) => readInto(source, from(at).subarray(0, length), offset),
  }
}

/** Writes the dynamic table and the tables that it names. */
function writeTables(
  { write, copy, copiedByReference }: GraftContent,
  source: ByteSource,
  object: ElfObject,
  { dynamicSegment, strtab }: Editable,
  wanted: ElfState,
  { strings, interpreter }: GraftParts,
  layout: GraftLayout,
): void {
  const values = new Map<number, bigint>()
  if (layout.stringsPlace !== 'kept') {
    values.set(DT_STRTAB, layout.stringTable.address).set(DT_STRSZ, BigInt(layout.stringTable.length))
  }
  if (layout.versions !== null) values.set(DT_VERNEED, layout.versions.address)
  const entries = withValues(newDynamic(object, wanted, strings.offsetOf), values)
  const dynamic = moveDebugHook(object, entries, dynamicSegment.vaddr, layout.dynamic.address)
  write(encodeDynamic(formatOf(object.header), dynamic), layout.dynamic.at)
  if (interpreter !== null && layout.interpreter !== null) write(interpreter, layout.interpreter.at)
  if (layout.copiedLength > 0 && !copiedByReference) {
    copy(source, strtab.offset, layout.copiedLength, layout.strings.at)
  }
  write(strings.bytes(), layout.strings.at + layout.copiedLength)
}

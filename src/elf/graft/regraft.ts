// The only way to change the graft of an object: take the caller's own layer off, make the edit, verify it, and put the
// layers of other owners on top again. The result is a list of changes to the current file.
import { DT_VERDEF, DT_VERNEED } from '../constants.ts'
import { searchPathEntries } from '../edit/edit.ts'
import type { FileEdit, FilePiece } from '../edit/file-edit.ts'
import { fillGraft, type GraftDesign, graftedSource, type GraftOptions, graftTo } from './graft.ts'
import { clipped, joined, type Layer, type Layers } from './layers.ts'
import { type Headers, readHeaders } from '../headers.ts'
import { isExecutable } from '../kind.ts'
import { formatOf } from '../layout.ts'
import type { Owner } from './undo-note.ts'
import { readBySections, readElf } from '../read.ts'
import type { ByteSource } from '../source.ts'
import { changedFields, type ElfState, stateOf } from '../edit/state.ts'
import type { ElfObject } from '../types.ts'
import { valueOf } from '../tables/entries.ts'
import { readVersionDefinitions, readVersionNeeds } from '../tables/symbol-versions.ts'
import { verifyHeaders, verifyState } from '../rules/verify.ts'

interface Regraft {
  /** What must be written; null where the file is already right. */
  readonly edit: FileEdit | null
  /** The edits of programs in place. Their undo must be kept outside of the file. */
  readonly inPlace: readonly EditInPlace[]
  /** The file without the caller's own layer and those above. */
  readonly before: ByteSource
  /** The file after the edit. */
  readonly after: ByteSource
}

/** An edit that leaves no note in the file. */
export interface EditInPlace {
  readonly owner: Owner
  /** The file below the edit. */
  readonly base: ByteSource
  readonly edit: FileEdit
  readonly record: string | null
}

/**
 * @param wanted returns the wanted state of the file without the layers above; null: take the caller's own layer off
 * @throws ElfError `REFUSED` where that cannot be done safely, `BROKEN` where the result differs from the wanted state
 */
export function regraft(
  layers: Layers,
  wanted: ((base: ElfObject) => ElfState) | null,
  options: GraftOptions = {},
): Regraft {
  const { base, above, own, headers } = layers
  const graft = wanted === null ? null : graftOnto(base, wanted, options, headers)
  const under = graft === null ? base : graftedSource(base, graft)
  const inPlace: EditInPlace[] = []
  const note = (edit: FileEdit | null, below: ByteSource, owner: Owner, record: string | null): void => {
    const isProgram = edit !== null && edit.tail.length === 0 && isExecutable(readElf(below))
    if (isProgram) inPlace.push({ owner, base: below, edit, record })
  }
  note(graft, base, options.owner ?? 'elf', options.record ?? null)
  if (above.length === 0) return { edit: onto(joined(own), graft), inPlace, before: base, after: under }

  // all ranges below the base that any layer patches, and everything behind the base, taken from the result
  const touched = [...above, ...own].flatMap(({ undo }) => undo.patches).concat(graft?.patches ?? [])
  let after = under
  for (const layer of above.toReversed()) {
    const again = putAgain(layer, layers, after)
    if (again === null) continue
    touched.push(...again.patches)
    note(again, after, layer.undo.owner ?? 'venv', layer.undo.record)
    after = graftedSource(after, again)
  }
  return { edit: flattened(base, after, touched), inPlace, before: base, after }
}

/**
 * Would `regraft` make an edit? Takes all its steps up to the bytes of the graft, which are neither made nor checked.
 * @throws as `regraft`
 */
export function tryRegraft(
  layers: Layers,
  wanted: ((base: ElfObject) => ElfState) | null,
  options: GraftOptions = {},
): boolean {
  const { base, own, above, headers } = layers
  if (wanted === null || above.length > 0) return regraft(layers, wanted, options).edit !== null
  const object = readBySections(base, headers ?? readHeaders(base))
  const state = wanted(object)
  let isFilled = true
  const edit = graftTo(base, object, state, options, design => {
    isFilled = !isPlain(design)
    return isFilled ? fillGraft(design) : unfilled(design, options.pageSize)
  })
  // an edit in place has no bytes to spare
  if (edit !== null && isFilled) verifyState(base, object, graftedSource(base, edit), state, options.pageSize)
  return edit !== null || own.length > 0
}

/** Are the strings of the versions inside the string table? Otherwise only the bytes show what a copy makes of them. */
function isPlain({ source, object, editable: { strtab } }: GraftDesign): boolean {
  const { header, programHeaders, dynamic } = object
  const needs = readVersionNeeds(source, header, programHeaders, valueOf(dynamic, DT_VERNEED))
  const definitions = readVersionDefinitions(source, header, programHeaders, valueOf(dynamic, DT_VERDEF))
  const isInside = ({ name }: { readonly name: bigint }): boolean => name < strtab.length
  return (
    source.read(strtab.offset + strtab.length - 1, 1)[0] === 0 &&
    needs.every(({ file, versions }) => file < strtab.length && versions.every(isInside)) &&
    definitions.every(isInside)
  )
}

/**
 * Checks the headers of a graft. The old sections stay where they are and the new ones lie where the layout puts them, so only
 * the new program headers can make a section wrong. The edit has a hole in place of the bytes, so nobody may write it.
 */
function unfilled(
  { source, object, editable, layout, programHeaders }: GraftDesign,
  page: number | undefined,
): FileEdit {
  const { sections } = editable
  const { at } = layout.programHeaders
  const header = { ...object.header, phoff: at, phnum: programHeaders.length }
  verifyHeaders(source.size, object, { header, programHeaders, end: layout.end }, sections, page)
  const tail = [{ hole: true, length: layout.end - source.size } as const]
  return { baseSize: source.size, tail, patches: [], header: new Uint8Array() }
}

function graftOnto(
  base: ByteSource,
  wanted: (base: ElfObject) => ElfState,
  options: GraftOptions,
  headers: Headers | null = null,
): FileEdit | null {
  const object = readBySections(base, headers ?? readHeaders(base))
  const state = wanted(object)
  const graft = graftTo(base, object, state, options)
  if (graft !== null) verifyState(base, object, graftedSource(base, graft), state, options.pageSize)
  return graft
}

/** A graft in the place of the layers that `undo` takes off. */
function onto(undo: ReturnType<typeof joined>, graft: FileEdit | null): FileEdit | null {
  if (undo === null) return graft
  if (graft !== null) return { ...graft, patches: [...undo.patches, ...graft.patches] }
  return { baseSize: undo.originalSize, tail: [], patches: undo.patches, header: undo.header }
}

/** A layer of another owner, put on an object that has changed below it; null where nothing of the layer is left. */
function putAgain({ source, undo }: Layer, { above, own, base }: Layers, below: ByteSource): FileEdit | null {
  const index = above.findIndex(layer => layer.source === source)
  const was = above[index + 1]?.source ?? own[0]?.source ?? base
  const { owner } = undo
  const inPlace = undo.originalSize === source.size
  const options = {
    inPlace,
    ...(owner === null ? {} : { owner }),
    ...(undo.record === null ? {} : { record: undo.record }),
  }
  const delta = { from: stateOf(readElf(was)), to: stateOf(readElf(source)) }
  return graftOnto(below, object => applyAgain(stateOf(object), delta), options)
}

/**
 * Applies the changes of a layer to another state. The entries that the layer added to the search path come behind the
 * existing ones. Its interpreter replaces only the interpreter that it replaced before, not one that was set since.
 */
function applyAgain(state: ElfState, { from, to }: { readonly from: ElfState; readonly to: ElfState }): ElfState {
  const interpreter = state.interpreter === from.interpreter ? to.interpreter : state.interpreter
  if (changedFields(from, { ...to, interpreter: from.interpreter }).length === 0) return { ...state, interpreter }
  const before = searchPathEntries(from)
  const after = searchPathEntries(to)
  const kept = searchPathEntries(state).filter(entry => after.includes(entry) || !before.includes(entry))
  const added = after.filter(entry => !before.includes(entry) && !kept.includes(entry))
  const path = [...kept, ...added].join(':')
  const isRpath = state.rpath !== null || (state.runpath === null && to.rpath !== null)
  if (path === '' && state.rpath === null && state.runpath === null) return { ...state, interpreter }
  return isRpath && state.runpath === null
    ? { ...state, interpreter, rpath: path }
    : { ...state, interpreter, runpath: path }
}

const CHUNK = 1 << 20

/**
 * The difference of two files that are equal below the size of the first, except for some ranges and the ELF header.
 */
function flattened(
  base: ByteSource,
  result: ByteSource,
  ranges: readonly { readonly offset: number; readonly bytes: Uint8Array }[],
): FileEdit {
  const tail: FilePiece[] = []
  for (let at = base.size; at < result.size; at += CHUNK) {
    const bytes = result.read(at, Math.min(CHUNK, result.size - at))
    const isHole = at + bytes.length < result.size && bytes.every(byte => byte === 0)
    tail.push(isHole ? { hole: true, length: bytes.length } : new Uint8Array(bytes))
  }
  return {
    baseSize: base.size,
    tail,
    patches: clipped(ranges, base.size).map(({ offset, bytes }) => {
      return { offset, bytes: new Uint8Array(result.read(offset, bytes.length)) }
    }),
    header: new Uint8Array(result.read(0, formatOf(readElf(result).header).ehdr.bytes)),
  }
}

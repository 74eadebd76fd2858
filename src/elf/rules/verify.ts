// Checks objects. `verifyElf` lists the rules that an object breaks. `verifyGraft` checks an edited object against its
// original and the edit, before the new header is written.
import {
  DT_MIPS_RLD_MAP_REL,
  DT_NEEDED,
  DT_RPATH,
  DT_RUNPATH,
  DT_SONAME,
  DT_STRSZ,
  DT_STRTAB,
  DT_VERNEED,
  PT_DYNAMIC,
  PT_GNU_STACK,
  PT_INTERP,
  PT_LOAD,
  PT_NULL,
  PT_PHDR,
} from '../constants.ts'
import { newDynamic } from '../tables/dynamic.ts'
import type { ElfEdit } from '../edit/edit.ts'
import { ElfError } from '../error.ts'
import type { Extent } from '../memory.ts'
import { readBySections, readElf } from '../read.ts'
import {
  checkDynamic,
  checkHash,
  checkInterpreter,
  checkLoads,
  checkProgramHeaders,
  checkSegments,
  checkTableLookup,
  checkVersions,
  type Report,
  type Violation,
} from './rules.ts'
import { checkSections } from './section-rules.ts'
import { readSections, type SectionTable } from '../tables/sections.ts'
import type { ByteSource } from '../source.ts'
import { applyEdit, changedFields, type ElfState, stateOf } from '../edit/state.ts'
import type { ElfHeader, ElfObject, ProgramHeader } from '../types.ts'
import { droppedCache, hasResolutionCache, withoutCache } from '../graft/resolution-cache.ts'
import { originalSource, readUndo } from '../graft/undo-note.ts'

export type { Violation } from './rules.ts'

/**
 * Every rule that the object breaks; empty for a sound one. An unreadable part counts as a violation, not as an error.
 */
export function verifyElf(source: ByteSource): Violation[] {
  try {
    return violationsOf(source, readElf(source))
  } catch (error) {
    if (!(error instanceof ElfError)) throw error
    return [violation('readable', error.message, error.offset, error.value)]
  }
}

function violation(rule: string, message: string, offset?: number, value?: bigint | number): Violation {
  return {
    rule,
    message,
    ...(offset === undefined ? {} : { offset }),
    ...(value === undefined ? {} : { value }),
  }
}

/** Runs checks that may meet an unreadable part. */
function guarded(report: Report, rule: string, check: () => void): void {
  try {
    check()
  } catch (error) {
    if (!(error instanceof ElfError)) throw error
    report(rule, error.message, error.offset, error.value)
  }
}

function violationsOf(source: ByteSource, object: ElfObject, page?: number): Violation[] {
  const violations: Violation[] = []
  const report: Report = (rule, message, offset, value) => {
    violations.push(violation(rule, message, offset, value))
  }
  guarded(report, 'readable', () => {
    checkLoads(source.size, object, report, page)
    checkProgramHeaders(object, report)
    checkTableLookup(object, report, page)
    checkInterpreter(source, object, report)
    checkSegments(source.size, object, report)
    checkDynamic(object, report)
    guarded(report, 'version-tables', () => checkVersions(source, object, report))
    guarded(report, 'hash-table', () => checkHash(source, object, report))
    guarded(report, 'sections', () => checkSections(readSections(source, object.header), source.size, object, report))
  })
  return violations
}

/**
 * Checks that an edited object is what the edit asks for, breaks no rule that the original did not break, carries its
 * undo record, and differs in nothing else.
 * @param original the object without a graft of wheelfix
 * @param page the page size, in bytes, that the graft was laid out for; default: the machine's largest
 * @throws ElfError `BROKEN` with what is wrong
 */
export function verifyGraft(original: ByteSource, result: ByteSource, edit: ElfEdit, page?: number): void {
  const object = readElf(original)
  verifyState(original, object, result, applyEdit(stateOf(object), edit), page)
}

/** As `verifyGraft`, with the original already read, and the wanted state instead of an edit. */
export function verifyState(
  original: ByteSource,
  old: ElfObject,
  result: ByteSource,
  wanted: ElfState,
  page?: number,
): void {
  const now = readResult(result, old)
  const wrong = changedFields(stateOf(now), wanted)
  if (wrong.length > 0) throw broken(`${wrong.join(', ')} came out differently from what was wanted`)
  for (const field of ['class', 'byteOrder', 'abiVersion', 'type', 'machine', 'flags', 'entry'] as const) {
    if (old.header[field] !== now.header[field]) throw broken(`the ELF header's ${field} has changed`)
  }
  const inPlace = result.size === original.size
  const cache = droppedCache(original, old, null, wanted)
  compareProgramHeaders({ ...old, programHeaders: withoutCache(old.programHeaders, cache) }, now, inPlace)
  if (cache.patches.length > 0 && hasResolutionCache(result, now)) throw broken('its resolution cache is still there')
  compareDynamic(old, now, wanted)
  const violations = violationsOf(result, now, page)
  const known = new Set((violations.length === 0 ? [] : violationsOf(original, old, page)).map(({ rule }) => rule))
  const fresh = violations.find(({ rule }) => !known.has(rule))
  if (fresh !== undefined) throw broken(`${fresh.rule}: ${fresh.message}`, fresh.offset, fresh.value)
  if (result.size === original.size) return
  const undo = readUndo(result, now)
  if (undo === null) throw broken('the undo record cannot be read back')
  const restored = originalSource(result, undo)
  const ranges = [
    { offset: 0, length: Math.min(original.size, 64) },
    ...undo.patches.map(({ offset, bytes }) => ({ offset, length: bytes.length })),
  ]
  const isSame = ({ offset, length }: Extent): boolean =>
    Buffer.from(restored.read(offset, length)).equals(original.read(offset, length))
  if (restored.size !== original.size || !ranges.every(isSame)) {
    throw broken('the undo record does not bring the original back')
  }
}

/** The headers of an edited file, before its bytes are made. */
interface NewHeaders {
  readonly header: ElfHeader
  readonly programHeaders: readonly ProgramHeader[]
  /** Size of the file in bytes. */
  readonly end: number
}

/**
 * The part of `verifyState` that needs only the headers of the result: what loaders check before they read a table.
 * @param size of the original, in bytes
 * @param sections those of the original
 * @throws ElfError `BROKEN`
 */
export function verifyHeaders(
  size: number,
  old: ElfObject,
  { header, programHeaders, end }: NewHeaders,
  sections: SectionTable | null,
  page?: number,
): void {
  const check = (fileSize: number, object: ElfObject): Violation[] => {
    const found: Violation[] = []
    const report: Report = (rule, message, offset, value) => {
      found.push(violation(rule, message, offset, value))
    }
    checkLoads(fileSize, object, report, page)
    checkProgramHeaders(object, report)
    checkTableLookup(object, report, page)
    checkSegments(fileSize, object, report)
    guarded(report, 'sections', () => checkSections(sections, fileSize, object, report))
    return found
  }
  const found = check(end, { ...old, header, programHeaders })
  const known = new Set((found.length === 0 ? [] : check(size, old)).map(({ rule }) => rule))
  const fresh = found.find(({ rule }) => !known.has(rule))
  if (fresh !== undefined) throw broken(`${fresh.rule}: ${fresh.message}`, fresh.offset, fresh.value)
}

function readResult(result: ByteSource, old: ElfObject): ElfObject {
  try {
    const now = readElf(result)
    // an object that was read by its sections may have been edited in place
    return now.dynamic === null && old.dynamic !== null ? readBySections(result) : now
  } catch (error) {
    throw error instanceof ElfError ? broken(error.message, error.offset, error.value) : error
  }
}

function broken(message: string, offset?: number, value?: bigint | number): ElfError {
  return new ElfError('BROKEN', `the edited file would be broken: ${message}`, offset, value)
}

/** Segments whose place, flags or end a graft may change. */
const MOVABLE = new Set([PT_DYNAMIC, PT_INTERP, PT_PHDR, PT_GNU_STACK])

function compareProgramHeaders(old: ElfObject, now: ElfObject, inPlace: boolean): void {
  const same = (a: ProgramHeader, b: ProgramHeader | undefined): boolean =>
    b !== undefined &&
    a.type === b.type &&
    a.flags === b.flags &&
    a.offset === b.offset &&
    a.vaddr === b.vaddr &&
    a.paddr === b.paddr &&
    a.filesz === b.filesz &&
    a.memsz === b.memsz &&
    a.align === b.align
  const fixed = ({ programHeaders }: ElfObject): ProgramHeader[] =>
    programHeaders.filter(({ type }) => !MOVABLE.has(type) && (inPlace || type !== PT_NULL))
  const before = fixed(old)
  const after = fixed(now)
  // a segment may grow: in place over bytes that it maps already (slack.ts), at the end of the file over new strings
  const isLonger = (a: ProgramHeader, b: ProgramHeader | undefined): boolean =>
    b !== undefined &&
    b.filesz > a.filesz &&
    BigInt(b.filesz) === b.memsz &&
    (inPlace || BigInt(a.filesz) === a.memsz) &&
    same({ ...a, filesz: b.filesz, memsz: BigInt(a.filesz) === a.memsz ? b.memsz : a.memsz }, b)
  const isKept = (a: ProgramHeader, b: ProgramHeader | undefined): boolean => same(a, b) || isLonger(a, b)
  const isNew = (header: ProgramHeader): boolean => !before.some(other => isKept(other, header))
  const ours = inPlace ? -1 : after.findIndex(header => header.type === PT_LOAD && isNew(header))
  const kept = after.filter((_, index) => index !== ours)
  if (kept.length !== before.length || !before.every((header, index) => isKept(header, kept[index]))) {
    throw broken('a segment that no edit touches has changed')
  }
}

/** Entries that point to a table which the graft replaces, or to a string (strings are compared by their text). */
const OTHER_VALUE = new Set([
  DT_STRTAB,
  DT_STRSZ,
  DT_VERNEED,
  DT_MIPS_RLD_MAP_REL,
  DT_NEEDED,
  DT_SONAME,
  DT_RPATH,
  DT_RUNPATH,
])

function compareDynamic(old: ElfObject, now: ElfObject, wanted: ElfState): void {
  const expected = newDynamic(old, wanted, () => 0)
  const found = now.dynamic ?? []
  const fits = expected.every(({ tag, value }, index) => {
    const entry = found[index]
    return entry?.tag === tag && (entry.value === value || OTHER_VALUE.has(tag))
  })
  if (!fits || found.length !== expected.length) throw broken('a dynamic entry that no edit touches has changed')
}

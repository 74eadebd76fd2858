// Carries a plan out, object by object: edit → verify → write → RECORD. One object that cannot be changed never stops the
// others. A dry run goes the same way up to the write, so that it ends as the real run would.
import { readFileSync } from 'node:fs'
import type { SearchPathTag } from '../elf/edit.ts'
import { encodeText } from '../elf/text.ts'
import { errnoOf } from '../io/error.ts'
import { fsPath } from '../io/path.ts'
import { replaceContent } from '../io/replace.ts'
import { withSource } from '../io/source.ts'
import type { Distributions, Owner } from '../python/distributions.ts'
import { EMPTY_FIELDS, type RecordFields, recordRows, rewriteRecord, SOURCES, trueFields } from '../python/record.ts'
import { changeObject, writeReason } from './change.ts'
import { canReflink, closeJournal, isForInPlace, openJournal } from '../state/journal.ts'
import type { PlannedObject } from '../resolve/plan.ts'
import type { ScannedObject } from './scan.ts'

/** What differs between an object as it stands and as it is to be. Lists of search path entries, in order. */
export interface Change {
  readonly rpath?: {
    readonly tag: SearchPathTag
    readonly before: readonly string[]
    readonly after: readonly string[]
  }
  readonly interpreter?: { readonly before: string; readonly after: string }
  /** An earlier version grafted it so that no exception can cross it: the same graft is made again, laid out better. */
  readonly regraft?: true
}

/** How an object ended. `patch`: a change is pending (a dry run, a check). */
export interface Outcome {
  readonly planned: PlannedObject
  readonly change: Change | null
  readonly status: 'fine' | 'patch' | 'patched' | 'refused'
  readonly reason: string | null
  /** The object is as planned, but its RECORD could not be written. */
  readonly unrecorded?: boolean
  /** The refusal is about the moment (a full disk), not about the file: the next run may do better. */
  readonly passing?: boolean
}

/** The change that brings an object to its target; null when it is there. */
export function changeOf({ object, edit, target }: PlannedObject): Change | null {
  const { current } = object
  const before = current.runpath ?? current.rpath
  const after = target.runpath ?? target.rpath
  const tag = target.runpath === null ? 'DT_RPATH' : 'DT_RUNPATH'
  const sameTag = (current.runpath === null) === (target.runpath === null)
  const change: { -readonly [K in keyof Change]: Change[K] } = {}
  if (before !== after || !sameTag) change.rpath = { tag, before: entriesOf(before), after: entriesOf(after) }
  if (current.interpreter !== target.interpreter) {
    change.interpreter = { before: current.interpreter ?? '', after: target.interpreter ?? '' }
  }
  if (object.undo !== null && edit !== null && object.losesHeaders) change.regraft = true
  return Object.keys(change).length === 0 ? null : change
}

function entriesOf(searchPath: string | null): readonly string[] {
  return searchPath === null || searchPath === '' ? [] : searchPath.split(':')
}

export interface ApplyInput {
  readonly venvRoot: string
  readonly distributions: Distributions
  readonly write: boolean
  /** Write the true hash and size into RECORD instead of emptying the fields. */
  readonly rehash: boolean
  readonly progress: (done: number, total: number) => void
}

/** Applies the changes of a plan, or only tries them (`write: false`). The venv is locked by the caller. */
export function applyPlan(planned: readonly PlannedObject[], input: ApplyInput): readonly Outcome[] {
  const changes = planned.map(item => ({ item, change: changeOf(item) }))
  const pending = changes.filter(({ change }) => change !== null)
  const records = recordReader()
  const inPlace = input.write ? inPlaceObjects(pending.map(({ item }) => item)) : new Set<ScannedObject>()
  if (inPlace.size > 0) openJournal(input.venvRoot, [...inPlace])

  let done = 0
  const outcomes = changes.map(({ item, change }): Outcome => {
    if (change === null) return { planned: item, change, status: 'fine', reason: null }
    const { path, status, undo } = item.object
    const record = fieldsBefore(item, input.distributions.ownerOf(path), records)
    const job = { path, status, undo, edit: item.edit, record, inPlace: inPlace.has(item.object), write: input.write }
    const refusal = changeObject(job)
    input.progress(++done, pending.length)
    if (refusal !== null) return { planned: item, change, status: 'refused', ...refusal }
    return { planned: item, change, status: input.write ? 'patched' : 'patch', reason: null }
  })

  if (inPlace.size > 0) closeJournal(input.venvRoot)
  return input.write ? updateRecords(outcomes, input, records) : outcomes
}

function inPlaceObjects(pending: readonly PlannedObject[]): Set<ScannedObject> {
  const single = pending.map(({ object }) => object).filter(object => isForInPlace(object))
  const [first] = single
  return first === undefined || canReflink(first) ? new Set() : new Set(single)
}

/** The rows of RECORD files, each read and parsed once. */
type RecordReader = (path: string) => ReadonlyMap<string, RecordFields>

function recordReader(): RecordReader {
  const files = new Map<string, ReadonlyMap<string, RecordFields>>()
  return path => {
    let rows = files.get(path)
    if (rows === undefined) {
      rows = recordRows(readRecord(path), SOURCES)
      files.set(path, rows)
    }
    return rows
  }
}

function readRecord(path: string): string {
  try {
    // RECORD is UTF-8 by its specification; latin1 keeps any byte as it is
    return readFileSync(fsPath(path), 'latin1')
  } catch (error) {
    if (errnoOf(error) === undefined) throw error
    return ''
  }
}

/** The RECORD fields of an object before wheelfix: what the undo note is to keep. */
function fieldsBefore({ object }: PlannedObject, owner: Owner | null, records: RecordReader): string | null {
  if (object.undo !== null) return object.undo.record
  const at = rowOf(owner)
  const fields = at === null ? undefined : records(at.record).get(at.row)
  return fields === undefined ? null : `${fields.hash},${fields.size}`
}

/** Where RECORD speaks of a file: its path, and the row's path as its bytes have it, one character a byte; null: nowhere. */
export function rowOf(owner: Owner | null): { readonly record: string; readonly row: string } | null {
  const record = owner?.distribution.record ?? null
  if (record === null || owner?.row == null) return null
  return { record, row: encodeText(owner.row).toString('latin1') }
}

/** Did a run that was killed leave RECORD with the fields of originals that it had changed? */
export function recordsAreStale(planned: readonly PlannedObject[], distributions: Distributions): boolean {
  const records = recordReader()
  return planned.some(({ object, edit }) => {
    if (object.undo?.record == null || edit === null) return false
    const at = rowOf(distributions.ownerOf(object.path))
    return at !== null && isStale(object, records(at.record).get(at.row))
  })
}

function isStale({ undo }: ScannedObject, now: RecordFields | undefined): boolean {
  return now !== undefined && undo?.record === `${now.hash},${now.size}` && undo.record !== ','
}

/** The fields that an undo note kept. */
export function fieldsOf(record: string): RecordFields {
  const comma = record.indexOf(',')
  return { hash: record.slice(0, comma), size: record.slice(comma + 1) }
}

/** Empties the hash and size of changed files (the specification allows it), or writes the true ones. */
function updateRecords(outcomes: readonly Outcome[], input: ApplyInput, records: RecordReader): readonly Outcome[] {
  const changes = new Map<string, Map<string, RecordFields>>()
  for (const { planned, status, change } of outcomes) {
    if (status === 'refused') continue
    const at = rowOf(input.distributions.ownerOf(planned.object.path))
    if (at === null) continue
    const { record, row } = at
    const fields = fieldsAfter(planned, records(record).get(row), change !== null, input.rehash)
    if (fields === null) continue
    const rows = changes.get(record)
    if (rows === undefined) changes.set(record, new Map([[row, fields]]))
    else rows.set(row, fields)
  }
  const reasons = new Map<string, string>()
  for (const [record, rows] of changes) {
    const reason = rewriteRecordFile(record, rows)
    if (reason !== null) reasons.set(record, `it is patched, but its RECORD is not up to date: ${reason}`)
  }
  if (reasons.size === 0) return outcomes
  return outcomes.map((outcome): Outcome => {
    const record = input.distributions.ownerOf(outcome.planned.object.path)?.distribution.record ?? ''
    const asked = outcome.status === 'patched' || (input.rehash && outcome.planned.edit !== null)
    const reason = asked ? reasons.get(record) : undefined
    return reason === undefined ? outcome : { ...outcome, status: 'refused', reason, unrecorded: true, passing: true }
  })
}

/** Gives rows of a RECORD file other fields; the reason when it cannot be written, then it is as it was. */
export function rewriteRecordFile(record: string, rows: ReadonlyMap<string, RecordFields>): string | null {
  try {
    const before = readRecord(record)
    const after = rewriteRecord(before, rows)
    if (after !== before) replaceContent(record, Buffer.from(after, 'latin1'))
    return null
  } catch (error) {
    return writeReason(error)
  }
}

function fieldsAfter(
  { object, edit }: PlannedObject,
  now: RecordFields | undefined,
  changed: boolean,
  rehash: boolean,
): RecordFields | null {
  if (edit === null) return changed && object.undo?.record != null ? fieldsOf(object.undo.record) : null
  if (rehash) return withSource(object.path, trueFields)
  if (changed) return EMPTY_FIELDS
  // a run that was killed before it came to RECORD left the fields of the original
  return isStale(object, now) ? EMPTY_FIELDS : null
}

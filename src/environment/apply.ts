// Carries a plan out, object by object: edit → verify → write → RECORD. One object that cannot be changed never stops the
// others. A dry run goes the same way up to the write, so that it ends as the real run would.
import { readFileSync } from 'node:fs'
import { encodeText } from '../elf/text.ts'
import type { Undo } from '../elf/graft/undo-note.ts'
import { errnoOf } from '../io/error.ts'
import { fsPath, isInside } from '../io/path.ts'
import { replaceContent } from '../io/replace.ts'
import { withSource } from '../io/source.ts'
import type { Distributions, Owner } from '../python/distributions.ts'
import type { Place } from '../python/environment.ts'
import {
  EMPTY_FIELDS,
  fieldsOf,
  type RecordFields,
  recordRows,
  rewriteRecord,
  SOURCES,
  trueFields,
} from '../python/record.ts'
import { changeObject, writeReason } from './change.ts'
import { canReflink, closeJournal, isForInPlace, openJournal } from '../state/journal.ts'
import { isPlanned, ownerOf } from '../elf/graft/owners.ts'
import type { ScannedObject } from '../resolve/objects.ts'
import type { Applied, PlannedObject } from '../resolve/plan.ts'

export interface ApplyInput {
  readonly place: Place
  readonly distributions: Distributions
  /** The objects that the plan is about, by identity. */
  readonly objects: ReadonlyMap<string, ScannedObject>
  readonly write: boolean
  /** Write the true hash and size into RECORD instead of emptying the fields. */
  readonly rehash: boolean
  readonly progress: (done: number, total: number) => void
}

/** Applies the changes of a plan, or only tries them (`write: false`). The venv is locked by the caller. */
export function applyPlan(planned: readonly PlannedObject[], input: ApplyInput): readonly Applied[] {
  const pending = planned.filter(({ change }) => change !== null)
  const records = recordReader()
  const isRecorded = (path: string): boolean => input.distributions.ownerOf(path)?.row != null
  // the journal is the environment's: it speaks of nothing outside
  const own = pending.filter(({ path }) => isInside(path, input.place.root))
  const inPlace = input.write ? inPlaceObjects(own.map(item => objectOf(item, input))) : new Set<ScannedObject>()
  if (inPlace.size > 0) openJournal(input.place, [...inPlace])

  let done = 0
  const outcomes = planned.map((item): Applied => {
    if (item.change === null) return { planned: item, status: 'fine', reason: null }
    const object = objectOf(item, input)
    const { path, status } = object
    const isOwn = (undo: Undo): boolean => isPlanned(ownerOf(undo, () => isRecorded(path)))
    const record = fieldsBefore(object, input.distributions.ownerOf(path), records)
    const job = { path, status, isOwn, edit: item.edit, record, inPlace: inPlace.has(object), write: input.write }
    const refusal = changeObject(job)
    input.progress(++done, pending.length)
    if (refusal !== null) return { planned: item, status: 'refused', ...refusal }
    return { planned: item, status: input.write ? 'patched' : 'patch', reason: null }
  })

  if (inPlace.size > 0) closeJournal(input.place)
  return input.write ? updateRecords(outcomes, input, records) : outcomes
}

/** @throws Error where the plan is about other objects: a mistake of the caller */
function objectOf({ identity, path }: PlannedObject, { objects }: Pick<ApplyInput, 'objects'>): ScannedObject {
  const object = objects.get(identity)
  if (object === undefined) throw new Error(`the plan names ${path}, which was not scanned`)
  return object
}

function inPlaceObjects(pending: readonly ScannedObject[]): Set<ScannedObject> {
  const single = pending.filter(object => isForInPlace(object))
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
function fieldsBefore({ undo }: ScannedObject, owner: Owner | null, records: RecordReader): string | null {
  if (undo !== null) return undo.record
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
export function recordsAreStale(
  planned: readonly PlannedObject[],
  { objects, distributions }: Pick<ApplyInput, 'objects' | 'distributions'>,
): boolean {
  const records = recordReader()
  return planned.some(item => {
    const object = objectOf(item, { objects })
    if (object.undo?.record == null || item.edit === null) return false
    const at = rowOf(distributions.ownerOf(object.path))
    return at !== null && isStale(object, records(at.record).get(at.row))
  })
}

function isStale({ undo }: ScannedObject, now: RecordFields | undefined): boolean {
  return now !== undefined && undo?.record === `${now.hash},${now.size}` && undo.record !== ','
}

/** Empties the hash and size of changed files (the specification allows it), or writes the true ones. */
function updateRecords(outcomes: readonly Applied[], input: ApplyInput, records: RecordReader): readonly Applied[] {
  const changes = new Map<string, Map<string, RecordFields>>()
  for (const { planned, status } of outcomes) {
    if (status === 'refused') continue
    const at = rowOf(input.distributions.ownerOf(planned.path))
    if (at === null) continue
    const { record, row } = at
    const fields = fieldsAfter(planned, objectOf(planned, input), records(record).get(row), input.rehash)
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
  return outcomes.map((outcome): Applied => {
    const record = input.distributions.ownerOf(outcome.planned.path)?.distribution.record ?? ''
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
  { edit, change }: PlannedObject,
  object: ScannedObject,
  now: RecordFields | undefined,
  rehash: boolean,
): RecordFields | null {
  if (edit === null) return change !== null && object.undo?.record != null ? fieldsOf(object.undo.record) : null
  if (rehash) return withSource(object.path, trueFields)
  if (change !== null) return EMPTY_FIELDS
  // a run that was killed before it came to RECORD left the fields of the original
  return isStale(object, now) ? EMPTY_FIELDS : null
}

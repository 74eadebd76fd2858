// Applies a plan, object by object: edit → verify → write → RECORD. An object that cannot be changed never stops the others.
// A dry run takes the same steps up to the bytes of each graft, so that it refuses what the real run would.
import { type FileEdit, sizeAfter } from '../elf/edit/file-edit.ts'
import type { Undo } from '../elf/graft/undo-note.ts'
import { isPlanned, ownerOf } from '../elf/graft/owners.ts'
import { errnoOf } from '../io/error.ts'
import { isInside } from '../io/path.ts'
import { complete, pauses } from '../io/steps.ts'
import { type FileSource, withSource } from '../io/source.ts'
import type { Distributions } from '../python/distributions.ts'
import type { Place } from '../python/environment.ts'
import { EMPTY_FIELDS, fieldsOf, type RecordFields, trueFields } from '../python/record.ts'
import type { ScannedObject } from '../resolve/objects.ts'
import type { Applied, PlannedObject } from '../resolve/plan.ts'
import { type BeforeChange, beforeChange, inPlaceObjects } from '../state/journal.ts'
import { keepUndo } from '../state/kept-undos.ts'
import { layersIn } from '../elf/graft/layers.ts'
import { type ChangeJob, isInPlace, prepareChange, type Refusal, refusalOf, tryChange } from './change-object.ts'
import { objectWriter } from './object-writer.ts'
import {
  addRow,
  recordIdentity,
  type RecordReader,
  recordReader,
  rewriteRecordFiles,
  type RowChanges,
  rowOf,
} from './record-files.ts'

export interface ApplyInput {
  readonly place: Place
  readonly distributions: Distributions
  /** The objects of the plan, by path: two of them may be one file. */
  readonly byPath: ReadonlyMap<string, ScannedObject>
  /** The libc that loads the objects. */
  readonly libc: ChangeJob['libc']
  readonly write: boolean
  /** Write the true hash and size into RECORD instead of emptying the fields. */
  readonly rehash: boolean
  readonly progress: (done: number, total: number) => void
}

/**
 * Applies the changes of a plan, or only tries them (`write: false`). The caller holds the lock of the venv.
 *
 * RECORD follows the object, whenever the run ends:
 *
 *   object              RECORD            what the next run does
 *   original            its hash          patches the object first, then empties the row
 *   patched, with note  its hash          empties the row: the note shows that it is stale
 *   patched, with note  empty             nothing: done
 *   patched, with note  the true hash     (of --rehash) to change it again: empties the row, then changes the object
 *   patched, with note  its hash          to restore it: writes the row first, then the object loses its note
 *   original            its hash          nothing: done
 */
export function applyPlan(planned: readonly PlannedObject[], input: ApplyInput): readonly Applied[] {
  return complete(applySteps(planned, input))
}

/**
 * Does the work of `applyPlan` in steps. After each step every object is whole, and the journal has its entry where it must.
 */
export function* applySteps(
  planned: readonly PlannedObject[],
  input: ApplyInput,
): Generator<undefined, readonly Applied[]> {
  const pending = planned.filter(({ change }) => change !== null)
  const records = recordReader(rowsOf(pending, input))
  const unrecorded = input.write ? prepareRows(pending, records, input) : new Map<string, string>()
  const found = input.write ? recordIdentities(planned, input) : null
  const { refusals, sizes } = yield* changeObjects(pending, unrecorded, records, input)
  const outcomes = planned.map((item): Applied => {
    if (item.change === null) return { planned: item, status: 'fine', reason: null }
    const refusal = refusals.get(item)
    if (refusal !== undefined) return { planned: item, status: 'refused', ...refusal }
    const size = sizes.get(item)
    return {
      planned: item,
      status: input.write ? 'patched' : 'patch',
      reason: null,
      ...(size === undefined ? {} : { size }),
    }
  })
  return found === null ? outcomes : updateRecords(outcomes, found, input)
}

/** @throws Error when the plan is about other objects, which is a mistake of the caller */
function objectOf({ path }: PlannedObject, { byPath }: Pick<ApplyInput, 'byPath'>): ScannedObject {
  const object = byPath.get(path)
  if (object === undefined) throw new Error(`the plan names ${path}, which was not scanned`)
  return object
}

interface Changed {
  readonly refusals: Map<PlannedObject, Refusal>
  readonly sizes: Map<PlannedObject, number>
}

/** About how long a signal waits, in milliseconds: a batch is finished first. */
const PAUSE_MS = 100

/** Changes the objects, or only tries to. Returns the objects that could not be changed, and the new size of the others. */
function* changeObjects(
  pending: readonly PlannedObject[],
  unrecorded: ReadonlyMap<string, string>,
  records: RecordReader,
  input: ApplyInput,
): Generator<undefined, Changed> {
  const refusals = new Map<PlannedObject, Refusal>()
  const sizes = new Map<PlannedObject, number>()
  // the journal belongs to the environment and lists nothing outside it
  const own = pending.filter(({ path }) => isInside(path, input.place.root))
  const inPlace = input.write ? inPlaceObjects(own.map(item => objectOf(item, input))) : new Set<ScannedObject>()
  const writer = input.write ? objectWriter(input.place) : null
  let done = 0
  const end = (item: PlannedObject, refusal: Refusal | null): void => {
    if (refusal !== null) refusals.set(item, refusal)
    input.progress(++done, pending.length)
  }
  const pause = pauses(PAUSE_MS)
  try {
    for (const item of pending) {
      if (writer !== null) yield* pause()
      const object = objectOf(item, input)
      const { path, status } = object
      const owner = input.distributions.ownerOf(path)
      const isOwn = (undo: Undo): boolean => isPlanned(ownerOf(undo, () => owner?.row != null))
      const at = rowOf(owner)
      const reason = item.edit === null && at !== null ? unrecorded.get(at.recordPath) : undefined
      const fields = fieldsBefore(object, at, records)
      const kept = object.kept === true ? object.undo : null
      const isProgram = object.kind === 'executable'
      const job = { path, isOwn, kept, isProgram, libc: input.libc, status, edit: item.edit, record: fields }
      if (writer === null) {
        end(item, tryChange(job))
        continue
      }
      let before: BeforeChange | null = null
      const look = (source: FileSource, edit: FileEdit): void => {
        // An edit that appends nothing changes the tables themselves. A program that starts meanwhile must not see half of it.
        if (inPlace.has(object) && edit.tail.length > 0) before = beforeChange(source, edit)
      }
      const edit =
        reason === undefined
          ? prepareChange({ ...job, allocate: writer.allocate, look })
          : { reason: `its RECORD cannot be written: ${reason}`, passing: true }
      if ('reason' in edit) {
        end(item, edit)
        continue
      }
      sizes.set(item, sizeAfter(edit))
      if (item.edit !== null && !keep(input.place, job, edit, fields, refusal => end(item, refusal))) continue
      writer.add({ object, edit, before, record: fields === null ? null : at, fields }, refusal => end(item, refusal))
    }
  } finally {
    writer?.finish()
  }
  return { refusals, sizes }
}

/** Keeps the undo of an edit that left no note in the file. Returns whether the object may be written. */
function keep(
  place: Place,
  { path, isOwn, kept }: Pick<ChangeJob, 'path' | 'isOwn' | 'kept'>,
  edit: FileEdit,
  record: string | null,
  end: (refusal: Refusal) => void,
): boolean {
  // nearly every edit appends a note
  if (edit.tail.length > 0) return true
  try {
    withSource(path, source => {
      if (isInPlace(edit, source)) keepUndo(place, source, layersIn(source, isOwn, kept).base, edit, record)
    })
    return true
  } catch (error) {
    end(refusalOf(error))
    return false
  }
}

/** The RECORDs that list the objects, as they are now. */
function recordIdentities(
  planned: readonly PlannedObject[],
  { distributions }: Pick<ApplyInput, 'distributions'>,
): Map<string, string | null> {
  const paths = planned.flatMap(({ path }) => distributions.ownerOf(path)?.distribution.recordPath ?? [])
  return new Map([...new Set(paths)].map(path => [path, recordIdentity(path)]))
}

/** The rows of RECORD that list the objects. */
function rowsOf(planned: readonly PlannedObject[], { distributions }: Pick<ApplyInput, 'distributions'>): Set<string> {
  return new Set(planned.flatMap(({ path }) => rowOf(distributions.ownerOf(path))?.row ?? []))
}

/** The RECORD fields of an object before wheelfix changed it. The undo note keeps them. */
function fieldsBefore({ undo }: ScannedObject, at: ReturnType<typeof rowOf>, records: RecordReader): string | null {
  if (undo !== null) return undo.record
  const fields = at === null ? undefined : records(at.recordPath).get(at.row)
  return fields === undefined ? null : `${fields.hash},${fields.size}`
}

/**
 * Makes rows right that would be wrong while their objects change. The RECORD fields of the objects that become originals
 * again are written back, because the undo note holds them and goes away with the change. The hash of an object that is
 * patched already (--rehash wrote it) goes, because no later run could see that it is of an earlier state. Returns the
 * RECORDs that cannot be written, with the reason.
 */
function prepareRows(pending: readonly PlannedObject[], records: RecordReader, input: ApplyInput): Map<string, string> {
  const changes: RowChanges = new Map()
  for (const item of pending) {
    const object = objectOf(item, input)
    if (object.undo?.record == null) continue
    const at = rowOf(input.distributions.ownerOf(object.path))
    if (at === null) continue
    if (item.edit === null) addRow(changes, at, fieldsOf(object.undo.record))
    else if ((records(at.recordPath).get(at.row)?.hash ?? '') !== '') addRow(changes, at, EMPTY_FIELDS)
  }
  return rewriteRecordFiles(changes)
}

/** Did a killed run change objects but leave their original fields in RECORD? */
export function recordsAreStale(
  planned: readonly PlannedObject[],
  { byPath, distributions }: Pick<ApplyInput, 'byPath' | 'distributions'>,
): boolean {
  const records = recordReader(rowsOf(planned, { distributions }))
  return planned.some(item => {
    const object = objectOf(item, { byPath })
    if (object.undo?.record == null || item.edit === null) return false
    const at = rowOf(distributions.ownerOf(object.path))
    return at !== null && isStale(object, records(at.recordPath).get(at.row))
  })
}

function isStale({ undo }: ScannedObject, now: RecordFields | undefined): boolean {
  return now !== undefined && undo?.record === `${now.hash},${now.size}` && undo.record !== ','
}

/**
 * Empties the hash and size of changed files, which the specification allows, or writes the true ones.
 * @param found the RECORDs before the objects changed. An installer that writes one meanwhile also brings its objects again
 */
function updateRecords(
  outcomes: readonly Applied[],
  found: ReadonlyMap<string, string | null>,
  input: ApplyInput,
): readonly Applied[] {
  const changes: RowChanges = new Map()
  const planned = outcomes.map(outcome => outcome.planned)
  const records = recordReader(rowsOf(planned, input))
  for (const outcome of outcomes) {
    const at = rowOf(input.distributions.ownerOf(outcome.planned.path))
    const now = () => (at === null ? undefined : records(at.recordPath).get(at.row))
    const fields = at === null ? null : fieldsAfter(outcome, objectOf(outcome.planned, input), now, input.rehash)
    if (at !== null && fields !== null) addRow(changes, at, fields)
  }
  const reasons = rewriteRecordFiles(changes, found)
  if (reasons.size === 0) return outcomes
  return outcomes.map((outcome): Applied => {
    const record = input.distributions.ownerOf(outcome.planned.path)?.distribution.recordPath ?? ''
    const asked = outcome.status === 'patched' || (input.rehash && outcome.planned.edit !== null)
    const why = asked ? reasons.get(record) : undefined
    if (why === undefined) return outcome
    const reason = `it is patched, but its RECORD is not up to date: ${why}`
    return { ...outcome, status: 'refused', reason, unrecorded: true, passing: true }
  })
}

/** null: the row stays as it is. */
function fieldsAfter(
  { planned: { edit, change }, status }: Applied,
  object: ScannedObject,
  now: () => RecordFields | undefined,
  rehash: boolean,
): RecordFields | null {
  if (status === 'refused') {
    // an object that could not be restored keeps its note, but its row was written before
    return edit === null && isStale(object, now()) ? EMPTY_FIELDS : null
  }
  if (edit === null) return null
  if (rehash) return trueFieldsOf(object)
  if (change !== null) return EMPTY_FIELDS
  // a run that was killed before it wrote RECORD left the fields of the original
  return object.undo !== null && isStale(object, now()) ? EMPTY_FIELDS : null
}

function trueFieldsOf({ path }: ScannedObject): RecordFields | null {
  try {
    return withSource(path, trueFields)
  } catch (error) {
    // another program removed it during this run
    if (errnoOf(error) !== 'ENOENT') throw error
    return null
  }
}

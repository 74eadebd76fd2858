// Restores every file to what it was before wheelfix. It needs only the undo notes inside the files, and no Python.
import { existsSync } from 'node:fs'
import { ElfError } from '../elf/error.ts'
import { notesIn, originalSource, type Undo } from '../elf/graft/undo-note.ts'
import { errnoOf } from '../io/error.ts'
import { fsPath, isInside, relativeTo } from '../io/path.ts'
import { removeFile, removeTree } from '../io/write/folder.ts'
import type { Watch } from '../io/write/replace.ts'
import { withSource } from '../io/source.ts'
import { complete, pauses } from '../io/steps.ts'
import { agree, listed } from '../io/words.ts'
import { type Distributions, readDistributions } from '../python/distributions.ts'
import { fieldsOf, hashCheck, hashHolds } from '../python/record.ts'
import { storeDirectory } from '../nix/store.ts'
import type { Environment } from '../python/environment.ts'
import { writeReason } from './change-object.ts'
import { keptObjects } from '../state/answers.ts'
import { openJournal } from '../state/journal.ts'
import type { JournalEntry } from '../state/journal-file.ts'
import { lockVenv } from '../state/lock.ts'
import { refuseStore } from '../nix/refuse-store.ts'
import { loaderFolders } from '../private-loader/loader-plan.ts'
import { removeLoader } from '../private-loader/private-loader.ts'
import { pythonNames } from '../private-loader/python-names.ts'
import { restoreName } from '../private-loader/python-copy.ts'
import type { ScannedObject } from '../resolve/objects.ts'
import { isPlanned, ownerOf } from '../elf/graft/owners.ts'
import { putLinksBack } from './linked.ts'
import { objectWriter } from './object-writer.ts'
import { addRow, recordReader, rewriteRecordFiles, type RowChanges, rowOf } from './record-files.ts'
import { recover } from './recover.ts'
import { type ObjectToRestore, restoreInPlace } from './restore-in-place.ts'
import { recordedIn, type Scan, scanVenv } from './scan.ts'

export interface RestoreReport {
  /** Paths relative to the venv. */
  readonly restored: readonly string[]
  /** Files that could not be restored, with the reason. */
  readonly refused: readonly { readonly path: string; readonly reason: string }[]
  /** Sentences about what is uncertain. */
  readonly warnings: readonly string[]
  /** Did the venv hold anything of wheelfix? */
  readonly found: boolean
  /** Environments inside this one that have changes of their own. */
  readonly nested: readonly string[]
}

interface RestoreOptions {
  /** Only say what a restore would do. */
  readonly dryRun: boolean
  /** Also undo changes in the source trees of editable installations, outside the environment. */
  readonly editable: boolean
  readonly env: NodeJS.ProcessEnv
}

interface ObjectOptions extends RestoreOptions {
  /** Is it a folder of which wheelfix has no record? It was moved, or its record is lost. */
  readonly isUnknown: boolean
}

/** Undoes every change in an environment and removes its state. */
export function restoreVenv(venv: Environment, options: RestoreOptions): RestoreReport {
  return complete(restoreSteps(venv, options))
}

/**
 * Does the work of `restoreVenv` in steps. The first step comes before any write. After each step the next run can complete
 * this one.
 */
export function* restoreSteps(
  venv: Environment,
  { dryRun, editable, env }: RestoreOptions,
): Generator<undefined, RestoreReport> {
  const found = existsSync(fsPath(venv.stateFolder))
  const options = { editable, env, isUnknown: !found && venv.kind === 'folder' }
  if (dryRun) {
    const pythons = restorePythons(venv, true)
    const objects = yield* restoreObjects(venv, { ...options, dryRun }, found || pythons.restored.length > 0)
    return { ...objects, restored: [...pythons.restored, ...objects.restored] }
  }
  refuseStore(venv.root, env)
  // looks without the lock, because only an environment that wheelfix has worked on gets a lock
  const isTouched = (): boolean => {
    const { leftovers, objects } = scanToRestore(venv, editable, env)
    return leftovers.length > 0 || objects.some(({ undo }) => undo !== null)
  }
  const copied = pythonNames(venv).some(({ kind }) => kind === 'copy')
  if (!found && !copied && !isTouched()) {
    return yield* restoreObjects(venv, { ...options, dryRun: true }, false)
  }

  const lock = lockVenv(venv)
  try {
    recover(venv)
    yield
    const objects = yield* restoreObjects(venv, { ...options, dryRun }, true)
    yield
    const folders = loaderFolders(venv, pythonNames(venv), env)
    const pythons = restorePythons(venv, false)
    const report = {
      ...objects,
      restored: [...pythons.restored, ...objects.restored],
      refused: [...pythons.refused, ...objects.refused],
    }
    if (report.refused.length === 0) removeLoader(venv, folders)
    putLinksBack(venv)
    if (report.refused.length === 0) removeTree(venv.stateFolder, 'lock')
    return report
  } finally {
    lock.release()
  }
}

function scanToRestore(venv: Environment, editable: boolean, env: NodeJS.ProcessEnv): Scan {
  const scan = scanVenv(venv, [], storeDirectory(env))
  const isForeign = ({ path, identity }: ScannedObject): boolean =>
    scan.linked.has(path) || (!editable && scan.outside.has(identity))
  return { ...scan, objects: scan.objects.filter(object => !isForeign(object)) }
}

/** Restores the names of bin/ that the private loader starts. */
function restorePythons(venv: Environment, dryRun: boolean): Pick<RestoreReport, 'restored' | 'refused'> {
  const restored: string[] = []
  const refused: { path: string; reason: string }[] = []
  for (const name of pythonNames(venv)) {
    if (name.kind !== 'copy') continue
    const relative = name.path.slice(venv.root.length + 1)
    try {
      if (!dryRun) restoreName(name)
      restored.push(relative)
    } catch (error) {
      refused.push({ path: relative, reason: writeReason(error) })
    }
  }
  return { restored, refused }
}

/** About how long a signal waits, in milliseconds: a batch is finished first. */
const PAUSE_MS = 100

function* restoreObjects(
  venv: Environment,
  options: ObjectOptions,
  found: boolean,
): Generator<undefined, RestoreReport> {
  const { dryRun, editable, env, isUnknown } = options
  const scan = scanToRestore(venv, editable, env)
  const isRecorded = recordedIn(venv)
  const lacksUndo = undoLosses(venv, env)
  const ctimeOf = keptObjects(venv, env)
  const restored = new Set<ScannedObject>()
  const refused: { path: string; reason: string }[] = scan.unreadable
    .filter(({ path }) => mayBeOurs(path, isRecorded))
    .map(({ relative, reason }) => ({ path: relative, reason }))
  const warnings: string[] = []
  const doubtful: string[] = []
  if (!dryRun) for (const path of scan.leftovers) removeFile(path)
  // RECORD first: after the files are restored, nothing says what RECORD held for them
  const records = dryRun ? NO_RECORDS : restoreRecords(venv, scan.objects)
  const pause = pauses(PAUSE_MS)
  const pending: PendingObject[] = []
  for (const object of scan.objects) {
    if (!dryRun) yield* pause()
    const { path, relative, undo } = object
    const end = (refusal: { readonly reason: string } | null): void => {
      if (refusal === null) restored.add(object)
      else refused.push({ path: relative, reason: refusal.reason })
    }
    if (undo === null) {
      if (object.owner === null && mayBeOurs(path, isRecorded)) end({ reason: CHANGED_SINCE })
      else if (lacksUndo(object)) end({ reason: UNDO_GONE })
      else if (isUnknown && hasStoreLoader(object, env)) doubtful.push(relative)
      continue
    }
    const blocked = records.unwritten.get(object)
    // the restored file is another tool's work on ours
    const below = blocked === undefined && mayBeOurs(path, isRecorded, undo) ? { reason: CHANGED_SINCE } : null
    const differs = (): void => {
      warnings.push(`${relative} differs from its RECORD: something else changed it, before or after wheelfix`)
    }
    const ctimeMs = ctimeOf(relative)
    if (blocked !== undefined) end({ reason: blocked })
    else if (dryRun) {
      const reason = tryOriginal(object, undo, ctimeMs, differs)
      end(reason === null ? below : { reason })
    } else {
      const check = originalCheck(object, undo, ctimeMs)
      const edit = { baseSize: undo.originalSize, tail: [], patches: undo.patches, header: undo.header }
      const record = records.rows.get(object) ?? null
      const ended = (refusal: { readonly reason: string } | null): void => {
        if (refusal === null && !check.holds()) differs()
        end(refusal ?? below)
      }
      pending.push({ object, edit, watch: check.watch, record, end: ended })
    }
  }
  if (!dryRun) yield* writeOriginals(venv, pending, pause)
  return {
    restored: scan.objects.filter(object => restored.has(object)).map(({ relative }) => relative),
    refused,
    warnings: [...warnings, ...undoDoubts(doubtful)],
    found: found || restored.size > 0,
    nested: scan.nested,
  }
}

interface PendingObject extends ObjectToRestore {
  /** Called with the reason when the object could not be restored. */
  readonly end: (refusal: { readonly reason: string } | null) => void
}

/** Gives the objects their original bytes, in place or by a copy. */
function* writeOriginals(
  venv: Environment,
  pending: readonly PendingObject[],
  pause: ReturnType<typeof pauses>,
): Generator<undefined, void> {
  const journal = openJournal(venv)
  let isWhole = true
  const writer = objectWriter(venv, { ...journal, finish: () => journal.finish(isWhole) })
  const copy = ({ object, edit, end }: PendingObject, watch: Watch, refuse = end): void => {
    writer.add({ object, edit, before: null, watch, record: null, fields: null }, refuse)
  }
  try {
    const left = yield* restoreInPlace(venv, pending, journal, pause, {
      done: ({ end }) => end(null),
      copy(item, watch) {
        copy(item, watch, refusal => {
          if (refusal !== null) isWhole = false
          item.end(refusal)
        })
      },
    })
    for (const item of left) {
      yield* pause()
      copy(item, item.watch)
    }
  } finally {
    writer.finish()
  }
}

/**
 * Does the file carry a note of the owner `venv` that no longer holds? A damaged file that its wheel brought was never
 * changed by wheelfix. A file that cannot be read, or that a newer version changed, may have been.
 * @param above the valid note; the question is about the layers below it
 */
function mayBeOurs(path: string, isRecorded: (path: string) => boolean, above: Undo | null = null): boolean {
  try {
    const notes = withSource(path, source => notesIn(above === null ? source : originalSource(source, above)))
    return notes.some(undo => isPlanned(ownerOf(undo, () => isRecorded(path))))
  } catch (error) {
    return !(error instanceof ElfError) || error.code === 'REFUSED'
  }
}

/**
 * Says of a program whether wheelfix gave it its loader in place and the undo is gone, because somebody removed the state
 * folder. Such a program has a loader of the store, and a row without a hash in its RECORD, as no installer writes it.
 */
function undoLosses(venv: Environment, env: NodeJS.ProcessEnv): (object: ScannedObject) => boolean {
  const records = recordReader()
  let distributions: Distributions | null = null
  return object => {
    if (!hasStoreLoader(object, env)) return false
    distributions ??= readDistributions(venv.sitePackages)
    const at = rowOf(distributions.ownerOf(object.path))
    return at !== null && records(at.recordPath).get(at.row)?.hash === ''
  }
}

/** Is it a program without an undo whose loader is in the store? Nix builds such programs, and wheelfix makes them. */
function hasStoreLoader({ kind, owner, current }: ScannedObject, env: NodeJS.ProcessEnv): boolean {
  if (kind !== 'executable' || owner !== null || current.ptInterp === null) return false
  return isInside(current.ptInterp, storeDirectory(env))
}

/** What to say of programs without an undo, in a folder of which wheelfix has no record. */
function undoDoubts(programs: readonly string[]): string[] {
  if (programs.length === 0) return []
  const have = agree(programs.length, 'has', 'have')
  return [
    `${listed(programs, 3)} ${have} a loader from the Nix store, and wheelfix has no record of this folder. If wheelfix set ` +
      `this loader, it cannot restore the original: install ${agree(programs.length, 'the program', 'the programs')} again`,
  ]
}

const UNDO_GONE =
  'it was changed in place, and what restores it is gone with the state folder (.wheelfix/undo): reinstall the package'

const CHANGED_SINCE =
  'another tool changed this file after wheelfix did, so its undo note no longer holds: reinstall the package'

/**
 * Compares the original with RECORD's hash while it is written, so that it is read once. Where the file system copies by
 * reference, the restored file is read. An object that is as wheelfix left it needs no hash: the checksum of the undo note
 * holds, and nobody has changed the other bytes.
 * @param ctimeMs the ctime of such an object; else null
 */
function originalCheck({ path }: ScannedObject, { record, originalSize }: Undo, ctimeMs: number | null) {
  const fields = record === null || ctimeMs !== null ? null : fieldsOf(record)
  const check = fields === null ? null : hashCheck(fields)
  let count = 0
  const see = (bytes: Uint8Array): void => {
    check?.update(bytes)
    count += bytes.length
  }
  return {
    watch: { see, ctimeMs },
    /** Called once the file is restored. False when the hash is another one. */
    holds(): boolean {
      if (fields === null || check === null) return true
      if (count === originalSize) return check.holds() !== false
      try {
        return withSource(path, source => hashHolds(fields, source)) !== false
      } catch (error) {
        // another program removed it meanwhile
        if (error instanceof ElfError || errnoOf(error) !== undefined) return true
        throw error
      }
    },
  }
}

/** Reads the original to its end where a restore would hash it. Returns the reason when it cannot be read. */
function tryOriginal({ path }: ScannedObject, undo: Undo, ctimeMs: number | null, differs: () => void): string | null {
  if (ctimeMs !== null) return null
  const { record } = undo
  try {
    const holds = withSource(
      path,
      source => record === null || hashHolds(fieldsOf(record), originalSource(source, undo)),
    )
    if (holds === false) differs()
    return null
  } catch (error) {
    return error instanceof ElfError ? error.message : writeReason(error)
  }
}

interface RestoredRecords {
  /** The objects whose RECORD cannot be written, with the reason. These objects keep their note. */
  readonly unwritten: ReadonlyMap<ScannedObject, string>
  /** The rows of the objects, as the journal keeps them. */
  readonly rows: ReadonlyMap<ScannedObject, JournalEntry['record']>
}

const NO_RECORDS: RestoredRecords = { unwritten: new Map(), rows: new Map() }

/** Writes the original fields back. */
function restoreRecords(venv: Environment, objects: readonly ScannedObject[]): RestoredRecords {
  const distributions = readDistributions(venv.sitePackages)
  const changes: RowChanges = new Map()
  const users = new Map<ScannedObject, string>()
  const rows = new Map<ScannedObject, JournalEntry['record']>()
  for (const object of objects) {
    const at = object.undo?.record == null ? null : rowOf(distributions.ownerOf(object.path))
    if (object.undo?.record == null || at === null) continue
    addRow(changes, at, fieldsOf(object.undo.record))
    users.set(object, at.recordPath)
    rows.set(object, { path: relativeTo(venv.root, at.recordPath), row: at.row, fields: object.undo.record })
  }
  const reasons = rewriteRecordFiles(changes)
  const unwritten = new Map<ScannedObject, string>()
  for (const [object, record] of users) {
    const reason = reasons.get(record)
    if (reason !== undefined) unwritten.set(object, `${record.slice(venv.root.length + 1)}: ${reason}`)
  }
  return { unwritten, rows }
}

// Gives every file back as it was before wheelfix: the undo notes inside the files are all that it needs, no Python and no
// interpreter.
import { existsSync, rmSync } from 'node:fs'
import { ElfError } from '../elf/error.ts'
import { notesIn, originalSource, type Undo } from '../elf/graft/undo-note.ts'
import { errnoOf } from '../io/error.ts'
import { fsPath } from '../io/path.ts'
import { withSource } from '../io/source.ts'
import { complete, pauses } from '../io/steps.ts'
import { readDistributions } from '../python/distributions.ts'
import { fieldsOf, hashHolds } from '../python/record.ts'
import { storeDirectory } from '../nix/store.ts'
import type { Environment } from '../python/environment.ts'
import { writeReason } from './change.ts'
import { lockVenv } from '../state/lock.ts'
import { refuseStore } from '../nix/refuse-store.ts'
import { loaderFolders } from '../private-loader/loader-plan.ts'
import { removeLoader } from '../private-loader/private-loader.ts'
import { pythonNames } from '../private-loader/python-names.ts'
import { restoreName } from '../private-loader/python-copy.ts'
import type { ScannedObject } from '../resolve/objects.ts'
import { isPlanned, ownerOf } from '../elf/graft/owners.ts'
import { objectWriter } from './object-writer.ts'
import { addRow, rewriteRecordFiles, type RowChanges, rowOf } from './record-files.ts'
import { recover } from './recover.ts'
import { recordedIn, type Scan, scanVenv } from './scan.ts'

export interface RestoreReport {
  /** Paths relative to the venv. */
  readonly restored: readonly string[]
  /** Files that could not be given back, with the reason. */
  readonly refused: readonly { readonly path: string; readonly reason: string }[]
  /** Sentences about what is not certain. */
  readonly warnings: readonly string[]
  /** Whether there was anything of wheelfix in the venv. */
  readonly found: boolean
  /** Environments that lie in this one, with changes of their own. */
  readonly nested: readonly string[]
}

interface RestoreOptions {
  /** Only say what would be done. */
  readonly dryRun: boolean
  /** Undo also what was changed in the source trees of editable installations, outside of the environment. */
  readonly editable: boolean
  readonly env: NodeJS.ProcessEnv
}

/** Undoes every change in an environment and removes its state. */
export function restoreVenv(venv: Environment, options: RestoreOptions): RestoreReport {
  return complete(restoreSteps(venv, options))
}

/** The same, in steps: the first comes before anything is written, and after each the next run can complete this one. */
export function* restoreSteps(
  venv: Environment,
  { dryRun, editable, env }: RestoreOptions,
): Generator<undefined, RestoreReport> {
  const found = existsSync(fsPath(venv.stateFolder))
  if (dryRun) {
    const pythons = restorePythons(venv, true)
    const objects = yield* restoreObjects(venv, { dryRun: true, editable, env }, found || pythons.restored.length > 0)
    return { ...objects, restored: [...pythons.restored, ...objects.restored] }
  }
  refuseStore(venv.root, env)
  // a look without the lock, which only an environment that wheelfix has touched gets
  const isTouched = (): boolean => {
    const { leftovers, objects } = scanToRestore(venv, editable, env)
    return leftovers.length > 0 || objects.some(({ undo }) => undo !== null)
  }
  const copied = pythonNames(venv).some(({ kind }) => kind === 'copy')
  if (!found && !copied && !isTouched()) {
    return yield* restoreObjects(venv, { dryRun: true, editable, env }, false)
  }

  const lock = lockVenv(venv)
  try {
    recover(venv)
    yield
    const objects = yield* restoreObjects(venv, { dryRun: false, editable, env }, true)
    yield
    const folders = loaderFolders(venv, pythonNames(venv), env)
    const pythons = restorePythons(venv, false)
    const report = {
      ...objects,
      restored: [...pythons.restored, ...objects.restored],
      refused: [...pythons.refused, ...objects.refused],
    }
    if (report.refused.length === 0) removeLoader(venv, folders)
    if (report.refused.length === 0) rmSync(fsPath(venv.stateFolder), { recursive: true, force: true })
    return report
  } finally {
    lock.release()
  }
}

function scanToRestore(venv: Environment, editable: boolean, env: NodeJS.ProcessEnv): Scan {
  const scan = scanVenv(venv, [], storeDirectory(env))
  return editable ? scan : { ...scan, objects: scan.objects.filter(({ identity }) => !scan.outside.has(identity)) }
}

/** The names of bin/ that the private loader starts, as they were before. */
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
      const errno = errnoOf(error)
      if (errno === undefined) throw error
      refused.push({ path: relative, reason: `cannot be written (${errno})` })
    }
  }
  return { restored, refused }
}

/** So long a signal waits, about: a batch is done first. */
const PAUSE_MS = 100

function* restoreObjects(
  venv: Environment,
  options: RestoreOptions,
  found: boolean,
): Generator<undefined, RestoreReport> {
  const { dryRun, editable, env } = options
  const scan = scanToRestore(venv, editable, env)
  const isRecorded = recordedIn(venv)
  const restored: ScannedObject[] = []
  const refused: { path: string; reason: string }[] = scan.unreadable
    .filter(({ path }) => mayBeOurs(path, isRecorded))
    .map(({ relative, reason }) => ({ path: relative, reason }))
  const warnings: string[] = []
  if (!dryRun) for (const path of scan.leftovers) rmSync(fsPath(path), { force: true })
  // RECORD first: once the files are as they were, nothing tells any more what it said of them
  const unwritten = dryRun ? new Map<ScannedObject, string>() : restoreRecords(venv, scan.objects)
  const writer = dryRun ? null : objectWriter(venv, new Set())
  const pause = pauses(PAUSE_MS)
  try {
    for (const object of scan.objects) {
      if (writer !== null) yield* pause()
      const { path, relative, undo } = object
      const end = (refusal: { readonly reason: string } | null): void => {
        if (refusal === null) restored.push(object)
        else refused.push({ path: relative, reason: refusal.reason })
      }
      if (undo === null) {
        if (object.owner === null && mayBeOurs(path, isRecorded)) end({ reason: CHANGED_SINCE })
        continue
      }
      const reason = unwritten.get(object) ?? checkOriginal(object, undo, warnings)
      // what comes back is another tool's work on ours
      const below = reason === null && mayBeOurs(path, isRecorded, undo) ? { reason: CHANGED_SINCE } : null
      if (reason !== null) end({ reason })
      else if (writer === null) end(below)
      else {
        const edit = { baseSize: undo.originalSize, tail: [], patches: undo.patches, header: undo.header }
        writer.add({ object, edit, record: null, fields: null }, refusal => end(refusal ?? below))
      }
    }
  } finally {
    writer?.finish()
  }
  return {
    restored: restored.map(({ relative }) => relative),
    refused,
    warnings,
    found: found || restored.length > 0,
    nested: scan.nested,
  }
}

/**
 * Does a file carry a note of `venv`, though it does not hold any more? A damaged file that came so with its wheel was never
 * changed; one that cannot be read, or that a newer version changed, may have been.
 * @param above the note that holds: the question is about what is below it
 */
function mayBeOurs(path: string, isRecorded: (path: string) => boolean, above: Undo | null = null): boolean {
  try {
    const notes = withSource(path, source => notesIn(above === null ? source : originalSource(source, above)))
    return notes.some(undo => isPlanned(ownerOf(undo, () => isRecorded(path))))
  } catch (error) {
    return !(error instanceof ElfError) || error.code === 'REFUSED'
  }
}

const CHANGED_SINCE =
  'another tool changed this file after wheelfix did, so its undo note no longer holds: reinstall the package'

/** Warns where the original is not what RECORD said; gives why it cannot be read. */
function checkOriginal({ path, relative }: ScannedObject, undo: Undo, warnings: string[]): string | null {
  const { record } = undo
  try {
    const holds = withSource(
      path,
      source => record === null || hashHolds(fieldsOf(record), originalSource(source, undo)),
    )
    if (holds === false) {
      warnings.push(`${relative} differs from its RECORD: something else changed it, before or after wheelfix`)
    }
    return null
  } catch (error) {
    return error instanceof ElfError ? error.message : writeReason(error)
  }
}

/** Writes the original fields back. Gives the objects whose RECORD cannot be written, with the reason: they keep the note. */
function restoreRecords(venv: Environment, objects: readonly ScannedObject[]): Map<ScannedObject, string> {
  const distributions = readDistributions(venv.sitePackages)
  const changes: RowChanges = new Map()
  const users = new Map<ScannedObject, string>()
  for (const object of objects) {
    const at = object.undo?.record == null ? null : rowOf(distributions.ownerOf(object.path))
    if (object.undo?.record == null || at === null) continue
    addRow(changes, at, fieldsOf(object.undo.record))
    users.set(object, at.record)
  }
  const reasons = rewriteRecordFiles(changes)
  const unwritten = new Map<ScannedObject, string>()
  for (const [object, record] of users) {
    const reason = reasons.get(record)
    if (reason !== undefined) unwritten.set(object, `${record.slice(venv.root.length + 1)}: ${reason}`)
  }
  return unwritten
}

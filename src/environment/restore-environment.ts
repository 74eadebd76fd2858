// Gives every file back as it was before wheelfix: the undo notes inside the files are all that it needs, no Python and no
// interpreter.
import { existsSync, rmSync } from 'node:fs'
import { ElfError } from '../elf/error.ts'
import { notesIn, originalSource } from '../elf/graft/undo-note.ts'
import { errnoOf } from '../io/error.ts'
import { fsPath } from '../io/path.ts'
import { replaceFile } from '../io/replace.ts'
import { withSource } from '../io/source.ts'
import { readDistributions } from '../python/distributions.ts'
import { fieldsOf, type RecordFields, hashHolds } from '../python/record.ts'
import { storeDirectory } from '../nix/store.ts'
import type { Environment } from '../python/environment.ts'
import { rewriteRecordFile, rowOf } from './apply.ts'
import { writeReason } from './change.ts'
import { hasJournal, recover } from '../state/journal.ts'
import { lockVenv } from '../state/lock.ts'
import { refuseStore } from '../nix/refuse-store.ts'
import { loaderFolders, removeLoader } from '../private-loader/private-loader.ts'
import { pythonNames, restoreName } from '../private-loader/python-copy.ts'
import type { ScannedObject } from '../resolve/objects.ts'
import { isPlanned, ownerOf } from '../elf/graft/owners.ts'
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
}

export interface RestoreOptions {
  /** Only say what would be done. */
  readonly dryRun: boolean
  /** Undo also what was changed in the source trees of editable installations, outside of the environment. */
  readonly editable: boolean
}

/** Undoes every change in an environment and removes its state. */
export function restoreVenv(venv: Environment, { dryRun, editable }: RestoreOptions): RestoreReport {
  const found = existsSync(fsPath(venv.stateFolder))
  if (dryRun) {
    const pythons = restorePythons(venv, true)
    const objects = restoreObjects(venv, editable, true, found || pythons.restored.length > 0)
    return { ...objects, restored: [...pythons.restored, ...objects.restored] }
  }
  refuseStore(venv.root, process.env)
  const scan = scanToRestore(venv, editable)
  const copied = pythonNames(venv).some(({ kind }) => kind === 'copy')
  const touched = found || copied || scan.leftovers.length > 0 || scan.objects.some(({ undo }) => undo !== null)
  if (!touched) return restoreObjects(venv, editable, true, false)

  const lock = lockVenv(venv)
  try {
    if (hasJournal(venv)) recover(venv)
    const objects = restoreObjects(venv, editable, false, true)
    const folders = loaderFolders(venv, pythonNames(venv), process.env)
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

function scanToRestore(venv: Environment, editable: boolean): Scan {
  const scan = scanVenv(venv, [], storeDirectory(process.env))
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

function restoreObjects(venv: Environment, editable: boolean, dryRun: boolean, found: boolean): RestoreReport {
  const scan = scanToRestore(venv, editable)
  const isRecorded = recordedIn(venv)
  const restored: ScannedObject[] = []
  const refused: { path: string; reason: string }[] = scan.unreadable
    .filter(({ path }) => mayBeOurs(path, isRecorded))
    .map(({ relative, reason }) => ({ path: relative, reason }))
  const warnings: string[] = []
  if (!dryRun) for (const path of scan.leftovers) rmSync(fsPath(path), { force: true })
  // RECORD first: once the files are as they were, nothing tells any more what it said of them
  const unwritten = dryRun ? new Map<ScannedObject, string>() : restoreRecords(venv, scan.objects)
  for (const object of scan.objects) {
    if (object.undo === null) {
      if (object.owner === null && mayBeOurs(object.path, isRecorded))
        refused.push({ path: object.relative, reason: CHANGED_SINCE })
      continue
    }
    const reason = unwritten.get(object) ?? restoreObject(object, warnings, dryRun)
    if (reason === null) restored.push(object)
    else refused.push({ path: object.relative, reason })
  }
  return { restored: restored.map(({ relative }) => relative), refused, warnings, found: found || restored.length > 0 }
}

/**
 * Does a file carry a note of `venv`, though it does not hold any more? A damaged file that came so with its wheel was never
 * changed; one that cannot be read, or that a newer version changed, may have been.
 */
function mayBeOurs(path: string, isRecorded: (path: string) => boolean): boolean {
  try {
    return withSource(path, notesIn).some(undo => isPlanned(ownerOf(undo, () => isRecorded(path))))
  } catch (error) {
    return !(error instanceof ElfError) || error.code === 'REFUSED'
  }
}

const CHANGED_SINCE =
  'another tool changed this file after wheelfix did, so its undo note no longer holds: reinstall the package'

function restoreObject(object: ScannedObject, warnings: string[], dryRun: boolean): string | null {
  const { path, undo } = object
  if (undo === null) return null
  try {
    const { record } = undo
    const holds = withSource(path, source => {
      const original = originalSource(source, undo)
      return record === null || hashHolds(fieldsOf(record), original) !== false
    })
    if (!holds) {
      warnings.push(
        `${object.relative} differs from what its RECORD said: it was changed before wheelfix came, or since`,
      )
    }
    if (!dryRun) {
      replaceFile(path, { baseSize: undo.originalSize, tail: [], patches: undo.patches, header: undo.header })
    }
    return null
  } catch (error) {
    if (error instanceof ElfError) return error.message
    return writeReason(error)
  }
}

/** Writes the original fields back. Gives the objects whose RECORD cannot be written, with the reason: they keep the note. */
function restoreRecords(venv: Environment, objects: readonly ScannedObject[]): Map<ScannedObject, string> {
  const distributions = readDistributions(venv.sitePackages)
  const records = new Map<string, { rows: Map<string, RecordFields>; objects: ScannedObject[] }>()
  for (const object of objects) {
    const { path, undo } = object
    if (undo?.record == null) continue
    const at = rowOf(distributions.ownerOf(path))
    if (at === null) continue
    const { record, row } = at
    const entry = records.get(record) ?? { rows: new Map<string, RecordFields>(), objects: [] }
    entry.rows.set(row, fieldsOf(undo.record))
    entry.objects.push(object)
    records.set(record, entry)
  }
  const unwritten = new Map<ScannedObject, string>()
  for (const [record, { rows, objects }] of records) {
    const reason = rewriteRecordFile(record, rows)
    if (reason === null) continue
    for (const object of objects) unwritten.set(object, `${record.slice(venv.root.length + 1)}: ${reason}`)
  }
  return unwritten
}

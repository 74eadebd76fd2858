// The main job, from a folder to a report: examine the environment, then apply the plan. A check and a dry run take the same
// steps and write nothing.
import { existsSync, lstatSync } from 'node:fs'
import { directoryOf, fsPath, isInside } from '../io/path.ts'
import { complete } from '../io/steps.ts'
import { removeFile } from '../io/write/folder.ts'
import { agree, count } from '../io/words.ts'
import { refuseStore } from '../nix/refuse-store.ts'
import { addRoots, checkRoots, type RootsReport } from '../nix/roots.ts'
import { loaderFolders } from '../private-loader/loader-plan.ts'
import { removeLoader, writeLoader } from '../private-loader/private-loader.ts'
import { restoreName } from '../private-loader/python-copy.ts'
import type { Environment } from '../python/environment.ts'
import type { ScannedObject } from '../resolve/objects.ts'
import type { PlannedObject } from '../resolve/plan.ts'
import { namesBefore } from '../state/answers.ts'
import { journalState } from '../state/journal-file.ts'
import { noteDiffers, noteFolder } from '../state/folders.ts'
import { dropStaleLock, lockVenv } from '../state/lock.ts'
import { pinsDiffer, writePins } from '../state/pins.ts'
import { readProgramInterpreter, writeProgramInterpreter } from '../state/program-loader.ts'
import { pruneUndos } from '../state/unused-undos.ts'
import { type ApplyInput, applyPlan, applySteps, recordsAreStale } from './apply.ts'
import { writeReason } from './change-object.ts'
import { type Examination, examine, isRemovalInterrupted } from './examine.ts'
import type { VenvOptions } from './run-options.ts'
import { neededStorePaths, reportOf, type VenvReport } from './venv-report.ts'
import { copyLinked } from './linked.ts'
import { isRunInterrupted, recover, type Recovery } from './recover.ts'

/** @throws WheelfixError when nothing could be done */
export function runVenv(venv: Environment, options: VenvOptions): VenvReport {
  return complete(runSteps(venv, options))
}

/**
 * Does the work of `runVenv` in steps. The first step comes before any write. After each step the next run can complete this
 * one.
 * @throws the errors of `runVenv`
 */
export function* runSteps(venv: Environment, options: VenvOptions): Generator<undefined, VenvReport> {
  if (options.mode === 'plan') {
    const now = examine(venv, options)
    const outcomes = applyPlan(ownObjects(now), applyInput(now, options, false))
    return reportOf(now, outcomes, rootsOf(now, options), { ...DONE, interrupted: wasInterrupted(now) }, options)
  }
  refuseStore(venv.root, options.env)
  const recovered = recoverVenv(venv)
  const first = examine(venv, options)
  if (!needsWriting(first, options)) {
    dropStaleLock(venv)
    const outcomes = applyPlan(ownObjects(first), applyInput(first, options, false))
    return reportOf(withWarnings(first, recovered), outcomes, rootsOf(first, options), DONE, options)
  }

  const lock = lockVenv(venv)
  let isFailed = true
  try {
    const again = recover(venv)
    const isOld = lock.waited || again.restored.length > 0 || isOutdated(first)
    let now = isOld ? examine(venv, options) : first
    yield
    const linked = ownObjects(now).filter(({ path, change }) => change !== null && now.scan.linked.has(path))
    if (linked.length > 0) {
      noteFolder(venv)
      copyLinked(
        venv,
        linked.map(({ path }) => path),
      )
      now = examine(venv, options)
    }
    for (const path of now.scan.leftovers) removeFile(path)
    const written = namesBefore(foldersToWrite(now, options), now.began)
    const { outcomes, warnings, problems } = yield* write(now, options)
    const done = withWarnings(now, [...recovered, ...sayRecovery(again), ...warnings, ...problems])
    const ending = { interrupted: false, incomplete: problems.length > 0, written }
    const report = reportOf(done, outcomes, rootsOf(now, options), ending, options)
    isFailed = false
    return report
  } finally {
    lock.release(isFailed)
  }
}

/** The objects that this run may change. */
function ownObjects({ plan, held }: Examination): readonly PlannedObject[] {
  return held.size === 0 ? plan.objects : plan.objects.filter(({ identity }) => !held.has(identity))
}

const DONE = { interrupted: false, incomplete: false, written: new Map<string, readonly string[]>() }

/** The folders that a run writes to. */
function foldersToWrite(now: Examination, { rehash }: VenvOptions): Set<string> {
  const { venv, distributions, loaderPending, leftLoader } = now
  const objects = ownObjects(now).filter(({ change, edit }) => change !== null || (rehash && edit !== null))
  const records = objects.flatMap(({ path }) => distributions.ownerOf(path)?.distribution.recordPath ?? [])
  return new Set([
    ...[...objects.map(({ path }) => path), ...records].map(directoryOf),
    ...(loaderPending || leftLoader ? [venv.bin, ...venv.sitePackages] : []),
  ])
}

/**
 * Brings a venv to the state that its plan wants. Each step leaves a state that the next run completes or takes back:
 *
 *   to the private loader    1 its folder and find_library's files   while bin/ has no copy, a run with the strategy `rpath`
 *                                                                    removes them, and one with `loader` uses them
 *                            2 the names of bin/ become copies       each by a rename; one copy makes the strategy `loader`
 *                            3 the objects                           see `applyPlan`: a program asks for the loader of 1
 *   away from it             1 the objects                           no program asks for the private loader any more
 *                            2 the names of bin/                     each by a rename
 *                            3 find_library's files, the folder      if some of them remain, the next run goes on here
 *   then                     the pins and the interpreter's choice   a run that finds others writes them
 *
 * @throws WheelfixError when the private loader cannot be made; then nothing is changed
 */
function* write(now: Examination, options: VenvOptions) {
  const { venv, names, libraries, byPath } = now
  // restore finds the folder by this note, whatever happens next
  noteFolder(venv)
  const { objects, directories } = now.scan
  pruneUndos(venv, {
    folders: venv.walk.length === 0 ? [] : [venv.root, ...directories],
    files: objects.map(({ path }) => path),
    used: objects.filter(({ kept }) => kept === true).length,
  })
  // the loader first: a file that names it must never find it missing
  const warnings = now.loader === null ? [] : writeLoader(now.loader).warnings
  const outcomes = yield* applySteps(ownObjects(now), applyInput(now, options, true))
  const problems: string[] = []
  // the objects are done, so a later failure is reported beside them
  const attempt = (what: string, action: () => void): void => {
    try {
      action()
    } catch (error) {
      problems.push(`${what}: ${writeReason(error)}`)
    }
  }
  yield
  if (now.leftLoader) {
    attempt('the private loader was not removed', () => {
      const folders = loaderFolders(venv, names, options.env)
      for (const name of names) restoreName(name)
      // a program that could not be changed still asks for the private loader
      const asked = outcomes.some(
        ({ status, planned }) => status === 'refused' && asksFor(byPath.get(planned.path), folders),
      )
      if (!asked) removeLoader(venv, folders)
    })
  }
  attempt('the choice of libraries was not saved', () => writePins(venv, libraries))
  const { interpreter } = options
  if (interpreter !== null) {
    attempt('the choice of the interpreter was not saved', () => writeProgramInterpreter(venv, interpreter))
  }
  return { outcomes, warnings, problems }
}

function asksFor(object: ScannedObject | undefined, folders: readonly string[]): boolean {
  const interpreter = object?.current.ptInterp ?? null
  return interpreter !== null && folders.some(folder => isInside(interpreter, folder))
}

/** Does what the journal of an earlier run asks for, before the examination. Returns sentences about it. */
function recoverVenv(venv: Environment): string[] {
  const state = journalState(venv)
  if (state === 'none' || state === 'settling') return []
  const lock = lockVenv(venv)
  try {
    return sayRecovery(recover(venv))
  } finally {
    lock.release()
  }
}

function sayRecovery({ restored, other }: Recovery): string[] {
  return [
    ...(restored.length === 0
      ? []
      : [`an earlier run was interrupted: ${count(restored.length, 'object')} restored and patched again`]),
    ...(other.length === 0
      ? []
      : [
          `another program has since written ${count(other.length, 'object')} of an interrupted run: ` +
            `${agree(other.length, 'it is', 'they are')} left unchanged`,
        ]),
  ]
}

function withWarnings(examination: Examination, warnings: readonly string[]): Examination {
  return warnings.length === 0 ? examination : { ...examination, warnings: [...examination.warnings, ...warnings] }
}

/** Did another run end between the examination and the lock? Then the files may have changed. */
function isOutdated(examination: Examination): boolean {
  const { scan, byPath } = examination
  // a row of RECORD may be stale although its object needs no change
  const pending = ownObjects(examination).flatMap(({ path, change, edit }) =>
    change === null && edit === null ? [] : (byPath.get(path) ?? []),
  )
  return (
    scan.leftovers.length > 0 ||
    pending.some(({ path, status }) => {
      const now = lstatSync(fsPath(path), { bigint: true, throwIfNoEntry: false })
      return now === undefined || now.ino !== status.ino || now.size !== BigInt(status.size)
    })
  )
}

function needsWriting(examination: Examination, options: VenvOptions): boolean {
  const { venv, scan, loaderPending, leftLoader, libraries } = examination
  return (
    wasInterrupted(examination) ||
    noteDiffers(venv) ||
    // by the state folder a later command finds the environments inside this folder again, and the Python that was named
    ((scan.nested.length > 0 || isForPython(examination)) && !existsSync(fsPath(venv.stateFolder))) ||
    ownObjects(examination).some(({ change }) => change !== null) ||
    leftLoader ||
    // hashes are written into the RECORDs of objects that were patched earlier
    (options.rehash && ownObjects(examination).some(({ edit }) => edit !== null)) ||
    loaderPending ||
    pinsDiffer(venv, libraries) ||
    (options.interpreter !== null && readProgramInterpreter(venv) !== options.interpreter)
  )
}

/** Is the folder one whose libraries must still be added, for a Python or another program? */
function isForPython({ venv, plan }: Examination): boolean {
  const isNamed = venv.kind === 'folder' && (venv.python !== null || venv.program !== null)
  return isNamed && plan.objects.some(({ missing, below }) => missing.length > 0 || below.length > 0)
}

/** Did an earlier run patch its files and then stop before it was done? */
function wasInterrupted(examination: Examination): boolean {
  const { venv, scan, byPath, distributions } = examination
  return (
    scan.leftovers.length > 0 ||
    isRemovalInterrupted(examination) ||
    isRunInterrupted(venv) ||
    recordsAreStale(ownObjects(examination), { byPath, distributions })
  )
}

function applyInput(examination: Examination, options: VenvOptions, write: boolean): ApplyInput {
  const { venv, distributions, byPath, python } = examination
  const { rehash, progress } = options
  return { place: venv, distributions, byPath, libc: python.libc.kind, write, rehash, progress }
}

/** Keeps everything in the store that the venv needs from garbage collection. A dry run only looks whether it is kept. */
function rootsOf(examination: Examination, { env, mode }: VenvOptions): RootsReport | null {
  const storePaths = neededStorePaths(examination)
  if (storePaths.length === 0) return null
  const ensure = mode === 'plan' ? checkRoots : addRoots
  return ensure(examination.venv.stateFolder, storePaths, env)
}

// The main job, from a folder to a report: examine, then carry the plan out. A check and a dry run go the same way and
// write nothing.
import { lstatSync, rmSync } from 'node:fs'
import { fsPath } from '../io/path.ts'
import { refuseStore } from '../nix/refuse-store.ts'
import { addRoots, checkRoots, type RootsReport } from '../nix/roots.ts'
import { loaderFolders, removeLoader, writeLoader } from '../private-loader/private-loader.ts'
import { restoreName } from '../private-loader/python-copy.ts'
import type { Environment } from '../python/environment.ts'
import type { PlannedObject } from '../resolve/plan.ts'
import { hasJournal, recover } from '../state/journal.ts'
import { lockVenv } from '../state/lock.ts'
import { pinsDiffer, writePins } from '../state/pins.ts'
import { readProgramInterpreter, writeProgramInterpreter } from '../state/program-loader.ts'
import { type ApplyInput, applyPlan, recordsAreStale } from './apply.ts'
import { type Examination, examine } from './examine.ts'
import type { VenvOptions } from './options.ts'
import { neededStorePaths, reportOf, type VenvReport } from './report.ts'

/** @throws WheelfixError when nothing could be done */
export function runVenv(venv: Environment, options: VenvOptions): VenvReport {
  if (options.mode === 'apply') refuseStore(venv.root, options.env)
  const first = examine(venv, options)
  const looksOnly = options.mode === 'plan'
  if (looksOnly || !needsWriting(first, options)) {
    const outcomes = applyPlan(ownObjects(first), applyInput(first, options, false))
    return reportOf(first, outcomes, rootsOf(first, options), isUnfinished(first), options)
  }

  const lock = lockVenv(venv)
  try {
    const recovered = hasJournal(venv) && recover(venv).length > 0
    const now = lock.waited || recovered || isOutdated(first) ? examine(venv, options) : first
    for (const path of now.scan.leftovers) rmSync(fsPath(path), { force: true })
    // the loader first: what names it must never find it missing
    const warnings = now.loader === null ? [] : writeLoader(now.loader).warnings
    const outcomes = applyPlan(ownObjects(now), applyInput(now, options, true))
    if (now.leftLoader) {
      const folders = loaderFolders(venv, now.names, options.env)
      for (const name of now.names) restoreName(name)
      removeLoader(venv, folders)
    }
    writePins(venv, now.libraries)
    if (options.interpreter !== null) writeProgramInterpreter(venv, options.interpreter)
    const done = { ...now, warnings: [...now.warnings, ...warnings] }
    return reportOf(done, outcomes, rootsOf(now, options), false, options)
  } finally {
    lock.release()
  }
}

/** The objects that this run may change. */
function ownObjects({ plan, held }: Examination): readonly PlannedObject[] {
  return held.size === 0 ? plan.objects : plan.objects.filter(({ identity }) => !held.has(identity))
}

/** Did another run end between the look at the venv and the lock? Then its files are others, or longer. */
function isOutdated(examination: Examination): boolean {
  const { scan, objects } = examination
  const pending = ownObjects(examination).flatMap(({ identity, change }) =>
    change === null ? [] : (objects.get(identity) ?? []),
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
  const { venv, loaderPending, leftLoader, libraries } = examination
  return (
    isUnfinished(examination) ||
    ownObjects(examination).some(({ change }) => change !== null) ||
    leftLoader ||
    // hashes are written into the RECORDs of what was patched earlier
    (options.rehash && ownObjects(examination).some(({ edit }) => edit !== null)) ||
    loaderPending ||
    pinsDiffer(venv, libraries) ||
    (options.interpreter !== null && readProgramInterpreter(venv) !== options.interpreter)
  )
}

/** Did an earlier run end before it was done, with its files patched and something else not? */
function isUnfinished(examination: Examination): boolean {
  const { venv, scan, objects, distributions } = examination
  return (
    scan.leftovers.length > 0 ||
    hasJournal(venv) ||
    recordsAreStale(ownObjects(examination), { objects, distributions })
  )
}

function applyInput({ venv, distributions, objects }: Examination, options: VenvOptions, write: boolean): ApplyInput {
  return { place: venv, distributions, objects, write, rehash: options.rehash, progress: options.progress }
}

/** Keeps everything in the store that the venv depends on from being collected; a dry run looks whether it is kept. */
function rootsOf(examination: Examination, { env, mode }: VenvOptions): RootsReport | null {
  const storePaths = neededStorePaths(examination)
  if (storePaths.length === 0) return null
  const ensure = mode === 'plan' ? checkRoots : addRoots
  return ensure(examination.venv.stateFolder, storePaths, env)
}

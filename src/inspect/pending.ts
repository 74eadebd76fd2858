// What a run of `wheelfix venv` would still do: complete an interrupted run, make changes, and refuse what it cannot change.
import { existsSync } from 'node:fs'
import { applyPlan } from '../environment/apply.ts'
import { type Examination, isRemovalInterrupted } from '../environment/examine.ts'
import { isRunInterrupted } from '../environment/recover.ts'
import { fsPath, relativeTo } from '../io/path.ts'
import { count } from '../io/words.ts'
import type { Environment } from '../python/environment.ts'
import type { PlannedObject } from '../resolve/plan.ts'
import type { Finding } from './findings.ts'

/** One finding if the last run was interrupted, or if a power loss left files incomplete; else none. */
export function interruptedRun(examination: Examination): Finding[] {
  const { venv, scan } = examination
  if (!isRunInterrupted(venv) && scan.leftovers.length === 0 && !isRemovalInterrupted(examination)) return []
  return [
    {
      code: 'interrupted-run',
      severity: 'error',
      message:
        'the last run of wheelfix was interrupted, or the machine stopped before the disk had everything that the run wrote',
      remedy: `to complete the run: wheelfix venv ${venv.root}`,
      paths: scan.leftovers.map(path => relativeTo(venv.root, path)),
    },
  ]
}

/** Objects outside the environment that need a patch, and that editable installations or .pth files import. */
export function heldBack({ venv, plan, held }: Examination): Finding[] {
  const waiting = plan.objects.filter(({ change, identity }) => change !== null && held.has(identity))
  if (waiting.length === 0) return []
  return [
    {
      code: 'outside-unpatched',
      severity: 'error',
      message: `${count(waiting.length, 'object')} to patch outside the environment, which imports from there`,
      remedy: `wheelfix venv --editable ${venv.root}`,
      paths: waiting.map(({ path }) => path),
    },
  ]
}

/** The pending changes, and the objects that cannot be changed. A run would end in the same way. */
export function pending({ venv, plan, distributions, byPath, held, python }: Examination): Finding[] {
  const libc = python.libc.kind
  const input = { place: venv, distributions, byPath, libc, write: false, rehash: false, progress: () => {} }
  const tried = applyPlan(
    plan.objects.filter(({ identity }) => !held.has(identity)),
    input,
  )
  const refused = tried.flatMap(({ planned, status, reason }): Finding[] => {
    if (status !== 'refused') return []
    const { relative } = planned
    return [
      {
        code: 'refused',
        severity: 'error',
        message: reason ?? 'it cannot be changed',
        remedy: null,
        paths: [relative],
      },
    ]
  })
  const changed = tried.flatMap(({ planned, status }) => {
    const { rpath, interpreter } = planned.change ?? {}
    return status === 'patch' && (rpath !== undefined || interpreter !== undefined) ? [planned] : []
  })
  return [...refused, ...changedSince(venv, changed)]
}

function changedSince(venv: Environment, changed: readonly PlannedObject[]): Finding[] {
  if (changed.length === 0) return []
  const names = [...new Set(changed.map(({ distribution }) => distribution ?? '(no package)'))].sort()
  const before = existsSync(fsPath(venv.stateFolder))
  return [
    {
      code: before ? 'changed-since' : 'unpatched',
      severity: 'error',
      message: before
        ? `packages were installed or changed since wheelfix ran: ${names.join(', ')}`
        : `${count(changed.length, 'object')} to patch in ${names.join(', ')}`,
      remedy: `wheelfix venv ${venv.root}`,
      paths: changed.map(({ relative }) => relative),
    },
  ]
}

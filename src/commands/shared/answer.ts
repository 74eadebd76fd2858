// The answer for one environment: the answer that an earlier run kept, if nothing has changed since, else a whole run.
import type { VenvOptions } from '../../environment/run-options.ts'
import type { VenvReport } from '../../environment/venv-report.ts'
import type { Environment } from '../../python/environment.ts'
import { isRunFacts, type RunFacts } from '../../report/run/run-facts.ts'
import { recall, type Recalled, remember } from '../../state/answers.ts'
import { noteDiffers } from '../../state/folders.ts'
import { untilSignal } from '../interruptible.ts'
import { setFlags } from '../../environment/engine.ts'
import type { ExitStatus } from './status.ts'
import { count } from '../../io/words.ts'

export type AnsweredCommand = 'venv' | 'check' | 'loader' | 'path'

interface AnswerOptions {
  readonly strict: boolean
  /** The version of the program. Answers of another version do not count. */
  readonly version: string
  /** Always do the whole work, for a report. */
  readonly whole: boolean
}

interface EnvironmentAnswer {
  readonly facts: RunFacts
  readonly status: ExitStatus
  readonly warnings: readonly string[]
  /** Do libraries that only plugins miss count too? */
  readonly counts: boolean
  /** null when the answer comes from an earlier run. */
  readonly report: VenvReport | null
  readonly isNew: boolean
}

/** @throws WheelfixError when nothing could be done */
export async function answerFor(
  command: AnsweredCommand,
  environment: Environment,
  options: VenvOptions,
  { strict, version, whole }: AnswerOptions,
): Promise<EnvironmentAnswer> {
  const known = whole || noteDiffers(environment) ? null : recall(environment, options, strict, version)
  if (known !== null && isRunFacts(known.answer.facts) && (await holdsInStore(known, options))) {
    const { facts, warnings, status } = known.answer
    return { facts, warnings, status: exitStatusOf(status), counts: strict, report: null, isNew: false }
  }

  // the whole work starts here, so the rest of the program is loaded only now
  const { runSteps } = await import('../../environment/run-environment.ts')
  const { answerable } = await import('../../environment/venv-report.ts')
  const { settledDetails } = await import('../../inspect/settled.ts')
  const { runFacts } = await import('../../report/run/collect-facts.ts')
  setFlags()
  let written = { done: 0, total: 0 }
  const steps = runSteps(environment, {
    ...options,
    progress: (done, total) => {
      written = { done, total }
      options.progress(done, total)
    },
  })
  const report = await untilSignal(steps, () => {
    const { done, total } = written
    return `${done} of ${count(total, 'object')} patched, each of them whole; the next run completes the work`
  })
  const counts = strict || report.strict
  const facts = runFacts(report)
  const status = runStatus(command, facts, counts)
  const subject = options.mode === 'plan' ? null : answerable(report)
  if (subject !== null) {
    const settled = runFacts(settledReport(report))
    const { warnings } = report
    const answer = {
      status: runStatus(command, settled, counts),
      warnings,
      facts: settled,
      details: settledDetails(report),
    }
    remember(subject, options, strict, version, answer)
  }
  return { facts, status, warnings: report.warnings, counts, report, isNew: true }
}

/** Does the store still have no library for what is missing? Without this scan, each new path there would start a whole run. */
async function holdsInStore({ unsure, renew }: Recalled, { env, mode }: VenvOptions): Promise<boolean> {
  if (unsure === null) return true
  const { scanStore } = await import('../../nix/scan-store.ts')
  const { store, candidates } = unsure
  const found = scanStore(Object.keys(candidates), { store, env })
  for (const [soname, paths] of Object.entries(candidates)) {
    const now = (found.get(soname) ?? []).map(({ path }) => path)
    if (JSON.stringify(now) !== JSON.stringify(paths)) return false
  }
  if (mode === 'apply') renew()
  return true
}

function exitStatusOf(status: number): ExitStatus {
  return status === 0 || status === 1 ? status : 2
}

/** The report as the next run would make it: patched objects are fine. */
function settledReport(report: VenvReport): VenvReport {
  const { loader } = report
  return {
    ...report,
    outcomes: report.outcomes.map(outcome =>
      outcome.status === 'patched'
        ? { planned: { ...outcome.planned, change: null }, status: 'fine', reason: null }
        : outcome,
    ),
    loader: loader === null ? null : { ...loader, status: 'fine', faults: [] },
  }
}

function runStatus(command: AnsweredCommand, facts: RunFacts, strict: boolean): ExitStatus {
  const { patched, missing, optional, refused, held } = facts.summary
  const pending = command === 'check' && (patched > 0 || facts.interrupted || facts.loader?.status === 'patch')
  const windowless = facts.windows.some(({ opensSomewhere }) => !opensSomewhere)
  return pending || facts.incomplete || missing > 0 || refused + held > 0 || windowless || (strict && optional > 0)
    ? 1
    : 0
}

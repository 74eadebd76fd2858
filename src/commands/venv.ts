// `wheelfix venv` and `wheelfix check`: parse options → run the pipeline → render.
import type { ProgramInterpreter, Strategy } from '../config/config.ts'
import { type Answer, recall, remember } from '../state/answers.ts'
import type { VenvReport } from '../environment/report.ts'
import type { VenvOptions } from '../environment/options.ts'
import { findVenv } from '../python/pyvenv.ts'
import { type ColourMode, colours } from '../report/colour.ts'
import { progressBar } from '../report/progress.ts'
import { reportLines, summaryOf } from '../report/run-text.ts'
import { writeLines, writeWarnings } from '../report/print.ts'
import { venvDocument } from '../report/run-json.ts'
import { reportFailure } from './failure.ts'
import type { ExitStatus } from './status.ts'

/** The options of both commands, as commander gives them. */
export interface VenvCommandOptions {
  readonly dryRun?: boolean
  readonly json?: boolean
  readonly libs: readonly string[]
  /** False with --no-scan. */
  readonly scan: boolean
  readonly trust: readonly string[]
  readonly ignoreMissing: readonly string[]
  readonly strict?: boolean
  readonly strategy?: Strategy
  readonly interpreter?: ProgramInterpreter
  readonly update?: boolean
  readonly rehash?: boolean
  readonly quiet?: boolean
  readonly verbose?: boolean
  readonly color: ColourMode
}

type Command = 'venv' | 'check' | 'loader'

export async function venvCommand(
  command: Command,
  argument: string | undefined,
  options: VenvCommandOptions,
  version: string,
): Promise<ExitStatus> {
  const { env } = process
  const began = Date.now()
  const strict = options.strict === true
  const reading = command === 'check' || options.dryRun === true
  const bar = progressBar(process.stderr, 'patching', options.quiet !== true && options.json !== true)
  const runOptions: VenvOptions = {
    libs: options.libs,
    noScan: !options.scan,
    trust: options.trust,
    ignoreMissing: options.ignoreMissing,
    update: options.update === true,
    rehash: options.rehash === true,
    strategy: options.strategy ?? null,
    interpreter: options.interpreter ?? null,
    mode: reading ? 'plan' : 'apply',
    env,
    cwd: process.cwd(),
    progress: (done, total) => bar.step(done, total),
  }
  try {
    const venv = findVenv({ argument, env, cwd: process.cwd() })
    const plain = options.json !== true && options.verbose !== true
    const known = plain ? recall(venv, runOptions, strict, version) : null
    if (known !== null) return show(known, options)

    // from here on it is the whole work: the rest of the program is loaded only now
    const { runVenv } = await import('../environment/run.ts')
    const { answerable } = await import('../environment/report.ts')
    setFlags()
    const report = runVenv(venv, runOptions)
    bar.end()
    const answer = answerOf(command, report, options, strict)
    if (options.json === true) {
      writeWarnings(answer.warnings, colours(options.color, process.env).stderr)
      process.stdout.write(`${JSON.stringify(venvDocument(command, report))}\n`)
    } else show(answer, options)
    if (!reading) {
      const settled = answerOf(command, settledReport(report), { color: 'always' }, strict)
      const subject = answerable(report)
      if (subject !== null) remember(subject, runOptions, strict, version, settled, began)
    }
    return answer.status
  } catch (error) {
    bar.end()
    return reportFailure(error, options.json === true)
  }
}

/**
 * Flags of V8, set once all is loaded: it rejects code that was cached with other flags, that of Node's own modules too
 * (10 ms). A thread that starts later loads its modules so (nix/daemon.ts): 50 ms on another processor, measured to be less
 * than what a scan without the flags costs.
 */
function setFlags(): void {
  const { setFlagsFromString } = process.getBuiltinModule('node:v8')
  // V8 lets its nursery grow to 3 x 16 MB before it looks for garbage. What a run leaves behind is little and dies young:
  // on a venv of 2,673 objects this keeps 127 MB instead of 167 MB, for 5 % more time
  setFlagsFromString('--semi-space-growth-factor=1')
  // Node 20 optimises code that the run is soon done with: on a small venv this saves a third of the processor time and
  // 8 % of the time; newer ones wait by themselves and do not know the flag
  if (process.version.startsWith('v20.')) setFlagsFromString('--interrupt-budget=300000')
}

/** What is said and with which status. Lines are coloured; `show` takes the colour off. */
function answerOf(
  command: Command,
  report: VenvReport,
  options: Pick<VenvCommandOptions, 'dryRun' | 'verbose' | 'color'>,
  strict: boolean,
): Answer & { readonly status: ExitStatus } {
  const pending = command === 'check' || options.dryRun === true
  const style = { chalk: colours('always', process.env).stdout, pending, strict, verbose: options.verbose === true }
  const status = statusOf(command, report, strict)
  return {
    status,
    warnings: report.warnings,
    lines: reportLines(report, { ...style, quiet: false }),
    quietLines: status === 0 ? [] : reportLines(report, { ...style, quiet: true }),
  }
}

function show(answer: Answer, options: VenvCommandOptions): ExitStatus {
  writeWarnings(answer.warnings, colours(options.color, process.env).stderr)
  const lines = options.quiet === true ? answer.quietLines : answer.lines
  const { level } = colours(options.color, process.env).stdout
  writeLines(process.stdout, lines, level === 0)
  return answer.status === 0 || answer.status === 1 ? answer.status : 2
}

/** The report as the next run would give it: what was patched is fine. */
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

function statusOf(command: Command, report: VenvReport, strict: boolean): ExitStatus {
  const { patched, missing, optional, refused } = summaryOf(report)
  const pending = command === 'check' && (patched > 0 || report.unfinished || report.loader?.status === 'patch')
  return pending || missing > 0 || refused > 0 || (strict && optional > 0) ? 1 : 0
}

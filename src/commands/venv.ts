// `wheelfix venv` and `wheelfix check`: parse options → run the pipeline → render.
import type { Strategy } from '../fix/config.ts'
import { runVenv, type VenvReport } from '../fix/venv.ts'
import { type ColourMode, colours } from '../ui/colour.ts'
import { progressBar } from '../ui/progress.ts'
import { reportLines, summaryOf } from '../ui/report.ts'
import { venvDocument } from './document.ts'
import { reportFailure } from './failure.ts'
import type { ExitStatus } from './status.ts'

/** The options of both commands, as commander gives them. */
export interface VenvCommandOptions {
  readonly dryRun?: boolean
  readonly json?: boolean
  readonly libs: readonly string[]
  /** False with --no-scan. */
  readonly scan: boolean
  readonly ignoreMissing: readonly string[]
  readonly strict?: boolean
  readonly strategy?: Strategy
  readonly update?: boolean
  readonly rehash?: boolean
  readonly quiet?: boolean
  readonly verbose?: boolean
  readonly color: ColourMode
}

export function venvCommand(
  command: 'venv' | 'check' | 'loader',
  argument: string | undefined,
  options: VenvCommandOptions,
): ExitStatus {
  const { env } = process
  const colour = colours(options.color, env)
  const quiet = options.quiet === true
  const dryRun = options.dryRun === true
  const bar = progressBar(process.stderr, 'patching', !quiet && options.json !== true)
  let report: VenvReport
  try {
    report = runVenv({
      argument,
      libs: options.libs,
      noScan: !options.scan,
      ignoreMissing: options.ignoreMissing,
      update: options.update === true,
      rehash: options.rehash === true,
      strategy: options.strategy ?? null,
      mode: command === 'check' || dryRun ? 'plan' : 'apply',
      env,
      cwd: process.cwd(),
      progress: (done, total) => bar.step(done, total),
    })
  } catch (error) {
    return reportFailure(error, options.json === true)
  } finally {
    bar.end()
  }

  for (const warning of report.warnings) process.stderr.write(`${colour.stderr.yellow('warning:')} ${warning}\n`)
  if (options.json === true) process.stdout.write(`${JSON.stringify(venvDocument(command, report))}\n`)
  else {
    const pending = command === 'check' || dryRun
    const style = { chalk: colour.stdout, pending, quiet, verbose: options.verbose === true }
    const lines = reportLines(report, style)
    if (lines.length > 0) process.stdout.write(`${lines.join('\n')}\n`)
  }
  return statusOf(command, report, options.strict === true)
}

function statusOf(command: 'venv' | 'check' | 'loader', report: VenvReport, strict: boolean): ExitStatus {
  const { patched, missing, optional, refused } = summaryOf(report)
  const pending = command === 'check' && (patched > 0 || report.loader?.status === 'patch')
  return pending || missing > 0 || refused > 0 || (strict && optional > 0) ? 1 : 0
}

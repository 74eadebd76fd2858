// `wheelfix wheel`: parse options → run the pipeline over archives → render.
import { WheelfixError } from '../io/error.ts'
import { colours } from '../report/colour.ts'
import { progressBar } from '../report/terminal/progress.ts'
import { wheelLines } from '../report/wheel-text.ts'
import { writeLines } from '../report/print.ts'
import type { ProgramInterpreter } from '../config/config.ts'
import { parseTag } from '../wheel/write-wheel.ts'
import type { WheelFailure, WheelOptions, WheelReport, WheelRun } from '../wheel/wheel-report.ts'
import { runWheels } from '../wheel/run-wheels.ts'
import { objectEntry } from '../report/run/run-json.ts'
import { SCHEMA } from '../report/schema.ts'
import { standardError, standardOutput } from '../report/terminal/output.ts'
import { withSignals } from './interruptible.ts'
import { reportFailure } from './shared/failure.ts'
import { looking, type LibrarySetOptions, type OutputOptions } from './shared/command-options.ts'
import type { ExitStatus } from './shared/status.ts'
import { warn } from './shared/warnings.ts'

/** The options of the command, as commander gives them. */
export interface WheelCommandOptions extends LibrarySetOptions, OutputOptions {
  readonly outputDir?: string | undefined
  readonly inPlace?: boolean | undefined
  readonly dryRun?: boolean | undefined
  readonly check?: boolean | undefined
  readonly restore?: boolean | undefined
  readonly python?: string | undefined
  readonly with: readonly string[]
  readonly tag?: string | undefined
  readonly interpreter?: ProgramInterpreter | undefined
  readonly strict?: boolean | undefined
}

/** The default folder of the results, the same as auditwheel's. */
const DEFAULT_OUTPUT = 'wheelhouse'

/** `wheelfix wheel FILE…`: patches wheels, or restores them with `--restore`. */
export async function wheelCommand(files: readonly string[], options: WheelCommandOptions): Promise<ExitStatus> {
  const colour = colours(options.color, process.env)
  const quiet = options.quiet === true
  const json = options.json === true
  const bar = progressBar(standardError, 'wheels', !quiet && !json)
  const style = { chalk: colour.stdout, quiet, verbose: options.verbose === true }
  let run: WheelRun<Result>
  try {
    const progress = (done: number, total: number) => bar.step(Math.round(done / 1e6), Math.round(total / 1e6))
    run = await withSignals(interrupted =>
      runWheels({ ...optionsOf(options, files, progress), interrupted }, report => ({
        status: wheelStatus(report, options),
        entry: json ? (isFailure(report) ? failureEntry(report) : wheelEntry(report)) : null,
        lines: json || isFailure(report) ? [] : wheelLines(report, style),
        error: isFailure(report) ? report.error : null,
      })),
    )
  } catch (error) {
    return reportFailure(error, options)
  } finally {
    bar.end()
  }

  const { results } = run
  const [only] = results
  if (results.length === 1 && only?.error != null) return reportFailure(only.error, options)
  warn(run.warnings, options)
  if (json) standardOutput.write(`${JSON.stringify(wheelDocument(run))}\n`)
  else {
    const lines = results.flatMap(result => result.lines)
    writeLines(standardOutput, lines)
    for (const { error } of results) {
      if (error !== null) writeLines(standardError, [`${colour.stderr.red('error:')} ${error.message}`])
    }
  }
  if (results.every(({ status }) => status === 2)) return 2
  return results.some(({ status }) => status !== 0) ? 1 : 0
}

/** The part of a wheel's report that is kept. */
interface Result {
  readonly status: ExitStatus
  readonly entry: ReturnType<typeof wheelEntry> | ReturnType<typeof failureEntry> | null
  readonly lines: readonly string[]
  readonly error: WheelfixError | null
}

function optionsOf(
  options: WheelCommandOptions,
  files: readonly string[],
  progress: WheelOptions['progress'],
): Omit<WheelOptions, 'interrupted'> {
  if (options.restore === true && (options.check === true || options.tag !== undefined))
    throw new WheelfixError('USAGE', '--restore cannot be used with --check or --tag')
  return {
    files,
    with: options.with,
    output: outputOption(options),
    mode: options.restore === true ? 'restore' : 'patch',
    write: options.check !== true && options.dryRun !== true,
    check: options.check === true,
    python: options.python,
    ...looking(options),
    interpreter: options.interpreter ?? null,
    tag: options.tag === undefined ? null : parseTag(options.tag),
    progress,
  }
}

function outputOption(options: WheelCommandOptions): string | null {
  if (options.inPlace !== true) return options.outputDir ?? DEFAULT_OUTPUT
  if (options.outputDir === undefined) return null
  throw new WheelfixError('USAGE', '--in-place and -o DIR cannot be used together')
}

function isFailure(report: WheelReport | WheelFailure): report is WheelFailure {
  return 'error' in report
}

function wheelStatus(report: WheelReport | WheelFailure, { strict }: WheelCommandOptions): ExitStatus {
  if (isFailure(report)) return 2
  const missing = report.missing.some(({ optional, expected }) => strict === true || (!optional && !expected))
  return missing || report.refused.length > 0 || (strict === true && report.policy?.holds === false) ? 1 : 0
}

/** The JSON document: schema wheelfix/1, described in docs/json.md. Paths of objects are those of the entries. */
function wheelDocument({ python, results }: WheelRun<Result>) {
  const { interpreter, libc } = python
  return {
    schema: SCHEMA,
    command: 'wheel',
    python: {
      version: interpreter.version,
      executable: interpreter.program,
      interpreter: interpreter.interp,
      libc: { kind: libc.kind, version: libc.version, dir: libc.dir },
    },
    wheels: results.map(({ entry }) => entry),
  }
}

function failureEntry({ path, error: { code, message } }: WheelFailure) {
  return { path, output: null, status: 'failed', error: { code, message } }
}

function wheelEntry(report: WheelReport) {
  const { path, output, status, distribution, plan, outcomes, refused, missing, notes, policy, restored } = report
  const count = (wanted: (library: WheelReport['missing'][number]) => boolean) => missing.filter(wanted).length
  return {
    path,
    output,
    status,
    distribution: distribution.name,
    version: distribution.fileName.version,
    libs: plan?.libraries ?? [],
    objects: outcomes.map(outcome => objectEntry(outcome, report.show, report.show)),
    missing,
    refused,
    notes,
    ...(policy === null ? {} : { policy }),
    ...(report.original === null ? {} : { original: report.original }),
    summary: {
      objects: outcomes.length,
      patched: outcomes.filter(({ status }) => status === 'patch' || status === 'patched').length,
      fine: outcomes.filter(({ status }) => status === 'fine').length,
      restored,
      missing: count(({ optional, expected }) => !optional && !expected),
      optional: count(({ optional }) => optional),
      expected: count(({ expected }) => expected),
      refused: refused.length,
    },
  }
}

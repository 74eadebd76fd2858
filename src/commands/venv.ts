// `wheelfix venv` and `wheelfix check`: parse options → run the pipeline → render.
import type { ProgramInterpreter, Strategy } from '../config/config.ts'
import { findProjectFile } from '../nix/build/project-file.ts'
import { isWithoutNix, systemRemedy } from '../nix/system-packages.ts'
import { findKnownEnvironment, findFolder } from '../state/folders.ts'
import type { VenvOptions } from '../environment/run-options.ts'
import type { VenvReport } from '../environment/venv-report.ts'
import type { Environment } from '../python/environment.ts'
import { findVenv } from '../python/pyvenv.ts'
import { activeElsewhere } from '../python/search-venv.ts'
import { colours } from '../report/colour.ts'
import { progressBar } from '../report/terminal/progress.ts'
import { screenOf } from '../report/screen.ts'
import type { RunDetails } from '../report/run/run-details.ts'
import type { RunFacts } from '../report/run/run-facts.ts'
import { remediesFor } from '../report/run/remedies.ts'
import { type ReportStyle, reportLines } from '../report/run/run-text.ts'
import { writeLines } from '../report/print.ts'
import { standardError, standardOutput } from '../report/terminal/output.ts'
import { foundAsOwner } from './shared/as-owner.ts'
import { answerFor, type AnsweredCommand } from './shared/answer.ts'
import { reportFailure } from './shared/failure.ts'
import { type FolderResult, overFolders, type PutDocument, type RunOne } from './shared/several.ts'
import { looking, type LibrarySetOptions, type OwnerOutputOptions } from './shared/command-options.ts'
import type { ExitStatus } from './shared/status.ts'
import { targetOf } from './shared/target.ts'
import { warn } from './shared/warnings.ts'

/** The options of both commands, as commander gives them. */
export interface VenvCommandOptions extends LibrarySetOptions, OwnerOutputOptions {
  readonly dryRun?: boolean | undefined
  readonly strict?: boolean | undefined
  readonly strategy?: Strategy | undefined
  readonly interpreter?: ProgramInterpreter | undefined
  readonly update?: boolean | undefined
  readonly rehash?: boolean | undefined
  readonly editable?: boolean | undefined
  /** Without false: the line that keeps missing packages in the project's own file. */
  readonly keep?: boolean | undefined
}

/** The further options of `wheelfix path`. */
export interface PathCommandOptions extends VenvCommandOptions {
  readonly python?: string | undefined
  readonly program?: string | undefined
  readonly stateHere?: boolean | undefined
  /** Change nothing, and fail when a change is pending. */
  readonly check?: boolean | undefined
}

/**
 * `folders`: empty for the environment that the command itself finds.
 * @param print receives the document when it is not to be printed
 */
export function venvCommand(
  command: Exclude<AnsweredCommand, 'path'>,
  folders: readonly string[],
  options: VenvCommandOptions,
  version: string,
  print?: PutDocument,
): Promise<ExitStatus> {
  const { env } = process
  const cwd = process.cwd()
  const elsewhere = folders.length === 0 && options.quiet !== true ? activeElsewhere(cwd, env) : null
  if (elsewhere !== null) warn([elsewhere], options)
  const runFolder: RunOne = (folder, put) => {
    const find = () =>
      command === 'check'
        ? findKnownEnvironment(folder, env, cwd, 'wheelfix check DIR')
        : findVenv({ argument: folder, env, cwd, usage: `wheelfix ${command} DIR` })
    return runOne(command, find, options, version, put)
  }
  return overFolders(command, folders, options, runFolder, print)
}

/**
 * `wheelfix path DIR…`: patches folders and files that are not virtual environments.
 * @param print receives the document when it is not to be printed
 */
export function pathCommand(
  folders: readonly string[],
  options: PathCommandOptions,
  version: string,
  print?: PutDocument,
): Promise<ExitStatus> {
  const { env } = process
  const cwd = process.cwd()
  const { python = null, program = null, stateHere = false } = options
  const command = options.check === true ? 'check' : 'path'
  const runFolder: RunOne = (argument = '.', put) => {
    const find = () => findFolder({ argument, python, program, stateHere, env, cwd })
    return runOne(command, find, options, version, put)
  }
  return overFolders('path', folders, options, runFolder, print)
}

async function runOne(
  command: AnsweredCommand,
  find: () => Environment,
  options: VenvCommandOptions,
  version: string,
  put: PutDocument,
): Promise<FolderResult> {
  const strict = options.strict === true
  const reading = command === 'check' || options.dryRun === true
  const bar = progressBar(standardError, 'patching', options.quiet !== true && options.json !== true)
  const runOptions: VenvOptions = {
    ...looking(options),
    update: options.update === true,
    rehash: options.rehash === true,
    editable: options.editable === true,
    strategy: options.strategy ?? null,
    interpreter: options.interpreter ?? null,
    mode: reading ? 'plan' : 'apply',
    progress: (done, total) => bar.step(done, total),
  }
  try {
    const venv = foundAsOwner(find, options.asRoot)
    const isPlain = options.json !== true && options.verbose !== true
    const { facts, status, warnings, counts, report, isNew } = await answerFor(command, venv, runOptions, {
      strict,
      version,
      whole: !isPlain,
    })
    bar.end()
    // a shell hook runs on every entry, and its user has seen the warnings once
    const lacks = counts ? [...facts.lacking, ...facts.optional] : facts.lacking
    const isComplete = lacks.length + facts.windows.length === 0
    const told = !isNew && options.quiet === true ? 0 : warn(warnings, options, isComplete)
    if (options.json === true && report !== null) {
      const { venvDocument } = await import('../report/run/run-json.ts')
      put(venvDocument(command, report))
    } else if (options.quiet !== true || status !== 0) {
      const style = styleFor(command, venv, options, counts)
      show(facts, { ...style, details: await detailsFor(report, options, style) }, told)
    }
    return { status, next: facts.nested }
  } catch (error) {
    bar.end()
    return { status: reportFailure(error, options, put), next: [] }
  }
}

function styleFor(
  command: AnsweredCommand,
  venv: Environment,
  options: VenvCommandOptions,
  strict: boolean,
): ReportStyle {
  const { env } = process
  const cwd = process.cwd()
  const target = targetOf(venv, env, cwd)
  return {
    chalk: colours(options.color, env).stdout,
    screen: screenOf(standardOutput, env),
    repair: venv.kind === 'folder' ? 'path' : command === 'check' ? 'venv' : command,
    pending: command === 'check' || options.dryRun === true,
    quiet: options.quiet === true,
    strict,
    details: null,
    target,
    remedies: (attributes, sonames) => {
      if (isWithoutNix(env)) return [{ where: 'to add them', text: systemRemedy(sonames) }]
      return remediesFor(attributes, target, options.keep === false ? null : findProjectFile(venv.root), cwd)
    },
  }
}

async function detailsFor(
  report: VenvReport | null,
  { verbose }: VenvCommandOptions,
  { chalk }: ReportStyle,
): Promise<RunDetails | null> {
  if (verbose !== true || report === null) return null
  const { runDetails } = await import('../report/run/run-details.ts')
  return runDetails(report, chalk)
}

/** @param told how many lines of the screen the warnings took */
function show(facts: RunFacts, style: ReportStyle, told: number): void {
  const screen = { ...style.screen, rows: style.screen.rows - told }
  writeLines(standardOutput, reportLines(facts, { ...style, screen }))
}

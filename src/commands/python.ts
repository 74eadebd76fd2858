// `wheelfix python`: gives another system's Python a loader of the Nix store.
import { resolve } from 'node:path'
import { isOurs, makeSteps, removeSteps } from '../private-loader/make-python.ts'
import { type StandaloneReport, standaloneSteps } from '../private-loader/standalone.ts'
import { count } from '../io/words.ts'
import { writeLines } from '../report/print.ts'
import { standardOutput } from '../report/terminal/output.ts'
import { installationOf } from '../python/installation.ts'
import { untilSignal } from './interruptible.ts'
import { writeDocument } from './shared/documents.ts'
import { reportFailure } from './shared/failure.ts'
import type { LibraryOptions, OutputOptions } from './shared/command-options.ts'
import type { ExitStatus } from './shared/status.ts'
import { warn } from './shared/warnings.ts'

export interface PythonCommandOptions extends LibraryOptions, OutputOptions {
  readonly libc?: string | undefined
  readonly loader?: boolean | undefined
  readonly make?: boolean | undefined
  readonly from?: string | undefined
  readonly update?: boolean | undefined
  readonly restore?: boolean | undefined
  readonly dryRun?: boolean | undefined
}

/** `wheelfix python DIR`: edits a Python, makes one with `--make`, or takes either back with `--restore`. */
export async function pythonCommand(directory: string, options: PythonCommandOptions): Promise<ExitStatus> {
  try {
    const report = await untilSignal(stepsOn(directory, options), () => LEFT)
    warn(report.warnings, options)
    if (options.json === true) writeDocument('python', documentOf(report))
    else if (options.quiet !== true) writeLines(standardOutput, linesOf(report))
    return 0
  } catch (error) {
    return reportFailure(error, options)
  }
}

const LEFT = 'each file is whole; the same command completes the work, and --restore undoes it'

function stepsOn(directory: string, options: PythonCommandOptions): Generator<undefined, StandaloneReport> {
  const { env } = process
  const cwd = process.cwd()
  const { libs, trust, scan, dryRun, restore, make, update = false, from = null } = options
  const common = { directory, libs, noScan: !scan, trust, env, cwd }
  if (make === true) return makeSteps({ ...common, from, update, mode: dryRun === true ? 'plan' : 'apply' })
  const isDry = dryRun === true
  if (restore === true && isOurs(resolve(cwd, directory))) return removeSteps({ directory, dryRun: isDry, env, cwd })
  const mode = restore === true ? (isDry ? 'plan-restore' : 'restore') : isDry ? 'plan' : 'apply'
  const edited = { ...common, directory: installationOf(directory, cwd) }
  return standaloneSteps({ ...edited, libc: options.libc ?? null, loader: options.loader === true, mode })
}

function documentOf({ root, version, pythons, status, libc, loader }: StandaloneReport) {
  return {
    root,
    ...(version === '' ? {} : { version }),
    pythons,
    status,
    ...(libc === null ? {} : { libc: { kind: libc.kind, version: libc.version, dir: libc.dir } }),
    ...(loader === null ? {} : { loader: { path: loader.loader, cache: loader.cache, how: loader.how } }),
  }
}

const VERBS = {
  fine: 'is in place',
  patch: 'would be set',
  patched: 'is set',
  restore: 'would be restored',
  restored: 'is restored',
} as const

function linesOf({ root, pythons, status, loader }: StandaloneReport): string[] {
  if (pythons.length === 0) return [root, 'wheelfix has changed nothing here: nothing to restore']
  const served =
    loader === null ? [] : [`its private loader finds ${count(loader.content.libraries.length, 'library name')}`]
  const lines = pythons.map(({ path, after }) =>
    after === ''
      ? `  ${path}: ${status === 'restore' ? 'would be removed' : 'removed'}`
      : `  ${path}: its loader ${VERBS[status]}: ${after}`,
  )
  return [root, ...lines, ...served]
}

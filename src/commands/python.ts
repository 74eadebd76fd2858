// `wheelfix python`: a Python of another system gets a loader of the Nix store.
import { runStandalone, type StandaloneReport } from '../private-loader/standalone.ts'
import { type ColourMode, colours } from '../report/colour.ts'
import { count } from '../io/words.ts'
import { writeLines, writeWarnings } from '../report/print.ts'
import { reportFailure } from './failure.ts'
import { SCHEMA } from '../report/schema.ts'
import type { ExitStatus } from './status.ts'

export interface PythonCommandOptions {
  readonly libc?: string | undefined
  readonly loader?: boolean | undefined
  readonly libs: readonly string[]
  /** False with --no-scan. */
  readonly scan: boolean
  readonly trust: readonly string[]
  readonly restore?: boolean | undefined
  readonly dryRun?: boolean | undefined
  readonly json?: boolean | undefined
  readonly quiet?: boolean | undefined
  readonly color: ColourMode
}

export function pythonCommand(directory: string, options: PythonCommandOptions): ExitStatus {
  const { env } = process
  const colour = colours(options.color, env)
  try {
    const report = runStandalone({
      directory,
      libc: options.libc ?? null,
      loader: options.loader === true,
      libs: options.libs,
      noScan: !options.scan,
      trust: options.trust,
      mode: options.restore === true ? 'restore' : options.dryRun === true ? 'plan' : 'apply',
      env,
      cwd: process.cwd(),
    })
    writeWarnings(report.warnings, colour.stderr, process.env)
    if (options.json === true) process.stdout.write(`${JSON.stringify(documentOf(report))}\n`)
    else if (options.quiet !== true) writeLines(process.stdout, linesOf(report))
    return 0
  } catch (error) {
    return reportFailure(error, options)
  }
}

function documentOf({ root, version, pythons, status, libc, loader }: StandaloneReport) {
  return {
    schema: SCHEMA,
    command: 'python',
    root,
    ...(version === '' ? {} : { version }),
    pythons,
    status,
    ...(libc === null ? {} : { libc: { kind: libc.kind, version: libc.version, dir: libc.dir } }),
    ...(loader === null ? {} : { loader: { path: loader.loader, cache: loader.cache, how: loader.how } }),
  }
}

const VERBS = { fine: 'is in place', patch: 'would be set', patched: 'is set', restored: 'is restored' } as const

function linesOf({ root, pythons, status, loader }: StandaloneReport): string[] {
  if (pythons.length === 0) return [root, 'wheelfix has changed nothing here: nothing to restore']
  const served =
    loader === null ? [] : [`its private loader finds ${count(loader.content.libraries.length, 'library name')}`]
  return [root, ...pythons.map(({ path, after }) => `  ${path}: its loader ${VERBS[status]}: ${after}`), ...served]
}

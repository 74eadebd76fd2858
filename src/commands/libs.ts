// `wheelfix libs`, `libs env` and `libs build`: the library set in force, as lines of a shell, and built by Nix.
import { type LibsReport, librarySearchPath, listLibraries } from '../inspect/library-set.ts'
import { builtSetLink } from '../state/lock.ts'
import { WheelfixError } from '../io/error.ts'
import { buildLibraries } from '../nix/build.ts'
import { findPolicy, POLICIES, POLICY_SOURCE } from '../nix/policies.ts'
import { type ColourMode, colours } from '../report/colour.ts'
import { libsLines } from '../report/libs-text.ts'
import { writeLines, writeWarnings } from '../report/print.ts'
import { findVenv } from '../python/pyvenv.ts'
import { targetPython } from '../wheel/run-wheels.ts'
import { reportFailure } from './failure.ts'
import { SCHEMA } from '../report/schema.ts'
import type { ExitStatus } from './status.ts'
import { venvCommand } from './venv.ts'

export interface LibsCommandOptions {
  readonly libs: readonly string[]
  /** False with --no-scan. */
  readonly scan: boolean
  readonly trust: readonly string[]
  readonly policy?: string
  readonly python?: string
  readonly json?: boolean
  readonly color: ColourMode
}

/** Status 1 where something is lacking that the venv needs, or that the named policy allows. */
export function libsCommand(argument: string | undefined, options: LibsCommandOptions): ExitStatus {
  try {
    const report = reportOf(argument, options)
    writeWarnings(report.warnings, colours(options.color, process.env).stderr)
    const counts = report.rows.filter(({ inUse }) => inUse || options.policy !== undefined)
    if (options.json === true) process.stdout.write(`${JSON.stringify(documentOf(report))}\n`)
    else writeLines(process.stdout, libsLines(report, colours(options.color, process.env).stdout))
    return counts.some(({ path }) => path === null) ? 1 : 0
  } catch (error) {
    return reportFailure(error, options.json === true)
  }
}

/** Prints what a POSIX shell is to evaluate. */
export function libsEnvCommand(argument: string | undefined, options: LibsCommandOptions): ExitStatus {
  try {
    const report = reportOf(argument, options)
    writeWarnings(report.warnings, colours(options.color, process.env).stderr)
    const path = `'${librarySearchPath(report).join(':').replaceAll("'", `'\\''`)}'`
    process.stdout.write(`export WHEELFIX_LIBS=${path}\nexport NIX_LD_LIBRARY_PATH=${path}\n`)
    return 0
  } catch (error) {
    return reportFailure(error)
  }
}

export interface LibsBuildOptions {
  readonly flake?: string
  readonly color: ColourMode
}

/** Builds the set, and has the venv take its libraries from there from now on. */
export async function libsBuildCommand(
  argument: string | undefined,
  options: LibsBuildOptions,
  version: string,
): Promise<ExitStatus> {
  try {
    const venv = findVenv({ argument, env: process.env, cwd: process.cwd() })
    const path = buildLibraries(options.flake ?? ownSet(process.env), builtSetLink(venv), process.env)
    process.stderr.write(`${path}/lib\n`)
    const { color } = options
    return await venvCommand(
      'venv',
      venv.root,
      { libs: [`${path}/lib`], scan: true, trust: [], ignoreMissing: [], color },
      version,
    )
  } catch (error) {
    return reportFailure(error)
  }
}

/** The set of the flake that this program was built from: its wrapper names it. */
function ownSet(env: NodeJS.ProcessEnv): string {
  const flake = env['WHEELFIX_FLAKE'] ?? ''
  if (flake === '') throw new WheelfixError('USAGE', 'name a library set: --flake REF (a flake output that has lib/)')
  return `${flake}#libs`
}

function reportOf(argument: string | undefined, options: LibsCommandOptions): LibsReport {
  const { env } = process
  const cwd = process.cwd()
  const venv = argument === undefined ? targetPython(options.python, env, cwd) : findVenv({ argument, env, cwd })
  const policy = options.policy === undefined ? null : findPolicy(options.policy)
  if (options.policy !== undefined && policy === null) {
    const known = POLICIES.map(({ name }) => name).join(' ')
    throw new WheelfixError('USAGE', `there is no policy ${options.policy} (known: ${known})`)
  }
  return listLibraries(venv, { libs: options.libs, noScan: !options.scan, trust: options.trust, policy, env, cwd })
}

function documentOf({ venv, python, rows }: LibsReport) {
  return {
    schema: SCHEMA,
    command: 'libs',
    venv: venv.root,
    python: {
      version: python.version,
      executable: python.program,
      libc: { kind: python.libc.kind, version: python.libc.version, dir: python.libc.dir },
    },
    policies: POLICY_SOURCE,
    libs: rows,
  }
}

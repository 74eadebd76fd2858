// `wheelfix libs`, `libs env` and `libs build`: the library set in force, as lines of a shell, and built by Nix.
import { type LibsReport, librarySearchPath, listLibraries } from '../inspect/library-set.ts'
import { builtSetLink } from '../state/lock.ts'
import { nearest } from '../io/words.ts'
import { WheelfixError } from '../io/error.ts'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { lookingOnly } from '../environment/options.ts'
import { buildLibraries, buildPackages } from '../nix/build.ts'
import { findProjectFile } from '../nix/project-file.ts'
import { keepRemedy } from '../report/remedies.ts'
import { attributesOf, factsOf } from '../report/run-facts.ts'
import { findPolicy, POLICIES, POLICY_SOURCE } from '../nix/policies.ts'
import { type ColourMode, colours } from '../report/colour.ts'
import { libsLines } from '../report/libs-text.ts'
import { writeLines, writeWarnings } from '../report/print.ts'
import { findVenv, type Venv } from '../python/pyvenv.ts'
import { targetPython } from '../python/named.ts'
import { workAsOwner } from './as-owner.ts'
import { reportFailure } from './failure.ts'
import { SCHEMA } from '../report/schema.ts'
import type { ExitStatus } from './status.ts'
import { venvCommand } from './venv.ts'

export interface LibsCommandOptions {
  readonly libs: readonly string[]
  /** False with --no-scan. */
  readonly scan: boolean
  readonly trust: readonly string[]
  readonly policy?: string | undefined
  readonly python?: string | undefined
  readonly json?: boolean | undefined
  readonly asRoot?: boolean | undefined
  readonly color: ColourMode
}

/** Status 1 where something is lacking that the venv needs, or that the named policy allows. */
export function libsCommand(argument: string | undefined, options: LibsCommandOptions): ExitStatus {
  try {
    const report = reportOf(argument, options)
    writeWarnings(report.warnings, colours(options.color, process.env).stderr, process.env)
    const counts = report.rows.filter(({ inUse }) => inUse || options.policy !== undefined)
    if (options.json === true) process.stdout.write(`${JSON.stringify(documentOf(report))}\n`)
    else writeLines(process.stdout, libsLines(report, colours(options.color, process.env).stdout))
    return counts.some(({ path }) => path === null) ? 1 : 0
  } catch (error) {
    return reportFailure(error, options)
  }
}

/** Prints what a POSIX shell is to evaluate. */
export function libsEnvCommand(argument: string | undefined, options: LibsCommandOptions): ExitStatus {
  try {
    const report = reportOf(argument, options)
    writeWarnings(report.warnings, colours(options.color, process.env).stderr, process.env)
    if (options.json === true) {
      process.stdout.write(
        `${JSON.stringify({ schema: SCHEMA, command: 'libs env', libs: librarySearchPath(report) })}\n`,
      )
      return 0
    }
    const path = `'${librarySearchPath(report).join(':').replaceAll("'", `'\\''`)}'`
    process.stdout.write(`export WHEELFIX_LIBS=${path}\nexport NIX_LD_LIBRARY_PATH=${path}\n`)
    return 0
  } catch (error) {
    return reportFailure(error)
  }
}

export interface LibsBuildOptions {
  readonly flake?: string | undefined
  readonly asRoot?: boolean | undefined
  /** Build what the environment misses. */
  readonly missing?: boolean | undefined
  readonly color: ColourMode
}

/**
 * Builds a library set, and has the environment take its libraries from there from now on.
 * @param words packages of nixpkgs, and the folder of the environment
 */
export async function libsBuildCommand(
  words: readonly string[],
  options: LibsBuildOptions,
  version: string,
): Promise<ExitStatus> {
  const { env } = process
  const cwd = process.cwd()
  try {
    const folders = words.filter(word => isFolder(word, cwd))
    if (folders.length > 1) throw new WheelfixError('USAGE', `name one environment, not ${folders.join(' and ')}`)
    const venv = findVenv({ argument: folders[0], env, cwd })
    workAsOwner(venv, options.asRoot)
    const named = words.filter(word => !folders.includes(word))
    const names = [...named, ...(options.missing === true ? await missingPackages(venv) : [])]
    if (options.missing === true && names.length === 0) {
      writeLines(process.stderr, ['nothing is missing that a package of nixpkgs is known to have'])
      return 0
    }
    const link = builtSetLink(venv)
    const flake = env['WHEELFIX_FLAKE'] ?? null
    const path =
      names.length === 0 || options.flake !== undefined
        ? buildLibraries(options.flake ?? ownSet(env), link, env)
        : buildPackages(names, flake, link, env)
    process.stderr.write(`${path}/lib\n`)
    const { color } = options
    const libs = [`${path}/lib`]
    const status = await venvCommand(
      'venv',
      [venv.root],
      { libs, scan: true, trust: [], ignoreMissing: [], ignore: [], color },
      version,
    )
    const project = names.length === 0 ? null : findProjectFile(venv.root)
    if (project !== null) writeLines(process.stderr, [`→ ${keepRemedy(names, project, cwd)}`])
    return status
  } catch (error) {
    return reportFailure(error)
  }
}

/** A word that means an environment, and not a package of nixpkgs. */
function isFolder(word: string, cwd: string): boolean {
  return word.includes('/') || /^\.\.?$/.test(word) || existsSync(join(cwd, word, 'pyvenv.cfg'))
}

/** The packages of nixpkgs that hold what the environment misses and needs. */
async function missingPackages(venv: Venv): Promise<readonly string[]> {
  const { runVenv } = await import('../environment/run.ts')
  const look = lookingOnly({ libs: [], noScan: false, trust: [], env: process.env, cwd: process.cwd() })
  return attributesOf(factsOf(runVenv(venv, look)), false)
}

/** The set of the flake that this program was built from: its wrapper names it. */
function ownSet(env: NodeJS.ProcessEnv): string {
  const flake = env['WHEELFIX_FLAKE'] ?? ''
  if (flake === '') {
    throw new WheelfixError(
      'USAGE',
      'name what to build: packages of nixpkgs (wheelfix libs build libGL), --missing, or a library set (--flake REF, a ' +
        'flake output that has lib/)',
    )
  }
  return `${flake}#libs`
}

function reportOf(argument: string | undefined, options: LibsCommandOptions): LibsReport {
  const { env } = process
  const cwd = process.cwd()
  if (argument !== undefined && !argument.includes('/') && !existsSync(join(cwd, argument))) {
    const [command] = nearest(argument, ['build', 'env'], 1)
    if (command !== undefined) {
      throw new WheelfixError('USAGE', `libs has no command ${argument}: did you mean wheelfix libs ${command}?`)
    }
  }
  const venv = argument === undefined ? targetPython(options.python, env, cwd) : findVenv({ argument, env, cwd })
  workAsOwner(venv, options.asRoot)
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

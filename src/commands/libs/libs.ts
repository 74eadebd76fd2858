// `wheelfix libs` and `libs env`: the library set in force, for a person and as lines of a shell.
import { type LibsReport, librarySearchPath, listLibrarySet } from '../../inspect/library-set.ts'
import { nearest } from '../../io/words.ts'
import { WheelfixError } from '../../io/error.ts'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { findPolicy, POLICIES, POLICY_SOURCE } from '../../nix/policies.ts'
import { colours } from '../../report/colour.ts'
import { libsLines } from '../../report/libs-text.ts'
import { writeLines } from '../../report/print.ts'
import { standardOutput } from '../../report/terminal/output.ts'
import { findVenv } from '../../python/pyvenv.ts'
import { targetPython } from '../../python/named.ts'
import { workAsOwner } from '../shared/as-owner.ts'
import { writeDocument } from '../shared/documents.ts'
import { reportFailure } from '../shared/failure.ts'
import { looking, type LibraryOptions, type OwnerOutputOptions } from '../shared/command-options.ts'
import type { ExitStatus } from '../shared/status.ts'
import { warn } from '../shared/warnings.ts'

export interface LibsCommandOptions extends LibraryOptions, OwnerOutputOptions {
  readonly policy?: string | undefined
  readonly python?: string | undefined
}

/**
 * Status 1: a library is missing that the venv needs, or that the named policy allows.
 * @param more the words after the first one; they have no meaning here
 */
export function libsCommand(
  argument: string | undefined,
  options: LibsCommandOptions,
  more: readonly string[],
): ExitStatus {
  try {
    const report = libsReport(argument, options, more)
    warn(report.warnings, options)
    const counts = report.rows.filter(({ inUse }) => inUse || options.policy !== undefined)
    if (options.json === true) writeDocument('libs', documentOf(report))
    else {
      const chalk = colours(options.color, process.env).stdout
      writeLines(standardOutput, libsLines(report, { chalk, verbose: options.verbose === true, env: process.env }))
    }
    return counts.some(({ path }) => path === null) ? 1 : 0
  } catch (error) {
    return reportFailure(error, options)
  }
}

/** Prints lines that a POSIX shell evaluates. */
export function libsEnvCommand(argument: string | undefined, options: LibsCommandOptions): ExitStatus {
  try {
    const report = libsReport(argument, options)
    warn(report.warnings, options)
    if (options.json === true) {
      writeDocument('libs env', { libs: librarySearchPath(report) })
      return 0
    }
    const path = `'${librarySearchPath(report).join(':').replaceAll("'", `'\\''`)}'`
    standardOutput.write(`export WHEELFIX_LIBS=${path}\nexport NIX_LD_LIBRARY_PATH=${path}\n`)
    return 0
  } catch (error) {
    return reportFailure(error, options)
  }
}

function libsReport(
  argument: string | undefined,
  options: LibsCommandOptions,
  more: readonly string[] = [],
): LibsReport {
  const { env } = process
  const cwd = process.cwd()
  if (argument !== undefined && !argument.includes('/') && !existsSync(join(cwd, argument))) {
    const [command] = nearest(argument, ['build', 'env'], 1)
    if (command !== undefined) {
      throw new WheelfixError('USAGE', `libs has no command ${argument}: did you mean wheelfix libs ${command}?`)
    }
  }
  if (more.length > 0) {
    const words = [argument, ...more].join(' ')
    throw new WheelfixError(
      'USAGE',
      `libs takes one folder, not ${words}; to build packages: wheelfix libs build ${words}`,
    )
  }
  const venv = argument === undefined ? targetPython(options.python, env, cwd) : findVenv({ argument, env, cwd })
  workAsOwner(venv, options.asRoot)
  const policy = options.policy === undefined ? null : findPolicy(options.policy)
  if (options.policy !== undefined && policy === null) {
    const known = POLICIES.map(({ name }) => name).join(' ')
    throw new WheelfixError('USAGE', `there is no policy ${options.policy} (known: ${known})`)
  }
  return listLibrarySet(venv, { ...looking(options), policy })
}

function documentOf({ venv, python, rows }: LibsReport) {
  return {
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

// The library set for a person: one line for each soname.
import type { ChalkInstance } from 'chalk'
import { count } from '../io/words.ts'
import { pasteFor } from '../inspect/by-name.ts'
import type { LibraryRow, LibsReport } from '../inspect/library-set.ts'
import { isWithoutNix } from '../nix/system-packages.ts'
import { shortHint } from '../resolve/problems/hint.ts'
import { SOURCE_WORDS } from './source-words.ts'

interface LibsStyle {
  readonly chalk: ChalkInstance
  readonly verbose: boolean
  readonly env: NodeJS.ProcessEnv
}

/** The lines of `wheelfix libs`: the libraries that are found, then those that are missing. */
export function libsLines({ venv, python, rows }: LibsReport, { chalk, verbose, env }: LibsStyle): string[] {
  const { libc } = python
  const served = rows.filter(({ path }) => path !== null)
  const lacking = rows.filter(({ path }) => path === null)
  const widthOf = (some: readonly LibraryRow[]) => Math.max(0, ...some.map(({ soname }) => soname.length))
  const lines = [
    chalk.bold(venv.root),
    chalk.dim(`Python ${python.version}  ${python.program}`),
    chalk.dim(`${libc.kind} ${libc.version ?? ''}  ${libc.dir}`),
    '',
    ...served.flatMap(row => [
      servedLine(row, widthOf(served), chalk),
      ...(verbose ? row.passedOver : []).map(clash => chalk.dim(`    skipped: ${clash}`)),
    ]),
  ]
  if (lacking.length > 0) {
    const isPlain = isWithoutNix(env)
    lines.push('', 'Missing')
    for (const { soname, hint, inUse } of lacking) {
      const mark = inUse ? chalk.red('✗') : chalk.dim('-')
      const command = isPlain && hint?.includes('nixpkgs') === true ? pasteFor([soname], env) : null
      const help = command ?? (verbose || hint === null ? hint : shortHint(hint))
      lines.push(`${mark} ${soname.padEnd(widthOf(lacking))}${help === null ? '' : `  ${help}`}`)
    }
  }
  return [...lines, '', `${count(served.length, 'soname')} found, ${lacking.length} missing`]
}

const WORDS = { ...SOURCE_WORDS, libc: 'the libc', system: "the system's own" } as const

function servedLine(
  { soname, path, package: name, version, source, inUse }: LibraryRow,
  width: number,
  chalk: ChalkInstance,
) {
  const what = name === null ? '' : `${name}${version === null ? '' : ` ${version}`}  `
  const words = source === null ? '' : WORDS[source]
  const mark = inUse ? chalk.green('✓') : chalk.dim('-')
  return `${mark} ${soname.padEnd(width)}  ${what}${chalk.dim(`${words}  ${path ?? ''}`)}`
}

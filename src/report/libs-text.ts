// The library set for a person: one line for each soname.
import type { ChalkInstance } from 'chalk'
import { count } from '../io/words.ts'
import type { LibraryRow, LibsReport } from '../inspect/library-set.ts'
import { shortHint } from '../resolve/problems/hint.ts'
import { SOURCE_WORDS } from './source-words.ts'

/** The lines of `wheelfix libs`: the libraries that are found, then those that are missing. */
export function libsLines(
  { venv, python, rows }: LibsReport,
  { chalk, verbose }: { readonly chalk: ChalkInstance; readonly verbose: boolean },
): string[] {
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
    lines.push('', 'Missing')
    for (const { soname, hint, inUse } of lacking) {
      const mark = inUse ? chalk.red('✗') : chalk.dim('-')
      lines.push(
        `${mark} ${soname.padEnd(widthOf(lacking))}${hint === null ? '' : `  ${verbose ? hint : shortHint(hint)}`}`,
      )
    }
  }
  return [...lines, '', `${count(served.length, 'soname')} found, ${lacking.length} missing`]
}

function servedLine(
  { soname, path, package: name, version, source, inUse }: LibraryRow,
  width: number,
  chalk: ChalkInstance,
) {
  const what = name === null ? '' : `${name}${version === null ? '' : ` ${version}`}  `
  const words = source === null ? '' : source === 'libc' ? 'the libc' : SOURCE_WORDS[source]
  const mark = inUse ? chalk.green('✓') : chalk.dim('-')
  return `${mark} ${soname.padEnd(width)}  ${what}${chalk.dim(`${words}  ${path ?? ''}`)}`
}

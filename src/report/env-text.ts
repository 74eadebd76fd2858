// The variables that help an environment, for a person and as lines of a shell.
import type { ChalkInstance } from 'chalk'
import { encodeText } from '../elf/text.ts'
import type { Variable } from '../inspect/variables/variables.ts'
import { wrap } from './screen.ts'

interface EnvStyle {
  readonly chalk: ChalkInstance
  /** Also show where each fact comes from. */
  readonly verbose: boolean
  readonly columns: number
}

/** The lines of `wheelfix env`. `root`: the environment. */
export function envLines(
  root: string,
  variables: readonly Variable[],
  { chalk, verbose, columns }: EnvStyle,
): string[] {
  const open = variables.some(({ current }) => current === null)
  return [
    chalk.bold(root),
    ...variables.flatMap(variable => ['', ...variableLines(variable, chalk, verbose)]),
    '',
    ...(variables.length === 0 ? [`${chalk.green('✓')} no variable would help`] : []),
    ...(open ? ['→ to set them in this shell: eval "$(wheelfix env --export)"'] : []),
  ].flatMap(line => wrap(line, columns, 4))
}

function variableLines({ name, value, reason, source, current }: Variable, chalk: ChalkInstance, verbose: boolean) {
  return [
    current === null
      ? `${name}=${quoted(value)}`
      : `${name} is already set, to ${quoted(current)}; ${quoted(value)} would help`,
    chalk.dim(`    ${reason}`),
    ...(verbose ? [chalk.dim(`    source: ${source}`)] : []),
  ]
}

/**
 * Lines that a POSIX shell evaluates. A comment before each line says why. A variable that is already set is only named
 * in a comment. The bytes of a path that is not UTF-8 do not change.
 */
export function exportLines(variables: readonly Variable[]): Buffer {
  const lines = variables.flatMap(({ name, value, reason, current }) =>
    current === null
      ? [comment(reason), `export ${name}=${quoted(value)}`]
      : [comment(`${reason}: ${name}=${quoted(value)} would help, but it is already set, to ${quoted(current)}`)],
  )
  return encodeText(lines.map(line => `${line}\n`).join(''))
}

/** A word of a POSIX shell. Inside single quotes only the quote itself is special. */
function quoted(value: string): string {
  return /^[\w@%+=:,./-]+$/.test(value) ? value : `'${value.replaceAll("'", `'\\''`)}'`
}

/** A comment ends with its line, so a line end in a path must not get into it. */
function comment(text: string): string {
  return `# ${text.replaceAll(/\p{Cc}/gu, '?')}`
}

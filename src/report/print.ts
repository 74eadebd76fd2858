// What goes to the terminal. A wheel chooses the names of its files, and a name may hold a line end or an escape sequence:
// neither may move the cursor of the reader or make a line of its own.
import type { ChalkInstance } from 'chalk'

/** Writes lines; of control characters only those that set a colour reach the stream, and those not where `plain`. */
export function writeLines(stream: NodeJS.WriteStream, lines: readonly string[], plain = false): void {
  if (lines.length > 0) stream.write(lines.map(line => `${visible(line, plain)}\n`).join(''))
}

/** One line each on stderr. */
export function writeWarnings(warnings: readonly string[], chalk: ChalkInstance): void {
  writeLines(
    process.stderr,
    warnings.map(warning => `${chalk.yellow('warning:')} ${warning}`),
  )
}

/** Control characters as `\x1b`; colours (SGR, ECMA-48 8.3.117) stay or go. */
function visible(line: string, plain: boolean): string {
  return line.replaceAll(/\p{Cc}(?:\[[\d;]*m)?/gu, found => {
    if (found.startsWith('\x1b[')) return plain ? '' : found
    return `\\x${found.charCodeAt(0).toString(16).padStart(2, '0')}${found.slice(1)}`
  })
}

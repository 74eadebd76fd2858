// Writes to the terminal. A wheel chooses the names of its files. A name may hold a line end, an escape sequence or a
// character that changes the direction of the text. Such a name must not move the cursor, hide text, or begin a new line.
import type { ChalkInstance } from 'chalk'
import { screenOf, wrap } from './screen.ts'
import { type Output, standardError } from './terminal/output.ts'

/** Writes lines. Only control characters that set a colour reach the stream. With `plain` they do not either. */
export function writeLines(output: Output, lines: readonly string[], plain = false): void {
  if (lines.length > 0) output.write(lines.map(line => `${visible(line, plain)}\n`).join(''))
}

/** Writes each warning on stderr, as wide as the terminal. @returns the number of lines that they took */
export function writeWarnings(warnings: readonly string[], chalk: ChalkInstance, env: NodeJS.ProcessEnv): number {
  const { columns } = screenOf(standardError, env)
  const lines = warnings.flatMap(warning => wrap(`${chalk.yellow('warning:')} ${warning}`, columns, HANGING))
  writeLines(standardError, lines)
  return lines.length
}

const HANGING = 4

/**
 * Shows control characters in the form `\x1b`, and characters for directions and lines in the form `\u202e`. The styles of
 * reports (bold, dim, red, green, yellow; SGR, ECMA-48 8.3.117) stay, or are removed with `plain`. Other styles are shown as
 * text, because some hide text.
 */
function visible(line: string, plain: boolean): string {
  return line.replaceAll(OF_NO_TEXT, found => {
    if (found.startsWith('\x1b[')) return plain ? '' : found
    const code = found.charCodeAt(0)
    const escaped = code < 0x100 ? `\\x${code.toString(16).padStart(2, '0')}` : `\\u${code.toString(16)}`
    return escaped + found.slice(1)
  })
}

const OF_NO_TEXT = /\p{Cc}(?:\[(?:[12]|22|3[1239])m)?|[\p{Bidi_Control}\p{Zl}\p{Zp}]/gu

// What goes to the terminal. A wheel chooses the names of its files, and a name may hold a line end, an escape sequence or a
// character that turns the direction of the text: none may move the cursor, hide a part, or make a line of its own.
import type { ChalkInstance } from 'chalk'
import { screenOf, wrap } from './layout.ts'

/** Writes lines; of control characters only those that set a colour reach the stream, and those not where `plain`. */
export function writeLines(stream: NodeJS.WriteStream, lines: readonly string[], plain = false): void {
  if (lines.length > 0) stream.write(lines.map(line => `${visible(line, plain)}\n`).join(''))
}

/** Each on stderr, as wide as the terminal. @returns how many lines that took */
export function writeWarnings(warnings: readonly string[], chalk: ChalkInstance, env: NodeJS.ProcessEnv): number {
  const { columns } = screenOf(process.stderr, env)
  const lines = warnings.flatMap(warning => wrap(`${chalk.yellow('warning:')} ${warning}`, columns, HANGING))
  writeLines(process.stderr, lines)
  return lines.length
}

const HANGING = 4

/**
 * Control characters as `\x1b`, those of the direction and of lines as `\u202e`. The styles that reports use (bold, dim, red,
 * green, yellow; SGR, ECMA-48 8.3.117) stay or go. Others are shown: some hide text.
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

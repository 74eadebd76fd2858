// The message of a command that could do nothing: one sentence on stderr, or one JSON document on stdout.
import { errnoOf, systemReason, WheelfixError } from '../../io/error.ts'
import { withNames } from '../../io/write/folder.ts'
import { type ColourMode, colours } from '../../report/colour.ts'
import { screenOf, wrap } from '../../report/screen.ts'
import { writeLines } from '../../report/print.ts'
import { SCHEMA } from '../../report/schema.ts'
import { standardError } from '../../report/terminal/output.ts'
import { printDocument, type PutDocument } from './several.ts'
import type { ExitStatus } from './status.ts'

/** The options of a command that decide how an error is printed. */
export interface FailureOptions {
  readonly json?: boolean | undefined
  readonly color?: ColourMode
}

/**
 * Prints the sentence of an expected error and returns status 2.
 * @param put receives the document when it is not printed at once
 * @throws any other error: a bug
 */
export function reportFailure(
  error: unknown,
  { json, color }: FailureOptions = {},
  put: PutDocument = printDocument,
): ExitStatus {
  const { code, message, path } = expected(error)
  if (json === true) {
    const document = { schema: SCHEMA, error: { code, message, ...(path === undefined ? {} : { path }) } }
    put(document)
  } else writeError(message, color)
  return 2
}

/** One shape for every error: `error: what is wrong, where, what to do`. */
export function writeError(message: string, color: ColourMode = 'auto'): void {
  const { red } = colours(color, process.env).stderr
  const { columns } = screenOf(standardError, process.env)
  writeLines(standardError, wrap(`${red('error:')} ${message}`, columns, 4))
}

/** The sentence of an expected error. @throws any other error: a bug */
export function sentenceOf(error: unknown): string {
  return expected(error).message
}

/**
 * Turns an error of the file system that no other code expected (a full disk, a folder without permission) into an expected
 * error, because it is not a bug.
 */
function expected(error: unknown): WheelfixError {
  if (error instanceof WheelfixError) return error
  const errno = errnoOf(error)
  if (errno === undefined || !(error instanceof Error)) throw error
  const path = 'path' in error && typeof error.path === 'string' ? withNames(error.path) : undefined
  const what = systemReason(errno)
  return new WheelfixError('IO', path === undefined ? what : `${path}: ${what}`, path)
}

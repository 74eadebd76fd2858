// What a command that could do nothing says: one sentence on stderr, or one JSON document on stdout.
import { WheelfixError } from '../io/error.ts'
import type { ExitStatus } from './status.ts'

/** Prints the sentence of an expected error and gives status 2. @throws anything that is not one: a bug */
export function reportFailure(error: unknown, json = false): ExitStatus {
  if (!(error instanceof WheelfixError)) throw error
  if (json) {
    const { code, message, path } = error
    process.stdout.write(
      `${JSON.stringify({ schema: 'wheelfix/1', error: { code, message, ...(path === undefined ? {} : { path }) } })}\n`,
    )
  } else process.stderr.write(`wheelfix: ${error.message}\n`)
  return 2
}

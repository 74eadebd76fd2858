// What a test needs beyond Node and Python. Where it is missing, the test is skipped. scripts/test.mjs prints and counts
// every skipped test with its reason. In CI (CI=true) all of it is installed, and a skipped test is a failure, except where
// `inapplicable` gave the reason.
import { appendFileSync, accessSync, constants } from 'node:fs'
import { delimiter, join } from 'node:path'

/** Where a program of that name is on PATH, else undefined. */
export function which(program: string): string | undefined {
  for (const folder of (process.env['PATH'] ?? '').split(delimiter)) {
    const path = join(folder, program)
    try {
      accessSync(path, constants.X_OK)
      return path
    } catch {
      // not there: the next folder
    }
  }
  return undefined
}

/**
 * The `skip` option of a test: false when every program is there, else the reason.
 * @throws Error in CI, so that nothing is silently left out there
 */
export function missing(...programs: readonly string[]): string | false {
  const absent = programs.filter(program => which(program) === undefined)
  return absent.length === 0 ? false : skip(`needs ${absent.join(', ')}`)
}

/** Gives the reason of a skip for want of something. @throws Error in CI */
export function skip(reason: string): string {
  if (process.env['CI'] === 'true') throw new Error(`in CI nothing may be skipped: ${reason}`)
  return reason
}

/** Gives the reason of a skip that no installed tool prevents. CI accepts it. */
export function inapplicable(reason: string): string {
  const accepted = process.env['WHEELFIX_ACCEPTED_SKIPS']
  if (accepted !== undefined) appendFileSync(accepted, `${reason}\n`)
  return reason
}

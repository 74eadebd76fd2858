// What a test needs beyond Node and Python. Where it is missing the test is skipped, with the reason printed and counted;
// in CI (CI=true), where all of it is installed, a skip for want of a tool is a failure.
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

/** Records a skip for want of something and gives its reason. @throws Error in CI */
export function skip(reason: string): string {
  if (process.env['CI'] === 'true') throw new Error(`in CI nothing may be skipped: ${reason}`)
  const notes = process.env['WHEELFIX_TEST_SKIPS']
  if (notes !== undefined) appendFileSync(notes, `${reason}\n`)
  return reason
}

// The warnings of a command, on stderr. Without --verbose they take few lines, because the report must fit the same screen.
import { count } from '../../io/words.ts'
import { colours } from '../../report/colour.ts'
import { writeWarnings } from '../../report/print.ts'
import { foldSkipped, withoutSkipped } from '../../resolve/trust-warnings.ts'
import type { OutputOptions } from './command-options.ts'

/** The most warnings that are shown without --verbose. */
const MOST_WARNINGS = 2

/**
 * @param isComplete nothing is missing that counts
 * @returns how many lines the warnings took
 */
export function warn(warnings: readonly string[], { verbose, json, color }: OutputOptions, isComplete = false): number {
  const told = verbose === true || json === true ? warnings : shortWarnings(warnings, isComplete)
  return writeWarnings(told, colours(color, process.env).stderr, process.env)
}

/**
 * At most two warnings. The packages that were skipped share one, and another one counts those that are left out. Where
 * nothing is missing, the skipped packages are left out too: nobody has to do anything.
 */
export function shortWarnings(warnings: readonly string[], isComplete = false): readonly string[] {
  const short = isComplete ? withoutSkipped(warnings) : foldSkipped(warnings)
  if (short.length <= MOST_WARNINGS) return short
  return [
    ...short.slice(0, MOST_WARNINGS - 1),
    `${count(short.length - MOST_WARNINGS + 1, 'more warning')} (-v shows all)`,
  ]
}

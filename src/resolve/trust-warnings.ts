// The warnings about packages of the store that the scan did not take. A run with nothing to do needs only this of the scan.
import { fileNameOf } from '../io/path.ts'
import type { StoreTrust } from '../nix/trust/trust.ts'

/** The warnings about packages that the scan did not take. */
export function trustWarnings({ passedOver, refusalOf, problem }: StoreTrust): string[] {
  const silence = problem()
  return silence !== null ? [silence] : passedOver().map(path => `${SKIPPED}${path}: ${refusalOf(path)}`)
}

const SKIPPED = 'skipped '

/** The warnings for a short report: one line, the last, for all skipped packages, because each of their warnings is long. */
export function foldSkipped(warnings: readonly string[]): readonly string[] {
  const skipped = warnings.filter(text => text.startsWith(SKIPPED))
  const [only] = skipped
  if (only === undefined) return warnings
  const path = only.slice(SKIPPED.length).split(':', 1)[0] ?? ''
  const line =
    skipped.length === 1
      ? `${SKIPPED}${packageName(path)} of the store, because nothing shows who put it there; to use it: --trust ${path}`
      : `${SKIPPED}${skipped.length} packages of the store, because nothing shows who put them there (-v lists them)`
  return [...warnings.filter(text => !skipped.includes(text)), line]
}

/** The warnings that are not about skipped packages. */
export function withoutSkipped(warnings: readonly string[]): readonly string[] {
  return warnings.filter(text => !text.startsWith(SKIPPED))
}

/** The name of a store path without its hash. */
function packageName(storePath: string): string {
  return fileNameOf(storePath).replace(/^[0-9a-z]{32}-/, '')
}

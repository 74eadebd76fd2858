// The scan of the Nix store as a source of libraries for one interpreter, and the rule that decides which packages are
// taken.
import { type StoreScanner, storeScanner } from '../nix/scan.ts'
import { storeDirectory } from '../nix/store.ts'
import { namedStorePaths, type StoreTrust, storeTrust } from '../nix/trust/trust.ts'
import type { PythonProcess } from './python-process.ts'

/** The options that a command gives its user for the scan. */
export interface ScanOptions {
  readonly noScan: boolean
  /** Packages of the store that the scan may take, no matter who put them there. */
  readonly trust: readonly string[]
  readonly env: NodeJS.ProcessEnv
}

interface ScanSources {
  readonly scan: StoreScanner
  readonly trust: StoreTrust
}

/**
 * @param wanted the sonames that the caller may ask for
 * @throws WheelfixError `USAGE` for a `--trust` outside the store
 */
export function scanSources(python: PythonProcess, options: ScanOptions, wanted: Iterable<string>): ScanSources {
  const { env } = options
  const trust = storeTrust({ env, interpreter: filesOf(python), named: namedStorePaths(options.trust, env) })
  return { trust, scan: options.noScan ? () => [] : storeScanner({ store: storeDirectory(env), env, trust }, wanted) }
}

/** The warnings about packages that the scan did not take. */
export function trustWarnings({ passedOver, refusalOf, problem }: StoreTrust): string[] {
  const silence = problem()
  return silence !== null ? [silence] : passedOver().map(path => `passed over ${path}: ${refusalOf(path)}`)
}

function filesOf({ interpreter, libc, process, closure }: PythonProcess): string[] {
  const chain = interpreter.chain.map(({ path }) => path)
  const maps = process.maps.map(({ path }) => path)
  return [...chain, interpreter.program, libc.ldso, libc.dir, ...maps, ...closure]
}

// The scan of the Nix store as a source of libraries for one interpreter, with the judge of whose packages are taken.
import { type StoreScanner, storeScanner } from '../nix/scan.ts'
import { storeDirectory } from '../nix/store.ts'
import { namedStorePaths, type StoreTrust, storeTrust } from '../nix/trust/trust.ts'
import type { PythonProcess } from './python-process.ts'

/** What a command lets its user say about the scan. */
export interface ScanOptions {
  readonly noScan: boolean
  /** Packages of the store to take whoever put them there. */
  readonly trust: readonly string[]
  readonly env: NodeJS.ProcessEnv
}

interface ScanSources {
  readonly scan: StoreScanner
  readonly trust: StoreTrust
}

/**
 * @param wanted the sonames that may be asked for
 * @throws WheelfixError `USAGE` for a `--trust` outside of the store
 */
export function scanSources(python: PythonProcess, options: ScanOptions, wanted: Iterable<string>): ScanSources {
  const { env } = options
  const trust = storeTrust({ env, interpreter: filesOf(python), named: namedStorePaths(options.trust, env) })
  return { trust, scan: options.noScan ? () => [] : storeScanner({ store: storeDirectory(env), env, trust }, wanted) }
}

/** What is told about the packages that were passed over. */
export function trustWarnings({ passedOver, refusalOf, problem }: StoreTrust): string[] {
  const silence = problem()
  return silence !== null ? [silence] : passedOver().map(path => `passed over ${path}: ${refusalOf(path)}`)
}

function filesOf({ interpreter, libc, process, closure }: PythonProcess): string[] {
  const chain = interpreter.chain.map(({ path }) => path)
  const maps = process.maps.map(({ path }) => path)
  return [...chain, interpreter.program, libc.ldso, libc.dir, ...maps, ...closure]
}

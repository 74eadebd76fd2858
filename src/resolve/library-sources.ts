// The sources of libraries for one interpreter: the named directories, then the scan of the Nix store, with the rule that
// decides which packages are taken.
import { type LibraryDirectories, namedDirectories, type Pin } from '../nix/libset.ts'
import { type StoreScanner, storeScanner } from '../nix/scan-store.ts'
import { storeDirectory } from '../nix/store.ts'
import { namedStorePaths, type StoreTrust, storeTrust } from '../nix/trust/trust.ts'
import type { ProviderSources } from './providers.ts'
import type { PythonProcess } from './python-process.ts'

/** The options that a command gives its user for the scan. */
interface ScanOptions {
  readonly noScan: boolean
  /** Packages of the store that the scan may take, no matter who put them there. */
  readonly trust: readonly string[]
  readonly env: NodeJS.ProcessEnv
}

/** The options that a command gives its user for all sources. */
export interface SourceOptions extends ScanOptions {
  /** The directories of `--libs`, as lists. */
  readonly libs: readonly string[]
  /** The library set that `libs build` made for this environment. */
  readonly built?: readonly string[]
  /** The base of relative directories. */
  readonly cwd: string
}

/** What a configuration says about libraries. */
interface SourceConfig {
  /** The configuration file. */
  readonly path: string | null
  readonly libs: readonly string[]
  readonly noScan: boolean
}

interface LibrarySources {
  readonly sources: ProviderSources
  readonly named: LibraryDirectories
}

/**
 * All sources of libraries. The scan reads `wanted`, the sonames that the caller may ask for, at the first question.
 * @throws WheelfixError for a directory that cannot be used, and `USAGE` for a `--trust` outside the store
 */
export function librarySources(
  python: PythonProcess,
  options: SourceOptions,
  wanted: Iterable<string>,
  config: SourceConfig | null = null,
  pins: ReadonlyMap<string, Pin> = new Map(),
): LibrarySources {
  const { env, cwd, libs, built = [] } = options
  const store = storeDirectory(env)
  const named = namedDirectories({
    flags: libs,
    built,
    config: config?.libs ?? [],
    configFile: config?.path ?? null,
    closure: python.closure,
    env,
    cwd,
    store,
  })
  const noScan = options.noScan || config?.noScan === true
  const scan = scanSources(python, { ...options, noScan }, wanted)
  return { named, sources: { directories: named.directories, pins, ...scan, store } }
}

interface ScanSources {
  readonly scan: StoreScanner
  readonly trust: StoreTrust
}

function scanSources(python: PythonProcess, options: ScanOptions, wanted: Iterable<string>): ScanSources {
  const { env } = options
  const trust = storeTrust({ env, interpreter: filesOf(python), named: namedStorePaths(options.trust, env) })
  return { trust, scan: options.noScan ? () => [] : storeScanner({ store: storeDirectory(env), env, trust }, wanted) }
}

function filesOf({ interpreter, libc, process, closure }: PythonProcess): string[] {
  const chain = interpreter.chain.map(({ path }) => path)
  const maps = process.maps.map(({ path }) => path)
  return [...chain, interpreter.program, libc.ldso, libc.dir, ...maps, ...closure]
}

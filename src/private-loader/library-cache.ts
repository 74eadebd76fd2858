// The content of the private loader's cache: every library of the library set, under each name that a program may use, and
// the graphics driver's libraries. It holds no linker scripts and nothing from /usr. It also leaves out the libc, because a
// process has only one libc.
import type { ElfObject } from '../elf/types.ts'
import { isLibraryName } from '../io/path.ts'
import { fits } from '../ldso/fits.ts'
import { isLibcFamily } from '../ldso/libc.ts'
import { lookUpCache, readLoaderCache } from '../ldso/cache/cache.ts'
import { type NewCacheEntry, writeLoaderCache } from '../ldso/cache/cache-writer.ts'
import type { LibrarySource } from '../nix/libset.ts'
import { DRIVER_NAMES, driverDirectory, isDriverLibrary, NIXOS_DRIVER } from '../resolve/drivers.ts'
import { chooseProvider, type Clash, type Provider, type ProviderSources } from '../resolve/providers.ts'
import type { PythonProcess } from '../resolve/python-process.ts'

/** One name in the cache. */
export interface CachedLibrary extends NewCacheEntry {
  readonly source: LibrarySource | 'driver'
  /** DT_SONAME of the file, when it was read. */
  readonly named?: string | null
}

export interface CacheContent {
  /** The libraries, by name. */
  readonly libraries: readonly CachedLibrary[]
  readonly clashes: readonly Clash[]
}

/**
 * Chooses a file for every name. It takes all libraries in the directories of the library set, and the `wanted` libraries
 * from the scan of the store.
 * @param wanted sonames, each with the objects that need it
 * @param driver the folder of the graphics driver. On NixOS it is a link that follows the driver, so its path stays right
 * even while the folder is absent
 */
export function collectLibraries(
  python: PythonProcess,
  sources: ProviderSources,
  wanted: ReadonlyMap<string, readonly ElfObject[]>,
  driver = driverDirectory() ?? NIXOS_DRIVER,
): CacheContent {
  const { tree, libc } = python.loader
  const clashes: Clash[] = []
  const chosen = new Map<string, CachedLibrary>()
  const providers: Provider[] = []
  const listed = sources.directories.flatMap(directory => [...directory.names])
  const names = new Set([...listed, ...sources.pins.keys(), ...wanted.keys()])
  for (const name of [...names].sort()) {
    if (!isLibraryName(name) || name.includes('/')) continue
    if (isLibcFamily(name, libc.kind) || isDriverLibrary(name)) continue
    const choice = chooseProvider(name, wanted.get(name) ?? [], python, sources)
    if (choice.clashes.length > 0) clashes.push({ soname: name, reasons: choice.clashes })
    if (choice.provider === null || isLibcFamily(choice.provider.object.soname ?? '', libc.kind)) continue
    providers.push(choice.provider)
    const { path, source, object } = choice.provider
    chosen.set(name, { soname: name, path, source, named: object.soname })
  }
  const variants: CachedLibrary[] = []
  for (const { soname, path, directory, object, source } of providers) {
    if (object.soname !== null && !chosen.has(object.soname)) {
      chosen.set(object.soname, { soname: object.soname, path, source })
    }
    const capabilities = `${directory}/glibc-hwcaps`
    for (const hwcapName of tree.names(directory).has('glibc-hwcaps') ? tree.names(capabilities) : []) {
      const variant = `${capabilities}/${hwcapName}/${soname}`
      const better = tree.names(`${capabilities}/${hwcapName}`).has(soname) ? tree.open(variant)?.object : null
      if (better != null && fits(better, object)) variants.push({ soname, path: variant, hwcapName, source })
    }
  }
  for (const soname of [...DRIVER_NAMES, ...tree.names(driver)]) {
    if (!isDriverLibrary(soname) || chosen.has(soname)) continue
    chosen.set(soname, { soname, path: `${driver}/${soname}`, source: 'driver' })
  }
  const libraries = [...chosen.values(), ...variants].sort(
    (a, b) => compare(a.soname, b.soname) || compare(a.path, b.path),
  )
  return { libraries, clashes }
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}

/**
 * The bytes of a cache for this interpreter's loader, and the names that the loader's search would not find in this cache.
 */
export function cacheOf(content: CacheContent, python: PythonProcess): { bytes: Uint8Array; unreachable: string[] } {
  const { header } = python.interpreter.object
  const bytes = writeLoaderCache(content.libraries, header)
  const entries = readLoaderCache(bytes)
  const unreachable = content.libraries
    .filter(({ soname, path, hwcapName }) => hwcapName == null && lookUpCache(entries, soname, header, []) !== path)
    .map(({ soname }) => soname)
  return { bytes, unreachable }
}

/** The libraries that the cache takes from the library set. The next run must take the same ones. */
export function servedLibraries({
  libraries,
}: CacheContent): { soname: string; path: string; source: LibrarySource }[] {
  return libraries.flatMap(({ soname, path, source, hwcapName }) =>
    source === 'driver' || hwcapName != null ? [] : [{ soname, path, source }],
  )
}

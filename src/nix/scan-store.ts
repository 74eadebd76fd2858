// The scan of the local Nix store: which store paths hold a soname, without an evaluation of nixpkgs. It compares names
// first, and then looks into a bounded number of lib folders. It opens no library: the caller takes the first file that
// fits.
import { existsSync, readdirSync, statSync } from 'node:fs'
import { errnoOf } from '../io/error.ts'
import { fsPath, isInside, namesIn, realPath } from '../io/path.ts'
import { invalidPaths } from './daemon/database.ts'
import { isDriverHint, packageNames } from './hints.ts'
import type { LibraryCandidate } from './libset.ts'
import type { StoreTrust } from './trust/trust.ts'
import { compareVersions, parseStoreName, storePathOf, versionDash } from './store.ts'

/** A file of the store that may serve a soname. */
interface ScanCandidate extends LibraryCandidate {
  readonly source: 'scan'
  /** The name of its store path without the version: `gcc`. */
  readonly package: string
  /** `14.2.1.20250322`; empty when the name has no version. */
  readonly version: string
}

interface ScanContext {
  /** The store's folder. */
  readonly store: string
  readonly env: NodeJS.ProcessEnv
  /** Receives the candidates. The caller asks later whether one may be taken. */
  readonly trust?: Pick<StoreTrust, 'expect'>
}

/** Returns the candidates of one soname, in order of preference. */
export type StoreScanner = (soname: string) => readonly ScanCandidate[]

/**
 * The most store paths whose lib folders are listed, for sonames that match no package name. In a store of 100,000 entries
 * this took 0.3 s of processor time with a warm cache, on a busy machine with two cores. The names alone take half of that
 * (0.15 s, listing included).
 */
const MAX_LISTED = 20_000
/**
 * The most store paths of the right name that are examined for one soname: a store may hold dozens of old versions of zlib.
 */
const MAX_PER_NAME = 64
/** The most candidates that the caller gets for one soname. */
const MAX_CANDIDATES = 24

/** Ends of names that no package has: derivations, locks, sources, patches, scripts, and files that only a build needs. */
const NO_PACKAGE = new Set(
  (
    '.drv .lock .chroot .patch .diff .gz .xz .bz2 .zst .lzma .zip .tgz .gem .crate .nar .sh .py .nix .json .conf ' +
    '.service .ttf -source -src -hook -completions -fonts -font -theme -vendor'
  ).split(' '),
)
/** Outputs without libraries to load. Debug files have the same names and sonames as the libraries. */
const NO_LIBRARIES = new Set([
  'dev',
  'man',
  'doc',
  'devdoc',
  'devman',
  'info',
  'debug',
  'static',
  'stubs',
  'include',
  'samples',
])
/**
 * Link farms: packages of many links to other packages' files. The libraries' own packages are better, so link farms come
 * last.
 */
const LINK_FARM =
  /(?:^|[-_])(?:env|system-path|manylinux\w*|profile|lb-library-path|fhs|rootfs|user-environment|graphics-drivers|sw)$/

/** Packages of a language's own modules, and NixOS's own packages. Each is a file tree without a library. */
const LANGUAGE =
  /^(?:python\d[\d.]*|perl\d[\d.]*|ghc|ruby\d[\d.]*|unit|etc|nixos|system|home-manager|vimplugin|emacs|texlive)(?:-|$)/

/** A store path by its name. */
interface Entry {
  readonly basename: string
  /** The package's name in lower case, because nixpkgs renames libX11 to libx11. */
  readonly key: string
}

/**
 * A scanner of the store. It lists the store once, at the first question. It looks into lib folders only for a soname that
 * matches no package name. The candidates come in order of preference: names in the data before guessed names, packages
 * before link farms, the newest version first, ties by path. If Nix's database can be asked, a path that it does not know
 * is left out: a copy that was never registered, or a path that a collection is removing.
 * @param expected the sonames that the caller may ask for. They are looked up together, with one question to the database.
 * The scanner reads this list at the first question for a soname that it does not know yet, so the caller may add sonames
 * until then
 */
export function storeScanner(context: ScanContext, expected: Iterable<string> = []): StoreScanner {
  const { store } = context
  const known = new Map<string, readonly ScanCandidate[]>()
  let entries: readonly Entry[] | undefined
  let folders: Map<string, readonly Package[]> | undefined
  const remember = (found: ReadonlyMap<string, ScanCandidate[]>) => {
    for (const [soname, list] of onlyValid(found, context)) {
      known.set(soname, list)
      context.trust?.expect(list.map(({ path }) => path))
    }
  }
  // each step covers all expected sonames, so that the database is asked once for each step
  const unasked = new Set<string>()
  const unnamed = new Set<string>()
  const askNames = () => {
    for (const name of expected) if (isWanted(name) && !known.has(name) && !unnamed.has(name)) unasked.add(name)
    entries ??= readEntries(store)
    remember(searchNames([...unasked], entries, store))
    for (const name of unasked) if (!known.has(name)) unnamed.add(name)
    unasked.clear()
  }
  const askFolders = () => {
    folders ??= listFolders(entries ?? [], store)
    remember(searchFolders([...unnamed], folders, store))
    for (const name of unnamed) if (!known.has(name)) known.set(name, [])
    unnamed.clear()
  }
  return soname => {
    if (!isWanted(soname)) return []
    if (!known.has(soname) && !unnamed.has(soname)) {
      unasked.add(soname)
      askNames()
    }
    if (unnamed.has(soname)) askFolders()
    return known.get(soname) ?? []
  }
}

/** Is this a soname that packages of the store can serve? */
function isWanted(soname: string): boolean {
  return !soname.includes('/') && !isDriverHint(soname)
}

/** The candidates of several sonames (see `storeScanner`). Sonames without candidates are left out. */
export function scanStore(sonames: readonly string[], context: ScanContext): Map<string, readonly ScanCandidate[]> {
  const scan = storeScanner(context, sonames)
  const found = sonames.map((soname): [string, readonly ScanCandidate[]] => [soname, scan(soname)])
  return new Map(found.filter(([, list]) => list.length > 0))
}

/** The packages of the store by name: one directory listing, no status calls. */
function readEntries(store: string): Entry[] {
  let names: string[]
  try {
    names = readdirSync(fsPath(store))
  } catch (error) {
    if (errnoOf(error) === undefined) throw error
    return []
  }
  const entries: Entry[] = []
  for (const basename of names) {
    // the shortest name of a store path has 32 characters of the hash, a dash and one more character
    if (basename.length < 34 || basename[32] !== '-') continue
    const end = Math.max(basename.lastIndexOf('.'), basename.lastIndexOf('-'))
    if (NO_PACKAGE.has(basename.slice(end))) continue
    const whole = basename.slice(33)
    const dash = versionDash(whole)
    entries.push({ basename, key: (dash === -1 ? whole : whole.slice(0, dash)).toLowerCase() })
  }
  return entries
}

function searchNames(
  wanted: readonly string[],
  entries: readonly Entry[],
  store: string,
): Map<string, ScanCandidate[]> {
  const names = new Map(wanted.map(soname => [soname, packageNames(soname)]))
  const keys = new Set([...names.values()].flat())
  const byName = new Map<string, Entry[]>()
  for (const entry of entries) {
    if (!keys.has(entry.key)) continue
    const list = byName.get(entry.key)
    if (list === undefined) byName.set(entry.key, [entry])
    else list.push(entry)
  }
  const found = new Map<string, ScanCandidate[]>()
  for (const [soname, keysOfSoname] of names) {
    const list = keysOfSoname.flatMap(key => {
      const packages = (byName.get(key) ?? []).flatMap(entry => asPackage(entry))
      const ordered = packages.sort(byPreference).slice(0, MAX_PER_NAME)
      return ordered.flatMap(item => candidatesIn(item, soname, store))
    })
    if (list.length > 0) found.set(soname, firstOfEachPath(list))
  }
  return found
}

function searchFolders(
  wanted: readonly string[],
  folders: ReadonlyMap<string, readonly Package[]>,
  store: string,
): Map<string, ScanCandidate[]> {
  const found = new Map<string, ScanCandidate[]>()
  for (const soname of wanted) {
    const packages = (folders.get(soname) ?? []).toSorted(byPreference).slice(0, MAX_PER_NAME)
    found.set(soname, firstOfEachPath(packages.flatMap(item => candidatesIn(item, soname, store))))
  }
  return found
}

interface Package {
  readonly basename: string
  readonly name: string
  readonly version: string
  readonly isFarm: boolean
}

function asPackage({ basename }: Entry): Package[] {
  const parsed = parseStoreName(basename)
  if (parsed === null || (parsed.output !== null && NO_LIBRARIES.has(parsed.output))) return []
  const { name, version } = parsed
  return [{ basename, name, version, isFarm: LINK_FARM.test(version === '' ? name : `${name}-${version}`) }]
}

function byPreference(a: Package, b: Package): number {
  if (a.isFarm !== b.isFarm) return a.isFarm ? 1 : -1
  const order = compareVersions(b.version, a.version)
  return order !== 0 ? order : a.basename < b.basename ? -1 : a.basename > b.basename ? 1 : 0
}

/** The folders of a package that hold its libraries. Stubs for linkers (lib/stubs) are not among them. */
const FOLDERS = ['lib', 'lib64'] as const

function candidatesIn(item: Package, soname: string, store: string): ScanCandidate[] {
  for (const folder of FOLDERS) {
    const path = `${store}/${item.basename}/${folder}/${soname}`
    if (existsSync(fsPath(path))) return candidateAt(path, soname, item, store)
  }
  return []
}

/**
 * The candidate for an existing file. Links are followed (lib64 → lib). When a link leads to another package that has the
 * soname too, that package is the candidate. So a pin names the package itself and not a link to it.
 */
function candidateAt(path: string, soname: string, { name, version }: Package, store: string): ScanCandidate[] {
  try {
    const real = realPath(path)
    const realStore = resolvedStore(store)
    if (!isInside(real, realStore)) return []
    const directory = `${store}${real.slice(realStore.length, real.lastIndexOf('/'))}`
    const own = `${directory}/${soname}`
    if (directory.split('/').includes('stubs') || !statSync(fsPath(own)).isFile()) return []
    const holder = parseStoreName((storePathOf(directory, store) ?? '').slice(store.length + 1))
    return [
      {
        soname,
        path: own,
        directory,
        source: 'scan',
        package: holder?.name ?? name,
        version: holder?.version ?? version,
      },
    ]
  } catch (error) {
    // a link farm may rename a file of a package, or point to a collected path
    if (errnoOf(error) === undefined) throw error
    return []
  }
}

/** The real paths of stores. Each step of a path is a system call, and hundreds of candidates are in the same store. */
const resolvedStores = new Map<string, string>()

function resolvedStore(store: string): string {
  const real = resolvedStores.get(store) ?? realPath(store)
  resolvedStores.set(store, real)
  return real
}

function firstOfEachPath(list: readonly ScanCandidate[]): ScanCandidate[] {
  return [...new Map(list.map(item => [item.path, item])).values()].slice(0, MAX_CANDIDATES)
}

/** The packages that have a shared library in lib/, by file name. This finds libraries whose package has another name. */
function listFolders(entries: readonly Entry[], store: string): Map<string, Package[]> {
  const packages = entries.filter(({ key }) => !LANGUAGE.test(key)).flatMap(entry => asPackage(entry))
  // the limit must cut off the same packages on every disk
  packages.sort((a, b) => (a.basename < b.basename ? -1 : 1))
  const folders = new Map<string, Package[]>()
  for (const item of packages.slice(0, MAX_LISTED)) {
    for (const name of namesIn(`${store}/${item.basename}/lib`)) {
      if (!name.includes('.so')) continue
      const list = folders.get(name)
      if (list === undefined) folders.set(name, [item])
      else list.push(item)
    }
  }
  return folders
}

function onlyValid(
  found: ReadonlyMap<string, ScanCandidate[]>,
  { store, env }: ScanContext,
): Map<string, ScanCandidate[]> {
  const storePaths = [...found.values()].flat().flatMap(({ path }) => storePathOf(path, store) ?? [])
  const invalid = invalidPaths([...new Set(storePaths)], env)
  const valid = new Map<string, ScanCandidate[]>()
  for (const [soname, list] of found) {
    const rest = list.filter(({ path }) => !invalid.has(storePathOf(path, store) ?? path))
    if (rest.length > 0) valid.set(soname, rest)
  }
  return valid
}

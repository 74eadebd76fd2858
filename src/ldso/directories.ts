// The directories of a search path: those of DT_RPATH and DT_RUNPATH of an object, with tokens replaced, and the loader's own
// (LD_LIBRARY_PATH, built in). Subdirectories for this processor are added to each.
import type { ElfObject } from '../elf/types.ts'
import { directoryOf } from '../io/path.ts'
import type { FileTree } from './file-tree.ts'
import type { LinkMap, Loader, SearchDirectory } from './search.ts'
import { expandTokens, type TokenValues } from './tokens.ts'

/** An object by its path, as far as its search paths go. */
export interface Tagged {
  readonly path: string
  readonly object: Pick<ElfObject, 'rpath' | 'runpath'>
}

/** The directories of one tag of one object, in order. */
export function tagDirectories(
  loader: Loader,
  map: Tagged,
  tag: 'DT_RPATH' | 'DT_RUNPATH',
): readonly SearchDirectory[] {
  // with both tags the loader ignores DT_RPATH (elf/get-dynamic-info.h)
  const text = tag === 'DT_RUNPATH' ? map.object.runpath : map.object.runpath === null ? map.object.rpath : null
  if (text === null || text === '') return NO_DIRECTORIES
  const known = expanded[tag].get(map.object)
  if (known !== undefined && known.path === map.path && known.loader === loader) return known.directories
  const directories: SearchDirectory[] = []
  const values = tokens(loader, map)
  for (const entry of entriesOf(text, loader)) {
    const directory = entryDirectory(entry, loader, values)
    if (directory !== null) addWithHwcaps(directories, loader, { directory, by: tag, entry, owner: map.path })
  }
  expanded[tag].set(map.object, { path: map.path, loader, directories })
  return directories
}

const NO_DIRECTORIES: readonly SearchDirectory[] = []

/**
 * The directories that are searched for an object after those of its own tags: those of the objects above it, the nearest
 * first, each once and in canonical spelling. A DT_RUNPATH of the object cuts it off from them under glibc (glibc.ts); musl
 * inherits both tags (musl.ts). Subdirectories for a processor are left out.
 */
export function inheritedDirectories(loader: Loader, { object, openedBy }: LinkMap): readonly string[] {
  return loader.libc.kind === 'glibc' && object.runpath !== null ? NO_NAMES : bequeathed(loader, openedBy)
}

const NO_NAMES: readonly string[] = []

/** An object opens many others, which all inherit the same. */
const bequests = new WeakMap<LinkMap, readonly string[]>()

/** The directories that an object leaves to what it opens: its own, and those that it inherits. */
function bequeathed(loader: Loader, map: LinkMap | null): readonly string[] {
  if (map === null) return NO_NAMES
  const known = bequests.get(map)
  if (known !== undefined) return known
  const above = bequeathed(loader, map.openedBy)
  const tag = loader.libc.kind === 'glibc' || map.object.runpath === null ? 'DT_RPATH' : 'DT_RUNPATH'
  const all = tagDirectories(loader, map, tag)
  // the subdirectories of an entry come before its directory
  const own = all.filter(({ entry }, index) => all[index + 1]?.entry !== entry)
  const names = own.map(({ directory }) => canonicalDirectory(directory, loader.tree))
  const directories = own.length === 0 ? above : [...new Set([...names, ...above])]
  bequests.set(map, directories)
  return directories
}

/** The same directory in one spelling. */
export function canonicalDirectory(directory: string, tree: FileTree): string {
  return directoryOf(tree.canonical(`${directory}/x`))
}

interface Expanded {
  readonly path: string
  readonly loader: Loader
  readonly directories: readonly SearchDirectory[]
}

/**
 * An object is mapped into thousands of simulated processes, mostly by the same path. So its tags are expanded once.
 */
const expanded = {
  DT_RPATH: new WeakMap<Tagged['object'], Expanded>(),
  DT_RUNPATH: new WeakMap<Tagged['object'], Expanded>(),
}

/** musl also separates entries at a newline. It drops the whole string if a `$` begins any other token than ORIGIN. */
function entriesOf(text: string, { libc }: Loader): string[] {
  if (libc.kind === 'glibc') return text.split(':')
  return /\$(?!ORIGIN|\{ORIGIN\})/.test(text) ? [] : text.split(/[:\n]/)
}

function entryDirectory(entry: string, loader: Loader, values: TokenValues): string | null {
  // for musl $ORIGIN ends with its last letter, whatever follows
  const directory =
    loader.libc.kind === 'glibc'
      ? expandTokens(entry, values)
      : entry.replaceAll(/\$(?:ORIGIN|\{ORIGIN\})/g, () => values.origin)
  if (directory === null) return null
  // an empty entry is the current directory, which is not known beforehand; the same is true of a relative entry
  if (!directory.startsWith('/')) return null
  return directory.length > 1 ? directory.replace(/\/+$/, '') || '/' : directory
}

/** The loader's own directories: before the system's cache (LD_LIBRARY_PATH) and after it (built in). */
interface LoaderDirectories {
  readonly environment: readonly SearchDirectory[]
  readonly builtin: readonly SearchDirectory[]
}

const ofLoaders = new WeakMap<Loader, LoaderDirectories>()

/** The directories of the loader itself, the same for every object. */
export function loaderDirectories(loader: Loader): LoaderDirectories {
  let directories = ofLoaders.get(loader)
  if (directories === undefined) {
    const environment: SearchDirectory[] = []
    const builtin: SearchDirectory[] = []
    for (const directory of loader.environment) {
      addWithHwcaps(environment, loader, { directory, by: 'environment', entry: null, owner: null })
    }
    for (const directory of loader.libc.builtinDirectories) {
      addWithHwcaps(builtin, loader, { directory, by: 'built-in', entry: null, owner: null })
    }
    directories = { environment, builtin }
    ofLoaders.set(loader, directories)
  }
  return directories
}

/**
 * Adds a directory, and before it its subdirectories for this processor, best first (elf/dl-hwcaps.c): those of
 * glibc-hwcaps, and before glibc 2.37 also combinations of `tls`, the platform and more. musl has none. The loader
 * itself gives their order (`askSubdirectories` in ask-loader.ts).
 */
function addWithHwcaps(directories: SearchDirectory[], loader: Loader, step: SearchDirectory): void {
  const names = loader.tree.names(step.directory)
  if (loader.libc.kind === 'glibc' && mayHaveSubdirectories(names)) {
    for (const below of loader.libc.subdirectories) {
      const [first = ''] = below.split('/')
      if (names.has(first)) directories.push({ ...step, directory: `${step.directory}/${below}` })
    }
  }
  directories.push(step)
}

/**
 * The names with which such a subdirectory begins on some processor. The loader is asked for its own list only if a
 * directory holds one of these names.
 */
const HWCAP_NAMES = (
  'glibc-hwcaps tls x86_64 haswell xeon_phi avx512_1 i686 i586 sse2 aarch64 atomics v7l v6l neon vfp ' +
  'power8 power9 power10 altivec vsx z13 z14 z15'
).split(' ')

const withSubdirectories = new WeakMap<ReadonlySet<string>, boolean>()

function mayHaveSubdirectories(names: ReadonlySet<string>): boolean {
  let may = withSubdirectories.get(names)
  if (may === undefined) {
    may = HWCAP_NAMES.some(name => names.has(name))
    withSubdirectories.set(names, may)
  }
  return may
}

/**
 * The values of the tokens in the strings of an object. `path` is the path that opened the object first, so $ORIGIN is
 * the folder of a link and not of its file. (The path of the main program has no links.) Some libcs must be asked for
 * the last two values, so these are computed on use.
 */
export function tokens({ libc }: Loader, { path }: Pick<LinkMap, 'path'>): TokenValues {
  const slash = path.lastIndexOf('/')
  return {
    origin: slash <= 0 ? '/' : path.slice(0, slash),
    get lib() {
      return libc.lib
    },
    get platform() {
      return libc.platform
    },
  }
}

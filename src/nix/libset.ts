// The library set: the directories that may be added to an object's search path, and the file in them that serves a soname.
// The sources of directories range from the flag to the scan of the store. This file knows only names and directories. The
// caller opens the files and decides whether one fits (machine, versions).
import { statSync } from 'node:fs'
import { isAbsolute, resolve } from 'node:path'
import { errnoOf, WheelfixError } from '../io/error.ts'
import { directoryOf, fsPath, isInside, isLibraryName, listDirectory, realPath } from '../io/path.ts'

/**
 * The source that named a library directory. The sources are in the order of preference: the first one with a fitting file
 * serves a soname. `build`: `libs build` made the directory for this environment. `trust`: the scan found the directory, and the user named its package with --trust.
 */
export type LibrarySource =
  | 'flag'
  | 'build'
  | 'config'
  | 'env'
  | 'closure'
  | 'ldflags'
  | 'nix-ld'
  | 'default'
  | 'scan'
  | 'trust'

/** One soname that an environment takes from the library set. */
export interface UsedLibrary {
  readonly soname: string
  readonly path: string
  readonly source: LibrarySource
}

/** A choice of an earlier run. It is kept so that the next run takes the same file. */
export interface Pin {
  readonly path: string
  readonly source: LibrarySource
}

/** A directory of the library set that exists. */
export interface LibraryDirectory {
  /** The directory as the user named it, absolute. */
  readonly given: string
  /** The directory with every link resolved. */
  readonly real: string
  readonly source: LibrarySource
  readonly names: ReadonlySet<string>
}

/** A file that may serve a soname: `directory`/`soname`. The directory is in the store. */
export interface LibraryCandidate {
  readonly soname: string
  readonly path: string
  readonly directory: string
  readonly source: LibrarySource
}

/** The places where the user names directories. Lists may hold colon-separated lists. */
interface NamedDirectories {
  readonly flags: readonly string[]
  /** The library set that `libs build` made for this environment. */
  readonly built: readonly string[]
  readonly config: readonly string[]
  /** The configuration file. */
  readonly configFile?: string | null
  /** The directories of the interpreter's own closure. */
  readonly closure: readonly string[]
  readonly env: NodeJS.ProcessEnv
  /** The base of relative directories in flags and in the environment. */
  readonly cwd: string
  readonly store: string
}

export interface LibraryDirectories {
  readonly directories: readonly LibraryDirectory[]
  /**
   * All named directories as absolute paths, including those that do not exist. A change in any of them can change which
   * file is taken.
   */
  readonly asked: readonly string[]
  /** One sentence for each directory of the environment that cannot be used. */
  readonly warnings: readonly string[]
}

/**
 * The directories of all sources except the scan, in order, each once.
 * @throws WheelfixError `LIBS_NOT_FOUND`, `LIBS_EMPTY` or `LIBS_NOT_IN_STORE` for a directory of a flag or of the
 * configuration
 */
export function namedDirectories(named: NamedDirectories): LibraryDirectories {
  const { env } = named
  const sources: [LibrarySource, readonly string[]][] = [
    ['flag', splitLists(named.flags)],
    ['build', named.built],
    ['config', splitLists(named.config)],
    ['env', splitLists([env['WHEELFIX_LIBS'] ?? ''])],
    ['closure', named.closure],
    ['ldflags', ldflagsDirectories(env['NIX_LDFLAGS'] ?? '')],
    ['nix-ld', [...splitLists([env['NIX_LD_LIBRARY_PATH'] ?? '']), '/run/current-system/sw/share/nix-ld/lib']],
    ['default', splitLists([env['WHEELFIX_DEFAULT_LIBS'] ?? ''])],
  ]
  const directories = new Map<string, LibraryDirectory>()
  const warnings: string[] = []
  const asked: string[] = []
  if (named.flags.some(flag => splitLists([flag]).length === 0)) {
    throw new WheelfixError('USAGE', '--libs names no folder: check the variable that it comes from')
  }
  for (const [source, list] of sources) {
    for (const text of list) {
      const given = isAbsolute(text) ? text : resolve(named.cwd, text)
      asked.push(given)
      const found = openDirectory(given, source)
      const problem = problemOf(found, text, source, named)
      if (problem === null && typeof found !== 'string') {
        if (!directories.has(found.real)) directories.set(found.real, found)
        continue
      }
      if (problem === null) continue
      if (source === 'flag' || source === 'config') throw problem
      if (source === 'build') warnings.push(problem.message)
      if (source === 'env' || source === 'default') warnings.push(`${problem.message} (named by ${VARIABLE[source]})`)
    }
  }
  return { directories: [...directories.values()], asked, warnings }
}

/** Why a directory that the user named cannot be used, and what to do. null if it can be used. */
function problemOf(
  found: LibraryDirectory | Unusable,
  text: string,
  source: LibrarySource,
  { store, configFile }: NamedDirectories,
): WheelfixError | null {
  // a mistake in the configuration is reported with the name of its file
  const from = source === 'config' ? `${configFile ?? 'the configuration'}: ` : ''
  const subject = `${from}the library folder ${text}`
  const advice = adviceFor(source)
  if (found === 'contains no shared library')
    return new WheelfixError('LIBS_EMPTY', `${subject} ${found}: ${advice}`, text)
  if (typeof found === 'string') return new WheelfixError('LIBS_NOT_FOUND', `${subject} ${found}: ${advice}`, text)
  const own = source === 'flag' || source === 'config' || source === 'env' || source === 'default'
  if (!own || reachesStore(found, store)) return null
  return new WheelfixError(
    'LIBS_NOT_IN_STORE',
    `${subject} contains nothing from the Nix store (${store}), and wheelfix writes only store paths into files: copy it there ` +
      `(nix-store --add ${text}) and name the copy`,
    text,
  )
}

function adviceFor(source: LibrarySource): string {
  if (source === 'build') return 'build a package that has libraries: wheelfix libs build NAME'
  const where = source === 'config' ? 'set libs to' : source === 'flag' ? 'give --libs' : 'name'
  return `${where} a folder in the Nix store that contains lib*.so* files, such as /nix/store/…-zlib-1.3.1/lib`
}

/** Does a directory lead into the store? A directory outside the store may do so (profiles, ./result). */
function reachesStore({ real, names }: LibraryDirectory, store: string): boolean {
  if (isInside(real, store)) return true
  for (const name of names) {
    if (isLibraryName(name) && ownDirectory(`${real}/${name}`, name, store) !== null) return true
  }
  return false
}

const VARIABLE = { env: 'WHEELFIX_LIBS', default: 'WHEELFIX_DEFAULT_LIBS' } as const

function splitLists(lists: readonly string[]): string[] {
  return lists.flatMap(list => list.split(':')).filter(entry => entry !== '')
}

/** The -L directories of a Nix shell's linker flags. They come from the user's buildInputs. */
function ldflagsDirectories(flags: string): string[] {
  return flags
    .split(/\s+/)
    .filter(flag => flag.startsWith('-L/'))
    .map(flag => flag.slice(2))
}

/** The fault of a directory, as the rest of a sentence about it. */
type Unusable = 'does not exist' | 'is a file' | 'cannot be read (no permission)' | 'contains no shared library'

function openDirectory(given: string, source: LibrarySource): LibraryDirectory | Unusable {
  const own = directoryAt(given, source)
  if (own !== 'contains no shared library') return own
  // users often name a package by its root
  const below = directoryAt(`${given}/lib`, source)
  return typeof below === 'string' ? own : below
}

function directoryAt(given: string, source: LibrarySource): LibraryDirectory | Unusable {
  try {
    const real = realPath(given)
    if (!statSync(fsPath(real)).isDirectory()) return 'is a file'
    const names = new Set(listDirectory(real).map(entry => entry.name))
    for (const name of names) if (isLibraryName(name)) return { given, real, source, names }
    return 'contains no shared library'
  } catch (error) {
    const errno = errnoOf(error)
    if (errno === undefined) throw error
    return errno === 'EACCES' ? 'cannot be read (no permission)' : 'does not exist'
  }
}

/**
 * The file of a library directory that may serve a soname, or null. Only paths of the store are used. A directory outside
 * the store (a profile, ./result, /run/current-system) is replaced by the library's own store directory. The same happens
 * when `holdsForeignLibc` says that the directory would bring files of another libc.
 */
export function candidateOf(
  directory: LibraryDirectory,
  soname: string,
  store: string,
  holdsForeignLibc: (directory: string) => boolean,
): LibraryCandidate | null {
  if (!directory.names.has(soname) || soname.includes('/')) return null
  const whole = isInside(directory.given, store) && isInside(directory.real, store) && !holdsForeignLibc(directory.real)
  const serving = whole ? directory.real : ownDirectory(`${directory.real}/${soname}`, soname, store)
  if (serving === null || (!whole && holdsForeignLibc(serving))) return null
  return { soname, path: `${serving}/${soname}`, directory: serving, source: directory.source }
}

/** The store directory of the file to which a link leads, when this directory has the soname too. */
function ownDirectory(path: string, soname: string, store: string): string | null {
  try {
    const real = realPath(path)
    const directory = directoryOf(real)
    if (!isInside(directory, store)) return null
    return listDirectory(directory).some(entry => entry.name === soname) ? directory : null
  } catch (error) {
    if (errnoOf(error) === undefined) throw error
    return null
  }
}

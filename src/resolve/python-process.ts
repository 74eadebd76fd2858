// The interpreter of a venv as a running process: what it maps before it loads any wheel.
import { ElfError } from '../elf/error.ts'
import { readSearchPaths } from '../elf/read.ts'
import type { ElfObject } from '../elf/types.ts'
import { readRegular } from '../io/beneath.ts'
import { errnoOf } from '../io/error.ts'
import { directoryOf, isInside, namesIn, realPath } from '../io/path.ts'
import { withSource } from '../io/source.ts'
import { type CacheEntry, readLoaderCache } from '../ldso/cache/cache.ts'
import { identifyLibc, type Libc } from '../ldso/libc.ts'
import { fork, open, startProgram } from '../ldso/process.ts'
import type { LinkMap, Loader, Process } from '../ldso/search.ts'
import { type Tagged, tagDirectories } from '../ldso/directories.ts'
import type { FileTree } from '../ldso/file-tree.ts'
import type { Interpreter } from '../python/interpreter.ts'

/** A started interpreter. */
export interface PythonProcess {
  readonly interpreter: Interpreter
  readonly libc: Libc
  readonly loader: Loader
  /** The process with every object that the interpreter itself needs. */
  readonly process: Process
  /** The object that calls dlopen for an extension module: a shared libpython, else the executable. */
  readonly caller: LinkMap
  /** The closure: the store directories that the interpreter, libpython and its own extension modules search. */
  readonly closure: readonly string[]
  /** The folders of this libc's own libraries, with every link resolved. */
  readonly libcDirectories: ReadonlySet<string>
}

/** @throws WheelfixError when the libc cannot be identified (see ldso/libc.ts) */
export function startPython(
  interpreter: Interpreter,
  tree: FileTree,
  store: string,
  env: NodeJS.ProcessEnv,
): PythonProcess {
  const libc = identifyLibc(interpreter.program, interpreter.object, env)
  const loader = loaderOf(libc, tree)
  const identity = tree.open(interpreter.program)?.identity ?? interpreter.program
  const process = startProgram(loader, interpreter.program, identity, interpreter.object)
  const caller = process.maps.find(map => /^libpython\d/.test(map.object.soname ?? '')) ?? process.main
  return {
    interpreter,
    libc,
    loader,
    process,
    caller,
    closure: closureOf(loader, process, caller, store),
    libcDirectories: libcDirectories(libc, tree),
  }
}

/** How the loader of this libc searches. */
export function loaderOf(libc: Libc, tree: FileTree): Loader {
  return {
    tree,
    libc,
    cache: libc.cache === null ? [] : readCacheFile(libc.cache),
    environment: libc.nixLd?.directories ?? [],
  }
}

function libcDirectories(libc: Libc, tree: FileTree): Set<string> {
  const loaderDirectory = directoryOf(libc.ldso)
  const own = [libc.dir, loaderDirectory, ...libc.builtinDirectories]
  return new Set(own.filter(directory => tree.names(directory).size > 0).map(directory => realPath(directory)))
}

/** The cache of a whole distribution has about 200 KB. The loader's file gives the path of the cache. */
const LARGEST_CACHE = 64 << 20

/** A cache that is missing, cut off or of an unknown format is ignored, as the loader does. */
function readCacheFile(path: string): readonly CacheEntry[] {
  const bytes = readRegular(path, LARGEST_CACHE)
  try {
    return bytes === null ? [] : readLoaderCache(bytes)
  } catch (error) {
    if (error instanceof ElfError) return []
    throw error
  }
}

/**
 * nixpkgs gives a Python and its own modules absolute search paths. The directories in these paths exist, and their
 * libraries fit.
 */
function closureOf(loader: Loader, process: Process, caller: LinkMap, store: string): string[] {
  const maps: readonly Tagged[] = [process.main, caller, ...ownModules(process.main, caller)]
  const directories = new Set<string>()
  for (const map of maps) {
    for (const tag of ['DT_RPATH', 'DT_RUNPATH'] as const) {
      for (const { directory } of tagDirectories(loader, map, tag)) {
        if (isInside(directory, store)) directories.add(directory)
      }
    }
  }
  return [...directories]
}

/** The extension modules of the standard library, in lib-dynload. */
function ownModules(main: LinkMap, caller: LinkMap): Tagged[] {
  const modules: Tagged[] = []
  // a venv made with --copies holds the program itself, but not libpython
  const prefixes = new Set([
    main.path.slice(0, main.path.lastIndexOf('/bin/')),
    caller.path.slice(0, caller.path.lastIndexOf('/lib/')),
  ])
  const libs = [...prefixes].flatMap(prefix => namesIn(`${prefix}/lib`).map(name => ({ prefix, name })))
  for (const { prefix, name: lib } of libs.filter(({ name }) => /^python3\.\d+t?$/.test(name))) {
    const folder = `${prefix}/lib/${lib}/lib-dynload`
    for (const name of namesIn(folder)) {
      const path = `${folder}/${name}`
      const object = name.endsWith('.so') ? searchPathsOf(path) : null
      if (object !== null) modules.push({ path, object })
    }
  }
  return modules
}

/** null for what cannot be read. */
function searchPathsOf(path: string): Tagged['object'] | null {
  try {
    return withSource(path, readSearchPaths)
  } catch (error) {
    if (error instanceof ElfError || errnoOf(error) !== undefined) return null
    throw error
  }
}

/**
 * The same interpreter over another tree. The venv's objects are in another state; the interpreter's own files are the same.
 */
export function onTree(python: PythonProcess, tree: FileTree): PythonProcess {
  const { libc, cache, environment } = python.loader
  const loader = { tree, libc, cache, environment }
  const { base, main, opening, order, maps, names, identities } = python.process
  return { ...python, loader, process: { loader, base, main, opening, order, maps, names, identities } }
}

/** Does ctypes.CDLL(soname) find a file? */
export function isFoundByName(soname: string, python: PythonProcess): boolean {
  return findByName(soname, python) !== null
}

/**
 * The file that ctypes.CDLL(soname) loads; null where it finds none. _ctypes calls dlopen, and _ctypes has no search path
 * that helps.
 */
export function findByName(soname: string, python: PythonProcess): string | null {
  const object: ElfObject = {
    ...python.interpreter.object,
    ptInterp: null,
    soname: null,
    rpath: null,
    runpath: null,
    needed: [soname],
    filters: [],
    auxiliaries: [],
    versionNeeds: [],
  }
  const map = open(fork(python.process), python.caller, '/_ctypes.so', '_ctypes', object)
  return map.needed[0]?.provider?.path ?? null
}

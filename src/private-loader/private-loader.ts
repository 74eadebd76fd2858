// The private loader of a venv: a copy of the interpreter's own ld.so whose cache is ours, and bin/python as a copy of the
// interpreter that this loader starts. Then everything that is looked up by a bare name is found (DT_NEEDED, dlopen, ctypes,
// what is installed later), children keep a clean environment, and wheels stay as they are.
//
// musl has no cache: its loader reads PREFIX/etc/ld-musl-ARCH.path, PREFIX being what PT_INTERP says. There a link to the
// loader under a prefix of ours is all that is needed.
import { createHash } from 'node:crypto'
import { chmodSync, existsSync, lstatSync, readFileSync, rmdirSync, rmSync } from 'node:fs'
import { basename, dirname } from 'node:path'
import { ElfError } from '../elf/error.ts'
import { encodeText } from '../elf/text.ts'
import type { ElfObject } from '../elf/types.ts'
import { readRegular } from '../io/beneath.ts'
import { errnoOf, WheelfixError } from '../io/error.ts'
import { fsPath, isInside, listDirectory, makeFolders, readLink, realFolder, realPath } from '../io/path.ts'
import { renameStaged, replaceLink, type Staged, stageContent, syncStaged } from '../io/replace.ts'
import { readLoaderCache } from '../ldso/cache.ts'
import type { Libc } from '../ldso/libc.ts'
import { makePrivateLoader, type PrivateLoader, probeLoader } from './ldso-copy.ts'
import { isOfThisMachine } from '../ldso/runnable.ts'
import { startProgram } from '../ldso/process.ts'
import { withLinks } from '../ldso/file-tree.ts'
import type { Interpreter } from '../python/interpreter.ts'
import type { Environment, Place } from '../python/environment.ts'
import { FIND_LIBRARY_FILES, FIND_LIBRARY_MODULE, findLibraryTexts } from './find-library.ts'
import { cacheOf, type CacheContent, collectLibraries } from './library-cache.ts'
import {
  copiesOf,
  interpreterOf,
  isUpToDate,
  type PythonCopy,
  type PythonName,
  tryCopy,
  writeCopy,
} from './python-copy.ts'
import { DRIVER_DIRECTORIES } from '../resolve/drivers.ts'
import type { ProviderSources } from '../resolve/providers.ts'
import { onTree, type PythonProcess } from '../resolve/python-process.ts'

/** A file or link that belongs to the private loader. */
type LoaderFile =
  | { readonly path: string; readonly bytes: Uint8Array; readonly mode: number }
  | { readonly path: string; readonly link: string }

/** What is to be there, as data. */
export interface LoaderPlan {
  /** The loader that the venv's programs name in PT_INTERP. */
  readonly loader: string
  /** Its cache; under musl the file of its search path. */
  readonly cache: string
  /** Where the loader's own folder is: in the venv, or elsewhere because the path must be shorter. */
  readonly folder: string
  /** The venv's root: what is below it is made only while it is there. */
  readonly root: string
  readonly how: PrivateLoader['how'] | 'musl'
  readonly content: CacheContent
  /** In the order in which they are written. */
  readonly files: readonly LoaderFile[]
  readonly copies: readonly PythonCopy[]
  /** The interpreter as it will run: by this loader, with these libraries. */
  readonly python: PythonProcess
  readonly warnings: readonly string[]
}

/** A cache of all names has some 100 KB, a loader some MB at most. */
const LARGEST_FILE = 64 << 20

/** The folder of the private loader inside a venv. */
function ownFolder({ stateFolder }: Place): string {
  return `${realFolder(stateFolder)}/loader`
}

/**
 * For a venv whose path is too long for the loader: the folder that it has already, whatever XDG_CACHE_HOME was then, else
 * one that is always the same for this venv. null without a home.
 */
function shortFolder(venvRoot: string, names: readonly PythonName[], env: NodeJS.ProcessEnv): string | null {
  const place = `/wheelfix/${createHash('sha256').update(realPath(venvRoot)).digest('hex').slice(0, 8)}`
  for (const { path, kind } of names) {
    const folder = kind === 'copy' ? dirname(interpreterOf(path) ?? '') : ''
    if (folder.endsWith(place)) return folder
  }
  const home = env['HOME'] ?? ''
  const base = env['XDG_CACHE_HOME'] ?? (home === '' ? '' : `${home}/.cache`)
  return base.startsWith('/') ? base + place : null
}

/** All folders that a private loader of this venv may be in; its names as they are before they are restored. */
export function loaderFolders(venv: Environment, names: readonly PythonName[], env: NodeJS.ProcessEnv): string[] {
  return [ownFolder(venv), shortFolder(venv.root, names, env)].filter(folder => folder !== null)
}

interface LoaderInput {
  readonly venv: Environment
  readonly names: readonly PythonName[]
  /** The base interpreter, as it runs without wheelfix. */
  readonly python: PythonProcess
  readonly sources: ProviderSources
  /** Sonames to look for in the store's scan, with the objects that need them. */
  readonly wanted: ReadonlyMap<string, readonly ElfObject[]>
  readonly env: NodeJS.ProcessEnv
}

/**
 * Decides what the private loader of a venv is to be. Writes nothing.
 * @throws WheelfixError `LIBC_UNSUPPORTED` for a libc that cannot be steered, `PYTHON_UNSUPPORTED` for an interpreter that
 * cannot be edited
 */
export function planLoader(input: LoaderInput): LoaderPlan {
  const { venv, names, python, sources, wanted, env } = input
  const content = collectLibraries(python, sources, wanted)
  const folders = loaderFolders(venv, names, env)
  const planned =
    python.libc.kind === 'musl' ? planMusl(venv, python, content) : planGlibc(venv, python, content, folders)
  const copies = planCopies(names, python.interpreter, planned, folders)
  const texts = findLibraryTexts(content.libraries, python.interpreter.version)
  const finders = venv.sitePackages.slice(0, 1).flatMap(folder =>
    [...texts].map(([name, text]): LoaderFile => {
      return { path: `${folder}/${name}`, bytes: encodeText(text), mode: 0o644 }
    }),
  )
  return { ...planned, content, files: [...planned.files, ...finders], copies }
}

type Planned = Omit<LoaderPlan, 'content' | 'copies'>

function planCopies(
  names: readonly PythonName[],
  interpreter: Interpreter,
  { loader, folder }: Planned,
  folders: readonly string[],
): readonly PythonCopy[] {
  try {
    const hidden = [...new Set([folder, ...folders])].map(place => `${place}/${basename(interpreter.program)}`)
    const copies = copiesOf(names, interpreter, loader, hidden)
    for (const copy of copies) tryCopy(copy, interpreter.interp)
    return copies
  } catch (error) {
    if (!(error instanceof ElfError)) throw error
    throw new WheelfixError(
      'PYTHON_UNSUPPORTED',
      `${interpreter.program} cannot be given a private loader: ${error.message}; use wheelfix venv, which patches the ` +
        'wheels instead',
      interpreter.program,
    )
  }
}

function planGlibc(
  venv: Environment,
  python: PythonProcess,
  content: CacheContent,
  folders: readonly string[],
): Planned {
  const { libc } = python
  const original = readFileSync(fsPath(libc.loader))
  const place = placeFor(original, libc, folders)
  const loader = `${place.folder}/${basename(libc.loader)}`
  const { bytes, unreachable } = cacheOf(content, python)
  const warnings = unreachable.map(
    soname => `${soname} cannot be served: the loader takes its digits for those of another library`,
  )
  if (place.folder !== ownFolder(venv)) {
    warnings.push(`the path of this venv is too long for the loader: its cache is in ${place.folder}, outside the venv`)
  }
  return {
    loader,
    cache: place.cache,
    folder: place.folder,
    root: venv.root,
    how: place.made.how,
    files: [
      { path: place.cache, bytes, mode: 0o644 },
      { path: loader, bytes: place.made.bytes, mode: 0o755 },
    ],
    python: runBy(python, loader, place.cache, readLoaderCache(bytes)),
    warnings,
  }
}

/** The first folder whose path fits into the loader: the venv's own, or the short one. */
function placeFor(original: Uint8Array, libc: Libc, folders: readonly string[]) {
  let reason = ''
  for (const folder of folders) {
    const cache = `${folder}/ld.so.cache`
    try {
      return { folder, cache, made: makePrivateLoader(original, libc.version, cache) }
    } catch (error) {
      if (!(error instanceof ElfError)) throw error
      reason = error.message
    }
  }
  throw new WheelfixError(
    'LIBC_UNSUPPORTED',
    `no private loader can be made of ${libc.loader}: ${reason}; use wheelfix venv, which patches the wheels instead`,
    libc.loader,
  )
}

/** A folder of links serves as the one directory that musl's loader is told to search, before those that it has. */
function planMusl(venv: Environment, python: PythonProcess, content: CacheContent): Planned {
  const { libc } = python
  const folder = ownFolder(venv)
  const machine = /^ld-musl-(.+)\.so\.1$/.exec(basename(libc.loader))?.[1]
  if (machine === undefined) {
    throw new WheelfixError('LIBC_UNSUPPORTED', `${libc.loader} is musl's loader under an unknown name`, libc.loader)
  }
  const loader = `${folder}/lib/${basename(libc.loader)}`
  const cache = `${folder}/etc/ld-musl-${machine}.path`
  const libs = `${folder}/libs`
  const directories = [libs, ...libc.builtinDirectories]
  const links = new Map(
    content.libraries.flatMap(({ soname, path, hwcapName }) => (hwcapName == null ? [[soname, path] as const] : [])),
  )
  return {
    loader,
    cache,
    folder,
    root: venv.root,
    how: 'musl',
    files: [
      ...[...links].map(([soname, path]) => ({ path: `${libs}/${soname}`, link: path })),
      { path: cache, bytes: Buffer.from(`${directories.join('\n')}\n`), mode: 0o644 },
      { path: loader, link: realPath(libc.loader) },
    ],
    python: runBy(onTree(python, withLinks(python.loader.tree, libs, links)), loader, null, [], directories),
    warnings: [],
  }
}

/** The interpreter as the private loader starts it. */
function runBy(
  python: PythonProcess,
  path: string,
  cache: string | null,
  entries: ReturnType<typeof readLoaderCache>,
  builtinDirectories = python.libc.builtinDirectories,
): PythonProcess {
  const base = python.libc
  const libc: Libc = {
    kind: base.kind,
    version: base.version,
    dir: base.dir,
    loader: base.loader,
    builtinDirectories,
    cache,
    skipsOtherMachines: base.skipsOtherMachines,
    // asking for these may start a process
    get lib() {
      return base.lib
    },
    get startable() {
      return base.startable
    },
    get platform() {
      return base.platform
    },
    get hwcaps() {
      return base.hwcaps
    },
    get subdirectories() {
      return base.subdirectories
    },
    get legacyHwcaps() {
      return base.legacyHwcaps
    },
    nixLd: null,
  }
  const loader = { ...python.loader, libc, cache: entries, environment: [] }
  const object = { ...python.interpreter.object, interpreter: path }
  const interpreter = { ...python.interpreter, object, interp: path }
  const process = startProgram(loader, interpreter.program, python.process.main.identity, object)
  const caller = process.maps.find(map => map.identity === python.caller.identity) ?? process.main
  return { ...python, interpreter, libc, loader, process, caller }
}

/** Is anything not as it is to be? */
export function isLoaderPending({ files, copies }: LoaderPlan): boolean {
  return !files.every(isWritten) || !copies.every(isUpToDate)
}

/** What is wrong with the private loader that a venv has, in sentences; nothing for a venv that has none yet. */
export function loaderFaults({ loader, cache, files, copies }: LoaderPlan, names: readonly PythonName[]): string[] {
  const faults: string[] = []
  const made = names.find(({ kind }) => kind === 'copy')
  if (made === undefined) return faults
  const named = interpreterOf(made.path)
  if (named !== null && named !== loader) {
    faults.push(
      existsSync(fsPath(named))
        ? `${made.path} is started by the private loader of another venv (${named}): this one was copied`
        : `${made.path} cannot start: its loader ${named} is not there; this venv was moved, or its Python changed`,
    )
  } else if (!existsSync(fsPath(loader))) faults.push(`${made.path} cannot start: its loader ${loader} is gone`)
  else if (!files.filter(({ path }) => path === loader).every(isWritten)) {
    faults.push(`${loader} was made of another libc than this Python now has`)
  }
  const cacheFile = files.find(({ path }) => path === cache)
  if (!existsSync(fsPath(cache))) faults.push(`the libraries of the private loader are not found: ${cache} is gone`)
  else if (cacheFile !== undefined && !isWritten(cacheFile)) {
    faults.push(`${cache} is ${isDamaged(cacheFile) ? 'damaged' : 'of another library set'}`)
  }
  const finders = files.filter(({ path }) => /\.(?:pth|start)$/.test(path))
  for (const { path } of finders.filter(file => !isWritten(file))) {
    faults.push(`${path}, by which find_library works, is gone`)
  }
  if (faults.length === 0 && !copies.every(isUpToDate))
    faults.push(`${made.path} is not the Python that it was made of`)
  return faults
}

/** Is the cache no cache, or only the beginning of the one that is to be there? */
function isDamaged(file: LoaderFile): boolean {
  if ('link' in file) return false
  try {
    const there = readRegular(file.path, LARGEST_FILE)
    if (there === null) return true
    if (there.length < file.bytes.length && there.equals(file.bytes.subarray(0, there.length))) return true
    if (file.path.endsWith('.cache')) readLoaderCache(there)
    return false
  } catch (error) {
    if (error instanceof ElfError || errnoOf(error) !== undefined) return true
    throw error
  }
}

/** What Python compiled of it, and the folder for that where nothing else needs it. */
function removeCompiled(folder: string): void {
  try {
    const names = listDirectory(folder).map(({ name }) => name)
    const ours = names.filter(name => name.startsWith(FIND_LIBRARY_MODULE))
    for (const name of ours) rmSync(fsPath(`${folder}/${name}`), { force: true })
    if (ours.length > 0 && ours.length === names.length) rmdirSync(fsPath(folder))
  } catch (error) {
    if (errnoOf(error) === undefined) throw error
  }
}

/** Is there anything of a private loader, in use or not? */
export function hasLoaderFiles(venv: Environment, folders: readonly string[]): boolean {
  const finders = venv.sitePackages.flatMap(folder => FIND_LIBRARY_FILES.map(name => `${folder}/${name}`))
  return [...folders, ...finders].some(path => lstatSync(fsPath(path), { throwIfNoEntry: false }) !== undefined)
}

/** Removes the private loader of a venv, when nothing in the venv names it any more. @throws the errors of rm(2) */
export function removeLoader(venv: Environment, folders: readonly string[]): void {
  for (const folder of venv.sitePackages) {
    for (const name of FIND_LIBRARY_FILES) rmSync(fsPath(`${folder}/${name}`), { force: true })
    removeCompiled(`${folder}/__pycache__`)
  }
  for (const folder of folders) rmSync(fsPath(folder), { recursive: true, force: true })
}

function isWritten(file: LoaderFile): boolean {
  try {
    const stat = lstatSync(fsPath(file.path))
    if ('link' in file) return stat.isSymbolicLink() && readLink(file.path) === file.link
    if (!stat.isFile() || stat.size !== file.bytes.length || (stat.mode & 0o7777) !== file.mode) return false
    return readRegular(file.path, file.bytes.length)?.equals(file.bytes) === true
  } catch (error) {
    if (errnoOf(error) === undefined) throw error
    return false
  }
}

/**
 * Writes the loader, tries it, and only then gives the venv a Python that it starts. The venv is locked by the caller.
 * @throws WheelfixError `LIBC_UNSUPPORTED` when the loader does not do what it is meant to (bin/python is as it was),
 * `IO` when something cannot be written
 */
export function writeLoader(plan: LoaderPlan): { warnings: string[] } {
  const warnings: string[] = []
  const fresh = !existsSync(fsPath(plan.folder))
  try {
    writeFiles(
      plan.files.filter(file => !isWritten(file)),
      plan.root,
    )
    if (plan.how === 'musl') removeStale(plan)
    else {
      const failure = probe(plan)
      if (failure !== null) warnings.push(failure)
    }
    for (const copy of plan.copies) {
      if (isUpToDate(copy)) continue
      for (const path of copy.paths) makeFolders(dirname(path), plan.root)
      writeCopy(copy)
    }
  } catch (error) {
    if (error instanceof WheelfixError && fresh) rmSync(fsPath(plan.folder), { recursive: true, force: true })
    const errno = errnoOf(error)
    if (errno === undefined) throw error
    throw new WheelfixError('IO', `the private loader cannot be written (${errno}): ${String(error)}`, plan.folder)
  }
  return { warnings }
}

/** Writes files and links: their bytes are on the disk before the first gets its name. */
function writeFiles(files: readonly LoaderFile[], root: string): void {
  const staged: Staged[] = []
  for (const file of files) {
    makeFolders(dirname(file.path), root)
    if ('link' in file) replaceLink(file.path, file.link)
    else {
      const item = stageContent(file.path, file.bytes)
      chmodSync(fsPath(item.temporary), file.mode)
      staged.push(item)
    }
  }
  for (const item of staged) syncStaged(item)
  for (const item of staged) renameStaged(item)
}

/** Links of a library set of before. */
function removeStale({ folder, files }: LoaderPlan): void {
  const wanted = new Set(files.map(({ path }) => path))
  for (const { name } of listDirectory(`${folder}/libs`)) {
    if (!wanted.has(`${folder}/libs/${name}`)) rmSync(fsPath(`${folder}/libs/${name}`), { force: true })
  }
}

/** Gives a warning where the loader cannot be run on this machine. @throws WheelfixError when it runs and fails */
function probe({ loader, cache, content, python }: LoaderPlan): string | null {
  if (!isOfThisMachine(python.interpreter.object)) return 'the private loader is for another machine: it was not tried'
  if (python.libc.startable === null)
    return `the private loader was not tried: ${python.libc.loader} is neither of the Nix store nor of the system`
  // one that the interpreter would not find without the cache proves something
  const { tree } = python.loader
  const others = [...python.closure, ...python.libc.builtinDirectories]
  const library = content.libraries.find(({ soname, path, hwcapName }) => {
    const isPlain = hwcapName == null && !DRIVER_DIRECTORIES.some(directory => isInside(path, directory))
    return isPlain && !others.some(folder => tree.names(folder).has(soname))
  })
  const { failure, ran } = probeLoader(loader, python.interpreter.program, cache, library ?? null)
  if (failure === null) return null
  if (!ran) return `the private loader could not be tried: ${failure}`
  const sentence = `the private loader made of ${python.libc.loader} does not work: ${failure}`
  throw new WheelfixError(
    'LIBC_UNSUPPORTED',
    `${sentence}; use wheelfix venv, which patches the wheels instead`,
    loader,
  )
}

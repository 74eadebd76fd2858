// The private loader of a venv: a copy of the interpreter's own ld.so with wheelfix's cache, and bin/python as a copy of the
// interpreter that this loader starts. Then the loader finds everything that is looked up by a bare name (DT_NEEDED, dlopen,
// ctypes), also for wheels that are installed later. Child processes keep a clean environment, and wheels stay unchanged.
//
// loader-plan.ts says how a private loader works under musl, which has no cache.
import { accessSync, constants, existsSync, lstatSync } from 'node:fs'
import { dirname } from 'node:path'
import { ElfError } from '../elf/error.ts'
import { readRegular } from '../io/beneath.ts'
import { errnoOf, systemReason, WheelfixError } from '../io/error.ts'
import { fsPath, isInside, linkStatusOf, listDirectory, readLink } from '../io/path.ts'
import { makeFolders, removeEmptyFolder, removeFile, removeTree, withFolders, withNames } from '../io/write/folder.ts'
import { removeTemporaries } from '../io/write/leftovers.ts'
import { renameStaged, replaceLink, stageContent, syncStaged, type Staged } from '../io/write/replace.ts'
import { readLoaderCache } from '../ldso/cache/cache.ts'
import { probeLoader } from './ldso-copy.ts'
import { isOfThisMachine } from '../ldso/runnable.ts'
import type { Environment } from '../python/environment.ts'
import { FIND_LIBRARY_FILES, FIND_LIBRARY_MODULE } from './find-library.ts'
import { isUpToDate, writeCopy } from './python-copy.ts'
import { ptInterpOf, type PythonName } from './python-names.ts'
import { DRIVER_DIRECTORIES } from '../resolve/drivers.ts'
import { type LoaderFile, type LoaderPlan } from './loader-plan.ts'

/** The size limit in bytes. A cache of all names has about 100 KB, and a loader has a few MB at most. */
const LARGEST_FILE = 64 << 20

/** Does anything differ from the plan? */
export function isLoaderPending({ files, copies }: LoaderPlan): boolean {
  return !files.every(isWritten) || !copies.every(isUpToDate)
}

/** The faults of a venv's private loader, in sentences; empty for a venv that has no private loader yet. */
export function loaderFaults({ loader, cache, files, copies }: LoaderPlan, names: readonly PythonName[]): string[] {
  const faults: string[] = []
  const made = names.find(({ kind }) => kind === 'copy')
  if (made === undefined) return faults
  const named = ptInterpOf(made.path)
  if (named !== null && named !== loader) {
    faults.push(
      existsSync(fsPath(named))
        ? `${made.path} is started by the private loader of another environment (${named}): this one was copied`
        : `${made.path} cannot start: its loader ${named} is not there; this environment was moved, or its Python changed`,
    )
  } else if (!existsSync(fsPath(loader))) faults.push(`${made.path} cannot start: its loader ${loader} is gone`)
  else if (!files.filter(({ path }) => path === loader).every(isWritten)) {
    faults.push(`${loader} was made from a different libc than this Python now has`)
  }
  const cacheFile = files.find(({ path }) => path === cache)
  if (!existsSync(fsPath(cache))) faults.push(`the libraries of the private loader are not found: ${cache} is gone`)
  else if (cacheFile !== undefined && !isWritten(cacheFile)) {
    faults.push(`${cache} is ${isDamaged(cacheFile) ? 'damaged' : 'made from another library set'}`)
  }
  const finders = files.filter(({ path }) => /\.(?:pth|start)$/.test(path))
  for (const { path } of finders.filter(file => !isWritten(file))) {
    faults.push(`${path}, which find_library needs, is gone`)
  }
  if (faults.length === 0 && !copies.every(isUpToDate))
    faults.push(`${made.path} no longer matches the Python that it was copied from`)
  return faults
}

/** Is the file not a cache, or only the beginning of the planned cache? */
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

/** Removes what Python compiled from the module, and the folder of the compiled files when nothing else needs it. */
function removeCompiled(folder: string): void {
  try {
    const names = listDirectory(folder).map(({ name }) => name)
    const ours = names.filter(name => name.startsWith(FIND_LIBRARY_MODULE))
    for (const name of ours) removeFile(`${folder}/${name}`)
    if (ours.length > 0 && ours.length === names.length) removeEmptyFolder(folder)
  } catch (error) {
    if (errnoOf(error) === undefined) throw error
  }
}

/** Does the venv hold anything of a private loader, in use or not? */
export function hasLoaderFiles(venv: Environment, folders: readonly string[]): boolean {
  const finders = venv.sitePackages.flatMap(folder => FIND_LIBRARY_FILES.map(name => `${folder}/${name}`))
  // a folder that this user may not read is the cache folder of another user, and holds nothing of this venv
  return [...folders, ...finders].some(path => linkStatusOf(path) !== null)
}

/**
 * Removes the private loader of a venv. The caller first makes sure that nothing in the venv names it.
 * @throws the errors of rm(2)
 */
export function removeLoader(venv: Environment, folders: readonly string[]): void {
  for (const folder of venv.sitePackages) {
    for (const name of FIND_LIBRARY_FILES) removeFile(`${folder}/${name}`)
    removeCompiled(`${folder}/__pycache__`)
  }
  for (const folder of folders) removeTree(folder)
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
 * Writes the loader, tries it, and only then gives the venv a Python that it starts. The caller holds the lock of the venv.
 * @throws WheelfixError `LIBC_UNSUPPORTED` when the loader fails its probe (bin/python is then unchanged), `IO` when a file
 * cannot be written
 */
export function writeLoader(plan: LoaderPlan): { warnings: string[] } {
  const warnings: string[] = []
  const fresh = !existsSync(fsPath(plan.folder))
  let isUsed = false
  try {
    removeTemporaries(plan.folder, LOADER_DEPTH)
    writeFiles(
      plan.files.filter(file => !isWritten(file)),
      plan.root,
    )
    assertStartable(plan)
    if (plan.how === 'musl') removeStale(plan)
    else {
      const failure = probe(plan)
      if (failure !== null) warnings.push(failure)
    }
    isUsed = true
    for (const copy of plan.copies) {
      if (isUpToDate(copy)) continue
      for (const path of copy.paths) makeFolders(dirname(path), plan.root)
      writeCopy(copy)
    }
  } catch (error) {
    if (error instanceof WheelfixError && fresh && !isUsed) {
      for (const { path } of plan.files) removeFile(path)
      removeTree(plan.folder)
    }
    const errno = errnoOf(error)
    if (errno === undefined) throw error
    const at = error instanceof Error && 'path' in error && typeof error.path === 'string' ? error.path : plan.folder
    const said = `the private loader cannot be written: ${withNames(at)}: ${systemReason(errno)}`
    throw new WheelfixError('IO', said, plan.folder)
  }
  return { warnings }
}

/**
 * A Python whose loader may not be started does not start. access(2) answers EACCES on a file system that is mounted noexec.
 * @throws WheelfixError `IO`
 */
function assertStartable({ loader, folder }: LoaderPlan): void {
  try {
    accessSync(fsPath(loader), constants.X_OK)
  } catch (error) {
    if (errnoOf(error) !== 'EACCES') throw error
    const why = 'no program may be started and no library loaded from there (the file system is mounted noexec)'
    throw new WheelfixError('IO', `${folder}: ${why}: make the environment elsewhere`, folder)
  }
}

/** The folder of a loader holds `lib/ld-musl-x86_64.so.1` at most. */
const LOADER_DEPTH = 2

/** Writes files and links. The bytes of all files are on the disk before the first file gets its name. */
function writeFiles(files: readonly LoaderFile[], root: string): void {
  withFolders(folders => {
    const staged: Staged[] = []
    for (const file of files) {
      makeFolders(dirname(file.path), root)
      if ('link' in file) replaceLink(file.path, file.link)
      else staged.push(stageContent(folders, file.path, file.bytes, file.mode))
    }
    for (const item of staged) syncStaged(item)
    for (const item of staged) renameStaged(item)
  })
}

/** Removes the links of an earlier library set. */
function removeStale({ folder, files }: LoaderPlan): void {
  const wanted = new Set(files.map(({ path }) => path))
  for (const { name } of listDirectory(`${folder}/libs`)) {
    if (!wanted.has(`${folder}/libs/${name}`)) removeFile(`${folder}/libs/${name}`)
  }
}

/**
 * Tries the loader. Returns a warning when the loader cannot run on this machine.
 * @throws WheelfixError when it runs and fails
 */
function probe({ loader, cache, content, python }: LoaderPlan): string | null {
  if (!isOfThisMachine(python.interpreter.object)) return 'the private loader is for another machine: it was not tried'
  if (python.libc.startable === null)
    return `the private loader was not tried: ${python.libc.ldso} is neither in the Nix store nor a file of the system`
  // only a library that the interpreter would not find without the cache proves something
  const { tree } = python.loader
  const others = [...python.closure, ...python.libc.builtinDirectories]
  const library = content.libraries.find(({ soname, path, hwcapName }) => {
    const isPlain = hwcapName == null && !DRIVER_DIRECTORIES.some(directory => isInside(path, directory))
    return isPlain && !others.some(folder => tree.names(folder).has(soname))
  })
  const { failure, ran } = probeLoader(loader, python.interpreter.program, cache, library ?? null)
  if (failure === null) return null
  if (!ran) return `the private loader could not be tried: ${failure}`
  const sentence = `the private loader made from ${python.libc.ldso} does not work: ${failure}`
  throw new WheelfixError(
    'LIBC_UNSUPPORTED',
    `${sentence}; use wheelfix venv, which patches the wheels instead`,
    loader,
  )
}

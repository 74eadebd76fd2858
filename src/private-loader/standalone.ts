// A Python outside of venvs that asks for the loader of another system. This is python-build-standalone, which uv and other
// tools install. wheelfix gives the program of this Python a loader of the Nix store, or a private loader. Then every venv
// made with this Python starts.
import { existsSync, lstatSync } from 'node:fs'
import { basename, join, resolve } from 'node:path'
import { ElfError } from '../elf/error.ts'
import { readElf } from '../elf/read.ts'
import type { ElfObject } from '../elf/types.ts'
import { errnoOf, systemReason, WheelfixError } from '../io/error.ts'
import { fsPath, isInside, realPath } from '../io/path.ts'
import { removeTree } from '../io/write/folder.ts'
import { removeTemporaries } from '../io/write/leftovers.ts'
import { withSource } from '../io/source.ts'
import { identifyLibc, isFhsLoader, type Libc } from '../ldso/libc.ts'
import { diskTree } from '../ldso/file-tree.ts'
import { knownSonames } from '../nix/hints.ts'
import { addRoots, checkRoots, dropRoots, type RootsReport } from '../nix/roots.ts'
import { storeDirectory } from '../nix/store.ts'
import { namedStorePaths, storeTrust } from '../nix/trust/trust.ts'
import { barePython, isVenv, type PythonEnvironment } from '../python/environment.ts'
import { checkStateFolder } from '../python/state-folder.ts'
import { isLoaderPending, removeLoader, writeLoader } from './private-loader.ts'
import { loaderFolders, type LoaderPlan, planLoader } from './loader-plan.ts'
import { servedLibraries } from './library-cache.ts'
import { chooseLoader } from './store-loader.ts'
import { ptInterpOf, plainInterpreter, plainSource, type PythonName, pythonNames } from './python-names.ts'
import { isUpToDate, type PythonCopy, restoreName, tryCopy, writeCopy } from './python-copy.ts'
import { dropStaleLock, lockVenv } from '../state/lock.ts'
import { pinsDiffer, readPins, writePins } from '../state/pins.ts'
import { startPython } from '../resolve/python-process.ts'
import { librarySources, type SourceOptions } from '../resolve/library-sources.ts'
import { trustWarnings } from '../resolve/trust-warnings.ts'

interface StandaloneOptions extends SourceOptions {
  /** The folder that holds bin/python3.X. */
  readonly directory: string
  /** The folder or loader of a glibc; null: wheelfix looks for one. */
  readonly libc: string | null
  /** Also make a private loader, so that wheels find their libraries. */
  readonly loader: boolean
  readonly mode: 'apply' | 'plan' | 'restore' | 'plan-restore'
}

export interface StandaloneReport {
  readonly root: string
  readonly version: string
  /** The files that get another loader, relative to `root`, with PT_INTERP before and after. */
  readonly pythons: readonly { readonly path: string; readonly before: string; readonly after: string }[]
  /** `patch` and `restore`: what a run would do. */
  readonly status: 'fine' | 'patch' | 'patched' | 'restore' | 'restored'
  readonly libc: Libc | null
  readonly loader: LoaderPlan | null
  readonly roots: RootsReport | null
  readonly warnings: readonly string[]
}

/**
 * Does an installed Python ask for a loader that does not exist here, or did an earlier run give it a loader? A Python that
 * already starts, on an ordinary distribution or through nix-ld, stays unchanged.
 * @throws WheelfixError when the folder may not be edited
 */
export function needsLoader(directory: string, env: NodeJS.ProcessEnv): boolean {
  const names = pythonNames(placeOf(directory, storeDirectory(env)), 'standalone')
  if (names.some(({ kind }) => kind === 'copy')) return true
  const program = names.find(({ replaced }) => replaced === 'file')?.path
  if (program === undefined) return false
  try {
    const object = withSource(program, readElf)
    if (object.ptInterp === null || !isFhsLoader(object.ptInterp)) return false
    identifyLibc(program, object, env)
    return false
  } catch (error) {
    if (error instanceof WheelfixError) return true
    if (error instanceof ElfError || errnoOf(error) !== undefined) return false
    throw error
  }
}

/**
 * Gives a Python its loader, or takes it back, in steps. The first step comes before any write. After each step the next run
 * can complete this one.
 * @throws WheelfixError when nothing could be done
 */
export function* standaloneSteps(options: StandaloneOptions): Generator<undefined, StandaloneReport> {
  const { env } = options
  const store = storeDirectory(env)
  const place = placeOf(resolve(options.cwd, options.directory), store)
  if (options.mode === 'apply' || options.mode === 'plan') refuseSystem(place.root)
  const names = pythonNames(place, 'standalone')
  const files = names.filter(({ replaced }) => replaced === 'file')
  const [first] = files
  if (first === undefined) {
    const what = `${place.bin} holds no Python of its own to edit: name the folder that a Python is installed in`
    throw new WheelfixError('PYTHON_NOT_FOUND', what, place.root)
  }
  const venv = { ...place, python: first.path }
  if (options.mode === 'restore') return yield* restore(venv, names, env)
  if (options.mode === 'plan-restore') return planRestore(venv, names)

  const base = plainInterpreter(venv, names)
  if (!isFhsLoader(base.interp)) {
    throw new WheelfixError(
      'PYTHON_UNSUPPORTED',
      `${base.program} has ${base.interp} as its loader, which exists here: there is nothing to do`,
      base.program,
    )
  }
  // no part of this Python is in the store yet
  const trust = storeTrust({ env, interpreter: [], named: namedStorePaths(options.trust, env) })
  const chosen = chooseLoader({
    ...options,
    program: base.program,
    users: [base.object],
    name: basename(base.interp),
    current: first.kind === 'copy' ? ptInterpOf(first.path) : null,
    store,
    trust,
  })
  const interpreter = { ...base, object: { ...base.object, ptInterp: chosen }, interp: chosen }
  const python = startPython(interpreter, diskTree(), store, env)
  const wanted = new Map(knownSonames().map((soname): [string, ElfObject[]] => [soname, []]))
  const { named, sources } = librarySources(python, options, wanted.keys(), null, readPins(venv))
  const loader = options.loader ? planLoader({ venv, names, python, sources, wanted, env }) : null
  const copies = loader?.copies ?? files.map(file => plainEdit(file, chosen))
  if (loader === null) for (const copy of copies) tryOrRefuse(copy, chosen)
  const libraries = loader === null ? [] : servedLibraries(loader.content)
  const pending = loader === null ? !copies.every(isUpToDate) : isLoaderPending(loader) || pinsDiffer(venv, libraries)

  const passedOver = new Set([...trustWarnings(trust), ...trustWarnings(sources.trust)])
  const warnings = [...named.warnings, ...passedOver, ...(loader?.warnings ?? [])]
  const needed = [chosen, python.libc.dir, ...libraries.map(({ path }) => path)]
  let roots = checkRoots(venv.stateFolder, needed, env)
  // a run with nothing to do must not change the modification time of the folder
  if (options.mode === 'apply' && (pending || (roots.hasNix && roots.problem !== null))) {
    const lock = lockVenv(venv)
    try {
      yield
      for (const folder of [venv.stateFolder, venv.bin]) removeTemporaries(folder, 1)
      if (loader !== null) warnings.push(...writeLoader(loader).warnings)
      else for (const copy of copies) if (!isUpToDate(copy)) write(copy)
      if (loader !== null) writePins(venv, libraries)
      yield
      roots = addRoots(venv.stateFolder, needed, env)
    } finally {
      lock.release()
    }
  } else if (options.mode === 'apply') dropStaleLock(venv)
  const after = loader?.loader ?? chosen
  return {
    root: venv.root,
    version: base.version,
    pythons: copies.flatMap(({ paths }) =>
      paths.map(path => ({ path: path.slice(venv.root.length + 1), before: base.interp, after })),
    ),
    status: !pending ? 'fine' : options.mode === 'plan' ? 'patch' : 'patched',
    libc: python.libc,
    loader,
    roots,
    warnings,
  }
}

/**
 * The folder, in the shape of a venv without packages.
 * @throws WheelfixError when it may not be edited
 */
function placeOf(root: string, store: string): PythonEnvironment {
  const fault = faultOf(root, store)
  if (fault !== null) throw new WheelfixError('PYTHON_NOT_FOUND', `${root} ${fault}`, root)
  const place = barePython(join(root, 'bin/python3'))
  checkStateFolder(place)
  return place
}

/** The reason not to edit a folder, as the second half of a sentence; null when it may be edited. */
function faultOf(root: string, store: string): string | null {
  const status = lstatSync(fsPath(root), { throwIfNoEntry: false })
  if (status === undefined) return 'does not exist'
  if (status.isSymbolicLink()) return `is a link to ${realPath(root)}: name that folder, because it would be changed`
  if (isInside(realPath(root), store)) {
    return 'is in the Nix store, whose files do not change: for an environment of this Python, use wheelfix venv or wheelfix loader'
  }
  if (isVenv(root)) {
    return 'is a virtual environment: use wheelfix venv or wheelfix loader, or name the folder of its base Python'
  }
  return existsSync(fsPath(join(root, 'bin')))
    ? null
    : 'holds no bin folder: name the folder that a Python is installed in'
}

/**
 * Refuses the distribution's own Python: it already starts, and the package manager owns its files.
 * @throws WheelfixError for /usr and the root folder, even if a link names them
 */
function refuseSystem(root: string): void {
  if (!['/', '/usr'].includes(realPath(root))) return
  const advice = 'its package manager changes these files. Name the folder of a Python that uv or you installed'
  throw new WheelfixError('PYTHON_UNSUPPORTED', `the Python in ${root} belongs to the system: ${advice}`, root)
}

function plainEdit(file: PythonName, loader: string): PythonCopy {
  const record = new Map([[file.name, 'file' as const]])
  return { paths: [file.path], source: file.path, loader, owner: 'standalone', redirect: null, record }
}

function tryOrRefuse(copy: PythonCopy, interp: string): void {
  try {
    tryCopy(copy, interp)
  } catch (error) {
    if (!(error instanceof ElfError)) throw error
    throw new WheelfixError('PYTHON_UNSUPPORTED', `${copy.source} cannot be edited: ${error.message}`, copy.source)
  }
}

function write(copy: PythonCopy): void {
  try {
    writeCopy(copy)
  } catch (error) {
    const errno = errnoOf(error)
    if (errno === undefined) throw error
    throw new WheelfixError('IO', `${copy.source} was not changed: ${systemReason(errno)}`, copy.source)
  }
}

/** Restores everything. Takes the lock when there is something to restore. */
function* restore(
  venv: PythonEnvironment,
  names: readonly PythonName[],
  env: NodeJS.ProcessEnv,
): Generator<undefined, StandaloneReport> {
  const isTouched = existsSync(fsPath(venv.stateFolder)) || names.some(({ kind }) => kind === 'copy')
  if (!isTouched) return restoreNames(venv, names, env)
  const lock = lockVenv(venv)
  try {
    yield
    return restoreNames(venv, lock.waited ? pythonNames(venv, 'standalone') : names, env)
  } finally {
    lock.release()
  }
}

/** What a restore would change. */
function planRestore(venv: PythonEnvironment, names: readonly PythonName[]): StandaloneReport {
  const pythons = names
    .filter(({ kind }) => kind === 'copy')
    .map(({ path, owner }) => ({
      path: path.slice(venv.root.length + 1),
      before: ptInterpOf(path) ?? '',
      after: withSource(path, source => readElf(plainSource(source, owner)).ptInterp) ?? '',
    }))
  return restoreReport(venv.root, pythons, 'restore')
}

function restoreReport(
  root: string,
  pythons: StandaloneReport['pythons'],
  status: 'restore' | 'restored',
): StandaloneReport {
  return {
    root,
    version: '',
    pythons,
    status: pythons.length === 0 ? 'fine' : status,
    libc: null,
    loader: null,
    roots: null,
    warnings: [],
  }
}

function restoreNames(venv: PythonEnvironment, names: readonly PythonName[], env: NodeJS.ProcessEnv): StandaloneReport {
  const copied = names.filter(({ kind }) => kind === 'copy')
  const pythons = copied.map(({ path }) => ({
    path: path.slice(venv.root.length + 1),
    before: ptInterpOf(path) ?? '',
  }))
  const folders = loaderFolders(venv, names, env)
  for (const name of copied) restoreName(name)
  const restored = pythons.map(({ path, before }) => ({
    path,
    before,
    after: ptInterpOf(join(venv.root, path)) ?? '',
  }))
  dropRoots(venv.stateFolder, env)
  removeLoader(venv, folders)
  removeTemporaries(venv.bin, 1)
  removeTree(venv.stateFolder, 'lock')
  return restoreReport(venv.root, restored, 'restored')
}

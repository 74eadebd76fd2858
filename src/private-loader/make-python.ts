// Makes a Python of the user's own from a Python of the Nix store: a prefix of links to its library, and in bin/ copies that
// a private loader starts. An environment takes its loader from the Python that made it. So when uv, pipx, virtualenv or
// `python -m venv` make an environment with this Python, its wheels work at once.
import { existsSync, lstatSync, mkdirSync, rmdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { basename, dirname, isAbsolute, join, resolve } from 'node:path'
import type { ElfObject } from '../elf/types.ts'
import { readRegular } from '../io/beneath.ts'
import { errnoOf, WheelfixError } from '../io/error.ts'
import { entriesIn, fsPath, isInside, readLink } from '../io/path.ts'
import { diskTree } from '../ldso/file-tree.ts'
import { knownSonames } from '../nix/hints.ts'
import { namedDirectories } from '../nix/libset.ts'
import { refuseStore } from '../nix/refuse-store.ts'
import { addRoots, dropRoots } from '../nix/roots.ts'
import { storeDirectory } from '../nix/store.ts'
import { type PythonEnvironment, stateFolderIn } from '../python/environment.ts'
import { checkStateFolder } from '../python/state-folder.ts'
import { findInterpreter, type Interpreter } from '../python/interpreter.ts'
import { targetPython } from '../python/named.ts'
import { startPython } from '../resolve/python-process.ts'
import { type ScanOptions, scanSources, trustWarnings } from '../resolve/scan-sources.ts'
import { lockVenv } from '../state/lock.ts'
import { readPins, writePins } from '../state/pins.ts'
import { servedLibraries } from './library-cache.ts'
import { isLoaderPending, removeLoader, writeLoader } from './private-loader.ts'
import { loaderFolders, planLoader } from './loader-plan.ts'
import { restoreName } from './python-copy.ts'
import { plainInterpreter, pythonNames } from './python-names.ts'
import type { StandaloneReport } from './standalone.ts'

interface MakeOptions extends ScanOptions {
  /** The prefix to make. It must not exist, or must be a prefix that wheelfix made. */
  readonly directory: string
  /** A venv, a program or a name on PATH; null for the Python that the prefix was made from before, else `python3`. */
  readonly from: string | null
  readonly libs: readonly string[]
  /** Take the present libraries, and the present Python of `from` or `python3`. */
  readonly update: boolean
  readonly mode: 'apply' | 'plan'
  readonly cwd: string
}

/** Did wheelfix make this folder? */
export function isMade(directory: string): boolean {
  return madeFrom(directory) !== null && !existsSync(fsPath(join(directory, 'pyvenv.cfg')))
}

/** The program of the store that a prefix was made from; null when wheelfix did not make the folder. */
function madeFrom(root: string): string | null {
  const bytes = readRegular(notePath(root), LARGEST_NOTE)
  if (bytes === null) return null
  try {
    const note: unknown = JSON.parse(bytes.toString('utf8'))
    const program = typeof note === 'object' && note !== null && 'program' in note ? note.program : null
    return typeof program === 'string' && isAbsolute(program) ? program : null
  } catch (error) {
    if (error instanceof SyntaxError) return null
    throw error
  }
}

function notePath(root: string): string {
  return `${stateFolderIn(root)}/made.json`
}

/** The size limit of a note in bytes. A note holds one path. */
const LARGEST_NOTE = 1 << 14

/** @throws WheelfixError when nothing could be done */
export function makePython(options: MakeOptions): StandaloneReport {
  const { env, cwd } = options
  const root = resolve(cwd, options.directory)
  refuseStore(nearest(root), env)
  const made = isMade(root)
  if (!made && entriesIn(root).length > 0) {
    throw new WheelfixError('PATH_REFUSED', `${root} is not empty: name a folder that does not exist yet`, root)
  }
  const keep = made && options.from === null && !options.update
  const found = keep ? plainOf(root) : findInterpreter(targetPython(options.from ?? 'python3', env, cwd))
  // environments must not be made with the wrapper or script that leads to the program
  const base = { ...found, chain: [] }
  const store = storeDirectory(env)
  if (!isInside(base.program, store)) {
    throw new WheelfixError(
      'PYTHON_UNSUPPORTED',
      `${base.program} is not a Python of the Nix store. Give it a loader in its place: wheelfix python --loader DIR`,
      base.program,
    )
  }
  const place = placeOf(root, base)
  const plan = () => planned(place, base, store, options)
  if (options.mode === 'plan') return reportOf(place, base, plan(), 'patch')

  mkdirSync(fsPath(place.bin), { recursive: true })
  const lock = lockVenv(place)
  try {
    checkStateFolder(place)
    const relinked = linkPrefix(place, base)
    if (madeFrom(root) !== base.program) {
      writeFileSync(fsPath(notePath(root)), `${JSON.stringify({ program: base.program })}\n`)
    }
    const { loader, sources } = plan()
    const isPending = relinked || isLoaderPending(loader)
    if (isPending) sources.warnings.push(...writeLoader(loader).warnings)
    const libraries = servedLibraries(loader.content)
    writePins(place, libraries)
    const needed = [base.program, loader.python.libc.dir, ...libraries.map(({ path }) => path)]
    const roots = addRoots(place.stateFolder, needed, env)
    return { ...reportOf(place, base, { loader, sources }, isPending ? 'patched' : 'fine'), roots }
  } finally {
    lock.release()
  }
}

/** Removes a prefix that wheelfix made, and only what wheelfix put there. */
export function removePython(directory: string, env: NodeJS.ProcessEnv, cwd: string): StandaloneReport {
  const root = resolve(cwd, directory)
  const place = placeOf(root, null)
  const names = pythonNames(place)
  const prefix = dirname(dirname(madeFrom(root) ?? root))
  const folders = loaderFolders(place, names, env)
  for (const name of names) {
    restoreName(name)
    rmSync(fsPath(name.path), { force: true })
  }
  dropRoots(place.stateFolder, env)
  removeLoader(place, folders)
  rmSync(fsPath(place.stateFolder), { recursive: true, force: true })
  for (const { name, kind } of entriesIn(root)) {
    const path = join(root, name)
    if (kind === 'symlink' && isInside(readLink(path), prefix)) rmSync(fsPath(path))
  }
  for (const folder of [place.bin, root]) removeEmpty(folder)
  const pythons = names.map(({ name }) => ({ path: `bin/${name}`, before: '', after: '' }))
  return { root, version: '', pythons, status: 'restored', libc: null, loader: null, roots: null, warnings: [] }
}

function removeEmpty(folder: string): void {
  try {
    rmdirSync(fsPath(folder))
  } catch (error) {
    // the folder is gone, or holds something of the user's
    if (errnoOf(error) === undefined) throw error
  }
}

/** The folder, or the nearest folder above it that exists. */
function nearest(path: string): string {
  return existsSync(fsPath(path)) || path === '/' ? path : nearest(dirname(path))
}

function placeOf(root: string, base: Interpreter | null): PythonEnvironment {
  const bin = join(root, 'bin')
  return {
    kind: 'python',
    root,
    stateFolder: stateFolderIn(root),
    config: new Map(),
    home: bin,
    python: join(bin, base === null ? 'python3' : basename(base.program)),
    program: null,
    systemSitePackages: false,
    sitePackages: [],
    bin,
    walk: [],
    files: [],
  }
}

/** The Python of the store that a prefix was made from. */
function plainOf(root: string): Interpreter {
  const place = placeOf(root, null)
  return plainInterpreter(place, pythonNames(place))
}

/**
 * Makes links to everything beside the Python's own bin/, and names that lead to the Python. @returns whether anything
 * changed
 */
function linkPrefix({ root, bin }: PythonEnvironment, { program }: Interpreter): boolean {
  const prefix = dirname(dirname(program))
  const wanted = new Map(
    entriesIn(prefix)
      .filter(({ name }) => name !== 'bin' && name !== 'nix-support')
      .map(({ name }) => [join(root, name), join(prefix, name)]),
  )
  const before = madeFrom(root)
  const stale = entriesIn(root).filter(({ name, kind }) => {
    const isOurs =
      kind === 'symlink' && before !== null && isInside(readLink(join(root, name)), dirname(dirname(before)))
    return isOurs && !wanted.has(join(root, name))
  })
  for (const { name } of stale) rmSync(fsPath(join(root, name)))
  let changed = stale.length > 0
  for (const [link, target] of wanted) changed = relink(link, target) || changed
  const name = basename(program)
  const isOf = pythonNames(placeOf(root, null)).some(
    ({ replaced }) => replaced !== 'file' && 'link' in replaced && replaced.link === program,
  )
  if (isOf) return changed
  for (const old of pythonNames(placeOf(root, null))) rmSync(fsPath(old.path))
  for (const link of [name, 'python3', 'python']) symlinkSync(fsPath(program), fsPath(join(bin, link)))
  return true
}

function relink(link: string, target: string): boolean {
  const there = lstatSync(fsPath(link), { throwIfNoEntry: false })
  if (there?.isSymbolicLink() === true && readLink(link) === target) return false
  // what the user put there must not be removed
  if (there !== undefined && !there.isSymbolicLink())
    throw new WheelfixError('PATH_REFUSED', `${link} is in the way`, link)
  if (there !== undefined) rmSync(fsPath(link))
  symlinkSync(fsPath(target), fsPath(link))
  return true
}

function planned(place: PythonEnvironment, base: Interpreter, store: string, options: MakeOptions) {
  const { env, cwd, libs, update } = options
  const python = startPython(base, diskTree(), store, env)
  const wanted = new Map(knownSonames().map((soname): [string, ElfObject[]] => [soname, []]))
  const named = namedDirectories({ flags: libs, config: [], closure: python.closure, env, cwd, store })
  const scan = scanSources(python, options, wanted.keys())
  const pins = update ? new Map<string, never>() : readPins(place)
  const sources = { directories: named.directories, pins, ...scan, store }
  const names = pythonNames(place)
  const loader = planLoader({ venv: place, names, python, sources, wanted, env })
  return { loader, sources: { warnings: [...named.warnings, ...trustWarnings(scan.trust), ...loader.warnings] } }
}

function reportOf(
  { root }: PythonEnvironment,
  { version, interp }: Interpreter,
  { loader, sources }: ReturnType<typeof planned>,
  status: StandaloneReport['status'],
): StandaloneReport {
  return {
    root,
    version,
    pythons: loader.copies.flatMap(({ paths }) =>
      paths.map(path => ({ path: path.slice(root.length + 1), before: interp, after: loader.loader })),
    ),
    status,
    libc: loader.python.libc,
    loader,
    roots: null,
    warnings: sources.warnings,
  }
}

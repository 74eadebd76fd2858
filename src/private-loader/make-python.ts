// Makes the user's own Python from a Python of the Nix store. The new prefix has links to the library of that Python, and
// its bin/ has copies that a private loader starts. An environment takes its loader from the Python that made it. So when
// uv, pipx, virtualenv or `python -m venv` make an environment with this Python, its wheels work at once.
import { existsSync, lstatSync, mkdirSync, statSync, symlinkSync } from 'node:fs'
import { basename, dirname, isAbsolute, join, relative, resolve } from 'node:path'
import type { ElfObject } from '../elf/types.ts'
import { readRegular } from '../io/beneath.ts'
import { WheelfixError } from '../io/error.ts'
import { entriesIn, exists, fsPath, isInside, readLink } from '../io/path.ts'
import { removeEmptyFolder, removeFile, removeTree, withFolders } from '../io/write/folder.ts'
import { removeTemporaries } from '../io/write/leftovers.ts'
import { isTemporary, replaceContent, replaceLink } from '../io/write/replace.ts'
import { diskTree } from '../ldso/file-tree.ts'
import { knownSonames } from '../nix/hints.ts'
import { refuseStore } from '../nix/refuse-store.ts'
import { addRoots, dropRoots } from '../nix/roots.ts'
import { storeDirectory } from '../nix/store.ts'
import { barePython, isVenv, type PythonEnvironment, stateFolderIn } from '../python/environment.ts'
import { checkStateFolder } from '../python/state-folder.ts'
import { findInterpreter, type Interpreter } from '../python/interpreter.ts'
import { targetPython } from '../python/named.ts'
import { startPython } from '../resolve/python-process.ts'
import { librarySources, type SourceOptions } from '../resolve/library-sources.ts'
import { trustWarnings } from '../resolve/trust-warnings.ts'
import { lockVenv } from '../state/lock.ts'
import { readPins, writePins } from '../state/pins.ts'
import { servedLibraries } from './library-cache.ts'
import { isLoaderPending, removeLoader, writeLoader } from './private-loader.ts'
import { loaderFolders, planLoader } from './loader-plan.ts'
import { restoreName } from './python-copy.ts'
import { isLink, plainInterpreter, type PythonName, pythonNames } from './python-names.ts'
import type { StandaloneReport } from './standalone.ts'

interface MakeOptions extends SourceOptions {
  /** The prefix to make. It must not exist, or must be a prefix that wheelfix made. */
  readonly directory: string
  /** A venv, a program or a name on PATH; null for the Python that the prefix was made from before, else `python3`. */
  readonly from: string | null
  /** Take the present libraries, and the present Python of `from` or `python3`. */
  readonly update: boolean
  readonly mode: 'apply' | 'plan'
}

/**
 * Did wheelfix make this folder? Also true if the folder only has leftovers of a run that was killed while it made or
 * removed the folder.
 */
export function isOurs(directory: string): boolean {
  return isMade(directory) || (existsSync(fsPath(directory)) && isEmpty(directory))
}

function isMade(directory: string): boolean {
  return madeFrom(directory) !== null && !isVenv(directory)
}

/** The program of the store that a prefix was made from; null when wheelfix did not make the folder. */
function madeFrom(root: string): string | null {
  return readMadeNote(root)?.program ?? null
}

/** The content of `made.json`. */
interface Note {
  /** The program of the store that the prefix is made from. */
  readonly program: string
  /** The earlier programs that it was made from, as long as links to them may be left. */
  readonly before?: readonly string[]
}

function readMadeNote(root: string): Note | null {
  const bytes = readRegular(notePath(root), LARGEST_NOTE)
  if (bytes === null) return null
  try {
    const note: unknown = JSON.parse(bytes.toString('utf8'))
    if (typeof note !== 'object' || note === null) return null
    const { program, before = [] } = note as Partial<Record<string, unknown>>
    const isPath = (value: unknown): value is string => typeof value === 'string' && isAbsolute(value)
    return isPath(program) && Array.isArray(before) ? { program, before: before.filter(isPath) } : null
  } catch (error) {
    if (error instanceof SyntaxError) return null
    throw error
  }
}

function writeMadeNote(root: string, note: Note): void {
  replaceContent(notePath(root), `${JSON.stringify(note)}\n`)
}

function notePath(root: string): string {
  return `${stateFolderIn(root)}/made.json`
}

/** The size limit of a note in bytes. A note holds a few paths. */
const LARGEST_NOTE = 1 << 14

/**
 * Makes the prefix in steps. After each step the next run can complete this one, because the note of the prefix is written
 * first. The names of bin/ lead to a Python at every moment.
 * @throws WheelfixError when nothing could be done
 */
export function* makeSteps(options: MakeOptions): Generator<undefined, StandaloneReport> {
  const { env, cwd } = options
  const root = resolve(cwd, options.directory)
  refuseNonFolder(root)
  refuseStore(root, env)
  const made = isMade(root)
  if (!made && !isEmpty(root)) {
    throw new WheelfixError('PATH_REFUSED', `${root} is not empty: name a folder that does not exist yet`, root)
  }
  const keep = made && options.from === null && !options.update
  const found = keep ? plainOf(root, env, cwd) : findInterpreter(targetPython(options.from ?? 'python3', env, cwd))
  // environments must not be made with the wrapper or script that leads to the program
  const base = { ...found, chain: [] }
  const store = storeDirectory(env)
  if (!isInside(base.program, store)) {
    throw new WheelfixError(
      'PYTHON_UNSUPPORTED',
      `${base.program} is not a Python from the Nix store. To give it a loader where it is: wheelfix python --loader DIR`,
      base.program,
    )
  }
  const place = placeOf(root, base)
  refuseUserFiles(place, base)
  const plan = () => planned(place, base, store, options)
  if (options.mode === 'plan') {
    const names = ownNames(base.program)
      .sort()
      .map(name => join(place.bin, name))
    return madeReport(place, base, plan(), 'patch', made ? null : names)
  }

  mkdirSync(fsPath(place.bin), { recursive: true })
  const lock = lockVenv(place)
  try {
    checkStateFolder(place)
    yield
    for (const folder of [place.stateFolder, place.bin]) removeTemporaries(folder, 1)
    const relinked = linkPrefix(place, base)
    yield
    const { loader, sources } = plan()
    const isPending = relinked || isLoaderPending(loader)
    if (isPending) sources.warnings.push(...writeLoader(loader).warnings)
    const libraries = servedLibraries(loader.content)
    writePins(place, libraries)
    yield
    const needed = [base.program, loader.python.libc.dir, ...libraries.map(({ path }) => path)]
    const roots = addRoots(place.stateFolder, needed, env)
    return { ...madeReport(place, base, { loader, sources }, isPending ? 'patched' : 'fine'), roots }
  } finally {
    lock.release()
  }
}

interface RemoveOptions {
  readonly directory: string
  /** Only say which programs would be removed. */
  readonly dryRun: boolean
  readonly env: NodeJS.ProcessEnv
  readonly cwd: string
}

/**
 * Removes a prefix that wheelfix made, and only what wheelfix put there, in steps. The note goes last, so the next run can
 * complete this one.
 */
export function* removeSteps({ directory, dryRun, env, cwd }: RemoveOptions): Generator<undefined, StandaloneReport> {
  const root = resolve(cwd, directory)
  const place = placeOf(root, null)
  const status = dryRun ? 'restore' : 'restored'
  const report = { root, version: '', status, libc: null, loader: null, roots: null, warnings: [] } as const
  const removed = (names: readonly PythonName[]) =>
    names.map(({ name }) => ({ path: `bin/${name}`, before: '', after: '' }))
  if (dryRun) {
    return { ...report, pythons: isMade(root) ? removed(madeLinks(pythonNames(place), madeFromAll(root))) : [] }
  }
  if (!isMade(root)) {
    // a killed run has removed all but empty folders
    if (existsSync(fsPath(place.bin))) for (const folder of [place.bin, root]) removeEmptyFolder(folder)
    return { ...report, pythons: [] }
  }
  const lock = lockVenv(place)
  try {
    yield
    const programs = madeFromAll(root)
    const prefixes = programs.map(prefixOf)
    const names = pythonNames(place)
    const folders = loaderFolders(place, names, env)
    for (const name of names) restoreName(name)
    const own = madeLinks(names, programs)
    for (const { path } of own) removeFile(path)
    dropRoots(place.stateFolder, env)
    removeLoader(place, folders)
    for (const { name, kind } of entriesIn(root)) {
      const path = join(root, name)
      if (kind === 'symlink' && prefixes.some(prefix => isInside(readLink(path), prefix))) removeFile(path)
    }
    removeTemporaries(place.bin, 1)
    for (const { name } of entriesIn(place.stateFolder)) {
      const path = `${place.stateFolder}/${name}`
      if (path !== notePath(root)) removeTree(path)
    }
    removeTree(place.stateFolder, 'lock')
    for (const folder of [place.bin, root]) removeEmptyFolder(folder)
    return { ...report, pythons: removed(own) }
  } finally {
    lock.release()
  }
}

/** The names in bin/ that wheelfix put there. What the user put there stays. */
function madeLinks(names: readonly PythonName[], programs: readonly string[]): PythonName[] {
  return names.filter(({ replaced }) => isLink(replaced) && programs.includes(replaced.link))
}

/** The programs of the store that a prefix was made from, the newest first. */
function madeFromAll(root: string): string[] {
  const { program, before = [] } = readMadeNote(root) ?? { program: root }
  return [program, ...before]
}

/** The prefix of `PREFIX/bin/python3`. */
function prefixOf(program: string): string {
  return dirname(dirname(program))
}

/** @throws WheelfixError `PATH_REFUSED` when a file, or a link that leads nowhere, is where a folder must be */
function refuseNonFolder(root: string): void {
  const there = nearestExisting(root)
  if (!statSync(fsPath(there)).isDirectory())
    throw new WheelfixError('PATH_REFUSED', `${there} is not a folder: name a folder that does not exist yet`, there)
  if (there === root) return
  const [next = ''] = relative(there, root).split('/')
  const path = join(there, next)
  if (exists(path)) throw new WheelfixError('PATH_REFUSED', `${path} is a link that leads nowhere: remove it`, path)
}

/** @throws WheelfixError `PATH_REFUSED` when the user has put something into bin/ under a name that wheelfix needs */
function refuseUserFiles(place: PythonEnvironment, { program }: Interpreter): void {
  const names = new Map(pythonNames(place).map(name => [name.name, name]))
  for (const name of ownNames(program)) {
    const path = join(place.bin, name)
    const there = names.get(name)
    const isReplaceable = there !== undefined && isLink(there.replaced)
    if (!isReplaceable && exists(path)) throw inTheWay(path)
  }
}

/** The names of bin/ that lead to the Python. */
function ownNames(program: string): string[] {
  return [...new Set([basename(program), 'python3', 'python'])]
}

function inTheWay(path: string): WheelfixError {
  return new WheelfixError('PATH_REFUSED', `${path} is in the way: remove it`, path)
}

function leadsTo({ replaced }: PythonName, target: string): boolean {
  return isLink(replaced) && replaced.link === target
}

/** Does the folder only have leftovers of a run that was killed before it wrote its note? */
function isEmpty(root: string): boolean {
  return entriesIn(root).every(({ name, kind }) =>
    name === 'bin' && kind === 'directory'
      ? entriesIn(join(root, name)).length === 0
      : name === basename(stateFolderIn(root)) &&
        entriesIn(join(root, name)).every(entry => /^lock(?:\.\d+)?$/.test(entry.name) || isTemporary(entry.name)),
  )
}

/** The folder, or the nearest folder above it that exists. */
function nearestExisting(path: string): string {
  return existsSync(fsPath(path)) || path === '/' ? path : nearestExisting(dirname(path))
}

function placeOf(root: string, base: Interpreter | null): PythonEnvironment {
  return barePython(join(root, 'bin', base === null ? 'python3' : basename(base.program)))
}

/** The Python of the store that a prefix was made from. */
function plainOf(root: string, env: NodeJS.ProcessEnv, cwd: string): Interpreter {
  const place = placeOf(root, null)
  const names = pythonNames(place)
  const note = names.some(({ path }) => path === place.python) ? null : madeFrom(root)
  // a run was killed before it made the names
  return note === null ? plainInterpreter(place, names) : findInterpreter(targetPython(note, env, cwd))
}

/**
 * Makes links to everything beside the Python's own bin/, and names that lead to the Python.
 * @returns whether anything changed
 */
function linkPrefix({ root, bin }: PythonEnvironment, { program }: Interpreter): boolean {
  const note = readMadeNote(root)
  const before = note === null ? [] : [note.program, ...(note.before ?? [])].filter(other => other !== program)
  if (note?.program !== program) writeMadeNote(root, { program, before })
  const prefix = prefixOf(program)
  const wanted = new Map(
    entriesIn(prefix)
      .filter(({ name }) => name !== 'bin' && name !== 'nix-support')
      .map(({ name }) => [join(root, name), join(prefix, name)]),
  )
  const isLinked = (path: string): boolean =>
    [program, ...before].some(other => isInside(readLink(path), prefixOf(other)))
  const stale = entriesIn(root)
    .map(({ name, kind }) => ({ kind, path: join(root, name) }))
    .filter(({ kind, path }) => kind === 'symlink' && !wanted.has(path) && isLinked(path))
  for (const { path } of stale) removeFile(path)
  let changed = stale.length > 0
  for (const [link, target] of wanted) changed = relink(link, target) || changed
  const names = pythonNames(placeOf(root, null))
  for (const link of ownNames(program)) {
    if (names.some(name => name.name === link && leadsTo(name, program))) continue
    replaceLink(join(bin, link), program)
    changed = true
  }
  // python3.11 after an update to 3.12
  for (const name of pythonNames(placeOf(root, null))) {
    if (before.some(other => leadsTo(name, other))) removeFile(name.path)
    // earlier versions made a copy of a link that the user had put there
    else if (name.kind === 'copy' && !leadsTo(name, program)) restoreName(name)
  }
  if (before.length > 0) writeMadeNote(root, { program })
  return changed
}

function relink(link: string, target: string): boolean {
  const there = lstatSync(fsPath(link), { throwIfNoEntry: false })
  if (there?.isSymbolicLink() === true && readLink(link) === target) return false
  // what the user put there must not be removed
  if (there !== undefined && !there.isSymbolicLink()) throw inTheWay(link)
  if (there !== undefined) removeFile(link)
  withFolders(({ at }) => symlinkSync(fsPath(target), fsPath(at(link))))
  return true
}

function planned(place: PythonEnvironment, base: Interpreter, store: string, options: MakeOptions) {
  const { env, update } = options
  const python = startPython(base, diskTree(), store, env)
  const wanted = new Map(knownSonames().map((soname): [string, ElfObject[]] => [soname, []]))
  const pins = update ? new Map<string, never>() : readPins(place)
  const { named, sources } = librarySources(python, options, wanted.keys(), null, pins)
  // other names in bin/ are the user's
  const note = readMadeNote(place.root)
  const programs = [base.program, ...(note === null ? [] : [note.program, ...(note.before ?? [])])]
  const names = pythonNames(place).filter(name => programs.some(program => leadsTo(name, program)))
  const loader = planLoader({ venv: place, names, python, sources, wanted, env })
  return { loader, sources: { warnings: [...named.warnings, ...trustWarnings(sources.trust), ...loader.warnings] } }
}

/** @param names the paths that the Pythons will have; null where they exist */
function madeReport(
  { root }: PythonEnvironment,
  { version, interp }: Interpreter,
  { loader, sources }: ReturnType<typeof planned>,
  status: StandaloneReport['status'],
  names: readonly string[] | null = null,
): StandaloneReport {
  return {
    root,
    version,
    pythons: (names ?? loader.copies.flatMap(({ paths }) => paths)).map(path => ({
      path: path.slice(root.length + 1),
      before: interp,
      after: loader.loader,
    })),
    status,
    libc: loader.python.libc,
    loader,
    roots: null,
    warnings: sources.warnings,
  }
}

// Folders that are no virtual environment: where wheelfix keeps what belongs to one, and how it is known again. A folder
// of a tool is not ours to put files into, so its state is the user's ($XDG_STATE_HOME), unless the user wants it beside.
import { createHash } from 'node:crypto'
import { existsSync, lstatSync, statSync, writeFileSync } from 'node:fs'
import { basename, dirname, isAbsolute, join, resolve } from 'node:path'
import { encodeText } from '../elf/text.ts'
import { readRegular } from '../io/beneath.ts'
import { WheelfixError } from '../io/error.ts'
import { entriesIn, fsPath, isInside, realPath } from '../io/path.ts'
import { replaceContent } from '../io/replace.ts'
import { refuseStore } from '../nix/refuse-store.ts'
import { storeDirectory } from '../nix/store.ts'
import { type Environment, stateFolderIn } from '../python/environment.ts'
import { onPath, targetPython } from '../python/named.ts'
import { findVenv } from '../python/pyvenv.ts'
import { shebangPython } from '../python/shebang.ts'
import { checkStateFolder } from '../python/state-folder.ts'

/** How a folder or a file is asked for. */
interface FolderQuestion {
  readonly argument: string
  /** The Python that loads its extension modules; null: what an earlier run was told, else what the folder itself tells. */
  readonly python: string | null
  /** A program that loads its objects, and is no Python. */
  readonly program: string | null
  /** Keep the state in the folder itself. */
  readonly stateHere: boolean
  readonly env: NodeJS.ProcessEnv
  readonly cwd: string
}

/** What is kept of a folder, so that `check` and `restore` know it again. */
interface FolderNote {
  /** The real path of the folder or file. */
  readonly path: string
  readonly python: string | null
  readonly program: string | null
}

/**
 * A folder or a file as an environment; a folder with a pyvenv.cfg is the venv that it is.
 * @throws WheelfixError `PATH_REFUSED` for what is not to be patched as a whole, `PYTHON_NOT_FOUND` for a Python that is not
 * there
 */
export function findFolder(question: FolderQuestion): Environment {
  const { argument, env, cwd } = question
  const given = resolve(cwd, argument)
  if (!existsSync(fsPath(given))) throw refused(given, 'does not exist')
  if (existsSync(fsPath(join(given, 'pyvenv.cfg')))) return findVenv({ argument: given, env, cwd })
  const path = realPath(given)
  const fault = faultOf(path, env)
  if (fault !== null) throw refused(path, fault)
  const isFile = !statSync(fsPath(path)).isDirectory()
  if (isFile && !lstatSync(fsPath(path)).isFile()) throw refused(path, 'is neither a folder nor a regular file')
  const root = isFile ? dirname(path) : path
  const stateFolder = stateFolderOf(path, isFile, question)
  checkStateFolder({ root, stateFolder })
  const known = readNote(stateFolder, path)
  const program = question.program === null ? (known?.program ?? null) : programNamed(question.program, env, cwd)
  const loads = program === null ? pythonFor(root, question, known) : null
  return {
    kind: 'folder',
    root,
    stateFolder,
    config: loads?.config ?? new Map(),
    home: loads?.home ?? '',
    python: loads?.python ?? null,
    program,
    systemSitePackages: false,
    sitePackages: isFile ? [] : packageFolders(root),
    bin: join(root, 'bin'),
    walk: isFile ? [] : [root],
    files: isFile ? [path] : [],
  }
}

/** The environment that a command means which looks at, or undoes, what an earlier run did: a venv, or such a folder. */
export function findEnvironment(argument: string | undefined, env: NodeJS.ProcessEnv, cwd: string): Environment {
  if (argument !== undefined) {
    const given = resolve(cwd, argument)
    if (existsSync(fsPath(given)) && !existsSync(fsPath(join(given, 'pyvenv.cfg'))) && isKnown(realPath(given), env)) {
      return findFolder({ argument, python: null, program: null, stateHere: false, env, cwd })
    }
  }
  return findVenv({ argument, env, cwd })
}

function isKnown(path: string, env: NodeJS.ProcessEnv): boolean {
  const home = stateHome(env)
  const places = [stateFolderIn(path), ...(home === null ? [] : [keyedFolder(path, home)])]
  return places.some(folder => readNote(folder, path) !== null)
}

/** Does an environment that wheelfix has a part in differ from what is kept of it? */
export function noteDiffers({ kind, stateFolder, root, files, python, program }: Environment): boolean {
  if (kind !== 'folder' || !existsSync(fsPath(stateFolder))) return false
  const note = readNote(stateFolder, files[0] ?? root)
  return note === null || note.python !== python || note.program !== program
}

/** Keeps what is to be known again. The folder is locked by the caller, so that its state folder is there. */
export function noteFolder(environment: Environment): void {
  if (!noteDiffers(environment)) return
  const { stateFolder, root, files, python, program } = environment
  const note: FolderNote = { path: files[0] ?? root, python, program }
  const path = `${stateFolder}/folder.json`
  if (existsSync(fsPath(path))) replaceContent(path, `${JSON.stringify(note)}\n`)
  else writeFileSync(fsPath(path), `${JSON.stringify(note)}\n`, { flag: 'wx' })
}

/** A note has three paths. */
const LARGEST_NOTE = 1 << 15

/** null where there is none, or one of another folder: it was copied, or two paths have one key. */
function readNote(stateFolder: string, path: string): FolderNote | null {
  const bytes = readRegular(`${stateFolder}/folder.json`, LARGEST_NOTE)
  if (bytes === null) return null
  try {
    const note: unknown = JSON.parse(bytes.toString('utf8'))
    if (typeof note !== 'object' || note === null) return null
    const { path: of, python, program } = note as Partial<Record<string, unknown>>
    const isPath = (value: unknown): value is string | null =>
      value === null || (typeof value === 'string' && isAbsolute(value))
    return of === path && isPath(python) && isPath(program) ? { path, python, program } : null
  } catch (error) {
    if (error instanceof SyntaxError) return null
    throw error
  }
}

function stateFolderOf(path: string, isFile: boolean, { stateHere, env }: FolderQuestion): string {
  const here = stateFolderIn(path)
  if (!isFile && (stateHere || readNote(here, path) !== null)) return here
  const home = stateHome(env)
  if (home !== null) return keyedFolder(path, home)
  throw new WheelfixError(
    'PATH_REFUSED',
    `there is no place for what belongs to ${path}: neither XDG_STATE_HOME nor HOME is set. Set one, or use --state-here`,
    path,
  )
}

/** The XDG base directory specification: a relative path counts as not set. */
export function stateHome(env: NodeJS.ProcessEnv): string | null {
  const named = env['XDG_STATE_HOME'] ?? ''
  if (isAbsolute(named)) return named
  const home = env['HOME'] ?? ''
  return isAbsolute(home) ? join(home, '.local/state') : null
}

function keyedFolder(path: string, home: string): string {
  const key = createHash('sha256').update(encodeText(path)).digest('hex').slice(0, 16)
  return join(home, 'wheelfix', `${basename(path)}-${key}`)
}

/** Folders of a system, whose files are its package manager's. */
const SYSTEM = ['/usr', '/bin', '/sbin', '/lib', '/lib32', '/lib64', '/etc', '/nix', '/proc', '/sys', '/dev', '/boot']

/** Folders that hold everybody's files. */
const SHARED = new Set(['/', '/home', '/root', '/var', '/opt', '/srv', '/mnt', '/media', '/tmp', '/run'])

/**
 * Why a folder is not to be patched as a whole, in the second half of a sentence; null when it may be.
 * @throws WheelfixError for one in the store
 */
function faultOf(path: string, env: NodeJS.ProcessEnv): string | null {
  if (isInside(path, realOr(storeDirectory(env)))) {
    refuseStore(path, env)
    return null
  }
  const home = env['HOME'] ?? ''
  if (isAbsolute(home) && isInside(realOr(home), path)) {
    return path === realOr(home)
      ? 'is your home folder: name the folder of one tool or environment in it'
      : 'holds your home folder: name the folder of one tool or environment'
  }
  const system = SYSTEM.find(folder => isInside(path, folder))
  if (system !== undefined) return `belongs to the system (${system}), whose package manager changes its files`
  if (/^\/home\/[^/]+$/.test(path)) return 'is a home folder: name the folder of one tool or environment in it'
  return SHARED.has(path) ? 'holds the files of everybody: name the folder of one tool or environment' : null
}

function realOr(path: string): string {
  return existsSync(fsPath(path)) ? realPath(path) : path
}

function refused(path: string, fault: string): WheelfixError {
  return new WheelfixError('PATH_REFUSED', `${path} ${fault}`, path)
}

/** What the user names, else what an earlier run was told, else the venv around the folder, else its scripts. */
function pythonFor(root: string, { python, env, cwd }: FolderQuestion, known: FolderNote | null) {
  if (python !== null) return targetPython(python, env, cwd)
  if (known !== null) return known.python === null ? null : targetPython(known.python, env, cwd)
  for (let folder = dirname(root); folder !== dirname(folder); folder = dirname(folder)) {
    if (existsSync(fsPath(join(folder, 'pyvenv.cfg')))) return findVenv({ argument: folder, env, cwd })
  }
  const told = shebangPython(join(root, 'bin'))
  return told === null ? null : targetPython(told, env, cwd)
}

function programNamed(name: string, env: NodeJS.ProcessEnv, cwd: string): string {
  const path = name.includes('/') ? resolve(cwd, name) : onPath(name, env)
  if (path !== null && existsSync(fsPath(path))) return path
  throw new WheelfixError('PYTHON_NOT_FOUND', `there is no program ${name}: name one that is there`, name)
}

/** The folders that hold distributions: the folder itself (`pip install --target`), `lib` of a prefix, `__pypackages__`. */
function packageFolders(root: string): string[] {
  const folders = (path: string) => entriesIn(path).filter(({ kind }) => kind === 'directory')
  const candidates = [
    root,
    ...folders(root).map(({ name }) => join(root, name, 'lib')),
    ...folders(join(root, 'lib')).map(({ name }) => join(root, 'lib', name, 'site-packages')),
  ]
  return candidates.filter(path => entriesIn(path).some(({ name }) => name.endsWith('.dist-info')))
}

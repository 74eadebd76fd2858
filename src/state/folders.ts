// Folders that are not virtual environments: where wheelfix keeps their state, and how it recognises them. A folder may
// belong to another tool, so wheelfix puts no files into it. Its state is in the user's folder ($XDG_STATE_HOME), unless the
// user wants it in the folder itself.
import { closeSync, constants, existsSync, fstatSync, lstatSync, openSync, readSync, statSync } from 'node:fs'
import { basename, dirname, isAbsolute, join, resolve } from 'node:path'
import { crypto } from '../io/crypto.ts'
import { encodeText } from '../elf/text.ts'
import { readRegular } from '../io/beneath.ts'
import { WheelfixError } from '../io/error.ts'
import { entriesIn, fsPath, isInside, realPath, realPathOrNull } from '../io/path.ts'
import { replaceContent, replaceExpendable } from '../io/write/replace.ts'
import { refuseStore } from '../nix/refuse-store.ts'
import { storeDirectory } from '../nix/store.ts'
import { type Environment, isVenv, stateFolderIn } from '../python/environment.ts'
import { findOnPath, targetPython } from '../python/named.ts'
import { findVenv } from '../python/pyvenv.ts'
import { shebangPython } from '../python/shebang.ts'
import { checkStateFolder } from '../python/state-folder.ts'

/** How the user names a folder or a file. */
interface FolderQuestion {
  readonly argument: string
  /**
   * The Python that loads the folder's extension modules; null: the Python of an earlier run, else the one that the folder
   * itself shows.
   */
  readonly python: string | null
  /** A program, not a Python, that loads the folder's objects. */
  readonly program: string | null
  /** Keep the state in the folder itself. */
  readonly stateHere: boolean
  readonly env: NodeJS.ProcessEnv
  readonly cwd: string
}

/** The record of a folder, by which `check` and `restore` recognise it. */
interface FolderNote {
  /** The real path of the folder or file. */
  readonly path: string
  readonly python: string | null
  readonly program: string | null
}

/**
 * Takes a folder or a file as an environment. A folder with a pyvenv.cfg is a venv.
 * @throws WheelfixError `PATH_REFUSED` for a folder that must not be patched as a whole, `PYTHON_NOT_FOUND` for a Python
 * that does not exist
 */
export function findFolder(question: FolderQuestion): Environment {
  const { argument, env, cwd } = question
  const given = resolve(cwd, argument)
  if (!existsSync(fsPath(given))) throw refused(given, 'does not exist')
  if (isVenv(given)) return findVenv({ argument: given, env, cwd })
  const path = realPath(given)
  const fault = faultOf(path, env)
  if (fault !== null) throw refused(path, fault)
  const isFile = !statSync(fsPath(path)).isDirectory()
  if (isFile && !lstatSync(fsPath(path)).isFile()) throw refused(path, 'is neither a folder nor a regular file')
  if (isFile && isArchive(path)) {
    const how = path.endsWith('.whl')
      ? `wheelfix wheel ${basename(path)} patches it`
      : 'unpack it and name the folder (shiv unpacks into ~/.shiv, pex into its cache)'
    throw refused(path, `is an archive, whose files nothing loads in place: ${how}`)
  }
  const root = isFile ? dirname(path) : path
  const stateFolder = stateFolderOf(path, isFile, question)
  checkStateFolder({ root, stateFolder })
  const known = readFolderNote(stateFolder, path)
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

/**
 * The environment for a command that examines or undoes the work of an earlier run: a venv, or a folder that wheelfix has
 * patched.
 * @param usage the command, for advice, with DIR in the place of the folder
 */
export function findKnownEnvironment(
  argument: string | undefined,
  env: NodeJS.ProcessEnv,
  cwd: string,
  usage = 'wheelfix venv DIR',
): Environment {
  if (argument !== undefined) {
    const given = resolve(cwd, argument)
    if (existsSync(fsPath(given)) && !isVenv(given) && isKnown(realPath(given), env)) {
      return findFolder({ argument, python: null, program: null, stateHere: false, env, cwd })
    }
  }
  return findVenv({ argument, env, cwd, usage })
}

/**
 * The environment for a command that serves a venv, or any other folder or file, even if wheelfix has no record of it: the
 * folder may have been moved, or its record may be lost. `restore` needs none, because the objects hold what restores them.
 */
export function findVenvOrFolder(
  argument: string | undefined,
  env: NodeJS.ProcessEnv,
  cwd: string,
  usage: string,
): Environment {
  if (argument !== undefined) {
    const given = resolve(cwd, argument)
    // a folder in an environment, and a project with one, get the sentence that names the environment
    const isOfVenv = [join(given, '.venv'), ...withParents(given)].some(folder => isVenv(folder))
    if (existsSync(fsPath(given)) && !isOfVenv) {
      return findFolder({ argument, python: null, program: null, stateHere: false, env, cwd })
    }
  }
  return findKnownEnvironment(argument, env, cwd, usage)
}

function withParents(folder: string): string[] {
  const parent = dirname(folder)
  return parent === folder ? [folder] : [folder, ...withParents(parent)]
}

function isKnown(path: string, env: NodeJS.ProcessEnv): boolean {
  const home = stateHome(env)
  const places = [stateFolderIn(path), ...(home === null ? [] : [keyedFolder(path, home)])]
  return places.some(folder => readFolderNote(folder, path) !== null)
}

/** Does a folder differ from its record? Only a folder with a state folder has a record. */
export function noteDiffers({ kind, stateFolder, root, files, python, program }: Environment): boolean {
  if (kind !== 'folder' || !existsSync(fsPath(stateFolder))) return false
  const note = readFolderNote(stateFolder, files[0] ?? root)
  return note === null || note.python !== python || note.program !== program
}

/** Keeps the record of a folder. The caller holds the lock of the folder, so the state folder exists. */
export function noteFolder(environment: Environment): void {
  if (!noteDiffers(environment)) return
  const { stateFolder, root, files, python, program } = environment
  const note: FolderNote = { path: files[0] ?? root, python, program }
  const path = `${stateFolder}/folder.json`
  const text = `${JSON.stringify(note)}\n`
  if (existsSync(fsPath(path))) replaceContent(path, text)
  else replaceExpendable(path, text)
}

/** The size limit of a note in bytes. A note holds three paths. */
const LARGEST_NOTE = 1 << 15

/**
 * Reads the note; null when there is none, or when it is about another folder: the folder was copied, or two paths have one
 * key.
 */
function readFolderNote(stateFolder: string, path: string): FolderNote | null {
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
  if (!isFile && (stateHere || readFolderNote(here, path) !== null)) return here
  const home = stateHome(env)
  if (home !== null) return keyedFolder(path, home)
  throw new WheelfixError(
    'PATH_REFUSED',
    `there is no place for the state of ${path}: neither XDG_STATE_HOME nor HOME is set. Set one, or use --state-here`,
    path,
  )
}

/**
 * The user's state folder; null without a home folder. By the XDG base directory specification a relative path counts as not
 * set.
 */
export function stateHome(env: NodeJS.ProcessEnv): string | null {
  const named = env['XDG_STATE_HOME'] ?? ''
  if (isAbsolute(named)) return named
  const home = env['HOME'] ?? ''
  return isAbsolute(home) ? join(home, '.local/state') : null
}

function keyedFolder(path: string, home: string): string {
  const key = crypto().createHash('sha256').update(encodeText(path)).digest('hex').slice(0, 16)
  return join(home, 'wheelfix', `${basename(path)}-${key}`)
}

/** Folders of a system. Their files belong to its package manager. */
const SYSTEM_FOLDERS = [
  '/usr',
  '/bin',
  '/sbin',
  '/lib',
  '/lib32',
  '/lib64',
  '/etc',
  '/nix',
  '/proc',
  '/sys',
  '/dev',
  '/boot',
]

/** Folders that hold everybody's files. */
const SHARED = new Set(
  '/ /home /root /opt /srv /mnt /media /tmp /run /run/user /var /var/lib /var/cache /var/tmp'.split(' '),
)

/**
 * The reason not to patch a folder as a whole, as the second half of a sentence; null when it may be patched.
 * @throws WheelfixError for a folder in the store, or one that holds it
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
  const system = SYSTEM_FOLDERS.find(folder => isInside(path, folder))
  if (system !== undefined)
    return `belongs to the system (${system}), whose package manager changes its files: name a folder of your own`
  if (/^\/home\/[^/]+$/.test(path)) return 'is a home folder: name the folder of one tool or environment in it'
  if (SHARED.has(path)) return 'holds files of all users: name the folder of one tool or environment'
  refuseStore(path, env)
  return null
}

/** The end of central directory record of a ZIP archive has 22 bytes and a comment (APPNOTE.TXT 4.3.16). */
const LONGEST_END = 22 + 0xffff
const END_SIGNATURE = Buffer.from('PK\x05\x06', 'latin1')

/** Is this a ZIP archive: a wheel, or a zipapp, which begins with a line for the kernel? A program may carry an archive. */
function isArchive(path: string): boolean {
  const fd = openSync(fsPath(path), constants.O_RDONLY | constants.O_NONBLOCK)
  try {
    const { size } = fstatSync(fd)
    const start = Buffer.alloc(4)
    readSync(fd, start, 0, 4, 0)
    if (!start.subarray(0, 2).equals(Buffer.from('PK')) && !start.subarray(0, 2).equals(Buffer.from('#!'))) return false
    const end = Buffer.alloc(Math.min(size, LONGEST_END))
    readSync(fd, end, 0, end.length, size - end.length)
    return end.includes(END_SIGNATURE)
  } finally {
    closeSync(fd)
  }
}

function realOr(path: string): string {
  return realPathOrNull(path) ?? path
}

function refused(path: string, fault: string): WheelfixError {
  return new WheelfixError('PATH_REFUSED', `${path} ${fault}`, path)
}

/**
 * The Python that the user names, else that of an earlier run, else that of the venv around the folder, else that of the
 * folder's scripts.
 */
function pythonFor(root: string, { python, env, cwd }: FolderQuestion, known: FolderNote | null) {
  if (python !== null) return targetPython(python, env, cwd)
  if (known !== null) return known.python === null ? null : targetPython(known.python, env, cwd)
  for (let folder = dirname(root); folder !== dirname(folder); folder = dirname(folder)) {
    if (isVenv(folder)) return findVenv({ argument: folder, env, cwd })
  }
  const told = shebangPython(join(root, 'bin'))
  return told === null ? null : targetPython(told, env, cwd)
}

function programNamed(name: string, env: NodeJS.ProcessEnv, cwd: string): string {
  const path = name.includes('/') ? resolve(cwd, name) : findOnPath(name, env)
  if (path !== null && existsSync(fsPath(path))) return path
  throw new WheelfixError('PYTHON_NOT_FOUND', `there is no program ${name}: name one that exists`, name)
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

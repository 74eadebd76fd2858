// An environment: the unit that is patched. A virtual environment is the most common kind. Other kinds are an installed
// Python, a folder that `pip install --target` filled, and a tool's own tree. pyvenv.ts and state/folders.ts find
// environments; this file only has what all kinds have in common.
import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fsPath } from '../io/path.ts'

/** Where an environment is, and where wheelfix keeps its own files for it. Both paths are absolute. */
export interface Place {
  readonly root: string
  /** Holds the lock, the journal, the pins, the roots and the answers. It need not exist. */
  readonly stateFolder: string
}

/** The unit that is patched. All paths are absolute and begin with `root` in its given spelling. */
export interface Environment extends Place {
  /**
   * - `venv`: a virtual environment, with pyvenv.cfg
   * - `python`: an installed Python
   * - `folder`: any other folder
   */
  readonly kind: 'venv' | 'python' | 'folder'
  /** The lines of pyvenv.cfg, with keys in lower case as Python reads them; empty without pyvenv.cfg. */
  readonly config: ReadonlyMap<string, string>
  /** The folder of the base interpreter: `home` of pyvenv.cfg. */
  readonly home: string
  /**
   * The Python that loads its extension modules; may be a dangling link. null: unknown, so objects are loaded alone.
   */
  readonly python: string | null
  /** A program other than Python that loads the objects (node loads addons); null: there is none. */
  readonly program: string | null
  readonly systemSitePackages: boolean
  /** The folders of installed packages, each once by device and inode. */
  readonly sitePackages: readonly string[]
  /** The folder of its programs. */
  readonly bin: string
  /** The folders whose objects are examined, including all subfolders. */
  readonly walk: readonly string[]
  /** Single files that are examined too. */
  readonly files: readonly string[]
}

/** An environment whose Python is known. */
export interface PythonEnvironment extends Environment {
  readonly python: string
}

/** Is the folder a virtual environment, as Python decides it: does it hold a pyvenv.cfg (PEP 405)? */
export function isVenv(folder: string): boolean {
  return existsSync(fsPath(join(folder, 'pyvenv.cfg')))
}

/** Is the Python that loads the environment known? */
export function hasPython(environment: Environment): environment is PythonEnvironment {
  return environment.python !== null
}

/** A Python without packages, as an environment. Its program is in `bin` below the root, or in a folder like it. */
export function barePython(python: string): PythonEnvironment {
  const bin = dirname(python)
  const root = dirname(bin)
  return {
    kind: 'python',
    root,
    stateFolder: stateFolderIn(root),
    config: new Map(),
    home: bin,
    python,
    program: null,
    systemSitePackages: false,
    sitePackages: [],
    bin,
    walk: [],
    files: [],
  }
}

/** The default state folder of an environment, inside its root. */
export function stateFolderIn(root: string): string {
  return `${root}/.wheelfix`
}

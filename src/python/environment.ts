// An environment: what is patched as one. A virtual environment is the most common kind; an installed Python, a folder
// that `pip install --target` filled or a tool's own tree are others. It is found elsewhere (pyvenv.ts, folder.ts); here
// is only what all kinds have in common.

/** Where an environment is, and where wheelfix keeps what belongs to it. Both absolute. */
export interface Place {
  readonly root: string
  /** Holds the lock, the journal, the pins, the roots and the answers; need not exist. */
  readonly stateFolder: string
}

/** What is patched as one. All paths are absolute and begin with `root` as it was given. */
export interface Environment extends Place {
  /**
   * - `venv`: a virtual environment, with pyvenv.cfg
   * - `python`: an installed Python
   * - `folder`: any other folder
   */
  readonly kind: 'venv' | 'python' | 'folder'
  /** The lines of pyvenv.cfg, keys in lower case as Python reads them; empty where there is none. */
  readonly config: ReadonlyMap<string, string>
  /** The folder of the base interpreter: `home` of pyvenv.cfg. */
  readonly home: string
  /** The Python that loads its extension modules; may be a dangling link. null: nothing tells, objects are loaded alone. */
  readonly python: string | null
  /** A program that is no Python and loads the objects (node loads addons); null: there is none. */
  readonly program: string | null
  readonly systemSitePackages: boolean
  /** The folders of installed packages, each once by device and inode. */
  readonly sitePackages: readonly string[]
  /** The folder of its programs. */
  readonly bin: string
  /** The folders whose objects are looked at, with all below them. */
  readonly walk: readonly string[]
  /** Single files besides. */
  readonly files: readonly string[]
}

/** An environment whose Python is known. */
export interface PythonEnvironment extends Environment {
  readonly python: string
}

export function hasPython(environment: Environment): environment is PythonEnvironment {
  return environment.python !== null
}

/** Where wheelfix keeps what belongs to an environment that may hold it itself. */
export function stateFolderIn(root: string): string {
  return `${root}/.wheelfix`
}

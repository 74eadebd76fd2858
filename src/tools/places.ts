// Where Python tools keep the environments that they make, by the tools' own variables and default folders. Lists folders
// and reads nothing in them but whether a pyvenv.cfg is there.
import { existsSync } from 'node:fs'
import { dirname, isAbsolute, join } from 'node:path'
import { entriesIn, fsPath, realPath } from '../io/path.ts'

/** An environment of a tool. */
export interface ToolPlace {
  readonly tool: ToolName | 'project'
  /** `venv`; `python`: an installed Python; `folder`: anything else. */
  readonly kind: 'venv' | 'python' | 'folder'
  readonly root: string
  /** Files on which the tool holds a lock while it writes there. */
  readonly locks: readonly string[]
}

/** Who asks: the tools' variables, and the folder whose own environments (tox, nox) count. */
interface PlacesQuestion {
  readonly env: NodeJS.ProcessEnv
  readonly cwd: string
}

interface Folders extends PlacesQuestion {
  readonly home: string
  readonly data: string
  readonly cache: string
}

type Finder = (folders: Folders) => Omit<ToolPlace, 'tool'>[]

const FINDERS = {
  uv: findUv,
  pipx: findPipx,
  'pre-commit': findPreCommit,
  poetry: ({ env, cache }) => {
    const base = env['POETRY_CACHE_DIR'] ?? join(cache, 'pypoetry')
    return venvsIn(env['POETRY_VIRTUALENVS_PATH'] ?? join(base, 'virtualenvs'))
  },
  pipenv: ({ env, data }) => venvsIn(env['WORKON_HOME'] ?? join(data, 'virtualenvs')),
  hatch: ({ env, data }) => {
    const base = env['HATCH_DATA_DIR'] ?? join(data, 'hatch')
    // PROJECT/ID/NAME
    const below = foldersIn(join(base, 'env/virtual')).flatMap(project => foldersIn(project))
    return [...below.flatMap(folder => venvsIn(folder)), ...pythonsIn(join(base, 'pythons'), 'python')]
  },
  pdm: ({ data }) => [...venvsIn(join(data, 'pdm/venvs')), ...pythonsIn(join(data, 'pdm/python'))],
  virtualenvwrapper: ({ env, home }) => venvsIn(env['WORKON_HOME'] ?? join(home, '.virtualenvs')),
  tox: ({ env, cwd }) => venvsIn(env['TOX_WORK_DIR'] ?? join(cwd, '.tox')),
  nox: ({ cwd }) => venvsIn(join(cwd, '.nox')),
  editors: findEditors,
} as const satisfies Record<string, Finder>

export type ToolName = keyof typeof FINDERS

export const TOOL_NAMES: readonly ToolName[] = Object.keys(FINDERS).filter(name => isToolName(name))

/** Those whose environments belong to no project, which has a command of its own for its environment. */
export const DEFAULT_TOOLS: readonly ToolName[] = ['uv', 'pipx', 'pre-commit']

export function isToolName(name: string): name is ToolName {
  return name in FINDERS
}

/** The environments of these tools, each once, Pythons first: environments are made with them. */
export function placesOf(tools: readonly ToolName[], { env, cwd }: PlacesQuestion): ToolPlace[] {
  const home = env['HOME'] ?? ''
  if (!isAbsolute(home)) return []
  const base = (name: string, usual: string): string => {
    const named = env[name] ?? ''
    return isAbsolute(named) ? named : join(home, usual)
  }
  const folders = {
    env,
    cwd,
    home,
    data: base('XDG_DATA_HOME', '.local/share'),
    cache: base('XDG_CACHE_HOME', '.cache'),
  }
  const seen = new Set<string>()
  const places = tools.flatMap(tool => FINDERS[tool](folders).map((place): ToolPlace => ({ tool, ...place })))
  const own = places.filter(({ root }) => {
    const real = realPath(root)
    if (seen.has(real)) return false
    seen.add(real)
    return true
  })
  const rank = ({ kind }: ToolPlace) => (kind === 'python' ? 0 : 1)
  return own.sort((a, b) => rank(a) - rank(b))
}

/** Tools, managed Pythons, and in the cache the environments of scripts and of `uvx` (crates/uv-cache, CacheBucket). */
function findUv({ env, data, cache }: Folders): Omit<ToolPlace, 'tool'>[] {
  const tools = env['UV_TOOL_DIR'] ?? join(data, 'uv/tools')
  const pythons = env['UV_PYTHON_INSTALL_DIR'] ?? join(data, 'uv/python')
  const cached = env['UV_CACHE_DIR'] ?? join(cache, 'uv')
  const buckets = foldersIn(cached).filter(path => /\/(?:environments|archive)-v\d+$/.test(path))
  return [
    ...pythonsIn(pythons, '', [join(pythons, '.lock')]),
    ...venvsIn(tools, [join(tools, '.lock')]),
    ...buckets.flatMap(bucket => venvsIn(bucket, [join(cached, '.lock')])),
  ]
}

/** Since 1.3 in $XDG_DATA_HOME, before in ~/.local/pipx (pipx, paths.py); what `pipx run` makes is in its cache. */
function findPipx({ env, home, data, cache }: Folders): Omit<ToolPlace, 'tool'>[] {
  const homes = env['PIPX_HOME'] === undefined ? [join(data, 'pipx'), join(home, '.local/pipx')] : [env['PIPX_HOME']]
  return [
    ...homes.flatMap(folder => [
      ...venvsIn(join(folder, 'venvs')),
      ...venvsIn(join(folder, '.cache')),
      ...pythonsIn(join(folder, 'py')),
    ]),
    ...venvsIn(join(cache, 'pipx')),
  ]
}

/** A folder for each repository; in it an environment for each language (pre-commit, store.py and lang_base.py). */
function findPreCommit({ env, cache }: Folders): Omit<ToolPlace, 'tool'>[] {
  const base = env['PRE_COMMIT_HOME'] ?? join(cache, 'pre-commit')
  const locks = [join(base, '.lock')]
  const environments = foldersIn(base)
    .filter(path => /\/repo[^/]*$/.test(path))
    .flatMap(repo => foldersIn(repo))
  return environments.flatMap((root): Omit<ToolPlace, 'tool'>[] => {
    if (isVenv(root)) return [{ kind: 'venv', root, locks }]
    // where language_version is a path the environment lies deeper: py_env-/usr/bin/python3
    return /\/\w+env-[^/]*$/.test(root) ? [{ kind: 'folder', root, locks }] : []
  })
}

/** The extensions of VS Code, its forks and their servers that bring programs for Python. */
function findEditors({ env, home }: Folders): Omit<ToolPlace, 'tool'>[] {
  const editors = ['.vscode', '.vscode-insiders', '.vscode-oss', '.vscode-server', '.cursor', '.cursor-server']
  const forks = ['.windsurf', '.windsurf-server', '.positron', '.vscodium-server', '.vscode-server-insiders']
  const folders = [...editors, ...forks].map(name => join(home, name, 'extensions'))
  const extensions = [...(env['VSCODE_EXTENSIONS'] === undefined ? [] : [env['VSCODE_EXTENSIONS']]), ...folders]
  return extensions
    .flatMap(folder => foldersIn(folder))
    .filter(path => PYTHON_EXTENSION.test(path))
    .map(root => ({ kind: 'folder', root, locks: [] }))
}

/** Publishers of extensions for Python that bring ELF files. */
const PYTHON_EXTENSION =
  /\/(?:ms-python\.|ms-toolsai\.|charliermarsh\.|astral-sh\.|detachhead\.|meta\.pyrefly|anysphere\.(?:pyright|cursorpyright|python))[^/]*$/i

function venvsIn(folder: string, locks: readonly string[] = []): Omit<ToolPlace, 'tool'>[] {
  return foldersIn(folder)
    .filter(path => isVenv(path))
    .map(root => ({ kind: 'venv', root, locks }))
}

/** Installed Pythons: folders (links to them are other names) with bin/python3.X, perhaps in a folder of theirs. */
function pythonsIn(folder: string, inside = '', locks: readonly string[] = []): Omit<ToolPlace, 'tool'>[] {
  return foldersIn(folder)
    .map(path => join(path, inside))
    .filter(path => entriesIn(join(path, 'bin')).some(({ name }) => /^(?:python|pypy)3?(?:\.\d+)?$/.test(name)))
    .map(root => ({ kind: 'python', root, locks }))
}

function isVenv(path: string): boolean {
  return existsSync(fsPath(join(path, 'pyvenv.cfg')))
}

/** The folders in a folder; links are other names of them, or lead out. Hidden ones are half made (uv's `.tmp…`). */
function foldersIn(folder: string): string[] {
  if (!isAbsolute(folder)) return []
  return entriesIn(folder)
    .filter(({ name, kind }) => kind === 'directory' && !name.startsWith('.'))
    .map(({ name }) => join(folder, name))
}

/** What an environment is called in a list: `ruff`, `repo1a2b/py_env-python3.12`. */
export function nameOf({ tool, root }: ToolPlace): string {
  const [name = '', above = ''] = root.split('/').toReversed()
  return tool === 'pre-commit' || tool === 'hatch' ? `${above}/${name}` : name || dirname(root)
}

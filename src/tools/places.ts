// Where Python tools keep the environments that they make, by the tools' own variables, configuration and default folders.
// This file lists folders. In a folder it only looks for a pyvenv.cfg.
import { basename, dirname, isAbsolute, join } from 'node:path'
import { entriesIn, realPath } from '../io/path.ts'
import { isVenv } from '../python/environment.ts'
import { hatchPaths, noxFolders, projectAbove, projectsOf, projectVenvs, toxFolders } from './projects.ts'
import { expanded, type Folders, foldersOf, named, type PlacesQuestion, tomlValue } from './tool-settings.ts'

/** An environment of a tool. */
export interface ToolPlace {
  readonly tool: ToolName | 'project'
  /** `venv`; `python`: an installed Python; `folder`: anything else. */
  readonly kind: 'venv' | 'python' | 'folder'
  readonly root: string
  /** Files on which the tool holds a lock while it writes there. */
  readonly locks: readonly string[]
  /** The Python that loads the folder's objects, if it is known. */
  readonly python?: string | null
}

type Found = Omit<ToolPlace, 'tool'>

type Finder = (folders: Folders) => Found[] | Promise<Found[]>

const FINDERS = {
  uv: findUv,
  pipx: findPipx,
  'pre-commit': findPreCommit,
  prek: findPrek,
  poetry: findPoetry,
  pipenv: findPipenv,
  hatch: findHatch,
  pdm: findPdm,
  virtualenvwrapper: folders => venvsIn(named(folders, 'WORKON_HOME') ?? join(folders.home, '.virtualenvs')),
  // environments that build packages have hidden names
  tox: async folders => (await toxFolders(folders)).flatMap(folder => venvsIn(folder, { hidden: true })),
  nox: folders => noxFolders(folders).flatMap(folder => venvsIn(folder)),
  editors: findEditors,
} as const satisfies Record<string, Finder>

export type ToolName = keyof typeof FINDERS

export const TOOL_NAMES: readonly ToolName[] = Object.keys(FINDERS).filter(name => isToolName(name))

/** The tools whose environments belong to no project. A project has its own command for its environment. */
export const DEFAULT_TOOLS: readonly ToolName[] = ['uv', 'pipx', 'pre-commit', 'prek']

/** Is this a tool whose environments wheelfix can find? */
export function isToolName(name: string): name is ToolName {
  return name in FINDERS
}

/** The environments of these tools, each once. Pythons come first, because environments are made with them. */
export async function placesOf(tools: readonly ToolName[], question: PlacesQuestion): Promise<ToolPlace[]> {
  const folders = foldersOf(question)
  if (folders === null) return []
  const seen = new Set<string>()
  const places: ToolPlace[] = []
  for (const tool of tools) places.push(...(await FINDERS[tool](folders)).map(place => ({ tool, ...place })))
  const own = places.filter(({ root }) => {
    const real = realPath(root)
    if (seen.has(real)) return false
    seen.add(real)
    return true
  })
  const rank = ({ kind }: ToolPlace) => (kind === 'python' ? 0 : 1)
  return own.sort((a, b) => rank(a) - rank(b))
}

/**
 * uv's tools and managed Pythons, and in its cache the environments of scripts and of `uvx` (crates/uv-cache, CacheBucket).
 */
async function findUv(folders: Folders): Promise<Found[]> {
  const tools = named(folders, 'UV_TOOL_DIR') ?? join(folders.data, 'uv/tools')
  const pythons = named(folders, 'UV_PYTHON_INSTALL_DIR') ?? join(folders.data, 'uv/python')
  const cached = await uvCache(folders)
  const buckets = foldersIn(cached).filter(path => /\/(?:environments|archive)-v\d+$/.test(path))
  return [
    ...pythonsIn(pythons, [join(pythons, '.lock')]),
    ...venvsIn(tools, { locks: [join(tools, '.lock')] }),
    ...buckets.flatMap(bucket => venvsIn(bucket, { locks: [join(cached, '.lock')] })),
  ]
}

/**
 * uv's cache: the variable decides, then `cache-dir` of the project, of the user and of the system (uv, "Configuration
 * files").
 */
async function uvCache(folders: Folders): Promise<string> {
  const { env, cwd, cache, config } = folders
  const variable = named(folders, 'UV_CACHE_DIR')
  if (variable !== null) return variable
  if ((env['UV_NO_CONFIG'] ?? '') === '') {
    const project = projectAbove(cwd, ['uv.toml', 'pyproject.toml']) ?? cwd
    const files = [join(config, 'uv/uv.toml'), '/etc/uv/uv.toml']
    const only = named(folders, 'UV_CONFIG_FILE')
    const ofProject = await tomlValue(join(project, 'pyproject.toml'), 'tool', 'uv', 'cache-dir')
    for (const file of only === null ? [join(project, 'uv.toml'), ...files] : [only]) {
      const set = (await tomlValue(file, 'cache-dir')) ?? (dirname(file) === project ? ofProject : undefined)
      const folder = expanded(folders, set, dirname(file))
      if (folder !== null) return folder
    }
  }
  return join(cache, 'uv')
}

/**
 * pipx keeps environments in $XDG_DATA_HOME since 1.3, and in ~/.local/pipx before (pipx, paths.py). The environments of
 * `pipx run` are in its cache. For root, the environments for all users count too.
 */
function findPipx(folders: Folders): Found[] {
  const { home, data, cache } = folders
  const chosen = named(folders, 'PIPX_HOME')
  const shared = process.geteuid?.() === 0 ? [named(folders, 'PIPX_GLOBAL_HOME') ?? '/opt/pipx'] : []
  const homes = [...(chosen === null ? [join(data, 'pipx'), join(home, '.local/pipx')] : [chosen]), ...shared]
  const lockOf = (root: string): string => join(dirname(root), `.${basename(root)}.lock`)
  return [
    ...homes.flatMap(folder => [
      ...venvsIn(join(folder, 'venvs')).map(place => ({ ...place, locks: [...place.locks, lockOf(place.root)] })),
      ...venvsIn(join(folder, '.cache')),
      ...pythonsIn(join(folder, 'py')),
    ]),
    ...venvsIn(join(cache, 'pipx')),
  ]
}

/**
 * pre-commit has a folder for each repository, with an environment for each language (pre-commit, store.py and
 * lang_base.py).
 */
function findPreCommit(folders: Folders): Found[] {
  const base = named(folders, 'PRE_COMMIT_HOME') ?? join(folders.cache, 'pre-commit')
  const locks = [join(base, '.lock')]
  const environments = foldersIn(base)
    .filter(path => /\/repo[^/]*$/.test(path))
    .flatMap(repo => foldersIn(repo))
  return environments.flatMap((root): Found[] => {
    if (isVenv(root)) return [{ kind: 'venv', root, locks }]
    // if language_version is a path, the environment lies deeper: py_env-/usr/bin/python3
    return /\/\w+env-[^/]*$/.test(root) ? [{ kind: 'folder', root, locks }] : []
  })
}

/**
 * prek, the successor of pre-commit in Rust, has an environment for each hook, named after its language, and its own
 * programs.
 */
function findPrek(folders: Folders): Found[] {
  const base = named(folders, 'PREK_HOME') ?? join(folders.cache, 'prek')
  const locks = [join(base, '.lock')]
  const hooks = foldersIn(join(base, 'hooks')).map((root): Found => {
    return { kind: isVenv(root) ? 'venv' : 'folder', root, locks: [...locks, join(root, '.lock')] }
  })
  return [
    ...pythonsIn(join(base, 'tools/python'), locks),
    ...hooks,
    ...foldersIn(join(base, 'tools'))
      .filter(path => /\/(?:uv|node|bun|deno)$/.test(path))
      .map((root): Found => ({ kind: 'folder', root, locks })),
  ]
}

/**
 * poetry keeps environments in its cache. A setting may move them, including a setting of the project (poetry,
 * config/config.py).
 */
async function findPoetry(folders: Folders): Promise<Found[]> {
  const { cwd, cache, config, data } = folders
  const project = projectAbove(cwd, ['poetry.toml', 'poetry.lock'])
  const user = join(named(folders, 'POETRY_CONFIG_DIR') ?? join(config, 'pypoetry'), 'config.toml')
  const files = [...(project === null ? [] : [join(project, 'poetry.toml')]), user]
  const setting = async (variable: string, ...keys: readonly string[]): Promise<unknown> => {
    if ((folders.env[variable] ?? '') !== '') return folders.env[variable]
    for (const file of files) {
      const value = await tomlValue(file, ...keys)
      if (value !== undefined) return value
    }
    return undefined
  }
  const base = expanded(folders, await setting('POETRY_CACHE_DIR', 'cache-dir'), cwd) ?? join(cache, 'pypoetry')
  const own = named(folders, 'POETRY_HOME') ?? join(data, 'pypoetry')
  const inside = (value: unknown): string | null => {
    const text = typeof value === 'string' ? value.replaceAll('{cache-dir}', base).replaceAll('{data-dir}', own) : value
    return expanded(folders, text, project ?? cwd)
  }
  const venvs = inside(await setting('POETRY_VIRTUALENVS_PATH', 'virtualenvs', 'path')) ?? join(base, 'virtualenvs')
  const pythons = inside(await setting('POETRY_PYTHON_INSTALLATION_DIR', 'python', 'installation-dir'))
  return [
    ...pythonsIn(pythons ?? join(own, 'python')),
    ...venvsIn(venvs),
    ...projectVenvs(folders, ['poetry.lock']).flatMap(path => venvAt(path)),
  ]
}

function findPipenv(folders: Folders): Found[] {
  const base = named(folders, 'WORKON_HOME') ?? join(folders.data, 'virtualenvs')
  return [...venvsIn(base), ...projectVenvs(folders, ['Pipfile'], base).flatMap(path => venvAt(path))]
}

/**
 * hatch uses the path PROJECT/ID/NAME, or NAME if the folder lies in the project. A setting may move the folder (hatch,
 * cli/application.py).
 */
async function findHatch(folders: Folders): Promise<Found[]> {
  const file = named(folders, 'HATCH_CONFIG') ?? join(folders.config, 'hatch/config.toml')
  const dirs = async (...keys: readonly string[]): Promise<unknown> => await tomlValue(file, 'dirs', ...keys)
  const set = expanded(folders, await dirs('data'), folders.cwd)
  const base = named(folders, 'HATCH_DATA_DIR') ?? set ?? join(folders.data, 'hatch')
  const moved = await dirs('env', 'virtual')
  const projects = projectsOf(folders.cwd, ['hatch.toml', 'pyproject.toml'])
  const places = [folders.cwd, ...projects].map(project => expanded(folders, moved, project))
  const pythons = await dirs('python')
  return [
    ...pythonsIn((pythons === 'isolated' ? null : expanded(folders, pythons, folders.cwd)) ?? join(base, 'pythons')),
    ...[join(base, 'env/virtual'), ...places].flatMap(folder => (folder === null ? [] : venvsBelow(folder, 3))),
    // `hatch fmt` and `hatch build` keep theirs in a hidden folder (hatch, env/internal)
    ...venvsIn(join(base, 'env/.internal')),
    ...(await hatchPaths(folders)).flatMap(path => venvAt(path)),
  ]
}

/** pdm's environments outside of projects, its Pythons, and the folders of PEP 582 (pdm, project/config.py). */
async function findPdm(folders: Folders): Promise<Found[]> {
  const { cwd, config, data } = folders
  const projects = projectsOf(cwd, ['pdm.lock', 'pdm.toml', '.pdm-python'])
  const user = named(folders, 'PDM_CONFIG_FILE') ?? join(config, 'pdm/config.toml')
  const files = [...projects.map(project => join(project, 'pdm.toml')), user]
  const setting = async (...keys: readonly string[]): Promise<string[]> => {
    const values = await Promise.all(files.map(async file => expanded(folders, await tomlValue(file, ...keys), cwd)))
    return values.filter(value => value !== null)
  }
  const packages = projectsOf(cwd, ['__pypackages__']).flatMap(project => foldersIn(join(project, '__pypackages__')))
  return [
    ...[join(data, 'pdm/python'), ...(await setting('python', 'install_root'))].flatMap(path => pythonsIn(path)),
    ...[join(data, 'pdm/venvs'), ...(await setting('venv', 'location'))].flatMap(path => venvsIn(path)),
    ...projectVenvs(folders, ['pdm.lock', '.pdm-python']).flatMap(path => venvAt(path)),
    ...packages.map((root): Found => ({ kind: 'folder', root, locks: [] })),
  ]
}

/** The extensions of VS Code, its forks and their servers that bring programs for Python. */
function findEditors(folders: Folders): Found[] {
  const { home } = folders
  const editors = ['.vscode', '.vscode-insiders', '.vscode-oss', '.vscode-server', '.cursor', '.cursor-server']
  const forks = ['.windsurf', '.windsurf-server', '.positron', '.vscodium-server', '.vscode-server-insiders']
  const usual = [...editors, ...forks].map(name => join(home, name, 'extensions'))
  const chosen = named(folders, 'VSCODE_EXTENSIONS')
  return [...(chosen === null ? [] : [chosen]), ...usual]
    .flatMap(folder => foldersIn(folder))
    .filter(path => PYTHON_EXTENSION.test(path))
    .map(root => ({ kind: 'folder', root, locks: [] }))
}

/** Publishers of extensions for Python that bring ELF files. */
const PYTHON_EXTENSION =
  /\/(?:ms-python\.|ms-toolsai\.|charliermarsh\.|astral-sh\.|detachhead\.|meta\.pyrefly|anysphere\.(?:pyright|cursorpyright|python))[^/]*$/i

interface VenvsIn {
  readonly locks?: readonly string[]
  /** Do hidden folders count? */
  readonly hidden?: boolean
}

/** The environments that lie in a folder. */
export function venvsIn(folder: string, { locks = [], hidden = false }: VenvsIn = {}): Found[] {
  return foldersIn(folder, hidden).flatMap(path => venvAt(path, locks))
}

/** The venv at a path, if there is one. uv holds a lock in a venv while it writes there. */
function venvAt(root: string, locks: readonly string[] = []): Found[] {
  return isVenv(root) ? [{ kind: 'venv', root, locks: [...locks, join(root, '.lock')] }] : []
}

function venvsBelow(folder: string, depth: number): Found[] {
  if (depth === 0) return []
  return foldersIn(folder).flatMap(path => (isVenv(path) ? venvAt(path) : venvsBelow(path, depth - 1)))
}

/** Installed Pythons: folders (links to them are other names) with bin/python3.X, some in a folder `python` (hatch, pbs). */
function pythonsIn(folder: string, locks: readonly string[] = []): Found[] {
  return foldersIn(folder)
    .flatMap(path => [path, join(path, 'python')])
    .filter(path => entriesIn(join(path, 'bin')).some(({ name }) => /^(?:python|pypy)3?(?:\.\d+)?$/.test(name)))
    .map(root => ({ kind: 'python', root, locks }))
}

/**
 * The folders in a folder, without links: a link is another name, or leads elsewhere. Hidden folders are unfinished (uv's
 * `.tmp…`).
 */
function foldersIn(folder: string, hidden = false): string[] {
  if (!isAbsolute(folder)) return []
  return entriesIn(folder)
    .filter(({ name, kind }) => kind === 'directory' && (hidden || !name.startsWith('.')))
    .map(({ name }) => join(folder, name))
}

/** The name of an environment in a list: `ruff`, `repo1a2b/py_env-python3.12`. */
export function nameOf({ tool, root }: ToolPlace): string {
  const [name = '', above = ''] = root.split('/').toReversed()
  const isShort = name !== '.venv' && tool !== 'pre-commit' && tool !== 'hatch'
  return isShort ? name || dirname(root) : `${above}/${name}`
}

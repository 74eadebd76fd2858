// Tools that keep environments in or beside a project: tox, nox, hatch, pdm, pipenv. This file finds the projects of a
// folder, and reads their configuration.
import { existsSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { entriesIn, fsPath } from '../io/path.ts'
import { configText, expanded, type Folders, isTable, named, tomlValue } from './tool-settings.ts'

/** The levels of folders that are searched for projects: `packages/python/NAME`. */
const DEPTH = 3
/** The most folders that are searched. It bounds a search that begins in a home folder. */
const MOST_FOLDERS = 2000

/** The nearest folder from `cwd` upwards that has one of these files; null when none has. */
export function projectAbove(cwd: string, files: readonly string[]): string | null {
  for (let folder = resolve(cwd); folder !== dirname(folder); folder = dirname(folder)) {
    if (hasOne(folder, files)) return folder
  }
  return null
}

/**
 * The projects in and around a folder: the nearest folder upwards that has one of these files, and all folders below.
 * Environments, hidden folders and node_modules hold no projects.
 */
export function projectsOf(cwd: string, files: readonly string[]): string[] {
  const above = projectAbove(cwd, files)
  const found = above === null ? [] : [above]
  let level = [resolve(cwd)]
  let left = MOST_FOLDERS
  for (let depth = 0; depth < DEPTH && level.length > 0; depth++) {
    const below = level.flatMap(folder =>
      entriesIn(folder)
        .filter(({ name, kind }) => kind === 'directory' && !name.startsWith('.') && name !== 'node_modules')
        .map(({ name }) => join(folder, name)),
    )
    level = below.slice(0, left).filter(folder => !hasOne(folder, ['pyvenv.cfg']))
    left -= level.length
    found.push(...level.filter(folder => hasOne(folder, files)))
  }
  return found
}

function hasOne(folder: string, names: readonly string[]): boolean {
  return names.some(name => existsSync(fsPath(join(folder, name))))
}

const TOX_FILES = ['tox.ini', 'tox.toml', 'pyproject.toml', 'setup.cfg']

/** The folders in which tox keeps environments (tox, config/sets.py: `work_dir`, before tox 4 `toxworkdir`). */
export async function toxFolders(folders: Folders): Promise<string[]> {
  const chosen = named(folders, 'TOX_WORK_DIR') ?? named(folders, 'TOX_WORKDIR')
  const projects = projectsOf(folders.cwd, [...TOX_FILES, '.tox'])
  const configured = projects.map(async project => {
    const text = await toxWorkDir(project)
    const plain = text?.replaceAll(/\{(?:tox_root|toxinidir)\}/g, project).replaceAll(/\{home(?:dir)?\}/g, folders.home)
    // only tox itself can replace other substitutions
    return plain === undefined || /\{[^}]*\}/.test(plain) ? join(project, '.tox') : expanded(folders, plain, project)
  })
  return [...new Set([chosen, ...(await Promise.all(configured))])].filter(path => path !== null)
}

async function toxWorkDir(project: string): Promise<string | undefined> {
  const inIni = (text: string): string | undefined => /^(?:tox)?work_?dir\s*=\s*(.+?)\s*$/m.exec(text)?.[1]
  const ini = inIni(configText(join(project, 'tox.ini'))) ?? inIni(configText(join(project, 'setup.cfg')))
  if (ini !== undefined) return ini
  const own = await tomlValue(join(project, 'tox.toml'), 'work_dir')
  const shared = await tomlValue(join(project, 'pyproject.toml'), 'tool', 'tox', 'work_dir')
  const legacy = await tomlValue(join(project, 'pyproject.toml'), 'tool', 'tox', 'legacy_tox_ini')
  const found = own ?? shared ?? (typeof legacy === 'string' ? inIni(legacy) : undefined)
  return typeof found === 'string' ? found : undefined
}

/**
 * The folders in which nox keeps environments: `.nox` beside the noxfile, or the folder that the noxfile sets (nox,
 * _options.py: `envdir`).
 */
export function noxFolders(folders: Folders): string[] {
  return projectsOf(folders.cwd, ['noxfile.py', '.nox']).flatMap(project => {
    const code = configText(join(project, 'noxfile.py'))
    const set = /^\s*nox\.options\.envdir\s*=\s*(['"])(.+?)\1/m.exec(code)?.[2]
    return [join(project, '.nox'), ...(set === undefined ? [] : [resolve(project, set)])]
  })
}

/**
 * Environments of hatch with their own path. It is the `path` of an environment, or hatch's variable (hatch, env/virtual.py).
 */
export async function hatchPaths(folders: Folders): Promise<string[]> {
  const projects = projectsOf(folders.cwd, ['hatch.toml', 'pyproject.toml'])
  const inProjects = projects.map(async project => {
    const tables = [
      await tomlValue(join(project, 'hatch.toml'), 'envs'),
      await tomlValue(join(project, 'pyproject.toml'), 'tool', 'hatch', 'envs'),
    ]
    const paths = tables.flatMap(table => (isTable(table) ? Object.values(table) : []))
    return paths.flatMap(options => (isTable(options) ? (expanded(folders, options['path'], project) ?? []) : []))
  })
  const chosen = named(folders, 'HATCH_ENV_TYPE_VIRTUAL_PATH')
  return [...(await Promise.all(inProjects)).flat(), ...(chosen === null ? [] : [chosen])]
}

/** The `.venv` of the projects that have one of these files: a folder, or pipenv's file that names one. */
export function projectVenvs(folders: Folders, files: readonly string[], base: string | null = null): string[] {
  return projectsOf(folders.cwd, files).flatMap(project => {
    const path = join(project, '.venv')
    const text = configText(path).trim()
    if (text === '') return [path]
    // a name without a slash is a folder in WORKON_HOME (pipenv, utils/venv_locator.py)
    return text.includes('/') ? [resolve(project, text)] : base === null ? [] : [join(base, text)]
  })
}

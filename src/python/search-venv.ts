// Finds the virtual environment of a folder when the user names none: looks where venv, virtualenv, uv, pdm and
// hand-made projects put it. This file reads names and small files, and runs nothing.
import { existsSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { readRegularText } from '../io/beneath.ts'
import { realPathOrNull } from '../io/path.ts'
import { isVenv } from './environment.ts'

/** The usual names of a venv in its project, the most common first (gitignore's template has all three). */
const NAMES = ['.venv', 'venv', 'env'] as const

/** The folders from `cwd` up to the root. */
function upwards(cwd: string): string[] {
  const folders = [resolve(cwd)]
  for (let folder = resolve(cwd); folder !== dirname(folder); folder = dirname(folder)) folders.push(dirname(folder))
  return folders
}

/**
 * The environment of the nearest folder that has one; null if no folder has one. A folder counts if it is a venv
 * itself (the user works inside it). Otherwise uv's setting decides, then the common names.
 */
export function searchVenv(cwd: string, env: NodeJS.ProcessEnv): string | null {
  const uv = env['UV_PROJECT_ENVIRONMENT'] ?? ''
  for (const folder of upwards(cwd)) {
    if (isVenv(folder)) return folder
    // for uv the path is relative to the folder of the project (docs/concepts/projects/config, "Project environment
    // path")
    if (uv !== '' && existsSync(join(folder, 'pyproject.toml')) && isVenv(resolve(folder, uv))) {
      return resolve(folder, uv)
    }
    // the name .venv is enough: the caller reports a broken one
    if (existsSync(join(folder, NAMES[0]))) return join(folder, NAMES[0])
    const found = NAMES.map(name => join(folder, name)).find(isVenv) ?? ofPdm(folder)
    if (found !== null) return found
  }
  return null
}

/** pdm writes the path of its Python into .pdm-python. */
function ofPdm(folder: string): string | null {
  const python = textOf(join(folder, '.pdm-python')).trim()
  const root = dirname(dirname(python))
  return python.startsWith('/') && isVenv(root) ? root : null
}

/** Tools that keep environments outside of the project. Each has a command that prints the place. */
const ELSEWHERE: readonly (readonly [tool: string, command: string, isHere: (folder: string) => boolean])[] = [
  ['poetry', 'poetry env info --path', folder => has(folder, 'poetry.lock') || usesTool(folder, 'poetry')],
  ['pipenv', 'pipenv --venv', folder => has(folder, 'Pipfile')],
  ['hatch', 'hatch env find', folder => has(folder, 'hatch.toml') || usesTool(folder, 'hatch')],
  ['pdm', 'pdm venv --path in-project', folder => has(folder, 'pdm.lock')],
]

function has(folder: string, name: string): boolean {
  return existsSync(join(folder, name))
}

function usesTool(folder: string, tool: string): boolean {
  return new RegExp(`^\\[tool\\.${tool}[\\].]`, 'm').test(textOf(join(folder, 'pyproject.toml')))
}

/**
 * One sentence with advice for a user without an environment that `searchVenv` finds.
 * @param usage the command that needs an environment, with DIR in its place
 */
export function adviceWithoutVenv(cwd: string, env: NodeJS.ProcessEnv, usage: string): string {
  for (const folder of upwards(cwd)) {
    const found = ELSEWHERE.find(([, , isHere]) => isHere(folder))
    if (found === undefined) continue
    const [tool, command] = found
    return `${folder} is a ${tool} project, whose environment is elsewhere. Run: ${usage.replace('DIR', `"$(${command})"`)}`
  }
  const conda = env['CONDA_PREFIX'] ?? ''
  if (conda !== '') {
    return (
      `the active environment ${conda} is a conda environment, which brings its own libraries: wheelfix does not support it. Create a virtual ` +
      'environment: python3 -m venv .venv'
    )
  }
  return usage.startsWith('wheelfix restore')
    ? `name one (${usage}), or activate one`
    : `name one (${usage}), activate one, or create one: python3 -m venv .venv`
}

/** A warning if the active environment is not the one of the current project; null otherwise. */
export function activeElsewhere(cwd: string, env: NodeJS.ProcessEnv): string | null {
  const active = env['VIRTUAL_ENV'] ?? ''
  if (active === '') return null
  const own = searchVenv(cwd, env)
  if (own === null || !isVenv(own) || isSame(own, resolve(cwd, active))) return null
  return `VIRTUAL_ENV names ${active}, which is not the environment of this project. To patch the project's environment, run: wheelfix venv ${own}`
}

function isSame(a: string, b: string): boolean {
  const real = realPathOrNull(a)
  return real !== null && real === realPathOrNull(b)
}

const LARGEST_TEXT = 1 << 20

function textOf(path: string): string {
  return readRegularText(path, LARGEST_TEXT)
}

// The environments that a command may have changed: the project's environment, the program's environment, the places that the
// command names, and the environments of its tool.
import { spawnSync } from 'node:child_process'
import { statSync } from 'node:fs'
import { dirname, isAbsolute, resolve } from 'node:path'
import { WheelfixError } from '../../io/error.ts'
import { fsPath, isFolder } from '../../io/path.ts'
import { isVenv } from '../../python/environment.ts'
import { findOnPath } from '../../python/named.ts'
import { findVenv } from '../../python/pyvenv.ts'
import { scriptPython } from '../../python/shebang.ts'
import type { CommandPlan, InstallTarget } from '../../tools/command-line.ts'
import { placesOf, type ToolPlace, venvsIn } from '../../tools/places.ts'
import type { Words } from '../../tools/split-options.ts'

/** Where a command works. */
interface Surroundings {
  readonly env: NodeJS.ProcessEnv
  /** The working folder of the program, after `env -C` and options such as `uv --directory`. */
  readonly cwd: string
  /** The folder of the project. */
  readonly project: string
}

/** Where the program of a command works, after wrappers and options that change the folder. */
export function surroundingsOf({ env, folders, project }: CommandPlan): Surroundings {
  const cwd = folders.reduce((folder, into) => resolve(folder, into), process.cwd())
  const named = resolve(cwd, project ?? '.')
  // `nox -f FILE`, PIPENV_PIPFILE
  return { env, cwd, project: isFile(named) ? dirname(named) : named }
}

/**
 * The environments that a command may change or have changed. A folder that does not exist yet is not among them, so the caller
 * asks before and after the command.
 */
export async function placesFor(plan: CommandPlan): Promise<ToolPlace[]> {
  const { words, tools, ofUvProject, targets } = plan
  const surroundings = surroundingsOf(plan)
  const { env, cwd, project } = surroundings
  const named = targets.flatMap(place => targetPlace(place, words, surroundings))
  // a command that names a place does not install into the project's environment
  const own = named.length > 0 ? [] : [projectVenv(ofUvProject, surroundings), programVenv(words, env, cwd)]
  const venvs = [...new Set(own.flatMap(root => root ?? []))].map(venvPlace)
  return [...named, ...venvs, ...(await placesOf(tools, { env, cwd: project }))]
}

/** @param ofUv a uv project uses its own environment, even if another one is active */
function projectVenv(ofUv: boolean, { env, project }: Surroundings): string | null {
  const named = env['UV_PROJECT_ENVIRONMENT'] ?? ''
  try {
    if (ofUv && named !== '') return findVenv({ argument: resolve(project, named), env, cwd: project }).root
    return findVenv({ env: ofUv ? { ...env, VIRTUAL_ENV: '' } : env, cwd: project }).root
  } catch (error) {
    if (error instanceof WheelfixError) return null
    throw error
  }
}

/** The venv that holds the program. */
function programVenv(words: Words, env: NodeJS.ProcessEnv, cwd: string): string | null {
  const path = programPath(words, env, cwd)
  return path === null ? null : venvOf(path)
}

function programPath([program = '']: Words, env: NodeJS.ProcessEnv, cwd: string): string | null {
  return program.includes('/') ? resolve(cwd, program) : findOnPath(program, env)
}

/** The venv in whose bin/ a file lies. */
function venvOf(path: string): string | null {
  const root = dirname(dirname(path))
  return isVenv(root) ? root : null
}

function venvPlace(root: string): ToolPlace {
  return { tool: 'project', kind: 'venv', root, locks: [] }
}

/** The place that an option names. A folder is loaded by the Python that runs pip. */
function targetPlace({ kind, path }: InstallTarget, words: Words, { env, cwd }: Surroundings): ToolPlace[] {
  const given = resolve(cwd, path)
  if (kind === 'environments') return venvsIn(given, { hidden: true }).map(place => ({ tool: 'project', ...place }))
  if (kind === 'python') {
    const root = isFolder(given) ? given : venvOf(given)
    return root !== null && isVenv(root) ? [venvPlace(root)] : []
  }
  const program = programPath(words, env, cwd)
  const python = program === null ? null : (scriptPython(program) ?? (isPython(program) ? program : null))
  const root = kind === 'user' ? userSite(python) : given
  return root !== null && isFolder(root) ? [{ tool: 'project', kind: 'folder', root, locks: [], python }] : []
}

function isPython(path: string): boolean {
  return /\/(?:python|pypy)[\d.]*$/.test(path)
}

function isFile(path: string): boolean {
  return statSync(fsPath(path), { throwIfNoEntry: false })?.isFile() ?? false
}

/** The folder of `pip install --user`, as reported by this Python. */
function userSite(python: string | null): string | null {
  if (python === null) return null
  const args = ['-c', 'import site; print(site.getusersitepackages())']
  const { stdout } = spawnSync(python, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })
  const path = (stdout ?? '').trim()
  return isAbsolute(path) ? path : null
}

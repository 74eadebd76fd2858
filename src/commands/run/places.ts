// The environments that a command may have changed: the project's environment, the program's environment, the places that the
// command names, and the environments of its tool.
import { spawnSync } from 'node:child_process'
import { existsSync, statSync } from 'node:fs'
import { dirname, isAbsolute, join, resolve } from 'node:path'
import { WheelfixError } from '../../io/error.ts'
import { fsPath } from '../../io/path.ts'
import { findProgram } from '../../python/named.ts'
import { findVenv } from '../../python/pyvenv.ts'
import { scriptPython } from '../../python/shebang.ts'
import type { InstallTarget, planCommand } from '../../tools/command-line.ts'
import { placesOf, type ToolPlace } from '../../tools/places.ts'

type CommandPlan = ReturnType<typeof planCommand>

type Words = readonly string[]

/**
 * The environments that a command may change or have changed. A folder that does not exist yet is not among them, so the caller
 * asks before and after the command. `words`: the command line, the program first.
 */
export async function placesFor(
  words: Words,
  { tools, isUv, ofUvProject, own: ownWords, targets }: CommandPlan,
): Promise<ToolPlace[]> {
  const { env } = process
  const cwd = process.cwd()
  const folder = workingFolder(ownWords, isUv, env, cwd)
  const program = programPath(words, env, cwd)
  const named = targets.flatMap(target => targetPlace(target, program, folder))
  // a command that names a place does not install into the project's environment
  const own =
    named.length > 0 ? [] : [projectVenv(ownWords, ofUvProject, env, folder), program === null ? null : venvOf(program)]
  const venvs = [...new Set(own.flatMap(root => root ?? []))].map(venvPlace)
  return [...named, ...venvs, ...(await placesOf(tools, { env, cwd }))]
}

/**
 * The folder to which all paths in the words of a command are relative. uv and poetry change to the folder of `--directory`
 * before they do anything else (`uv help`).
 */
function workingFolder(words: Words, isUv: boolean, env: NodeJS.ProcessEnv, cwd: string): string {
  return resolve(cwd, valueOf('--directory', words) ?? (isUv ? env['UV_WORKING_DIR'] : undefined) ?? '.')
}

/** The value of an option, `--option VALUE` or `--option=VALUE`. */
function valueOf(option: string, words: Words): string | undefined {
  const at = words.findIndex(word => word === option || word.startsWith(`${option}=`))
  return words[at] === option ? words[at + 1] : words[at]?.slice(option.length + 1)
}

/** @param ofUv a uv project uses its own environment, even if another one is active */
function projectVenv(words: Words, ofUv: boolean, env: NodeJS.ProcessEnv, cwd: string): string | null {
  const folder = resolve(cwd, valueOf('--project', words) ?? (ofUv ? env['UV_PROJECT'] : undefined) ?? '.')
  const named = env['UV_PROJECT_ENVIRONMENT'] ?? ''
  const isOwn = ofUv && !words.includes('--active')
  try {
    if (isOwn && named !== '') return findVenv({ argument: resolve(folder, named), env, cwd }).root
    return findVenv({ env: isOwn ? { ...env, VIRTUAL_ENV: '' } : env, cwd: folder }).root
  } catch (error) {
    if (error instanceof WheelfixError) return null
    throw error
  }
}

function programPath([program = '']: Words, env: NodeJS.ProcessEnv, cwd: string): string | null {
  return program.includes('/') ? resolve(cwd, program) : findProgram(program, env)
}

/** The venv in whose bin/ a file lies. */
function venvOf(path: string): string | null {
  const root = dirname(dirname(path))
  return existsSync(fsPath(join(root, 'pyvenv.cfg'))) ? root : null
}

function venvPlace(root: string): ToolPlace {
  return { tool: 'project', kind: 'venv', root, locks: [] }
}

/**
 * The place that an option of pip names. A folder is loaded by the Python that runs pip.
 * @param program the program of the command
 * @param folder the folder to which the option's path is relative
 */
function targetPlace({ kind, path }: InstallTarget, program: string | null, folder: string): ToolPlace[] {
  const given = resolve(folder, path)
  if (kind === 'python') {
    const root = isFolder(given) ? given : venvOf(given)
    return root !== null && existsSync(fsPath(join(root, 'pyvenv.cfg'))) ? [venvPlace(root)] : []
  }
  const python = program === null ? null : (scriptPython(program) ?? (isPython(program) ? program : null))
  const root = kind === 'user' ? userSite(python) : given
  return root !== null && isFolder(root) ? [{ tool: 'project', kind: 'folder', root, locks: [], python }] : []
}

function isPython(path: string): boolean {
  return /\/(?:python|pypy)[\d.]*$/.test(path)
}

function isFolder(path: string): boolean {
  return statSync(fsPath(path), { throwIfNoEntry: false })?.isDirectory() ?? false
}

/** The folder of `pip install --user`, as reported by this Python. */
function userSite(python: string | null): string | null {
  if (python === null) return null
  const args = ['-c', 'import site; print(site.getusersitepackages())']
  const { stdout } = spawnSync(python, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })
  const path = (stdout ?? '').trim()
  return isAbsolute(path) ? path : null
}

// The Python that a user names: a venv, a program, or a name on PATH.
import { existsSync, statSync } from 'node:fs'
import { delimiter, dirname, join, resolve } from 'node:path'
import { WheelfixError } from '../io/error.ts'
import { fsPath } from '../io/path.ts'
import { barePython, isVenv, type PythonEnvironment } from './environment.ts'
import { findVenv } from './pyvenv.ts'
import { askShim, hasShebang } from './shim.ts'

/**
 * The Python that the user names. Without a name: the Python of the venv that other commands would use, else
 * `python3` on PATH.
 */
export function targetPython(named: string | undefined, env: NodeJS.ProcessEnv, cwd: string): PythonEnvironment {
  if (named === undefined) {
    try {
      return findVenv({ env, cwd })
    } catch (error) {
      if (!(error instanceof WheelfixError) || error.code !== 'VENV_NOT_FOUND') throw error
      return targetPython('python3', env, cwd)
    }
  }
  // a name without a slash is a program on PATH, unless a folder has that name: --python .venv
  const folder = statSync(fsPath(resolve(cwd, named)), { throwIfNoEntry: false })?.isDirectory() === true
  const path = folder || named.includes('/') ? resolve(cwd, named) : findOnPath(named, env)
  if (path === null || !existsSync(fsPath(path))) {
    throw new WheelfixError(
      'PYTHON_NOT_FOUND',
      `there is no Python ${named}: name one that exists (--python .venv, --python /nix/store/…/bin/python3)`,
      named,
    )
  }
  if (statSync(fsPath(path)).isDirectory()) {
    if (isVenv(path)) return findVenv({ argument: path, env, cwd })
    return barePython(join(path, 'bin/python3'))
  }
  const root = dirname(dirname(path))
  return isVenv(root)
    ? { ...findVenv({ argument: root, env, cwd }), python: path }
    : barePython(hasShebang(path) ? askShim(path, env, cwd) : path)
}

/** The program of that name on PATH; null where there is none. */
export function findOnPath(program: string, env: NodeJS.ProcessEnv): string | null {
  for (const folder of (env['PATH'] ?? '').split(delimiter)) {
    const path = join(folder, program)
    if (folder !== '' && existsSync(fsPath(path))) return path
  }
  return null
}

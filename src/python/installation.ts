// The folder that a Python is installed in. The user may name the folder, the interpreter, or an environment of it.
import { statSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { errnoOf, WheelfixError } from '../io/error.ts'
import { fsPath, realPath } from '../io/path.ts'
import { findVenv } from './pyvenv.ts'

/**
 * The folder of the Python that the user names. Returns any other path unchanged: the code that edits the folder
 * reports what is wrong.
 */
export function installationOf(named: string, cwd: string): string {
  const path = resolve(cwd, named)
  try {
    if (statSync(fsPath(path)).isFile()) return dirname(dirname(realPath(path)))
    return dirname(realPath(findVenv({ argument: path, env: {}, cwd }).home))
  } catch (error) {
    if (error instanceof WheelfixError || errnoOf(error) !== undefined) return path
    throw error
  }
}

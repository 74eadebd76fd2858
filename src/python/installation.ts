// The folder that a Python is installed in. The user may name the folder, the interpreter, or an environment of it.
import { basename, dirname, resolve } from 'node:path'
import { errnoOf, WheelfixError } from '../io/error.ts'
import { realPath, statusOf } from '../io/path.ts'
import { findVenv } from './pyvenv.ts'
import { hasShebang } from './shim.ts'

/**
 * The folder of the Python that the user names. Returns any other folder unchanged: the code that edits the folder
 * reports what is wrong.
 * @throws WheelfixError `PYTHON_NOT_FOUND` for a file that is not an installed interpreter
 */
export function installationOf(named: string, cwd: string): string {
  const path = resolve(cwd, named)
  if (statusOf(path)?.isFile() === true) return prefixOf(path)
  try {
    return dirname(realPath(findVenv({ argument: path, env: {}, cwd }).home))
  } catch (error) {
    if (error instanceof WheelfixError || errnoOf(error) !== undefined) return path
    throw error
  }
}

/** The folder above the `bin` that an interpreter is in. */
function prefixOf(path: string): string {
  const program = realPath(path)
  const isInstalled = INTERPRETER.test(basename(program)) && basename(dirname(program)) === 'bin'
  const script = hasShebang(program)
  if (isInstalled && !script) return dirname(dirname(program))
  const what = script ? 'is a script, not a Python' : 'is not the interpreter of an installed Python'
  throw new WheelfixError(
    'PYTHON_NOT_FOUND',
    `${path} ${what}: name the folder that a Python is installed in, or its bin/python3`,
    path,
  )
}

const INTERPRETER = /^(?:python|pypy)(?:\d+(?:\.\d+)?t?)?$/

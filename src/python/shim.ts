// A python3 that is a script: the shim of a version manager (pyenv, asdf, mise), a wrapper of direnv, `#!/usr/bin/env
// -S`. Its target depends on the folder and on the user's settings. So wheelfix does not read the script, but runs it
// and asks.
import { existsSync } from 'node:fs'
import { basename, isAbsolute } from 'node:path'
import { decodeBytes } from '../elf/text.ts'
import { WheelfixError } from '../io/error.ts'
import { fsPath } from '../io/path.ts'
import { withSource } from '../io/source.ts'

/** A shim starts Python in a fraction of a second. wheelfix does not wait for a shim that downloads something. */
const PATIENCE_MS = 5000

/**
 * Prints the kernel's name for the running program, then Python's name. If a loader started Python, the first name is
 * the loader's.
 */
const QUESTION = 'import os, sys; print(os.readlink("/proc/self/exe")); print(sys.executable)'

/**
 * The Python that a script starts here.
 * @throws WheelfixError `PYTHON_NOT_FOUND` where the script gives no answer in time
 */
export function askShim(script: string, env: NodeJS.ProcessEnv, cwd: string): string {
  // loaded on use, because loading takes as long as a whole run with nothing to do
  const { spawnSync } = process.getBuiltinModule('node:child_process')
  const { stdout } = spawnSync(script, ['-c', QUESTION], {
    env,
    cwd,
    timeout: PATIENCE_MS,
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  const lines = decodeBytes(stdout ?? Buffer.alloc(0))
    .trim()
    .split('\n')
    .slice(-2)
  const found = lines.find(path => isAbsolute(path) && /python|pypy/.test(basename(path)) && existsSync(fsPath(path)))
  if (found !== undefined && found !== script) return found
  throw new WheelfixError(
    'PYTHON_NOT_FOUND',
    `${script} is a script that did not start a Python within ${PATIENCE_MS / 1000} seconds: name the Python itself ` +
      '(--python /path/to/python3)',
    script,
  )
}

/** Does a file begin with `#!`? */
export function hasShebang(path: string): boolean {
  return withSource(path, source => source.size > 2 && decodeBytes(source.read(0, 2)) === '#!')
}

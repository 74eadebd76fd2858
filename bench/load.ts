// The cost of importing modules of a patched venv: the processor time, and the number of files that the loader tries and does
// not find.
import { join } from 'node:path'
import { which } from '../test/support/requires.ts'
import { run } from '../test/support/run.ts'
import type { World } from '../test/world/world.ts'
import { measure, type Measure, median } from './measure.ts'

export interface Load {
  /** null if the import fails. */
  readonly measure: Measure | null
  /** Calls of openat(2) for a shared object that did not exist; null without strace. */
  readonly failedOpens: number | null
}

const RUNS = 3

/** @param modules `scipy.stats,pandas` */
export function loadOf(world: World, venv: string, modules: string, env: NodeJS.ProcessEnv): Load {
  const python = join(venv, 'bin/python')
  const command = [python, '-c', `import ${modules}`]
  // the first run is not measured, because it reads the files from the disk
  if (run(python, command.slice(1), { env }).status !== 0) return { measure: null, failedOpens: null }
  const measures = Array.from({ length: RUNS }, () => measure(world.host.python.executable, command, env))
  return { measure: median(measures), failedOpens: failedOpens(command, env) }
}

function failedOpens(command: readonly string[], env: NodeJS.ProcessEnv): number | null {
  const strace = which('strace')
  if (strace === undefined) return null
  const { stderr } = run(strace, ['-f', '-e', 'trace=openat', '-e', 'status=failed', ...command], { env })
  return stderr.split('\n').filter(line => /\.so(?:\.[\d.]+)?", .*ENOENT/.test(line)).length
}

// A program that is ended by a signal while it works.
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { run } from './run.ts'

/**
 * Starts a program, sends it the signal once the file `ready` is there, and waits for its end. The program has a process
 * group of its own, which is killed at last, because its children may not end by themselves.
 * @returns the exit status, and the signal that ended the program; one of them is null
 */
export async function signalled(
  [program, ...args]: readonly [string, ...string[]],
  { env, cwd }: { readonly env: NodeJS.ProcessEnv; readonly cwd: string },
  ready: string,
  signal: NodeJS.Signals,
): Promise<{ readonly status: number | null; readonly by: NodeJS.Signals | null }> {
  const child = spawn(program, args, { env, cwd, stdio: 'ignore', detached: true })
  const end = new Promise<{ status: number | null; by: NodeJS.Signals | null }>(settle => {
    child.once('close', (status, by) => {
      settle({ status, by })
    })
  })
  while (!existsSync(ready)) await new Promise(settle => setTimeout(settle, 20))
  child.kill(signal)
  const ended = await end
  if (child.pid !== undefined) run('kill', ['-9', '--', `-${child.pid}`])
  return ended
}

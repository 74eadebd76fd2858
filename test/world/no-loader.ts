// The machine as a program from another system finds it on NixOS: the loader that it asks for is not there. In a mount namespace
// an empty folder hides the loader of the host; the programs of the world have one in the store.
import { realpathSync } from 'node:fs'
import { which } from '../support/requires.ts'
import { run, type RunOptions, type RunResult } from '../support/run.ts'

type Start = (program: string, args: readonly string[], options?: RunOptions) => RunResult

/** @returns what starts a program there, or why there can be none here (a permission that not every container gives) */
export function withoutLoader(): Start | string {
  if (process.arch !== 'x64') return 'needs x86-64, whose loader has a folder of its own'
  const [unshare, mount] = [which('unshare'), which('mount')]
  if (unshare === undefined || mount === undefined) return 'needs unshare and mount'
  const place = realpathSync('/lib64')
  const namespace = process.getuid?.() === 0 ? '-m' : '-rm'
  const script = `${mount} -t tmpfs none ${place} && exec "$@"`
  const start: Start = (program, args, options) =>
    run(unshare, [namespace, '/bin/sh', '-c', script, 'sh', program, ...args], options)
  // the shell is an ordinary program, and must not start there
  const { status, stderr } = start('/bin/sh', ['-c', 'true'])
  return status === 127 || /not found/.test(stderr) ? start : `needs a mount namespace: ${stderr.trim()}`
}

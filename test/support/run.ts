// Running a program and getting what it said. Knows nothing of worlds or of wheelfix.
import { spawnSync } from 'node:child_process'

export interface RunResult {
  /** The exit status; 128 + the signal's number where one ended it, as a shell counts. */
  readonly status: number
  readonly stdout: string
  readonly stderr: string
}

export interface RunOptions {
  readonly env?: NodeJS.ProcessEnv
  readonly cwd?: string
  readonly uid?: number
  readonly gid?: number
  readonly input?: string
}

/** Runs to the end, whatever its status. @throws Error only where the program cannot be started */
export function run(program: string, args: readonly string[], options: RunOptions = {}): RunResult {
  const result = spawnSync(program, args, { ...options, encoding: 'utf8', maxBuffer: 1 << 28 })
  if (result.error !== undefined) throw result.error
  return { status: result.status ?? 128, stdout: result.stdout, stderr: result.stderr }
}

/** Runs what has to work and gives its stdout. @throws Error with all that it said where its status is not 0 */
export function runWell(program: string, args: readonly string[], options: RunOptions = {}): string {
  const { status, stdout, stderr } = run(program, args, options)
  if (status !== 0) throw new Error(`${program} ${args.join(' ')} ended with ${status}\n${stdout}${stderr}`)
  return stdout
}

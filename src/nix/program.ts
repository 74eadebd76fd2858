// nix-store, for what no daemon answers: a single-user installation, or root's own way past the daemon.
import { spawnSync } from 'node:child_process'
import { isSilent, sharedSocket } from './daemon/daemon.ts'
import { isWritable } from '../io/path.ts'
import { stateDirectory } from './store.ts'

/** It has no time limit of its own, and waits for a lock or a daemon for as long as it is let. */
const TIMEOUT_MS = 10_000
/** What it prints is a line for each path. */
const MAX_OUTPUT = 1 << 26

/** One that did not end in time is not started again in this run. */
let isStuck = false

/**
 * Runs nix-store without asking a substituter.
 * @returns what it printed; null where it is not there, failed, or would ask a daemon that does not answer
 */
export function runNixStore(args: readonly string[], env: NodeJS.ProcessEnv): string | null {
  if (isStuck || asksSilentDaemon(env)) return null
  const { status, stdout, error } = spawnSync('nix-store', ['--option', 'substitute', 'false', ...args], {
    env,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
    timeout: TIMEOUT_MS,
    killSignal: 'SIGKILL',
    maxBuffer: MAX_OUTPUT,
  })
  isStuck = error !== undefined && 'code' in error && error.code === 'ETIMEDOUT'
  return status === 0 ? stdout : null
}

/** Nix goes to the daemon where it is told to, or where it may not write the state (Nix's store-api.cc, `auto`). */
function asksSilentDaemon(env: NodeJS.ProcessEnv): boolean {
  const remote = env['NIX_REMOTE'] ?? ''
  const isAuto = remote === '' || remote === 'auto'
  const socket = sharedSocket(env)
  return socket !== null && isSilent(socket) && remote !== 'local' && !(isAuto && isWritable(stateDirectory(env)))
}

// Runs nix-store, for questions that no daemon answers. This is the case in a single-user installation, and for root,
// who does not need the daemon.
import { spawnSync } from 'node:child_process'
import { isSilent, sharedSocket } from './daemon/daemon.ts'
import { isWritable } from '../io/path.ts'
import { stateDirectory } from './store.ts'

/** The time limit of nix-store. nix-store itself has none, and would wait forever for a lock or a daemon. */
const TIMEOUT_MS = 10_000
/** The size limit of its output, which is one line for each path. */
const MAX_OUTPUT = 1 << 26

/** Did nix-store exceed its time limit? Then this run does not start it again. */
let isStuck = false

/**
 * Runs nix-store in such a way that it asks no substituter.
 * @returns its output; null when nix-store does not exist, fails, or would ask a daemon that does not answer
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

/**
 * Would Nix ask a daemon that does not answer? Nix asks the daemon when a variable says so, or when it may not write the
 * state (Nix's store-api.cc, `auto`).
 */
function asksSilentDaemon(env: NodeJS.ProcessEnv): boolean {
  const remote = env['NIX_REMOTE'] ?? ''
  const isAuto = remote === '' || remote === 'auto'
  const socket = sharedSocket(env)
  return socket !== null && isSilent(socket) && remote !== 'local' && !(isAuto && isWritable(stateDirectory(env)))
}

// Which store paths Nix knows. A path that exists but is not in Nix's database (a plain copy, the rest of a failed build)
// may vanish at any time and cannot be rooted. This file asks the daemon, or nix-store if there is no daemon. If it can ask
// neither, every path counts as valid.
import { existsSync } from 'node:fs'
import { fsPath } from '../../io/path.ts'
import { askDaemon, daemonSocket } from './daemon.ts'
import { runNixStore } from '../program.ts'
import { stateDirectory, storeDirectory } from '../store.ts'

/** The store paths that Nix does not know; empty when nothing can be asked. */
export function invalidPaths(storePaths: readonly string[], env: NodeJS.ProcessEnv): ReadonlySet<string> {
  if (storePaths.length === 0 || !knowsItsState(env)) return new Set()
  const socket = daemonSocket(env)
  const answers = socket === null ? null : askDaemon(socket, { valid: storePaths })
  if (answers !== null && answers.refusal === null) {
    return new Set(storePaths.filter(path => !answers.valid.has(path)))
  }
  return invalidForProgram(storePaths, env)
}

/** Asks nix-store, but only if there is a database: nix-store would create a missing database. */
function invalidForProgram(storePaths: readonly string[], env: NodeJS.ProcessEnv): ReadonlySet<string> {
  if (!existsSync(fsPath(`${stateDirectory(env)}/db/db.sqlite`))) return new Set()
  const output = runNixStore(['--check-validity', '--print-invalid', ...storePaths], env) ?? ''
  return new Set(output.split('\n').filter(line => line !== ''))
}

/**
 * Does the usual state belong to this store? A user may name another store and keep the usual state folder. The database of
 * that folder describes the usual store.
 */
export function knowsItsState(env: NodeJS.ProcessEnv): boolean {
  return storeDirectory(env) === '/nix/store' || (env['NIX_STATE_DIR'] ?? '') !== ''
}

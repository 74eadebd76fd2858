// Which store paths Nix knows: a path that is there but not in Nix's database (a plain copy, the rest of a build that
// failed) may vanish at any time and cannot be rooted. Asks the daemon, else nix-store; where neither is there, nothing
// is known and all is taken as valid.
import { existsSync } from 'node:fs'
import { fsPath } from '../../io/path.ts'
import { askDaemon, daemonSocket } from './daemon.ts'
import { runNixStore } from '../program.ts'
import { stateDirectory, storeDirectory } from '../store.ts'

/** Those of the store paths that Nix does not know; none where nobody can be asked. */
export function invalidPaths(storePaths: readonly string[], env: NodeJS.ProcessEnv): ReadonlySet<string> {
  if (storePaths.length === 0 || !knowsItsState(env)) return new Set()
  const socket = daemonSocket(env)
  const answers = socket === null ? null : askDaemon(socket, { valid: storePaths })
  if (answers !== null && answers.refusal === null) {
    return new Set(storePaths.filter(path => !answers.valid.has(path)))
  }
  return invalidForProgram(storePaths, env)
}

/** Without a database nix-store would make one: it is asked only where there is one. */
function invalidForProgram(storePaths: readonly string[], env: NodeJS.ProcessEnv): ReadonlySet<string> {
  if (!existsSync(fsPath(`${stateDirectory(env)}/db/db.sqlite`))) return new Set()
  const output = runNixStore(['--check-validity', '--print-invalid', ...storePaths], env) ?? ''
  return new Set(output.split('\n').filter(line => line !== ''))
}

/** A store of one's own with the state of the usual one is no answer: the usual database is about another store. */
export function knowsItsState(env: NodeJS.ProcessEnv): boolean {
  return storeDirectory(env) === '/nix/store' || (env['NIX_STATE_DIR'] ?? '') !== ''
}

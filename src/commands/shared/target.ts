// The words that select an environment in a command that is printed, so that it can be pasted where the user is.
import type { Finding } from '../../inspect/findings.ts'
import { WheelfixError } from '../../io/error.ts'
import type { Environment } from '../../python/environment.ts'
import { findVenv } from '../../python/pyvenv.ts'
import { shellWord } from '../../io/words.ts'

/** A space and the environment's folder; empty if a command without a folder means this environment. */
export function targetOf(venv: Environment, env: NodeJS.ProcessEnv, cwd: string): string {
  return isFoundFrom(cwd, env, venv) ? '' : ` ${shellWord(venv.root)}`
}

function isFoundFrom(cwd: string, env: NodeJS.ProcessEnv, { root, kind }: Environment): boolean {
  if (kind !== 'venv') return false
  try {
    return findVenv({ env, cwd }).root === root
  } catch (error) {
    if (error instanceof WheelfixError) return false
    throw error
  }
}

/** The commands of remedies that name no environment yet. */
const WITHOUT_TARGET =
  /wheelfix (?:libs build(?: [\w.+-]+)+|loader|env --export|venv --libs "\$LD_LIBRARY_PATH")(?=$|[\s);])/g

/** The finding with the environment in the commands of its remedy. */
export function aimed(finding: Finding, target: string): Finding {
  const { remedy } = finding
  return remedy === null || target === ''
    ? finding
    : { ...finding, remedy: remedy.replace(WITHOUT_TARGET, command => command + target) }
}

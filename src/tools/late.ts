// Commands that install and start in one step and cannot be split, because they keep no environment for a second run. What
// helps instead, as one sentence.
import { splitOptions, type Words } from './split-options.ts'
import { type CommandQuestion, isUvScript, ownWords, reusesNox, recreates } from './prepare.ts'

export interface LateAdvice {
  readonly text: string
  /** Are the environments still there after the command, so that wheelfix sees whether one needed a patch? */
  readonly isKept: boolean
}

interface Reason {
  readonly what: string
  readonly so?: string
  readonly instead: string
  /** How the tool is told to use another Python. */
  readonly python: string
  readonly isKept: boolean
}

/**
 * The advice for a command whose environment is gone or used before it can be patched; null for any other command.
 * @param name of the program, or of the command: `uv run`
 */
export function lateAdvice(
  name: string,
  args: Words,
  env: NodeJS.ProcessEnv,
  question: CommandQuestion,
): LateAdvice | null {
  const reason = reasonFor(name, args, env, question)
  if (reason === null) return null
  const { what, so = 'the patch came too late', instead, python, isKept } = reason
  const text =
    `${what}, so ${so}: ${instead}, or use a Python whose environments need no patch ` +
    `(wheelfix python --make DIR, then ${python})`
  return { text, isKept }
}

const NOTHING = 'nothing was patched'

function reasonFor(name: string, args: Words, env: NodeJS.ProcessEnv, question: CommandQuestion): Reason | null {
  const own = ownWords(args)
  const [action = ''] = own
  if (name === 'nox' && !reusesNox(own, question)) {
    const python = 'nox --force-python DIR/bin/python3'
    return { what: 'nox makes its environments again in every run', instead: 'add -r', python, isKept: true }
  }
  if (name === 'tox' && recreates(own)) {
    const python = 'tox -x testenv.base_python=DIR/bin/python3'
    return { what: 'tox -r makes its environments again', instead: 'run it without -r', python, isKept: true }
  }
  if (name === 'pre-commit' && action === 'try-repo') {
    const instead = 'name the hook in .pre-commit-config.yaml'
    const python = 'default_language_version: {python: DIR/bin/python3}'
    return { what: 'pre-commit try-repo keeps no environment', so: NOTHING, instead, python, isKept: false }
  }
  if (name === 'pipx' && own.includes('run')) {
    const option = own.slice(own.indexOf('run')).find(word => word === '--no-cache' || word === '--refresh')
    if (option === undefined) return null
    const what = `pipx makes the environment again with ${option}`
    // of uv's environment nothing is left, pip's is still there
    const [so, python] = ['a patch comes too late', 'PIPX_DEFAULT_PYTHON=DIR/bin/python3']
    return { what, so, instead: `leave out ${option}`, python, isKept: false }
  }
  if (!/^uv(?:x| run| tool run)$/.test(name)) return null
  const option = optionWithoutCache(name, own, env, question)
  if (option === null) return null
  const what = `uv keeps no environment with ${option}`
  const instead = option === 'UV_NO_CACHE' ? 'unset UV_NO_CACHE' : `leave out ${option}`
  return { what, so: NOTHING, instead, python: 'UV_PYTHON=DIR/bin/python3', isKept: false }
}

/** The option or variable by which uv forgets its cache, where the environment lies in the cache; else null. */
function optionWithoutCache(
  name: string,
  args: Words,
  env: NodeJS.ProcessEnv,
  question: CommandQuestion,
): string | null {
  const variable = /^(?:1|true|yes|on)$/i.test(env['UV_NO_CACHE'] ?? '') ? 'UV_NO_CACHE' : null
  if (variable === null && !args.some(word => word === '-n' || word.startsWith('--no-cache'))) return null
  const help = name === 'uvx' ? ['uvx', '--help'] : [...name.split(' '), '--help']
  const { options, command } = splitOptions(args, question.help(help))
  const option = options.find(word => /^(?:-n|--no-cache(?:-dir)?)$/.test(word)) ?? variable
  const [target = ''] = command
  const isInProject =
    name === 'uv run' &&
    !options.some(word => /^(?:-w|--with(?:-.*)?(?:=.*)?|--no-project|--isolated)$/.test(word)) &&
    !isUvScript(target, options, question)
  return isInProject ? null : option
}

// Commands that install and start in one step (`uv run`, `uvx`, `tox` …). For these this file finds a command that only makes the
// environment. It only knows words, and asks for what files and the tools' own --help say.
import { optionValue, splitOptions, type Words } from './split-options.ts'

/** The questions to the world outside. */
export interface CommandQuestion {
  /** What a program prints for its help: `uv run --help`. */
  readonly help: (words: Words) => string
  /** The beginning of a file of the command's folder; '' where there is none. */
  readonly textOf: (path: string) => string
}

type Prepare = (head: Words, args: Words, question: CommandQuestion) => Words | null

/** By the name of the program; the commands of uv are beside it. */
export const PREPARE: Readonly<Record<string, Prepare>> = {
  uvx: prepareTool,
  'pre-commit': (head, args) => (args[0] === 'run' ? [...head, 'install-hooks', ...configOptions(args)] : null),
  prek: (head, args) => {
    const runs = args.length === 0 || args[0] === 'run' || args[0]?.startsWith('-') === true
    return runs && !args.some(word => HELP.has(word)) ? [...head, 'install-hooks', ...configOptions(args)] : null
  },
  tox: prepareTox,
  nox: prepareNox,
  hatch: prepareHatch,
}

const HELP = new Set(['-h', '--help', '-V', '--version'])

/** The file that `-c` or `--config` names, as options. */
function configOptions(args: Words): Words {
  const at = args.findIndex(word => word === '-c' || word === '--config')
  const joined = args.filter(word => word.startsWith('--config='))
  return at === -1 ? joined : args.slice(at, at + 2)
}

/** A program that ends at once. It is run in place of the command. */
const NOTHING = ['python', '-c', '']

/** Options of `uv run` that say what the command is. */
const KINDS_OF_COMMAND = new Set(['-m', '--module', '-s', '--script', '--gui-script'])

/** The command that makes the environment of `uv run`, whose words these are; null when `uv run` starts nothing. */
export function prepareRun(head: Words, args: Words, question: CommandQuestion): Words | null {
  const [uv = ''] = head
  const { options, command } = splitOptions(args, question.help([uv, 'run', '--help']))
  const [target] = command
  if (target === undefined) return null
  const kept = options.filter(option => !KINDS_OF_COMMAND.has(option))
  // a script has its own environment; `uv sync` would fail at options that only `uv run` knows
  if (isUvScript(target, options, question)) return [...head, 'sync', '--script', target]
  return [...head, 'run', ...kept, ...NOTHING]
}

/** Is the target of `uv run` a script with its own metadata (PEP 723)? Its name may lack `.py` after `--script`. */
export function isUvScript(target: string, options: Words, { textOf }: CommandQuestion): boolean {
  const isNamed = target.endsWith('.py') || options.includes('-s') || options.includes('--script')
  return isNamed && textOf(target).includes('# /// script')
}

/** The command that makes the environment of `uvx`, or of `uv tool run`; null when there is no tool to run. */
export function prepareTool(head: Words, args: Words, { help }: CommandQuestion): Words | null {
  const { options, command } = splitOptions(args, help([...head, '--help']))
  const [target] = command
  if (target === undefined) return null
  const isNamed = options.some(option => option === '--from' || option.startsWith('--from='))
  return [...head, ...options, ...(isNamed ? [] : ['--from', requirementOf(target)]), ...NOTHING]
}

/** `ruff@0.5.0` means `ruff==0.5.0`. `ruff@latest` asks for the newest version, as a plain name does at its first use. */
function requirementOf(target: string): string {
  const [name = '', version] = target.split('@')
  if (version === undefined || version === 'latest' || target.includes('://'))
    return version === 'latest' ? name : target
  return `${name}==${version}`
}

/** The words before `--`. The words after it are for the commands that a tool runs. */
export function ownWords(args: Words): Words {
  const dashes = args.indexOf('--')
  return dashes === -1 ? args : args.slice(0, dashes)
}

/** The short options of tox that take a value. */
const TOX_VALUES = 'cefmpsx'

/** Does tox make its environments again? Short options may stand together: `-re py`. */
export function recreates(own: Words): boolean {
  return own.some(word => {
    if (word === '--recreate') return true
    const cluster = /^-(\w+)/.exec(word)?.[1] ?? ''
    for (const letter of cluster) {
      if (letter === 'r') return true
      if (TOX_VALUES.includes(letter)) return false
    }
    return false
  })
}

const TOX_RUNS = new Set(['run', 'r', 'run-parallel', 'p', 'legacy', 'le'])

/** `--notest` installs and runs nothing. With `-r`, the command itself would make the environment again. */
function prepareTox(head: Words, args: Words): Words | null {
  const own = ownWords(args)
  const [first = '-'] = own
  const runs = first.startsWith('-') || TOX_RUNS.has(first)
  return runs && !recreates(own) && !own.some(word => HELP.has(word)) ? [...head, ...own, '--notest'] : null
}

/** Only where nox keeps its environments: otherwise every run makes each environment again. */
function prepareNox(head: Words, args: Words, question: CommandQuestion): Words | null {
  const own = ownWords(args)
  if (!reusesNox(own, question) || own.some(word => HELP.has(word) || word === '-l' || word === '--list')) return null
  return [...head, ...own.map(word => (word === '-R' ? '-r' : word)), '--install-only']
}

/** Does nox use the environments of its last run? An option decides, then the noxfile. */
export function reusesNox(own: Words, { textOf }: CommandQuestion): boolean {
  const asked = optionValue(own, ['--reuse-venv'])
  if (own.includes('-N') || own.includes('--no-reuse-existing-virtualenvs')) return false
  if (asked !== null) return asked === 'yes' || asked === 'always'
  if (own.some(word => /^(?:-r|-R|--reuse-existing-virtualenvs)$/.test(word))) return true
  const code = textOf(optionValue(own, ['-f', '--noxfile']) ?? 'noxfile.py')
  return /^[^#\n]*\breuse_(?:existing_virtualenvs|venv)\s*=\s*(?:True|(['"])(?:yes|always)\1)/m.test(code)
}

/** Runs Python in place of the command, in the environment of `hatch run ENV:COMMAND`. */
function prepareHatch(head: Words, args: Words, { help }: CommandQuestion): Words | null {
  const { options, command } = splitOptions(args, help([...head, '--help']))
  const [action, ...rest] = command
  if (action !== 'run') return null
  // +py=3.12 and -py=3.12 choose environments of a matrix
  const at = rest.findIndex(word => !/^[+-]/.test(word))
  const target = rest[at]
  if (target === undefined) return null
  const prefix = /^[\w.-]+:/.exec(target)?.[0] ?? ''
  return [...head, ...options, 'run', ...rest.slice(0, at), `${prefix}python`, '-c', '']
}

// Command lines of installers. Some commands install and start in one step (`uv run`, `uvx`, `tox` …). For these this file
// finds a command that only makes the environment. It also finds the places into which a command installs. It only knows words. The
// tools' own --help says which options take a value.
import { fileNameOf } from '../io/path.ts'
import type { ToolName } from './places.ts'

/** A command line as words, the program first. */
type Words = readonly string[]

/** What a command line does to environments. */
interface CommandPlan {
  /** A command that makes the environment and starts nothing in it. null if the user's command itself does only that. */
  readonly prepare: Words | null
  /** The tools whose environments the command may make or change, besides the environment of the project. */
  readonly tools: readonly ToolName[]
  /** Is it uv itself, which changes to the folder of `--directory` before it reads any other path? */
  readonly isUv: boolean
  /** Does the command use the environment of a uv project, even if another environment is active? */
  readonly ofUvProject: boolean
  /** The words that the command reads itself: those of the program that `uv run` starts are left out. */
  readonly own: Words
  /** The places that pip or uv is told to install into. */
  readonly targets: readonly InstallTarget[]
  /** What helps if the command failed because its files were patched only after it had started. */
  readonly again: string
}

export interface InstallTarget {
  /** `user`: the user's site-packages, and no path; `python`: an environment, or a Python in it. */
  readonly kind: 'target' | 'prefix' | 'python' | 'user'
  readonly path: string
}

/** The questions to the world outside. */
interface CommandQuestion {
  /** What a program prints for its help: `uv run --help`. */
  readonly help: (words: Words) => string
  /** Is this a script with its own metadata (PEP 723)? */
  readonly isScript: (path: string) => boolean
}

const TOOLS_OF: ReadonlyMap<string, readonly ToolName[]> = new Map([
  ['uv', ['uv']],
  ['uvx', ['uv']],
  ['pipx', ['pipx']],
  ['pre-commit', ['pre-commit']],
  ['prek', ['prek']],
  ['git', ['pre-commit', 'prek']],
  ['poetry', ['poetry']],
  ['pipenv', ['pipenv']],
  ['hatch', ['hatch']],
  ['pdm', ['pdm']],
  ['tox', ['tox']],
  ['nox', ['nox']],
])

/** Subcommands of uv that change only the project's environment, or an environment that the user names. */
const UV_PROJECT = new Set([
  'sync',
  'add',
  'remove',
  'lock',
  'pip',
  'venv',
  'init',
  'export',
  'build',
  'publish',
  'tree',
])

/** What a command line does to environments. Only calls the functions of `question` if the plan depends on them. */
export function planCommand(words: Words, question: CommandQuestion): CommandPlan {
  const { head, name, rest } = programOf(words)
  const tools = TOOLS_OF.get(name) ?? []
  const isUv = name === 'uv'
  const targets = targetsOf(name, rest)
  const plan: CommandPlan = { prepare: null, tools, isUv, ofUvProject: false, own: words, targets, again: AGAIN }
  if (isUv) return planUv(plan, head, rest, question)
  const prepare = PREPARE[name]
  if (prepare === undefined) return plan
  const first = prepare(head, rest, question)
  return { ...plan, prepare: first, again: first === null ? adviceAfter(name, rest) : AGAIN }
}

/** The words that start the program, its name, and its arguments: `python -m tox run` is also tox. */
function programOf(words: Words): { readonly head: Words; readonly name: string; readonly rest: Words } {
  const [program = '', first = '', second = ''] = words
  const name = fileNameOf(program)
  if (/^(?:python|pypy)[\d.]*$/.test(name) && first === '-m') {
    return { head: words.slice(0, 3), name: second.replaceAll('_', '-'), rest: words.slice(3) }
  }
  return { head: words.slice(0, 1), name, rest: words.slice(1) }
}

function planUv(plan: CommandPlan, head: Words, args: Words, question: CommandQuestion): CommandPlan {
  // uv also takes its global options before the subcommand
  const [global, [command = '', ...rest]] = subcommand(head, args, question)
  const started = [...head, ...global]
  if (command === 'run') {
    // what follows the program belongs to the program
    const { options } = splitOptions(rest, question.help([...head, 'run', '--help']))
    return { ...plan, ofUvProject: true, own: [...global, ...options], prepare: prepareRun(started, rest, question) }
  }
  if (command === 'tool') {
    const [more, [action = '', ...words]] = subcommand([...head, 'tool'], rest, question)
    const prepare = action === 'run' ? prepareTool([...started, 'tool', ...more, 'run'], words, question) : null
    return { ...plan, prepare }
  }
  if (!UV_PROJECT.has(command)) return plan
  return { ...plan, tools: [], ofUvProject: command !== 'pip', targets: targetsOf(command, rest) }
}

/** The options before a subcommand, and the subcommand with its arguments. */
function subcommand(head: Words, args: Words, { help }: CommandQuestion): [Words, Words] {
  if (args[0]?.startsWith('-') !== true) return [[], args]
  const { options, command } = splitOptions(args, help([...head, '--help']))
  return [options, command]
}

const AGAIN =
  'Run it again. A Python with a private loader (wheelfix python --loader, wheelfix loader) needs no patching'

/** A second run of nox, and of tox with `-r`, makes the environment again, and so without the patch. */
function adviceAfter(name: string, args: Words): string {
  if (name === 'nox') return 'nox makes its environments again in every run: run it with -r, which keeps them'
  const isNew = name === 'tox' && ownWords(args).some(word => word === '-r' || word === '--recreate')
  return isNew ? 'tox makes its environments again with -r: run it without -r' : AGAIN
}

type Prepare = (head: Words, args: Words, question: CommandQuestion) => Words | null

const PREPARE: Readonly<Record<string, Prepare>> = {
  uvx: prepareTool,
  'pre-commit': (head, args) => (args[0] === 'run' ? [...head, 'install-hooks', ...configOf(args)] : null),
  prek: (head, args) => {
    const runs = args.length === 0 || args[0] === 'run' || args[0]?.startsWith('-') === true
    return runs && !args.some(word => HELP.has(word)) ? [...head, 'install-hooks', ...configOf(args)] : null
  },
  tox: prepareTox,
  nox: prepareNox,
  hatch: prepareHatch,
}

const HELP = new Set(['-h', '--help', '-V', '--version'])

/** The file that `-c` or `--config` names, as options. */
function configOf(args: Words): Words {
  const at = args.findIndex(word => word === '-c' || word === '--config')
  const joined = args.filter(word => word.startsWith('--config='))
  return at === -1 ? joined : args.slice(at, at + 2)
}

/** A program that ends at once. It is run in place of the command. */
const NOTHING = ['python', '-c', '']

/** Options of `uv run` that say what the command is. */
const KINDS_OF_COMMAND = new Set(['-m', '--module', '-s', '--script', '--gui-script'])

function prepareRun(head: Words, args: Words, { help, isScript }: CommandQuestion): Words | null {
  const [uv = ''] = head
  const { options, command } = splitOptions(args, help([uv, 'run', '--help']))
  const [target] = command
  if (target === undefined) return null
  const kept = options.filter(option => !KINDS_OF_COMMAND.has(option))
  // a script has its own environment; `uv sync` would fail at options that only `uv run` knows
  if (isScript(target)) return [...head, 'sync', '--script', target]
  return [...head, 'run', ...kept, ...NOTHING]
}

function prepareTool(head: Words, args: Words, { help }: CommandQuestion): Words | null {
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
function ownWords(args: Words): Words {
  const dashes = args.indexOf('--')
  return dashes === -1 ? args : args.slice(0, dashes)
}

const TOX_RUNS = new Set(['run', 'r', 'run-parallel', 'p', 'legacy', 'le'])

/** `--notest` installs and runs nothing. With `-r`, the command itself would make the environment again. */
function prepareTox(head: Words, args: Words): Words | null {
  const own = ownWords(args)
  const [first = '-'] = own
  const runs = first.startsWith('-') || TOX_RUNS.has(first)
  const isNew = own.some(word => word === '-r' || word === '--recreate' || HELP.has(word))
  return runs && !isNew ? [...head, ...own, '--notest'] : null
}

/** Without an option to reuse them, every run of nox makes each environment again. */
function prepareNox(head: Words, args: Words): Words | null {
  const own = ownWords(args)
  const reuses = own.some((word, at) => {
    const value = word === '--reuse-venv' ? own[at + 1] : /^--reuse-venv=(.*)$/.exec(word)?.[1]
    return /^(?:-r|-R|--reuse-existing-virtualenvs)$/.test(word) || value === 'yes' || value === 'always'
  })
  if (!reuses || own.some(word => HELP.has(word) || word === '-l' || word === '--list')) return null
  return [...head, ...own.map(word => (word === '-R' ? '-r' : word)), '--install-only']
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

/** The options before the command, and the command with its arguments. */
export function splitOptions(args: Words, help: string): { readonly options: Words; readonly command: Words } {
  const valued = valuedOptions(help)
  let at = 0
  while (at < args.length) {
    const word = args[at] ?? ''
    if (word === '--') return { options: args.slice(0, at), command: args.slice(at + 1) }
    if (!word.startsWith('-') || word === '-') break
    // -p3.12 and --python=3.12 hold their value
    at += valued.has(word) ? 2 : 1
  }
  return { options: args.slice(0, at), command: args.slice(at) }
}

/**
 * The options that take a value as a separate word. clap shows them as `-p, --python <PYTHON>`, and click as `-e, --env
 * TEXT`.
 */
function valuedOptions(help: string): ReadonlySet<string> {
  const names = [...help.matchAll(/^\s+(?:(-\w), )?(--[\w-]+) (?:<[^>]*>|[A-Z]{2,}\b)/gm)]
  return new Set(names.flatMap(([, short, long = '']) => (short === undefined ? [long] : [short, long])))
}

/** Options of pip and of `uv pip` that say where to install. */
const TARGET_OPTIONS: ReadonlyMap<string, InstallTarget['kind']> = new Map([
  ['--target', 'target'],
  ['-t', 'target'],
  ['--prefix', 'prefix'],
  ['--python', 'python'],
  ['-p', 'python'],
])

function targetsOf(name: string, args: Words): InstallTarget[] {
  if (!/^pip[\d.]*$/.test(name)) return []
  return args.flatMap((word, at): InstallTarget[] => {
    if (word === '--user') return [{ kind: 'user', path: '' }]
    const [option = '', value] = word.startsWith('--') ? word.split(/=(.*)/s) : [word]
    const kind = TARGET_OPTIONS.get(option)
    const path = value ?? args[at + 1]
    return kind === undefined || path === undefined ? [] : [{ kind, path }]
  })
}

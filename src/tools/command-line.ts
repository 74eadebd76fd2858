// Command lines that install and start in one go, `uv run`, `uvx` and `pre-commit run`: what makes their environment and
// starts nothing. Knows words, not what uv does with them; uv's own --help tells which options take a value.
import { fileNameOf } from '../io/path.ts'
import type { ToolName } from './places.ts'

/** A command line as words, the program first. */
type Words = readonly string[]

/** What a command line comes to. */
interface CommandPlan {
  /** Makes the environment that the command then finds, and starts nothing; null where the command does that alone. */
  readonly prepare: Words | null
  /** The tools whose environments it may make or change, beside the project's own. */
  readonly tools: readonly ToolName[]
}

/** What is asked of the world outside. */
interface CommandQuestion {
  /** The text of `uv run --help` or `uv tool run --help`. */
  readonly help: (words: Words) => string
  /** Is this a script with metadata of its own (PEP 723)? */
  readonly isScript: (path: string) => boolean
}

const TOOL_OF: ReadonlyMap<string, ToolName> = new Map([
  ['uv', 'uv'],
  ['uvx', 'uv'],
  ['pipx', 'pipx'],
  ['pre-commit', 'pre-commit'],
  ['git', 'pre-commit'],
  ['poetry', 'poetry'],
  ['pipenv', 'pipenv'],
  ['hatch', 'hatch'],
  ['pdm', 'pdm'],
  ['tox', 'tox'],
  ['nox', 'nox'],
])

/** Subcommands of uv that touch nothing but the project's environment, or one that is named. */
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

export function planCommand(words: Words, question: CommandQuestion): CommandPlan {
  const [program = '', first = '', second = ''] = words
  const name = fileNameOf(program)
  if (name === 'uv' && UV_PROJECT.has(first)) return { prepare: null, tools: [] }
  const tool = TOOL_OF.get(name)
  const tools = tool === undefined ? [] : [tool]
  if (name === 'uv' && first === 'run')
    return { prepare: prepareRun([program, 'run'], words.slice(2), question), tools }
  if (name === 'uvx') return { prepare: prepareTool([program], words.slice(1), question), tools }
  if (name === 'uv' && first === 'tool' && second === 'run') {
    return { prepare: prepareTool([program, 'tool', 'run'], words.slice(3), question), tools }
  }
  if (name === 'pre-commit' && first === 'run') return { prepare: [program, 'install-hooks'], tools }
  return { prepare: null, tools }
}

/** A program that ends at once, run in the environment that has been made. */
const NOTHING = ['python', '-c', '']

/** Options of `uv run` that say what the command is. */
const KINDS_OF_COMMAND = new Set(['-m', '--module', '-s', '--script', '--gui-script'])

function prepareRun(head: Words, args: Words, { help, isScript }: CommandQuestion): Words | null {
  const { options, command } = splitOptions(args, help([...head, '--help']))
  const [target] = command
  if (target === undefined) return null
  const kept = options.filter(option => !KINDS_OF_COMMAND.has(option))
  if (isScript(target)) {
    // its environment is the script's own; options of `uv run` that sync does not know would end it
    const [uv = ''] = head
    return [uv, 'sync', '--script', target]
  }
  return [...head, ...kept, ...NOTHING]
}

function prepareTool(head: Words, args: Words, { help }: CommandQuestion): Words | null {
  const { options, command } = splitOptions(args, help([...head, '--help']))
  const [target] = command
  if (target === undefined) return null
  const named = options.some(option => option === '--from' || option.startsWith('--from='))
  return [...head, ...options, ...(named ? [] : ['--from', requirementOf(target)]), ...NOTHING]
}

/** `ruff@0.5.0` is `ruff==0.5.0`; `ruff@latest` asks for what is newest, which is what a plain name gets the first time. */
function requirementOf(target: string): string {
  const [name = '', version] = target.split('@')
  if (version === undefined || version === 'latest' || target.includes('://'))
    return version === 'latest' ? name : target
  return `${name}==${version}`
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

/** The options that take a value in a word of its own, as clap shows them: `-p, --python <PYTHON>`. */
function valuedOptions(help: string): ReadonlySet<string> {
  const names = [...help.matchAll(/^\s+(?:(-\w), )?(--[\w-]+) <[^>]*>/gm)]
  return new Set(names.flatMap(([, short, long = '']) => (short === undefined ? [long] : [short, long])))
}

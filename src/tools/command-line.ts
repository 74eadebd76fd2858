// Command lines of installers: which environments a command makes, changes or starts programs of, and where they are. It only
// knows words.
import { resolve } from 'node:path'
import { fileNameOf } from '../io/path.ts'
import { type LateAdvice, lateAdvice } from './late.ts'
import { optionValue, splitOptions, type Words } from './split-options.ts'
import type { ToolName } from './places.ts'
import { type CommandQuestion, ownWords, PREPARE, prepareRun, prepareTool } from './prepare.ts'
import { environmentOf, mentioned, unwrap } from './wrappers.ts'

/** What a command line does to environments. */
export interface CommandPlan {
  /** A command that makes the environment and starts nothing in it. null if the user's command itself does only that. */
  readonly prepare: Words | null
  /** The program that `env`, `nice` and other wrappers start, with its arguments. */
  readonly words: Words
  /** The variables that this program sees. */
  readonly env: NodeJS.ProcessEnv
  /** The folders into which options change, each relative to the one before: `env -C`, `uv --directory`, `make -C`. */
  readonly folders: readonly string[]
  /** The folder or file that an option names as the project: `uv --project`, `poetry -P`, `tox -c`. */
  readonly project: string | null
  /** The tools whose environments the command may make or change, besides the environment of the project. */
  readonly tools: readonly ToolName[]
  /** Is the program not known? Then all environments that changed meanwhile count. */
  readonly isUnknown: boolean
  /** Does the command start programs of environments that may be there already (`poetry run`, `.venv/bin/pytest`)? */
  readonly starts: boolean
  /** Does the command use the environment of a uv project, even if another environment is active? */
  readonly ofUvProject: boolean
  /** The places that the command is told to install into. */
  readonly targets: readonly InstallTarget[]
  /** What helps if the patch came too late; null if it helps to run the command again. */
  readonly late: LateAdvice | null
}

export interface InstallTarget {
  /**
   * `user`: the user's site-packages, and no path; `python`: an environment, or a Python in it; `environments`: a folder of
   * environments.
   */
  readonly kind: 'target' | 'prefix' | 'python' | 'user' | 'environments'
  readonly path: string
}

const TOOLS_OF: ReadonlyMap<string, readonly ToolName[]> = new Map([
  ['uv', ['uv']],
  ['uvx', ['uv']],
  // `pipx run` may ask uv
  ['pipx', ['pipx', 'uv']],
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

const PIP = /^pip[\d.]*$/

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

/** Options that name a folder, and variables that do so without the option. */
interface FolderOptions {
  /** The working folder of the command. */
  readonly folder?: Words
  /** The folder of the project, or a file in it. */
  readonly project?: Words
  /** The folder of the environments. */
  readonly environments?: Words
  readonly folderVariable?: string
  readonly projectVariable?: string
}

const FOLDERS: Readonly<Record<string, FolderOptions>> = {
  uv: {
    folder: ['--directory'],
    project: ['--project'],
    folderVariable: 'UV_WORKING_DIR',
    projectVariable: 'UV_PROJECT',
  },
  uvx: { folder: ['--directory'], folderVariable: 'UV_WORKING_DIR' },
  poetry: { folder: ['-C', '--directory'], project: ['-P', '--project'] },
  pdm: { project: ['-p', '--project'], projectVariable: 'PDM_PROJECT' },
  pipenv: { projectVariable: 'PIPENV_PIPFILE' },
  tox: { project: ['-c', '--conf', '--root'], environments: ['--workdir'] },
  nox: { project: ['-f', '--noxfile'], environments: ['--envdir'] },
  make: { folder: ['-C', '--directory'] },
  git: { folder: ['-C'] },
}

/** Commands that start programs of an environment, and only make one if there is none. */
const STARTING: Readonly<Record<string, Words>> = {
  poetry: ['run', 'shell'],
  pdm: ['run'],
  pipenv: ['run', 'shell'],
  hatch: ['test', 'fmt', 'shell'],
  pipx: ['run'],
  git: ['commit', 'merge', 'push', 'rebase'],
}

/** What a command line does to environments. Only calls the functions of `question` if the plan depends on them. */
export function planCommand(line: Words, env: NodeJS.ProcessEnv, question: CommandQuestion): CommandPlan {
  const wrapped = unwrap(line)
  const { words } = wrapped
  const { head, name, rest } = programOf(words)
  const inner = environmentOf(wrapped, env)
  const isInstaller = TOOLS_OF.has(name) || PIP.test(name)
  const named = mentioned(words).flatMap(program => TOOLS_OF.get(program) ?? [])
  const starting = STARTING[name] ?? []
  const at = ownWords(rest).findIndex(word => starting.includes(word))
  const own = at === -1 ? ownWords(rest) : optionsUntil(ownWords(rest), at, FOLDERS[name] ?? {})
  const plan: CommandPlan = {
    prepare: null,
    words,
    env: inner,
    tools: TOOLS_OF.get(name) ?? [...new Set(named)],
    isUnknown: !isInstaller,
    starts: !isInstaller || at !== -1,
    ofUvProject: false,
    targets: PIP.test(name) ? targetsOf(rest, inner, PIP_VARIABLES) : [],
    late: null,
    ...namedFolders(name, own, inner, wrapped.folders),
  }
  const program = { head, name, rest }
  const whole =
    name === 'uv'
      ? planUv(plan, program, wrapped.folders, question)
      : planOther(plan, program, relativeQuestion(plan.folders, question))
  return { ...whole, prepare: whole.prepare === null ? null : [...wrapped.before, ...whole.prepare] }
}

/** The same questions, with files relative to the command's own folder. */
function relativeQuestion(folders: Words, { help, textOf }: CommandQuestion): CommandQuestion {
  return { help, textOf: path => textOf(resolve(...folders, path)) }
}

function planOther(plan: CommandPlan, { head, name, rest }: Program, question: CommandQuestion): CommandPlan {
  const prepare = PREPARE[name]
  const late = lateAdvice(name, rest, plan.env, question)
  const environments = optionValue(ownWords(rest), FOLDERS[name]?.environments ?? [])
  return {
    ...plan,
    targets: [
      ...plan.targets,
      ...(environments === null ? [] : [{ kind: 'environments', path: environments } as const]),
    ],
    prepare: prepare === undefined || late !== null ? null : prepare(head, rest, question),
    late,
  }
}

/** The words up to the subcommand, and its options: the words of the program that it starts are left out. */
function optionsUntil(own: Words, at: number, { folder = [], project = [] }: FolderOptions): Words {
  let end = at + 1
  while (own[end]?.startsWith('-') === true) end += [...folder, ...project].includes(own[end] ?? '') ? 2 : 1
  return own.slice(0, end)
}

/** The folders that the command's own words name, else those of its variables. */
function namedFolders(
  name: string,
  own: Words,
  env: NodeJS.ProcessEnv,
  before: Words,
): Pick<CommandPlan, 'folders' | 'project'> {
  const { folder = [], project = [], folderVariable = '', projectVariable = '' } = FOLDERS[name] ?? {}
  const into = optionValue(own, folder) ?? env[folderVariable] ?? ''
  const of = optionValue(own, project) ?? env[projectVariable] ?? ''
  return { folders: into === '' ? before : [...before, into], project: of === '' ? null : of }
}

interface Program {
  /** The words that start the program. */
  readonly head: Words
  readonly name: string
  readonly rest: Words
}

/** `python -m tox run` is also tox, and `python -Im pip` is also pip. */
function programOf(words: Words): Program {
  const name = fileNameOf(words[0] ?? '')
  if (/^(?:python|pypy)[\d.]*t?$/.test(name)) {
    for (let at = 1; words[at]?.startsWith('-') === true; at++) {
      const [, module] = /^-[A-Za-z]*?m(.*)$/.exec(words[at] ?? '') ?? []
      if (words[at] === '-W' || words[at] === '-X') at++
      if (module === undefined) continue
      const end = module === '' ? at + 2 : at + 1
      const called = module === '' ? (words[at + 1] ?? '') : module
      return { head: words.slice(0, end), name: called.replaceAll('_', '-'), rest: words.slice(end) }
    }
  }
  return { head: words.slice(0, 1), name, rest: words.slice(1) }
}

function planUv(
  plan: CommandPlan,
  { head, rest: args }: Program,
  before: Words,
  question: CommandQuestion,
): CommandPlan {
  // uv also takes its global options before the subcommand
  const [global, [command = '', ...rest]] = subcommand(head, args, question)
  const started = [...head, ...global]
  if (command === 'run') {
    // what follows the program belongs to the program
    const { options } = splitOptions(rest, question.help([...head, 'run', '--help']))
    const places = namedFolders('uv', [...global, ...options], plan.env, before)
    const inside = relativeQuestion(places.folders, question)
    const late = lateAdvice('uv run', [...global, ...rest], plan.env, inside)
    const prepare = late === null ? prepareRun(started, rest, inside) : null
    return { ...plan, ...places, ofUvProject: !options.includes('--active'), prepare, late }
  }
  if (command === 'tool') {
    const [more, [action = '', ...words]] = subcommand([...head, 'tool'], rest, question)
    if (action !== 'run') return plan
    const late = lateAdvice('uv tool run', [...global, ...more, ...words], plan.env, question)
    return {
      ...plan,
      late,
      prepare: late === null ? prepareTool([...started, 'tool', ...more, 'run'], words, question) : null,
    }
  }
  if (!UV_PROJECT.has(command)) return plan
  const ofUvProject = command !== 'pip' && !args.includes('--active')
  return { ...plan, tools: [], ofUvProject, targets: command === 'pip' ? targetsOf(rest, plan.env, UV_VARIABLES) : [] }
}

/** The options before a subcommand, and the subcommand with its arguments. */
function subcommand(head: Words, args: Words, { help }: CommandQuestion): [Words, Words] {
  if (args[0]?.startsWith('-') !== true) return [[], args]
  const { options, command } = splitOptions(args, help([...head, '--help']))
  return [options, command]
}

/** Options of pip and of `uv pip` that say where to install. */
const TARGET_OPTIONS: ReadonlyMap<string, InstallTarget['kind']> = new Map([
  ['--target', 'target'],
  ['-t', 'target'],
  ['--prefix', 'prefix'],
  ['--python', 'python'],
  ['-p', 'python'],
])

type Variables = readonly (readonly [variable: string, kind: InstallTarget['kind']])[]

/** Variables that say the same where no option does (pip, "Configuration"; uv, "Environment variables"). */
const PIP_VARIABLES: Variables = [
  ['PIP_TARGET', 'target'],
  ['PIP_PREFIX', 'prefix'],
  ['PIP_PYTHON', 'python'],
]
const UV_VARIABLES: Variables = [['UV_PYTHON', 'python']]

function targetsOf(args: Words, env: NodeJS.ProcessEnv, variables: Variables): InstallTarget[] {
  const named = args.flatMap((word, at): InstallTarget[] => {
    if (word === '--user') return [{ kind: 'user', path: '' }]
    const [option = '', value] = word.startsWith('--') ? word.split(/=(.*)/s) : [word]
    const kind = TARGET_OPTIONS.get(option)
    const path = value ?? args[at + 1]
    return kind === undefined || path === undefined ? [] : [{ kind, path }]
  })
  if (named.length > 0) return named
  return variables.flatMap(([variable, kind]): InstallTarget[] => {
    const path = env[variable] ?? ''
    // the version of a Python does not name a place
    return path === '' || (kind === 'python' && !path.includes('/')) ? [] : [{ kind, path }]
  })
}

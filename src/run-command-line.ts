// Runs a command line. Decides between wheelfix and patchelf, parses the words, and turns a usage error into one sentence.
import { basename } from 'node:path'
import { type AnyCommand, CommanderError } from './commander.ts'
import { makeProgram } from './cli.ts'
import { WheelfixError } from './io/error.ts'
import { ANYWHERE } from './options.ts'

declare const WHEELFIX_VERSION: string

/** Options of patchelf that wheelfix does not have. */
const PATCHELF_OPTION = /^--(?:print|set|add|remove|replace|rename|shrink|force|clear|allowed|build|page|no-default)-/

/** Words of other tools, and the command of wheelfix that does the same. */
const MEANT: Readonly<Record<string, string>> = {
  __proto__: null as never,
  fix: 'venv',
  patch: 'venv',
  install: 'venv',
  undo: 'restore',
  unpatch: 'restore',
  revert: 'restore',
  version: '--version',
}

/**
 * Resolves to the exit status: 0 success, 1 work is left, 2 nothing could be done. For `run` it is the status of the
 * command.
 */
export async function run(argv: readonly string[]): Promise<number> {
  // `wheelfix elf` takes patchelf's command line unchanged, and so does a link to the program with the name patchelf. A
  // script may resolve the link first (readlink -f, as patchelf's own tests do). Then the first option shows that patchelf
  // is meant.
  const asPatchelf = basename(argv[1] ?? '') === 'patchelf' || PATCHELF_OPTION.test(argv[2] ?? '')
  if (asPatchelf || argv[2] === 'elf') {
    const { elfCommand } = await import('./commands/elf/elf.ts')
    return elfCommand(argv.slice(asPatchelf ? 2 : 3), asPatchelf ? 'patchelf' : 'wheelfix elf', WHEELFIX_VERSION)
  }
  let status = 0
  const args = commandFirst(argv.slice(2))
  const program = makeProgram(
    WHEELFIX_VERSION,
    next => {
      status = next
    },
    args[0],
  )
  for (const command of allCommands(program)) {
    command.exitOverride().showHelpAfterError(`For examples: ${fullName(command)} --help`)
  }
  try {
    const meant = MEANT[args[0] ?? '']
    if (meant !== undefined) program.error(`error: unknown command '${args[0]}'\n(Did you mean ${meant}?)`)
    // a shell gives an empty word for a variable that is not set, and an empty path would mean the current folder
    const empty = args[0] === 'run' ? -1 : args.indexOf('')
    if (empty > 0) {
      const command = program.commands.find(sub => sub.name() === args[0]) ?? program
      command.error(`error: the word after ${args[empty - 1]} is empty: check the variable that it comes from`)
    }
    await program.parseAsync([...argv.slice(0, 2), ...args])
    return status
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error
    if (error.exitCode === 0) return 0
    // commander has printed the error on stderr; a reader of JSON also gets a document
    if (!argv.includes('--json')) return 2
    const { reportFailure } = await import('./commands/shared/failure.ts')
    return reportFailure(new WheelfixError('USAGE', error.message.replace(/^error: /, '')), { json: true })
  }
}

function allCommands(command: AnyCommand): AnyCommand[] {
  return [command, ...command.commands.flatMap(allCommands)]
}

function fullName(command: AnyCommand): string {
  return command.parent === null ? command.name() : `${fullName(command.parent)} ${command.name()}`
}

/** Turns `-q --color never venv DIR` into `venv -q --color never DIR`: these options belong to the command. */
export function commandFirst(args: readonly string[]): string[] {
  let at = 0
  while (at < args.length && ANYWHERE.test(args[at] ?? '')) at += args[at] === '--color' ? 2 : 1
  const [command, ...rest] = args.slice(at)
  return command === undefined || command.startsWith('-') ? [...args] : [command, ...args.slice(0, at), ...rest]
}

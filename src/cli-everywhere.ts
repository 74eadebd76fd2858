// The commands that serve environments of all tools.
import { type AddCommand, type Command, type End, Option } from './commander.ts'
import { collect, colourOption, dryRunOption, examples, jsonOption, quietOption, withLibraries } from './options.ts'

function addRun(program: Command, version: string, end: End): void {
  program
    .command('run')
    .summary('run a command that installs, and patch what it installed')
    .description(
      "Starts the command and then patches what it installed: the project's environment, what pip is told to install into, " +
        'and environments of the tool itself. For uv run, uvx, tox and others, wheelfix first makes and patches the environment, ' +
        'then starts the command. The status is that of the command.',
    )
    .usage('[--] <command...>')
    .argument('<command...>', 'the command with its arguments')
    .passThroughOptions()
    .addHelpText(
      'after',
      examples(
        ['wheelfix run uv sync', 'install and patch a project'],
        ['wheelfix run uv run script.py', 'install, patch, then start'],
        ['wheelfix run pip install -U numpy', 'the environment that pip belongs to'],
      ),
    )
    .action(async words => {
      const { runCommand } = await import('./commands/run/run.ts')
      end(await runCommand(words, version))
    })
}

function addAll(program: Command, version: string, end: End): void {
  const command = program
    .command('all')
    .summary('patch what Python tools made: uv, pipx, pre-commit')
    .description(
      "Finds the environments that Python tools made in the tools' own folders, and patches them: those of uv " +
        '(tools, scripts and managed Pythons), pipx, pre-commit and prek. It leaves alone what belongs to another user, is on ' +
        "another machine's disk, or is being written.",
    )
    .addOption(
      new Option(
        '--only <tools>',
        'only these tools, separated by commas (repeatable): uv, pipx, pre-commit, prek, poetry, pipenv, hatch, pdm, ' +
          'virtualenvwrapper, tox, nox, editors (default: $WHEELFIX_TOOLS, else uv, pipx, pre-commit, prek)',
      ).argParser(collect),
    )
    .option('--list', 'only list what is found')
    .option('--restore', 'undo everything, byte for byte')
    .addOption(dryRunOption())
  withLibraries(command)
    .addOption(jsonOption())
    .addOption(quietOption())
    .addOption(colourOption())
    .addHelpText(
      'after',
      examples(
        ['wheelfix all', 'patch what uv, pipx and pre-commit made'],
        ['wheelfix all --list --only uv,poetry,editors', 'where are the environments of these?'],
        ['wheelfix all --restore', 'undo it'],
      ),
    )
    .action(async options => {
      const { allCommand } = await import('./commands/all.ts')
      end(await allCommand(options, version))
    })
}

/** The commands that look beyond one environment. */
export const EVERYWHERE: readonly (readonly [name: string, add: AddCommand])[] = [
  ['all', addAll],
  ['run', addRun],
]

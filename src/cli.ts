// The commands with their options, help and examples, and nothing else. The code of a command is loaded when the command
// runs, so `--help` costs as little as an empty script.
import { type AddCommand, Command, type End } from './commander.ts'
import { EVERYWHERE } from './cli-everywhere.ts'
import { INSPECTING } from './cli-inspect.ts'
import {
  DIR,
  dryRunOption,
  editableOption,
  examples,
  interpreterOption,
  libsOption,
  rehashOption,
  strategyOption,
  strictOption,
  trustOption,
  updateOption,
  withLibrarySet,
  withOption,
  withOutput,
  withOwnerAndOutput,
} from './options.ts'
import { standardError, standardOutput } from './report/terminal/output.ts'

/**
 * The command line: commands with their options and help. Parsing it calls the command. `end` gets the exit status.
 * @param word the first word of the command line. If it names a command, the program has only this command, because the
 * definition of all commands takes 3 ms.
 */
export function makeProgram(version: string, end: End, word = ''): Command {
  const program = new Command('wheelfix')
    .description('Makes PyPI wheels work on NixOS and in any Nix Python.')
    .version(version)
    // descriptions are also readable in 60 columns
    .configureHelp({
      minWidthToWrap: 20,
      // the list of commands shows the same usage as the help of each command
      subcommandTerm: command => `${command.name()} ${command.usage()}`,
    })
    // the words after a command's first word may belong to another program
    .enablePositionalOptions()
    .addHelpText('after', EXIT_STATUSES)
    .configureOutput({
      writeOut: text => standardOutput.write(text),
      writeErr: text => standardError.write(text),
      getOutHelpWidth: () => standardOutput.columns ?? WIDTH,
      getErrHelpWidth: () => standardError.columns ?? WIDTH,
      // the help has no colours
      getOutHasColors: () => true,
      getErrHasColors: () => true,
    })
  // completions describe all commands
  const named = word === 'completions' ? [] : COMMANDS.filter(([name]) => name === word)
  for (const [, add] of named.length === 0 ? COMMANDS : named) add(program, version, end)
  return program
}

function addVenv(program: Command, version: string, end: End): void {
  const command = program
    .command('venv')
    .summary('patch an environment so that its wheels find their libraries')
    .description(
      'Patches the ELF objects of a virtual environment that do not find their libraries, so that they take them from the ' +
        "Nix store. Programs get the loader of the environment's Python. A second run changes nothing.",
    )
    .argument('[dirs...]', DIR)
    .addOption(dryRunOption())
  withOwnerAndOutput(
    withLibrarySet(command)
      .addOption(strictOption())
      .addOption(strategyOption())
      .addOption(interpreterOption())
      .addOption(updateOption())
      .addOption(rehashOption())
      .addOption(editableOption()),
  )
    .addHelpText(
      'after',
      examples(
        ['wheelfix venv', 'patch the active environment, else .venv'],
        ['wheelfix venv --dry-run ~/project/.venv', 'see what would be changed'],
        ['wheelfix venv --libs /run/current-system/sw/lib', 'take libraries from this folder first'],
      ),
    )
    .action(async (folders, options) => {
      const { venvCommand } = await import('./commands/venv.ts')
      end(await venvCommand('venv', folders, options, version))
    })
}

function addCheck(program: Command, version: string, end: End): void {
  const command = program
    .command('check')
    .summary('fail when something is unpatched or missing (for CI)')
    .description(
      'Looks at a virtual environment without changing it. The status is 0 only when nothing needs a patch and nothing ' +
        'is missing.',
    )
    .argument('[dirs...]', DIR)
  withOwnerAndOutput(withLibrarySet(command).addOption(strictOption()))
    .addHelpText(
      'after',
      examples(
        ['wheelfix check', 'is everything patched?'],
        ['wheelfix check --strict', 'count libraries that only optional plugins need, too'],
        ['wheelfix check --json .venv | jq .summary', 'numbers for a script'],
      ),
    )
    .action(async (folders, options) => {
      const { venvCommand } = await import('./commands/venv.ts')
      end(await venvCommand('check', folders, options, version))
    })
}

function addPath(program: Command, version: string, end: End): void {
  const command = program
    .command('path')
    .summary("patch any folder or file: pip --target, node_modules, an editor's extensions, a tool's cache")
    .description(
      'Patches the ELF objects of folders that are not virtual environments. Extension modules are resolved for the Python ' +
        "that --python names, else for that of the environment around the folder, or of the folder's scripts. Programs get " +
        'the loader of this Python; without a Python, they get one from the Nix store. Virtual environments in the folder ' +
        'are patched separately.',
    )
    .argument('<paths...>', 'folders, or single files')
    .option(
      '--python <python>',
      'the Python that loads the extension modules: an environment, a program or a name on PATH',
    )
    .option('--program <program>', 'another program that loads the objects, such as node')
    .option('--state-here', 'keep the state in the folder itself, not in $XDG_STATE_HOME/wheelfix')
    .option('--check', 'change nothing; the status is 0 only when nothing needs a patch and nothing is missing')
    .addOption(dryRunOption())
  withOwnerAndOutput(
    withLibrarySet(command).addOption(strictOption()).addOption(updateOption()).addOption(rehashOption()),
  )
    .addHelpText(
      'after',
      examples(
        ['wheelfix path ./vendored --python python3.12', 'what pip install --target made'],
        ['wheelfix path ~/.vscode/extensions', 'the programs that editor extensions bring'],
        ['wheelfix path --check ./node_modules', 'would it work?'],
      ),
    )
    .action(async (folders, options) => {
      const { pathCommand } = await import('./commands/venv.ts')
      end(await pathCommand(folders, options, version))
    })
}

function addLoader(program: Command, version: string, end: End): void {
  const command = program
    .command('loader')
    .summary('give an environment a private loader, and leave its wheels unchanged')
    .description(
      "Makes a copy of the Python's own dynamic loader that finds the libraries in the Nix store, and a bin/python that " +
        'this loader starts. dlopen, ctypes and packages that are installed later then find the libraries, too.',
    )
    .argument('[dirs...]', DIR)
    .addOption(dryRunOption())
  withOwnerAndOutput(
    withLibrarySet(command)
      .addOption(strictOption())
      .addOption(interpreterOption())
      .addOption(updateOption())
      .addOption(rehashOption())
      .addOption(editableOption()),
  )
    .addHelpText(
      'after',
      examples(
        ['wheelfix loader', 'make a private loader for .venv'],
        ['wheelfix loader --dry-run', 'see what it would do'],
        ['wheelfix restore', 'undo it'],
      ),
    )
    .action(async (folders, options) => {
      const { venvCommand } = await import('./commands/venv.ts')
      end(await venvCommand('loader', folders, { ...options, strategy: 'loader' }, version))
    })
}

function addPython(program: Command, _: string, end: End): void {
  const command = program
    .command('python')
    .summary("let a Python from another system start (uv's, python-build-standalone)")
    .description(
      'Gives the Python in a folder a loader from the Nix store, so that this Python and every environment made with it start. ' +
        'With --loader it gets a private loader, which also finds the libraries that wheels need.',
    )
    .argument(
      '<dir>',
      "the Python's folder (such as ~/.local/share/uv/python/cpython-3.12.8-linux-x86_64-gnu), the Python itself, or an " +
        'environment of it',
    )
    .option(
      '--libc <dir>',
      "the glibc to run it with (default: that of NIX_LD, else wheelfix's own, else the newest in the store)",
    )
    .option('--loader', 'make a private loader')
    .option('--make', 'make a Python of your own in a new folder: environments made with it need no patching')
    .option('--from <python>', 'with --make, the Python from the Nix store to make it from (default: python3)')
    .option('--update', 'with --make, take the current Python and libraries')
    .addOption(libsOption())
    .option('--no-scan', 'do not look for a glibc or for libraries in the local Nix store')
    .addOption(trustOption())
    .option('--restore', 'restore the original loader; remove what --make made')
    .addOption(dryRunOption())
  withOutput(command)
    .addHelpText(
      'after',
      examples(
        [
          'wheelfix python --make ~/.local/share/wheelfix-python',
          'make a Python, then: export UV_PYTHON=~/.local/share/wheelfix-python',
        ],
        ['wheelfix python "$(uv python find --managed-python 3.12)"', "let uv's Python 3.12 start"],
        [
          'wheelfix python --loader "$(uv python find --managed-python 3.12)"',
          'make its environments find libraries, too',
        ],
        ['wheelfix python --restore "$(uv python find --managed-python 3.12)"', 'undo it'],
      ),
    )
    .action(async (argument, options) => {
      const { pythonCommand } = await import('./commands/python.ts')
      end(await pythonCommand(argument, options))
    })
}

function addRestore(program: Command, _: string, end: End): void {
  const command = program
    .command('restore')
    .summary('restore every file, byte for byte')
    .description(
      'Undoes everything that wheelfix did to a virtual environment, byte for byte, and removes its .wheelfix folder.',
    )
    .argument('[dirs...]', DIR)
    .addOption(dryRunOption())
    .addOption(editableOption())
  withOwnerAndOutput(command)
    .addHelpText(
      'after',
      examples(
        ['wheelfix restore', 'undo all changes in .venv'],
        ['wheelfix restore --dry-run -v', 'see which files would be restored'],
      ),
    )
    .action(async (folders, options) => {
      const { restoreCommand } = await import('./commands/restore.ts')
      end(await restoreCommand(folders, options))
    })
}

function addWheel(program: Command, _: string, end: End): void {
  const command = program
    .command('wheel')
    .summary('patch wheels before they are installed')
    .description(
      'Patches wheels as `wheelfix venv` would patch them once installed. The result has the same name and a RECORD with ' +
        'the new hashes. Entries that need no change keep their bytes.',
    )
    .argument('<files...>', 'wheels, or folders of them')
    .option('-o, --output-dir <dir>', 'where the results go (default: wheelhouse)')
    .option('--in-place', 'replace the wheels themselves')
    .addOption(dryRunOption())
    .option('--check', 'compare with the policies of the tags, and say whether the wheel would work; write nothing')
    .option('--restore', 'restore the original wheels')
    .option(
      '--python <python>',
      'the Python that the wheels are for: an environment or a program (default: as for venv, else python3)',
    )
    .addOption(withOption())
    .option('--tag <tag>', 'mark results with a build tag (1nixos) or a local version (+nixos)')
  withOutput(
    withLibrarySet(command)
      .addOption(interpreterOption())
      .option('--strict', 'also count what only plugins or other packages lack, and broken policies'),
  )
    .addHelpText(
      'after',
      examples(
        ['wheelfix wheel dist/*.whl -o wheelhouse', 'patch wheels into another folder'],
        ['wheelfix wheel --check numpy-2.3.5-cp312-cp312-manylinux_2_28_x86_64.whl', 'would it work?'],
        ['wheelfix wheel --restore wheelhouse/*.whl -o originals', 'undo it'],
      ),
    )
    .action(async (files, options) => {
      const { wheelCommand } = await import('./commands/wheel.ts')
      end(await wheelCommand(files, options))
    })
}

const EXIT_STATUSES = `
-q, -v and --color may also come before the command.
wheelfix COMMAND --help shows examples.

Exit status:
  0   success
  1   something is missing, unpatched or refused
  2   nothing could be done
  70  a bug in wheelfix`

/** The width of the help, in columns, where the output is not a terminal. */
const WIDTH = 80

/** Each command by its name, in the order of the help. */
const COMMANDS: readonly (readonly [name: string, add: AddCommand])[] = [
  ['venv', addVenv],
  ['check', addCheck],
  ['restore', addRestore],
  ['path', addPath],
  ...EVERYWHERE,
  ['loader', addLoader],
  ['python', addPython],
  ['wheel', addWheel],
  ...INSPECTING,
]

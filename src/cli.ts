// The program: options and help for every command, nothing else. A command's own code is loaded when it runs, so that
// `--help` costs what an empty script costs.
import { basename } from 'node:path'
import { Command, CommanderError, Option } from 'commander'
import type { ExitStatus } from './commands/status.ts'
import { WheelfixError } from './io/error.ts'

declare const WHEELFIX_VERSION: string

/** Runs the command line. Resolves to the exit status: 0 all well, 1 something is left undone, 2 nothing could be done. */
export async function run(argv: readonly string[]): Promise<ExitStatus> {
  let status: ExitStatus = 0
  // `wheelfix elf`, and whatever link to the program is called patchelf, take patchelf's command line as it is; a script
  // that resolves the link first (readlink -f, as patchelf's own tests do) is known by its first option
  const asPatchelf = basename(argv[1] ?? '') === 'patchelf' || PATCHELF_OPTION.test(argv[2] ?? '')
  if (asPatchelf || argv[2] === 'elf') {
    const { elfCommand } = await import('./commands/elf.ts')
    return elfCommand(argv.slice(asPatchelf ? 2 : 3), asPatchelf ? 'patchelf' : 'wheelfix elf', WHEELFIX_VERSION)
  }
  const program = new Command('wheelfix')
    .description('Makes PyPI wheels work on NixOS and in any Nix Python.')
    .version(WHEELFIX_VERSION)
    .exitOverride()
    .showHelpAfterError('(see wheelfix --help)')
    .addHelpText('after', EXIT_STATUSES)

  for (const add of [
    addVenv,
    addCheck,
    addLoader,
    addPath,
    addPython,
    addRestore,
    addWhy,
    addDoctor,
    addElf,
    addLibs,
    addWheel,
  ]) {
    add(program, next => {
      status = next
    })
  }

  try {
    await program.parseAsync(argv)
    return status
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error
    if (error.exitCode === 0) return 0
    // commander has told it on stderr; who reads JSON gets a document in any case
    if (!argv.includes('--json')) return 2
    const { reportFailure } = await import('./commands/failure.ts')
    return reportFailure(new WheelfixError('USAGE', error.message.replace(/^error: /, '')), true)
  }
}

/** Takes the exit status of the command that ran. */
type End = (status: ExitStatus) => void

function addVenv(program: Command, end: End): void {
  program
    .command('venv')
    .summary('patch a virtual environment so that its wheels find their libraries')
    .description(
      'Patches every ELF object of a virtual environment that does not find its libraries, so that it takes them from the ' +
        'Nix store; programs get the loader of the venv’s Python. Running it again changes nothing.',
    )
    .argument('[dirs...]', VENV_ARGUMENT)
    .addOption(dryRunOption())
    .addOption(libsOption())
    .addOption(scanOption())
    .addOption(trustOption())
    .addOption(ignoreMissingOption())
    .addOption(ignoreOption())
    .addOption(strictOption())
    .addOption(strategyOption())
    .addOption(interpreterOption())
    .option('--update', 'choose the libraries anew instead of those of the last run')
    .option('--rehash', 'write true hashes into RECORD instead of emptying them')
    .addOption(editableOption())
    .addOption(jsonOption())
    .addOption(quietOption())
    .addOption(verboseOption())
    .addOption(asRootOption())
    .addOption(colourOption())
    .action(async (folders, options) => {
      const { venvCommand } = await import('./commands/venv.ts')
      end(await venvCommand('venv', folders, options, WHEELFIX_VERSION))
    })
}

function addCheck(program: Command, end: End): void {
  program
    .command('check')
    .summary('fail when something is unpatched or missing (for CI)')
    .description(
      'Looks at a virtual environment without changing it: status 0 only when nothing is to be patched and nothing is missing.',
    )
    .argument('[dirs...]', VENV_ARGUMENT)
    .addOption(libsOption())
    .addOption(scanOption())
    .addOption(trustOption())
    .addOption(ignoreMissingOption())
    .addOption(ignoreOption())
    .addOption(strictOption())
    .addOption(jsonOption())
    .addOption(quietOption())
    .addOption(verboseOption())
    .addOption(asRootOption())
    .addOption(colourOption())
    .action(async (folders, options) => {
      const { venvCommand } = await import('./commands/venv.ts')
      end(await venvCommand('check', folders, options, WHEELFIX_VERSION))
    })
}

function addPath(program: Command, end: End): void {
  program
    .command('path')
    .summary('patch any folder or file: pip --target, node_modules, an editor’s extensions, a tool’s cache')
    .description(
      'Patches the ELF objects of folders that are no virtual environments. Extension modules are loaded by the Python that ' +
        'is named, or that the folder’s scripts name; programs get a loader of the Nix store. Virtual environments in the ' +
        'folder are patched by themselves.',
    )
    .argument('<paths...>', 'folders, or single files')
    .option('--python <python>', 'the Python that loads the extension modules: a venv, a program or a name on PATH')
    .option('--program <program>', 'a program that loads the objects and is no Python, such as node')
    .option('--state-here', 'keep what belongs to it in the folder itself, not in $XDG_STATE_HOME/wheelfix')
    .option('--check', 'change nothing; status 0 only when nothing is to be patched and nothing is missing')
    .addOption(dryRunOption())
    .addOption(libsOption())
    .addOption(scanOption())
    .addOption(trustOption())
    .addOption(ignoreMissingOption())
    .addOption(ignoreOption())
    .addOption(strictOption())
    .option('--update', 'choose the libraries anew instead of those of the last run')
    .option('--rehash', 'write true hashes into RECORD instead of emptying them')
    .addOption(jsonOption())
    .addOption(quietOption())
    .addOption(verboseOption())
    .addOption(asRootOption())
    .addOption(colourOption())
    .action(async (folders, options) => {
      const { pathCommand } = await import('./commands/venv.ts')
      end(await pathCommand(folders, options, WHEELFIX_VERSION))
    })
}

function addLoader(program: Command, end: End): void {
  program
    .command('loader')
    .summary('give a virtual environment a loader of its own, and leave its wheels as they are')
    .description(
      'Makes a copy of the Python’s own dynamic loader that finds the libraries of the Nix store, and a bin/python that it ' +
        'starts: then dlopen, ctypes and what is installed later find them, too. See “The private loader” in the README.',
    )
    .argument('[dirs...]', VENV_ARGUMENT)
    .addOption(dryRunOption())
    .addOption(libsOption())
    .addOption(scanOption())
    .addOption(trustOption())
    .addOption(ignoreMissingOption())
    .addOption(ignoreOption())
    .addOption(strictOption())
    .addOption(interpreterOption())
    .option('--update', 'choose the libraries anew instead of those of the last run')
    .option('--rehash', 'write true hashes into RECORD instead of emptying them')
    .addOption(editableOption())
    .addOption(jsonOption())
    .addOption(quietOption())
    .addOption(verboseOption())
    .addOption(asRootOption())
    .addOption(colourOption())
    .action(async (folders, options) => {
      const { venvCommand } = await import('./commands/venv.ts')
      end(await venvCommand('loader', folders, { ...options, strategy: 'loader' }, WHEELFIX_VERSION))
    })
}

function addPython(program: Command, end: End): void {
  program
    .command('python')
    .summary('make a Python of another system start (uv’s, python-build-standalone)')
    .description(
      'Gives the interpreter in a folder a loader of the Nix store, so that it and every venv made with it start; with ' +
        '--loader a private one, by which wheels find their libraries, too.',
    )
    .argument(
      '<dir>',
      'the folder that holds bin/python3.X, such as ~/.local/share/uv/python/cpython-3.12.8-linux-x86_64-gnu',
    )
    .option(
      '--libc <dir>',
      'the glibc to run it with (default: NIX_LD’s, wheelfix’s own, else the newest in the store)',
    )
    .option('--loader', 'make a private loader')
    .addOption(libsOption())
    .option('--no-scan', 'do not look for a glibc and for libraries in the local Nix store')
    .addOption(trustOption())
    .option('--restore', 'give the interpreter back as it was')
    .addOption(dryRunOption())
    .addOption(jsonOption())
    .addOption(quietOption())
    .addOption(colourOption())
    .action(async (argument, options) => {
      const { pythonCommand } = await import('./commands/python.ts')
      end(pythonCommand(argument, options))
    })
}

function addRestore(program: Command, end: End): void {
  program
    .command('restore')
    .summary('give every file back as it was')
    .description(
      'Undoes everything that wheelfix did to a virtual environment, byte for byte, and removes its .wheelfix folder.',
    )
    .argument('[dirs...]', VENV_ARGUMENT)
    .addOption(dryRunOption())
    .addOption(editableOption())
    .addOption(jsonOption())
    .addOption(quietOption())
    .addOption(verboseOption())
    .addOption(asRootOption())
    .addOption(colourOption())
    .action(async (folders, options) => {
      const { restoreCommand } = await import('./commands/restore.ts')
      end(await restoreCommand(folders, options))
    })
}

function addWhy(program: Command, end: End): void {
  program
    .command('why')
    .summary('say where an object gets each of its libraries from, and why')
    .description(
      'Shows as a tree what a distribution, a module (scipy.linalg._flapack), a file or a soname needs: the file that ' +
        'serves each needed, the entry of the search path that finds it, what is missing and what was tried, and what ' +
        'wheelfix venv would change. Writes nothing.',
    )
    .usage('[options] [dir] <name>')
    .argument('<dir>', 'the venv; may be left out')
    .argument('[name]', 'what is asked about')
    .addOption(libsOption())
    .addOption(scanOption())
    .addOption(trustOption())
    .addOption(jsonOption())
    .addOption(verboseOption())
    .addOption(asRootOption())
    .addOption(colourOption())
    .action(async (first, second, options) => {
      const { whyCommand } = await import('./commands/why.ts')
      end(whyCommand(first, second, options))
    })
}

function addDoctor(program: Command, end: End): void {
  program
    .command('doctor')
    .summary('look for what is wrong with a virtual environment')
    .description(
      'Asks the venv’s own Python to load every object and compares its answer with wheelfix’s, and looks for dead store ' +
        'paths, unprotected ones, interrupted runs, changed packages and libraries that are only loaded by name. Changes nothing.',
    )
    .argument('[dirs...]', VENV_ARGUMENT)
    .option('--import', 'import every extension module too, each in a process of its own')
    .addOption(libsOption())
    .addOption(scanOption())
    .addOption(trustOption())
    .addOption(ignoreMissingOption())
    .addOption(ignoreOption())
    .addOption(jsonOption())
    .addOption(verboseOption())
    .addOption(asRootOption())
    .addOption(colourOption())
    .action(async (folders, options) => {
      const { doctorCommand } = await import('./commands/doctor.ts')
      end(await doctorCommand(folders, options))
    })
}

/** Listed for --help alone: `run` hands its command line on before anything is parsed. */
function addElf(program: Command): void {
  program
    .command('elf')
    .summary('change one ELF file, with the options of patchelf (see wheelfix elf --help)')
    .argument('<file...>')
}

function addLibs(program: Command, end: End): void {
  const libs = program
    .command('libs')
    .summary('show which libraries are there, from where, and which are lacking')
    .description(
      'Lists the library set in force: for each soname that wheels may expect or that the venv needs, the file that serves ' +
        'it, its package and its source.',
    )
    .argument('[dir]', VENV_ARGUMENT)
    .option('--policy <name>', 'only what this policy allows (manylinux_2_28, manylinux2014, musllinux_1_2 …)')
    .option('--python <python>', 'without a venv, the Python that the libraries are for (default: python3)')
    .addOption(libsOption())
    .addOption(scanOption())
    .addOption(trustOption())
    .addOption(jsonOption())
    .addOption(asRootOption())
    .addOption(colourOption())
    .action(async (argument, options) => {
      const { libsCommand } = await import('./commands/libs.ts')
      end(libsCommand(argument, options))
    })

  libs
    .command('env')
    .summary('print the set as lines for a shell (WHEELFIX_LIBS, NIX_LD_LIBRARY_PATH)')
    .argument('[dir]', VENV_ARGUMENT)
    .action(async (argument, _, command: Command) => {
      const { libsEnvCommand } = await import('./commands/libs.ts')
      end(libsEnvCommand(argument, command.optsWithGlobals()))
    })

  libs
    .command('build')
    .summary('build libraries with Nix and have the venv take them')
    .argument('[name...]', 'packages of nixpkgs (libGL, cups), and the folder of the venv where it is not the default')
    .option('--missing', 'build the packages that have what the venv misses')
    .option(
      '--flake <ref>',
      'build a set instead, a flake output that has lib/ (default: libs of the flake that this program is from)',
    )
    .action(async (argument, _, command: Command) => {
      const { libsBuildCommand } = await import('./commands/libs.ts')
      end(await libsBuildCommand(argument, command.optsWithGlobals(), WHEELFIX_VERSION))
    })
}

function addWheel(program: Command, end: End): void {
  program
    .command('wheel')
    .summary('patch wheels before they are installed')
    .description(
      'Patches wheels as `wheelfix venv` would patch them once installed. The result has the same name and RECORD with ' +
        'true hashes; entries that need no change keep their bytes.',
    )
    .argument('<files...>', 'wheels, or folders of them')
    .option('-o, --output-dir <dir>', 'where the results go (default: wheelhouse)')
    .option('--in-place', 'replace the wheels themselves')
    .addOption(dryRunOption())
    .option('--check', 'compare with the policies of the tags, and say whether it would work; write nothing')
    .option('--restore', 'give back what the wheels held before wheelfix')
    .option(
      '--python <python>',
      'the Python that the wheels are for: a venv or a program (default: as venv, else python3)',
    )
    .option(
      '--with <wheel>',
      'a wheel or a folder of wheels to be installed together with them (repeatable)',
      collect,
      [],
    )
    .option('--tag <tag>', 'mark results by a build tag (1nixos) or a local version (+nixos)')
    .addOption(libsOption())
    .addOption(scanOption())
    .addOption(trustOption())
    .addOption(ignoreMissingOption())
    .addOption(ignoreOption())
    .addOption(interpreterOption())
    .option('--strict', 'count also what only plugins or other packages miss, and broken policies')
    .addOption(jsonOption())
    .addOption(quietOption())
    .addOption(verboseOption())
    .addOption(colourOption())
    .action(async (files, options) => {
      const { wheelCommand } = await import('./commands/wheel.ts')
      end(await wheelCommand(files, options))
    })
}

/** Options of patchelf that are none of ours. */
const PATCHELF_OPTION = /^--(?:print|set|add|remove|replace|rename|shrink|force|clear|allowed|build|page|no-default)-/

const VENV_ARGUMENT = 'the venv (default: $VIRTUAL_ENV, else .venv here or in a parent folder)'

const EXIT_STATUSES = `
Exit status: 0 all well; 1 something is missing, unpatched or was refused, the rest is done; 2 nothing could be done.`

function collect(value: string, previous: readonly string[]): readonly string[] {
  return [...previous, value]
}

function libsOption(): Option {
  return new Option('--libs <dir>', 'take libraries from here first (repeatable; may be a colon-separated list)')
    .default([], 'none')
    .argParser(collect)
}

function scanOption(): Option {
  return new Option('--no-scan', 'do not look for libraries in the local Nix store')
}

function trustOption(): Option {
  return new Option('--trust <path>', 'take this package of the store whoever put it there (repeatable)')
    .default([], 'none')
    .argParser(collect)
}

function asRootOption(): Option {
  return new Option('--as-root', 'as root, stay root in a venv of another user (default: become its owner)')
}

function dryRunOption(): Option {
  return new Option('--dry-run', 'say what would be done, write nothing')
}

function strictOption(): Option {
  return new Option('--strict', 'count also what only plugins miss that nothing links to')
}

function strategyOption(): Option {
  return new Option(
    '--strategy <how>',
    'patch the objects (rpath, the default), make a private loader and leave the wheels as they are (loader), or both',
  ).choices(['rpath', 'loader', 'both'])
}

function interpreterOption(): Option {
  return new Option(
    '--interpreter <which>',
    'what programs that ask for the loader of another system get: the loader of the venv’s Python (python, the ' +
      'default), or nix-ld',
  ).choices(['python', 'nix-ld'])
}

function ignoreOption(): Option {
  return new Option('--ignore <glob>', 'do not look at these files and folders (repeatable)')
    .default([], 'none')
    .argParser(collect)
}

function ignoreMissingOption(): Option {
  return new Option('--ignore-missing <glob>', 'do not report these sonames as missing (repeatable)')
    .default([], 'none')
    .argParser(collect)
}

function editableOption(): Option {
  return new Option('--editable', 'also what editable installs and .pth files import from outside of the environment')
}

function jsonOption(): Option {
  return new Option('--json', 'print one JSON document')
}

function quietOption(): Option {
  return new Option('-q, --quiet', 'say only what is not well')
}

function verboseOption(): Option {
  return new Option('-v, --verbose', 'show every file and every entry')
}

function colourOption(): Option {
  return new Option('--color <when>', 'colour').choices(['auto', 'always', 'never']).default('auto')
}

// The commands that examine things, or describe the program itself. They change no environment. The exception is `libs
// build`.
import type { AddCommand, Command, End } from './commander.ts'
import {
  DIR,
  dryRunOption,
  examples,
  withLibraries,
  withLibrarySet,
  withOutput,
  withOwnerAndOutput,
} from './options.ts'

function addWhy(program: Command, version: string, end: End): void {
  const command = program
    .command('why')
    .summary('say where an object gets each of its libraries from, and why')
    .description(
      'Shows as a tree what a distribution, a module, a file or a soname needs: the file that serves each library, the ' +
        'entry of the search path that finds it, and for a missing library everything that was tried. Writes nothing.',
    )
    .usage('[options] [dir] <name>')
    .argument('<name...>', 'a name or a line of a traceback, after the environment if that is not the default')
  withOwnerAndOutput(withLibraries(command))
    .addHelpText(
      'after',
      examples(
        ['wheelfix why numpy', 'every object of a package'],
        ['wheelfix why scipy.linalg._flapack', 'one module'],
        ['wheelfix why "ImportError: libGL.so.1: cannot open shared object file"', 'a line of a traceback'],
      ),
    )
    .action(async (words, options) => {
      const { whyCommand } = await import('./commands/why.ts')
      end(whyCommand(words, options, version))
    })
}

function addDoctor(program: Command, version: string, end: End): void {
  const command = program
    .command('doctor')
    .summary('look for what is wrong with an environment')
    .description(
      "Asks the environment's own Python to load every object and compares its answer with wheelfix's. Looks for dead and " +
        'unprotected store paths, interrupted runs, changed packages and libraries that are loaded by name. Changes nothing.',
    )
    .argument('[dirs...]', DIR)
    .option('--import', 'also import every extension module, each in a process of its own')
    .option('--bundle <file.zip>', 'write what a bug report needs into a new file, without your name and without code')
  withOwnerAndOutput(withLibrarySet(command))
    .addHelpText(
      'after',
      examples(
        ['wheelfix doctor', 'look at .venv'],
        ['wheelfix doctor --import', 'import every extension module as well'],
        ['wheelfix explain library-missing', 'what a finding means'],
        ['wheelfix doctor --bundle wheelfix-bug.zip', 'make a file for a bug report'],
      ),
    )
    .action(async (folders, options) => {
      const { doctorCommand } = await import('./commands/doctor.ts')
      end(await doctorCommand(folders, options, version))
    })
}

/** Lists the command only for --help. `run` (run-command-line.ts) passes its command line on before anything is parsed. */
function addElf(program: Command): void {
  program
    .command('elf')
    .summary('change single ELF files, with the options of patchelf (see wheelfix elf --help)')
    .description('Changes single ELF files, with the options of patchelf (see `wheelfix elf --help`).')
    .argument('<file...>', 'ELF files')
}

/** `wheelfix libs` with its options, which also apply to `env` and `build`. */
function libsWithOptions(program: Command) {
  const command = program
    .command('libs')
    // its options may also follow `env` and `build`
    .enablePositionalOptions(false)
    // packages follow a mistyped `build`
    .allowExcessArguments()
    .summary('show which libraries there are, where they come from, and which are missing')
    .description(
      'Lists the library set: for each soname that wheels may expect or that the environment needs, the file that serves it, ' +
        'its package and its source.',
    )
    .argument('[dir]', DIR)
    .option('--policy <name>', 'only what this policy allows (manylinux_2_28, manylinux2014, musllinux_1_2 …)')
    .option('--python <python>', 'without an environment, the Python that the libraries are for (default: python3)')
  return withOwnerAndOutput(withLibraries(command))
}

function addLibs(program: Command, version: string, end: End): void {
  const libs = libsWithOptions(program)
    .addHelpText(
      'after',
      examples(
        ['wheelfix libs', 'what .venv takes its libraries from'],
        ['wheelfix libs build libGL cups', 'build two packages from nixpkgs and use them'],
        ['eval "$(wheelfix libs env)"', 'set WHEELFIX_LIBS in this shell'],
      ),
    )
    .action(async (argument, options, command) => {
      const { libsCommand } = await import('./commands/libs/libs.ts')
      end(libsCommand(argument, options, command.args.slice(1)))
    })

  libs
    .command('env')
    .summary('print the set as lines for a shell (WHEELFIX_LIBS, NIX_LD_LIBRARY_PATH)')
    .description(
      'Prints the folders of the library set, for wheelfix and for nix-ld. `wheelfix env` shows the variables that ' +
        'the installed packages read. The options of `wheelfix libs` work here, too.',
    )
    .argument('[dir]', DIR)
    .addHelpText(
      'after',
      examples(
        ['eval "$(wheelfix libs env)"', 'set the variables in this shell'],
        ['wheelfix libs env --json', 'the same as data'],
      ),
    )
    .action(async (argument, _options, command) => {
      const { libsEnvCommand } = await import('./commands/libs/libs.ts')
      end(libsEnvCommand(argument, command.optsWithGlobals()))
    })

  libs
    .command('build')
    .summary('build libraries with Nix and use them')
    .argument(
      '[name...]',
      "packages from nixpkgs (libGL, cups), and the environment's folder where it is not the default",
    )
    .description(
      'Builds or downloads packages from the nixpkgs that the project pins (devenv.lock, flake.lock, npins, niv; without ' +
        "one, that of wheelfix's own flake), keeps a link to them in .wheelfix, and patches the environment to use them.",
    )
    .option('--missing', 'build the packages that have what the environment lacks')
    .addOption(dryRunOption())
    .option(
      '--flake <ref>',
      'build a set instead: a flake output that has lib/ (default: libs of the flake that this program comes from)',
    )
    .addHelpText(
      'after',
      examples(
        ['wheelfix libs build libGL cups', 'build two packages from nixpkgs'],
        ['wheelfix libs build --missing', 'build whatever is missing'],
        ['wheelfix libs build --missing --dry-run', 'see which packages would be built'],
      ),
    )
    .action(async (names, _options, command) => {
      const { libsBuildCommand } = await import('./commands/libs/libs-build.ts')
      end(await libsBuildCommand(names, command.optsWithGlobals(), version))
    })
}

function addEnv(program: Command, _: string, end: End): void {
  const command = program
    .command('env')
    .summary('show the variables that help the installed packages: certificates, GPU tools, data files')
    .description(
      'Some packages look for files in places that a Nix system does not have, and read a variable that names another place. ' +
        'Shows the variables that help here, for the packages that are installed, each with its value and its reason. A search ' +
        'path of libraries is never among them: `wheelfix venv` makes it unnecessary, and `wheelfix libs env` prints one for nix-ld.',
    )
    .argument('[dir]', DIR)
    .option('--export', 'print lines that a shell evaluates; a variable that is set already stays as it is')
    .option('--build', 'also show what builds from source need: CC, CXX, PKG_CONFIG_PATH, CUDA_HOME')
  withOwnerAndOutput(withLibraries(command))
    .addHelpText(
      'after',
      examples(
        ['wheelfix env', 'what would help .venv?'],
        ['eval "$(wheelfix env --export)"', 'set the variables in this shell, or in an .envrc'],
        ['wheelfix env --build', 'before pip builds something from source'],
      ),
    )
    .action(async (argument, options) => {
      const { envCommand } = await import('./commands/env.ts')
      end(envCommand(argument, options))
    })
}

function addNix(program: Command, _: string, end: End): void {
  const command = program
    .command('nix')
    .summary('print what the wheels need as an overlay for uv2nix and pyproject.nix')
    .description(
      'Prints a Nix file: for each installed wheel the packages from nixpkgs and the folders of other wheels that it links to, and ' +
        'the sonames that may be missing. It is for a project that moves from a patched environment to derivations. Writes nothing.',
    )
    .argument('[dir]', DIR)
  withOwnerAndOutput(withLibrarySet(command))
    .addHelpText(
      'after',
      examples(
        ['wheelfix nix > wheels.nix', 'the overlay for .venv'],
        ['wheelfix nix --json | jq .packages', 'the same as data'],
      ),
    )
    .action(async (argument, options) => {
      const { nixCommand } = await import('./commands/nix.ts')
      end(nixCommand(argument, options))
    })
}

function addConfig(program: Command, _: string, end: End): void {
  const command = program
    .command('config')
    .summary('show each setting and where it comes from')
    .description(
      'Shows the settings of an environment: from wheelfix.toml or [tool.wheelfix] in pyproject.toml, from the variables ' +
        'of the shell, and from earlier runs.',
    )
    .argument('[dir]', DIR)
  withOutput(command)
    .addHelpText(
      'after',
      examples(['wheelfix config', 'the settings for .venv'], ['wheelfix config --json', 'the same as data']),
    )
    .action(async (argument, options) => {
      const { configCommand } = await import('./commands/config.ts')
      end(configCommand(argument, options))
    })
}

function addExplain(program: Command, _: string, end: End): void {
  const command = program
    .command('explain')
    .summary('explain a finding or an error by its code')
    .description('Says what a code of `wheelfix doctor` or of a JSON error means, with an example and what to do.')
    .argument('[code]', 'such as library-missing or VENV_NOT_FOUND; without it all codes are listed')
  withOutput(command)
    .addHelpText(
      'after',
      examples(['wheelfix explain', 'list all codes'], ['wheelfix explain qt-platform', 'explain one']),
    )
    .action(async (code, options) => {
      const { explainCommand } = await import('./commands/explain.ts')
      end(explainCommand(code, options))
    })
}

/** Adds completions, for packages and for a user's own shell. */
function addCompletions(program: Command, _: string, end: End): void {
  program
    .command('completions')
    .summary('print completions for a shell, or a manual page')
    .description('Prints completions for a shell, or a manual page.')
    .argument('<what>', 'bash, zsh, fish, man (all commands in one page) or markdown')
    .addHelpText(
      'after',
      examples(
        ['source <(wheelfix completions bash)', 'in this shell'],
        ['wheelfix completions fish > ~/.config/fish/completions/wheelfix.fish', 'in every fish shell'],
        ['wheelfix completions man | man -l -', 'read the manual page'],
      ),
    )
    .action(async what => {
      const { completionsCommand } = await import('./commands/completions.ts')
      const { describe } = await import('./describe.ts')
      end(completionsCommand(what, describe(program)))
    })
}

/** The commands that answer questions, and `elf`. */
export const INSPECTING: readonly (readonly [name: string, add: AddCommand])[] = [
  ['why', addWhy],
  ['doctor', addDoctor],
  ['libs', addLibs],
  ['env', addEnv],
  ['nix', addNix],
  ['config', addConfig],
  ['elf', addElf],
  ['explain', addExplain],
  ['completions', addCompletions],
]

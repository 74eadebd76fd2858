// The options that several commands share. Each is described once.
import { type CommandWith, Option, type OptionValues } from './commander.ts'

const NONE: readonly string[] = []

/** The parser of an option that may be given several times: its values so far, and one more. */
export function collect(value: string, previous: readonly string[] = NONE): readonly string[] {
  return [...previous, value]
}

export const libsOption = () =>
  new Option('--libs <dir>', 'take libraries from this folder first (repeatable; a colon-separated list is accepted)')
    .default(NONE, 'none')
    .argParser(collect)

const scanOption = () => new Option('--no-scan', 'do not look for libraries in the local Nix store')

export const trustOption = () =>
  new Option('--trust <path>', 'use this store package, whoever added it to the store (repeatable)')
    .default(NONE, 'none')
    .argParser(collect)

export const withOption = () =>
  new Option('--with <wheel>', 'a wheel or a folder of wheels that is installed as well (repeatable)')
    .default(NONE, 'none')
    .argParser(collect)

const ignoreMissingOption = () =>
  new Option('--ignore-missing <glob>', 'do not report these sonames as missing (repeatable)')
    .default(NONE, 'none')
    .argParser(collect)

const ignoreOption = () =>
  new Option('--ignore <glob>', 'do not look at these files and folders (repeatable)')
    .default(NONE, 'none')
    .argParser(collect)

const asRootOption = () =>
  new Option('--as-root', 'as root, stay root in an environment of another user (default: become its owner)')

export const dryRunOption = () => new Option('--dry-run', 'say what would be done, write nothing')

export const strictOption = () => new Option('--strict', 'also count libraries that only optional plugins need')

export const strategyOption = () =>
  new Option(
    '--strategy <how>',
    'patch the objects (rpath, the default), make a private loader and leave the wheels unchanged (loader), or both',
  ).choices(['rpath', 'loader', 'both'] as const)

export const interpreterOption = () =>
  new Option(
    '--interpreter <which>',
    "the loader for programs that ask for the loader of another system: that of the environment's Python (python, the " +
      'default), or nix-ld',
  ).choices(['python', 'nix-ld'] as const)

export const updateOption = () =>
  new Option('--update', 'choose the libraries again, ignoring the choice of the last run')

export const rehashOption = () =>
  new Option('--rehash', 'write the new hashes into RECORD instead of leaving them empty')

export const editableOption = () =>
  new Option('--editable', 'include what editable installs and .pth files import from outside the environment')

export const jsonOption = () => new Option('--json', 'print one JSON document')

export const quietOption = () => new Option('-q, --quiet', 'print only problems')

const verboseOption = () => new Option('-v, --verbose', 'print every file and every entry')

export const colourOption = () =>
  new Option('--color <when>', 'use colour; auto obeys NO_COLOR and FORCE_COLOR')
    .choices(['auto', 'always', 'never'] as const)
    .default('auto' as const)

/** Adds the options that say where libraries may come from. */
export function withLibraries<A extends unknown[], O extends OptionValues, G extends OptionValues>(
  command: CommandWith<A, O, G>,
) {
  return command.addOption(libsOption()).addOption(scanOption()).addOption(trustOption())
}

/** Adds the options that say where libraries may come from, and which sonames and files are left out. */
export function withLibrarySet<A extends unknown[], O extends OptionValues, G extends OptionValues>(
  command: CommandWith<A, O, G>,
) {
  return withLibraries(command).addOption(ignoreMissingOption()).addOption(ignoreOption())
}

/** Adds the options that say how the answer is printed. */
export function withOutput<A extends unknown[], O extends OptionValues, G extends OptionValues>(
  command: CommandWith<A, O, G>,
) {
  return command.addOption(jsonOption()).addOption(quietOption()).addOption(verboseOption()).addOption(colourOption())
}

/** The same for a command about an environment, which root examines or changes as its owner. */
export function withOwnerAndOutput<A extends unknown[], O extends OptionValues, G extends OptionValues>(
  command: CommandWith<A, O, G>,
) {
  return command
    .addOption(jsonOption())
    .addOption(quietOption())
    .addOption(verboseOption())
    .addOption(asRootOption())
    .addOption(colourOption())
}

/** These options may also come before the command: `wheelfix -q venv`. */
export const ANYWHERE = /^(?:-q|--quiet|-v|--verbose|--color(?:=.*)?)$/

export const DIR =
  'the environment (default: $VIRTUAL_ENV, $UV_PROJECT_ENVIRONMENT, else .venv, venv or env here or in a parent folder)'

/** The examples in two columns: each command with its purpose. */
export function examples(...rows: readonly (readonly [command: string, purpose: string])[]): string {
  return `\nExamples:\n${rows.map(([command, purpose]) => `  # ${purpose}\n  ${command}`).join('\n')}`
}

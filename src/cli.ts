// The program: options and help for every command, nothing else. A command's own code is loaded when it runs, so that
// `--help` costs what an empty script costs.
import { Command, CommanderError } from 'commander'
import type { ExitStatus } from './commands/status.ts'

declare const WHEELFIX_VERSION: string

/** Runs the command line. Resolves to the exit status: 0 all well, 1 something is left undone, 2 nothing could be done. */
export async function run(argv: readonly string[]): Promise<ExitStatus> {
  let status: ExitStatus = 0
  const program = new Command('wheelfix')
    .description('Makes PyPI wheels work on NixOS and in any Nix Python')
    .version(WHEELFIX_VERSION)
    .exitOverride()
    .showHelpAfterError('(try --help)')

  try {
    await program.parseAsync(argv)
    return status
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2
    const { reportFailure } = await import('./commands/failure.ts')
    status = reportFailure(error)
    return status
  }
}

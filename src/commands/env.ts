// `wheelfix env`: the variables that help an environment, with their reasons. The command sets and writes nothing.
import { examine } from '../environment/examine.ts'
import { lookingOnly } from '../environment/run-options.ts'
import { type Variable, variablesOf } from '../inspect/variables/variables.ts'
import { colours } from '../report/colour.ts'
import { envLines, exportLines } from '../report/env-text.ts'
import { screenOf } from '../report/screen.ts'
import { writeLines } from '../report/print.ts'
import { standardOutput } from '../report/terminal/output.ts'
import { findKnownEnvironment } from '../state/folders.ts'
import { foundAsOwner } from './shared/as-owner.ts'
import { writeDocument } from './shared/documents.ts'
import { reportFailure } from './shared/failure.ts'
import { looking, type LibraryOptions, type OwnerOutputOptions } from './shared/command-options.ts'
import type { ExitStatus } from './shared/status.ts'
import { warn } from './shared/warnings.ts'

export interface EnvCommandOptions extends LibraryOptions, OwnerOutputOptions {
  readonly export?: boolean | undefined
  readonly build?: boolean | undefined
}

/** Status 0, also when no variable would help. */
export function envCommand(argument: string | undefined, options: EnvCommandOptions): ExitStatus {
  const { env } = process
  try {
    const venv = foundAsOwner(
      () => findKnownEnvironment(argument, env, process.cwd(), 'wheelfix env DIR'),
      options.asRoot,
    )
    const examined = examine(venv, lookingOnly(looking(options)))
    const variables = variablesOf(examined, { env, build: options.build === true })
    if (options.json === true) writeDocument('env', { venv: venv.root, variables })
    else if (options.export === true) standardOutput.write(exportLines(variables))
    else if (options.quiet !== true || variables.some(isOpen)) print(venv.root, variables, options)
    if (options.quiet !== true && options.json !== true && options.export !== true) {
      warn(examined.warnings, options, true)
    }
    return 0
  } catch (error) {
    return reportFailure(error, options)
  }
}

function print(root: string, variables: readonly Variable[], { color, verbose }: EnvCommandOptions): void {
  const { env } = process
  const { columns } = screenOf(standardOutput, env)
  const style = { chalk: colours(color, env).stdout, verbose: verbose === true, columns }
  writeLines(standardOutput, envLines(root, variables, style))
}

function isOpen({ current }: Variable): boolean {
  return current === null
}

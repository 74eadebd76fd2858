// `wheelfix nix`: the needs of an environment's wheels, as an overlay for uv2nix and pyproject.nix. The command
// writes no files.
import { examine } from '../environment/examine.ts'
import { lookingOnly } from '../environment/run-options.ts'
import { wheelNeeds } from '../inspect/wheel-needs.ts'
import { findVenv } from '../python/pyvenv.ts'
import { overlayLines } from '../report/nix-overlay-text.ts'
import { writeLines } from '../report/print.ts'
import { standardOutput } from '../report/terminal/output.ts'
import { foundAsOwner } from './shared/as-owner.ts'
import { writeDocument } from './shared/documents.ts'
import { reportFailure } from './shared/failure.ts'
import { looking, type LibrarySetOptions, type OwnerOutputOptions } from './shared/command-options.ts'
import { setFlags } from '../environment/engine.ts'
import type { ExitStatus } from './shared/status.ts'
import { warn } from './shared/warnings.ts'

export type NixCommandOptions = LibrarySetOptions & OwnerOutputOptions

/** Status 1: a wheel needs a library that no known package of nixpkgs has. */
export function nixCommand(argument: string | undefined, options: NixCommandOptions): ExitStatus {
  const { env } = process
  try {
    const venv = foundAsOwner(
      () => findVenv({ argument, env, cwd: process.cwd(), usage: 'wheelfix nix DIR' }),
      options.asRoot,
    )
    setFlags()
    const examined = examine(venv, lookingOnly(looking(options)))
    warn(examined.warnings, options)
    const packages = wheelNeeds(examined)
    if (options.json === true) writeDocument('nix', { venv: venv.root, packages })
    else writeLines(standardOutput, overlayLines(packages))
    return packages.some(({ unknown }) => unknown.length > 0) ? 1 : 0
  } catch (error) {
    return reportFailure(error, options)
  }
}

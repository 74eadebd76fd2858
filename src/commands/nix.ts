// `wheelfix nix`: the needs of an environment's wheels, as an overlay for uv2nix and pyproject.nix. The command
// writes no files.
import { examine } from '../environment/examine.ts'
import { lookingOnly } from '../environment/options.ts'
import { wheelNeeds } from '../inspect/wheel-needs.ts'
import { findVenv } from '../python/pyvenv.ts'
import { type ColourMode, colours } from '../report/colour.ts'
import { overlayLines } from '../report/nix-overlay-text.ts'
import { writeLines, writeWarnings } from '../report/print.ts'
import { SCHEMA } from '../report/schema.ts'
import { workAsOwner } from './shared/as-owner.ts'
import { reportFailure } from './shared/failure.ts'
import { setFlags } from './shared/flags.ts'
import type { ExitStatus } from './shared/status.ts'

export interface NixCommandOptions {
  readonly libs: readonly string[]
  /** False with --no-scan. */
  readonly scan: boolean
  readonly trust: readonly string[]
  readonly ignoreMissing: readonly string[]
  readonly ignore: readonly string[]
  readonly json?: boolean | undefined
  readonly asRoot?: boolean | undefined
  readonly color: ColourMode
}

/** Status 1: a wheel needs a library that no known package of nixpkgs has. */
export function nixCommand(argument: string | undefined, options: NixCommandOptions): ExitStatus {
  const { env } = process
  const cwd = process.cwd()
  try {
    const venv = findVenv({ argument, env, cwd })
    workAsOwner(venv, options.asRoot)
    const { libs, scan, trust, ignoreMissing, ignore } = options
    setFlags()
    const examined = examine(venv, lookingOnly({ libs, noScan: !scan, trust, ignoreMissing, ignore, env, cwd }))
    writeWarnings(examined.warnings, colours(options.color, env).stderr, env)
    const packages = wheelNeeds(examined)
    if (options.json === true) {
      process.stdout.write(`${JSON.stringify({ schema: SCHEMA, command: 'nix', venv: venv.root, packages })}\n`)
    } else writeLines(process.stdout, overlayLines(packages))
    return packages.some(({ unknown }) => unknown.length > 0) ? 1 : 0
  } catch (error) {
    return reportFailure(error, options)
  }
}

// The options that several commands share, as commander gives them (src/options.ts describes each).
import { type LookOptions } from '../../environment/run-options.ts'
import type { ColourMode } from '../../report/colour.ts'

/** How the answer is printed. */
export interface OutputOptions {
  readonly json?: boolean | undefined
  readonly quiet?: boolean | undefined
  readonly verbose?: boolean | undefined
  readonly color: ColourMode
}

/** The same for a command about an environment. */
export interface OwnerOutputOptions extends OutputOptions {
  readonly asRoot?: boolean | undefined
}

/** Where libraries may come from. */
export interface LibraryOptions {
  readonly libs: readonly string[]
  /** False with --no-scan. */
  readonly scan: boolean
  readonly trust: readonly string[]
}

/** Where libraries may come from, and which sonames and files are left out. */
export interface LibrarySetOptions extends LibraryOptions {
  readonly ignoreMissing: readonly string[]
  readonly ignore: readonly string[]
}

/** The same for the core, in this process's environment and folder. */
export function looking({
  libs,
  scan,
  trust,
  ignoreMissing = [],
  ignore = [],
}: LibraryOptions & Partial<LibrarySetOptions>): Required<LookOptions> {
  return { libs, noScan: !scan, trust, ignoreMissing, ignore, env: process.env, cwd: process.cwd() }
}

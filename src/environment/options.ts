// What a user chooses about a run, and the choice of a command that only looks.
import type { ProgramInterpreter, Strategy } from '../config/config.ts'

export interface VenvOptions {
  readonly libs: readonly string[]
  readonly noScan: boolean
  /** Packages of the store that the scan may take whoever put them there. */
  readonly trust: readonly string[]
  readonly ignoreMissing: readonly string[]
  /** Globs over paths that are not looked at. */
  readonly ignore: readonly string[]
  /** Resolve again what an earlier run pinned. */
  readonly update: boolean
  readonly rehash: boolean
  /** Patch also what editable installations have outside of the environment. */
  readonly editable: boolean
  /** null: what the configuration says, else what the venv has, else `rpath`. */
  readonly strategy: Strategy | null
  /** null: what the configuration says, else what an earlier run was told, else `python`. */
  readonly interpreter: ProgramInterpreter | null
  /** `plan`: change nothing, but find out what a run would do. */
  readonly mode: 'apply' | 'plan'
  readonly env: NodeJS.ProcessEnv
  readonly cwd: string
  /** Called while files are written. */
  readonly progress: (done: number, total: number) => void
}

/** What a command that only looks at a venv lets its user choose. */
export type LookOptions = Pick<VenvOptions, 'libs' | 'noScan' | 'trust' | 'env' | 'cwd'> &
  Partial<Pick<VenvOptions, 'ignoreMissing' | 'ignore'>>

/** The options of a run that writes nothing and takes the venv as it is. */
export function lookingOnly({
  libs,
  noScan,
  trust,
  ignoreMissing = [],
  ignore = [],
  env,
  cwd,
}: LookOptions): VenvOptions {
  return {
    libs,
    noScan,
    trust,
    ignoreMissing,
    ignore,
    update: false,
    rehash: false,
    editable: false,
    strategy: null,
    interpreter: null,
    mode: 'plan',
    env,
    cwd,
    progress: () => {},
  }
}

// The options of a run, and the options of a command that only looks.
import type { ProgramInterpreter, Strategy } from '../config/config.ts'

export interface VenvOptions {
  readonly libs: readonly string[]
  readonly noScan: boolean
  /** Packages of the store that the scan may take, no matter who put them there. */
  readonly trust: readonly string[]
  readonly ignoreMissing: readonly string[]
  /** Globs of paths that wheelfix does not examine. */
  readonly ignore: readonly string[]
  /** Resolve again the libraries that an earlier run pinned. */
  readonly update: boolean
  readonly rehash: boolean
  /** Also patch the objects of editable installations outside the environment. */
  readonly editable: boolean
  /** null: the strategy of the configuration, else the venv's present one, else `rpath`. */
  readonly strategy: Strategy | null
  /** null: the choice of the configuration, else of an earlier run, else `python`. */
  readonly interpreter: ProgramInterpreter | null
  /** `plan`: change nothing and only find out what a run would do. */
  readonly mode: 'apply' | 'plan'
  readonly env: NodeJS.ProcessEnv
  readonly cwd: string
  /** Called while files are written. */
  readonly progress: (done: number, total: number) => void
}

/** The options of a command that only looks at a venv. */
export type LookOptions = Pick<VenvOptions, 'libs' | 'noScan' | 'trust' | 'env' | 'cwd'> &
  Partial<Pick<VenvOptions, 'ignoreMissing' | 'ignore'>>

/** The options of a run that writes nothing and accepts the venv as it is. */
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

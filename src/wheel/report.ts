// What a run over wheels is asked, and what becomes of each wheel, as data.
import type { ProgramInterpreter } from '../config/config.ts'
import type { WheelfixError } from '../io/error.ts'
import type { MissingLibrary } from '../resolve/problems/missing.ts'
import type { PythonProcess } from '../resolve/python-process.ts'
import type { WheelDistribution } from './distribution.ts'
import type { WheelOutcome, WheelPlan } from './fix-wheel.ts'
import type { PolicyReport } from './policy.ts'
import type { Restored } from './restore-wheel.ts'
import type { Tag } from './write-wheel.ts'

export interface WheelOptions {
  /** Wheels, or folders of them. */
  readonly files: readonly string[]
  /** Wheels, or folders of them, that are installed together with these. */
  readonly with: readonly string[]
  /** The folder of the results; null: each wheel is replaced where it is. */
  readonly output: string | null
  readonly mode: 'patch' | 'restore'
  /** False: write nothing, but find out what a run would do. */
  readonly write: boolean
  /** Compare each wheel with the policies of its tags. */
  readonly check: boolean
  /** The Python that the wheels are for: a venv, a program, or its name. */
  readonly python: string | undefined
  readonly libs: readonly string[]
  readonly noScan: boolean
  readonly trust: readonly string[]
  readonly ignoreMissing: readonly string[]
  /** Globs of entries that are not looked at. */
  readonly ignore: readonly string[]
  /** null: what the configuration says, else `python`. */
  readonly interpreter: ProgramInterpreter | null
  readonly tag: Tag | null
  readonly env: NodeJS.ProcessEnv
  readonly cwd: string
  /** Called with bytes read and written, of all wheels. */
  readonly progress: (done: number, total: number) => void
}

/** A soname that a wheel does not find. `expected`: another package is to bring it. */
export interface MissingOfWheel extends MissingLibrary {
  readonly expected: boolean
}

/** What became of one wheel. */
export interface WheelReport {
  readonly path: string
  /** Where the result is (or would be); null where there is none. */
  readonly output: string | null
  readonly status: 'patched' | 'patch' | 'fine' | 'restored' | 'restore'
  /** False where the output is only where it would be. */
  readonly written: boolean
  readonly outcomes: readonly WheelOutcome[]
  readonly refused: readonly { readonly path: string; readonly reason: string }[]
  /** Null when the wheel is being restored. */
  readonly plan: WheelPlan['plan'] | null
  readonly missing: readonly MissingOfWheel[]
  /** With `check` alone. */
  readonly policy: PolicyReport | null
  /** Number of objects given back. */
  readonly restored: number
  /** How much of the original a written one is; null where none was restored and written. */
  readonly original: Restored | null
  /** Sentences about what else is to be known. */
  readonly notes: readonly string[]
  readonly distribution: WheelDistribution
  /** A path of the pretended installation as the entry that it is of; other paths stay. */
  readonly show: (path: string) => string
}

/** A wheel that nothing could be done with. */
export interface WheelFailure {
  readonly path: string
  readonly error: WheelfixError
}

export interface WheelRun<T> {
  readonly python: PythonProcess
  /** What was made of each report, in the order of the wheels. */
  readonly results: readonly T[]
  readonly warnings: readonly string[]
}

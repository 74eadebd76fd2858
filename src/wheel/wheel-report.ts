// The input of a run over wheels, and the result for each wheel, as plain data.
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
  /** Wheels, or folders of wheels, that will be installed together with these. */
  readonly with: readonly string[]
  /** The folder for the results; null: each wheel is replaced in place. */
  readonly output: string | null
  readonly mode: 'patch' | 'restore'
  /** False: write nothing, and report what a run would do. */
  readonly write: boolean
  /** Compare each wheel with the policies of its tags. */
  readonly check: boolean
  /** The Python that the wheels are for: a venv, a program, or the name of a program. */
  readonly python: string | undefined
  readonly libs: readonly string[]
  readonly noScan: boolean
  readonly trust: readonly string[]
  readonly ignoreMissing: readonly string[]
  /** Globs of entries that are not examined. */
  readonly ignore: readonly string[]
  /** null: the configuration decides, else `python`. */
  readonly interpreter: ProgramInterpreter | null
  readonly tag: Tag | null
  readonly env: NodeJS.ProcessEnv
  readonly cwd: string
  /** Called with the bytes read and written so far, and the total, for all wheels. */
  readonly progress: (done: number, total: number) => void
  /**
   * The name of the signal that ends the run, or null. Called often. After a signal, the run drops the wheels that it
   * is working on.
   */
  readonly interrupted: () => string | null
}

/** A soname that a wheel does not find. `expected`: another package must bring it. */
export interface MissingOfWheel extends MissingLibrary {
  readonly expected: boolean
}

/** The result for one wheel. */
export interface WheelReport {
  readonly path: string
  /** The path of the result, real or planned; null where there is none. */
  readonly output: string | null
  readonly status: 'patched' | 'patch' | 'fine' | 'restored' | 'restore'
  /** False where the output would be written but is not. */
  readonly written: boolean
  readonly outcomes: readonly WheelOutcome[]
  readonly refused: readonly { readonly path: string; readonly reason: string }[]
  /** Null when the wheel is restored. */
  readonly plan: WheelPlan['plan'] | null
  readonly missing: readonly MissingOfWheel[]
  /** Null without `check`. */
  readonly policy: PolicyReport | null
  /** Number of restored objects. */
  readonly restored: number
  /** How much of the original is back in a restored and written wheel; null for any other. */
  readonly original: Restored | null
  /** Further sentences for the user. */
  readonly notes: readonly string[]
  readonly distribution: WheelDistribution
  /** Turns a path of the pretended installation into the name of its entry; other paths do not change. */
  readonly show: (path: string) => string
}

/** A wheel that could not be processed. */
export interface WheelFailure {
  readonly path: string
  readonly error: WheelfixError
}

export interface WheelRun<T> {
  readonly python: PythonProcess
  /** The summary of each report, in the order of the wheels. */
  readonly results: readonly T[]
  readonly warnings: readonly string[]
}

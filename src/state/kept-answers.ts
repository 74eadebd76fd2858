// The file with the answers of earlier runs, as plain data.
import type { Place } from '../python/environment.ts'
import { readAnswers } from './answer-files.ts'
import type { KeptStates } from './file-states.ts'

/** The answer of a run that left nothing to do. */
export interface Answer {
  readonly status: number
  readonly warnings: readonly string[]
  /** The content of the report, as plain data: the next run may have another width and other colours. */
  readonly facts: unknown
  /** What else the plan says of the objects, as plain data: for the commands that ask about single objects. */
  readonly details?: unknown
}

/** What a scan of the store gave for the missing libraries. */
export interface ScannedStore {
  readonly store: string
  /** The files that have each soname, in order of preference. None of them could be taken. */
  readonly candidates: Readonly<Record<string, readonly string[]>>
}

export interface KeptAnswers {
  readonly version: string
  /** The layout of wheelfix's grafts (GRAFT_FORMAT). Only the whole work finds what an earlier layout damaged. */
  readonly graft: number
  readonly root: string
  readonly config: string | null
  /** The folders and objects of the venv by their path below its root, each with its state. */
  readonly states: KeptStates
  /** The answers, the latest first. */
  readonly answers: readonly KnownAnswer[]
}

/** The answer to one question. A shell hook asks from another environment than a terminal. */
export interface KnownAnswer {
  readonly settings: Settings
  /** The other paths that the answer depends on, absolute. */
  readonly states: KeptStates
  /** `state` is that of the store's folder before the scan; null when the folder changed during the run. */
  readonly scanned: (ScannedStore & { readonly state: KeptStates | null }) | null
  readonly answer: Answer
}

/** The parts of the command line and the environment that the answer depends on. */
export interface Settings {
  readonly libs: readonly string[]
  readonly noScan: boolean
  readonly trust: readonly string[]
  readonly ignoreMissing: readonly string[]
  readonly ignore: readonly string[]
  readonly strict: boolean
  readonly editable: boolean
  readonly strategy: string | null
  readonly interpreter: string | null
  readonly env: Readonly<Record<string, string>>
  /** The base of relative directories in the environment; null when there are none. */
  readonly cwd: string | null
}

/** The answers of earlier runs; null when there are none, or when the file has another form. */
export function readKeptAnswers(place: Place, env: NodeJS.ProcessEnv): KeptAnswers | null {
  try {
    const keptAnswers: unknown = JSON.parse(readAnswers(place, env) ?? '')
    return isKeptAnswers(keptAnswers) ? keptAnswers : null
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error
    return null
  }
}

function isKeptAnswers(value: unknown): value is KeptAnswers {
  if (!isRecord(value)) return false
  const { version, root, states, answers } = value
  return (
    typeof version === 'string' &&
    typeof root === 'string' &&
    isKeptStates(states) &&
    Array.isArray(answers) &&
    answers.every(isKnownAnswer)
  )
}

function isKnownAnswer(value: unknown): value is KnownAnswer {
  if (!isRecord(value)) return false
  const { settings, states, scanned, answer } = value
  if (!isRecord(settings) || !Array.isArray(settings['libs']) || !isKeptStates(states) || !isRecord(answer))
    return false
  if (scanned !== null && !isScannedStore(scanned)) return false
  return Array.isArray(answer['warnings']) && typeof answer['status'] === 'number'
}

function isScannedStore(value: unknown): boolean {
  if (!isRecord(value)) return false
  const { store, candidates, state } = value
  return typeof store === 'string' && isRecord(candidates) && (state === null || isKeptStates(state))
}

function isKeptStates(value: unknown): value is KeptStates {
  return isRecord(value) && typeof value['paths'] === 'string' && typeof value['numbers'] === 'string'
}

function isRecord(value: unknown): value is Partial<Record<string, unknown>> {
  return typeof value === 'object' && value !== null
}

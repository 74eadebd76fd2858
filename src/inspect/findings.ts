// What a look at an environment may find: each finding has a code that programs may rely on.

/** What a finding is about; programs may rely on it. */
export type FindingCode =
  | 'python-broken'
  | 'other-machine'
  | 'loader-differs'
  | 'loader-refuses'
  | 'loader-fault'
  | 'library-missing'
  | 'unpatched'
  | 'outside-unpatched'
  | 'changed-since'
  | 'refused'
  | 'zeroed-headers'
  | 'half-finished'
  | 'unreadable'
  | 'ld-library-path'
  | 'dead-store-path'
  | 'gc-roots'
  | 'hard-links'
  | 'plan-warning'
  | 'qt-platform'
  | 'dlopen-note'
  | 'run-time-library'
  | 'find-library'
  | 'foreign-program'
  | 'script-interpreter'
  | 'import-fails'

/** `error`: something does not work; `warning`: it will not for long, or not everywhere; `note`: worth knowing. */
export interface Finding {
  readonly code: FindingCode
  readonly severity: 'error' | 'warning' | 'note'
  readonly message: string
  /** What to do, in a sentence; null where nothing has to be done. */
  readonly remedy: string | null
  /** The files that it is about, relative to the venv where they are in it. */
  readonly paths: readonly string[]
}

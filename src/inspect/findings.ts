// The findings of an examination. Each has a code that programs may rely on.

/** The code of a finding. Programs may rely on it. */
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
  | 'interrupted-run'
  | 'unreadable'
  | 'ld-library-path'
  | 'dead-store-path'
  | 'gc-roots'
  | 'hard-links'
  | 'plan-warning'
  | 'untrusted-package'
  | 'qt-platform'
  | 'dlopen-note'
  | 'run-time-library'
  | 'cuda-stack'
  | 'helpful-variable'
  | 'opens-by-name'
  | 'foreign-library'
  | 'foreign-program'
  | 'script-interpreter'
  | 'import-fails'

/** `error`: something does not work. `warning`: something will soon fail, or fails in some places. `note`: worth knowing. */
export interface Finding {
  readonly code: FindingCode
  readonly severity: 'error' | 'warning' | 'note'
  readonly message: string
  /** What to do, in a sentence; null when nothing has to be done. */
  readonly remedy: string | null
  /** The files of the finding. Paths inside the venv are relative to it. */
  readonly paths: readonly string[]
}

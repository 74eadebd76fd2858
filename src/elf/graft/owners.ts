// What the text of an undo note may be, and whose change it is therefore, where an earlier version wrote it.
import type { Owner, Undo } from './undo-note.ts'

/** The text of a copy of Python begins so; of any other object it is what RECORD said of it. */
export const COPY_MARKS = { python: 'interpreter ', standalone: 'standalone ' } as const

/**
 * Whose change an undo note takes back. Notes of earlier versions do not say it: `venv` and `wheel` kept what RECORD said of
 * the file, where it said anything, `elf` did not.
 * @param isRecorded does a RECORD speak of the file?
 */
export function ownerOf({ owner, record }: Undo, isRecorded: () => boolean): Owner {
  if (owner !== null) return owner
  if (record === null) return isRecorded() ? 'elf' : 'venv'
  if (record.startsWith(COPY_MARKS.python)) return 'python'
  return record.startsWith(COPY_MARKS.standalone) ? 'standalone' : 'venv'
}

/** Is it a change that `wheelfix venv`, `wheel` and `restore` may take back or make again? */
export function isPlanned(owner: Owner): boolean {
  return owner === 'venv' || owner === 'wheel'
}

/** Is it the copy of an interpreter? */
export function isCopy(owner: Owner | null): boolean {
  return owner === 'python' || owner === 'standalone'
}

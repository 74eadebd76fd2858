// Who may own an undo note, and what the text of a note says of the owner in notes of earlier versions.
import type { Owner, Undo } from './undo-note.ts'

/** The text of a copy of Python begins like this. The text of any other object is what RECORD said about it. */
export const COPY_MARKS = { python: 'interpreter ', standalone: 'standalone ' } as const

/**
 * The owner of an undo note. Notes of earlier versions do not name it. In those versions `venv` and `wheel` kept what
 * RECORD said about the file, where it said anything, and `elf` kept nothing.
 * @param isRecorded does a RECORD list the file?
 */
export function ownerOf({ owner, record }: Undo, isRecorded: () => boolean): Owner {
  if (owner !== null) return owner
  if (record === null) return isRecorded() ? 'elf' : 'venv'
  if (record.startsWith(COPY_MARKS.python)) return 'python'
  return record.startsWith(COPY_MARKS.standalone) ? 'standalone' : 'venv'
}

/** May `wheelfix venv`, `wheel` and `restore` take back or repeat changes of this owner? */
export function isPlanned(owner: Owner): boolean {
  return owner === 'venv' || owner === 'wheel'
}

/** Is the owner the copy of an interpreter? */
export function isCopy(owner: Owner | null): boolean {
  return owner === 'python' || owner === 'standalone'
}

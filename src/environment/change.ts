// One object changed on disk: edit → verify → write. It knows nothing of the plan or of the other objects.
import type { ElfEdit } from '../elf/edit/edit.ts'
import { ElfError } from '../elf/error.ts'
import type { FileEdit } from '../elf/edit/file-edit.ts'
import { type Layers, layersOf } from '../elf/graft/layers.ts'
import { regraft } from '../elf/graft/regraft.ts'
import { originalSource, type Undo } from '../elf/graft/undo-note.ts'
import type { ByteSource } from '../elf/source.ts'
import { applyEdit, stateOf } from '../elf/edit/state.ts'
import type { ElfObject } from '../elf/types.ts'
import { errnoOf, WheelfixError } from '../io/error.ts'
import type { Libc } from '../ldso/libc.ts'
import { type FileSource, type FileStatus, withSource } from '../io/source.ts'

/** What is to be done to one object. */
export interface ChangeJob {
  readonly path: string
  /** The file that was looked at. */
  readonly status: FileStatus
  /** Is a layer of the file the venv's, to be replaced? */
  readonly isOwn: (undo: Undo) => boolean
  /** From the original; null: it is to be the original again. */
  readonly edit: ElfEdit | null
  /** What takes back an earlier change of the venv's, where it is not in the file. */
  readonly kept: Undo | null
  /** It is a program: one with a payload may be edited in place. */
  readonly isProgram: boolean
  /** The libc that loads the objects of the environment. */
  readonly libc: Libc['kind']
  /** The RECORD fields to be kept in the undo note. */
  readonly record: string | null
}

/** Why an object cannot be changed. */
export interface Refusal {
  readonly reason: string
  /** It is about the moment (a full disk), not about the file: the next run may do better. */
  readonly passing: boolean
}

/** The new bytes of an object, or why it cannot be changed. Writes nothing. */
export function prepareChange(job: ChangeJob): FileEdit | Refusal {
  try {
    return withSource(job.path, source => fileEdit(job, source))
  } catch (error) {
    return refusalOf(error)
  }
}

/** Why an object cannot be changed. @throws the error itself when it is a bug */
export function refusalOf(error: unknown): Refusal {
  if (error instanceof ElfError) return { reason: error.message, passing: false }
  if (error instanceof WheelfixError) return { reason: error.message, passing: true }
  return { reason: writeReason(error), passing: true }
}

/** Why a file cannot be written, in words. @throws the error itself when it is none of the system's */
export function writeReason(error: unknown): string {
  const errno = errnoOf(error)
  if (errno === undefined) throw error
  return WRITE_REASONS[errno] ?? `cannot be written (${errno})`
}

const WRITE_REASONS: Readonly<Record<string, string>> = {
  ENOSPC: 'the disk is full: free some space and run again',
  EACCES: 'you have no permission to write here: run as the owner of the environment',
  EPERM: 'you have no permission to write here: run as the owner of the environment',
  EROFS: 'the file system is read-only',
  ETXTBSY: 'the program is running: end it and run again',
  EDQUOT: 'your disk quota is used up: free some space and run again',
  EIO: 'the disk reports an error: look at dmesg',
  EUCLEAN: 'the file system is damaged: run fsck',
  ESTALE: 'the file server does not know the file any more: run again',
  ENOENT: 'another program removed it during this run: run again',
  EBUSY: 'something is mounted on this file (a bind mount), so it cannot be replaced: unmount it and run again',
}

/** The new bytes of a file: a graft onto the original, or the original again. @throws ElfError; WheelfixError `BUSY` */
function fileEdit({ status, edit, record, isOwn, kept, isProgram, libc }: ChangeJob, source: FileSource): FileEdit {
  if (source.status.ino !== status.ino || source.size !== status.size) {
    throw new WheelfixError('BUSY', 'another program changed it during this run: run again')
  }
  const wanted = edit === null ? null : (base: ElfObject) => applyEdit(stateOf(base), edit)
  const options = {
    owner: 'venv',
    inPlace: isProgram,
    // a library need not name its libc; one that names musl is laid out for it anyway
    ...(libc === 'musl' ? { libc } : {}),
    ...(record === null ? {} : { record }),
  } as const
  const result = regraft(layersIn(source, isOwn, kept), wanted, options)
  if (result.edit === null) throw new ElfError('REFUSED', 'the edit changes nothing')
  return result.edit
}

/** The layers of a file; one whose undo is kept elsewhere has that alone. */
export function layersIn(source: ByteSource, isOwn: (undo: Undo) => boolean, kept: Undo | null): Layers {
  if (kept === null) return layersOf(source, isOwn)
  return { above: [], own: [{ undo: kept, source }], base: originalSource(source, kept) }
}

/** Has the edit left no note of itself in the file? */
export function isInPlace(edit: FileEdit, source: ByteSource): boolean {
  return edit.tail.length === 0 && edit.baseSize === source.size
}

// Changes one object on disk: edit → verify → write. This file knows nothing of the plan or of the other objects.
import type { ElfEdit } from '../elf/edit/edit.ts'
import { ElfError } from '../elf/error.ts'
import type { FileEdit } from '../elf/edit/file-edit.ts'
import { layersIn } from '../elf/graft/layers.ts'
import { regraft, tryRegraft } from '../elf/graft/regraft.ts'
import type { Undo } from '../elf/graft/undo-note.ts'
import type { ByteSource } from '../elf/source.ts'
import { applyEdit, stateOf } from '../elf/edit/state.ts'
import type { ElfObject } from '../elf/types.ts'
import { changedMeanwhile, errnoOf, systemReason, WheelfixError } from '../io/error.ts'
import type { Libc } from '../ldso/libc.ts'
import { type FileSource, type FileStatus, withSource } from '../io/source.ts'

/** The work to do on one object. */
export interface ChangeJob {
  readonly path: string
  /** The status of the file that wheelfix examined. */
  readonly status: FileStatus
  /** Does a layer of the file belong to the venv, so that the change replaces it? */
  readonly isOwn: (undo: Undo) => boolean
  /** The edit of the original; null when the object must become the original again. */
  readonly edit: ElfEdit | null
  /** The undo of an earlier change by the venv, when this undo is not in the file. */
  readonly kept: Undo | null
  /** The object is a program. A program with a payload may be edited in place. */
  readonly isProgram: boolean
  /** The libc that loads the objects of the environment. */
  readonly libc: Libc['kind']
  /** The RECORD fields that the undo note keeps. */
  readonly record: string | null
  /** Gives memory of zeros for the new bytes. */
  readonly allocate?: (length: number) => Buffer
  /** Gets the open file and its edit, and may read what it needs. */
  readonly look?: (source: FileSource, edit: FileEdit) => void
}

/** Why an object cannot be changed. */
export interface Refusal {
  readonly reason: string
  /** The reason is temporary (a full disk) and does not lie in the file. The next run may succeed. */
  readonly passing: boolean
}

/** The new bytes of an object, or why it cannot be changed. Writes nothing. */
export function prepareChange(job: ChangeJob): FileEdit | Refusal {
  try {
    return withSource(job.path, source => {
      const edit = fileEdit(job, source)
      job.look?.(source, edit)
      return edit
    })
  } catch (error) {
    return refusalOf(error)
  }
}

/** Why an object could not be changed; null where it could. Takes the steps of `prepareChange` up to the new bytes. */
export function tryChange(job: ChangeJob): Refusal | null {
  try {
    withSource(job.path, source => {
      const { layers, wanted, options } = regraftOf(job, source)
      if (!tryRegraft(layers, wanted, options)) throw unchanged()
    })
    return null
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

/** The reason why a file cannot be written. @throws the error itself when it is not a system error */
export function writeReason(error: unknown): string {
  const errno = errnoOf(error)
  if (errno === undefined) throw error
  return WRITE_REASONS[errno] ?? systemReason(errno)
}

const WRITE_REASONS: Readonly<Record<string, string>> = {
  EACCES: 'you have no permission to write here: run wheelfix as the owner of the environment',
  ENOENT: 'another program removed it during this run: run wheelfix again',
  EBUSY:
    'something is mounted on this file (a bind mount), so it cannot be replaced: unmount it and run wheelfix again',
}

/** The new bytes of a file: a graft onto the original, or the original again. @throws ElfError; WheelfixError `BUSY` */
function fileEdit(job: ChangeJob, source: FileSource): FileEdit {
  const { layers, wanted, options } = regraftOf(job, source)
  const { edit } = regraft(layers, wanted, options)
  if (edit === null) throw unchanged()
  return edit
}

function unchanged(): ElfError {
  return new ElfError('REFUSED', 'the edit changes nothing')
}

/** What `regraft` is asked for. @throws ElfError; WheelfixError `BUSY` */
function regraftOf(job: ChangeJob, source: FileSource) {
  const { status, edit, record, isOwn, kept, isProgram, libc, allocate } = job
  if (source.status.ino !== status.ino || source.size !== status.size) {
    throw changedMeanwhile(null)
  }
  const wanted = edit === null ? null : (base: ElfObject) => applyEdit(stateOf(base), edit)
  const options = {
    owner: 'venv',
    inPlace: isProgram,
    // a library does not have to name its libc; one that names musl gets musl's layout in any case
    ...(libc === 'musl' ? { libc } : {}),
    ...(record === null ? {} : { record }),
    ...(allocate === undefined ? {} : { allocate }),
  } as const
  return { layers: layersIn(source, isOwn, kept), wanted, options }
}

/** Did the edit leave no note in the file? */
export function isInPlace(edit: FileEdit, source: ByteSource): boolean {
  return edit.tail.length === 0 && edit.baseSize === source.size
}

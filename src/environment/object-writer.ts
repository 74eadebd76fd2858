// Writes the new bytes of objects, some dozens at a time. The journal of a batch is synced once, before the first object of
// the batch changes. Files that are renamed are synced before the first rename.
import { lstatSync } from 'node:fs'
import { extrasOf } from '../io/write/attributes.ts'
import { changedMeanwhile, errnoOf } from '../io/error.ts'
import { fsPath, relativeTo } from '../io/path.ts'
import type { FileEdit } from '../elf/edit/file-edit.ts'
import { type OpenFolders, withFolders } from '../io/write/folder.ts'
import { renameStaged, type Staged, stageFile, syncStaged, type Watch } from '../io/write/replace.ts'
import { type Refusal, refusalOf } from './change-object.ts'
import { type BeforeChange, changeInPlace, entryOf, type Journal, openJournal } from '../state/journal.ts'
import type { JournalEntry } from '../state/journal-file.ts'
import type { Place } from '../python/environment.ts'
import type { ScannedObject } from '../resolve/objects.ts'

/** An object with its new bytes. */
interface NewObject {
  readonly object: ScannedObject
  readonly edit: FileEdit
  /** The RECORD and the row that list the object. */
  readonly record: { readonly recordPath: string; readonly row: string } | null
  readonly fields: string | null
  /** What the journal says of a file that is changed in place; null for a file that is replaced by a copy. */
  readonly before: BeforeChange | null
  /** Where the file is copied: what makes sure of its bytes. */
  readonly watch?: Watch
}

interface ObjectWriter {
  /** Gives memory of zeros for the new bytes of an object, which are valid until the object is written. */
  allocate(this: void, length: number): Buffer
  /** Takes an object. `end` is called after the write, with the reason when the write failed. */
  add(object: NewObject, end: (refusal: Refusal | null) => void): void
  /** Writes the remaining objects. */
  finish(): void
}

/**
 * The most bytes in a batch: new bytes in memory, and whole files on disk that wait for their rename. V8 collects what a small
 * batch leaves before it counts as old. A sync of the journal for each batch costs little.
 */
const MOST_BYTES = 1 << 20
const MOST_STAGED_BYTES = 256 << 20
const MOST_OBJECTS = 64

interface Waiting extends NewObject {
  readonly end: (refusal: Refusal | null) => void
}

/** @param journal the writer ends it */
export function objectWriter(place: Place, journal: Journal = openJournal(place)): ObjectWriter {
  let batch: Waiting[] = []
  let bytes = 0
  let stagedBytes = 0
  // one memory for all batches: bytes that wait outlive the young generation, and are collected late
  let memory: Buffer | null = null
  let taken = 0
  const flush = (): void => {
    const written = batch
    batch = []
    bytes = 0
    stagedBytes = 0
    if (written.length === 0) return
    withFolders(folders => {
      const entries = new Map<Waiting, JournalEntry>()
      const ready = written.filter(item => {
        const refusal = attempt(() => {
          const at = folders.at(item.object.path)
          assertSame(item.object, at)
          if (item.before !== null) entries.set(item, entryOf(place, inPlaceChange(place, item, item.before)))
        })
        if (refusal !== null) item.end(refusal)
        return refusal === null
      })
      const refusal = attempt(() => journal.add([...entries.values()]))
      // without a journal nothing may be changed in place
      if (refusal !== null) for (const { end } of entries.keys()) end(refusal)
      writeBatch(folders, refusal === null ? ready : ready.filter(item => !entries.has(item)))
    })
    taken = 0
  }
  return {
    allocate(length) {
      memory ??= Buffer.alloc(MOST_BYTES)
      if (taken + length > memory.length) return Buffer.alloc(length)
      taken += length
      return memory.subarray(taken - length, taken).fill(0)
    },
    add(object, end) {
      batch.push({ ...object, end })
      bytes += tailBytes(object.edit)
      if (object.before === null) stagedBytes += object.edit.baseSize
      if (batch.length >= MOST_OBJECTS || bytes > MOST_BYTES || stagedBytes > MOST_STAGED_BYTES) flush()
    },
    finish() {
      flush()
      journal.finish()
    },
  }
}

/** The file (`at`: by way of its folder) may have changed since the edit was made. @throws WheelfixError `BUSY`, errors of lstat(2) */
function assertSame({ path, status }: ScannedObject, at: string): void {
  const now = lstatSync(fsPath(at), { bigint: true })
  if (now.ino === status.ino && now.size === BigInt(status.size)) return
  throw changedMeanwhile(path)
}

function tailBytes({ tail }: FileEdit): number {
  return tail.reduce((sum, piece) => (piece instanceof Uint8Array ? sum + piece.length : sum), 0)
}

function inPlaceChange(place: Place, { object: { path }, edit, record, fields }: NewObject, before: BeforeChange) {
  const row =
    record === null || fields === null
      ? null
      : { path: relativeTo(place.root, record.recordPath), row: record.row, fields }
  return { path, edit, before, record: row }
}

function writeBatch(folders: OpenFolders, batch: readonly Waiting[]): void {
  const waiting: { readonly staged: Staged; readonly end: Waiting['end'] }[] = []
  const extras = extrasOf(
    batch.filter(({ object, before }) => before === null || !ownerMayWrite(object)).map(({ object }) => object.path),
  )
  for (const { object, edit, before, watch, end } of batch) {
    let done = false
    const refusal = attempt(() => {
      done = before !== null && changedInPlace(object, folders.at(object.path), edit, before)
      if (done) return
      const staged = stageFile(folders, object.path, edit, object.status, watch)
      extras.keep(staged)
      if (staged.mustSync) waiting.push({ staged, end })
      else {
        renameStaged(staged)
        done = true
      }
    })
    if (done || refusal !== null) end(refusal)
  }
  const synced = waiting.filter(({ staged, end }) => {
    const refusal = attempt(() => syncStaged(staged))
    if (refusal !== null) end(refusal)
    return refusal === null
  })
  for (const { staged, end } of synced) end(attempt(() => renameStaged(staged)))
}

/** Does the owner have write permission (S_IWUSR)? */
function ownerMayWrite({ status: { mode } }: ScannedObject): boolean {
  return (mode & 0o200) !== 0
}

/**
 * False when the file is not writable or is running, but a rename may still replace it. @throws ElfError, errors of node:fs
 */
function changedInPlace({ status }: ScannedObject, at: string, edit: FileEdit, before: BeforeChange): boolean {
  try {
    changeInPlace(at, status, edit, before)
    return true
  } catch (error) {
    const errno = errnoOf(error)
    if (errno === 'EACCES' || errno === 'ETXTBSY') return false
    throw error
  }
}

function attempt(action: () => void): Refusal | null {
  try {
    action()
    return null
  } catch (error) {
    return refusalOf(error)
  }
}

// Restores libraries in place, which costs no copy: the original header is written back, and the graft behind the original
// is cut off. A process that has the graft mapped dies when it touches a part that was cut off. So the graft is cut off only
// where no process can have it in use, and only root outside any container can know that:
//
//   1 find what is in use             a library in use is restored by a copy
//   2 the journal, then the headers   who opens a library from now on reads the original, and no graft
//   3 find what is in use, again      somebody may have opened a library between 1 and 2: it is restored by a copy, too
//   4 cut off the grafts
//
// Each header is on the disk before step 4, because a file system may write a new size before older bytes. After a kill or
// a power loss, the journal completes the restore (recover.ts).
import { closeSync, constants, fdatasyncSync, fstatSync, ftruncateSync, openSync, type Stats } from 'node:fs'
import type { FileEdit } from '../elf/edit/file-edit.ts'
import { ElfError } from '../elf/error.ts'
import { errnoOf, WheelfixError } from '../io/error.ts'
import { directoryOf, fsPath, isInside } from '../io/path.ts'
import { writeFully } from '../io/write/content.ts'
import { openFolders, type OpenFolders } from '../io/write/folder.ts'
import { keepTimes, SET_ID, type Watch } from '../io/write/replace.ts'
import type { pauses } from '../io/steps.ts'
import type { Place } from '../python/environment.ts'
import type { ScannedObject } from '../resolve/objects.ts'
import { filesInUse, isOnLocalDisk, seesAllProcesses, taskCount } from '../state/in-use.ts'
import { type Journal, restoringEntryOf, unsharedFiles } from '../state/journal.ts'
import type { JournalEntry } from '../state/journal-file.ts'

/** An object that must become its original again. */
export interface ObjectToRestore {
  readonly object: ScannedObject
  /** Cuts the file and writes the header of the original. */
  readonly edit: FileEdit
  /** What makes sure of the bytes of a copy. It has the ctime of an object that is as wheelfix left it. */
  readonly watch: Watch
  /** The RECORD fields of the original. */
  readonly record: JournalEntry['record']
}

/** How a restore in place hands back the objects that it began to change. */
interface Ends<Item> {
  /** The object is restored. */
  readonly done: (item: Item) => void
  /** Somebody may have the graft in use: the object must be restored by a copy before the journal ends. */
  readonly copy: (item: Item, watch: Watch) => void
}

/** One search for users takes about 0.2 ms for each task, and a copy 0.7 ms for each MiB. There are two searches. */
const BYTES_PER_TASK = 512 << 10

/**
 * Restores in place what may be restored so. When it is interrupted, each object is whole or given to `ends.copy`.
 * @param journal the caller ends it once the copies are made
 * @returns the other items, unchanged
 */
export function* restoreInPlace<Item extends ObjectToRestore>(
  place: Place,
  items: readonly Item[],
  journal: Journal,
  pause: ReturnType<typeof pauses>,
  ends: Ends<Item>,
): Generator<undefined, readonly Item[]> {
  const free = freeItems(place, items)
  if (free.length === 0) return items
  const folders = openFolders(MOST_FOLDERS)
  const ready = journalItems(place, free, journal, folders)
  const left = items.filter(item => !ready.has(item))
  const begun: Begun<Item>[] = []
  try {
    for (const item of ready) {
      yield* pause()
      const headed = tryOr('unchanged', () => writeHeader(item, folders))
      if (headed === 'unchanged') left.push(item)
      else begun.push({ item, headed })
    }
  } finally {
    cutOff(begun, ends, folders)
    folders.close()
  }
  return left
}

/** The objects come folder by folder. */
const MOST_FOLDERS = 16

/** The items that no process uses, where that can be known and a copy would cost more than finding out. */
function freeItems<Item extends ObjectToRestore>(place: Place, items: readonly Item[]): readonly Item[] {
  const usable = items.filter(({ object, edit, watch: { ctimeMs = null } }) => {
    const { path, kind, current, kept, status } = object
    // descriptors and mappings do not show every use of a program: execve(2) reads its header long before it maps it
    const isLibrary = kind !== 'executable' && current.ptInterp === null && kept !== true
    // a write clears the set-user-ID bits, and an interrupted run would not give them back
    const isPlain = edit.patches.length === 0 && (status.mode & SET_ID) === 0
    return isLibrary && isPlain && ctimeMs !== null && isInside(path, place.root)
  })
  const bytes = usable.reduce((sum, { edit }) => sum + edit.baseSize, 0)
  if (bytes < (taskCount() ?? Infinity) * BYTES_PER_TASK || !seesAllProcesses()) return []
  const unshared = unsharedFiles(usable.map(({ object }) => object))
  const isLocal = new Map<string, boolean>()
  const chosen = usable.filter(({ object }) => {
    if (!unshared.has(object)) return false
    const folder = directoryOf(object.path)
    const known = isLocal.get(folder) ?? tryOr(false, () => isOnLocalDisk(folder))
    isLocal.set(folder, known)
    return known
  })
  const used = chosen.length === 0 ? null : filesInUse(new Set(chosen.map(inodeNumber)))
  return used === null ? [] : chosen.filter(item => !used.has(inodeNumber(item)))
}

function inodeNumber({ object: { status } }: ObjectToRestore): string {
  return String(status.ino)
}

/** Those of the items that the journal on the disk has. */
function journalItems<Item extends ObjectToRestore>(
  place: Place,
  items: readonly Item[],
  journal: Journal,
  folders: OpenFolders,
): Set<Item> {
  const entries = new Map<Item, JournalEntry>()
  for (const item of items) {
    const { edit, record } = item
    const { path } = item.object
    const entry = tryOr(null, () => restoringEntryOf(place, { path, at: folders.at(path), edit, record }))
    if (entry !== null) entries.set(item, entry)
  }
  const isWritten = tryOr(false, () => {
    journal.add([...entries.values()])
    return true
  })
  return isWritten ? new Set(entries.keys()) : new Set()
}

/** A file with its original header on the disk. */
interface Headed {
  /** The status before the change. */
  readonly before: Stats
  /** The ctime after it, in milliseconds. */
  readonly ctimeMs: number
}

interface Begun<Item> {
  readonly item: Item
  /** null: the header may not be on the disk. */
  readonly headed: Headed | null
}

/** Writes the original header to the disk. The times of the file stay. @throws the errors of open(2), before any change */
function writeHeader(
  { object: { path, status }, edit: { header }, watch }: ObjectToRestore,
  { at }: OpenFolders,
): Headed | null | 'unchanged' {
  const fd = openSync(fsPath(at(path)), constants.O_RDWR | constants.O_NOFOLLOW)
  try {
    const before = fstatSync(fd)
    const isKnown = BigInt(before.ino) === status.ino && before.size === status.size
    if (!isKnown || before.ctimeMs !== watch.ctimeMs) return 'unchanged'
    return tryOr(null, () => {
      writeFully(fd, header, 0)
      keepTimes(fd, before)
      fdatasyncSync(fd)
      return { before, ctimeMs: fstatSync(fd).ctimeMs }
    })
  } finally {
    closeSync(fd)
  }
}

/** Cuts off the grafts that nobody has in use. */
function cutOff<Item extends ObjectToRestore>(
  begun: readonly Begun<Item>[],
  ends: Ends<Item>,
  folders: OpenFolders,
): void {
  if (begun.length === 0) return
  const used = filesInUse(new Set(begun.map(({ item }) => inodeNumber(item))))
  for (const { item, headed } of begun) {
    const isFree = headed !== null && used?.has(inodeNumber(item)) === false
    if (isFree && tryOr(false, () => cut(item, headed, folders))) ends.done(item)
    else ends.copy(item, headed === null ? {} : { ctimeMs: headed.ctimeMs })
  }
}

/** Returns false when the file has changed. */
function cut(
  { object: { path }, edit: { baseSize } }: ObjectToRestore,
  { before, ctimeMs }: Headed,
  { at }: OpenFolders,
): boolean {
  const fd = openSync(fsPath(at(path)), constants.O_RDWR | constants.O_NOFOLLOW)
  try {
    const now = fstatSync(fd)
    if (now.ino !== before.ino || now.size !== before.size || now.ctimeMs !== ctimeMs) return false
    ftruncateSync(fd, baseSize)
    keepTimes(fd, before)
    return true
  } finally {
    closeSync(fd)
  }
}

/** @returns `otherwise` when the file system or the ELF core refuses, or a link leads out of the environment */
function tryOr<Result>(otherwise: Result, action: () => Result): Result {
  try {
    return action()
  } catch (error) {
    if (!(error instanceof ElfError || error instanceof WheelfixError) && errnoOf(error) === undefined) throw error
    return otherwise
  }
}

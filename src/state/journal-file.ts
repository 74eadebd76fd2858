// The undo journal as a file: which journals exist, what a line says, and which boot a journal belongs to. It must not know
// how an object is changed, because the quick answer of a shell hook loads this file too.
//
// A run that changes objects in place appends their entries to `journal`, one JSON object a line, and renames it to
// `journal.kept` at its end. At that moment the bytes of the objects are only in memory, and stay there for half a minute or
// more.
//
//   none ──begin──▶ journal ──finish──▶ journal.kept ──the bytes are on the disk──▶ none
//                     ▲                      │
//                     └────────begin─────────┘
//
// `journal`: the run was interrupted. Recovery examines each object (recover.ts), and restores it if it is not whole.
// `journal.kept` of this boot: only a power loss can lose anything. It is dropped after every object is synced.
// `journal.kept` of another boot: recovery examines each object as if the run had been interrupted.
import { closeSync, constants, fdatasyncSync, fstatSync, lstatSync, openSync, readFileSync, readSync } from 'node:fs'
import { crypto } from '../io/crypto.ts'
import { openBeneath } from '../io/beneath.ts'
import { errnoOf, WheelfixError } from '../io/error.ts'
import { exists, fsPath } from '../io/path.ts'
import { removeFile } from '../io/write/folder.ts'
import type { Place } from '../python/environment.ts'
import { lockVenv } from './lock.ts'

/** One object that a run changes in place. */
export interface JournalEntry {
  /** Path relative to the venv. */
  readonly path: string
  readonly before: { readonly size: number; readonly header: Uint8Array }
  /** The modification time of the original, in milliseconds; null in an older journal. */
  readonly time: number | null
  readonly after: { readonly size: number; readonly header: Uint8Array }
  /** `digestOfEnd` of the original; null in a journal of version 1. */
  readonly end: string | null
  /** The ranges below the original's end that change. */
  readonly patches: readonly { readonly offset: number; readonly before: Uint8Array; readonly after: Uint8Array }[]
  /** The RECORD fields of the original. */
  readonly record: { readonly path: string; readonly row: string; readonly fields: string } | null
  /** The run restored the object, and other processes may have its graft in use. `after` is what the object was then. */
  readonly restores: boolean
}

/** An entry of wheelfix 0.1. It does not say what the file had to become. */
export interface OldEntry {
  readonly path: string
  readonly before: JournalEntry['before']
}

/** How many bytes at the end of an original identify it. The section headers are usually there. */
export const END_LENGTH = 4096

/** The digest by which the end of an original is known: the first half of its SHA-256, in hex. */
export function digestOfEnd(bytes: Uint8Array): string {
  return crypto().createHash('sha256').update(bytes).digest('hex').slice(0, 32)
}

/** The journal of a run that is going on, or that was interrupted. */
export function journalPath(place: Place): string {
  return `${place.stateFolder}/journal`
}

/** The journal of a run that ended, until its files are on the disk. */
export function keptPath(place: Place): string {
  return `${place.stateFolder}/journal.kept`
}

/** The path of wheelfix 0.1's journal. */
function oldJournalPath(place: Place): string {
  return `${place.stateFolder}/journal.json`
}

/**
 * The work that a venv's journal asks for. `interrupted`, and `unverified` (the run ended, and then the machine stopped):
 * the objects must be examined. `settled`: the journal is old enough to be dropped. `settling`: nothing is to be done.
 */
type JournalState = 'none' | 'interrupted' | 'unverified' | 'settling' | 'settled'

/**
 * The kernel writes dirty bytes after 30 s (vm.dirty_expire_centisecs), by a thread that wakes every 5 s. After that a sync
 * costs next to nothing.
 */
const WRITE_BACK_MS = 60_000

/** The state of the venv's journal. Reads one line at most. */
export function journalState(place: Place): JournalState {
  if (exists(journalPath(place)) || exists(oldJournalPath(place))) return 'interrupted'
  const path = keptPath(place)
  const status = lstatSync(fsPath(path), { throwIfNoEntry: false })
  if (status === undefined) return 'none'
  if (bootOf(path) !== bootId()) return 'unverified'
  const age = Date.now() - status.mtimeMs
  // a time in the future means that the clock was set
  return age > WRITE_BACK_MS || age < 0 ? 'settled' : 'settling'
}

const BOOT_ID = '/proc/sys/kernel/random/boot_id'

/** The kernel's name of this boot; null when the kernel gives none. Without a name no boot equals another. */
function bootId(): string | null {
  try {
    return readFileSync(BOOT_ID, 'utf8').trim()
  } catch (error) {
    if (errnoOf(error) === undefined) throw error
    return null
  }
}

/** The first line of a journal. */
export function headLine(): string {
  return `${JSON.stringify({ journal: 2, boot: bootId() })}\n`
}

const LONGEST_HEAD = 256

function bootOf(path: string): string | undefined {
  const fd = openRegular(path)
  if (fd === null) return undefined
  try {
    const bytes = Buffer.alloc(LONGEST_HEAD)
    const text = bytes.toString('utf8', 0, readSync(fd, bytes, 0, bytes.length, 0))
    const head = parsed(text.slice(0, text.indexOf('\n') + 1))
    return typeof head?.['boot'] === 'string' ? head['boot'] : undefined
  } finally {
    closeSync(fd)
  }
}

/** Opens a regular file that is not a link; null when there is none. */
function openRegular(path: string): number | null {
  let fd
  try {
    fd = openSync(fsPath(path), constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  } catch (error) {
    if (errnoOf(error) === undefined) throw error
    return null
  }
  if (fstatSync(fd).isFile()) return fd
  closeSync(fd)
  return null
}

/** The size limit of a journal. An entry has some hundred bytes, so a journal of a hundred thousand objects is below it. */
const LONGEST_JOURNAL = 128 << 20

function readText(path: string): string {
  const fd = openRegular(path)
  if (fd === null) return ''
  try {
    return fstatSync(fd).size > LONGEST_JOURNAL ? '' : readFileSync(fd, 'utf8')
  } finally {
    closeSync(fd)
  }
}

/** The entries of a venv's journals. The last line of a journal may be torn. */
export function readJournals(place: Place): (JournalEntry | OldEntry)[] {
  const lines = [keptPath(place), journalPath(place)].flatMap(path => readText(path).split('\n'))
  const entries: (JournalEntry | OldEntry | null)[] = lines.map(line => decodeEntry(parsed(line)))
  for (const value of parsedList(readText(oldJournalPath(place)))) entries.push(decodeOld(value))
  return entries.filter(entry => entry !== null && isOwnPath(entry.path)).filter(entry => entry !== null)
}

/**
 * Syncs every object of the journal and drops the journal. The caller holds the lock of the venv. If an object cannot be
 * synced, the journal stays.
 */
export function settleJournal(place: Place): void {
  for (const { path } of readJournals(place)) {
    const fd = openEntry(place, path, constants.O_RDONLY)
    if (fd === null) continue
    try {
      fdatasyncSync(fd)
    } catch (error) {
      if (errnoOf(error) === undefined) throw error
      return
    } finally {
      closeSync(fd)
    }
  }
  for (const journal of [journalPath, oldJournalPath, keptPath]) removeFile(journal(place))
}

/**
 * Is there no journal, or only one that asks for nothing? A settled journal is dropped here, so that the next run finds
 * none, unless another run works on the venv.
 */
export function isJournalQuiet(place: Place): boolean {
  const state = journalState(place)
  if (state !== 'settled') return state === 'none' || state === 'settling'
  try {
    const lock = lockVenv(place, 0)
    try {
      if (journalState(place) === 'settled') settleJournal(place)
    } finally {
      lock.release()
    }
  } catch (error) {
    // another run is working, or this user may not write here: the journal stays
    if (!(error instanceof WheelfixError)) throw error
  }
  return true
}

/** Opens the file of an entry: a regular file below the root, with one link; null when there is none. */
export function openEntry({ root }: Place, path: string, flags: number): number | null {
  const fd = openBeneath(root, path)
  if (fd === null) return null
  try {
    if (fstatSync(fd).nlink !== 1) return null
    return openSync(`/proc/self/fd/${fd}`, flags)
  } catch (error) {
    if (errnoOf(error) === undefined) throw error
    return null
  } finally {
    closeSync(fd)
  }
}

function isOwnPath(path: string): boolean {
  return path !== '' && path.split('/').every(part => part !== '' && part !== '.' && part !== '..')
}

type Fields = Partial<Record<string, unknown>>

function parsed(line: string): Fields | null {
  try {
    const value: unknown = line === '' ? null : JSON.parse(line)
    return isFields(value) ? value : null
  } catch {
    return null
  }
}

function parsedList(text: string): unknown[] {
  try {
    const value: unknown = text === '' ? [] : JSON.parse(text)
    return Array.isArray(value) ? value : []
  } catch {
    return []
  }
}

function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null
}

/** One line of the journal. */
export function encodeEntry({ path, before, time, after, end, patches, record, restores }: JournalEntry): string {
  const entry = {
    path,
    size: before.size,
    header: base64(before.header),
    time,
    newSize: after.size,
    newHeader: base64(after.header),
    end,
    patches: patches.map(patch => [patch.offset, base64(patch.before), base64(patch.after)]),
    ...(record === null ? {} : { record: [record.path, record.row, record.fields] }),
    ...(restores ? { restores } : {}),
  }
  return `${JSON.stringify(entry)}\n`
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('base64')
}

function decodeEntry(fields: Fields | null): JournalEntry | null {
  if (fields === null) return null
  const { path, time, newSize, newHeader, end, patches, record, restores } = fields
  const old = decodeOld(fields)
  if (old === null || !isSize(newSize) || typeof newHeader !== 'string' || typeof end !== 'string') return null
  if (typeof path !== 'string' || !Array.isArray(patches)) return null
  const ranges = patches.map(decodePatch).filter(patch => patch !== null)
  if (ranges.length !== patches.length) return null
  const after = { size: newSize, header: Buffer.from(newHeader, 'base64') }
  const known = { path, time: isTime(time) ? time : null, after, end, patches: ranges }
  return { ...old, ...known, record: decodeRecord(record), restores: restores === true }
}

function decodeOld(value: unknown): OldEntry | null {
  if (!isFields(value)) return null
  const { path, size, header } = value
  if (typeof path !== 'string' || !isSize(size) || typeof header !== 'string') return null
  return { path, before: { size, header: Buffer.from(header, 'base64') } }
}

function decodePatch(value: unknown): JournalEntry['patches'][number] | null {
  if (!Array.isArray(value)) return null
  const [offset, before, after]: unknown[] = value
  if (!isSize(offset) || typeof before !== 'string' || typeof after !== 'string') return null
  return { offset, before: Buffer.from(before, 'base64'), after: Buffer.from(after, 'base64') }
}

function decodeRecord(value: unknown): JournalEntry['record'] {
  if (!Array.isArray(value)) return null
  const [path, row, fields]: unknown[] = value
  if (typeof path !== 'string' || typeof row !== 'string' || typeof fields !== 'string' || !isOwnPath(path)) return null
  return { path, row, fields }
}

function isTime(value: unknown): value is number {
  return typeof value === 'number' && Number.isFinite(value)
}

function isSize(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0
}

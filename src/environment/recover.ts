// Recovers from an interrupted run, or from a power loss after a finished one, by the journal: every half-written object
// becomes what it was. An object is identified by its bytes and not by its inode. In a copied venv or after a remount the
// inode is a different one, and a library that was installed meanwhile may have the old inode.
import { closeSync, constants, fdatasyncSync, fstatSync, ftruncateSync } from 'node:fs'
import { EI_CLASS, EI_DATA, ELFCLASS32, ELFDATA2MSB } from '../elf/constants.ts'
import { ElfError } from '../elf/error.ts'
import { encode, formatOf, getNumber } from '../elf/layout.ts'
import { isElf } from '../elf/read.ts'
import type { ByteSource } from '../elf/source.ts'
import { readUndo } from '../elf/graft/undo-note.ts'
import { extrasOf } from '../io/write/attributes.ts'
import { errnoOf } from '../io/error.ts'
import { writeFully } from '../io/write/content.ts'
import { withFolders } from '../io/write/folder.ts'
import { keepTimes, renameStaged, stageFile, syncStaged } from '../io/write/replace.ts'
import { sourceOf } from '../io/source.ts'
import type { Place } from '../python/environment.ts'
import { fieldsOf, type RecordFields } from '../python/record.ts'
import { endOf } from '../state/journal.ts'
import {
  digestOfEnd,
  type JournalEntry,
  journalState,
  type OldEntry,
  openEntry,
  readJournals,
  settleJournal,
} from '../state/journal-file.ts'
import { readRows, rewriteRecordFile } from './record-files.ts'

/**
 * The state of a file, seen from its journal entry. `before`: the file is what it was. `after`: it is what it had to become.
 * `half`: wheelfix wrote half of it. `other`: another program has written it since.
 */
type FileVerdict = 'before' | 'after' | 'half' | 'other'

/** The result for the objects of a journal, by their paths relative to the venv. */
export interface Recovery {
  readonly restored: readonly string[]
  /** Objects that were left alone, because another program has written them since. */
  readonly other: readonly string[]
}

const NOTHING: Recovery = { restored: [], other: [] }

/**
 * Does what the journal of a venv asks for: restores half-written objects, or drops the journal when it is no longer needed.
 * The caller holds the lock of the venv.
 * @throws the errors of write(2), fdatasync(2)
 */
export function recover(place: Place): Recovery {
  const state = journalState(place)
  if (state === 'none' || state === 'settling') return NOTHING
  if (state === 'settled') {
    settleJournal(place)
    return NOTHING
  }
  const restored = new Set<string>()
  const other = new Set<string>()
  const rows = new Map<string, Map<string, RecordFields>>()
  const entries = readJournals(place)
  const restoring = new Set(entries.flatMap(entry => ('restores' in entry && entry.restores ? entry.path : [])))
  for (const entry of entries) {
    const verdict = recoverObject(place, entry, restoring.has(entry.path))
    if (state === 'interrupted' && 'time' in entry && (verdict === 'after' || verdict === 'before'))
      keepTime(place, entry)
    if (verdict === 'other') other.add(entry.path)
    if (verdict === 'half') restored.add(entry.path)
    // the change of an object may be lost while the change of its RECORD is not
    if (verdict !== 'half' && verdict !== 'before') continue
    const record = 'record' in entry ? entry.record : null
    if (record === null) continue
    const fields = rows.get(record.path) ?? new Map<string, RecordFields>()
    rows.set(record.path, fields.set(record.row, fieldsOf(record.fields)))
  }
  restoreRows(place, rows)
  // objects that are whole in memory may still be on their way to the disk
  settleJournal(place)
  for (const path of restored) other.delete(path)
  return { restored: [...restored], other: state === 'interrupted' ? [...other] : [] }
}

/** Was the last run interrupted, as the journal and the files say? For users who may only read. */
export function isRunInterrupted(place: Place): boolean {
  const state = journalState(place)
  if (state === 'interrupted') return true
  return state === 'unverified' && readJournals(place).some(entry => verdictOf(place, entry) === 'half')
}

function verdictOf(place: Place, entry: JournalEntry | OldEntry): FileVerdict {
  return withEntry(place, entry, constants.O_RDONLY, (_, source) => judge(source, entry)) ?? 'other'
}

/** @param isUsed a process may have the end of the file in use: the file must not be cut */
function recoverObject(place: Place, entry: JournalEntry | OldEntry, isUsed: boolean): FileVerdict {
  const verdict = verdictOf(place, entry)
  if (verdict !== 'half') return verdict
  if (isUsed) {
    replaceByOriginal(`${place.root}/${entry.path}`, entry)
    if ('time' in entry) keepTime(place, entry)
    return 'half'
  }
  return (
    withEntry(place, entry, constants.O_RDWR, (fd, source) => {
      if (judge(source, entry) === 'half') putBack(fd, entry)
      return 'half'
    }) ?? 'other'
  )
}

function withEntry(
  place: Place,
  { path }: OldEntry,
  flags: number,
  use: (fd: number, source: ByteSource) => FileVerdict,
): FileVerdict | null {
  const fd = openEntry(place, path, flags)
  if (fd === null) return null
  const source = sourceOf(fd)
  try {
    return use(fd, source)
  } catch (error) {
    // the file is shorter than when it was opened: another program is writing it now
    if (error instanceof ElfError) return 'other'
    throw error
  } finally {
    source.close()
  }
}

/**
 * What a file of the journal holds: `before` and `after` are whole, `half` is an edit that was cut off, and `other` is the
 * file of another program. A header that the journal does not know is `after` where the file carries a sound graft: a later
 * run made it.
 */
function judge(source: ByteSource, entry: JournalEntry | OldEntry): FileVerdict {
  const { size, header } = entry.before
  if (source.size < size || size < header.length) return 'other'
  const now = Buffer.from(source.read(0, header.length))
  if (!('after' in entry)) return judgeOld(source, entry, now)
  const isBefore = now.equals(header)
  const isAfter = now.equals(entry.after.header)
  if (!isBefore && !isAfter) return carriesGraft(source) ? 'after' : 'other'
  const changed = entry.patches.map(patch => ({
    patch,
    now: Buffer.from(source.read(patch.offset, patch.before.length)),
  }))
  if (isAfter && carriesGraft(source)) return 'after'
  if (isBefore && source.size === size && changed.every(({ patch, now }) => now.equals(patch.before))) return 'before'
  if (source.size > entry.after.size) return 'other'
  // one block of a range may be old while another is new
  const isOurs = changed.every(({ patch, now }) =>
    now.every((byte, at) => byte === patch.before[at] || byte === patch.after[at]),
  )
  if (!isOurs) return 'other'
  return isAfter || digestOfEnd(originalEnd(source, entry)) === entry.end ? 'half' : 'other'
}

/** The end of the original, in whatever state the ranges in it are. */
function originalEnd(source: ByteSource, { before: { size, header }, patches }: JournalEntry): Uint8Array {
  const end = Uint8Array.from(endOf(source, size, header.length))
  const start = size - end.length
  for (const { offset, before } of patches) {
    for (const [at, byte] of before.entries()) {
      const to = offset + at - start
      if (to >= 0 && to < end.length) end[to] = byte
    }
  }
  return end
}

/**
 * Judges by an entry that does not say what the file had to become. A graft has its program headers after the original, and
 * changes only the places of the tables.
 */
function judgeOld(source: ByteSource, { before: { size, header } }: OldEntry, now: Buffer): FileVerdict {
  if (now.equals(header)) {
    if (source.size === size) return 'before'
    return startsGraft(source, size) ? 'half' : 'other'
  }
  if (carriesGraft(source)) return 'after'
  if (!isElf(now) || !isElf(header) || programHeadersAt(now) < size) return 'other'
  return withoutHeaderTables(now).equals(withoutHeaderTables(header)) ? 'half' : 'other'
}

function programHeadersAt(header: Uint8Array): number {
  const format = formatOfHeader(header)
  return getNumber(format, header, 0, format.ehdr.phoff)
}

function withoutHeaderTables(header: Uint8Array): Buffer {
  const bytes = Buffer.from(header)
  const format = formatOfHeader(header)
  encode(format.ehdr, format, bytes, 0, { phoff: 0, phnum: 0, shoff: 0, shnum: 0, shstrndx: 0 })
  return bytes
}

function formatOfHeader(header: Uint8Array): ReturnType<typeof formatOf> {
  return formatOf({
    class: header[EI_CLASS] === ELFCLASS32 ? 32 : 64,
    byteOrder: header[EI_DATA] === ELFDATA2MSB ? 'big' : 'little',
  })
}

/** Does a note of wheelfix follow the original, or nothing yet? */
function startsGraft(source: ByteSource, size: number): boolean {
  const start = source.read(size, Math.min(64, source.size - size))
  return Buffer.from(start).includes('wheelfix\0') || start.every(byte => byte === 0)
}

function carriesGraft(source: ByteSource): boolean {
  try {
    return readUndo(source) !== null
  } catch (error) {
    // a note of a later version: the file is whole, as far as this version can see
    if (error instanceof ElfError) return error.code === 'REFUSED'
    throw error
  }
}

/**
 * Writes the header first: from then on the file loads as it was. The bytes after the original are cut off after the header
 * is on the disk.
 */
function putBack(fd: number, entry: JournalEntry | OldEntry): void {
  const { atimeMs, mtimeMs } = fstatSync(fd)
  const time = 'time' in entry ? entry.time : null
  writeFully(fd, entry.before.header, 0)
  if ('patches' in entry) for (const { offset, before } of entry.patches) writeFully(fd, before, offset)
  fdatasyncSync(fd)
  ftruncateSync(fd, entry.before.size)
  keepTimes(fd, { atimeMs, mtimeMs: time ?? mtimeMs })
}

/**
 * Gives a file back its time: the run was interrupted between the last write and the call that sets the time. Installers and
 * link copies (linked.ts) are known by their times.
 */
function keepTime(place: Place, { path, time }: JournalEntry): void {
  const fd = time === null ? null : openEntry(place, path, constants.O_RDONLY)
  if (fd === null || time === null) return
  try {
    const { atimeMs, mtimeMs } = fstatSync(fd)
    if (Math.abs(mtimeMs - time) >= 1) keepTimes(fd, { atimeMs, mtimeMs: time })
  } catch (error) {
    // only the owner may set a time
    if (errnoOf(error) === undefined) throw error
  } finally {
    closeSync(fd)
  }
}

/** Puts a copy of the original in place of a file. A process that has the file in use keeps it. */
function replaceByOriginal(path: string, entry: JournalEntry | OldEntry): void {
  const { size, header } = entry.before
  const patches = 'patches' in entry ? entry.patches : []
  const original = patches.map(({ offset, before }) => ({ offset, bytes: before }))
  const extras = extrasOf([path])
  withFolders(folders => {
    const staged = stageFile(folders, path, { baseSize: size, tail: [], patches: original, header })
    extras.keep(staged)
    syncStaged(staged)
    renameStaged(staged)
  })
}

/** Restores the RECORD rows of restored originals. The lost change had emptied these rows. */
function restoreRows(place: Place, records: ReadonlyMap<string, ReadonlyMap<string, RecordFields>>): void {
  for (const [relative, rows] of records) {
    const fd = openEntry(place, relative, constants.O_RDONLY)
    if (fd === null) continue
    closeSync(fd)
    const path = `${place.root}/${relative}`
    const now = readRows(path)
    const lost = [...rows].filter(([row]) => now.get(row)?.hash === '')
    if (lost.length > 0) rewriteRecordFile(path, new Map(lost))
  }
}

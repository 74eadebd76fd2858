// Rewrites a wheel with some entries changed. All other entries are copied unchanged: their local record with the
// compressed data, and their record of the directory, except for the offset. yazl cannot do this: it accepts no
// compressed data, and it normalises flags, attributes and extra fields of every entry. So zlib encodes the changed
// entries, and their existing records get the new numbers. Before the file gets its name, the new data is inflated
// again and compared.
import type { ByteSource } from '../elf/source.ts'
import { writeFully } from '../io/write/content.ts'
import type { ReadStream } from './blocks.ts'
import { inflatedSums, readRange } from './entry-contents.ts'
import { encodeJobs, encodeSpliced, encodeLikeZlib, type Job, levelOf, type Piece } from './encode.ts'
import { type Archive, DEFLATED, encodeName, type WheelEntry } from './read.ts'
import type { Range } from './splice.ts'
import {
  IN_ZIP64_32,
  type HeaderPatch,
  patchCentral,
  patchDescriptor,
  patchEnding,
  patchLocal,
  staysStreamed,
} from './records.ts'

const COPY = 4 << 20

/** The change of an entry. */
export interface EntryChange {
  readonly name?: string
  /** The new contents; called when all changed entries before this one have been read. */
  readonly content?: () => ByteSource
  /** Call `content` only when all entries before it are written, because it depends on their bytes. */
  readonly late?: boolean
  /**
   * Where the beginning of the new contents differs from the old contents. Without it the new contents are compressed
   * as a whole.
   */
  readonly changes?: readonly Range[]
  /** Compress exactly as zlib does, because zlib made the wheel. */
  readonly likeZlib?: LikeZlib
  /** Receives every byte of the new contents once, in order. */
  readonly onBytes?: (bytes: Uint8Array) => void
}

interface LikeZlib {
  readonly level: number
  /** Where the new contents differ from the beginning of the old contents; null: anywhere. */
  readonly changes: readonly Range[] | null
}

/** An entry of another archive. */
export interface AddedEntry {
  /** How many entries of the result come before it, in the file and in the directory. */
  readonly position: number
  readonly index: number
  /** Its local header with its data and descriptor, and its record of the directory. */
  readonly local: Uint8Array
  readonly central: Uint8Array
}

export interface ArchiveOptions {
  /** Receives the number of bytes just written. */
  readonly onProgress?: (bytes: number) => void
  readonly added?: readonly AddedEntry[]
  /** The archive's new comment; without it the old one stays. */
  readonly comment?: Uint8Array
}

/**
 * Writes the archive with its changes to an empty file, which must be open for writing and reading.
 * @param changes an entry without a change is copied; `drop` leaves an entry out
 */
export async function writeArchive(
  archive: Archive,
  fd: number,
  changes: ReadonlyMap<WheelEntry, EntryChange | 'drop'>,
  { onProgress = () => {}, added = [], comment }: ArchiveOptions = {},
): Promise<void> {
  const { source, entries, ending } = archive
  const kept = entries.filter(entry => changes.get(entry) !== 'drop')
  const stays: (WheelEntry | AddedEntry)[] = [...kept]
  for (const entry of added.toSorted((a, b) => a.index - b.index)) stays.splice(entry.index, 0, entry)
  const byOffset: (WheelEntry | AddedEntry)[] = kept.toSorted((a, b) => a.headerOffset - b.headerOffset)
  for (const entry of added.toSorted((a, b) => a.position - b.position)) byOffset.splice(entry.position, 0, entry)
  const patches = new Map<WheelEntry | AddedEntry, HeaderPatch>()
  const jobs = new Map<WheelEntry, Job>()
  const alone = new Map<WheelEntry, Job>()
  for (const entry of byOffset) {
    if (isAdded(entry)) continue
    const change = changeOfEntry(entry, changes)
    if (change?.content === undefined) continue
    const { content, onBytes, likeZlib } = change
    const plain = { method: entry.method, level: likeZlib?.level ?? levelOf(entry.flags), content }
    const job = onBytes === undefined ? plain : { ...plain, onBytes }
    const spliced = (change.changes ?? likeZlib) !== undefined && entry.method === DEFLATED
    if (spliced || change.late === true) alone.set(entry, job)
    else jobs.set(entry, job)
  }
  const pieces = encodeJobs(jobs.values())
  const checks: Promise<void>[] = []
  let at = 0
  try {
    for (const entry of byOffset) {
      if (isAdded(entry)) {
        writeFully(fd, entry.local, at)
        patches.set(entry, { offset: at })
        at += entry.local.length
        continue
      }
      const change = changeOfEntry(entry, changes)
      const name = change?.name === undefined ? {} : { name: encodeName(archive, entry, change.name) }
      const offset = at
      const job = alone.get(entry)
      if (job === undefined && !jobs.has(entry)) {
        if (change?.name === undefined) at = copy(source.fd, entry.headerOffset, entry.end, fd, at)
        else {
          const header = patchLocal(source.read(entry.headerOffset, entry.dataOffset - entry.headerOffset), name, false)
          writeFully(fd, header, at)
          at = copy(source.fd, entry.dataOffset, entry.end, fd, at + header.length)
        }
        patches.set(entry, { ...name, offset })
      } else {
        const own = job === undefined ? pieces : encodeAlone(job, archive, entry, change)
        const { start, end, patch } = await writeChanged(own, archive, entry, fd, at, name)
        patches.set(entry, patch)
        at = end
        const check = checkWritten(fd, start, entry, patch)
        // a failure is reported below
        check.catch(() => {})
        checks.push(check)
      }
      onProgress(at - offset)
    }
    await Promise.all(checks)
  } finally {
    await Promise.allSettled(checks)
    await pieces.return(undefined)
  }

  const directoryOffset = at
  const directory = Buffer.concat(stays.map(entry => patchCentral(entry.central, patches.get(entry) ?? {})))
  writeFully(fd, directory, at)
  at += directory.length
  const now = { directoryOffset, directorySize: directory.length, entryCount: stays.length }
  writeFully(fd, patchEnding(ending, now, comment), at)
}

function isAdded(entry: WheelEntry | AddedEntry): entry is AddedEntry {
  return 'local' in entry
}

/** Encodes an entry that cannot be compressed together with others. */
function encodeAlone(
  job: Job,
  { source }: Archive,
  entry: WheelEntry,
  change: EntryChange | undefined,
): AsyncGenerator<Piece> {
  const read: ReadStream = (from, length) =>
    source.read(entry.dataOffset + from, Math.min(length, entry.compressedSize - from))
  const { changes, likeZlib } = change ?? {}
  if (entry.method !== DEFLATED) return encodeJobs([job])
  if (likeZlib !== undefined) return encodeLikeZlib(job, { read, changes: likeZlib.changes })
  return changes === undefined ? encodeJobs([job]) : encodeSpliced(job, { read, size: entry.size, changes })
}

function changeOfEntry(
  entry: WheelEntry,
  changes: ReadonlyMap<WheelEntry, EntryChange | 'drop'>,
): EntryChange | undefined {
  const change = changes.get(entry)
  return change === 'drop' ? undefined : change
}

/**
 * Leaves room for an entry's header, writes its new data, then the header. Returns where the data is, and the patch.
 */
async function writeChanged(
  pieces: AsyncGenerator<Piece>,
  { source }: Archive,
  entry: WheelEntry,
  fd: number,
  offset: number,
  name: Pick<HeaderPatch, 'name'>,
): Promise<{ readonly start: number; readonly end: number; readonly patch: HeaderPatch }> {
  const local = source.read(entry.headerOffset, entry.dataOffset - entry.headerOffset)
  const dataEnd = entry.dataOffset + entry.compressedSize
  const descriptor = source.read(dataEnd, entry.end - dataEnd)
  let start: number | undefined
  let at = offset
  for (;;) {
    const next = await pieces.next()
    if (next.done === true) throw new Error('the pieces ended before the entry did')
    const { bytes, size, crc32 } = next.value
    // the header's length must be known before the sizes; deflate adds less than a thousandth
    const zip64 = size + size / 1000 >= IN_ZIP64_32 - 1
    const streamed = staysStreamed(local, descriptor, zip64)
    if (start === undefined) {
      const unknown = { crc32: 0, compressedSize: 0, size: 0 }
      start = offset + patchLocal(local, { ...name, content: unknown, streamed }, zip64).length
      at = start
    }
    if (bytes instanceof Uint8Array) {
      writeFully(fd, bytes, at)
      at += bytes.length
    } else {
      const from = entry.dataOffset + bytes.offset
      at = copy(source.fd, from, from + bytes.length, fd, at)
    }
    if (crc32 !== undefined) {
      const content = { crc32, compressedSize: at - start, size }
      writeFully(fd, patchLocal(local, { ...name, content, streamed }, zip64), offset)
      if (streamed) {
        writeFully(fd, patchDescriptor(descriptor, content), at)
        at += descriptor.length
      }
      return { start, end: at, patch: { ...name, offset, content, streamed } }
    }
  }
}

/**
 * Inflates the written data and compares it.
 * @throws Error where it differs from the new contents: a bug, or a bad disk
 */
async function checkWritten(
  fd: number,
  start: number,
  { name, method }: WheelEntry,
  { content }: HeaderPatch,
): Promise<void> {
  if (content === undefined || method !== DEFLATED) return
  const { size, crc32: sum } = await inflatedSums(fd, start, content.compressedSize)
  if (size !== content.size || sum !== content.crc32)
    throw new Error(`what was written for ${name} is not what was meant`)
}

/** Copies a range from one file to another; returns the offset after the copy. */
function copy(from: number, start: number, end: number, to: number, offset: number): number {
  let at = offset
  for (let done = start; done < end; done += COPY) {
    const bytes = readRange(from, done, Math.min(COPY, end - done))
    writeFully(to, bytes, at)
    at += bytes.length
  }
  return at
}

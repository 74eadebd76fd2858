// Writes a wheel again with some entries changed. All others are carried as they stand: their local record, compressed
// data included, and their record of the directory, where only the offset changes. yazl cannot do that (it takes no
// compressed data, and normalises flags, attributes and extra fields of whatever it writes), nor can it write a changed
// entry so that its other fields stay, so the changed ones are encoded by zlib and put into the record that was there.
// What was written for them is inflated again and compared before the file gets its name.
import type { ByteSource } from '../elf/source.ts'
import type { ReadStream } from './blocks.ts'
import { inflatedSums, readRange, writeRange } from './content.ts'
import { encode, encodeAnew, type Job, levelOf, type Piece } from './encode.ts'
import { type Archive, DEFLATED, type WheelEntry } from './read.ts'
import type { Range } from './splice.ts'
import { patchEnding, IN_ZIP64_32, type Patch, patchCentral, patchLocal } from './zip.ts'

const COPY = 4 << 20

/** What becomes of an entry. */
export interface EntryChange {
  readonly name?: string
  /** New contents; asked when all changed entries before this one have been read. */
  readonly content?: () => ByteSource
  /** Where the new contents differ from the old ones, which they begin with; without it they are compressed anew. */
  readonly changes?: readonly Range[]
  /** Gets every byte of the new contents once, in order. */
  readonly onBytes?: (bytes: Uint8Array) => void
}

/**
 * Writes the archive with its changes to an empty file that is open for reading, too.
 * @param changes an entry without one stays as it is; `drop` leaves it out
 * @param onProgress gets the bytes of the output just written
 */
export async function writeArchive(
  archive: Archive,
  fd: number,
  changes: ReadonlyMap<WheelEntry, EntryChange | 'drop'>,
  onProgress: (bytes: number) => void = () => {},
): Promise<void> {
  const { source, entries, ending } = archive
  const stays = entries.filter(entry => changes.get(entry) !== 'drop')
  const byOffset = stays.toSorted((a, b) => a.headerOffset - b.headerOffset)
  const patches = new Map<WheelEntry, Patch>()
  const jobs = new Map<WheelEntry, Job>()
  const spliced = new Map<WheelEntry, Job>()
  for (const entry of byOffset) {
    const change = changeOf(entry, changes)
    if (change?.content === undefined) continue
    const { content, onBytes } = change
    const plain = { method: entry.method, level: levelOf(entry.flags), content }
    const job = onBytes === undefined ? plain : { ...plain, onBytes }
    if (change.changes !== undefined && entry.method === DEFLATED) spliced.set(entry, job)
    else jobs.set(entry, job)
  }
  const pieces = encode(jobs.values())
  const checks: Promise<void>[] = []
  let at = 0
  try {
    for (const entry of byOffset) {
      const change = changeOf(entry, changes)
      const name = change?.name === undefined ? {} : { name: Buffer.from(change.name) }
      const offset = at
      const splicedJob = spliced.get(entry)
      if (splicedJob === undefined && !jobs.has(entry)) {
        if (change?.name === undefined) at = copy(source.fd, entry.headerOffset, entry.end, fd, at)
        else {
          const header = patchLocal(source.read(entry.headerOffset, entry.dataOffset - entry.headerOffset), name, false)
          writeRange(fd, header, at)
          at = copy(source.fd, entry.dataOffset, entry.end, fd, at + header.length)
        }
        patches.set(entry, { ...name, offset })
      } else {
        const read: ReadStream = (from, length) =>
          source.read(entry.dataOffset + from, Math.min(length, entry.compressedSize - from))
        const before = { read, size: entry.size, changes: change?.changes ?? [] }
        const own = splicedJob === undefined ? pieces : encodeAnew(splicedJob, before)
        const { start, end, patch } = await writeChanged(own, archive, entry, fd, at, name)
        patches.set(entry, patch)
        at = end
        const check = checkWritten(fd, start, entry, patch)
        // a failure is met below
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
  writeRange(fd, directory, at)
  at += directory.length
  const end = patchEnding(ending, { directoryOffset, directorySize: directory.length, entryCount: stays.length })
  writeRange(fd, end, at)
}

function changeOf(entry: WheelEntry, changes: ReadonlyMap<WheelEntry, EntryChange | 'drop'>): EntryChange | undefined {
  const change = changes.get(entry)
  return change === 'drop' ? undefined : change
}

/** Writes an entry's new data behind room for its header, then the header. Gives where the data is, and the patch. */
async function writeChanged(
  pieces: AsyncGenerator<Piece>,
  { source }: Archive,
  entry: WheelEntry,
  fd: number,
  offset: number,
  name: Pick<Patch, 'name'>,
): Promise<{ readonly start: number; readonly end: number; readonly patch: Patch }> {
  const local = source.read(entry.headerOffset, entry.dataOffset - entry.headerOffset)
  let start: number | undefined
  let at = offset
  for (;;) {
    const next = await pieces.next()
    if (next.done === true) throw new Error('the pieces ended before the entry did')
    const { bytes, size, crc32 } = next.value
    // the header's length must be known before the sizes are; deflate adds less than a thousandth
    const zip64 = size + size / 1000 >= IN_ZIP64_32 - 1
    if (start === undefined) {
      const unknown = { crc32: 0, compressedSize: 0, size: 0 }
      start = offset + patchLocal(local, { ...name, content: unknown }, zip64).length
      at = start
    }
    if (bytes instanceof Uint8Array) {
      writeRange(fd, bytes, at)
      at += bytes.length
    } else {
      const from = entry.dataOffset + bytes.offset
      at = copy(source.fd, from, from + bytes.length, fd, at)
    }
    if (crc32 !== undefined) {
      const content = { crc32, compressedSize: at - start, size }
      writeRange(fd, patchLocal(local, { ...name, content }, zip64), offset)
      return { start, end: at, patch: { ...name, offset, content } }
    }
  }
}

/** Inflates what was written and compares. @throws Error where it is not the new contents: a bug, or a bad disk */
async function checkWritten(
  fd: number,
  start: number,
  { name, method }: WheelEntry,
  { content }: Patch,
): Promise<void> {
  if (content === undefined || method !== DEFLATED) return
  const { size, crc32: sum } = await inflatedSums(fd, start, content.compressedSize)
  if (size !== content.size || sum !== content.crc32)
    throw new Error(`what was written for ${name} is not what was meant`)
}

/** Copies a range from one file to another; gives the offset behind the copy. */
function copy(from: number, start: number, end: number, to: number, offset: number): number {
  let at = offset
  for (let done = start; done < end; done += COPY) {
    const bytes = readRange(from, done, Math.min(COPY, end - done))
    writeRange(to, bytes, at)
    at += bytes.length
  }
  return at
}

// Writes a wheel again with some entries changed. All others are carried as they stand: their local record, compressed
// data included, and their record of the directory, where only the offset changes. yazl cannot do that (it takes no
// compressed data, and normalises flags, attributes and extra fields of whatever it writes), nor can it write a changed
// entry so that its other fields stay, so the changed ones are encoded by zlib and put into the record that was there.
import type { ByteSource } from '../elf/source.ts'
import { readRange, writeRange } from './content.ts'
import { encode, type Job, levelOf, type Piece } from './encode.ts'
import type { Archive, WheelEntry } from './read.ts'
import { patchEnding, IN_ZIP64_32, type Patch, patchCentral, patchLocal } from './zip.ts'

const COPY = 4 << 20

/** What becomes of an entry. */
export interface EntryChange {
  readonly name?: string
  /** New contents; asked when all changed entries before this one have been read. */
  readonly content?: () => ByteSource
  /** Gets every byte of the new contents once, in order. */
  readonly onBytes?: (bytes: Uint8Array) => void
}

/**
 * Writes the archive with its changes to an empty file.
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
  for (const entry of byOffset) {
    const change = changeOf(entry, changes)
    if (change?.content === undefined) continue
    const { content, onBytes } = change
    jobs.set(entry, {
      method: entry.method,
      level: levelOf(entry.flags),
      content,
      ...(onBytes === undefined ? {} : { onBytes }),
    })
  }
  const pieces = encode(jobs.values())
  let at = 0
  try {
    for (const entry of byOffset) {
      const change = changeOf(entry, changes)
      const name = change?.name === undefined ? {} : { name: Buffer.from(change.name) }
      const offset = at
      if (change?.name === undefined && !jobs.has(entry)) {
        at = copy(source.fd, entry.headerOffset, entry.end, fd, at)
        patches.set(entry, { offset })
      } else {
        const local = source.read(entry.headerOffset, entry.dataOffset - entry.headerOffset)
        if (!jobs.has(entry)) {
          const header = patchLocal(local, name, false)
          writeRange(fd, header, at)
          at = copy(source.fd, entry.dataOffset, entry.end, fd, at + header.length)
          patches.set(entry, { ...name, offset })
        } else {
          const { end, patch } = await writeChanged(pieces, fd, at, local, name)
          patches.set(entry, patch)
          at = end
        }
      }
      onProgress(at - offset)
    }
  } finally {
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

/** Writes an entry's new data behind room for its header, then the header. Gives the offset behind it and the patch. */
async function writeChanged(
  pieces: AsyncGenerator<Piece>,
  fd: number,
  offset: number,
  local: Uint8Array,
  name: Pick<Patch, 'name'>,
): Promise<{ readonly end: number; readonly patch: Patch }> {
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
    writeRange(fd, bytes, at)
    at += bytes.length
    if (crc32 !== undefined) {
      const content = { crc32, compressedSize: at - start, size }
      writeRange(fd, patchLocal(local, { ...name, content }, zip64), offset)
      return { end: at, patch: { ...name, offset, content } }
    }
  }
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

// Reads a wheel as a list of entries. yauzl reads the directory and the local headers. This file refuses two kinds
// of archives that yauzl accepts: those on which readers of zip files disagree, and those that harm a user who unpacks
// them. entry-contents.ts reads the contents.
import yauzl from 'yauzl'
import { ElfError } from '../elf/error.ts'
import { decodeBytes } from '../elf/text.ts'
import { errnoOf, systemReason, WheelfixError } from '../io/error.ts'
import { type FileSource, openSource } from '../io/source.ts'
import { agree, count } from '../io/words.ts'
import {
  buffer,
  CENTRAL_HEADER_SIZE,
  DATA_DESCRIPTOR,
  type Ending,
  EXTRA_ZIP64,
  findExtra,
  FLAG_DESCRIPTOR,
  FLAG_ENCRYPTED,
  FLAG_MASKED_HEADERS,
  FLAG_PATCHED_DATA,
  FLAG_STRONG_ENCRYPTION,
  FLAG_UTF8,
  IN_ZIP64_32,
  readEnding,
  readUInt64,
  ZipFault,
} from './records.ts'

export const STORED = 0
export const DEFLATED = 8

/** Deflate cannot compress better than 1032:1 (zlib's technical notes), so an archive with a higher ratio is forged. */
const DEFLATE_LIMIT = 1032
/** Real wheels stay below 10:1. An archive above both ratios is a bomb, made to fill a disk. */
const BOMB_RATIO = 100
const BOMB_SIZE = 1 << 30

/**
 * Bounds the memory for an archive: some kilobytes for each entry while it is checked, its record of the directory, and
 * a set for each folder. Without zip64 an archive has at most 65,535 entries.
 */
const MOST_ENTRIES = 250_000
const LARGEST_DIRECTORY = 64 << 20
const MOST_FOLDERS = 100_000
/** PATH_MAX of Linux: no installer can make a file with a longer name. */
const LONGEST_NAME = 4096

/** How many characters of a name a message shows. */
const LONGEST_SHOWN = 200

/** The newest version of the format (4.4.3.2), times ten. */
const NEWEST_VERSION = 63

/** Parts of external attributes' upper half (st_mode). */
const S_IFMT = 0o170000
const S_IFDIR = 0o040000
const S_IFREG = 0o100000
const S_IFLNK = 0o120000

/** One entry. Offsets are from the file's first byte. */
export interface WheelEntry {
  /** Its path below site-packages (or `NAME.data`); a directory's ends with `/`. */
  readonly name: string
  readonly directory: boolean
  /** Permission bits; 0 where the archive has none. */
  readonly mode: number
  readonly flags: number
  readonly method: typeof STORED | typeof DEFLATED
  readonly crc32: number
  readonly compressedSize: number
  readonly size: number
  readonly headerOffset: number
  readonly dataOffset: number
  /** The offset after the data and its descriptor, where the next entry begins. */
  readonly end: number
  /** The unchanged record of the central directory. */
  readonly central: Uint8Array
}

/** An open wheel; the caller closes it. */
export interface Archive {
  readonly path: string
  readonly source: FileSource
  /** In the order of the directory. */
  readonly entries: readonly WheelEntry[]
  readonly ending: Ending
  close(): void
}

/** A name for use in a message. */
function quote(name: string): string {
  return JSON.stringify(name.length > LONGEST_SHOWN ? `${name.slice(0, LONGEST_SHOWN)}…` : name)
}

/** The error for a refused archive. Nothing is written after it. */
export function refusal(path: string, reason: string): WheelfixError {
  return new WheelfixError('WHEEL_INVALID', `${path}: not a valid wheel: ${reason}`, path)
}

/**
 * Opens a wheel and checks its structure: names, overlaps, kinds, flags, both headers of each entry, sizes.
 * @throws WheelfixError `WHEEL_INVALID` with the reason; `IO` when the file cannot be read
 */
export async function openArchive(path: string): Promise<Archive> {
  const source = openFile(path)
  try {
    const ending = readEnding(source)
    const entries = await readEntries(source, ending)
    checkNames(entries)
    checkSizes(entries)
    return { path, source, entries, ending, close: () => source.close() }
  } catch (error) {
    source.close()
    if (error instanceof ZipFault) throw refusal(path, error.message)
    if (error instanceof ElfError) throw refusal(path, 'it is cut off: download it again')
    throw error
  }
}

function openFile(path: string): FileSource {
  try {
    return openSource(path)
  } catch (error) {
    if (error instanceof ElfError) throw new WheelfixError('WHEEL_INVALID', `${path}: not a file`, path)
    const errno = errnoOf(error)
    if (errno === undefined) throw error
    throw new WheelfixError('IO', `${path}: ${systemReason(errno)}`, path)
  }
}

/** Gives yauzl access to an open file. */
class Reader extends yauzl.RandomAccessReader {
  readonly #source: FileSource

  constructor(source: FileSource) {
    super()
    this.#source = source
  }

  override read(
    target: Buffer,
    offset: number,
    length: number,
    position: number,
    done: (error: Error | null, count?: number) => void,
  ): void {
    const count = Math.max(0, Math.min(length, this.#source.size - position))
    target.set(this.#source.read(Math.min(position, this.#source.size), count), offset)
    done(null, count)
  }
}

async function readEntries(source: FileSource, ending: Ending): Promise<WheelEntry[]> {
  const { directoryOffset, directorySize, entryCount } = ending
  if (entryCount > directorySize / CENTRAL_HEADER_SIZE)
    throw new ZipFault(`its directory of ${count(directorySize, 'byte')} cannot hold ${count(entryCount, 'entry')}`)
  if (entryCount > MOST_ENTRIES) throw new ZipFault(`it has ${entryCount} entries; at most ${MOST_ENTRIES} are read`)
  if (directorySize > LARGEST_DIRECTORY)
    throw new ZipFault(`its directory has ${directorySize} bytes; at most ${LARGEST_DIRECTORY} are read`)
  const directory = source.read(directoryOffset, directorySize)
  const entries: Omit<WheelEntry, 'end'>[] = []
  let at = 0
  const zip = await asRefusal(() =>
    yauzl.fromRandomAccessReaderPromise(new Reader(source), source.size, { autoClose: false, decodeStrings: false }),
  )
  // yauzl's promises for an entry fail only because of the content of the file
  const iterator = zip.eachEntry()
  for (;;) {
    const next: IteratorResult<yauzl.Entry> = await asRefusal(() => iterator.next())
    if (next.done === true) break
    const entry = next.value
    const length = CENTRAL_HEADER_SIZE + entry.fileNameLength + entry.extraFieldLength + entry.fileCommentLength
    if (at + length > directorySize) throw new ZipFault('its directory is longer than its end record says')
    const local = await asRefusal(() => zip.readLocalFileHeaderPromise(entry))
    entries.push(checkEntry(entry, local, directory.subarray(at, at + length)))
    at += length
  }
  if (at !== directorySize) throw new ZipFault('its directory is shorter than its end record says')
  return checkLayout(source, entries, directoryOffset)
}

/** Turns yauzl's plain errors about the content of the file into refusals. */
async function asRefusal<T>(call: () => Promise<T>): Promise<T> {
  try {
    return await call()
  } catch (error) {
    if (error instanceof ZipFault || error instanceof ElfError || errnoOf(error) !== undefined) throw error
    throw new ZipFault(error instanceof Error ? error.message : String(error))
  }
}

/** Checks one entry alone: its name, its kind, its flags, and that both of its headers agree. */
function checkEntry(entry: yauzl.Entry, local: yauzl.LocalFileHeader, central: Uint8Array): Omit<WheelEntry, 'end'> {
  const flags = entry.generalPurposeBitFlag
  const raw = entry.fileNameRaw
  if (raw.length > LONGEST_NAME)
    throw new ZipFault(`the entry ${quote(decodeBytes(raw.subarray(0, 60)))}… has a name of ${raw.length} bytes`)
  const name = decodeName(entry)
  const shown = quote(name)
  const fault = (reason: string): ZipFault => new ZipFault(`the entry ${shown} ${reason}`)

  if (name === '') throw fault('has no name')
  // some readers cut the name at a NUL; other control characters mean one thing in code page 437 and another to Python
  if (raw.includes(0)) throw fault('has a NUL in its name')
  if (raw.some(byte => byte < 0x20 || byte === 0x7f)) throw fault('has a control character in its name')
  if (name.includes('\\')) throw fault('has a backslash in its name')
  if (name.startsWith('/') || /^[A-Za-z]:/.test(name)) throw fault('has an absolute name')
  const steps = name.replace(/\/$/, '').split('/')
  if (steps.includes('..')) throw fault('leaves the folder that the wheel is unpacked in')
  if (steps.some(step => step === '' || step === '.')) throw fault('has an empty or "." step in its name')

  if ((flags & (FLAG_ENCRYPTED | FLAG_STRONG_ENCRYPTION | FLAG_MASKED_HEADERS)) !== 0) throw fault('is encrypted')
  if ((flags & FLAG_PATCHED_DATA) !== 0) throw fault('holds patched data, which nothing reads')
  const method = entry.compressionMethod
  if (method !== STORED && method !== DEFLATED)
    throw fault(`is compressed by method ${method}; only stored and deflated entries can be read`)
  if ((entry.versionNeededToExtract & 0xff) > NEWEST_VERSION)
    throw fault(`needs version ${(entry.versionNeededToExtract & 0xff) / 10} of the format`)
  if (buffer(central).readUInt16LE(34) !== 0) throw fault('claims to be on another disk')

  const mode = entry.externalFileAttributes >>> 16
  const kind = mode & S_IFMT
  const directory = name.endsWith('/')
  if (kind === S_IFLNK) throw fault('is a symbolic link; wheels must not hold any')
  if (kind !== 0 && kind !== (directory ? S_IFDIR : S_IFREG))
    throw fault('has a file type that does not match its name')
  if (directory && entry.uncompressedSize !== 0) throw fault('is a directory with contents')

  if (!local.fileName.equals(raw)) throw fault(`is called ${quote(decodeBytes(local.fileName))} in its own header`)
  const disagree = (what: string): ZipFault => fault(`has a different ${what} in its own header than in the directory`)
  const compared = FLAG_ENCRYPTED | FLAG_DESCRIPTOR | FLAG_STRONG_ENCRYPTION | FLAG_UTF8 | FLAG_MASKED_HEADERS
  if ((local.generalPurposeBitFlag & compared) !== (flags & compared)) throw disagree('set of flags')
  if (local.compressionMethod !== method) throw disagree('compression method')
  // a header written before the data may leave the three fields at zero (4.4.4, bit 3)
  const unknown = (value: number): boolean => (flags & FLAG_DESCRIPTOR) !== 0 && value === 0
  if (local.crc32 !== entry.crc32 && !unknown(local.crc32)) throw disagree('checksum')
  const [size, compressedSize] = localSizes(local)
  if (size !== entry.uncompressedSize && !unknown(size)) throw disagree('size')
  if (compressedSize !== entry.compressedSize && !unknown(compressedSize)) throw disagree('compressed size')

  return {
    name,
    directory,
    mode: mode & ~S_IFMT,
    flags,
    method,
    crc32: entry.crc32,
    compressedSize: entry.compressedSize,
    size: entry.uncompressedSize,
    headerOffset: entry.relativeOffsetOfLocalHeader,
    dataOffset: local.fileDataStart,
    central,
  }
}

/**
 * Decodes the name as UTF-8 or, without bit 11, in code page 437.
 * @throws ZipFault where two readers would see two names
 */
function decodeName(entry: yauzl.Entry): string {
  const flags = entry.generalPurposeBitFlag
  const plain = yauzl.getFileNameLowLevel(flags, entry.fileNameRaw, [], true)
  const name = yauzl.getFileNameLowLevel(flags, entry.fileNameRaw, entry.extraFields, true)
  if (name !== plain) throw new ZipFault(`the entry ${quote(plain)} is also called ${quote(name)}`)
  if ((flags & FLAG_UTF8) !== 0 && !Buffer.from(name).equals(entry.fileNameRaw))
    throw new ZipFault(`the entry ${quote(name)} has a name that is not UTF-8`)
  return name
}

/** Encodes a new name for an entry: the inverse of `decodeName`. @throws WheelfixError `WHEEL_INVALID` */
export function encodeName({ path }: Archive, { flags }: WheelEntry, name: string): Uint8Array {
  if ((flags & FLAG_UTF8) !== 0) return Buffer.from(name)
  return Uint8Array.from(name, char => {
    const byte = CODE_PAGE_437.get(char)
    if (byte === undefined) throw refusal(path, `an entry cannot be called ${quote(name)} in code page 437`)
    return byte
  })
}

/** All characters that a name in code page 437 may hold. */
const CODE_PAGE_437: ReadonlyMap<string, number> = new Map(
  Array.from({ length: 0x100 - 0x20 }, (_, index) => [
    yauzl.getFileNameLowLevel(0, Buffer.of(0x20 + index), [], true),
    0x20 + index,
  ]),
)

/** Size and compressed size of a local header. They come from its zip64 field, where the header refers to it. */
function localSizes(local: yauzl.LocalFileHeader): [number, number] {
  const { uncompressedSize: size, compressedSize } = local
  if (size !== IN_ZIP64_32 && compressedSize !== IN_ZIP64_32) return [size, compressedSize]
  const field = findExtra(local.extraField, EXTRA_ZIP64)
  // both sizes must be there (4.5.3), even where only one exceeds 32 bits
  if (field === undefined || field.end - field.start < 16) return [size, compressedSize]
  return [readUInt64(local.extraField, field.start), readUInt64(local.extraField, field.start + 8)]
}

/**
 * Checks that every byte before the directory belongs to exactly one entry, and that data descriptors agree with the
 * directory.
 */
function checkLayout(
  source: FileSource,
  entries: readonly Omit<WheelEntry, 'end'>[],
  directoryOffset: number,
): WheelEntry[] {
  const byOffset = entries.toSorted((a, b) => a.headerOffset - b.headerOffset)
  const ends = new Map<Omit<WheelEntry, 'end'>, number>()
  let expected = 0
  for (const [index, entry] of byOffset.entries()) {
    const shown = quote(entry.name)
    if (entry.headerOffset < expected) throw new ZipFault(`the entry ${shown} overlaps another one`)
    if (entry.headerOffset > expected)
      throw new ZipFault(strays(entry.headerOffset - expected, `before the entry ${shown}`))
    const dataEnd = entry.dataOffset + entry.compressedSize
    const next = byOffset[index + 1]?.headerOffset ?? directoryOffset
    if (dataEnd > next)
      throw new ZipFault(`the entry ${shown} overlaps ${next === directoryOffset ? 'the directory' : 'another one'}`)
    expected = dataEnd
    if ((entry.flags & FLAG_DESCRIPTOR) !== 0) expected += descriptorSize(source, entry, next - dataEnd)
    ends.set(entry, expected)
  }
  if (expected !== directoryOffset) throw new ZipFault(strays(directoryOffset - expected, 'before the directory'))
  return entries.map(entry => ({ ...entry, end: ends.get(entry) ?? 0 }))
}

/**
 * The size of the descriptor after an entry's data, with `room` bytes for it (4.3.9). It may have a magic number or
 * not, and numbers of 32 or of 64 bits.
 */
function descriptorSize(source: FileSource, entry: Omit<WheelEntry, 'end'>, room: number): number {
  const bytes = buffer(source.read(entry.dataOffset + entry.compressedSize, Math.min(room, 24)))
  for (const signature of [4, 0]) {
    if (signature === 4 && (bytes.length < 4 || bytes.readUInt32LE(0) !== DATA_DESCRIPTOR)) continue
    for (const width of [4, 8]) {
      const length = signature + 4 + 2 * width
      if (length !== bytes.length) continue
      const wide = width === 8
      const compressedSize = wide ? readUInt64(bytes, signature + 4) : bytes.readUInt32LE(signature + 4)
      const size = wide ? readUInt64(bytes, signature + 12) : bytes.readUInt32LE(signature + 8)
      if (
        bytes.readUInt32LE(signature) === entry.crc32 &&
        compressedSize === entry.compressedSize &&
        size === entry.size
      )
        return length
    }
  }
  throw new ZipFault(`the entry ${quote(entry.name)} is followed by no data descriptor that agrees with the directory`)
}

/** Refuses a name that occurs twice, a file where another entry needs a directory, and too many directories. */
function checkNames(entries: readonly WheelEntry[]): void {
  // in this order everything below a path comes right after it: no name holds a NUL, and no character is smaller
  const keys = entries.map(({ name }) => name.replaceAll('/', '\0')).toSorted((a, b) => (a < b ? -1 : a > b ? 1 : 0))
  const shown = (key: string): string => quote(key.replaceAll('\0', '/'))
  let folders = 0
  let before = ''
  for (const key of keys) {
    if (key === before) throw new ZipFault(`the entry ${shown(key)} appears twice`)
    if (before !== '' && !before.endsWith('\0') && key.startsWith(`${before}\0`))
      throw new ZipFault(`the entry ${shown(before)} is a file and also a directory`)
    let same = 0
    while (same < before.length && before[same] === key[same]) same += 1
    for (let at = same; at < key.length; at += 1) if (key[at] === '\0') folders += 1
    if (folders > MOST_FOLDERS) throw new ZipFault(`it has more than ${MOST_FOLDERS} folders`)
    before = key
  }
}

function checkSizes(entries: readonly WheelEntry[]): void {
  let size = 0
  let compressed = 0
  for (const entry of entries) {
    const shown = quote(entry.name)
    if (entry.method === STORED && entry.size !== entry.compressedSize)
      throw new ZipFault(`the entry ${shown} is stored, but its two sizes differ`)
    if (entry.size > (entry.compressedSize + 1) * DEFLATE_LIMIT)
      throw new ZipFault(
        `the entry ${shown} of ${count(entry.compressedSize, 'byte')} cannot hold the ${count(entry.size, 'byte')} that it claims`,
      )
    size += entry.size
    compressed += entry.compressedSize
  }
  if (size > BOMB_SIZE && size > compressed * BOMB_RATIO)
    throw new ZipFault(`its ${compressed} bytes unpack to ${size}: that is a zip bomb`)
}

/** The sentence about bytes that no entry lists. */
function strays(bytes: number, where: string): string {
  return `${count(bytes, 'byte')} ${where} ${agree(bytes, 'belongs', 'belong')} to no entry`
}

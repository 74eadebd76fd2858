// The records of a zip file that yauzl does not expose: the end of the directory, and the fields that the writer
// changes in the records that it keeps. The layouts come from PKWARE's APPNOTE.TXT 6.3.10, section 4.3. This file
// knows nothing of wheels.
import type { ByteSource } from '../elf/source.ts'
import { agree, count } from '../io/words.ts'

export const DATA_DESCRIPTOR = 0x08074b50
const END = 0x06054b50
const END64 = 0x06064b50
const END64_LOCATOR = 0x07064b50

/** Fixed sizes in bytes, without name, extra field and comment. */
export const LOCAL_HEADER_SIZE = 30
export const CENTRAL_HEADER_SIZE = 46
const END_SIZE = 22
const END64_SIZE = 56
const END64_LOCATOR_SIZE = 20

/** General purpose bit flags (4.4.4). */
export const FLAG_ENCRYPTED = 1 << 0
export const FLAG_DESCRIPTOR = 1 << 3
export const FLAG_PATCHED_DATA = 1 << 5
export const FLAG_STRONG_ENCRYPTION = 1 << 6
export const FLAG_UTF8 = 1 << 11
export const FLAG_MASKED_HEADERS = 1 << 13

/** The value of 16 and 32 bit fields when a zip64 record holds the true number. */
const IN_ZIP64_16 = 0xffff
export const IN_ZIP64_32 = 0xffffffff
export const EXTRA_ZIP64 = 0x0001

export const LONGEST_COMMENT = 0xffff

/** The version that a reader needs for zip64 (4.4.3.2). */
const VERSION_ZIP64 = 45

/** Where the directory is, and the records that close the file. Offsets are from the file's first byte. */
export interface Ending {
  readonly directoryOffset: number
  readonly directorySize: number
  readonly entryCount: number
  /** The end record is a zip64 one with a locator. */
  readonly zip64: boolean
  /** The unchanged bytes after the directory: the end records and the archive's comment. */
  readonly records: Uint8Array
  /** Offset of the end record in `records`; the zip64 records are before it. */
  readonly endRecord: number
}

/** A fault in an archive's structure; read.ts adds the path. */
export class ZipFault extends Error {}

/**
 * Finds the end record. Refuses a file whose readers could disagree on which record it is.
 * @throws ZipFault
 */
export function readEnding(source: ByteSource): Ending {
  const start = Math.max(0, source.size - END_SIZE - LONGEST_COMMENT)
  const tail = buffer(source.read(start, source.size - start))
  let at = tail.length - END_SIZE
  while (at >= 0 && tail.readUInt32LE(at) !== END) at -= 1
  if (at < 0) throw new ZipFault('it has no end record: it is not a zip file, or it is cut off (download it again)')
  const commentLength = tail.length - at - END_SIZE
  if (tail.readUInt16LE(at + 20) !== commentLength) {
    throw new ZipFault(
      `${count(commentLength, 'byte')} ${agree(commentLength, 'follows', 'follow')} the end record, which announces a ` +
        `comment of ${tail.readUInt16LE(at + 20)}`,
    )
  }
  const endOffset = start + at
  const thisDisk = tail.readUInt16LE(at + 4)
  const directoryDisk = tail.readUInt16LE(at + 6)
  const here = tail.readUInt16LE(at + 8)
  let entryCount = tail.readUInt16LE(at + 10)
  let directorySize = tail.readUInt32LE(at + 12)
  let directoryOffset = tail.readUInt32LE(at + 16)
  if ((thisDisk !== 0 && thisDisk !== IN_ZIP64_16) || (directoryDisk !== 0 && directoryDisk !== IN_ZIP64_16))
    throw new ZipFault('it is one part of an archive that was split')
  if (here !== entryCount) throw new ZipFault('its end record holds two different numbers of entries')

  let directoryEnd = endOffset
  let zip64 = false
  const locatorOffset = endOffset - END64_LOCATOR_SIZE
  const locator = locatorOffset < 0 ? undefined : buffer(source.read(locatorOffset, END64_LOCATOR_SIZE))
  if (locator?.readUInt32LE(0) === END64_LOCATOR) {
    zip64 = true
    if (locator.readUInt32LE(4) !== 0 || locator.readUInt32LE(16) > 1)
      throw new ZipFault('it is one part of an archive that was split')
    directoryEnd = readUInt64(locator, 8)
    if (directoryEnd + END64_SIZE > locatorOffset) throw new ZipFault('its zip64 end record lies outside the file')
    const end = buffer(source.read(directoryEnd, END64_SIZE))
    if (end.readUInt32LE(0) !== END64) throw new ZipFault('its zip64 locator does not lead to the zip64 end record')
    if (directoryEnd + 12 + readUInt64(end, 4) !== locatorOffset)
      throw new ZipFault('its zip64 end record is not followed by the locator')
    if (end.readUInt32LE(16) !== 0 || end.readUInt32LE(20) !== 0)
      throw new ZipFault('it is one part of an archive that was split')
    const narrow = { entryCount, directorySize, directoryOffset }
    if (readUInt64(end, 24) !== readUInt64(end, 32))
      throw new ZipFault('its end record holds two different numbers of entries')
    entryCount = readUInt64(end, 32)
    directorySize = readUInt64(end, 40)
    directoryOffset = readUInt64(end, 48)
    if (
      (narrow.entryCount !== IN_ZIP64_16 && narrow.entryCount !== entryCount) ||
      (narrow.directorySize !== IN_ZIP64_32 && narrow.directorySize !== directorySize) ||
      (narrow.directoryOffset !== IN_ZIP64_32 && narrow.directoryOffset !== directoryOffset)
    )
      throw new ZipFault('its two end records disagree')
  }
  const surplus = directoryEnd - directoryOffset - directorySize
  if (surplus > 0)
    throw new ZipFault(
      `${count(surplus, 'byte')} that ${agree(surplus, 'belongs', 'belong')} to no entry ${agree(surplus, 'comes', 'come')} before the archive`,
    )
  if (surplus < 0) throw new ZipFault('its directory reaches beyond its end record')
  const records = source.read(directoryEnd, source.size - directoryEnd)
  return { directoryOffset, directorySize, entryCount, zip64, records, endRecord: endOffset - directoryEnd }
}

/** Where the new directory is. */
type NewEnding = Pick<Ending, 'directoryOffset' | 'directorySize' | 'entryCount'>

/** The archive's comment. */
export function commentOf({ records, endRecord }: Ending): Uint8Array {
  return records.subarray(endRecord + END_SIZE)
}

/**
 * The records after the directory with new numbers; all else is unchanged. Adds zip64 records where they become
 * necessary.
 * @param comment the new comment of the archive, at most `LONGEST_COMMENT` bytes
 */
export function patchEnding(ending: Ending, now: NewEnding, comment = commentOf(ending)): Buffer {
  const { directoryOffset, directorySize, entryCount } = now
  const record = ending.records.subarray(ending.endRecord, ending.endRecord + END_SIZE)
  const end = Buffer.concat([record, comment])
  end.writeUInt16LE(comment.length, 20)
  const { zip64 } = ending
  const count = zip64 && end.readUInt16LE(10) === IN_ZIP64_16 ? IN_ZIP64_16 : Math.min(entryCount, IN_ZIP64_16)
  end.writeUInt16LE(count, 8)
  end.writeUInt16LE(count, 10)
  for (const [offset, value] of [
    [12, directorySize],
    [16, directoryOffset],
  ] as const) {
    const stays = zip64 && end.readUInt32LE(offset) === IN_ZIP64_32
    end.writeUInt32LE(stays ? IN_ZIP64_32 : Math.min(value, IN_ZIP64_32), offset)
  }
  const wide = directoryOffset >= IN_ZIP64_32 || directorySize >= IN_ZIP64_32 || entryCount >= IN_ZIP64_16
  if (!zip64 && !wide) return end
  const end64 = zip64 ? Buffer.from(ending.records.subarray(0, ending.endRecord)) : newEnd64()
  writeUInt64(end64, entryCount, 24)
  writeUInt64(end64, entryCount, 32)
  writeUInt64(end64, directorySize, 40)
  writeUInt64(end64, directoryOffset, 48)
  writeUInt64(end64, directoryOffset + directorySize, end64.length - END64_LOCATOR_SIZE + 8)
  return Buffer.concat([end64, end])
}

/** A zip64 end record and its locator, with no numbers filled in. */
function newEnd64(): Buffer {
  const records = Buffer.alloc(END64_SIZE + END64_LOCATOR_SIZE)
  records.writeUInt32LE(END64, 0)
  writeUInt64(records, END64_SIZE - 12, 4)
  records.writeUInt16LE((3 << 8) | VERSION_ZIP64, 12)
  records.writeUInt16LE(VERSION_ZIP64, 14)
  records.writeUInt32LE(END64_LOCATOR, END64_SIZE)
  records.writeUInt32LE(1, END64_SIZE + 16)
  return records
}

/** The numbers of an entry's data. */
interface ContentSums {
  readonly crc32: number
  readonly compressedSize: number
  readonly size: number
}

/** The changes of an entry's numbers. A field that is left out changes nothing. */
export interface HeaderPatch {
  readonly name?: Uint8Array
  /** Offset of the local header, from the file's first byte. */
  readonly offset?: number
  /** The numbers of the new data. */
  readonly content?: ContentSums
  /**
   * With `content`: a descriptor after the data holds the numbers, as before (bit 3). Otherwise the headers hold them.
   */
  readonly streamed?: boolean
}

/**
 * A record of the central directory with new numbers; all else is unchanged. A number in the zip64 extra field stays
 * there, and a number that has grown past 32 bits moves there.
 */
export function patchCentral(record: Uint8Array, patch: HeaderPatch): Buffer {
  const old = buffer(record)
  const [nameLength, extraLength] = [old.readUInt16LE(28), old.readUInt16LE(30)]
  const extra = old.subarray(CENTRAL_HEADER_SIZE + nameLength, CENTRAL_HEADER_SIZE + nameLength + extraLength)
  const fixed = Buffer.from(old.subarray(0, CENTRAL_HEADER_SIZE))
  const zip64 = findExtra(extra, EXTRA_ZIP64)
  const wide: bigint[] = []
  let grown = false
  let at = zip64?.start ?? 0
  const field = (offset: number, value: number | undefined): void => {
    const stood = fixed.readUInt32LE(offset) === IN_ZIP64_32 && zip64 !== undefined
    const before = stood ? readUInt64(extra, at) : fixed.readUInt32LE(offset)
    if (stood) at += 8
    const now = value ?? before
    grown ||= !stood && now >= IN_ZIP64_32
    if (stood || now >= IN_ZIP64_32) {
      wide.push(BigInt(now))
      fixed.writeUInt32LE(IN_ZIP64_32, offset)
    } else fixed.writeUInt32LE(now, offset)
  }
  field(24, patch.content?.size)
  field(20, patch.content?.compressedSize)
  field(42, patch.offset)
  if (patch.content !== undefined) {
    fixed.writeUInt32LE(patch.content.crc32, 16)
    if (patch.streamed !== true) fixed.writeUInt16LE(fixed.readUInt16LE(8) & ~FLAG_DESCRIPTOR, 8)
  }
  // the three fields may be followed by a disk number, which is kept
  const rest = zip64 === undefined ? Buffer.alloc(0) : extra.subarray(at, zip64.end)
  const newExtra = replaceExtra(extra, zip64, wide, rest)
  if (grown) fixed.writeUInt16LE(Math.max(fixed.readUInt16LE(6), VERSION_ZIP64), 6)
  const name = patch.name ?? old.subarray(CENTRAL_HEADER_SIZE, CENTRAL_HEADER_SIZE + nameLength)
  fixed.writeUInt16LE(name.length, 28)
  fixed.writeUInt16LE(newExtra.length, 30)
  return Buffer.concat([fixed, name, newExtra, old.subarray(CENTRAL_HEADER_SIZE + nameLength + extraLength)])
}

/**
 * A local header with new numbers; all else is unchanged. `zip64` asks for room for 64 bit sizes (existing room is
 * always kept). The length depends only on `patch.name` and `zip64`, so the header can be written before the sizes are
 * known.
 */
export function patchLocal(record: Uint8Array, patch: HeaderPatch, zip64: boolean): Buffer {
  const old = buffer(record)
  const [nameLength, extraLength] = [old.readUInt16LE(26), old.readUInt16LE(28)]
  const extra = old.subarray(LOCAL_HEADER_SIZE + nameLength, LOCAL_HEADER_SIZE + nameLength + extraLength)
  const fixed = Buffer.from(old.subarray(0, LOCAL_HEADER_SIZE))
  let newExtra = extra
  if (patch.content !== undefined) {
    const { crc32, compressedSize, size } = patch.content
    const found = findExtra(extra, EXTRA_ZIP64)
    const isWhole = found !== undefined && found.end - found.start >= 16
    // a header written before the data has zeros here, and they stay
    const now = (before: number, value: number): number => (patch.streamed === true && before === 0 ? 0 : value)
    const before = isWhole
      ? [readUInt64(extra, found.start), readUInt64(extra, found.start + 8)]
      : [old.readUInt32LE(22), old.readUInt32LE(18)]
    const [newSize, newCompressed] = [now(before[0] ?? 0, size), now(before[1] ?? 0, compressedSize)]
    if (zip64 || isWhole) {
      const rest = isWhole ? extra.subarray(found.start + 16, found.end) : Buffer.alloc(0)
      newExtra = replaceExtra(extra, found, [BigInt(newSize), BigInt(newCompressed)], rest)
      if (!isWhole) fixed.writeUInt16LE(Math.max(fixed.readUInt16LE(4), VERSION_ZIP64), 4)
    }
    if (patch.streamed !== true) fixed.writeUInt16LE(fixed.readUInt16LE(6) & ~FLAG_DESCRIPTOR, 6)
    fixed.writeUInt32LE(now(old.readUInt32LE(14), crc32), 14)
    // Python before 3.11.4 wrote the sizes in both places when zip64 fields were requested but not needed
    const twice = !zip64 && old.readUInt32LE(18) !== IN_ZIP64_32 && old.readUInt32LE(22) !== IN_ZIP64_32
    const elsewhere = (zip64 || isWhole) && !twice
    fixed.writeUInt32LE(elsewhere ? IN_ZIP64_32 : now(old.readUInt32LE(18), newCompressed), 18)
    fixed.writeUInt32LE(elsewhere ? IN_ZIP64_32 : now(old.readUInt32LE(22), newSize), 22)
  }
  const name = patch.name ?? old.subarray(LOCAL_HEADER_SIZE, LOCAL_HEADER_SIZE + nameLength)
  fixed.writeUInt16LE(name.length, 26)
  fixed.writeUInt16LE(newExtra.length, 28)
  return Buffer.concat([fixed, name, newExtra])
}

/**
 * Can a descriptor follow the new data, as it followed the old data?
 * @param local the local header
 * @param descriptor the old descriptor; empty where there is none
 * @param zip64 as for `patchLocal`
 */
export function staysStreamed(local: Uint8Array, descriptor: Uint8Array, zip64: boolean): boolean {
  // a descriptor of 32 bits, used without a zip64 field, cannot hold the numbers
  return descriptor.length > 0 && (!zip64 || (isWide(descriptor) && hasZip64(local)))
}

function isWide(descriptor: Uint8Array): boolean {
  return descriptor.length >= 20
}

function hasZip64(local: Uint8Array): boolean {
  const bytes = buffer(local)
  const start = LOCAL_HEADER_SIZE + bytes.readUInt16LE(26)
  const found = findExtra(bytes.subarray(start, start + bytes.readUInt16LE(28)), EXTRA_ZIP64)
  return found !== undefined && found.end - found.start >= 16
}

/** A data descriptor with new numbers in the same form: with or without its signature, of 32 or of 64 bits (4.3.9). */
export function patchDescriptor(descriptor: Uint8Array, { crc32, compressedSize, size }: ContentSums): Buffer {
  const bytes = Buffer.from(descriptor)
  const wide = isWide(bytes)
  const at = bytes.length - (wide ? 20 : 12)
  bytes.writeUInt32LE(crc32, at)
  if (wide) {
    writeUInt64(bytes, compressedSize, at + 4)
    writeUInt64(bytes, size, at + 12)
  } else {
    bytes.writeUInt32LE(compressedSize, at + 4)
    bytes.writeUInt32LE(size, at + 8)
  }
  return bytes
}

/** Are these bytes exactly one record of the central directory? */
export function isWholeRecord(bytes: Uint8Array): boolean {
  const record = buffer(bytes)
  if (record.length < CENTRAL_HEADER_SIZE) return false
  const rest = record.readUInt16LE(28) + record.readUInt16LE(30) + record.readUInt16LE(32)
  return record.length === CENTRAL_HEADER_SIZE + rest
}

/** The range of a field's data in a block of extra fields, from the block's first byte. */
export function findExtra(extra: Buffer, id: number): { readonly start: number; readonly end: number } | undefined {
  let at = 0
  while (at + 4 <= extra.length) {
    const end = at + 4 + extra.readUInt16LE(at + 2)
    if (end > extra.length) return undefined
    if (extra.readUInt16LE(at) === id) return { start: at + 4, end }
    at = end
  }
  return undefined
}

/** The block with `values` (and then `rest`) as its zip64 field: in place of the old field, else in front. */
function replaceExtra(
  extra: Buffer,
  found: { readonly start: number; readonly end: number } | undefined,
  values: readonly bigint[],
  rest: Uint8Array,
): Buffer {
  const length = 8 * values.length + rest.length
  const field = Buffer.alloc(length === 0 ? 0 : 4 + length)
  if (length > 0) {
    field.writeUInt16LE(EXTRA_ZIP64, 0)
    field.writeUInt16LE(length, 2)
    for (const [index, value] of values.entries()) field.writeBigUInt64LE(value, 4 + 8 * index)
    field.set(rest, 4 + 8 * values.length)
  }
  if (found === undefined) return Buffer.concat([field, extra])
  return Buffer.concat([extra.subarray(0, found.start - 4), field, extra.subarray(found.end)])
}

/** Reads a 64 bit number. @throws ZipFault past 2^53 */
export function readUInt64(bytes: Buffer, offset: number): number {
  const value = bytes.readBigUInt64LE(offset)
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw new ZipFault(`it holds a size of ${value} bytes`)
  return Number(value)
}

function writeUInt64(bytes: Buffer, value: number, offset: number): void {
  bytes.writeBigUInt64LE(BigInt(value), offset)
}

/** Views the same bytes as a Buffer. */
export function buffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
}

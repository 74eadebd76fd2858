// The undo record that every graft carries: an ELF note at the head of the graft, and how to read it back. It holds only
// while nothing else has changed the file: a checksum covers the header, the graft and the ranges changed in place.
//
// The note (owner `wheelfix`, type 1) has this descriptor, little endian on every machine:
//    0  SHA-256 of: the present header · the file from the note to its end, without these 32 bytes and without the
//       strings that were copied by reference · the present bytes of each range changed in place
//   32  original size, 40 size with the graft, 48 offset and 56 length of the copied strings (64 bits each)
//   64  length of the original header, 68 number of ranges, 72 length of the record or 2^32 - 1, 76 zero (32 bits each)
//   80  original header; each range as offset (64), length (32) and original bytes, inverted; record
// Inverted, as Nix takes a file for a user of every store path that its bytes name, and it was to be none.
import { createHash } from 'node:crypto'
import { PT_LOAD } from '../constants.ts'
import { ElfError } from '../error.ts'
import { type Headers, readHeaders } from '../headers.ts'
import { type Format, formatOf, getNumber, put } from '../layout.ts'
import type { ByteSource } from '../source.ts'
import { decodeBytes, encodeText } from '../text.ts'
import type { ElfHeader, ProgramHeader } from '../types.ts'
import { type Patch, patchedSource } from '../overlay.ts'

/** How to take a graft off again. */
export interface Undo {
  /** Size in bytes of the file without the graft. */
  readonly originalSize: number
  /** The ELF header without the graft. */
  readonly header: Uint8Array
  /** What stood where the graft changed the file in place. */
  readonly patches: readonly Patch[]
  /** What the caller of `makeGraft` asked to be kept. */
  readonly record: string | null
}

const OWNER = Buffer.from('wheelfix\0\0\0\0')
const OWNER_LENGTH = 9
const VERSION = 1
const CHECKSUM_LENGTH = 32
const FIXED = 80
const NO_RECORD = 0xffffffff
/** The graft, its note included, starts at a multiple of this. */
export const GRAFT_ALIGNMENT = 16
/** A note is some hundred bytes, or some thousand with many ranges. */
const LONGEST_NOTE = 1 << 20
const CHUNK = 1 << 20

/** File offset, from the note's start, of the checksum. */
const checksumAt = (format: Format): number => format.nhdr.bytes + OWNER.length

/** The bytes that a note with this content takes, its alignment included. */
export function noteLength(format: Format, undo: Undo): number {
  const patches = undo.patches.reduce((sum, { bytes }) => sum + 12 + bytes.length, 0)
  const record = undo.record === null ? 0 : encodeText(undo.record).length
  const length = checksumAt(format) + FIXED + undo.header.length + patches + record
  return Math.ceil(length / GRAFT_ALIGNMENT) * GRAFT_ALIGNMENT
}

/** The stretch of copied strings that the checksum leaves out; length 0 for none. */
export interface Copied {
  readonly offset: number
  readonly length: number
}

const inverted = (bytes: Uint8Array): Uint8Array => bytes.map(byte => ~byte)

/** The note, its checksum still zero. */
export function encodeNote(format: Format, undo: Undo, size: number, copied: Copied): Buffer {
  const note = Buffer.alloc(noteLength(format, undo))
  put(format, note, 0, format.nhdr.namesz, OWNER_LENGTH)
  put(format, note, 0, format.nhdr.descsz, note.length - checksumAt(format))
  put(format, note, 0, format.nhdr.type, VERSION)
  OWNER.copy(note, format.nhdr.bytes)
  const desc = note.subarray(checksumAt(format))
  const record = undo.record === null ? null : encodeText(undo.record)
  desc.writeBigUInt64LE(BigInt(undo.originalSize), 32)
  desc.writeBigUInt64LE(BigInt(size), 40)
  desc.writeBigUInt64LE(BigInt(copied.offset), 48)
  desc.writeBigUInt64LE(BigInt(copied.length), 56)
  desc.writeUInt32LE(undo.header.length, 64)
  desc.writeUInt32LE(undo.patches.length, 68)
  desc.writeUInt32LE(record?.length ?? NO_RECORD, 72)
  let at = FIXED
  desc.set(undo.header, at)
  at += undo.header.length
  for (const { offset, bytes } of undo.patches) {
    desc.writeBigUInt64LE(BigInt(offset), at)
    desc.writeUInt32LE(bytes.length, at + 8)
    desc.set(inverted(bytes), at + 12)
    at += 12 + bytes.length
  }
  if (record !== null) desc.set(record, at)
  return note
}

/**
 * Puts the checksum into a note.
 * @param header the header that the file is to have
 * @param rest what follows the note up to the end of the file, without the copied strings
 * @param changed the bytes that the ranges changed in place are to have
 */
export function sealNote(
  format: Format,
  note: Buffer,
  header: Uint8Array,
  rest: readonly Uint8Array[],
  changed: readonly Uint8Array[],
): void {
  const at = checksumAt(format)
  const hash = createHash('sha256')
    .update(header)
    .update(note.subarray(0, at))
    .update(note.subarray(at + CHECKSUM_LENGTH))
  for (const bytes of [...rest, ...changed]) hash.update(bytes)
  hash.digest().copy(note, at)
}

/**
 * The undo record of an edited file; null where there is none, or none that still fits the file.
 * @param headers the file's, where they have been read already
 * @throws ElfError `REFUSED` for a record of a later version, errors of the source
 */
export function readUndo(source: ByteSource, headers?: Headers): Undo | null {
  try {
    return decode(source, headers ?? readHeaders(source))
  } catch (error) {
    if (error instanceof ElfError && error.code !== 'REFUSED') return null
    throw error
  }
}

function decode(source: ByteSource, { header, programHeaders }: Headers): Undo | null {
  // the PT_LOAD that comes last in the file
  const load = programHeaders
    .filter(({ type }) => type === PT_LOAD)
    .reduce<ProgramHeader | null>((last, next) => (last !== null && last.offset > next.offset ? last : next), null)
  // the program headers are behind the note: true of hardly any other file, so that these cost nothing more
  if (load === null || load.offset === 0 || header.phoff <= load.offset) return null
  const format = formatOf(header)
  const start = noteOffset(source, header, load)
  if (start === null) return null
  const at = checksumAt(format)
  const head = source.read(start, at)
  const length = at + getNumber(format, head, 0, format.nhdr.descsz)
  if (getNumber(format, head, 0, format.nhdr.namesz) !== OWNER_LENGTH || length > LONGEST_NOTE) return null
  const version = getNumber(format, head, 0, format.nhdr.type)
  if (version !== VERSION) {
    throw new ElfError(
      'REFUSED',
      `the file holds an undo record of version ${version}, made by another wheelfix`,
      start,
    )
  }
  const note = Buffer.from(source.read(start, length))
  const desc = note.subarray(at)
  const number = (offset: number): number => Number(desc.readBigUInt64LE(offset))
  if (number(40) !== source.size || number(32) > start) return null

  const undo = decodeUndo(desc, number(32))
  if (undo === null) return null
  const copied: Copied = { offset: number(48), length: number(56) }
  const hash = createHash('sha256').update(source.read(0, format.ehdr.bytes))
  hash.update(note.subarray(0, at)).update(note.subarray(at + CHECKSUM_LENGTH))
  const update = (from: number, to: number): void => {
    for (let offset = from; offset < to; offset += CHUNK) {
      hash.update(source.read(offset, Math.min(CHUNK, to - offset)))
    }
  }
  if (copied.length === 0) update(start + length, source.size)
  else {
    if (copied.offset < start + length) return null
    update(start + length, copied.offset)
    update(copied.offset + copied.length, source.size)
  }
  for (const { offset, bytes } of undo.patches) hash.update(source.read(offset, bytes.length))
  return hash.digest().equals(desc.subarray(0, CHECKSUM_LENGTH)) ? undo : null
}

/** Where a PT_LOAD has a note of ours: at its start, or behind the gap for strip's program headers; null for nowhere. */
function noteOffset(source: ByteSource, header: ElfHeader, { offset }: ProgramHeader): number | null {
  const format = formatOf(header)
  const at = checksumAt(format)
  const behind = Math.ceil((offset + header.phnum * format.phdr.bytes) / GRAFT_ALIGNMENT) * GRAFT_ALIGNMENT
  const isOurs = (start: number): boolean =>
    source.size - start >= at + FIXED && OWNER.equals(source.read(start, at).subarray(format.nhdr.bytes))
  return isOurs(offset) ? offset : isOurs(behind) ? behind : null
}

function decodeUndo(desc: Buffer, originalSize: number): Undo | null {
  let at = FIXED
  const take = (length: number): Buffer | null => {
    if (length > desc.length - at) return null
    at += length
    return desc.subarray(at - length, at)
  }
  const header = take(desc.readUInt32LE(64))
  if (header === null) return null
  const patches: Patch[] = []
  for (let count = desc.readUInt32LE(68); count > 0; count--) {
    const range = take(12)
    const bytes = range === null ? null : take(range.readUInt32LE(8))
    if (range === null || bytes === null) return null
    patches.push({ offset: Number(range.readBigUInt64LE(0)), bytes: inverted(bytes) })
  }
  const length = desc.readUInt32LE(72)
  if (length === NO_RECORD) return { originalSize, header, patches, record: null }
  const record = take(length)
  return record === null ? null : { originalSize, header, patches, record: decodeBytes(record) }
}

/** The file as it was before the graft, as a view of the file as it is. */
export function originalSource(source: ByteSource, undo: Undo): ByteSource {
  return patchedSource(source, undo.originalSize, [{ offset: 0, bytes: undo.header }, ...undo.patches])
}

/** Does the file carry a note of ours, whether it still holds or not? */
export function carriesNote(source: ByteSource): boolean {
  const { header, programHeaders } = readHeaders(source)
  return programHeaders.some(
    load => load.type === PT_LOAD && load.offset > 0 && noteOffset(source, header, load) !== null,
  )
}

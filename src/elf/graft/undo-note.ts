// The undo record that every graft carries: an ELF note at the start of the graft, and how to read it back. The record
// is valid only while nothing else has changed the file. A checksum over the header, all appended bytes and the ranges
// changed in place proves this.
//
// The note (owner `wheelfix`, type 2) has this descriptor, little endian on every machine:
//    0  SHA-256 of: the present header · the file from the original size to its end, without these 32 bytes · the present
//       bytes of each range changed in place
//   32  original size, 40 size with the graft (64 bits each), 48 owner of the change (16 bytes of ASCII, ended by zeros)
//   64  length of the original header, 68 number of ranges, 72 length of the record or 2^32 - 1, 76 zero (32 bits each)
//   80  original header; each range as offset (64), length (32) and original bytes, inverted; record
// The original bytes are inverted because Nix keeps every store path that the bytes of a file name.
//
// Earlier versions wrote type 1, which does not name the owner: 48 offset and 56 length (64 bits each) of the strings
// that were copied by reference. Its checksum excludes these strings, and the bytes between the original size and the
// note.
import { createHash } from 'node:crypto'
import { PT_LOAD } from '../constants.ts'
import { ElfError } from '../error.ts'
import { type Headers, readHeaders } from '../headers.ts'
import { type Format, formatOf, getNumber, put } from '../layout.ts'
import type { ByteSource } from '../source.ts'
import { decodeBytes, encodeText } from '../text.ts'
import type { ElfHeader, ProgramHeader } from '../types.ts'
import { type Patch, patchedSource } from '../overlay.ts'

/**
 * The owner of a graft: `wheelfix venv`, `wheelfix wheel`, `wheelfix elf`, a venv's copy of its Python for the private
 * loader, or an installed Python with a private loader (`wheelfix python`). Each owner takes back only its own changes.
 */
const OWNERS = ['venv', 'wheel', 'elf', 'python', 'standalone'] as const
export type Owner = (typeof OWNERS)[number]

/** How to take a graft off. */
export interface Undo {
  /** null: an earlier version wrote the note. The record, or the RECORD that lists the file, may tell. */
  readonly owner: Owner | null
  /** Size in bytes of the file without the graft. */
  readonly originalSize: number
  /** The ELF header without the graft. */
  readonly header: Uint8Array
  /** The original bytes of the ranges that the graft changed in place. */
  readonly patches: readonly Patch[]
  /** What the caller of `makeGraft` asked to keep. */
  readonly record: string | null
}

const OWNER = Buffer.from('wheelfix\0\0\0\0')
const OWNER_LENGTH = 9
const VERSION = 2
const CHECKSUM_LENGTH = 32
const FIXED = 80
const OWNER_AT = 48
const OWNER_SIZE = 16
const NO_RECORD = 0xffffffff
/** The graft, including its note, starts at a multiple of this. */
export const GRAFT_ALIGNMENT = 16
/** A note is some hundred bytes, or some thousand with many ranges. */
const LONGEST_NOTE = 1 << 20
const CHUNK = 1 << 20

/** Offset of the checksum from the note's start. */
const checksumAt = (format: Format): number => format.nhdr.bytes + OWNER.length

/** The size in bytes of a note with this content, including its alignment. */
export function noteLength(format: Format, undo: Undo): number {
  const patches = undo.patches.reduce((sum, { bytes }) => sum + 12 + bytes.length, 0)
  const record = undo.record === null ? 0 : encodeText(undo.record).length
  const length = checksumAt(format) + FIXED + undo.header.length + patches + record
  return Math.ceil(length / GRAFT_ALIGNMENT) * GRAFT_ALIGNMENT
}

const inverted = (bytes: Uint8Array): Uint8Array => bytes.map(byte => ~byte)

/** The note with a checksum of zeros. */
export function encodeNote(format: Format, undo: Undo & { readonly owner: Owner }, size: number): Buffer {
  const note = Buffer.alloc(noteLength(format, undo))
  put(format, note, 0, format.nhdr.namesz, OWNER_LENGTH)
  put(format, note, 0, format.nhdr.descsz, note.length - checksumAt(format))
  put(format, note, 0, format.nhdr.type, VERSION)
  OWNER.copy(note, format.nhdr.bytes)
  const desc = note.subarray(checksumAt(format))
  const record = undo.record === null ? null : encodeText(undo.record)
  desc.writeBigUInt64LE(BigInt(undo.originalSize), 32)
  desc.writeBigUInt64LE(BigInt(size), 40)
  desc.write(undo.owner, OWNER_AT, OWNER_SIZE, 'latin1')
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
 * Writes the checksum into a note.
 * @param result the edited file, including this note
 */
export function sealNote(format: Format, note: Buffer, undo: Undo, result: ByteSource, start: number): void {
  checksumOf(format, result, { start, length: note.length, undo, version: VERSION }).copy(note, checksumAt(format))
}

/** A note in a file, valid or not. */
interface PlacedNote {
  /** File offset. */
  readonly start: number
  readonly length: number
  readonly undo: Undo
  readonly version: number
}

function checksumOf(format: Format, source: ByteSource, { start, length, undo, version }: PlacedNote): Buffer {
  const hash = createHash('sha256')
  const update = (from: number, to: number): void => {
    for (let offset = from; offset < to; offset += CHUNK) {
      hash.update(source.read(offset, Math.min(CHUNK, to - offset)))
    }
  }
  const at = start + checksumAt(format)
  update(0, format.ehdr.bytes)
  update(version === 1 ? start : undo.originalSize, at)
  if (version === 1) {
    const copied = source.read(at + OWNER_AT, 16)
    const view = new DataView(copied.buffer, copied.byteOffset, copied.length)
    const from = Number(view.getBigUint64(0, true))
    const to = from + Number(view.getBigUint64(8, true))
    const end = Math.max(from, start + length)
    update(at + CHECKSUM_LENGTH, to === from ? source.size : end)
    if (to !== from) update(Math.max(to, end), source.size)
  } else update(at + CHECKSUM_LENGTH, source.size)
  for (const { offset, bytes } of undo.patches) update(offset, offset + bytes.length)
  return hash.digest()
}

/**
 * The undo record of an edited file; null where there is none, or none that is still valid.
 * @param headers the headers of the file, where the caller has read them already
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
  // in hardly any other file are the program headers behind this point, so other files cost no further read
  if (load === null || load.offset === 0 || header.phoff <= load.offset) return null
  const start = noteOffset(source, header, load)
  const note = start === null ? null : readNote(source, header, start)
  if (note === null || note.size !== source.size || note.undo.originalSize > note.start) return null
  return checksumOf(formatOf(header), source, note).equals(note.checksum) ? note.undo : null
}

/**
 * The note at a file offset; null where it is cut off.
 * @throws ElfError `REFUSED` for a note of a later version
 */
function readNote(
  source: ByteSource,
  header: ElfHeader,
  start: number,
): (PlacedNote & { readonly size: number; readonly checksum: Buffer }) | null {
  const format = formatOf(header)
  const at = checksumAt(format)
  const head = source.read(start, at)
  const length = at + getNumber(format, head, 0, format.nhdr.descsz)
  if (getNumber(format, head, 0, format.nhdr.namesz) !== OWNER_LENGTH || length > LONGEST_NOTE) return null
  const version = getNumber(format, head, 0, format.nhdr.type)
  if (version < 1 || version > VERSION) throw newer(`version ${version}`, start)
  const desc = Buffer.from(source.read(start + at, length - at))
  const undo = decodeUndo(desc, version === 1 ? null : ownerIn(desc, start))
  if (undo === null) return null
  const size = Number(desc.readBigUInt64LE(40))
  return { start, length, version, undo, size, checksum: desc.subarray(0, CHECKSUM_LENGTH) }
}

function ownerIn(desc: Buffer, start: number): Owner {
  const name = desc.toString('latin1', OWNER_AT, OWNER_AT + OWNER_SIZE).replace(/\0+$/, '')
  const owner = OWNERS.find(known => known === name)
  if (owner === undefined) throw newer(`the owner ${JSON.stringify(name)}`, start)
  return owner
}

function newer(what: string, start: number): ElfError {
  return new ElfError('REFUSED', `a newer wheelfix changed it (its undo note has ${what}): use that version`, start)
}

/**
 * Where a PT_LOAD has a note of wheelfix: at its start, or behind the gap for strip's program headers; null without
 * one.
 */
function noteOffset(source: ByteSource, header: ElfHeader, { offset }: ProgramHeader): number | null {
  const format = formatOf(header)
  const at = checksumAt(format)
  const behind = Math.ceil((offset + header.phnum * format.phdr.bytes) / GRAFT_ALIGNMENT) * GRAFT_ALIGNMENT
  const isOurs = (start: number): boolean =>
    source.size - start >= at + FIXED && OWNER.equals(source.read(start, at).subarray(format.nhdr.bytes))
  return isOurs(offset) ? offset : isOurs(behind) ? behind : null
}

function decodeUndo(desc: Buffer, owner: Owner | null): Undo | null {
  const originalSize = Number(desc.readBigUInt64LE(32))
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
  if (length === NO_RECORD) return { owner, originalSize, header, patches, record: null }
  const record = take(length)
  return record === null ? null : { owner, originalSize, header, patches, record: decodeBytes(record) }
}

/** The file before the graft, as a view of the current file. */
export function originalSource(source: ByteSource, undo: Undo): ByteSource {
  return patchedSource(source, undo.originalSize, [{ offset: 0, bytes: undo.header }, ...undo.patches])
}

/** The readable notes of wheelfix in a file, valid or not. */
export function notesIn(source: ByteSource): Undo[] {
  const { header, programHeaders } = readHeaders(source)
  return programHeaders.flatMap(load => {
    const start = load.type === PT_LOAD && load.offset > 0 ? noteOffset(source, header, load) : null
    return (start === null ? null : readNote(source, header, start)?.undo) ?? []
  })
}

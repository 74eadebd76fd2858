// The undo record that every graft carries: an ELF note at the start of the graft, and how to read it back. The record
// is valid only while nothing else has changed the file. A checksum over the header, all appended bytes and the ranges
// changed in place proves this.
//
// The note (owner `wheelfix`, type 2) has a descriptor that is little endian on every machine: the record DESC, the original
// header, each range as the record RANGE and its original bytes, the text that the caller keeps. The original bytes are
// inverted, because Nix keeps every store path that the bytes of a file name.
//
// Earlier versions wrote type 1, which does not name the owner (the record DESC_1).
import { createHash } from 'node:crypto'
import { PT_LOAD } from '../constants.ts'
import { ElfError } from '../error.ts'
import { type Headers, readHeaders } from '../headers.ts'
import { bytesOf, decode, type Decoded, encode, type Format, formatOf, LITTLE, long, record, word } from '../layout.ts'
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
  /** null: an earlier version wrote the note. `ownerOf` then finds the owner by `record` and by the wheel's RECORD. */
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

const DESC = record({
  /**
   * SHA-256 of: the present header · the file from the original size to its end, without these 32 bytes · the present
   * bytes of each range changed in place.
   */
  checksum: bytesOf(32),
  originalSize: long,
  /** With the graft. */
  size: long,
  /** ASCII, ended by zeros. */
  owner: bytesOf(16),
  headerLength: word,
  rangeCount: word,
  /** NO_RECORD without one. */
  recordLength: word,
  /** 0 */
  reserved: word,
})
/** The checksum excludes the copied strings, and the bytes between the original size and the note. */
const DESC_1 = record({
  checksum: bytesOf(32),
  originalSize: long,
  size: long,
  /** The strings that were copied by reference. */
  copiedOffset: long,
  copiedLength: long,
  headerLength: word,
  rangeCount: word,
  recordLength: word,
  reserved: word,
})
const RANGE = record({ offset: long, length: word })

const OWNER = Buffer.from('wheelfix\0\0\0\0')
const OWNER_LENGTH = 9
const VERSION = 2
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
  const patches = undo.patches.reduce((sum, { bytes }) => sum + RANGE.bytes + bytes.length, 0)
  const record = undo.record === null ? 0 : encodeText(undo.record).length
  const length = checksumAt(format) + DESC.bytes + undo.header.length + patches + record
  return Math.ceil(length / GRAFT_ALIGNMENT) * GRAFT_ALIGNMENT
}

const inverted = (bytes: Uint8Array): Uint8Array => bytes.map(byte => ~byte)

/** The note with a checksum of zeros. */
export function encodeNote(format: Format, undo: Undo & { readonly owner: Owner }, size: number): Buffer {
  const note = Buffer.alloc(noteLength(format, undo))
  const descsz = note.length - checksumAt(format)
  encode(format.nhdr, format, note, 0, { namesz: OWNER_LENGTH, descsz, type: VERSION })
  OWNER.copy(note, format.nhdr.bytes)
  const desc = note.subarray(checksumAt(format))
  const kept = undo.record === null ? null : encodeText(undo.record)
  encode(DESC, LITTLE, desc, 0, {
    originalSize: undo.originalSize,
    size,
    owner: Buffer.from(undo.owner, 'latin1'),
    headerLength: undo.header.length,
    rangeCount: undo.patches.length,
    recordLength: kept?.length ?? NO_RECORD,
  })
  let at = DESC.bytes
  desc.set(undo.header, at)
  at += undo.header.length
  for (const { offset, bytes } of undo.patches) {
    encode(RANGE, LITTLE, desc, at, { offset, length: bytes.length })
    desc.set(inverted(bytes), at + RANGE.bytes)
    at += RANGE.bytes + bytes.length
  }
  if (kept !== null) desc.set(kept, at)
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
  const behind = at + DESC.checksum.width
  if (version === 1) {
    const { copiedOffset: from, copiedLength } = decode(DESC_1, LITTLE, source.read(at, DESC_1.bytes))
    const to = from + copiedLength
    const end = Math.max(from, start + length)
    update(behind, to === from ? source.size : end)
    if (to !== from) update(Math.max(to, end), source.size)
  } else update(behind, source.size)
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
    return validUndo(source, headers ?? readHeaders(source))
  } catch (error) {
    if (error instanceof ElfError && error.code !== 'REFUSED') return null
    throw error
  }
}

function validUndo(source: ByteSource, { header, programHeaders }: Headers): Undo | null {
  // the PT_LOAD that comes last in the file
  const load = programHeaders
    .filter(({ type }) => type === PT_LOAD)
    .reduce<ProgramHeader | null>((last, next) => (last !== null && last.offset > next.offset ? last : next), null)
  // few other files have their program headers behind this point, so the others cost no further read
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
): (PlacedNote & { readonly size: number; readonly checksum: Uint8Array }) | null {
  const format = formatOf(header)
  const at = checksumAt(format)
  const { namesz, descsz, type: version } = decode(format.nhdr, format, source.read(start, at))
  const length = at + descsz
  if (namesz !== OWNER_LENGTH || descsz < DESC.bytes || length > LONGEST_NOTE) return null
  if (version < 1 || version > VERSION) throw newer(`version ${version}`, start)
  const bytes = Buffer.from(source.read(start + at, descsz))
  const desc = decode(DESC, LITTLE, bytes)
  const undo = decodeUndo(bytes, desc, version === 1 ? null : ownerIn(desc.owner, start))
  return undo === null ? null : { start, length, version, undo, size: desc.size, checksum: desc.checksum }
}

function ownerIn(bytes: Uint8Array, start: number): Owner {
  const name = decodeBytes(bytes).replace(/\0+$/, '')
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
    source.size - start >= at + DESC.bytes && OWNER.equals(source.read(start, at).subarray(format.nhdr.bytes))
  return isOurs(offset) ? offset : isOurs(behind) ? behind : null
}

/** null where the descriptor is cut off. */
function decodeUndo(
  bytes: Uint8Array,
  { originalSize, headerLength, rangeCount, recordLength }: Decoded<typeof DESC>,
  owner: Owner | null,
): Undo | null {
  let at = DESC.bytes
  const take = (length: number): Uint8Array | null => {
    if (length > bytes.length - at) return null
    at += length
    return bytes.subarray(at - length, at)
  }
  const header = take(headerLength)
  if (header === null) return null
  const patches: Patch[] = []
  for (let count = rangeCount; count > 0; count--) {
    const head = take(RANGE.bytes)
    const range = head === null ? null : decode(RANGE, LITTLE, head)
    const original = range === null ? null : take(range.length)
    if (range === null || original === null) return null
    patches.push({ offset: range.offset, bytes: inverted(original) })
  }
  if (recordLength === NO_RECORD) return { owner, originalSize, header, patches, record: null }
  const kept = take(recordLength)
  return kept === null ? null : { owner, originalSize, header, patches, record: decodeBytes(kept) }
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

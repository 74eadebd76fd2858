// Notes of an object (gABI chapter 5, “Note Section”), read through its PT_NOTE segments.
import { PT_NOTE } from '../constants.ts'
import { decode, formatOf } from '../layout.ts'
import type { ByteSource } from '../source.ts'
import { decodeBytes } from '../text.ts'
import type { ElfObject } from '../types.ts'

/** Where a note lies in the file. */
interface NotePlace {
  /** The index of its PT_NOTE. */
  readonly segment: number
  readonly owner: string
  readonly type: number
  /** File offset. */
  readonly offset: number
  /** In bytes, with its padding. */
  readonly length: number
}

/** More than any object has. */
const MOST_NOTES = 1 << 16
/** Longer than the owner of any known note. */
const LONGEST_OWNER = 64

/** The notes of an object, by their headers alone. A segment that is cut off or malformed ends at that point. */
export function* notePlaces(source: ByteSource, { header, programHeaders }: ElfObject): Generator<NotePlace> {
  const { bytes: headerBytes } = formatOf(header).nhdr
  let count = 0
  for (const [segment, { type: kind, offset, filesz, align }] of programHeaders.entries()) {
    if (kind !== PT_NOTE) continue
    const end = Math.min(offset + filesz, source.size)
    for (let at = offset; at + headerBytes <= end && count < MOST_NOTES; count++) {
      const bytes = source.read(at, Math.min(headerBytes + LONGEST_OWNER, end - at))
      const { owner, type, desc, descsz } = parseHeader(bytes, 0, header, align === 8n ? 8 : 4)
      // the last note of a segment need not be padded
      const length = Math.min(desc + padded(descsz, align === 8n ? 8 : 4), end - at)
      if (desc + descsz > end - at) break
      yield { segment, owner, type, offset: at, length }
      at += length
    }
  }
}

interface ElfNote {
  /** The name that defines the meaning of the type: `GNU`, `FDO`. */
  readonly owner: string
  readonly type: number
  readonly desc: Uint8Array
}

/** Useful notes have some hundred bytes. The notes of node (probes) have some hundred KB. */
const MOST_BYTES = 1 << 16

/**
 * The notes of an object. If a segment is cut off or malformed, only the notes before that point. `object` needs its
 * program headers.
 * @throws ElfError `TRUNCATED` only where the file shrinks during the read
 */
export function readNotes(source: ByteSource, object: ElfObject): ElfNote[] {
  const notes: ElfNote[] = []
  for (const { type, offset, filesz, align } of object.programHeaders) {
    if (type !== PT_NOTE) continue
    const length = Math.min(filesz, MOST_BYTES, Math.max(source.size - offset, 0))
    notes.push(...parseNotes(source.read(Math.min(offset, source.size), length), object, align === 8n ? 8 : 4))
  }
  return notes
}

function* parseNotes(bytes: Uint8Array, { header }: ElfObject, align: 4 | 8): Generator<ElfNote> {
  const { bytes: headerBytes } = formatOf(header).nhdr
  for (let at = 0; at + headerBytes <= bytes.length;) {
    const { owner, type, desc, descsz } = parseHeader(bytes, at, header, align)
    if (desc + descsz > bytes.length) return
    yield { owner, type, desc: bytes.subarray(desc, desc + descsz) }
    at = desc + padded(descsz, align)
  }
}

const padded = (size: number, align: 4 | 8): number => Math.ceil(size / align) * align

/** The header of the note at `at`; `desc` is the offset of its description in `bytes`, which may lie behind them. */
function parseHeader(bytes: Uint8Array, at: number, header: ElfObject['header'], align: 4 | 8) {
  const format = formatOf(header)
  const { nhdr } = format
  const { namesz, descsz, type } = decode(nhdr, format, bytes, at)
  const name = bytes.subarray(at + nhdr.bytes, at + nhdr.bytes + namesz)
  const nul = name.indexOf(0)
  return {
    owner: decodeBytes(nul < 0 ? name : name.subarray(0, nul)),
    type,
    // the name follows the header without padding, the description is aligned from the note's start
    desc: at + padded(nhdr.bytes + namesz, align),
    descsz,
  }
}

/** A feature for which the object opens libraries by name (uapi-group.org/specifications/specs/elf_dlopen_metadata). */
export interface DlopenFeature {
  readonly feature: string
  readonly description: string
  readonly priority: 'required' | 'recommended' | 'suggested'
  /** Any one of them is enough; the first is preferred. */
  readonly sonames: readonly string[]
}

const FDO_DLOPEN = 0x407c0c0a
const PRIORITIES = ['required', 'recommended', 'suggested'] as const

/** The features of the .note.dlopen notes. A note without such JSON has none. */
export function dlopenFeatures(notes: readonly ElfNote[]): DlopenFeature[] {
  return notes
    .filter(({ owner, type }) => owner === 'FDO' && type === FDO_DLOPEN)
    .flatMap(({ desc }) => {
      const entries = parseJson(decodeBytes(desc).replace(/\0+$/, ''))
      return Array.isArray(entries) ? entries.flatMap((entry: unknown) => featureOf(entry)) : []
    })
}

function featureOf(entry: unknown): DlopenFeature[] {
  if (typeof entry !== 'object' || entry === null) return []
  const { feature, description, priority, soname } = entry as Partial<Record<string, unknown>>
  const sonames = Array.isArray(soname) ? soname.filter((name: unknown) => typeof name === 'string') : []
  if (sonames.length === 0) return []
  return [
    {
      feature: typeof feature === 'string' ? feature : '',
      description: typeof description === 'string' ? description : '',
      // the specification: without a priority the feature is recommended
      priority: PRIORITIES.find(known => known === priority) ?? 'recommended',
      sonames,
    },
  ]
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return null // another project's note with that number
  }
}

// The archive note: what a patched wheel holds about its original archive, so that `--restore` can make that archive again.
// The objects carry their own undo notes. The archive note holds the rest: the archive's hash, its file name, what a tag
// changed, and the signatures. It is in the archive's comment, as one line of ASCII. A comment is not an entry, so it is
// never installed.
import { commentOf, type Ending, isWholeRecord, LOCAL_HEADER_SIZE, LONGEST_COMMENT } from '../zip/records.ts'
import type { AddedEntry } from '../zip/write.ts'

const MARK = 'wheelfix-undo '

/**
 * The most items of each list. This is enough for two signatures with their rows, and for WHEEL and METADATA. Each item
 * costs a copy of a whole text.
 */
const MOST_ITEMS = 8

/** The most programs with an undo here. The smallest undos of so many fill the comment. */
const MOST_PROGRAMS = 256
/** The bytes of the comment that are kept for the other parts of the note. */
const OTHER_PARTS = 16_000

/** The undo of a program that was edited in place (io/program-undo.ts). */
export interface ProgramUndo {
  /** SHA-256 of the edited program, in hex. */
  readonly sha256: string
  readonly text: string
}

/** Names and hashes are those of the archive before the first patch, even if it was patched several times since. */
export interface ArchiveNote {
  /** The file name. */
  readonly name: string
  /** SHA-256 of the whole file, in hex. */
  readonly sha256: string
  /** SHA-256 of RECORD, in hex. */
  readonly record: string
  /** `numpy-2.4.6` for `numpy-2.4.6.dist-info`, if that folder has another name now; else null. */
  readonly stem: string | null
  readonly texts: readonly TextUndo[]
  /** Rows of RECORD that were left out. */
  readonly rows: readonly Cut[]
  /** Entries that were left out (signatures); null: they were too large to keep. */
  readonly dropped: readonly AddedEntry[] | null
  /** Programs that carry no undo note, because they were edited in place. Earlier versions wrote none. */
  readonly programs?: readonly ProgramUndo[]
}

/** A part of a text, and where it was, in UTF-16 code units. */
export interface Cut {
  readonly at: number
  readonly text: string
}

/** One change of a text: `length` units at `at` were `text` before. */
interface TextUndo extends Cut {
  /** The former name of the entry. */
  readonly name: string
  readonly length: number
}

/** The one change that turns `before` into `now`: it lies between their common beginning and their common end. */
export function textUndo(name: string, before: string, now: string): TextUndo {
  const most = Math.min(before.length, now.length)
  let at = 0
  while (at < most && before[at] === now[at]) at += 1
  let same = 0
  while (same < most - at && before.at(-1 - same) === now.at(-1 - same)) same += 1
  return { name, at, length: now.length - same - at, text: before.slice(at, before.length - same) }
}

/** The text before a change: the reverse of `textUndo`. */
export function textBefore(now: string, { at, length, text }: TextUndo): string {
  return now.slice(0, at) + text + now.slice(at + length)
}

/** Puts the rows back in their old order. */
export function withRowsBack(text: string, rows: readonly Cut[]): string {
  return rows
    .toSorted((a, b) => a.at - b.at)
    .reduce((now, row) => now.slice(0, row.at) + row.text + now.slice(row.at), text)
}

/** The archive note of a patched wheel (null without one), and the comment that the archive had before. */
export function readArchiveNote(ending: Ending): { readonly note: ArchiveNote | null; readonly comment: Uint8Array } {
  const comment = commentOf(ending)
  const text = Buffer.from(comment).toString('latin1')
  const at = text.lastIndexOf(MARK)
  const note = at < 0 ? null : parse(text.slice(at + MARK.length))
  return { note, comment: note === null ? comment : comment.subarray(0, at) }
}

/**
 * May a note hold the undos of all these programs?
 * @param comment the comment that the archive had before
 */
export function fitsNote(programs: readonly ProgramUndo[], comment: Uint8Array): boolean {
  const left = LONGEST_COMMENT - OTHER_PARTS - comment.length
  return programs.length <= MOST_PROGRAMS && JSON.stringify(programs).length <= left
}

/** The archive's comment with the note after it. Leaves out the dropped entries where they are too large. */
export function writeArchiveNote(note: ArchiveNote, comment: Uint8Array): Buffer {
  const written = encode(note, comment)
  if (written.length <= LONGEST_COMMENT) return written
  const shorter = encode({ ...note, dropped: null }, comment)
  return shorter.length <= LONGEST_COMMENT ? shorter : Buffer.from(comment)
}

function encode(note: ArchiveNote, comment: Uint8Array): Buffer {
  const dropped = note.dropped?.map(({ position, index, local, central }) => ({
    position,
    index,
    local: Buffer.from(local).toString('base64'),
    central: Buffer.from(central).toString('base64'),
  }))
  const json = JSON.stringify({ ...note, dropped: dropped ?? null })
  // the note must not contain the signature of a zip record
  const ascii = json.replaceAll(/[^ -~]/g, unit => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
  return Buffer.concat([comment, Buffer.from(MARK + ascii)])
}

function parse(json: string): ArchiveNote | null {
  try {
    const value: unknown = JSON.parse(json)
    if (!isNote(value)) return null
    const dropped = value.dropped?.map(droppedOf) ?? null
    return dropped?.every(areRecords) === false ? null : { ...value, dropped }
  } catch (error) {
    if (error instanceof SyntaxError) return null
    throw error
  }
}

/** The JSON form of the note. */
interface EncodedNote extends Omit<ArchiveNote, 'dropped'> {
  readonly dropped: readonly EncodedEntry[] | null
}

interface EncodedEntry {
  readonly position: number
  readonly index: number
  readonly local: string
  readonly central: string
}

function droppedOf({ position, index, local, central }: EncodedEntry): AddedEntry {
  return { position, index, local: Buffer.from(local, 'base64'), central: Buffer.from(central, 'base64') }
}

function areRecords({ position, index, local, central }: AddedEntry): boolean {
  return position >= 0 && index >= 0 && isWholeRecord(central) && local.length >= LOCAL_HEADER_SIZE
}

function isNote(value: unknown): value is EncodedNote {
  return (
    has(value, { name: 'string', sha256: 'string', record: 'string' }) &&
    (value['stem'] === null || typeof value['stem'] === 'string') &&
    listOf(value['texts'], { name: 'string', at: 'number', length: 'number', text: 'string' }) &&
    listOf(value['rows'], { at: 'number', text: 'string' }) &&
    (value['programs'] === undefined ||
      listOf(value['programs'], { sha256: 'string', text: 'string' }, MOST_PROGRAMS)) &&
    (value['dropped'] === null ||
      listOf(value['dropped'], { position: 'number', index: 'number', local: 'string', central: 'string' }))
  )
}

function listOf(value: unknown, kinds: Readonly<Record<string, 'string' | 'number'>>, most = MOST_ITEMS): boolean {
  return Array.isArray(value) && value.length <= most && value.every((item: unknown) => has(item, kinds))
}

function has(value: unknown, kinds: Readonly<Record<string, 'string' | 'number'>>): value is Record<string, unknown> {
  if (typeof value !== 'object' || value === null) return false
  const fields = new Map<string, unknown>(Object.entries(value))
  return Object.entries(kinds).every(([key, kind]) => {
    const field = fields.get(key)
    return typeof field === kind && (kind === 'string' || Number.isSafeInteger(field))
  })
}

// RECORD, the list of a distribution's files: rows of path, hash and size as CSV (PEP 376, PEP 427; "Recording
// installed projects" of the packaging specifications). The functions take a text and return a text: fields change, and
// every other byte stays. A RECORD that is not UTF-8 passes through elf/text.ts unharmed.
import { createHash, getHashes } from 'node:crypto'
import type { ByteSource } from '../elf/source.ts'
import { digestOf, readThrough } from '../io/hash.ts'

/** The raw hash and size fields of a row, including quotes; both are empty where the row does not have them. */
export interface RecordFields {
  readonly hash: string
  readonly size: string
}

/**
 * The largest RECORD that is read, in bytes. The largest ones of real distributions have about 10 MB. A reader keeps
 * several times as much in memory.
 */
export const LARGEST_RECORD = 32 << 20

/**
 * Each row costs about 200 bytes of memory. A row that names a real file has about 100 bytes, so a RECORD with more rows
 * is forged.
 */
export const MOST_ROWS = 500_000

/** The error for a RECORD with more rows than `MOST_ROWS`. */
export class TooManyRows extends Error {
  constructor() {
    super(`has more than ${MOST_ROWS} rows`)
  }
}

/** Four of five rows have these endings. No object has one. */
export const SOURCES: readonly string[] = ['.py', '.pyc', '.pyi']

/** The fields that the specification allows for a file that tools must not check. */
export const EMPTY_FIELDS: RecordFields = { hash: '', size: '' }

/**
 * The place of one row in the text. Its fields after the path are `text.slice(fieldsStart, fieldsEnd)`, commas included.
 */
interface Row {
  readonly path: string
  readonly fieldsStart: number
  readonly fieldsEnd: number
  /** The second and third field; undefined where the row is shorter. */
  readonly hash: string | undefined
  readonly size: string | undefined
}

/**
 * The text with new fields in the rows that `changes` names (by their paths, unquoted). A row that is too short to have a
 * field does not get it, so that the old fields give the old text again.
 */
export function rewriteRecord(text: string, changes: ReadonlyMap<string, RecordFields>): string {
  let out = ''
  let copied = 0
  const paths = [...changes.keys()]
  const without = SOURCES.filter(ending => !paths.some(path => path.endsWith(ending)))
  for (const row of rows(text, without)) {
    const change = changes.get(row.path)
    if (change === undefined || (change.hash === row.hash && change.size === row.size)) continue
    const hash = row.hash === undefined ? '' : `,${change.hash}`
    const size = row.size === undefined ? '' : `,${change.size}`
    out += text.slice(copied, row.fieldsStart) + hash + size
    copied = row.fieldsEnd
  }
  return out + text.slice(copied)
}

/**
 * The fields of every row by its path, unquoted, except rows with one of these endings. Of two rows with the same path
 * the first counts.
 * @param only the paths of the rows to return; without it all rows
 * @throws TooManyRows
 */
export function recordRows(
  text: string,
  without: readonly string[] = [],
  only?: ReadonlySet<string>,
): Map<string, RecordFields> {
  const found = new Map<string, RecordFields>()
  for (const { path, hash = '', size = '' } of bounded(rows(text, without))) {
    if (found.has(path) || only?.has(path) === false) continue
    // a part of a string keeps the whole text in memory
    found.set(path, only === undefined ? { hash, size } : { hash: copied(hash), size: copied(size) })
  }
  return found
}

function copied(text: string): string {
  return Buffer.from(text, 'utf16le').toString('utf16le')
}

/** The paths of all rows, unquoted and in order, except paths with one of these endings. */
export function* recordedPaths(text: string, without: readonly string[] = []): Generator<string> {
  for (const { path } of rows(text, without)) yield path
}

function* bounded(all: Iterable<Row>): Generator<Row> {
  let count = 0
  for (const row of all) {
    if ((count += 1) > MOST_ROWS) throw new TooManyRows()
    yield row
  }
}

/**
 * The correct fields for a file: `sha256=` with the digest in urlsafe base64 without padding, and its size in bytes.
 */
export function trueFields(source: ByteSource): RecordFields {
  return { hash: `sha256=${digestOf(source, 'sha256', 'base64url')}`, size: String(source.size) }
}

/**
 * The algorithms in RECORD: their names in Python's hashlib, and in `createHash` of node:crypto. The specification asks
 * for sha256 or better, in urlsafe base64 without padding. Existing RECORDs use all of these algorithms, and other
 * spellings of the digest.
 */
const ALGORITHMS: ReadonlyMap<string, string> = new Map([
  ['md5', 'md5'],
  ['sha1', 'sha1'],
  ['sha224', 'sha224'],
  ['sha256', 'sha256'],
  ['sha384', 'sha384'],
  ['sha512', 'sha512'],
  ['sha3224', 'sha3-224'],
  ['sha3256', 'sha3-256'],
  ['sha3384', 'sha3-384'],
  ['sha3512', 'sha3-512'],
  ['blake2b', 'blake2b512'],
  ['blake2s', 'blake2s256'],
])

/** The algorithm and the digest of a hash field, in any spelling. */
interface Digest {
  /** The name for `createHash`; null: unknown, or not available in this Node (md5 where OpenSSL runs in FIPS mode). */
  readonly algorithm: string | null
  /** The raw digest in the field. */
  readonly text: string
}

/** Null for an empty field. */
function digestIn(field: string): Digest | null {
  const hash = unquoted(field).trim()
  if (hash === '') return null
  const equals = hash.indexOf('=')
  const name = equals === -1 ? '' : hash.slice(0, equals).trim().toLowerCase().replaceAll(/[-_]/g, '')
  const algorithm = ALGORITHMS.get(name)
  return {
    algorithm: algorithm !== undefined && getHashes().includes(algorithm) ? algorithm : null,
    text: hash.slice(equals + 1).trim(),
  }
}

/** Does the text spell these bytes of a digest: in hexadecimal, or in base64 with either alphabet, padded or not? */
function spells(text: string, digest: Buffer): boolean {
  if (text.length === 2 * digest.length) return text.toLowerCase() === digest.toString('hex')
  return (
    text
      .replaceAll('+', '-')
      .replaceAll('/', '_')
      .replace(/={1,2}$/, '') === digest.toString('base64url')
  )
}

/** Compares a file with the hash of a row while something else reads the file. */
interface HashCheck {
  /** Takes the next bytes of the file. */
  update(bytes: Uint8Array): void
  /**
   * Does the hash match all the bytes? Null where it cannot be checked, because its algorithm is unknown. A row without a
   * hash matches any file. Called once, at the end.
   */
  holds(): boolean | null
}

/** Starts to compare a file with the hash in these fields. */
export function hashCheck({ hash: field }: RecordFields): HashCheck {
  const digest = digestIn(field)
  if (digest === null) return { update: () => {}, holds: () => true }
  const { algorithm, text } = digest
  if (algorithm === null) return { update: () => {}, holds: () => null }
  const hash = createHash(algorithm)
  return { update: bytes => hash.update(bytes), holds: () => spells(text, hash.digest()) }
}

/** Does the hash of a row match the file? Returns the same values as `HashCheck.holds`. */
export function hashHolds(fields: RecordFields, source: ByteSource): boolean | null {
  const algorithm = digestIn(fields.hash)?.algorithm
  const check = hashCheck(fields)
  if (algorithm != null) readThrough(source, bytes => check.update(bytes))
  return check.holds()
}

/** The size in a row, in bytes; null where the row has none. */
export function sizeOf({ size }: RecordFields): number | null {
  const text = unquoted(size)
  return text === '' ? null : Number(text)
}

/** The paths with several rows whose fields differ, and the fields of those rows. @throws TooManyRows */
export function disagreeingRows(text: string): Map<string, RecordFields[]> {
  const first = new Map<string, RecordFields>()
  const found = new Map<string, RecordFields[]>()
  for (const { path, hash = '', size = '' } of bounded(rows(text, SOURCES))) {
    const before = first.get(path)
    if (before === undefined) first.set(path, { hash, size })
    else if (unquoted(before.hash) !== unquoted(hash) || unquoted(before.size) !== unquoted(size)) {
      const known = found.get(path)
      if (known === undefined) found.set(path, [before, { hash, size }])
      else known.push({ hash, size })
    }
  }
  return found
}

/** The rows whose path has none of the endings in `without`. */
function rows(text: string, without: readonly string[] = []): Iterable<Row> {
  return text.includes('"') || /\r(?!\n)/.test(text) ? csvRows(text, without) : plainRows(text, without)
}

/**
 * Reads rows without a quote: nearly all rows. pip ends them with CRLF, uv with LF. A venv has tens of thousands of
 * rows, most of them `.py`: 60,000 rows take 10 ms here, and 60 ms as CSV.
 */
function* plainRows(text: string, without: readonly string[]): Generator<Row> {
  // the next comma anywhere in the text, so that many rows without one cost a single search
  let comma = -1
  const commaIn = (from: number, stop: number): number => {
    if (comma < from) {
      comma = text.indexOf(',', from)
      if (comma === -1) comma = text.length
    }
    return Math.min(comma, stop)
  }
  for (let start = 0, next = 0; start < text.length; start = next + 1) {
    next = text.indexOf('\n', start)
    if (next === -1) next = text.length
    const stop = text[next - 1] === '\r' ? next - 1 : next
    const end = commaIn(start, stop)
    let wanted = end > start
    for (const ending of without) wanted &&= !text.startsWith(ending, end - ending.length)
    if (!wanted) continue
    const hashEnd = commaIn(Math.min(end + 1, stop), stop)
    const sizeEnd = commaIn(Math.min(hashEnd + 1, stop), stop)
    yield {
      path: text.slice(start, end),
      fieldsStart: end,
      fieldsEnd: sizeEnd,
      hash: end < stop ? text.slice(end + 1, hashEnd) : undefined,
      size: hashEnd < stop ? text.slice(hashEnd + 1, sizeEnd) : undefined,
    }
  }
}

/** Reads rows as Python's csv module does: a quoted field may hold commas, line ends and doubled quotes. */
function* csvRows(text: string, without: readonly string[]): Generator<Row> {
  let at = 0
  while (at < text.length) {
    const pathEnd = endOfField(text, at)
    const path = unquoted(text.slice(at, pathEnd))
    const fields: string[] = []
    let end = pathEnd
    while (text[end] === ',' && fields.length < 2) {
      const start = end + 1
      end = endOfField(text, start)
      fields.push(text.slice(start, end))
    }
    if (path !== '' && !without.some(ending => path.endsWith(ending))) {
      yield { path, fieldsStart: pathEnd, fieldsEnd: end, hash: fields[0], size: fields[1] }
    }
    // the format has no fields after the size
    while (text[end] === ',') end = endOfField(text, end + 1)
    at = end
    while (text[at] === '\r' || text[at] === '\n') at++
  }
}

/** Index of the comma or line end after the field that begins at `start`. */
function endOfField(text: string, start: number): number {
  let at = start
  if (text[at] === '"') {
    for (at++; at < text.length; at++) {
      if (text[at] !== '"') continue
      if (text[at + 1] !== '"') break
      at++
    }
    at++
  }
  while (at < text.length && text[at] !== ',' && text[at] !== '\r' && text[at] !== '\n') at++
  return Math.min(at, text.length)
}

function unquoted(field: string): string {
  return field.startsWith('"') ? field.slice(1, field.endsWith('"') ? -1 : undefined).replaceAll('""', '"') : field
}

/** The fields that an undo note holds. */
export function fieldsOf(record: string): RecordFields {
  const comma = record.indexOf(',')
  return { hash: record.slice(0, comma), size: record.slice(comma + 1) }
}

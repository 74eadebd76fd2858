// Writes a patched or restored wheel: the changed objects, RECORD with their correct hashes and sizes, and, for a tag,
// the files that contain the tag. A rename puts the output in its place, so the output is never incomplete.
import { createHash, type Hash, randomBytes } from 'node:crypto'
import {
  closeSync,
  constants,
  copyFileSync,
  fchmodSync,
  fdatasyncSync,
  mkdirSync,
  openSync,
  renameSync,
  rmSync,
  statSync,
} from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { type ByteSource, bytesSource } from '../elf/source.ts'
import { decodeBytes, encodeText } from '../elf/text.ts'
import { isAlive } from '../io/alive.ts'
import { errnoOf, systemReason, WheelfixError } from '../io/error.ts'
import { digestOf } from '../io/hash.ts'
import { fsPath, listDirectory } from '../io/path.ts'
import { type RecordFields, rewriteRecord, trueFields } from '../python/record.ts'
import { readEntry } from '../zip/entry-contents.ts'
import type { WheelName } from '../python/wheel-tags.ts'
import { formatWheelName, type WheelDistribution } from './distribution.ts'
import type { NewContent, Wheel } from './fix-wheel.ts'
import type { Archive, WheelEntry } from '../zip/read.ts'
import type { Range } from '../zip/splice.ts'
import { type ArchiveNote, type Cut, readArchiveNote, textBefore, textUndo, writeArchiveNote } from './archive-note.ts'
import { type ArchiveOptions, type EntryChange, writeArchive } from '../zip/write.ts'

/** The suffix of an output's temporary name. The process number and a random number come before it. */
const TEMPORARY = '.wheelfix-tmp'

/** A build tag (`1nixos`) or a local version (`+nixos`) to add to the file name and the metadata. */
export type Tag = { readonly build: string } | { readonly local: string }

/** @throws WheelfixError `USAGE` */
export function parseTag(text: string): Tag {
  const local = /^\+([a-z0-9]+(?:\.[a-z0-9]+)*)$/i.exec(text)?.[1]
  if (local !== undefined) return { local: local.toLowerCase() }
  if (/^[0-9][A-Za-z0-9_.]*$/.test(text)) return { build: text }
  throw new WheelfixError(
    'USAGE',
    `--tag ${text}: give a build tag, which begins with a digit (1nixos), or a local version, which begins with + (+nixos)`,
  )
}

/** The file name with the tag. A tag that the name has already is not added again. */
function tagName(name: WheelName, tag: Tag): WheelName {
  if ('build' in tag) return { ...name, build: tag.build }
  const [version = '', local] = name.version.split('+')
  const parts = local === undefined ? [] : local.split(/[._-]/)
  const added = tag.local.split('.')
  if (parts.slice(-added.length).join('.').toLowerCase() === tag.local) return name
  // file names join the parts of a local version by underscores or dots; dots are the normal form (PEP 440)
  return { ...name, version: `${version}+${[...parts, tag.local].join('.')}` }
}

/**
 * Writes the patched wheel to `output`.
 * @throws WheelfixError `IO`; then there is no output file
 */
export async function writeWheel(
  wheel: Wheel,
  contents: ReadonlyMap<WheelEntry, NewContent>,
  tag: Tag | null,
  output: string,
  onProgress?: (bytes: number) => void,
): Promise<void> {
  const { archive, distribution } = wheel
  const known = readArchiveNote(archive.ending)
  const all = new Map(contents)
  const retagged = tag === null ? null : retag(archive, distribution, tag, known.note)
  if (retagged?.changed !== undefined) all.set(retagged.changed.entry, retagged.changed.content)
  const { text, rows } = withoutRows(distribution.record.text, distribution.signatures)
  const note = known.note ?? newNote(wheel, rows)
  await toOutput(archive.path, output, temporary =>
    rewrite(wheel, temporary, {
      contents: all,
      drop: distribution.signatures,
      recordBefore: text,
      recordAfter: now => retagged?.record(now) ?? now,
      entryName: name => retagged?.entry(name) ?? name,
      ...(note === null
        ? {}
        : {
            comment: writeArchiveNote({ ...note, ...retagged?.note, ...programsOf(wheel, all, note) }, known.comment),
          }),
      ...(onProgress === undefined ? {} : { onProgress }),
    }),
  )
}

/** The changes of a wheel. */
interface Rewriting extends ArchiveOptions {
  readonly contents: ReadonlyMap<WheelEntry, NewContent>
  readonly drop: readonly WheelEntry[]
  /**
   * RECORD before the rows of the changed entries get their new fields, and a function that changes its text
   * afterwards.
   */
  readonly recordBefore: string
  readonly recordAfter: (text: string) => string
  readonly entryName: (name: string) => string
  /** The zlib level for all changed entries, which are then compressed exactly as zlib does. */
  readonly likeZlib?: number
}

/** Writes the archive, with the changed entries and a matching RECORD, to a new file. */
export async function rewrite(wheel: Wheel, path: string, rewriting: Rewriting): Promise<void> {
  const { archive, distribution } = wheel
  const { contents, drop, recordBefore, recordAfter, entryName, likeZlib } = rewriting
  const as = (changes: readonly Range[] | null) =>
    likeZlib === undefined ? {} : { likeZlib: { level: likeZlib, changes } }
  const changes = new Map<WheelEntry, EntryChange | 'drop'>()
  for (const entry of drop) changes.set(entry, 'drop')
  const hashes = new Map<WheelEntry, Hash>()
  for (const [entry, { source, fields, changes: places, undone = null }] of contents) {
    const hash = createHash('sha256')
    let size = 0
    changes.set(entry, {
      content: () => source,
      ...as(undone),
      ...(places === undefined ? {} : { changes: places }),
      ...(fields === undefined
        ? {
            onBytes: (bytes: Uint8Array) => {
              hash.update(bytes)
              size += bytes.length
              if (size === source.size) hashes.set(entry, hash)
            },
          }
        : {}),
    })
  }
  const record = (): ByteSource => {
    const rows = new Map<string, RecordFields>()
    for (const [entry, { source, fields }] of contents) {
      const hash = hashes.get(entry)
      // RECORD is usually the last entry; if it is not, the entries after it have not been read yet
      const read = hash === undefined ? null : { hash: `sha256=${hash.digest('base64url')}`, size: String(source.size) }
      rows.set(entry.name, fields ?? read ?? trueFields(source))
    }
    return bytesSource(encodeText(recordAfter(rewriteRecord(recordBefore, rows))))
  }
  changes.set(distribution.record.entry, { content: record, late: true, ...as(null) })
  for (const entry of archive.entries) {
    const name = entryName(entry.name)
    const change = changes.get(entry)
    if (name !== entry.name && change !== 'drop') changes.set(entry, { ...change, name })
  }
  const fd = openSync(fsPath(path), 'wx+', 0o600)
  try {
    await writeArchive(archive, fd, changes, rewriting)
  } finally {
    closeSync(fd)
  }
}

/**
 * The undos of the programs that are edited in place in the new wheel: the undos of this run, and those of earlier
 * runs that stay.
 */
function programsOf(
  { objects }: Wheel,
  contents: ReadonlyMap<WheelEntry, NewContent>,
  { programs: known = [] }: ArchiveNote,
): Pick<ArchiveNote, 'programs'> {
  const staying = objects.filter(({ entry, object }) => object.kept === true && !contents.has(entry))
  const kept = new Set(staying.map(({ source }) => digestOf(source, 'sha256', 'hex')))
  const made = [...contents.values()].flatMap(({ program }) => program ?? [])
  const programs = [...known.filter(({ sha256 }) => kept.has(sha256)), ...made]
  return programs.length === 0 ? {} : { programs }
}

/** The note for a wheel that is patched for the first time; null where the note of an earlier patch was lost. */
function newNote({ archive, distribution, objects }: Wheel, rows: readonly Cut[]): ArchiveNote | null {
  if (objects.some(({ object }) => object.undo !== null)) return null
  const { entries, source } = archive
  const byOffset = entries.toSorted((a, b) => a.headerOffset - b.headerOffset)
  return {
    name: basename(archive.path),
    sha256: digestOf(source, 'sha256', 'hex'),
    record: digestOf(bytesSource(encodeText(distribution.record.text)), 'sha256', 'hex'),
    stem: null,
    texts: [],
    rows,
    dropped: distribution.signatures.map(entry => ({
      position: byOffset.indexOf(entry),
      index: entries.indexOf(entry),
      local: source.read(entry.headerOffset, entry.end - entry.headerOffset),
      central: entry.central,
    })),
  }
}

/** Copies a wheel that needs no change, bit for bit. */
export async function copyWheel(path: string, output: string): Promise<void> {
  await toOutput(path, output, async temporary =>
    copyFileSync(fsPath(path), fsPath(temporary), constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE),
  )
}

/** Makes `output` by a rename, with the mode of the original wheel. Its bytes are on the disk before the rename. */
export async function toOutput<T>(path: string, output: string, make: (temporary: string) => Promise<T>): Promise<T> {
  const folder = dirname(output)
  const random = randomBytes(6).toString('hex')
  const temporary = join(folder, `.${basename(output)}.${process.pid}-${random}${TEMPORARY}`)
  try {
    mkdirSync(fsPath(folder), { recursive: true })
    removeLeftovers(folder, basename(output))
    const made = await make(temporary)
    finish(temporary, statSync(fsPath(path)).mode & 0o777)
    renameSync(fsPath(temporary), fsPath(output))
    return made
  } catch (error) {
    rmSync(fsPath(temporary), { force: true })
    const errno = errnoOf(error)
    if (errno === undefined || error instanceof WheelfixError) throw error
    throw new WheelfixError('IO', `${output}: ${writeReasonOf(errno)}`, output)
  }
}

/** The folder of a result may be any folder, so another one helps where this one may not be written. */
function writeReasonOf(errno: string): string {
  const isForbidden = errno === 'EACCES' || errno === 'EPERM'
  return isForbidden ? 'you have no permission to write here: give -o a folder of your own' : systemReason(errno)
}

/** Sets the mode, and waits until the bytes are on the disk. */
function finish(temporary: string, mode: number): void {
  const fd = openSync(fsPath(temporary), constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  try {
    fchmodSync(fd, mode)
    fdatasyncSync(fd)
  } finally {
    closeSync(fd)
  }
}

/** Removes leftovers of killed runs for this output. The name begins with the number of the process. */
function removeLeftovers(folder: string, name: string): void {
  for (const entry of listDirectory(folder)) {
    if (!entry.name.startsWith(`.${name}.`) || !entry.name.endsWith(TEMPORARY)) continue
    const [, digits] = /^(\d+)(?:-[0-9a-f]+)?$/.exec(entry.name.slice(name.length + 2, -TEMPORARY.length)) ?? []
    const pid = Number(digits)
    if (Number.isSafeInteger(pid) && pid > 0 && (pid === process.pid || !isAlive(pid)))
      rmSync(fsPath(join(folder, entry.name)), { force: true })
  }
}

/** Removes the rows of dropped signatures from RECORD. Usually RECORD does not list signatures. */
function withoutRows(record: string, entries: readonly WheelEntry[]): { text: string; rows: Cut[] } {
  const rows = entries.flatMap(({ name }): Cut[] => {
    const at = record.startsWith(`${name},`) ? 0 : record.indexOf(`\n${name},`) + 1
    if (!record.startsWith(`${name},`, at)) return []
    const end = record.indexOf('\n', at)
    return [{ at, text: record.slice(at, end < 0 ? undefined : end + 1) }]
  })
  const last = rows.toSorted((a, b) => b.at - a.at)
  return {
    text: last.reduce((text, { at, text: row }) => text.slice(0, at) + text.slice(at + row.length), record),
    rows,
  }
}

/** What a tag changes, besides the file name. */
interface Retagged {
  readonly changed?: { readonly entry: WheelEntry; readonly content: NewContent }
  /** The fields of the archive note for this change. */
  readonly note: Partial<ArchiveNote>
  readonly entry: (name: string) => string
  readonly record: (text: string) => string
}

/** Puts the tag into WHEEL or METADATA. For a local version, also renames the folders. */
function retag(
  archive: Archive,
  distribution: WheelDistribution,
  tag: Tag,
  known: ArchiveNote | null,
): Retagged | null {
  const { fileName, infoFolder } = distribution
  const file = 'build' in tag ? 'WHEEL' : 'METADATA'
  const entry = archive.entries.find(({ name }) => name === `${infoFolder}/${file}`)
  if (entry === undefined) return null
  const text = decodeBytes(readEntry(archive, entry))
  const { version } = tagName(fileName, tag)
  const stem = infoFolder.slice(0, -'.dist-info'.length)
  const first = known?.stem ?? stem
  const change = (now: string): Pick<Retagged, 'changed' | 'note'> => {
    if (now === text) return { note: {} }
    const name = `${first}.dist-info/${file}`
    const others = known?.texts.filter(other => other.name !== name) ?? []
    const before = known?.texts.find(other => other.name === name)
    const texts = [...others, textUndo(name, before === undefined ? text : textBefore(text, before), now)]
    return { changed: { entry, content: { source: bytesSource(encodeText(now)) } }, note: { texts } }
  }
  if ('build' in tag) {
    const newline = text.includes('\r\n') ? '\r\n' : '\n'
    const without = text.replaceAll(/^Build:.*\r?\n/gm, '')
    const at = without.search(/^Tag:/m)
    const line = `Build: ${tag.build}${newline}`
    const now = at < 0 ? `${without}${line}` : `${without.slice(0, at)}${line}${without.slice(at)}`
    return { ...change(now), entry: name => name, record: text => text }
  }
  if (version === fileName.version) return null
  const local = version.slice(version.indexOf('+'))
  const { changed, note } = change(
    text.replace(/^(Version:[ \t]*[^\s+]+)(?:\+\S*)?/m, (_, plain: string) => plain + local),
  )
  const renamed = renaming(stem, stem.replace(/(?:\+[^-]*)?$/, local))
  return { ...(changed === undefined ? {} : { changed }), note: { ...note, stem: first }, ...renamed }
}

/** Renames the folders `STEM.dist-info` and `STEM.data`, in entry names and in RECORD. */
export function renaming(from: string, to: string): Pick<Retagged, 'entry' | 'record'> {
  const pattern = new RegExp(`^("?)${from.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&')}(?=\\.(?:dist-info|data)/)`, 'gm')
  const replaced = (text: string): string => text.replaceAll(pattern, (_, quote: string) => quote + to)
  return { entry: replaced, record: replaced }
}

/** The path of the output in a folder. */
export function outputPath(wheel: Wheel, folder: string, tag: Tag | null): string {
  const { fileName } = wheel.distribution
  return join(folder, tag === null ? basename(wheel.archive.path) : formatWheelName(tagName(fileName, tag)))
}

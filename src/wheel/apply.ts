// Writes a patched (or restored) wheel: the changed objects, RECORD with their true hashes and sizes, and where a tag is
// asked for the files that hold it. The output appears by a rename, whole or not at all.
import { createHash, type Hash } from 'node:crypto'
import {
  chmodSync,
  closeSync,
  constants,
  copyFileSync,
  mkdirSync,
  openSync,
  renameSync,
  rmSync,
  statSync,
} from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { type ByteSource, bytesSource } from '../elf/source.ts'
import { decodeBytes, encodeText } from '../elf/text.ts'
import { errnoOf, WheelfixError } from '../io/error.ts'
import { fsPath } from '../io/path.ts'
import { type RecordFields, rewriteRecord, trueFields } from '../python/record.ts'
import { readEntry } from './content.ts'
import { formatWheelName, type WheelDistribution, type WheelName } from './distribution.ts'
import type { NewContent, Wheel } from './fix.ts'
import type { Archive, WheelEntry } from './read.ts'
import { type EntryChange, writeArchive } from './write.ts'

/** A build tag (`1nixos`) or a local version (`+nixos`) for the file name and the metadata. */
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

/** The file name with the tag; a tag that is there already is not added again. */
export function tagName(name: WheelName, tag: Tag): WheelName {
  if ('build' in tag) return { ...name, build: tag.build }
  const [version = '', local] = name.version.split('+')
  const parts = local === undefined ? [] : local.split(/[._]/)
  if (parts.at(-1) === tag.local || local === tag.local) return name
  // in file names the parts of a local version are joined by underscores or dots; dots are the normal form (PEP 440)
  return { ...name, version: `${version}+${[...parts, tag.local].join('.')}` }
}

/**
 * Writes the wheel to `output`.
 * @throws WheelfixError `IO`; no output file then
 */
export async function writeWheel(
  wheel: Wheel,
  contents: ReadonlyMap<WheelEntry, NewContent>,
  tag: Tag | null,
  output: string,
  onProgress?: (bytes: number) => void,
): Promise<void> {
  const { archive, distribution } = wheel
  const changes = new Map<WheelEntry, EntryChange | 'drop'>()
  for (const signature of distribution.signatures) changes.set(signature, 'drop')
  const texts = new Map(contents)
  const rename = tag === null ? null : retag(archive, distribution, tag, texts)

  const hashes = new Map<WheelEntry, Hash>()
  for (const [entry, { source, fields, changes: places }] of texts) {
    const hash = createHash('sha256')
    let size = 0
    changes.set(entry, {
      content: () => source,
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
    for (const [entry, { source, fields }] of texts) {
      const hash = hashes.get(entry)
      // RECORD is the last entry as a rule; where it is not, what follows it has not been read yet
      const read = hash === undefined ? null : { hash: `sha256=${hash.digest('base64url')}`, size: String(source.size) }
      rows.set(entry.name, fields ?? read ?? trueFields(source))
    }
    const text = rewriteRecord(withoutRows(distribution.record.text, distribution.signatures), rows)
    return bytesSource(encodeText(rename === null ? text : rename.record(text)))
  }
  changes.set(distribution.record.entry, { content: record })
  if (rename !== null) {
    for (const entry of archive.entries) {
      const name = rename.entry(entry.name)
      const change = changes.get(entry)
      if (name !== entry.name && change !== 'drop') changes.set(entry, { ...change, name })
    }
  }
  await toOutput(archive.path, output, async temporary => {
    const fd = openSync(fsPath(temporary), 'wx+', 0o600)
    try {
      await writeArchive(archive, fd, changes, onProgress)
    } finally {
      closeSync(fd)
    }
  })
}

/** Copies a wheel that needs no change, bit for bit. */
export async function copyWheel(path: string, output: string): Promise<void> {
  await toOutput(path, output, async temporary =>
    copyFileSync(fsPath(path), fsPath(temporary), constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE),
  )
}

/** Makes `output` by a rename, with the mode of the wheel that it comes from. */
async function toOutput(path: string, output: string, make: (temporary: string) => Promise<void>): Promise<void> {
  const folder = dirname(output)
  const temporary = join(folder, `.${basename(output)}.${process.pid}.wheelfix-tmp`)
  try {
    mkdirSync(fsPath(folder), { recursive: true })
    await make(temporary)
    chmodSync(fsPath(temporary), statSync(fsPath(path)).mode & 0o777)
    renameSync(fsPath(temporary), fsPath(output))
  } catch (error) {
    rmSync(fsPath(temporary), { force: true })
    const errno = errnoOf(error)
    if (errno === undefined || error instanceof WheelfixError) throw error
    throw new WheelfixError('IO', `${output}: cannot be written (${errno})`, output)
  }
}

/** Signatures are not listed as a rule; a row of one that is dropped must go. */
function withoutRows(record: string, entries: readonly WheelEntry[]): string {
  let text = record
  for (const { name } of entries) {
    const at = text.startsWith(`${name},`) ? 0 : text.indexOf(`\n${name},`) + 1
    if (!text.startsWith(`${name},`, at)) continue
    const end = text.indexOf('\n', at)
    text = text.slice(0, at) + (end < 0 ? '' : text.slice(end + 1))
  }
  return text
}

interface Retagged {
  entry(name: string): string
  record(text: string): string
}

/** Puts the tag into WHEEL or METADATA; for a local version the folders get another name, too. */
function retag(
  archive: Archive,
  distribution: WheelDistribution,
  tag: Tag,
  texts: Map<WheelEntry, NewContent>,
): Retagged | null {
  const { fileName, infoFolder } = distribution
  const file = 'build' in tag ? 'WHEEL' : 'METADATA'
  const entry = archive.entries.find(({ name }) => name === `${infoFolder}/${file}`)
  if (entry === undefined) return null
  const text = decodeBytes(readEntry(archive, entry))
  const { version } = tagName(fileName, tag)
  if ('build' in tag) {
    const newline = text.includes('\r\n') ? '\r\n' : '\n'
    const without = text.replaceAll(/^Build:.*\r?\n/gm, '')
    const at = without.search(/^Tag:/m)
    const line = `Build: ${tag.build}${newline}`
    const now = at < 0 ? `${without}${line}` : `${without.slice(0, at)}${line}${without.slice(at)}`
    if (now !== text) texts.set(entry, { source: bytesSource(encodeText(now)) })
    return null
  }
  if (version === fileName.version) return null
  const local = version.slice(version.indexOf('+'))
  const now = text.replace(/^(Version:[ \t]*[^\s+]+)(?:\+\S*)?/m, (_, plain: string) => plain + local)
  texts.set(entry, { source: bytesSource(encodeText(now)) })
  const stem = infoFolder.slice(0, -'.dist-info'.length)
  const newStem = stem.replace(/(?:\+[^-]*)?$/, local)
  const pattern = new RegExp(`^("?)${stem.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&')}(?=\\.(?:dist-info|data)/)`, 'gm')
  return {
    entry: name => name.replace(pattern, newStem),
    record: text => text.replaceAll(pattern, (_, quote: string) => quote + newStem),
  }
}

/** The path of the output in a folder. */
export function outputPath(wheel: Wheel, folder: string, tag: Tag | null): string {
  const { fileName } = wheel.distribution
  return join(folder, tag === null ? basename(wheel.archive.path) : formatWheelName(tagName(fileName, tag)))
}

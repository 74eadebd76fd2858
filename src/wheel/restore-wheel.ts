// Restores the original of a patched wheel. The objects and their fields in RECORD come from the undo notes inside the
// objects. The archive comes from the record in its comment. The contents always come back. The archive's own bytes
// come back only if zlib's deflate made its entries, as in Python's zipfile: only that compression can be repeated.
import { rmSync } from 'node:fs'
import { ElfError } from '../elf/error.ts'
import { bytesSource } from '../elf/source.ts'
import { decodeBytes, encodeText } from '../elf/text.ts'
import { notesIn, originalSource } from '../elf/graft/undo-note.ts'
import { isPlanned, ownerOf } from '../elf/graft/owners.ts'
import { WheelfixError } from '../io/error.ts'
import { digestOf } from '../io/hash.ts'
import { fsPath } from '../io/path.ts'
import { withSource } from '../io/source.ts'
import { normaliseName } from '../python/distributions.ts'
import { fieldsOf, hashHolds } from '../python/record.ts'
import { renaming, rewrite, toOutput } from './write-wheel.ts'
import { readEntry } from '../zip/entry-contents.ts'
import { deflateLikeZlib, ZLIB_LEVELS } from '../zip/deflate.ts'
import { splitWheelName } from '../python/wheel-tags.ts'
import type { NewContent, Wheel } from './fix-wheel.ts'
import { type Archive, DEFLATED, openArchive, refusal, type WheelEntry } from '../zip/read.ts'
import { type ArchiveNote, readArchiveNote, textBefore, withRowsBack } from './archive-note.ts'

interface WheelRestoration {
  readonly contents: ReadonlyMap<WheelEntry, NewContent>
  /** Objects that cannot be restored. */
  readonly refused: readonly { readonly path: string; readonly reason: string }[]
  /** The original file name of the wheel; null where the record does not hold it. */
  readonly name: string | null
  /** True if the wheel had signatures that were too large to keep. */
  readonly lost: boolean
}

/**
 * How much of the original is back: `archive`, every byte of the archive; `contents`, all contents and RECORD;
 * `changed`, less, because the wheel was changed after it was patched; `unknown`, because the wheel does not record its
 * original.
 */
export type Restored = 'archive' | 'contents' | 'changed' | 'unknown'

export interface WrittenRestoration {
  readonly original: Restored
  /** Did zlib compress the unchanged entries? No other compressor can be imitated. null: they are too small to tell. */
  readonly byZlib: boolean | null
}

/** Entries up to this size are used to find out how a wheel was compressed. */
const SAMPLE_SIZE = 256 << 10
const SAMPLES = 3

/** Up to this size, an archive is written once for each level that may have made it; a larger one twice at most. */
const MOST_FOR_EVERY_LEVEL = 64 << 20

/** What must be written so that every object is as it was before wheelfix. */
export function restoreWheel(wheel: Wheel): WheelRestoration {
  const contents = new Map<WheelEntry, NewContent>()
  const refused: { path: string; reason: string }[] = []
  for (const { entry, source, object } of wheel.objects) {
    const path = entry.name
    if (object.undo === null) {
      const isRecorded = (): boolean => wheel.distribution.record.rows.has(path)
      const isStale = object.owner === null && notesIn(source).some(undo => isPlanned(ownerOf(undo, isRecorded)))
      if (isStale) refused.push({ path, reason: 'another tool changed this file after wheelfix did' })
      continue
    }
    try {
      const { record, header, patches } = object.undo
      const original = originalSource(source, object.undo)
      const fields = record === null ? null : fieldsOf(record)
      const undone = [{ offset: 0, length: header.length }].concat(
        patches.map(({ offset, bytes }) => ({ offset, length: bytes.length })),
      )
      if (fields !== null && hashHolds(fields, original) === false)
        refused.push({ path, reason: 'its undo note restores a different file from the one that RECORD listed' })
      else contents.set(entry, { source: original, undone, ...(fields === null ? {} : { fields }) })
    } catch (error) {
      if (!(error instanceof ElfError)) throw error
      refused.push({ path, reason: error.message })
    }
  }
  const { note } = readArchiveNote(wheel.archive.ending)
  if (note !== null && note.stem !== null && !isStem(note.stem, wheel)) throw damagedNote(wheel.archive.path)
  return { contents, refused, name: originalName(wheel, note), lost: note !== null && note.dropped === null }
}

/** The file name in the archive note, if it can be trusted: not a path, and the name of a wheel of the same distribution. */
function originalName({ distribution }: Wheel, note: ArchiveNote | null): string | null {
  if (note === null || /[/\0]/.test(note.name)) return null
  const parts = splitWheelName(note.name)
  return parts !== null && normaliseName(parts.distribution) === distribution.name ? note.name : null
}

/**
 * Is this the `numpy-2.4.6` of a `numpy-2.4.6.dist-info` of the same distribution? It becomes a part of entry names.
 */
function isStem(stem: string, { distribution }: Wheel): boolean {
  const dash = stem.lastIndexOf('-')
  return dash > 0 && !/[/\\:\p{Cc}]/u.test(stem) && normaliseName(stem.slice(0, dash)) === distribution.name
}

function damagedNote(path: string): WheelfixError {
  return refusal(path, 'its note about the original is damaged')
}

/**
 * Writes the restored wheel to `output`.
 * @throws WheelfixError `IO`, `WHEEL_INVALID`; then there is no output file
 */
export async function writeRestored(
  wheel: Wheel,
  restoration: WheelRestoration,
  output: string,
  onProgress: (bytes: number) => void,
): Promise<WrittenRestoration> {
  const { archive, distribution } = wheel
  const { note, comment } = readArchiveNote(archive.ending)
  const { text } = distribution.record
  const plain = { drop: [], recordBefore: text, onProgress, entryName: (name: string) => name }
  if (note === null) {
    // a signature in the patched wheel was made for the patched wheel, after the patch
    await toOutput(archive.path, output, temporary =>
      rewrite(wheel, temporary, { ...plain, contents: restoration.contents, recordAfter: now => now }),
    )
    return { original: 'unknown', byZlib: true }
  }
  const stem = distribution.infoFolder.slice(0, -'.dist-info'.length)
  const renamed = note.stem === null ? null : renaming(stem, note.stem)
  const contents = new Map(restoration.contents)
  for (const entry of archive.entries) {
    const name = renamed?.entry(entry.name) ?? entry.name
    const change = note.texts.find(other => other.name === name)
    if (change === undefined) continue
    const before = textBefore(decodeBytes(readEntry(archive, entry)), change)
    contents.set(entry, { source: bytesSource(encodeText(before)) })
  }
  let recordIsTrue = false
  const rewriting = {
    ...plain,
    contents,
    entryName: renamed?.entry ?? plain.entryName,
    recordAfter(now: string): string {
      const before = withRowsBack(renamed?.record(now) ?? now, note.rows)
      recordIsTrue = digestOf(bytesSource(encodeText(before)), 'sha256', 'hex') === note.record
      return before
    },
    added: note.dropped ?? [],
    comment,
  }
  return toOutput(archive.path, output, async temporary => {
    const levels = levelsOf(archive, entry => entry === distribution.record.entry || contents.has(entry))
    const tried = archive.source.size > MOST_FOR_EVERY_LEVEL ? levels.slice(0, 2) : levels
    for (const [attempt, likeZlib] of (tried.length === 0 ? [null] : tried).entries()) {
      if (attempt > 0) rmSync(fsPath(temporary))
      await rewrite(wheel, temporary, likeZlib === null ? rewriting : { ...rewriting, likeZlib })
      await checkAdded(archive.path, temporary, note)
      if (withSource(temporary, source => digestOf(source, 'sha256', 'hex')) === note.sha256)
        return { original: 'archive', byZlib: true }
    }
    const byZlib = levels.length === ZLIB_LEVELS.length ? null : levels.length > 0
    return { original: recordIsTrue ? 'contents' : 'changed', byZlib }
  })
}

/**
 * Checks the entries that the archive note adds: they were not checked when the wheel was opened.
 * @throws WheelfixError `WHEEL_INVALID`
 */
async function checkAdded(path: string, temporary: string, note: ArchiveNote): Promise<void> {
  if (note.dropped === null || note.dropped.length === 0) return
  try {
    const restored = await openArchive(temporary)
    try {
      for (const { index } of note.dropped) {
        const entry = restored.entries[index]
        if (entry === undefined || !/\.dist-info\/RECORD\.(?:jws|p7s)$/.test(entry.name)) throw damagedNote(path)
        readEntry(restored, entry)
      }
    } finally {
      restored.close()
    }
  } catch (error) {
    if (!(error instanceof WheelfixError)) throw error
    throw damagedNote(path)
  }
}

/** The zlib levels that may have compressed the unchanged entries: for most entries most levels give the same bytes. */
function levelsOf(archive: Archive, isChanged: (entry: WheelEntry) => boolean): number[] {
  const samples = archive.entries
    .filter(entry => entry.method === DEFLATED && !isChanged(entry) && entry.size <= SAMPLE_SIZE)
    .toSorted((a, b) => b.size - a.size)
    .slice(0, SAMPLES)
    .map(entry => ({
      content: readEntry(archive, entry),
      stream: archive.source.read(entry.dataOffset, entry.compressedSize),
    }))
  return ZLIB_LEVELS.filter(level =>
    samples.every(({ content, stream }) => Buffer.from(deflateLikeZlib(content, level)).equals(stream)),
  )
}

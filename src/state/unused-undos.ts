// Removes the undos that no file needs any more: the edit was prevented by a kill, or the program was upgraded or removed.
// An undo is a few hundred bytes, and without it a program cannot be restored. So it goes only when every file that could
// lead to it is accounted for, and a day after that was first seen: an installer may still put the old program back, and
// after a power loss an earlier file may be there again.
import { lstatSync } from 'node:fs'
import { ElfError } from '../elf/error.ts'
import { errnoOf } from '../io/error.ts'
import { digestOf } from '../io/hash.ts'
import { entriesIn, fsPath, listDirectory } from '../io/path.ts'
import { removeFile } from '../io/write/folder.ts'
import { replaceContent } from '../io/write/replace.ts'
import { withSource } from '../io/source.ts'
import type { Place } from '../python/environment.ts'
import { readState } from '../python/state-folder.ts'

const FOLDER = 'undo'
const NOTE = `${FOLDER}/unused.json`
const DAY_MS = 86_400_000

/** One kept undo: its file name, and the hashes of the file that it applies to and of the one that it gives. */
interface Kept {
  readonly name: string
  readonly edited: string
  readonly size: number
  readonly original: string | null
}

/** What the scan of an environment has found. Paths are absolute. */
interface Scanned {
  /** Every folder whose files may need an undo, with the folders below it. Empty for an environment of single files. */
  readonly folders: readonly string[]
  /** The objects. Some may be outside the folders. */
  readonly files: readonly string[]
  /** The number of undos that are in use. When there are no others, nothing is read. */
  readonly used: number
}

/**
 * Removes undos that nothing has needed for a day, and notes those that nothing needs now. The caller holds the lock.
 * @param now in milliseconds
 */
export function pruneUndos(place: Place, { folders, files, used }: Scanned, now = Date.now()): void {
  const kept = keptIn(place)
  if (kept.length <= used && readState(place, NOTE) === null) return
  try {
    const unused = new Set(unusedOf(kept, folders, files))
    const since = readUnusedSince(place)
    const waiting = new Map<string, number>()
    for (const name of unused) {
      const first = Math.min(since.get(name) ?? now, now)
      if (now - first > DAY_MS) removeFile(`${place.stateFolder}/${FOLDER}/${name}`)
      else waiting.set(name, first)
    }
    writeUnusedSince(place, since, waiting)
  } catch (error) {
    // a file that cannot be read may need any of them
    if (errnoOf(error) === undefined && !(error instanceof ElfError)) throw error
  }
}

function keptIn(place: Place): Kept[] {
  return entriesIn(`${place.stateFolder}/${FOLDER}`).flatMap(({ name, kind }): Kept[] => {
    const [, edited, size] = /^([0-9a-f]{64})-(\d+)\.json$/.exec(name) ?? []
    if (kind !== 'file' || edited === undefined) return []
    return [{ name, edited, size: Number(size), original: originalIn(readState(place, `${FOLDER}/${name}`)) }]
  })
}

/** null: the file is damaged, so it applies to nothing. */
function originalIn(text: string | null): string | null {
  try {
    const value: unknown = JSON.parse(text ?? '')
    const original = typeof value === 'object' && value !== null && 'original' in value ? value.original : null
    return typeof original === 'string' ? original : null
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error
    return null
  }
}

/**
 * The undos that no file leads to. An edit in place keeps the size of a file. A file of the same size leads nowhere when it
 * is the original, or when another undo applies to it; any other content may be the edit of another tool or of
 * `wheelfix elf` on top, which can be taken back.
 * @throws the errors of readdir(2), lstat(2), open(2) and read(2)
 */
function unusedOf(kept: readonly Kept[], folders: readonly string[], files: readonly string[]): string[] {
  const sizes = new Set(kept.map(({ size }) => size))
  const contents = new Map<string, { readonly size: number; readonly digest: string }>()
  const seen = new Set<string>()
  const below = folders.flatMap(folder => [...filesBelow(folder, seen)])
  for (const path of new Set([...below, ...files])) {
    const { size } = lstatSync(fsPath(path))
    if (!sizes.has(size)) continue
    const digest = withSource(path, source => digestOf(source, 'sha256', 'hex'))
    contents.set(`${digest}-${size}`, { size, digest })
  }
  return kept.flatMap(undo => {
    const leads = [...contents.values()].some(({ size, digest }) => {
      if (size !== undo.size || digest === undo.original) return false
      if (digest === undo.edited) return true
      const other = kept.find(({ edited }) => edited === digest)
      return other === undefined || other.original === undo.edited
    })
    return leads ? [] : [undo.name]
  })
}

/** The regular files below a folder, each folder once. No link is followed. @throws the errors of readdir(2) */
function* filesBelow(folder: string, seen: Set<string>): Generator<string> {
  if (seen.has(folder)) return
  seen.add(folder)
  for (const { name, kind } of listDirectory(folder)) {
    const path = `${folder}/${name}`
    if (kind === 'directory') yield* filesBelow(path, seen)
    else if (kind === 'file') yield path
  }
}

/** When each undo was first seen without use, in milliseconds. */
function readUnusedSince(place: Place): Map<string, number> {
  try {
    const value: unknown = JSON.parse(readState(place, NOTE) ?? '')
    if (typeof value !== 'object' || value === null) return new Map()
    return new Map(Object.entries(value).filter((entry): entry is [string, number] => typeof entry[1] === 'number'))
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error
    return new Map()
  }
}

function writeUnusedSince(place: Place, before: ReadonlyMap<string, number>, after: ReadonlyMap<string, number>): void {
  const path = `${place.stateFolder}/${NOTE}`
  if (after.size === 0) removeFile(path)
  else if (before.size !== after.size || [...after].some(([name, first]) => before.get(name) !== first))
    replaceContent(path, `${JSON.stringify(Object.fromEntries(after))}\n`)
}

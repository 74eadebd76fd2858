// The RECORD files of a venv on disk: reads their rows, and gives rows other fields. python/record.ts does the same from
// text to text.
import { statSync } from 'node:fs'
import { encodeText } from '../elf/text.ts'
import { extrasOf } from '../io/write/attributes.ts'
import { readRegularLatin1 } from '../io/beneath.ts'
import { changedMeanwhile, WheelfixError } from '../io/error.ts'
import { fsPath } from '../io/path.ts'
import { type OpenFolders, withFolders } from '../io/write/folder.ts'
import { discardStaged, renameStaged, type Staged, stageContent, syncStaged } from '../io/write/replace.ts'
import type { FileOwner } from '../python/distributions.ts'
import {
  EMPTY_FIELDS,
  LARGEST_RECORD,
  type RecordFields,
  recordRows,
  rewriteRecord,
  SOURCES,
} from '../python/record.ts'
import { writeReason } from './change-object.ts'

/** The rows of RECORD files. Each file is read and parsed once. */
export type RecordReader = (path: string) => ReadonlyMap<string, RecordFields>

/**
 * Reads RECORD files by their paths, each once. The result is the fields by row.
 * @param only the rows that are asked for; without it all rows are kept
 */
export function recordReader(only?: ReadonlySet<string>): RecordReader {
  const files = new Map<string, ReadonlyMap<string, RecordFields>>()
  return path => {
    let rows = files.get(path)
    if (rows === undefined) {
      rows = readRows(path, only)
      files.set(path, rows)
    }
    return rows
  }
}

/**
 * The identity of a RECORD as it is now; null where there is none. Another program that writes the file gives it another
 * identity.
 */
export function recordIdentity(path: string): string | null {
  const status = statSync(fsPath(path), { bigint: true, throwIfNoEntry: false })
  return status === undefined ? null : [status.dev, status.ino, status.size, status.mtimeNs].join('-')
}

/** The rows of one RECORD without those of sources; empty when the file cannot be read. */
export function readRows(path: string, only?: ReadonlySet<string>): ReadonlyMap<string, RecordFields> {
  return recordRows(readRecord(path), SOURCES, only)
}

/** @param at the path by way of its open folder */
function readRecord(path: string, at = path): string {
  // the specification of RECORD says UTF-8; latin1 keeps any byte as it is
  return readRegularLatin1(at, LARGEST_RECORD, path)
}

/**
 * The RECORD that lists a file, and the path in its row as raw bytes, one character a byte; null when no RECORD lists the
 * file.
 */
export function rowOf(owner: FileOwner | null): { readonly recordPath: string; readonly row: string } | null {
  const recordPath = owner?.distribution.recordPath ?? null
  if (recordPath === null || owner?.row == null) return null
  return { recordPath, row: encodeText(owner.row).toString('latin1') }
}

/** The new fields, by RECORD file and row. */
export type RowChanges = Map<string, Map<string, RecordFields>>

/** Adds the new fields of a row of RECORD to the changes of a run. */
export function addRow(
  changes: RowChanges,
  { recordPath, row }: { recordPath: string; row: string },
  fields: RecordFields,
): void {
  const rows = changes.get(recordPath)
  if (rows === undefined) changes.set(recordPath, new Map([[row, fields]]))
  else rows.set(row, fields)
}

/** Gives rows of a RECORD file other fields. Returns the reason when the file cannot be written; then it is unchanged. */
export function rewriteRecordFile(recordPath: string, rows: ReadonlyMap<string, RecordFields>): string | null {
  return rewriteRecordFiles(new Map([[recordPath, new Map(rows)]])).get(recordPath) ?? null
}

/**
 * Gives rows of RECORD files other fields. The files of a batch are written before the first sync, and synced before the
 * first rename, so that one wait for the disk serves many. A file is read and written in the same open folder.
 * @param found the identities of the files when the changes were made. A file that another program has written since stays as
 *   it is: its rows are of other objects
 * @returns the files that cannot be written, with the reason; they are unchanged
 */
export function rewriteRecordFiles(
  changes: RowChanges,
  found: ReadonlyMap<string, string | null> | null = null,
): Map<string, string> {
  const reasons = new Map<string, string>()
  const attempt = (recordPath: string, action: () => void): boolean => {
    try {
      action()
      return true
    } catch (error) {
      reasons.set(recordPath, error instanceof WheelfixError ? error.message : writeReason(error))
      return false
    }
  }
  const all = [...changes]
  for (let from = 0; from < all.length; from += MOST_AT_ONCE) {
    const some = all.slice(from, from + MOST_AT_ONCE)
    const extras = extrasOf(some.map(([recordPath]) => recordPath))
    withFolders(folders => {
      const staged: Staged[] = []
      for (const [recordPath, rows] of some) {
        attempt(recordPath, () => {
          const at = placeOf(recordPath, rows, folders)
          if (at === null) return
          const before = readRecord(recordPath, at)
          const after = rewriteRecord(before, rows)
          if (after === before) return
          const item = stageContent(folders, recordPath, Buffer.from(after, 'latin1'))
          extras.keep(item)
          staged.push(item)
        })
      }
      const synced = staged.filter(item => attempt(item.path, () => syncStaged(item)))
      for (const item of synced) {
        attempt(item.path, () => {
          if (found !== null && found.get(item.path) !== recordIdentity(item.path)) {
            discardStaged(item)
            throw changedMeanwhile(item.path)
          }
          renameStaged(item)
        })
      }
    })
  }
  return reasons
}

/**
 * The path of a RECORD by way of its open folder. null for a RECORD outside the environment, to which a link leads, if it
 * may stay as it is: it keeps the hashes of files that are patched.
 * @throws WheelfixError `PATH_REFUSED` for one that lacks the fields of originals
 */
function placeOf(recordPath: string, rows: ReadonlyMap<string, RecordFields>, { at }: OpenFolders): string | null {
  try {
    return at(recordPath)
  } catch (error) {
    if (!(error instanceof WheelfixError)) throw error
    const originals = new Map([...rows].filter(([, fields]) => fields !== EMPTY_FIELDS))
    const now = readRecord(recordPath)
    if (rewriteRecord(now, originals) !== now) throw error
    return null
  }
}

/** The most files in a batch. Their folders are open meanwhile. */
const MOST_AT_ONCE = 256

// The RECORD files of a venv on the disk: their rows, and rows with other fields. Text to text is python/record.ts.
import { readFileSync } from 'node:fs'
import { encodeText } from '../elf/text.ts'
import { filesWithMore, keepMore } from '../io/attributes.ts'
import { errnoOf, WheelfixError } from '../io/error.ts'
import { fsPath } from '../io/path.ts'
import { renameStaged, type Staged, stageContent, syncStaged } from '../io/replace.ts'
import type { Owner } from '../python/distributions.ts'
import { type RecordFields, recordRows, rewriteRecord, SOURCES } from '../python/record.ts'
import { writeReason } from './change.ts'

/** The rows of RECORD files, each read and parsed once. */
export type RecordReader = (path: string) => ReadonlyMap<string, RecordFields>

export function recordReader(): RecordReader {
  const files = new Map<string, ReadonlyMap<string, RecordFields>>()
  return path => {
    let rows = files.get(path)
    if (rows === undefined) {
      rows = readRows(path)
      files.set(path, rows)
    }
    return rows
  }
}

/** The rows of one RECORD, those of sources apart; none where it cannot be read. */
export function readRows(path: string): ReadonlyMap<string, RecordFields> {
  return recordRows(readRecord(path), SOURCES)
}

function readRecord(path: string): string {
  try {
    // RECORD is UTF-8 by its specification; latin1 keeps any byte as it is
    return readFileSync(fsPath(path), 'latin1')
  } catch (error) {
    if (errnoOf(error) === undefined) throw error
    return ''
  }
}

/** Where RECORD speaks of a file: its path, and the row's path as its bytes have it, one character a byte; null: nowhere. */
export function rowOf(owner: Owner | null): { readonly record: string; readonly row: string } | null {
  const record = owner?.distribution.record ?? null
  if (record === null || owner?.row == null) return null
  return { record, row: encodeText(owner.row).toString('latin1') }
}

/** New fields by RECORD file and row. */
export type RowChanges = Map<string, Map<string, RecordFields>>

export function addRow(
  changes: RowChanges,
  { record, row }: { record: string; row: string },
  fields: RecordFields,
): void {
  const rows = changes.get(record)
  if (rows === undefined) changes.set(record, new Map([[row, fields]]))
  else rows.set(row, fields)
}

/** Gives rows of a RECORD file other fields; the reason when it cannot be written, then it is as it was. */
export function rewriteRecordFile(record: string, rows: ReadonlyMap<string, RecordFields>): string | null {
  return rewriteRecordFiles(new Map([[record, new Map(rows)]])).get(record) ?? null
}

/**
 * Gives rows of RECORD files other fields. All are written before the first is synced, and synced before the first is
 * renamed: one wait for the disk serves many.
 * @returns those that cannot be written, with the reason; they are as they were
 */
export function rewriteRecordFiles(changes: RowChanges): Map<string, string> {
  const reasons = new Map<string, string>()
  const attempt = (record: string, action: () => void): boolean => {
    try {
      action()
      return true
    } catch (error) {
      reasons.set(record, error instanceof WheelfixError ? error.message : writeReason(error))
      return false
    }
  }
  const staged: Staged[] = []
  const withMore = filesWithMore([...changes.keys()])
  for (const [record, rows] of changes) {
    attempt(record, () => {
      const before = readRecord(record)
      const after = rewriteRecord(before, rows)
      if (after === before) return
      const item = stageContent(record, Buffer.from(after, 'latin1'))
      if (withMore.has(record)) keepMore(item)
      staged.push(item)
    })
  }
  const synced = staged.filter(item => attempt(item.path, () => syncStaged(item)))
  for (const item of synced) attempt(item.path, () => renameStaged(item))
  return reasons
}

// The temporary files that a killed run has left.
import { lstatSync } from 'node:fs'
import { directoryOf, entriesIn, fileNameOf, fsPath } from '../path.ts'
import { removeFile } from './folder.ts'
import { isTemporary } from './replace.ts'

/** The temporary files below a folder, `depth` levels of folders deep. No link is followed. */
export function temporaryFiles(folder: string, depth: number): string[] {
  if (depth === 0) return []
  return entriesIn(folder).flatMap(({ name, kind }) => {
    const path = `${folder}/${name}`
    if (kind === 'directory') return temporaryFiles(path, depth - 1)
    return isTemporary(name) ? [path] : []
  })
}

/** Removes these files. The caller makes sure that no other run works there. @throws the errors of unlink(2) */
export function removeTemporaries(folder: string, depth: number): void {
  for (const path of temporaryFiles(folder, depth)) removeFile(path)
}

/** Without a lock, only the age of a temporary file shows that its run is gone: a run writes one file in seconds. */
const OLD_MS = 3_600_000

/** Removes the old temporary files of one file, at a place where another run may be writing now. */
export function removeOldTemporaries(path: string): void {
  const folder = directoryOf(path)
  for (const { name } of entriesIn(folder)) {
    if (!isTemporary(name) || !name.startsWith(`.${fileNameOf(path)}.`)) continue
    const old = `${folder}/${name}`
    const status = lstatSync(fsPath(old), { throwIfNoEntry: false })
    if (status !== undefined && Date.now() - status.mtimeMs > OLD_MS) removeFile(old)
  }
}

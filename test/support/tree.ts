// The state of a folder, for “nothing changed” and “as it was before”.
import { createHash } from 'node:crypto'
import { closeSync, lstatSync, openSync, readdirSync, readlinkSync, readSync } from 'node:fs'
import { join } from 'node:path'

/** What each file below `folder` is: its kind, mode and content, by its path relative to the folder. */
export function treeContent(folder: string): Map<string, string> {
  return describeTree(folder, (path, stat) => (stat.isFile() ? `${stat.mode.toString(8)} ${hashFile(path)}` : ''))
}

/** The names that are in one tree alone, or differ: what a test shows of trees with thousands of files. */
export function treeDifferences(one: ReadonlyMap<string, string>, other: ReadonlyMap<string, string>): string[] {
  const names = new Set([...one.keys(), ...other.keys()])
  return [...names].filter(name => one.get(name) !== other.get(name)).sort()
}

/** The inode and the times of each: equal only if nobody wrote, replaced or touched anything (no write spares the ctime). */
export function treeState(folder: string): Map<string, string> {
  return describeTree(
    folder,
    (_, stat) => `${stat.mode.toString(8)} ${stat.ino} ${stat.size} ${stat.mtimeNs} ${stat.ctimeNs}`,
  )
}

function describeTree(
  folder: string,
  describe: (path: string, stat: ReturnType<typeof lstat>) => string,
): Map<string, string> {
  const names = readdirSync(folder, { recursive: true, encoding: 'utf8' }).sort()
  return new Map(
    names.map(name => {
      const path = join(folder, name)
      const stat = lstat(path)
      const kind = stat.isSymbolicLink() ? `link to ${readlinkSync(path)}` : stat.isDirectory() ? 'folder' : 'file'
      return [name, `${kind} ${describe(path, stat)}`]
    }),
  )
}

function lstat(path: string) {
  return lstatSync(path, { bigint: true })
}

/** SHA-256 of a file, read in pieces. */
export function hashFile(path: string): string {
  const hash = createHash('sha256')
  const piece = Buffer.alloc(1 << 20)
  const fd = openSync(path, 'r')
  try {
    for (let count = readSync(fd, piece); count > 0; count = readSync(fd, piece)) hash.update(piece.subarray(0, count))
  } finally {
    closeSync(fd)
  }
  return hash.digest('hex')
}

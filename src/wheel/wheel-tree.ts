// Lays the files of wheels over the disk, as if the wheels were installed together. The loader's search sees the
// result.
import { posix } from 'node:path'
import { isInside } from '../io/path.ts'
import type { FileTree, OpenedFile } from '../ldso/file-tree.ts'

const NONE: ReadonlySet<string> = new Set()

/**
 * @param root everything below it comes from `files` and nothing else
 * @param files by path below the root: the files that an installer would write, objects or not (`object: null`)
 */
export function installedTree(disk: FileTree, root: string, files: ReadonlyMap<string, OpenedFile>): FileTree {
  const listings = new Map<string, Set<string>>()
  for (const path of files.keys()) {
    let at = path
    while (at !== root) {
      const directory = posix.dirname(at)
      const names = listings.get(directory)
      const name = posix.basename(at)
      if (names?.has(name) === true) break
      if (names === undefined) listings.set(directory, new Set([name]))
      else names.add(name)
      at = directory
    }
  }
  // there are no links below the root, so `..` can be resolved in the text
  const below = (path: string): string | null => {
    if (!path.startsWith(root)) return null
    const plain = posix.normalize(path)
    return isInside(plain, root) ? plain.replace(/\/$/, '') : null
  }
  return {
    names(directory) {
      const inside = below(directory)
      return inside === null ? disk.names(directory) : (listings.get(inside) ?? NONE)
    },
    canonical: path => below(path) ?? disk.canonical(path),
    open(path) {
      const inside = below(path)
      return inside === null ? disk.open(path) : (files.get(inside) ?? null)
    },
  }
}

// The files that a dynamic loader can see: directory listings and parsed objects, each read once. A wheel that is not
// installed, or a file as it will be after a plan, is laid over the disk here; the search itself does not know.
import { ElfError } from '../elf/error.ts'
import { readElf, withoutTables } from '../elf/read.ts'
import type { ElfObject } from '../elf/types.ts'
import { errnoOf } from '../io/error.ts'
import { namesIn, realPath } from '../io/path.ts'
import { withSource } from '../io/source.ts'

/** The errors of open(2) after which every loader looks into the next directory. */
const ABSENT: ReadonlySet<string> = new Set(['ENOENT', 'EACCES'])

/** A file that the loader opened. */
export interface OpenedFile {
  /** The loader's notion of “the same file”: device and inode. */
  readonly identity: string
  /** Without its tables (elf/read.ts). null: no ELF file, or one that cannot be read. */
  readonly object: ElfObject | null
  /** Where `object` is null, the first bytes of the file. */
  readonly head?: Uint8Array
  /** Something is there that cannot be opened: the error of open(2), other than those that say that nothing is there. */
  readonly errno?: string
}

/** Can it be opened at all? */
export function isThere(file: OpenedFile | null): boolean {
  return file !== null && file.errno === undefined
}

export interface FileTree {
  /** The names in a directory; empty where there is none, or it cannot be read. */
  names(directory: string): ReadonlySet<string>
  /** Opens a path as the loader would; null when nothing is there, or may not be read. */
  open(path: string): OpenedFile | null
  /** The same path in one spelling: the links and `..` of its folder resolved, its last name kept. */
  canonical(path: string): string
}

/** The real file system, of which something may be known already. */
interface DiskTree extends FileTree {
  /** Takes a file that was read elsewhere as what `open` gives for its path. */
  adopt(path: string, file: OpenedFile): void
}

/** The real file system. Nothing is read twice: make a new tree to see changes. */
export function diskTree(): DiskTree {
  const canonical = new Map<string, string>()
  const listings = new Map<string, ReadonlySet<string>>()
  const opened = new Map<string, OpenedFile | null>()

  /** One spelling for a directory that is reached as `a/../b` by one object and as `c/../b` by the next. */
  const canonicalDirectory = (directory: string): string => {
    let real = canonical.get(directory)
    if (real === undefined) {
      real = realDirectory(directory)
      canonical.set(directory, real)
    }
    return real
  }
  const canonicalPath = (path: string): string => {
    const slash = path.lastIndexOf('/')
    return slash <= 0 ? path : canonicalDirectory(path.slice(0, slash)) + path.slice(slash)
  }
  return {
    names(directory) {
      const real = canonicalDirectory(directory)
      let names = listings.get(real)
      if (names === undefined) {
        names = new Set(namesIn(real))
        listings.set(real, names)
      }
      return names
    },
    canonical: canonicalPath,
    adopt(path, file) {
      opened.set(canonicalPath(path), file)
    },
    open(path) {
      const real = canonicalPath(path)
      let file = opened.get(real)
      if (file === undefined) {
        file = openObject(real)
        opened.set(real, file)
      }
      return file
    },
  }
}

function realDirectory(directory: string): string {
  try {
    return realPath(directory)
  } catch (error) {
    if (errnoOf(error) === undefined) throw error
    return directory
  }
}

/** The larger of the two ELF headers. */
const HEAD = 64

function openObject(path: string): OpenedFile | null {
  try {
    return withSource(path, source => {
      const identity = `${source.status.dev}:${source.status.ino}`
      try {
        return { identity, object: withoutTables(readElf(source)) }
      } catch (error) {
        if (!(error instanceof ElfError)) throw error
        return { identity, object: null, head: Uint8Array.from(source.read(0, Math.min(HEAD, source.size))) }
      }
    })
  } catch (error) {
    // a folder, a device: it is there under that name, and the loader gives up on it
    if (error instanceof ElfError) return { identity: path, object: null }
    const errno = errnoOf(error)
    if (errno === undefined) throw error
    return ABSENT.has(errno) ? null : { identity: path, object: null, errno }
  }
}

/** A tree with some objects replaced, by identity: as they were before wheelfix, or as they will be after a plan. */
export function withObjects(tree: FileTree, objects: ReadonlyMap<string, ElfObject>): FileTree {
  return {
    names: directory => tree.names(directory),
    canonical: path => tree.canonical(path),
    open(path) {
      const file = tree.open(path)
      const object = file === null ? undefined : objects.get(file.identity)
      return file === null || object === undefined ? file : { identity: file.identity, object }
    },
  }
}

/** A tree with a directory as it will be: links to files elsewhere, by name. */
export function withLinks(tree: FileTree, directory: string, links: ReadonlyMap<string, string>): FileTree {
  const names = new Set(links.keys())
  return {
    names: folder => (folder === directory ? names : tree.names(folder)),
    canonical: path => tree.canonical(path),
    open(path) {
      const slash = path.lastIndexOf('/')
      const target = path.slice(0, slash) === directory ? links.get(path.slice(slash + 1)) : undefined
      return tree.open(target ?? path)
    },
  }
}

// The files that a dynamic loader can see: directory listings and parsed objects, each read once. Files that do not
// exist yet are laid over the disk here: a wheel that is not installed, or a file after a plan. The search itself does
// not notice.
import { ElfError } from '../elf/error.ts'
import { readElf, withoutTables } from '../elf/read.ts'
import type { ElfObject } from '../elf/types.ts'
import { errnoAt } from '../io/error.ts'
import { directoryOf, fileNameOf, namesIn, realPathOrNull } from '../io/path.ts'
import { withSource } from '../io/source.ts'

/** The errors of open(2) after which every loader tries the next directory. */
const ABSENT: ReadonlySet<string> = new Set(['ENOENT', 'EACCES'])

/** A file that the loader opened. */
export interface OpenedFile {
  /** How the loader recognises the same file: device and inode. */
  readonly identity: string
  /** The object without its tables (elf/read.ts). null: the file is not an ELF file, or cannot be read. */
  readonly object: ElfObject | null
  /** Where `object` is null, the first bytes of the file. */
  readonly head?: Uint8Array
  /**
   * The error of open(2) for a file that exists but cannot be opened. Never an error which says that nothing is there.
   */
  readonly errno?: string
}

/** Can the file be opened? */
export function canBeOpened(file: OpenedFile | null): boolean {
  return file !== null && file.errno === undefined
}

export interface FileTree {
  /** The names in a directory; empty where the directory is missing or cannot be read. */
  names(directory: string): ReadonlySet<string>
  /** Opens a path as the loader would; null when nothing is there, or it may not be read. */
  open(path: string): OpenedFile | null
  /** The same path in one spelling: resolves the links and `..` of its folder, and keeps its last name. */
  canonical(path: string): string
}

/** The real file system. Other code may already have read some of its files. */
interface DiskTree extends FileTree {
  /** Makes `open` return this file, which was read elsewhere, for the path. */
  adopt(path: string, file: OpenedFile): void
}

/** The real file system. Nothing is read twice: make a new tree to see changes. */
export function diskTree(): DiskTree {
  const canonical = new Map<string, string>()
  const listings = new Map<string, ReadonlySet<string>>()
  const opened = new Map<string, OpenedFile | null>()

  /** One spelling for a directory that one object reaches as `a/../b` and the next as `c/../b`. */
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
    if (slash <= 0) return path
    const directory = path.slice(0, slash)
    const real = canonicalDirectory(directory)
    // nearly every path has this spelling already, and a caller keeps it
    return real === directory ? path : real + path.slice(slash)
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
  return realPathOrNull(directory) ?? directory
}

/** The size of the larger of the two ELF headers, in bytes. */
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
    // a folder or a device: it exists under that name, and the loader gives up on it
    if (error instanceof ElfError) return { identity: path, object: null }
    const errno = errnoAt(path, error)
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

/** A tree with a directory in its future state: links to files elsewhere, by name. */
export function withLinks(tree: FileTree, directory: string, links: ReadonlyMap<string, string>): FileTree {
  const names = new Set(links.keys())
  return {
    names: folder => (folder === directory ? names : tree.names(folder)),
    canonical: path => tree.canonical(path),
    open(path) {
      const target = directoryOf(path) === directory ? links.get(fileNameOf(path)) : undefined
      return tree.open(target ?? path)
    },
  }
}

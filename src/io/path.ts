// Converts paths for node:fs and back. elf/text.ts explains how bytes that are not UTF-8 are kept.
import {
  accessSync,
  constants,
  type Dirent,
  lstatSync,
  readdirSync,
  readlinkSync,
  realpathSync,
  type Stats,
  statSync,
} from 'node:fs'
import { decodeBytes, encodeText } from '../elf/text.ts'
import { errnoAt, errnoOf } from './error.ts'

/** A path for a call of node:fs: the string itself, or its bytes where it holds escaped bytes. */
export function fsPath(path: string): string | Buffer {
  return path.isWellFormed() ? path : encodeText(path)
}

/** One name of a directory listing, decoded. */
export interface DirectoryEntry {
  readonly name: string
  readonly kind: 'file' | 'directory' | 'symlink' | 'other'
}

/** The entries of a directory, in byte order of their names, so that no result depends on the order on the disk. */
export function listDirectory(path: string): DirectoryEntry[] {
  let entries: { name: string; entry: Dirent<string> | Dirent<Buffer> }[] = readdirSync(fsPath(path), {
    withFileTypes: true,
    encoding: 'utf8',
  }).map(entry => ({ name: entry.name, entry }))
  if (entries.some(({ name }) => name.includes('\uFFFD'))) {
    entries = readdirSync(fsPath(path), { withFileTypes: true, encoding: 'buffer' }).map(entry => ({
      name: decodeBytes(entry.name),
      entry,
    }))
  }
  return entries
    .map(({ name, entry }): DirectoryEntry => ({ name, kind: kindOf(entry) }))
    .sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0))
}

/** As `listDirectory`, but empty where the directory does not exist or cannot be read. */
export function entriesIn(path: string): DirectoryEntry[] {
  return orNothing(() => listDirectory(path))
}

/**
 * The names alone, in byte order; empty where the directory does not exist or may not be read.
 * @throws WheelfixError `IO` when the system cannot say what is there
 */
export function namesIn(path: string): string[] {
  try {
    const names = readdirSync(fsPath(path))
    const lossy = names.some(name => name.includes('\uFFFD'))
    return (lossy ? readdirSync(fsPath(path), { encoding: 'buffer' }).map(name => decodeBytes(name)) : names).sort()
  } catch (error) {
    errnoAt(path, error)
    return []
  }
}

function orNothing<Item>(list: () => Item[]): Item[] {
  try {
    return list()
  } catch (error) {
    if (errnoOf(error) === undefined) throw error
    return []
  }
}

function kindOf(entry: Dirent<string> | Dirent<Buffer>): DirectoryEntry['kind'] {
  if (entry.isFile()) return 'file'
  if (entry.isDirectory()) return 'directory'
  return entry.isSymbolicLink() ? 'symlink' : 'other'
}

/** The real path with every link resolved. @throws the errors of realpath(3) */
export function realPath(path: string): string {
  return decodeBytes(realpathSync.native(fsPath(path), 'buffer'))
}

/**
 * As `realPath`; null where nothing is there, or where this user may not look.
 * @throws WheelfixError `IO` when the system cannot say what is there
 */
export function realPathOrNull(path: string): string | null {
  try {
    return realPath(path)
  } catch (error) {
    errnoAt(path, error)
    return null
  }
}

/** A folder with every link on the way to it resolved. The folder need not exist yet. */
export function realFolder(path: string): string {
  try {
    return `${realPath(directoryOf(path))}/${fileNameOf(path)}`
  } catch (error) {
    if (errnoOf(error) === undefined) throw error
    return path
  }
}

/** The text of a symbolic link. @throws the errors of readlink(2) */
export function readLink(path: string): string {
  return decodeBytes(readlinkSync(fsPath(path), 'buffer'))
}

/** As `readLink`; null for anything but a link, and for a link that this user cannot read. */
export function readLinkOrNull(path: string): string | null {
  try {
    return readLink(path)
  } catch (error) {
    if (errnoOf(error) === undefined) throw error
    return null
  }
}

/** Is `path` the folder `root` or below it? Both are absolute, without `..`. */
export function isInside(path: string, root: string): boolean {
  return path === root || path.startsWith(root.endsWith('/') ? root : `${root}/`)
}

/** Is there anything at `path`? A link counts even if its target does not exist. */
export function exists(path: string): boolean {
  return lstatSync(fsPath(path), { throwIfNoEntry: false }) !== undefined
}

/** The status of what is at `path`, or of what a link there leads to; null where nothing is there or it cannot be read. */
export function statusOf(path: string): Stats | null {
  return statusBy(statSync, path)
}

/** The status of what is at `path`, a link included; null where nothing is there or it cannot be read. */
export function linkStatusOf(path: string): Stats | null {
  return statusBy(lstatSync, path)
}

function statusBy(ask: typeof lstatSync, path: string): Stats | null {
  try {
    return ask(fsPath(path), { throwIfNoEntry: false }) ?? null
  } catch (error) {
    if (errnoOf(error) === undefined) throw error
    return null
  }
}

/** Is there a folder at `path`, or a link to one? @throws the errors of stat(2), except those for a path without a file */
export function isFolder(path: string): boolean {
  return statSync(fsPath(path), { throwIfNoEntry: false })?.isDirectory() ?? false
}

/** The folder of an absolute path. */
export function directoryOf(path: string): string {
  return path.slice(0, path.lastIndexOf('/'))
}

/** The last part of a path. */
export function fileNameOf(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1)
}

/** Is this the name or path of a shared library or extension module: `.so`, or `.so.` and a version? */
export function isLibraryName(path: string): boolean {
  return /\.so(?:\.|$)/.test(path)
}

/** A path below `root`, relative to `root`; any other path unchanged. */
export function relativeTo(root: string, path: string): string {
  return path.startsWith(`${root}/`) ? path.slice(root.length + 1) : path
}

/** May this process write into the folder? */
export function isWritable(folder: string): boolean {
  try {
    accessSync(fsPath(folder), constants.W_OK)
    return true
  } catch (error) {
    if (errnoOf(error) === undefined) throw error
    return false
  }
}

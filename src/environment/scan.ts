// Finds every ELF object of an environment by its first bytes and not by its name, and reads what the loader sees in it.
// (Files with the name of a source are not opened.) A link of an installer to a file in its cache counts as that file.
// Other links that leave the environment are counted, never followed. The scan also looks at folders outside that the
// environment imports from, but the objects there belong to somebody else.
import { statSync } from 'node:fs'
import { ElfError } from '../elf/error.ts'
import { originalSource } from '../elf/graft/undo-note.ts'
import { readElf, withoutTables } from '../elf/read.ts'
import { type KeptUndos, undosOf } from '../state/kept-undos.ts'
import { errnoOf, systemReason, WheelfixError } from '../io/error.ts'
import { matchesPath } from '../io/glob.ts'
import {
  directoryOf,
  type DirectoryEntry,
  exists,
  fileNameOf,
  fsPath,
  isInside,
  isLibraryName,
  listDirectory,
  readLink,
  realPath,
  relativeTo,
} from '../io/path.ts'
import { openElf } from '../io/source.ts'
import { temporaryFiles } from '../io/write/leftovers.ts'
import { isTemporary } from '../io/write/replace.ts'
import { isStore } from '../nix/refuse-store.ts'
import { type Distributions, readDistributions } from '../python/distributions.ts'
import { type Belonging, belongingOf, mayHoldModules, type OutsideFolder } from '../python/belonging.ts'
import type { Environment } from '../python/environment.ts'
import {
  isBroken,
  type ReadOptions,
  readObject,
  type ScannedObject,
  type UnreadableObject,
} from '../resolve/objects.ts'
import { isSourceName } from '../python/source-names.ts'
import { isCopy } from '../elf/graft/owners.ts'
import { optimiseFor } from './engine.ts'

export interface Scan {
  readonly objects: readonly ScannedObject[]
  readonly unreadable: readonly UnreadableObject[]
  /** The walked directories, absolute. Their times and those of the objects give the state of the venv. */
  readonly directories: readonly string[]
  /** Temporary files that a killed run left. */
  readonly leftovers: readonly string[]
  /** The number of links out of the environment that have the name of a shared object and that no installer made. */
  readonly foreignLinks: number
  /** Links in site-packages to folders outside the environment. The scan does not follow them. */
  readonly foreignFolders: readonly string[]
  /** The paths of the objects that an installer linked into the environment (link mode `symlink`). */
  readonly linked: ReadonlySet<string>
  /** Environments inside this one, each with its own Python and state. */
  readonly nested: readonly string[]
  /** What the environment holds and imports besides its own folders. */
  readonly belonging: Belonging
  /** The identities of the objects outside the environment. */
  readonly outside: ReadonlySet<string>
}

/** Folders that hold no object of a wheel. */
const SKIPPED = new Set(['__pycache__', '.wheelfix', '.git'])

/** How the objects are read. `isRecorded` says whether a RECORD lists a file. */
type Reading = Omit<ReadOptions, 'isRecorded'> & { readonly isRecorded: (path: string) => boolean }

/** A walk in progress: what it knows, and what it found so far. */
interface Walk {
  readonly venv: Environment
  /** The real path of the environment's root. */
  readonly root: string
  readonly store: string
  readonly ignored: readonly string[]
  readonly reading: Reading
  readonly kept: KeptUndos
  /** The real paths of the folders from which a walk began. */
  readonly seen: Set<string>
  /** The walk is in a folder that does not belong to the environment. */
  isOutside: boolean
  readonly objects: ScannedObject[]
  readonly unreadable: UnreadableObject[]
  readonly directories: string[]
  readonly leftovers: string[]
  foreignLinks: number
  readonly foreignFolders: string[]
  readonly linked: Set<string>
  readonly nested: string[]
  readonly outside: Set<string>
  /** The real paths of the files that links in folders outside lead to, with what leads to the folder. */
  readonly outsideLinks: Map<string, string>
  /** The folder outside that the walk is in; null before the first. */
  tree: OutsideFolder | null
}

/**
 * Walks the environment's folders. `extensionSuffixes` are those of the interpreter, the bare `.so` last. `store` is the Nix
 * store. `ignored` are globs of files and folders to skip. `driver`: look for libraries of the graphics driver that objects
 * open by name.
 * @throws the errors of readdir(2) for the folders of the venv themselves; unreadable folders below them are reported
 */
export function scanVenv(
  venv: Environment,
  extensionSuffixes: readonly string[],
  store: string,
  ignored: readonly string[] = [],
  driver = false,
): Scan {
  const belonging = belongingOf(venv, store)
  const walk: Walk = {
    venv,
    root: realPath(venv.root),
    store,
    ignored,
    reading: { suffixes: extensionSuffixes, isRecorded: recordedIn(venv), driver },
    kept: undosOf(venv),
    seen: new Set(),
    isOutside: false,
    objects: [],
    unreadable: [],
    directories: [],
    leftovers: [],
    foreignLinks: 0,
    foreignFolders: [],
    linked: new Set(),
    nested: [],
    outside: new Set(),
    outsideLinks: new Map(),
    tree: null,
  }
  for (const folder of [...venv.walk, ...belonging.folders]) visitOnce(walk, folder)
  for (const path of [...venv.files, ...belonging.files]) visitFile(walk, path, fileNameOf(path))
  walk.isOutside = true
  for (const tree of belonging.outside) {
    walk.tree = tree
    visitOnce(walk, tree.folder)
  }
  const linkedFolders = visitOutsideLinks(walk)
  walk.leftovers.push(...temporaryFiles(venv.stateFolder, STATE_DEPTH))
  const { objects, unreadable, directories, leftovers, foreignLinks, foreignFolders, linked, nested, outside } = walk
  return {
    objects,
    unreadable,
    directories,
    leftovers,
    foreignLinks,
    foreignFolders,
    linked,
    nested,
    belonging: { ...belonging, outside: [...belonging.outside, ...linkedFolders] },
    outside,
  }
}

/** Visits a folder once, even when several ways lead to it. */
function visitOnce(walk: Walk, folder: string): void {
  const real = realPath(folder)
  if (walk.seen.has(real)) return
  walk.seen.add(real)
  visitFolder(walk, folder)
}

function visitFolder(walk: Walk, directory: string): void {
  const { venv, isOutside, leftovers } = walk
  const entries = list(walk, directory)
  // a source tree may hold other environments, and this one too
  if (directory !== venv.root && entries.some(({ name }) => name === 'pyvenv.cfg')) {
    if (isOutside) return
    if (venv.kind === 'folder') {
      walk.nested.push(directory)
      return
    }
  }
  if (isStore(directory)) {
    const remedy = `name the folders beside it, or leave it out: --ignore '${relativeTo(venv.root, directory)}'`
    throw new WheelfixError(
      'PATH_REFUSED',
      `${directory} is a Nix store, whose files do not change: ${remedy}`,
      directory,
    )
  }
  walk.directories.push(directory)
  const below: string[] = []
  for (const { name, kind } of entries) {
    const path = `${directory}/${name}`
    if (walk.ignored.some(glob => matchesPath(relativeTo(venv.root, path), glob))) continue
    if (kind === 'directory') {
      if (!SKIPPED.has(name) && (!isOutside || mayHoldModules(name))) below.push(path)
    } else if (kind === 'symlink') {
      if (!isOutside) visitLink(walk, path, name)
      else if (isLibraryName(name) && linkTarget(path, walk.root, walk.store) === 'file') noteOutsideLink(walk, path)
    } else if (kind === 'file') {
      if (isTemporary(name)) {
        if (!isOutside) leftovers.push(path)
      } else if (!isSourceName(name)) visitFile(walk, path, name)
    }
  }
  for (const path of below) visitFolder(walk, path)
}

function visitLink(walk: Walk, path: string, name: string): void {
  const { venv, root, store } = walk
  // a temporary link is a new target of a name of bin/ that waits for its rename
  if (isTemporary(name)) walk.leftovers.push(path)
  else if (mayLeadOut(venv, path, name)) {
    const target = linkTarget(path, root, store)
    if (target === 'file' && isInstallers(venv, path)) visitFile(walk, path, name, walk.linked)
    else if (target !== null && isLibraryName(name)) walk.foreignLinks++
  } else if (venv.sitePackages.some(site => isInside(path, site)) && linkTarget(path, root, store) === 'folder') {
    walk.foreignFolders.push(path)
  }
}

/**
 * Notes what a link outside leads to, if that is beside or below the tree of the link: such a file belongs to whoever made
 * the tree. A file of the system or of another environment does not.
 */
function noteOutsideLink({ tree, outsideLinks }: Walk, path: string): void {
  const target = realPath(path)
  const around = tree === null ? '' : directoryOf(realPath(tree.folder))
  if (tree === null || around === '' || !isInside(target, around)) return
  for (let folder = directoryOf(target); folder !== around; folder = directoryOf(folder)) {
    if (exists(`${folder}/pyvenv.cfg`)) return
  }
  outsideLinks.set(target, tree.by)
}

/**
 * Visits what links outside lead to (a tree of links to sources: setuptools' strict mode, Bazel). Unlike an installer's link
 * to its cache, the file itself is what its owner builds and edits. Returns the folders of files that no walk had reached.
 */
function visitOutsideLinks(walk: Walk): OutsideFolder[] {
  const folders = new Map<string, OutsideFolder>()
  for (const [path, by] of walk.outsideLinks) {
    const status = statSync(fsPath(path), { throwIfNoEntry: false })
    const identity = status === undefined ? '' : `${status.dev}:${status.ino}`
    if (walk.objects.some(object => object.identity === identity)) continue
    visitFile(walk, path, fileNameOf(path))
    folders.set(directoryOf(path), { folder: directoryOf(path), by })
  }
  return [...folders.values()]
}

function visitFile(walk: Walk, path: string, name: string, among: Set<string> | null = null): void {
  const { venv, isOutside, unreadable } = walk
  const relative = relativeTo(venv.root, path)
  try {
    const object = scanFile(path, relative, name, walk.reading, walk.kept)
    // wheelfix's copy of the venv's Python is the interpreter, not an object of a wheel
    if (object === null || isCopy(object.owner)) return
    // a source tree holds programs for its build and tests, which nobody imports
    if (isOutside && object.kind === 'executable') return
    walk.objects.push(object)
    optimiseFor(walk.objects.length)
    if (isOutside) walk.outside.add(object.identity)
    among?.add(path)
  } catch (error) {
    const errno = errnoOf(error)
    if (isOutside && (error instanceof ElfError || errno !== undefined)) return
    if (error instanceof ElfError) unreadable.push({ path, relative, reason: error.message, broken: isBroken(error) })
    else if (errno !== undefined) unreadable.push({ path, relative, reason: sayErrno(errno, 'file'), broken: false })
    else throw error
  }
}

function list({ venv, isOutside, unreadable }: Walk, directory: string): readonly DirectoryEntry[] {
  try {
    return listDirectory(directory)
  } catch (error) {
    const errno = errnoOf(error)
    if (errno === undefined) throw error
    if (!isOutside) {
      const relative = relativeTo(venv.root, directory)
      unreadable.push({ path: directory, relative, reason: sayErrno(errno, 'folder'), broken: false })
    }
    return []
  }
}

/** The state folder is no deeper than `loader/lib/ld-musl-x86_64.so.1`. */
const STATE_DEPTH = 3

function sayErrno(errno: string, what: string): string {
  if (errno === 'EACCES' || errno === 'EPERM')
    return `you have no permission to read this ${what}: give yourself permission and run wheelfix again`
  return `this ${what} cannot be read: ${systemReason(errno)}`
}

/** May the link be an object of a wheel? In every venv the names of Python in bin/ lead out, so they do not count. */
function mayLeadOut({ kind, bin }: Environment, path: string, name: string): boolean {
  return isLibraryName(name) || (kind === 'venv' && directoryOf(path) === bin && !/^(?:python|pypy)/.test(name))
}

/** Do installers put files there? A link that users made in a folder of their own does not belong to the folder. */
function isInstallers({ kind, bin, sitePackages }: Environment, path: string): boolean {
  return (kind === 'venv' && directoryOf(path) === bin) || sitePackages.some(site => isInside(path, site))
}

/** Where a link out of the environment leads; null for a link into the environment or into the store. */
function linkTarget(path: string, root: string, store: string): 'file' | 'folder' | 'other' | null {
  try {
    const real = realPath(path)
    if (isInside(real, root) || isInside(real, store)) return null
    const status = statSync(fsPath(real))
    return status.isFile() ? 'file' : status.isDirectory() ? 'folder' : 'other'
  } catch (error) {
    if (errnoOf(error) === undefined) throw error
    // a dangling link: an absolute one points out of the venv
    return readLink(path).startsWith('/') ? 'other' : null
  }
}

/** Does a RECORD of the venv list a file? The RECORDs are read at the first question, which is rare. */
export function recordedIn({ sitePackages }: Pick<Environment, 'sitePackages'>): (path: string) => boolean {
  let distributions: Distributions | null = null
  return path => {
    distributions ??= readDistributions(sitePackages)
    return distributions.ownerOf(path)?.row != null
  }
}

/**
 * Reads single files of an environment as the scan does.
 * @returns a function that gives null for a file that is not an object of the environment, or cannot be read
 */
export function objectReader(venv: Environment, suffixes: readonly string[]): (path: string) => ScannedObject | null {
  const reading = { suffixes, isRecorded: recordedIn(venv), driver: false }
  const kept = undosOf(venv)
  return path => {
    try {
      return scanFile(path, relativeTo(venv.root, path), fileNameOf(path), reading, kept)
    } catch (error) {
      if (error instanceof ElfError || errnoOf(error) !== undefined) return null
      throw error
    }
  }
}

/** Reads one file; null when it is not an object that a loader loads (not ELF, or a relocatable or core file). */
function scanFile(
  path: string,
  relative: string,
  name: string,
  reading: Reading,
  kept: KeptUndos,
): ScannedObject | null {
  const source = openElf(path)
  if (source === null) return null
  try {
    const object = readObject(source, name, { ...reading, isRecorded: () => reading.isRecorded(path) })
    if (object === null) return null
    const identity = `${source.status.dev}:${source.status.ino}`
    const scanned: ScannedObject = { path, relative, ...object, status: source.status, identity }
    const undo = object.kind === 'executable' && object.owner === null ? kept.of(source) : null
    if (undo === null) return scanned
    const original = withoutTables(readElf(originalSource(source, undo)))
    return { ...scanned, original, undo, owner: 'venv', kept: true }
  } finally {
    source.close()
  }
}

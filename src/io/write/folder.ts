// The folders in which files are written and removed. Each is opened first, and everything then happens by way of the open
// folder (/proc/self/fd, as openat(2) does it). So it happens in that folder, even if another user puts a link in place of
// the folder or of one above it. An environment in which this process works is a fence: a folder that is named below it and
// is not in it is refused.
import { closeSync, constants, existsSync, mkdirSync, openSync, rmdirSync, rmSync } from 'node:fs'
import { errnoOf, WheelfixError } from '../error.ts'
import { directoryOf, fileNameOf, fsPath, isInside, linkStatusOf, listDirectory, readLink } from '../path.ts'

/** The flag of open(2) for a folder that need not be readable; Node has no name for it. */
const O_PATH = 0o10_000_000

const { O_RDONLY, O_DIRECTORY, O_NOFOLLOW } = constants

/** The real paths of the fences, by the paths that lead to them. */
const fences = new Map<string, string>()

/** The path by which a folder was last opened, by its descriptor. */
const names = new Map<number, string>()

/**
 * Makes a folder a fence for the rest of this process: what is written or removed below this path must really be in the
 * folder. Without /proc there is no fence.
 * @throws the errors of open(2)
 */
export function fenceIn(root: string): void {
  const fd = openPath(root)
  if (fd === null) return
  try {
    const real = pathOf(fd)
    fences.set(root, real).set(real, real)
  } finally {
    closeSync(fd)
  }
}

/** Asked once. */
let hasProc: boolean | null = null

/** null without /proc. */
function openPath(folder: string): number | null {
  hasProc ??= existsSync('/proc/self/fd')
  return hasProc ? openSync(fsPath(folder || '/'), O_PATH | O_DIRECTORY) : null
}

/** The path of an open folder, without links, as the kernel knows it. */
function pathOf(fd: number): string {
  return readLink(`/proc/self/fd/${fd}`)
}

/** The innermost fence around a path. */
function fenceOf(path: string): readonly [root: string, real: string] | null {
  let found: readonly [string, string] | null = null
  for (const fence of fences) if (isInside(path, fence[0]) && fence[0].length > (found?.[0].length ?? -1)) found = fence
  return found
}

/** @throws the errors of open(2); WheelfixError `PATH_REFUSED` when a link leads out of the fence */
function openFolder(folder: string): number | null {
  const fd = openPath(folder)
  if (fd === null) return null
  try {
    const fence = fenceOf(folder)
    const real = fence === null ? '' : pathOf(fd)
    if (fence !== null && !isInside(real, fence[1])) {
      const what = `${folder} leads out of ${fence[0]}, to ${real}: replace the link with a folder`
      throw new WheelfixError('PATH_REFUSED', what, folder)
    }
  } catch (error) {
    closeSync(fd)
    throw error
  }
  names.set(fd, folder)
  return fd
}

/** Folders that stay open while files in them are written. Each is opened once. */
export interface OpenFolders {
  /** The open folder of a file; null without /proc. @throws the errors of open(2), WheelfixError `PATH_REFUSED` */
  holding(this: void, path: string): number | null
  /** The path of a file by way of its open folder. @throws as `holding` does */
  at(this: void, path: string): string
  close(this: void): void
}

/** @param most the most folders that stay open. A caller that keeps descriptors or paths must not have this limit */
export function openFolders(most = Infinity): OpenFolders {
  const open = new Map<string, number | null>()
  const close = (): void => {
    for (const fd of open.values()) if (fd !== null) closeSync(fd)
    open.clear()
  }
  const holding = (path: string): number | null => {
    const folder = directoryOf(path)
    const known = open.get(folder)
    if (known !== undefined) return known
    if (open.size >= most) close()
    const fd = openFolder(folder)
    open.set(folder, fd)
    return fd
  }
  return { holding, at: path => within(holding(path), path), close }
}

/** Opens folders for some work, and closes them. */
export function withFolders<Result>(use: (folders: OpenFolders) => Result): Result {
  const folders = openFolders()
  try {
    return use(folders)
  } finally {
    folders.close()
  }
}

/** The path of a file by way of its open folder. */
export function within(folder: number | null, path: string): string {
  return folder === null ? path : `/proc/self/fd/${folder}/${fileNameOf(path)}`
}

/** A text for users, with the names of files in it that were opened by way of their folders. */
export function withNames(text: string): string {
  return text.replaceAll(/\/proc\/self\/fd\/(\d+)(?=\/)/g, (whole, fd) => names.get(Number(fd)) ?? whole)
}

/**
 * Makes a folder and the folders above it; folders below `root` only while `root` exists. (Node's recursive mkdir
 * would recreate a venv that was deleted meanwhile, and it reports ENOENT on a read-only file system.)
 * @throws the errors of open(2) and mkdir(2), WheelfixError `PATH_REFUSED`
 */
export function makeFolders(path: string, root: string): void {
  if (!isInside(path, root)) {
    mkdirSync(fsPath(path), { recursive: true })
    return
  }
  if (linkStatusOf(path)?.isDirectory() === true) return
  let folder = root
  for (const name of path
    .slice(root.length)
    .split('/')
    .filter(name => name !== '')) {
    folder += `/${name}`
    withFolders(({ at }) => {
      try {
        mkdirSync(fsPath(at(folder)))
      } catch (error) {
        if (errnoOf(error) !== 'EEXIST') throw error
      }
    })
  }
}

/** Removes a file or a link, if it exists. @throws the errors of unlink(2), WheelfixError `PATH_REFUSED` */
export function removeFile(path: string): void {
  whereThere(() => withFolders(({ at }) => rmSync(fsPath(at(path)), { force: true })))
}

/** Removes a folder, if it is there and empty. @throws WheelfixError `PATH_REFUSED` */
export function removeEmptyFolder(path: string): void {
  try {
    withFolders(({ at }) => rmdirSync(fsPath(at(path))))
  } catch (error) {
    if (errnoOf(error) === undefined) throw error
  }
}

/**
 * Removes what is at a path, and all that is below it. No link is followed. (Node's recursive removal goes by paths.)
 * @param last the name in the folder that is removed last. What others put into the folder after that stays
 * @throws the errors of open(2), unlink(2) and rmdir(2), WheelfixError `PATH_REFUSED`
 */
export function removeTree(path: string, last?: string): void {
  whereThere(() =>
    withFolders(({ at }) => {
      try {
        removeAt(at(path), last)
      } catch (error) {
        if (last === undefined || errnoOf(error) !== 'ENOTEMPTY') throw error
      }
    }),
  )
}

function removeAt(path: string, last?: string): void {
  const fd = folderAt(path)
  if (fd === null) {
    rmSync(fsPath(path), { force: true })
    return
  }
  try {
    const folder = hasProc === true ? `/proc/self/fd/${fd}` : path
    const entries = listDirectory(folder)
    for (const { name } of entries) if (name !== last) removeAt(`${folder}/${name}`)
    if (last !== undefined) rmSync(fsPath(`${folder}/${last}`), { force: true })
  } finally {
    closeSync(fd)
  }
  rmdirSync(fsPath(path))
}

/** Opens a folder, but no link to one; null for anything else. */
function folderAt(path: string): number | null {
  try {
    return openSync(fsPath(path), O_RDONLY | O_DIRECTORY | O_NOFOLLOW)
  } catch (error) {
    const errno = errnoOf(error)
    if (errno === 'ENOTDIR' || errno === 'ELOOP' || errno === 'ENOENT') return null
    throw error
  }
}

function whereThere(remove: () => void): void {
  try {
    remove()
  } catch (error) {
    const errno = errnoOf(error)
    if (errno !== 'ENOENT' && errno !== 'ENOTDIR') throw error
  }
}

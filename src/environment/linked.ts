// Installers with link mode `symlink` (uv, pdm's cache) leave links to their cache in place of files. An object that needs
// a change is first replaced by a copy of its own: nothing is ever written through a link. The state folder keeps where each
// link led, and a restore puts the link back.
import { closeSync, constants, lstatSync, openSync, readSync, statSync } from 'node:fs'
import { dirname, isAbsolute, join } from 'node:path'
import { errnoOf } from '../io/error.ts'
import { fsPath, isInside, readLink, realPath, relativeTo } from '../io/path.ts'
import { replaceContent, replaceLink, replaceLinkByCopy } from '../io/write/replace.ts'
import type { Place } from '../python/environment.ts'
import { readState } from '../python/state-folder.ts'

const NAME = 'links.json'

/** Where each link led, by its path below the root. */
type Links = Readonly<Record<string, string>>

/**
 * Replaces links by copies of their targets. The caller holds the lock of the environment. An interrupted call leaves links
 * and whole copies, and a restore turns both into links.
 * @param paths absolute, below the root
 * @throws the errors of open(2), write(2) and rename(2) for the list of links
 */
export function copyLinked(place: Place, paths: readonly string[]): void {
  const links = paths.map((path): [string, string] => [relativeTo(place.root, path), readLink(path)])
  replaceContent(`${place.stateFolder}/${NAME}`, JSON.stringify({ ...readLinks(place), ...Object.fromEntries(links) }))
  for (const path of paths) {
    try {
      replaceLinkByCopy(path)
    } catch (error) {
      // one link in a read-only folder stops no other file: it stays, and its object is refused later
      if (errnoOf(error) === undefined) throw error
    }
  }
}

/**
 * Puts links back in place of the copies that `copyLinked` made, after the copies are restored. A file that is not what the
 * link led to stays: it is the user's, or the installer's cache is gone.
 */
export function putLinksBack(place: Place): void {
  for (const [relative, target] of Object.entries(readLinks(place))) {
    const path = join(place.root, relative)
    if (isBelow(path, place.root) && isSameFile(path, target)) replaceLink(path, target)
  }
}

function readLinks(place: Place): Links {
  try {
    const links: unknown = JSON.parse(readState(place, NAME) ?? '{}')
    if (typeof links !== 'object' || links === null) return {}
    return Object.fromEntries(Object.entries(links).filter(([, target]) => typeof target === 'string'))
  } catch (error) {
    if (error instanceof SyntaxError) return {}
    throw error
  }
}

/** Is the path in the environment, also by the links on the way? Somebody else may have written the list. */
function isBelow(path: string, root: string): boolean {
  try {
    return isInside(path, root) && isInside(realPath(dirname(path)), realPath(root))
  } catch (error) {
    if (errnoOf(error) === undefined) throw error
    return false
  }
}

/** Does a file have the bytes that a link with this target would lead to? */
function isSameFile(path: string, target: string): boolean {
  const other = isAbsolute(target) ? target : join(dirname(path), target)
  try {
    const status = lstatSync(fsPath(path))
    const there = statSync(fsPath(other))
    // a copy by wheelfix has the time of its original; a file that an installer wrote later does not
    const isCopy = Math.abs(status.mtimeMs - there.mtimeMs) < 1 && status.size === there.size
    return status.isFile() && there.isFile() && isCopy && isSameContent(path, other)
  } catch (error) {
    if (errnoOf(error) === undefined) throw error
    return false
  }
}

const CHUNK = 1 << 20

function isSameContent(path: string, other: string): boolean {
  const flags = constants.O_RDONLY | constants.O_NONBLOCK
  const files = [openSync(fsPath(path), flags), openSync(fsPath(other), flags)] as const
  const [a, b] = [Buffer.alloc(CHUNK), Buffer.alloc(CHUNK)]
  try {
    for (;;) {
      const count = readSync(files[0], a, 0, CHUNK, null)
      const also = readSync(files[1], b, 0, CHUNK, null)
      if (count !== also || !a.subarray(0, count).equals(b.subarray(0, also))) return false
      if (count === 0) return true
    }
  } finally {
    for (const fd of files) closeSync(fd)
  }
}

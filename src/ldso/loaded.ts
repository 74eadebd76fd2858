// The objects in a process. Finds them by their names, in the order of the loader's list, and by inode.
import { fileNameOf } from '../io/path.ts'
import type { LinkMap, Process } from './search.ts'

/** The first object of the loader's list that has this name (elf/dl-load.c, _dl_lookup_map). */
export function byName(process: Process, name: string): LinkMap | undefined {
  const { order } = process
  if (order === null) return firstNamed(process, name)
  let found: LinkMap | undefined
  for (let p: Process | null = process; p !== null; p = p.base) {
    const named = p.names.get(name) ?? NOBODY
    const maps = Array.isArray(named) ? named : [named]
    for (const map of maps) if (found === undefined || order.indexOf(map) < order.indexOf(found)) found = map
  }
  return found
}

const NOBODY: LinkMap[] = []

/** The objects of the base were mapped first, so they come first. */
function firstNamed({ base, names }: Process, name: string): LinkMap | undefined {
  const found = base === null ? undefined : firstNamed(base, name)
  if (found !== undefined) return found
  const named = names.get(name)
  return Array.isArray(named) ? named[0] : named
}

/**
 * The map of a file by its device and inode, in this process or in those that it extends; undefined when the file is not
 * mapped (glibc: `_dl_map_object_from_fd` compares st_dev and st_ino).
 */
export function byIdentity(process: Process, identity: string): LinkMap | undefined {
  for (let p: Process | null = process; p !== null; p = p.base) {
    const map = p.identities.get(identity)
    if (map !== undefined) return map
  }
  return undefined
}

/** Adds an object to the process, under the name that was wanted. */
export function addMap(process: Process, map: LinkMap, name: string): void {
  process.maps.push(map)
  process.order?.push(map)
  process.identities.set(map.identity, map)
  // musl knows a library by the name under which a search found it, not by its DT_SONAME. A library opened by its path
  // has no name.
  if (process.loader.libc.kind === 'musl') {
    if (!name.includes('/') || name === process.loader.libc.ldso) addName(process, name, map)
    return
  }
  addName(process, name, map)
  if (map.object.soname !== null) addName(process, map.object.soname, map)
}

/** Adds a name to an object that is loaded already. */
export function addName(process: Process, name: string, map: LinkMap): void {
  const known = process.names.get(name)
  if (known === undefined) process.names.set(name, map)
  else if (Array.isArray(known)) {
    if (!known.includes(map)) known.push(map)
  } else if (known !== map) process.names.set(name, [known, map])
}

/**
 * Records that a search for `wanted` found the file of an object that is loaded already. From then on musl knows the
 * object by the last component of the path that opened it first, not by the wanted name.
 */
export function nameAgain(process: Process, map: LinkMap, wanted: string): void {
  if (process.loader.libc.kind !== 'musl') addName(process, wanted, map)
  else if (!wanted.includes('/')) addName(process, fileNameOf(map.path), map)
}

/**
 * Moves a filtee before its filter in the loader's list (elf/dl-deps.c): the filtee wins where both have the same name.
 */
export function moveBefore(process: Process, filtee: LinkMap, filter: LinkMap): void {
  const order = (process.order ??= listOf(process))
  order.splice(order.indexOf(filtee), 1)
  order.splice(order.indexOf(filter), 0, filtee)
}

function listOf({ base, order, maps }: Process): LinkMap[] {
  return order ?? [...(base === null ? [] : listOf(base)), ...maps]
}

// The directories in which glibc looks for a library (elf/dl-load.c, _dl_map_new_object, before glibc 2.42 in
// _dl_map_object). For a needed of object L, after the objects that are loaded already:
//   1. Unless L has DT_RUNPATH: DT_RPATH of L, of the object that loaded L and so on up the chain, then of the main
//      program. An object with DT_RUNPATH adds nothing here (`tagDirectories`), but does not end the chain.
//   2. LD_LIBRARY_PATH.
//   3. DT_RUNPATH of L alone.
//   4. ld.so.cache, then the built-in directories. If L has DF_1_NODEFLIB, only hits of the cache outside the built-in
//      directories count.
import { DF_1_NODEFLIB } from '../elf/constants.ts'
import { lookUpCache } from './cache/cache.ts'
import type { LinkMap, Process, SearchDirectory } from './search.ts'
import { loaderDirectories, tagDirectories } from './directories.ts'

/**
 * The directories that are searched for a needed of `map`, in order, in parts that objects share. For a hit of the
 * cache (`by` is `cache`), `directory` is the whole path of the file.
 */
export function glibcSearchPath(
  process: Process,
  map: LinkMap,
  soname: string,
): readonly (readonly SearchDirectory[])[] {
  const { loader } = process
  const { environment, builtin } = loaderDirectories(loader)
  const parts: (readonly SearchDirectory[])[] = []
  const add = (part: readonly SearchDirectory[]): void => {
    if (part.length > 0) parts.push(part)
  }
  if (map.object.runpath === null) {
    let mainSeen = false
    for (let l: LinkMap | null = map; l !== null; l = l.openedBy) {
      mainSeen ||= l === process.main
      add(tagDirectories(loader, l, 'DT_RPATH'))
    }
    if (!mainSeen) add(tagDirectories(loader, process.main, 'DT_RPATH'))
  }
  add(environment)
  add(tagDirectories(loader, map, 'DT_RUNPATH'))

  const noDefault = (map.object.flags1 & DF_1_NODEFLIB) !== 0n
  if (loader.cache.length > 0) {
    const { hwcaps, legacyHwcaps } = loader.libc
    const hit = lookUpCache(loader.cache, soname, process.main.object.header, hwcaps, legacyHwcaps)
    // with DF_1_NODEFLIB a hit of the cache counts only outside the built-in directories and their subfolders
    const systemDirectory = loader.libc.builtinDirectories.some(directory => hit?.startsWith(`${directory}/`))
    if (hit !== null && !(noDefault && systemDirectory)) {
      parts.push([{ directory: hit, by: 'cache', entry: null, owner: null }])
    }
  }
  if (!noDefault) add(builtin)
  return parts
}

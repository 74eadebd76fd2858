// The directories in which musl looks for a library (ldso/dynlink.c, load_library): LD_LIBRARY_PATH, then the search
// path of the object and of each object in the chain that needed it, then the system path. musl does not distinguish
// DT_RPATH and DT_RUNPATH (DT_RUNPATH wins where there are both). Both are inherited. `muslPath` in libc.ts reads the
// system path.
import type { LinkMap, Process, SearchDirectory } from './search.ts'
import { loaderDirectories, tagDirectories } from './directories.ts'

/** Is this library part of musl's libc itself? A needed of such a name is the loader (dynlink.c, `reserved`). */
export function isMuslItself(soname: string): boolean {
  return /^lib(?:c|pthread|rt|m|dl|util|xnet)\./.test(soname)
}

/**
 * Is this file, found by a search, another C library? musl then takes itself instead. It decides by the symbols of the
 * file, this function by its name.
 */
export function isAnotherLibc(path: string): boolean {
  return /\/ld-musl-[^/]+\.so\.1$/.test(path)
}

/** The directories that are searched for a needed of `map`, in order, in parts that objects share. */
export function muslSearchPath(process: Process, map: LinkMap): readonly (readonly SearchDirectory[])[] {
  const { loader } = process
  const { environment, builtin } = loaderDirectories(loader)
  const parts = [environment]
  for (let l: LinkMap | null = map; l !== null; l = l.openedBy) {
    parts.push(tagDirectories(loader, l, l.object.runpath === null ? 'DT_RPATH' : 'DT_RUNPATH'))
  }
  parts.push(builtin)
  return parts
}

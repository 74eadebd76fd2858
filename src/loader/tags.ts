// DT_RPATH and DT_RUNPATH of an object as directories: tokens replaced, hwcaps subdirectories put in.
import type { ElfObject } from '../elf/types.ts'
import type { LinkMap, Loader, SearchDirectory } from './search.ts'
import { expandTokens, type TokenValues } from './tokens.ts'

/** The directories of one tag of one object, in order. */
export function tagDirectories(
  loader: Loader,
  map: LinkMap,
  tag: 'DT_RPATH' | 'DT_RUNPATH',
): readonly SearchDirectory[] {
  // with both tags the loader ignores DT_RPATH (elf/get-dynamic-info.h)
  const text = tag === 'DT_RUNPATH' ? map.object.runpath : map.object.runpath === null ? map.object.rpath : null
  if (text === null || text === '') return []
  const known = expanded[tag].get(map.object)
  if (known !== undefined && known.path === map.path && known.loader === loader) return known.directories
  const directories: SearchDirectory[] = []
  for (const entry of text.split(':')) {
    const directory = entryDirectory(entry, loader, map)
    if (directory !== null) directories.push(...withHwcaps(loader, { directory, by: tag, entry, owner: map.path }))
  }
  expanded[tag].set(map.object, { path: map.path, loader, directories })
  return directories
}

interface Expanded {
  readonly path: string
  readonly loader: Loader
  readonly directories: readonly SearchDirectory[]
}

/** An object is mapped into thousands of simulated processes, mostly by the same path: its tags are expanded once. */
const expanded = {
  DT_RPATH: new WeakMap<ElfObject, Expanded>(),
  DT_RUNPATH: new WeakMap<ElfObject, Expanded>(),
}

function entryDirectory(entry: string, loader: Loader, map: LinkMap): string | null {
  const directory = expandTokens(entry, tokens(loader, map))
  if (directory === null) return null
  // an empty entry is the current directory, which nobody can know beforehand; a relative one is the same hazard
  if (!directory.startsWith('/')) return null
  return directory.length > 1 ? directory.replace(/\/+$/, '') || '/' : directory
}

/** A directory with its glibc-hwcaps subdirectories before it, best first (elf/dl-hwcaps.c). */
export function* withHwcaps(loader: Loader, step: SearchDirectory): Generator<SearchDirectory> {
  const names = loader.tree.names(step.directory)
  if (names.size === 0) return
  if (names.has('glibc-hwcaps')) {
    for (const level of loader.libc.hwcaps) yield { ...step, directory: `${step.directory}/glibc-hwcaps/${level}` }
  }
  yield step
}

/** What the tokens stand for in the strings of an object. */
export function tokens(loader: Loader, map: LinkMap): TokenValues {
  const slash = map.path.lastIndexOf('/')
  return {
    origin: slash <= 0 ? '/' : map.path.slice(0, slash),
    lib: loader.libc.lib,
    platform: loader.libc.platform,
  }
}

// The vocabulary of the loader's search: a simulated process, the objects mapped into it, the search path of a needed,
// and the reason for each result. Types only.
import type { ElfObject } from '../elf/types.ts'
import type { CacheEntry } from './cache/cache.ts'
import type { Libc } from './libc.ts'
import type { FileTree } from './file-tree.ts'

/** The rule by which a needed was found, or `not-found`. */
type FoundBy =
  | 'loaded' // an object of that name is in the process already
  | 'path' // the needed holds a slash: opened directly
  | 'DT_RPATH'
  | 'DT_RUNPATH'
  | 'environment' // LD_LIBRARY_PATH, or NIX_LD_LIBRARY_PATH that nix-ld makes of it
  | 'cache' // ld.so.cache
  | 'built-in' // the directories compiled into the libc
  | 'not-found'
  | 'not-elf' // a file of that name is not an ELF file: the loader gives up
  | 'unloadable' // a file of that name is an ELF file that the loader refuses: it gives up

/** One directory of a search path, with the reason why it is searched. */
export interface SearchDirectory {
  readonly directory: string
  readonly by: FoundBy
  /** The entry as written (`$ORIGIN/../numpy.libs`), for DT_RPATH and DT_RUNPATH. */
  readonly entry: string | null
  /** The path of the object that has the tag. */
  readonly owner: string | null
}

/** Why a needed resolves to its result. */
export interface Because {
  readonly by: FoundBy
  readonly entry: string | null
  readonly owner: string | null
  /** The fault of the file at which the loader gives up: the second half of a sentence. */
  readonly fault?: string
}

/** One object mapped into a process (glibc's struct link_map). */
export interface LinkMap {
  /** The path that opened it first; $ORIGIN is its folder. */
  readonly path: string
  readonly identity: string
  readonly object: ElfObject
  /** The object that loaded it first; null for the main program. */
  readonly openedBy: LinkMap | null
  /**
   * One for each DT_NEEDED and DT_FILTER, in the order of the dynamic table. Filled when the object's dependencies are
   * loaded.
   */
  readonly needed: NeededResult[]
}

/** The result for one needed of one object. */
export interface NeededResult {
  readonly soname: string
  readonly provider: LinkMap | null
  readonly because: Because
  /** Versions that the object wants of this provider and that the provider does not define, without weak ones. */
  readonly lackingVersions: readonly string[]
}

/** How this libc searches, for every object. */
export interface Loader {
  readonly tree: FileTree
  readonly libc: Libc
  /** The entries of the ld.so.cache that this libc reads; empty without one. */
  readonly cache: readonly CacheEntry[]
  /** The directories of LD_LIBRARY_PATH. */
  readonly environment: readonly string[]
}

/**
 * A running process: its objects in the order of mapping. `base` holds the objects of the process that it was forked
 * from.
 */
export interface Process {
  readonly loader: Loader
  readonly base: Process | null
  readonly main: LinkMap
  /** The program has started: everything from now on is loaded by dlopen. */
  readonly opening: boolean
  readonly maps: LinkMap[]
  /** All objects with a name; an array where there are several. */
  readonly names: Map<string, LinkMap | LinkMap[]>
  /** The loader's list, once a filtee was moved before its filter: it then differs from the order of mapping. */
  order: LinkMap[] | null
  readonly identities: Map<string, LinkMap>
}

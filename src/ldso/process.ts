// A process as the dynamic loader makes it, simulated: the list of the objects mapped into it, each with the object that
// loaded it first. It must not know of venvs, plans or the store.
//
// An object that is loaded already under the wanted name is taken, whoever loaded it; else a needed with a slash is a
// path; else the search path decides (glibc.ts, musl.ts). A file of another class or machine is passed over; a file that
// is no ELF file ends the search with an error (musl takes the first file that it can open, or fails). What was opened is
// compared by device and inode: the same file is never mapped twice.
import type { ElfObject, VersionNeed } from '../elf/types.ts'
import { fits } from './fits.ts'
import { glibcSearchPath } from './glibc.ts'
import { isMuslItself, muslSearchPath } from './musl.ts'
import type { Because, LinkMap, Loader, Process, SearchDirectory } from './search.ts'
import { tokens } from './tags.ts'
import { expandTokens } from './tokens.ts'
import type { OpenedFile } from './file-tree.ts'

/** The directories searched for a needed of `map`, in order; of a hit of the cache (`by`), the whole path of the file. */
export function searchPath(process: Process, map: LinkMap, soname: string): readonly SearchDirectory[] {
  return searchParts(process, map, soname).flat()
}

function searchParts(process: Process, map: LinkMap, soname: string): readonly (readonly SearchDirectory[])[] {
  return isMusl(process) ? muslSearchPath(process, map) : glibcSearchPath(process, map, soname)
}

/** Starts a program: it and everything that it needs. */
export function startProgram(loader: Loader, path: string, identity: string, object: ElfObject): Process {
  const main: LinkMap = { path, identity, object, loader: null, needed: [] }
  const process: Process = { loader, base: null, main, maps: [], names: new Map(), identities: new Map() }
  addMap(process, main, path)
  // the loader itself is mapped by the kernel and known by its soname from the start (elf/rtld.c)
  const interpreter = loader.libc.loader
  const rtld = loader.tree.open(interpreter)
  if (rtld?.object) {
    const map: LinkMap = { path: interpreter, identity: rtld.identity, object: rtld.object, loader: null, needed: [] }
    addMap(process, map, interpreter)
    if (object.interpreter !== null) process.names.set(object.interpreter, map)
  }
  loadDependencies(process, [main])
  return process
}

/** The same process at this moment, to load something more into without changing it. */
export function fork(process: Process): Process {
  return {
    loader: process.loader,
    base: process,
    main: process.main,
    maps: [],
    names: new Map(),
    identities: new Map(),
  }
}

/**
 * dlopen(path) called by code of `caller`. The object itself is opened by its path; gives its map. To musl every dlopen is
 * the main program's (ldso/dynlink.c, dlopen).
 */
export function open(process: Process, caller: LinkMap, path: string, identity: string, object: ElfObject): LinkMap {
  const known = byIdentity(process, identity)
  if (known !== undefined) return known
  const loader = isMusl(process) ? process.main : caller
  const map: LinkMap = { path, identity, object, loader, needed: [] }
  addMap(process, map, path)
  loadDependencies(process, [map])
  return map
}

/** Breadth first, in the order of DT_NEEDED (elf/dl-deps.c). A missing library does not stop it: all are wanted. */
function loadDependencies(process: Process, queue: LinkMap[]): void {
  for (let at = 0; at < queue.length; at++) {
    const map = queue[at]
    if (map === undefined) break
    for (const soname of map.object.needed) {
      const provider = need(process, map, soname)
      if (provider !== null) queue.push(provider)
    }
    // a filtee comes before the filter in the loader's list, so its own needs come before what is waiting; musl has none
    if (isMusl(process)) continue
    for (const soname of map.object.filters) {
      const filtee = need(process, map, soname)
      if (filtee !== null) queue.splice(at + 1, 0, filtee)
    }
    for (const soname of map.object.auxiliaries) {
      // one that is not there is no error (elf/dl-deps.c)
      const { provider, fresh } = find(process, map, soname)
      if (fresh && provider !== null) queue.splice(at + 1, 0, provider)
    }
  }
}

/** Resolves one needed of an object; gives the provider only where it was mapped for this. */
function need(process: Process, map: LinkMap, soname: string): LinkMap | null {
  const { provider, because, fresh } = find(process, map, soname)
  map.needed.push({
    soname,
    provider,
    because,
    lackingVersions: lackingVersions(map.object, soname, provider?.object),
  })
  return fresh ? provider : null
}

/** The versions that `object` wants of `soname` and `provider` does not define (elf/dl-version.c). */
export function lackingVersions(object: ElfObject, soname: string, provider: ElfObject | undefined): readonly string[] {
  // a provider without any version definitions is accepted with a warning
  if (provider === undefined || provider.versionDefinitions.length === 0) return NONE
  for (const need of object.versionNeeds) if (need.file === soname) return lackingOf(need, provider)
  return NONE
}

function lackingOf(need: VersionNeed, provider: ElfObject): readonly string[] {
  const known = lacking.get(need)
  if (known !== undefined && known.provider === provider) return known.versions
  let defined = definitions.get(provider)
  if (defined === undefined) {
    defined = new Set(provider.versionDefinitions)
    definitions.set(provider, defined)
  }
  const has = defined
  const versions = need.versions.filter(({ weak, name }) => !weak && !has.has(name)).map(({ name }) => name)
  lacking.set(need, { provider, versions: versions.length === 0 ? NONE : versions })
  return versions
}

/** What is lacking of one provider, nearly always the same: asked for thousands of times. */
const lacking = new WeakMap<VersionNeed, { readonly provider: ElfObject; readonly versions: readonly string[] }>()

/** The version definitions of a provider as a set: libc's are asked for thousands of times. */
const definitions = new WeakMap<ElfObject, ReadonlySet<string>>()

interface Found {
  readonly provider: LinkMap | null
  readonly because: Because
  /** Mapped just now: its own needed are still to be loaded. */
  readonly fresh: boolean
}

function find(process: Process, map: LinkMap, soname: string): Found {
  const musl = isMusl(process)
  // musl replaces no tokens here
  const wanted = musl || !soname.includes('$') ? soname : expandTokens(soname, tokens(process.loader, map))
  if (wanted === null) return NOT_FOUND
  const loaded = byName(process, musl && isMuslItself(wanted) ? process.loader.libc.loader : wanted)
  if (loaded !== undefined) return { provider: loaded, because: LOADED, fresh: false }

  if (wanted.includes('/')) {
    const file = process.loader.tree.open(wanted)
    if (file === null) return NOT_FOUND
    if (file.object === null || !fits(file.object, process.main.object)) {
      return { provider: null, because: NOT_ELF, fresh: false }
    }
    return adopt(process, map, wanted, wanted, file.identity, file.object, BY_PATH)
  }

  for (const part of searchParts(process, map, soname)) {
    for (const step of part) {
      const entry =
        step.by === 'cache' ? openAt(process.loader, step.directory) : openIn(process.loader, step.directory, wanted)
      if (entry === null) continue
      const { path, file } = entry
      if (file.object === null || endsSearch(file.object, process)) {
        return { provider: null, because: { by: 'not-elf', entry: step.entry, owner: step.owner }, fresh: false }
      }
      if (!fits(file.object, process.main.object)) continue
      return adopt(process, map, wanted, path, file.identity, file.object, step)
    }
  }
  return NOT_FOUND
}

interface OpenedAt {
  readonly path: string
  readonly file: OpenedFile
}

/** What a name in a directory is to a loader, by both: thousands of processes look for the same few. */
const entries = new WeakMap<Loader, Map<string, Map<string, OpenedAt | null>>>()

function openIn(loader: Loader, directory: string, name: string): OpenedAt | null {
  let ofLoader = entries.get(loader)
  if (ofLoader === undefined) entries.set(loader, (ofLoader = new Map()))
  let ofDirectory = ofLoader.get(directory)
  if (ofDirectory === undefined) ofLoader.set(directory, (ofDirectory = new Map()))
  let entry = ofDirectory.get(name)
  if (entry === undefined) {
    // the listing is asked first: it is in memory, and most directories do not have the name
    entry = loader.tree.names(directory).has(name) ? openAt(loader, pathIn(directory, name)) : null
    ofDirectory.set(name, entry)
  }
  return entry
}

function openAt({ tree }: Loader, path: string): OpenedAt | null {
  const file = tree.open(path)
  return file === null ? null : { path, file }
}

/** The path of a name in a directory of the search path. */
export function pathIn(directory: string, name: string): string {
  return directory === '/' ? `/${name}` : `${directory}/${name}`
}

/** Files of another class or machine are passed over, but not of this class in the other byte order; musl looks no further. */
function endsSearch(object: ElfObject, process: Process): boolean {
  if (fits(object, process.main.object)) return false
  if (isMusl(process)) return true
  const { header } = process.main.object
  return object.header.class === header.class && object.header.byteOrder !== header.byteOrder
}

/** Takes an opened file into the process, or the map that it already has under another name. */
function adopt(
  process: Process,
  loader: LinkMap,
  soname: string,
  path: string,
  identity: string,
  object: ElfObject,
  found: Because,
): Found {
  const because = { by: found.by, entry: found.entry, owner: found.owner }
  const same = byIdentity(process, identity)
  if (same !== undefined) {
    if (!isMusl(process) || !soname.includes('/')) process.names.set(soname, same)
    return { provider: same, because, fresh: false }
  }
  const map: LinkMap = { path, identity, object, loader, needed: [] }
  addMap(process, map, soname)
  return { provider: map, because, fresh: true }
}

function addMap(process: Process, map: LinkMap, name: string): void {
  process.maps.push(map)
  // musl knows a library by the name under which it was found, not by its DT_SONAME, nor one that was opened by its path
  if (!isMusl(process)) {
    process.names.set(name, map)
    if (map.object.soname !== null && byName(process, map.object.soname) === undefined) {
      process.names.set(map.object.soname, map)
    }
  } else if (!name.includes('/') || name === process.loader.libc.loader) process.names.set(name, map)
  process.identities.set(map.identity, map)
}

function byName(process: Process, name: string): LinkMap | undefined {
  for (let p: Process | null = process; p !== null; p = p.base) {
    const map = p.names.get(name)
    if (map !== undefined) return map
  }
  return undefined
}

function byIdentity(process: Process, identity: string): LinkMap | undefined {
  for (let p: Process | null = process; p !== null; p = p.base) {
    const map = p.identities.get(identity)
    if (map !== undefined) return map
  }
  return undefined
}

function isMusl(process: Process): boolean {
  return process.loader.libc.kind === 'musl'
}

const LOADED: Because = { by: 'loaded', entry: null, owner: null }
const BY_PATH: Because = { by: 'path', entry: null, owner: null }
const NOT_ELF: Because = { by: 'not-elf', entry: null, owner: null }
const NONE: readonly never[] = []
const NOT_FOUND: Found = { provider: null, because: { by: 'not-found', entry: null, owner: null }, fresh: false }

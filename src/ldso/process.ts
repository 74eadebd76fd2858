// Simulates a process as the dynamic loader makes it: the list of the objects mapped into it, each with the object that
// loaded it first. Must not know of venvs, plans or the store.
//
// If an object with the wanted name is loaded already, the loader takes it, whichever object loaded it. Else a needed
// with a slash is a path. Else the loader goes through the search path (glibc.ts, musl.ts) and judges each file found
// there (candidate.ts). Opened files are compared by device and inode: the same file is never mapped twice. README.md
// lists the rules.
import { DT_AUXILIARY, DT_FILTER, DT_NEEDED } from '../elf/constants.ts'
import { encodeText } from '../elf/text.ts'
import type { ElfObject, VersionNeed } from '../elf/types.ts'
import { type Fault, fateOf, mappingFault } from './candidate.ts'
import { glibcSearchPath } from './glibc.ts'
import type { Libc } from './libc.ts'
import { addMap, addName, byIdentity, byName, moveBefore, nameAgain } from './loaded.ts'
import { isAnotherLibc, isMuslItself, muslSearchPath } from './musl.ts'
import type { Because, LinkMap, Loader, Process, SearchDirectory } from './search.ts'
import { tokens } from './directories.ts'
import { expandTokens } from './tokens.ts'
import type { OpenedFile } from './file-tree.ts'

/**
 * The directories searched for a needed of `map`, in order, in parts. If glibc cannot open a file that it finds, it
 * goes on with the next part. For a hit of the cache (see `by`), `directory` is the whole path of the file.
 */
export function searchParts(process: Process, map: LinkMap, soname: string): readonly (readonly SearchDirectory[])[] {
  return isMusl(process) ? muslSearchPath(process, map) : glibcSearchPath(process, map, soname)
}

/** Starts a program: maps it and everything that it needs. */
export function startProgram(loader: Loader, path: string, identity: string, object: ElfObject): Process {
  const main: LinkMap = { path, identity, object, openedBy: null, needed: [] }
  const process: Process = {
    loader,
    base: null,
    main,
    opening: false,
    order: null,
    maps: [],
    names: new Map(),
    identities: new Map(),
  }
  addMap(process, main, path)
  // the kernel maps the loader itself, and the loader is known by its soname from the start (elf/rtld.c)
  const rtld = openLoader(loader, object.ptInterp)
  if (rtld?.file.object) {
    const { identity, object } = rtld.file
    const map: LinkMap = { path: rtld.path, identity, object, openedBy: null, needed: [] }
    addMap(process, map, loader.libc.ldso)
    if (object.ptInterp !== null) addName(process, object.ptInterp, map)
  }
  loadDependencies(process, [main])
  return process
}

/**
 * The loader of a program: the file that PT_INTERP names (a private loader, for example), or the libc's own loader if that
 * file does not exist yet or is nix-ld.
 */
function openLoader(loader: Loader, interpreter: string | null): OpenedAt | null {
  const named = interpreter === null || loader.libc.nixLd !== null ? null : openAt(loader, interpreter)
  return named?.file.object == null ? openAt(loader, loader.libc.ldso) : named
}

/** A copy of the process in its current state. Loading into the copy does not change the original. */
export function fork(process: Process): Process {
  return {
    loader: process.loader,
    base: process,
    main: process.main,
    opening: true,
    order: process.order === null ? null : [...process.order],
    maps: [],
    names: new Map(),
    identities: new Map(),
  }
}

/**
 * dlopen(path) called by code of `caller`. Opens the object itself by its path, and returns its map. For musl the main
 * program makes every dlopen (ldso/dynlink.c, dlopen).
 */
export function open(process: Process, caller: LinkMap, path: string, identity: string, object: ElfObject): LinkMap {
  // for glibc the path is a name like any other
  const known = (isMusl(process) ? undefined : byName(process, path)) ?? byIdentity(process, identity)
  if (known !== undefined) return known
  const loader = isMusl(process) ? process.main : caller
  const map: LinkMap = { path, identity, object, openedBy: loader, needed: [] }
  addMap(process, map, path)
  loadDependencies(process, [map])
  return map
}

/**
 * Goes breadth first, in the order of the dynamic table (elf/dl-deps.c). A missing library does not stop it, because
 * the caller wants all missing ones.
 */
function loadDependencies(process: Process, queue: LinkMap[]): void {
  const listed = new Set(queue)
  const fresh = new Set(queue)
  for (let at = 0; at < queue.length; at++) {
    const map = queue[at]
    if (map === undefined) break
    if (!fresh.has(map)) {
      // an object that was loaded before is still put into the list, with everything it needs
      for (const { provider } of map.needed) if (provider !== null) append(provider)
      continue
    }
    // filtees come before their filter in the loader's list, so what they need comes before the waiting objects
    let place = at + 1
    for (const dependency of dependenciesOf(map.object)) {
      const { tag, name } = dependency
      if (tag !== DT_NEEDED && isMusl(process)) continue
      const found = tag === DT_AUXILIARY ? find(process, map, name) : need(process, map, dependency)
      if (found.provider === null) continue
      if (found.fresh) fresh.add(found.provider)
      if (tag === DT_NEEDED) append(found.provider)
      else if (insert(found.provider, place)) {
        moveBefore(process, found.provider, map)
        place++
      }
    }
  }

  function append(map: LinkMap): void {
    if (listed.has(map)) return
    listed.add(map)
    queue.push(map)
  }

  /** Returns false where the map is already in the list before this place. */
  function insert(map: LinkMap, place: number): boolean {
    const waiting = listed.has(map) ? queue.indexOf(map, place) : null
    if (waiting === -1) return false
    if (waiting !== null) queue.splice(waiting, 1)
    listed.add(map)
    queue.splice(place, 0, map)
    return true
  }
}

interface Dependency {
  /** DT_NEEDED, DT_FILTER or DT_AUXILIARY. A missing library of a DT_AUXILIARY is not an error. */
  readonly tag: number
  readonly name: string
  /** The versions that the object wants of it. */
  readonly versions: VersionNeed | null
  /** The provider in the last process. It is nearly always the same. */
  last: ElfObject | null
  /** What that provider lacks. */
  lacking: readonly string[]
}

/** By the object's list of needed, which an object with another search path shares. */
const dependencies = new WeakMap<ElfObject['needed'], readonly Dependency[]>()

/** All libraries that an object names, in the order of its dynamic table: lld puts DT_FILTER before DT_NEEDED. */
function dependenciesOf(object: ElfObject): readonly Dependency[] {
  let known = dependencies.get(object.needed)
  if (known === undefined) {
    known = listDependencies(object)
    dependencies.set(object.needed, known)
  }
  return known
}

function listDependencies({ needed, filters, auxiliaries, dynamic, versionNeeds }: ElfObject): Dependency[] {
  const entries = (tag: number, names: readonly string[]): Dependency[] =>
    names.map(name => {
      const versions = versionNeeds.find(({ file }) => file === name) ?? null
      return { tag, name, versions, last: null, lacking: NONE }
    })
  const named = [...entries(DT_NEEDED, needed), ...entries(DT_FILTER, filters), ...entries(DT_AUXILIARY, auxiliaries)]
  if (filters.length + auxiliaries.length === 0) return named
  const tags = (dynamic ?? []).map(({ tag }) => tag).filter(tag => named.some(entry => entry.tag === tag))
  const ordered = tags.flatMap(tag => {
    const next = named.findIndex(entry => entry.tag === tag)
    return next < 0 ? [] : named.splice(next, 1)
  })
  // entries that were added to the object after it was read come last
  return [...ordered, ...named]
}

/** Resolves one needed of an object. */
function need(process: Process, map: LinkMap, dependency: Dependency): Found {
  const found = find(process, map, dependency.name)
  const { provider, because } = found
  const lackingVersions = provider === null || isMusl(process) ? NONE : lackedBy(dependency, provider.object)
  map.needed.push({ soname: dependency.name, provider, because, lackingVersions })
  return found
}

function lackedBy(dependency: Dependency, provider: ElfObject): readonly string[] {
  const { versions } = dependency
  if (versions === null) return NONE
  if (dependency.last !== provider) {
    dependency.last = provider
    dependency.lacking = lackingOf(versions, provider)
  }
  return dependency.lacking
}

/**
 * The versions that `object` wants of `soname` and that `provider` does not define (elf/dl-version.c); musl checks
 * none.
 */
export function lackingVersions(
  libc: Libc['kind'],
  object: ElfObject,
  soname: string,
  provider: ElfObject | undefined,
): readonly string[] {
  if (libc === 'musl' || provider === undefined) return NONE
  for (const need of object.versionNeeds) if (need.file === soname) return lackingOf(need, provider)
  return NONE
}

function lackingOf(need: VersionNeed, provider: ElfObject): readonly string[] {
  // the loader only warns about a provider without any version definitions
  if (provider.versionDefinitions.length === 0 && provider.baseVersion === null) return NONE
  let defined = definitions.get(provider)
  if (defined === undefined) {
    const { versionDefinitions, baseVersion } = provider
    defined = new Set(baseVersion === null ? versionDefinitions : [...versionDefinitions, baseVersion])
    definitions.set(provider, defined)
  }
  const has = defined
  const versions = need.versions.filter(({ weak, name }) => !weak && !has.has(name)).map(({ name }) => name)
  return versions.length === 0 ? NONE : versions
}

/** The version definitions of a provider as a set. The set of libc is needed thousands of times. */
const definitions = new WeakMap<ElfObject, ReadonlySet<string>>()

interface Found {
  readonly provider: LinkMap | null
  readonly because: Because
  /** Mapped just now: the objects that it needs are not loaded yet. */
  readonly fresh: boolean
}

function find(process: Process, map: LinkMap, soname: string): Found {
  const musl = isMusl(process)
  // musl replaces no tokens here
  const wanted = musl || !soname.includes('$') ? soname : expandTokens(soname, tokens(process.loader, map))
  if (wanted === null) return NOT_FOUND
  // glibc's name for the main program is the empty one
  if (wanted === '' && !musl) return { provider: process.main, because: LOADED, fresh: false }
  const loaded = byName(process, musl && isMuslItself(wanted) ? process.loader.libc.ldso : wanted)
  if (loaded !== undefined) return { provider: loaded, because: LOADED, fresh: false }

  if (wanted.includes('/')) {
    const entry = openAt(process.loader, wanted)
    const found = entry === null ? null : take(process, map, wanted, entry, BY_PATH)
    return found === null || found === 'list-ends' ? NOT_FOUND : found
  }
  for (const part of searchParts(process, map, soname)) {
    for (const step of part) {
      const entry = openStep(process.loader, step, wanted)
      if (entry === null) continue
      const found = take(process, map, wanted, entry, step)
      if (found === 'list-ends') break
      if (found !== null) return found
    }
  }
  return NOT_FOUND
}

/** The file that one step of the search finds under a name; null when it finds none. */
export function openStep(loader: Loader, { by, directory }: SearchDirectory, name: string): OpenedAt | null {
  return by === 'cache' ? openAt(loader, directory) : openIn(loader, directory, name)
}

/** Takes a file that the search found; null where the search goes on. */
function take(
  process: Process,
  map: LinkMap,
  wanted: string,
  { path, file }: OpenedAt,
  step: Because,
): Found | 'list-ends' | null {
  const fate = fateOf(file, process)
  if (fate === 'passed-over') return null
  if (fate === 'list-ends') return fate
  if (fate !== 'opened' || file.object === null) return givenUp(step, fate)
  return adopt(process, map, wanted, path, file.identity, file.object, step)
}

function givenUp({ entry, owner }: Because, fault: Fault | 'opened'): Found {
  const why = fault === 'opened' ? { by: 'not-elf' as const } : fault
  return { provider: null, because: { ...why, entry, owner }, fresh: false }
}

/** A file, and the path by which it was opened. */
interface OpenedAt {
  readonly path: string
  readonly file: OpenedFile
}

/**
 * What a loader finds for a name in a directory, by directory and name: thousands of processes look for the same few.
 */
const entries = new WeakMap<Loader, Map<string, Map<string, OpenedAt | null>>>()

function openIn(loader: Loader, directory: string, name: string): OpenedAt | null {
  let ofLoader = entries.get(loader)
  if (ofLoader === undefined) entries.set(loader, (ofLoader = new Map()))
  let ofDirectory = ofLoader.get(directory)
  if (ofDirectory === undefined) ofLoader.set(directory, (ofDirectory = new Map()))
  let entry = ofDirectory.get(name)
  if (entry === undefined) {
    // the listing comes first: it is in memory, and most directories do not have the name
    const names = loader.tree.names(directory)
    // musl ends the search at a directory that cannot be opened (a link to itself), as it does at such a file
    const mayFail = names.size === 0 && loader.libc.kind === 'musl'
    entry = names.has(name) || mayFail ? openAt(loader, pathIn(directory, name)) : null
    ofDirectory.set(name, entry)
  }
  return entry
}

/** The kernel opens no path of more bytes (PATH_MAX counts a NUL), however short it becomes without `..`. */
const LONGEST_PATH = 4095

function openAt({ tree }: Loader, path: string): OpenedAt | null {
  // a character has at most three bytes for each unit
  if (path.length * 3 > LONGEST_PATH && encodeText(path).length > LONGEST_PATH) return null
  const file = tree.open(path)
  return file === null ? null : { path, file }
}

/** The path of a name in a directory of the search path. */
export function pathIn(directory: string, name: string): string {
  return directory === '/' ? `/${name}` : `${directory}/${name}`
}

/** Takes an opened file into the process, or the map that the file already has under another name. */
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
    nameAgain(process, same, soname)
    return { provider: same, because, fresh: false }
  }
  if (isMusl(process) && !soname.includes('/') && isAnotherLibc(path)) {
    return { provider: byName(process, process.loader.libc.ldso) ?? null, because, fresh: false }
  }
  const fault = mappingFault(object, process)
  if (fault !== null) return givenUp(found, fault)
  const map: LinkMap = { path, identity, object, openedBy: loader, needed: [] }
  addMap(process, map, soname)
  return { provider: map, because, fresh: true }
}

function isMusl(process: Process): boolean {
  return process.loader.libc.kind === 'musl'
}

const LOADED: Because = { by: 'loaded', entry: null, owner: null }
const BY_PATH: Because = { by: 'path', entry: null, owner: null }
const NONE: readonly never[] = []
const NOT_FOUND: Found = { provider: null, because: { by: 'not-found', entry: null, owner: null }, fresh: false }

// The result for each DT_NEEDED entry of an object: found, brought by another distribution at run time, or missing.
import { fits } from '../ldso/fits.ts'
import { directoryOf, fileNameOf } from '../io/path.ts'
import { relative } from 'node:path'
import type { ScannedObject } from './objects.ts'
import type { Ownership, Resolution, ResolveInput } from './resolution.ts'
import type { LostBelow, Resolved, Simulation } from './simulate.ts'

/** The result for one DT_NEEDED entry of one object. */
export interface PlannedNeeded {
  readonly soname: string
  /** The file that serves the entry after the plan; null when no file does. */
  readonly provider: string | null
  readonly how: NeededHow
  readonly resolution: Resolved | null
}

/**
 * - `found`: the loader finds it by its own rules, after the plan
 * - `run-time`: the object does not find it by itself, but Python loads it first, from this distribution or one that it
 *   requires, or under the private loader from a distribution that has it for others (`sharedLibrary`)
 * - `missing`: the loader does not find it, or finds it without the wanted versions
 * - `foreign`: the object is for another machine or another libc, so wheelfix does not resolve it
 */
export type NeededHow = 'found' | 'run-time' | 'missing' | 'foreign'

/** Did the simulation find a file with all wanted versions? */
export function isServed({ provider, lackingVersions }: Resolved): boolean {
  return provider !== null && lackingVersions.length === 0
}

/** An object with the result for each of its DT_NEEDED entries. */
export interface ResolvedObject {
  readonly object: ScannedObject
  readonly needed: readonly PlannedNeeded[]
}

/**
 * Does every process that maps the object find this DT_NEEDED entry inside the venv? Then the object needs no addition for
 * it.
 */
export function isInherited(object: ScannedObject, index: number, simulation: Simulation): boolean {
  if (inheritedProvider(object, index, simulation) === null) return false
  const chains = simulation.inRoots.get(object.identity) ?? []
  return chains.every(({ needed }) => simulation.alone.has(needed[index]?.provider?.identity ?? ''))
}

/** The result for one DT_NEEDED entry in every process that maps the library; null when one process finds nothing. */
function inheritedProvider(object: ScannedObject, index: number, simulation: Simulation): Resolved | null {
  if (object.kind !== 'library') return null
  const chains = simulation.inRoots.get(object.identity) ?? []
  const [first] = chains
  const resolution = first?.needed[index]
  if (resolution === undefined || !isServed(resolution)) return null
  // processes that find different files are a conflict (conflicts.ts), but nothing is missing
  const always = chains.every(chain => {
    const found = chain.needed[index]
    return found !== undefined && isServed(found)
  })
  return always ? resolution : null
}

/** Do all processes that map the object give it the same file? */
function isAgreed(object: ScannedObject, index: number, simulation: Simulation): boolean {
  const files = simulation.inRoots.get(object.identity)?.map(({ needed }) => needed[index]?.provider?.identity)
  return new Set(files).size === 1
}

/** The result for each DT_NEEDED entry of an object, in the order of the entries. */
export function neededOf(object: ScannedObject, { input, simulation }: Resolution): PlannedNeeded[] {
  const alone = simulation.alone.get(object.identity)
  if (alone === undefined) {
    return object.original.needed.map(soname => ({ soname, provider: null, how: 'foreign', resolution: null }))
  }
  const { tree } = input.python.loader
  const pathOf = ({ provider }: Resolved) => (provider === null ? null : tree.canonical(provider.path))
  return alone.needed.map((resolution, index): PlannedNeeded => {
    const { soname } = resolution
    const inherited = inheritedProvider(object, index, simulation)
    if (isServed(resolution)) {
      const used = inherited !== null && isAgreed(object, index, simulation) ? inherited : resolution
      // for the same file, the reason that holds for the object alone tells more
      const told = used.provider?.identity === resolution.provider?.identity ? resolution : used
      return { soname, provider: pathOf(told), how: 'found', resolution: told }
    }
    if (inherited !== null) return { soname, provider: pathOf(inherited), how: 'found', resolution: inherited }
    const sibling =
      resolution.provider === null
        ? (runTimeProvider(object, soname, input) ?? sharedLibrary(object, soname, input))
        : null
    if (sibling !== null) return { soname, provider: sibling.path, how: 'run-time', resolution }
    return { soname, provider: pathOf(resolution), how: 'missing', resolution }
  })
}

/**
 * A library that Python loads before the object: one of this name in a distribution that the object's distribution requires,
 * directly or not; or one with this DT_SONAME and another file name there or in the object's own distribution. No search path
 * finds a file of another name, so its distribution opens it by path (pyexiv2). null when there is
 * no such library.
 */
export function runTimeProvider(object: ScannedObject, soname: string, input: ResolveInput): ScannedObject | null {
  const distribution = input.ownership.owner(object.path)
  if (distribution === null) return null
  const required = requiredBy(distribution, input.ownership)
  const ownerOf = ({ path }: ScannedObject) => input.ownership.owner(path) ?? ''
  const { byName, renamed } = libraryIndex(input)
  const named = byName.get(soname)?.find(other => required.has(ownerOf(other)))
  if (named !== undefined) return named
  const other = renamed.get(soname)?.find(other => {
    const owner = ownerOf(other)
    return owner === distribution || required.has(owner)
  })
  return other ?? null
}

/** The names of what a distribution requires, directly or not. */
function requiredBy(distribution: string, ownership: Ownership): ReadonlySet<string> {
  const found = new Set(ownership.requires(distribution))
  for (const name of found) for (const other of ownership.requires(name)) found.add(other)
  found.delete(distribution)
  return found
}

/** The sonames that an object misses: its own, and those of the libraries that it loads. Each once. */
export function missingOf(needed: readonly PlannedNeeded[], below: readonly LostBelow[]): string[] {
  const own = needed.filter(({ how }) => how === 'missing')
  return [...new Set([...own, ...below.map(({ outcome }) => outcome)].map(({ soname }) => soname))]
}

/**
 * The folder of the only library of this name in the same distribution, as an entry relative to the object; null when the
 * distribution has no such library or more than one. A distribution can load such a library by hand, without a search path.
 */
export function siblingDirectory(object: ScannedObject, soname: string, input: ResolveInput): string | null {
  const distribution = input.ownership.owner(object.path)
  if (distribution === null) return null
  const siblings = libraryIndex(input)
    .byName.get(soname)
    ?.filter(other => input.ownership.owner(other.path) === distribution)
  const [only] = siblings ?? []
  if (only === undefined || siblings?.length !== 1 || !fits(only.original, object.original)) return null
  return entryTo(directoryOf(only.path), object)
}

/** The entry of an object's search path for a folder of the environment. */
export function entryTo(folder: string, { path }: ScannedObject): string {
  const way = relative(directoryOf(path), folder)
  return way === '' ? '$ORIGIN' : `$ORIGIN/${way}`
}

/**
 * The folder of the shared library of this name, as an entry relative to the object; null without one, and where a required
 * distribution brings the library, because Python loads that one first.
 */
export function sharedDirectory(object: ScannedObject, soname: string, input: ResolveInput): string | null {
  if (runTimeProvider(object, soname, input) !== null) return null
  const library = sharedLibrary(object, soname, input)
  return library === null ? null : entryTo(directoryOf(library.path), object)
}

/**
 * The only library of this name in a distribution that holds libraries for others (nvidia-cublas, tbb). Such a distribution
 * has no extension module. On other systems a package opens these libraries by path before it imports its own modules, or the
 * user names their folder.
 */
function sharedLibrary(object: ScannedObject, soname: string, input: ResolveInput): ScannedObject | null {
  if (!input.sharesFolder) return null
  const [only, ...others] = (libraryIndex(input).byName.get(soname) ?? []).filter(({ path }) => {
    const owner = input.ownership.owner(path)
    return owner !== null && !modulesOf(input).has(owner)
  })
  return only === undefined || others.length > 0 || !fits(only.original, object.original) ? null : only
}

const withModules = new WeakMap<readonly ScannedObject[], ReadonlySet<string>>()

/** The distributions that have an extension module. */
function modulesOf({ objects, ownership }: ResolveInput): ReadonlySet<string> {
  const known = withModules.get(objects)
  if (known !== undefined) return known
  const owners = objects.flatMap(({ kind, path }) => (kind === 'extension' ? (ownership.owner(path) ?? []) : []))
  const found = new Set(owners)
  withModules.set(objects, found)
  return found
}

/** The libraries of the environment, in the order of the objects. */
interface LibraryIndex {
  readonly byName: ReadonlyMap<string, readonly ScannedObject[]>
  /** By DT_SONAME, where it is not the name of the file. */
  readonly renamed: ReadonlyMap<string, readonly ScannedObject[]>
}

const indexes = new WeakMap<readonly ScannedObject[], LibraryIndex>()

function libraryIndex({ objects }: ResolveInput): LibraryIndex {
  const known = indexes.get(objects)
  if (known !== undefined) return known
  const byName = new Map<string, ScannedObject[]>()
  const renamed = new Map<string, ScannedObject[]>()
  const add = (index: Map<string, ScannedObject[]>, name: string, object: ScannedObject): void => {
    const list = index.get(name)
    if (list === undefined) index.set(name, [object])
    else list.push(object)
  }
  for (const object of objects) {
    if (object.kind !== 'library') continue
    const name = fileNameOf(object.path)
    const { soname } = object.original
    add(byName, name, object)
    if (soname !== null && soname !== name) add(renamed, soname, object)
  }
  const index = { byName, renamed }
  indexes.set(objects, index)
  return index
}

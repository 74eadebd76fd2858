// What each needed of an object comes to: found, brought by another distribution at run time, or missing.
import { fits } from '../ldso/fits.ts'
import { directoryOf, fileNameOf } from '../io/path.ts'
import { relative } from 'node:path'
import type { ScannedObject } from './objects.ts'
import type { Resolution, ResolveInput } from './resolution.ts'
import type { LostBelow, Resolved, Simulation } from './simulate.ts'

/** What one needed of one object comes to. */
export interface PlannedNeeded {
  readonly soname: string
  /** The file that serves it after the plan; null: none. */
  readonly provider: string | null
  readonly how: NeededHow
  readonly resolution: Resolved | null
}

/**
 * - `found`: by the loader's own rules, after the plan
 * - `run-time`: not found by itself, but a distribution that this one requires loads it first
 * - `missing`: not found, or found without the versions that are wanted
 * - `foreign`: the object is for another machine or libc: it is not resolved at all
 */
export type NeededHow = 'found' | 'run-time' | 'missing' | 'foreign'

export function isServed({ provider, lackingVersions }: Resolved): boolean {
  return provider !== null && lackingVersions.length === 0
}

/** An object with what each of its needed comes to. */
export interface ResolvedObject {
  readonly object: ScannedObject
  readonly needed: readonly PlannedNeeded[]
}

/** Does every process that maps the object find this needed inside the venv? Then nothing is to be added for it. */
export function isInherited(object: ScannedObject, index: number, simulation: Simulation): boolean {
  if (inheritedProvider(object, index, simulation) === null) return false
  const chains = simulation.inRoots.get(object.identity) ?? []
  return chains.every(({ needed }) => simulation.alone.has(needed[index]?.provider?.identity ?? ''))
}

/** What every process that maps a library finds for one of its needed; null where one finds nothing. */
function inheritedProvider(object: ScannedObject, index: number, simulation: Simulation): Resolved | null {
  if (object.kind !== 'library') return null
  const chains = simulation.inRoots.get(object.identity) ?? []
  const [first] = chains
  const resolution = first?.needed[index]
  if (resolution === undefined || !isServed(resolution)) return null
  // where it is not the same file in all of them that is said (conflicts.ts), but nothing is missing
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
      // where it is the same file, the reason that holds for the object by itself tells more
      const told = used.provider?.identity === resolution.provider?.identity ? resolution : used
      return { soname, provider: pathOf(told), how: 'found', resolution: told }
    }
    if (inherited !== null) return { soname, provider: pathOf(inherited), how: 'found', resolution: inherited }
    const sibling = resolution.provider === null ? runTimeProvider(object, soname, input) : null
    if (sibling !== null) return { soname, provider: sibling.path, how: 'run-time', resolution }
    return { soname, provider: pathOf(resolution), how: 'missing', resolution }
  })
}

/** A library of that name in a distribution that this object's distribution requires: it is loaded by that one first. */
export function runTimeProvider(object: ScannedObject, soname: string, input: ResolveInput): ScannedObject | null {
  const distribution = input.ownership.owner(object.path)
  if (distribution === null) return null
  const required = input.ownership.requires(distribution)
  const provider = libraryIndex(input)
    .get(soname)
    ?.find(other => required.has(input.ownership.owner(other.path) ?? ''))
  return provider ?? null
}

export function missingOf(needed: readonly PlannedNeeded[], below: readonly LostBelow[]): string[] {
  const own = needed.filter(({ how }) => how === 'missing')
  return [...new Set([...own, ...below.map(({ outcome }) => outcome)].map(({ soname }) => soname))]
}

/**
 * The folder of the one library of that name in the same distribution, as an entry relative to the object; null where
 * there is none or more than one. Such a library is reached by no search path when the distribution loads it by hand.
 */
export function siblingDirectory(object: ScannedObject, soname: string, input: ResolveInput): string | null {
  const distribution = input.ownership.owner(object.path)
  if (distribution === null) return null
  const siblings = libraryIndex(input)
    .get(soname)
    ?.filter(other => input.ownership.owner(other.path) === distribution)
  const [only] = siblings ?? []
  if (only === undefined || siblings?.length !== 1 || !fits(only.original, object.original)) return null
  const way = relative(directoryOf(object.path), directoryOf(only.path))
  return way === '' ? '$ORIGIN' : `$ORIGIN/${way}`
}

const indexes = new WeakMap<readonly ScannedObject[], ReadonlyMap<string, readonly ScannedObject[]>>()

/** The libraries of the environment by file name. */
function libraryIndex(input: ResolveInput): ReadonlyMap<string, readonly ScannedObject[]> {
  const known = indexes.get(input.objects)
  if (known !== undefined) return known
  const index = new Map<string, ScannedObject[]>()
  for (const object of input.objects) {
    if (object.kind !== 'library') continue
    const name = fileNameOf(object.path)
    const list = index.get(name)
    if (list === undefined) index.set(name, [object])
    else list.push(object)
  }
  indexes.set(input.objects, index)
  return index
}

// Loads every object of a venv into a simulated process of its own, as a dlopen from the venv's Python (or, for a program,
// as its execution), and keeps for each object all the ways in which it is loaded: what a needed finds depends on who
// loaded the object first. The processes themselves are not kept: a venv has thousands, alike but for a little.
import type { ElfObject } from '../elf/types.ts'
import { fits } from '../ldso/fits.ts'
import { fork, open, startProgram } from '../ldso/process.ts'
import type { LinkMap, Loader, Process, Resolution } from '../ldso/search.ts'
import type { PythonProcess } from './python-process.ts'
import type { ScannedObject } from './objects.ts'

/** What the needed of an object come to in some processes. */
interface Chain {
  /** One for each DT_NEEDED, in its order. */
  readonly needed: readonly Resolved[]
  /** Something above the object, or the main program, has a DT_RPATH that it inherits. */
  readonly inheritsRpath: boolean
}

/** A resolution without the process around it. */
export interface Resolved extends Omit<Resolution, 'provider'> {
  readonly provider: { readonly path: string; readonly identity: string } | null
}

/** What loading the objects one by one shows. */
export interface Simulation {
  /** By identity: the object loaded alone, nothing but the interpreter before it. Objects for another machine are absent. */
  readonly alone: ReadonlyMap<string, Chain>
  /** By identity: the different ways in which roots load the object; a root is what nobody in the venv links to. */
  readonly inRoots: ReadonlyMap<string, readonly Chain[]>
  /** The identities of all that is mapped for the objects that `counts` names. */
  readonly counted: ReadonlySet<string>
  /** By identity of the object that brings them in: what libraries outside of the venv do not find. */
  readonly below: ReadonlyMap<string, readonly LostBelow[]>
  /** By identity: what the object's process maps, itself first. */
  readonly processes: ReadonlyMap<string, SimulatedProcess>
  /** The states in which the objects were simulated. */
  readonly states: ObjectStates
}

/** What is left of an object's process. */
interface SimulatedProcess {
  /** What it maps, the object itself first. */
  readonly maps: readonly MappedObject[]
  readonly lost: readonly LostInProcess[]
}

/** A needed that a library outside of the venv does not find, or finds without the versions that it wants. */
interface LostInProcess {
  /** The nearest object of the venv above that library. */
  readonly identity: string
  /** The path of the library. */
  readonly neededBy: string
  readonly outcome: Resolved
}

/** The same, gathered from all processes. */
export interface LostBelow extends Omit<LostInProcess, 'identity'> {
  /** Is it lost in the process of an object that is imported or run by itself? */
  readonly counts: boolean
}

/** One object in a process. */
interface MappedObject {
  readonly identity: string
  /** null: it is no object of the venv. */
  readonly chain: Chain | null
}

/** The objects by identity, in the state in which they are to be simulated. */
export type ObjectStates = ReadonlyMap<string, ElfObject>

export interface SimulationInput {
  readonly objects: readonly ScannedObject[]
  readonly states: ObjectStates
  /** Started over a tree that shows the objects in the same state. */
  readonly python: PythonProcess
  /** The loader of an executable, null where it cannot start at all. */
  readonly programLoader: (object: ScannedObject, state: ElfObject) => Loader | null
  /** Is it an object that is imported or run by itself? */
  readonly counts: (object: ScannedObject) => boolean
}

/** One way of loading an object, and the objects whose processes show it. */
interface Occurrence {
  readonly mapped: MappedObject
  readonly roots: Set<string>
}

/** @param earlier the same objects in other states: a process that maps none of those that differ is taken from there */
export function simulate(input: SimulationInput, earlier: Simulation | null = null): Simulation {
  const { objects, states } = input
  const ours = new Set(objects.map(object => object.identity))
  const changed = new Set([...ours].filter(identity => states.get(identity) !== earlier?.states.get(identity)))
  const alone = new Map<string, Chain>()
  const processes = new Map<string, SimulatedProcess>()
  const occurrences = new Map<string, Occurrence[]>()
  const linked = new Set<string>()
  const counted = new Set<string>()

  const processOf = (object: ScannedObject): SimulatedProcess => {
    const known = earlier?.processes.get(object.identity)
    if (known !== undefined && !known.maps.some(({ identity }) => changed.has(identity))) return known
    const maps = load(object, input)?.maps ?? []
    return {
      // of the object itself it also counts by which rule each needed is found
      maps: maps.map((map, index) => mappedObject(map, ours, index === 0 ? null : occurrences)),
      lost: maps.flatMap(map => (ours.has(map.identity) ? NOTHING : lostBy(map, ours))),
    }
  }

  for (const object of objects) {
    const process = processOf(object)
    const [first] = process.maps
    if (first?.chain == null) continue
    processes.set(object.identity, process)
    alone.set(object.identity, first.chain)
    const counts = input.counts(object)
    for (const other of process.maps) {
      if (counts) counted.add(other.identity)
      if (other.chain === null) continue
      if (other !== first) linked.add(other.identity)
      note(occurrences, other, object.identity)
    }
  }

  const isRoot = new Map(objects.map(({ identity, kind }) => [identity, kind !== 'library' || !linked.has(identity)]))
  const inRoots = new Map<string, Chain[]>()
  for (const [identity, ways] of occurrences) {
    const chains = ways.filter(({ roots }) => [...roots].some(root => isRoot.get(root) === true))
    inRoots.set(
      identity,
      chains.flatMap(({ mapped }) => mapped.chain ?? []),
    )
  }
  const below = gatherLost(objects, processes, inRoots, object => isRoot.get(object.identity) === true, input)
  return { alone, inRoots, counted, below, processes, states }
}

const NOTHING: readonly never[] = []

function lostBy(map: LinkMap, ours: ReadonlySet<string>): readonly LostInProcess[] {
  const lost = map.needed.filter(({ provider, lackingVersions }) => provider === null || lackingVersions.length > 0)
  if (lost.length === 0) return NOTHING
  let above = map.openedBy
  while (above !== null && !ours.has(above.identity)) above = above.openedBy
  const identity = above?.identity
  if (identity === undefined) return NOTHING
  return lost.map(resolution => ({ identity, neededBy: map.path, outcome: resolvedOf(resolution) }))
}

/**
 * What is lost below each object, each once. As for an object's own needed, the processes of roots tell: what is lost only
 * where a linked library is loaded alone never happens.
 */
function gatherLost(
  objects: readonly ScannedObject[],
  processes: ReadonlyMap<string, SimulatedProcess>,
  inRoots: ReadonlyMap<string, readonly Chain[]>,
  isRoot: (object: ScannedObject) => boolean,
  { counts }: SimulationInput,
): Map<string, readonly LostBelow[]> {
  const gathered = new Map<string, Map<string, LostBelow>>()
  for (const object of objects) {
    const lost = processes.get(object.identity)?.lost ?? NOTHING
    if (lost.length === 0) continue
    const tells = isRoot(object) || counts(object)
    for (const { identity, neededBy, outcome } of lost) {
      if (!tells && (inRoots.get(identity) ?? NOTHING).length > 0) continue
      const entries = gathered.get(identity) ?? new Map<string, LostBelow>()
      const key = `${neededBy}\0${outcome.soname}`
      entries.set(key, { neededBy, outcome, counts: counts(object) || entries.get(key)?.counts === true })
      gathered.set(identity, entries)
    }
  }
  return new Map([...gathered].map(([identity, entries]) => [identity, [...entries.values()]]))
}

function note(occurrences: Map<string, Occurrence[]>, mapped: MappedObject, root: string): void {
  const ways = occurrences.get(mapped.identity)
  const known = ways?.find(way => way.mapped === mapped || isSameChain(way.mapped.chain, mapped.chain))
  if (known !== undefined) known.roots.add(root)
  else if (ways === undefined) occurrences.set(mapped.identity, [{ mapped, roots: new Set([root]) }])
  else ways.push({ mapped, roots: new Set([root]) })
}

function isSameChain(a: Chain | null, b: Chain | null): boolean {
  return a !== null && b !== null && a.inheritsRpath === b.inheritsRpath && haveSameProviders(a.needed, b.needed)
}

function haveSameProviders(a: readonly Resolved[], b: readonly Resolution[] | readonly Resolved[]): boolean {
  return a.length === b.length && a.every(({ provider }, index) => provider?.identity === b[index]?.provider?.identity)
}

/** A map without the process around it: the one that is known already where the object was loaded in the same way. */
function mappedObject(
  map: LinkMap,
  ours: ReadonlySet<string>,
  occurrences: ReadonlyMap<string, readonly Occurrence[]> | null,
): MappedObject {
  if (!ours.has(map.identity)) return { identity: map.identity, chain: null }
  const inherits = inheritsRpath(map)
  const known = occurrences
    ?.get(map.identity)
    ?.find(({ mapped: { chain } }) => chain?.inheritsRpath === inherits && haveSameProviders(chain.needed, map.needed))
  return known?.mapped ?? { identity: map.identity, chain: chainOf(map) }
}

function chainOf(map: LinkMap): Chain {
  return { needed: map.needed.map(resolution => resolvedOf(resolution)), inheritsRpath: inheritsRpath(map) }
}

/** The resolution, with no more of the process than the provider's name. */
function resolvedOf({ soname, provider, because, lackingVersions }: Resolution): Resolved {
  const file = provider === null ? null : { path: provider.path, identity: provider.identity }
  return { soname, provider: file, because, lackingVersions }
}

function inheritsRpath(map: LinkMap): boolean {
  for (let above = map.openedBy; above !== null; above = above.openedBy) {
    if (above.object.rpath !== null && above.object.runpath === null) return true
  }
  return false
}

/** The process in which an object is loaded alone; null when it cannot be loaded here at all. */
export function load(object: ScannedObject, { states, python, programLoader }: SimulationInput): Process | null {
  const state = states.get(object.identity) ?? object.original
  if (state.dynamic === null) return null
  if (object.kind === 'executable') {
    const loader = state.ptInterp === null ? null : programLoader(object, state)
    return loader === null ? null : startProgram(loader, object.path, object.identity, state)
  }
  if (!fits(state, python.interpreter.object)) return null
  const process = fork(python.process)
  open(process, python.caller, object.path, object.identity, state)
  return process
}

/** Does a dlopen of this name in the object's code find a file? It searches as a needed of the object would. */
export function findsByName(object: ScannedObject, soname: string, input: SimulationInput): boolean {
  const state = input.states.get(object.identity) ?? object.original
  const wanting = { ...state, needed: [...state.needed, soname] }
  const process = load(object, { ...input, states: new Map(input.states).set(object.identity, wanting) })
  return process?.maps[0]?.needed.find(needed => needed.soname === soname)?.provider != null
}

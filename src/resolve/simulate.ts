// Loads every object of a venv into its own simulated process: by a dlopen from the venv's Python or, for a program, by its
// execution. The result keeps, for each object, all the ways in which it is loaded, because the result of a DT_NEEDED entry
// depends on who loaded the object first. The processes themselves are not kept: a venv has thousands of them, and they
// differ little.
import { isMuslSoname } from '../elf/kind.ts'
import { withFields } from '../elf/read.ts'
import type { ElfObject } from '../elf/types.ts'
import { inheritedDirectories } from '../ldso/directories.ts'
import { fits } from '../ldso/fits.ts'
import { fork, open, startProgram } from '../ldso/process.ts'
import type { LinkMap, Loader, Process, NeededResult } from '../ldso/search.ts'
import type { PythonProcess } from './python-process.ts'
import type { ScannedObject } from './objects.ts'

/** The results for the DT_NEEDED entries of an object in some processes. */
export interface Chain {
  /** One result for each DT_NEEDED entry, in the same order. */
  readonly needed: readonly Resolved[]
  /** An object above this one, or the main program, has a DT_RPATH that this object inherits. */
  readonly inheritsRpath: boolean
  /** The directories that are searched after the object's own tags (`inheritedDirectories`). */
  readonly inherited: readonly string[]
}

/** A resolution without the process around it. */
export interface Resolved extends Omit<NeededResult, 'provider'> {
  readonly provider: { readonly path: string; readonly identity: string } | null
}

/** The result of loading the objects one by one. */
export interface Simulation {
  /**
   * By identity: the object loaded alone, with nothing but the interpreter before it. Objects for another machine or
   * C library are absent.
   */
  readonly alone: ReadonlyMap<string, Chain>
  /**
   * By identity: the different ways in which roots load the object. A root is an object that nothing in the venv links to.
   */
  readonly inRoots: ReadonlyMap<string, readonly Chain[]>
  /** The identities of everything that is mapped for the objects that `counts` names. */
  readonly counted: ReadonlySet<string>
  /** What libraries outside the venv do not find, by the identity of the object that brings them in. */
  readonly below: ReadonlyMap<string, readonly LostBelow[]>
  /** By identity: what the object's process maps, the object first. */
  readonly processes: ReadonlyMap<string, SimulatedProcess>
  /** The state of each object in the simulation. */
  readonly states: ObjectStates
}

/** The part of an object's process that the simulation keeps. */
interface SimulatedProcess {
  /** What the process maps, the object first. */
  readonly maps: readonly MappedObject[]
  readonly lost: readonly LostInProcess[]
}

/** A DT_NEEDED entry that a library outside the venv does not find, or finds without the versions that it wants. */
interface LostInProcess {
  /** The nearest object of the venv above this library. */
  readonly identity: string
  /** The path of the library. */
  readonly neededBy: string
  readonly outcome: Resolved
}

/** A missing library below an object, gathered from all processes. */
export interface LostBelow extends Omit<LostInProcess, 'identity'> {
  /** Is the library missing in the process of an object that is imported or run by itself? */
  readonly counts: boolean
}

/** One object in a process. */
interface MappedObject {
  readonly identity: string
  /** null: this is not an object of the venv. */
  readonly chain: Chain | null
}

/** The objects by identity, each in the state to simulate. */
export type ObjectStates = ReadonlyMap<string, ElfObject>

export interface SimulationInput {
  readonly objects: readonly ScannedObject[]
  readonly states: ObjectStates
  /** The interpreter, started over a tree that shows the objects in the same state. */
  readonly python: PythonProcess
  /** Is this object meant for the interpreter's libc, even though it needs the libc of another system? */
  readonly isForThisLibc: (object: ScannedObject) => boolean
  /** The loader of an executable; null when the executable cannot start at all. */
  readonly programLoader: (object: ScannedObject, state: ElfObject) => Loader | null
  /** Is this object imported or run by itself? */
  readonly counts: (object: ScannedObject) => boolean
}

/** One way of loading an object, and the objects whose processes show it. */
interface Occurrence {
  readonly mapped: MappedObject
  readonly roots: string[]
}

/** @param earlier a simulation of the same objects in other states; a process without changed objects is reused */
export function simulate(input: SimulationInput, earlier: Simulation | null = null): Simulation {
  const { objects, states } = input
  const ours = new Set(objects.map(object => object.identity))
  const changed = new Set([...ours].filter(identity => states.get(identity) !== earlier?.states.get(identity)))
  const alone = new Map<string, Chain>()
  const processes = new Map<string, SimulatedProcess>()
  const occurrences = new Map<string, Occurrence[]>()
  const linked = new Set<string>()
  const counted = new Set<string>()
  const foreign = new Map<string, MappedObject>()

  const processOf = (object: ScannedObject): SimulatedProcess => {
    const known = earlier?.processes.get(object.identity)
    if (known !== undefined && !known.maps.some(({ identity }) => changed.has(identity))) return known
    const maps: MappedObject[] = []
    const lost: LostInProcess[] = []
    const process = load(object, input)
    for (const map of process?.maps ?? []) {
      if (process !== null && ours.has(map.identity)) {
        const inherited = inheritedBy(map, process.loader)
        // for the object itself, the rule by which each entry is found counts too
        maps.push(mappedObject(map, inherited, maps.length === 0 ? null : occurrences))
        continue
      }
      maps.push(foreignObject(map.identity, foreign))
      lost.push(...lostBy(map, ours))
    }
    return { maps, lost: lost.length === 0 ? NOTHING : lost }
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
    const chains = ways.filter(({ roots }) => roots.some(root => isRoot.get(root) === true))
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
  return lost.map(resolution => ({ identity, neededBy: map.path, outcome: withoutProcess(resolution) }))
}

/**
 * What is missing below each object, each library once. The processes of roots decide, as they do for an object's own
 * entries. A library may be missing only when a linked library is loaded alone, which never happens in a real process.
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
  if (ways === undefined) {
    occurrences.set(mapped.identity, [{ mapped, roots: [root] }])
    return
  }
  for (const way of ways) {
    if (way.mapped !== mapped && !isSameChain(way.mapped.chain, mapped.chain)) continue
    way.roots.push(root)
    return
  }
  ways.push({ mapped, roots: [root] })
}

function isSameChain(a: Chain | null, b: Chain | null): boolean {
  return a !== null && b !== null && inheritSame(a, b) && haveSameProviders(a.needed, b.needed)
}

/** What an object inherits from the objects above it. */
type Inherited = Pick<Chain, 'inheritsRpath' | 'inherited'>

function inheritSame(a: Inherited, b: Inherited): boolean {
  if (a.inheritsRpath !== b.inheritsRpath || a.inherited.length !== b.inherited.length) return false
  if (a.inherited === b.inherited) return true
  for (let index = 0; index < a.inherited.length; index++) if (a.inherited[index] !== b.inherited[index]) return false
  return true
}

function haveSameProviders(a: readonly Resolved[], b: readonly NeededResult[] | readonly Resolved[]): boolean {
  if (a.length !== b.length) return false
  for (let index = 0; index < a.length; index++) {
    if (a[index]?.provider?.identity !== b[index]?.provider?.identity) return false
  }
  return true
}

/** A mapped object without its process. An equal one that is already known is used again. */
function mappedObject(
  map: LinkMap,
  inherited: Inherited,
  occurrences: ReadonlyMap<string, readonly Occurrence[]> | null,
): MappedObject {
  for (const { mapped } of occurrences?.get(map.identity) ?? NOTHING) {
    const { chain } = mapped
    if (chain !== null && inheritSame(chain, inherited) && haveSameProviders(chain.needed, map.needed)) return mapped
  }
  const needed = map.needed.map(resolution => withoutProcess(resolution))
  return { identity: map.identity, chain: { needed, ...inherited } }
}

/** An object outside the venv. Nearly every process maps the same ones, so each is made once. */
function foreignObject(identity: string, known: Map<string, MappedObject>): MappedObject {
  let object = known.get(identity)
  if (object === undefined) known.set(identity, (object = { identity, chain: null }))
  return object
}

/** The resolution without its process: of the provider it keeps only the name. */
function withoutProcess({ soname, provider, because, lackingVersions }: NeededResult): Resolved {
  const file = provider === null ? null : { path: provider.path, identity: provider.identity }
  return { soname, provider: file, because, lackingVersions }
}

function inheritedBy(map: LinkMap, loader: Loader): Inherited {
  return { inheritsRpath: inheritsRpath(map), inherited: inheritedDirectories(loader, map) }
}

function inheritsRpath(map: LinkMap): boolean {
  for (let above = map.openedBy; above !== null; above = above.openedBy) {
    if (above.object.rpath !== null && above.object.runpath === null) return true
  }
  return false
}

/** The process that loads an object alone; null when the object cannot be loaded here at all. */
export function load(
  object: ScannedObject,
  { states, python, programLoader, isForThisLibc }: SimulationInput,
): Process | null {
  const state = states.get(object.identity) ?? object.original
  if (state.dynamic === null) return null
  if (object.kind === 'executable') {
    const loader = state.ptInterp === null ? null : programLoader(object, state)
    return loader === null ? null : startProgram(loader, object.path, object.identity, state)
  }
  if (!fits(state, python.interpreter.object)) return null
  const process = fork(python.process)
  open(process, python.caller, object.path, object.identity, state)
  return isForOtherLibc(process, state, python.libc.kind) && !isForThisLibc(object) ? null : process
}

/**
 * Does the object need the libc of musl (or of Android, which has the same name), which glibc's loader does not find? musl's
 * loader takes glibc's names for its own libc.
 */
function isForOtherLibc({ maps: [own] }: Process, state: ElfObject, libc: 'glibc' | 'musl'): boolean {
  if (libc !== 'glibc' || !state.needed.some(isMuslSoname)) return false
  return own?.needed.some(({ soname, provider }) => provider === null && isMuslSoname(soname)) === true
}

/**
 * Does a dlopen of this name in the object's code find a file? dlopen searches as it would for a DT_NEEDED entry of the
 * object.
 */
export function findsByName(object: ScannedObject, soname: string, input: SimulationInput): boolean {
  const state = input.states.get(object.identity) ?? object.original
  const wanting = withFields(state, { needed: [...state.needed, soname] })
  const process = load(object, { ...input, states: new Map(input.states).set(object.identity, wanting) })
  return process?.maps[0]?.needed.find(needed => needed.soname === soname)?.provider != null
}

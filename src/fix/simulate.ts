// Loads every object of a venv into a simulated process of its own, as a dlopen from the venv's Python (or, for a program,
// as its execution), and keeps for each object all the ways in which it is loaded: what a needed finds depends on who
// loaded the object first. The processes themselves are not kept: a venv has thousands, alike but for a little.
import type { ElfObject } from '../elf/types.ts'
import { fits, fork, open, startProgram } from '../loader/process.ts'
import type { LinkMap, Loader, Process, Resolution } from '../loader/search.ts'
import type { PythonProcess } from './python.ts'
import type { ScannedObject } from './scan.ts'

/** What the needed of an object come to in some processes. */
export interface Chain {
  /** One for each DT_NEEDED, in its order. */
  readonly needed: readonly Outcome[]
  /** Something above the object, or the main program, has a DT_RPATH that it inherits. */
  readonly inheritsRpath: boolean
}

/** A resolution without the process around it. */
export interface Outcome extends Omit<Resolution, 'provider'> {
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
  readonly chain: Chain
  readonly roots: Set<string>
}

export function simulate(input: SimulationInput): Simulation {
  const { objects } = input
  const ours = new Set(objects.map(object => object.identity))
  const alone = new Map<string, Chain>()
  const occurrences = new Map<string, Map<string, Occurrence>>()
  const linked = new Set<string>()
  const counted = new Set<string>()

  for (const object of objects) {
    const process = load(object, input)
    const [map] = process?.maps ?? []
    if (process === null || map === undefined) continue
    alone.set(object.identity, chainOf(map))
    const counts = input.counts(object)
    for (const other of process.maps) {
      if (counts) counted.add(other.identity)
      if (!ours.has(other.identity)) continue
      if (other !== map) linked.add(other.identity)
      note(occurrences, other, object.identity)
    }
  }

  const isRoot = new Map(objects.map(({ identity, kind }) => [identity, kind !== 'library' || !linked.has(identity)]))
  const inRoots = new Map<string, Chain[]>()
  for (const [identity, ways] of occurrences) {
    const chains = [...ways.values()].filter(({ roots }) => [...roots].some(root => isRoot.get(root) === true))
    inRoots.set(
      identity,
      chains.map(({ chain }) => chain),
    )
  }
  return { alone, inRoots, counted }
}

function note(occurrences: Map<string, Map<string, Occurrence>>, map: LinkMap, root: string): void {
  const inherits = inheritsRpath(map)
  const signature = `${inherits} ${map.needed.map(({ provider }) => provider?.identity ?? '').join(' ')}`
  let ways = occurrences.get(map.identity)
  if (ways === undefined) {
    ways = new Map()
    occurrences.set(map.identity, ways)
  }
  const known = ways.get(signature)
  if (known === undefined) ways.set(signature, { chain: chainOf(map), roots: new Set([root]) })
  else known.roots.add(root)
}

function chainOf(map: LinkMap): Chain {
  return { needed: map.needed.map(resolution => outcomeOf(resolution)), inheritsRpath: inheritsRpath(map) }
}

/** The resolution, with no more of the process than the provider's name. */
export function outcomeOf({ soname, provider, because, lackingVersions }: Resolution): Outcome {
  const file = provider === null ? null : { path: provider.path, identity: provider.identity }
  return { soname, provider: file, because, lackingVersions }
}

function inheritsRpath(map: LinkMap): boolean {
  for (let above = map.loader; above !== null; above = above.loader) {
    if (above.object.rpath !== null && above.object.runpath === null) return true
  }
  return false
}

/** The process in which an object is loaded alone; null when it cannot be loaded here at all. */
export function load(object: ScannedObject, { states, python, programLoader }: SimulationInput): Process | null {
  const state = states.get(object.identity) ?? object.original
  if (state.dynamic === null) return null
  if (object.kind === 'executable') {
    const loader = state.interpreter === null ? null : programLoader(object, state)
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

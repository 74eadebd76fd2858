// Loads every object of a venv into a simulated process of its own, as a dlopen from the venv's Python (or, for a program,
// as its execution), and keeps for each object all the ways in which it is loaded: what a needed finds depends on who
// loaded the object first.
import type { ElfObject } from '../elf/types.ts'
import { fits, fork, open, startProgram } from '../loader/process.ts'
import type { LinkMap, Loader, Process } from '../loader/search.ts'
import type { PythonProcess } from './python.ts'
import type { ScannedObject } from './scan.ts'

/** What loading the objects one by one shows. */
export interface Simulation {
  /** By identity: the object loaded alone, nothing but the interpreter before it. Objects for another machine are absent. */
  readonly alone: ReadonlyMap<string, LinkMap>
  /** By identity: the object in each process of a root that maps it; a root is what nobody in the venv links to. */
  readonly inRoots: ReadonlyMap<string, readonly LinkMap[]>
  /** By identity of a root: everything mapped for it. */
  readonly roots: ReadonlyMap<string, readonly LinkMap[]>
}

/** The objects by identity, in the state in which they are to be simulated. */
export type ObjectStates = ReadonlyMap<string, ElfObject>

/**
 * @param python started over a tree that shows the objects in the same state
 * @param programLoader the loader of an executable, null where it cannot start at all
 */
export function simulate(
  objects: readonly ScannedObject[],
  states: ObjectStates,
  python: PythonProcess,
  programLoader: (object: ScannedObject, state: ElfObject) => Loader | null,
): Simulation {
  const alone = new Map<string, LinkMap>()
  const processes = new Map<string, readonly LinkMap[]>()
  const linked = new Set<string>()
  const ours = new Set(objects.map(object => object.identity))

  for (const object of objects) {
    const state = states.get(object.identity) ?? object.original
    const process = load(object, state, python, programLoader)
    if (process === null) continue
    const [map] = process.maps
    if (map === undefined) continue
    alone.set(object.identity, map)
    processes.set(object.identity, process.maps)
    for (const other of process.maps) if (other !== map && ours.has(other.identity)) linked.add(other.identity)
  }

  const roots = new Map<string, readonly LinkMap[]>()
  const inRoots = new Map<string, LinkMap[]>()
  for (const object of objects) {
    const maps = processes.get(object.identity)
    if (maps === undefined || (object.kind === 'library' && linked.has(object.identity))) continue
    roots.set(object.identity, maps)
    for (const map of maps) {
      if (!ours.has(map.identity)) continue
      const known = inRoots.get(map.identity)
      if (known === undefined) inRoots.set(map.identity, [map])
      else known.push(map)
    }
  }
  return { alone, inRoots, roots }
}

function load(
  object: ScannedObject,
  state: ElfObject,
  python: PythonProcess,
  programLoader: (object: ScannedObject, state: ElfObject) => Loader | null,
): Process | null {
  if (state.dynamic === null) return null
  if (object.kind === 'executable') {
    if (state.interpreter === null) return null
    const loader = programLoader(object, state)
    return loader === null ? null : startProgram(loader, object.path, object.identity, state)
  }
  if (!fits(state, python.interpreter.object)) return null
  const process = fork(python.process)
  open(process, python.caller, object.path, object.identity, state)
  return process
}

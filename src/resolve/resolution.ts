// How the objects of an environment are loaded in a given state: which loader starts each object, what its process maps, and
// the result for each DT_NEEDED entry. A plan starts from the resolution of the originals. `why` and `doctor` read a
// resolution too.
import { withFields } from '../elf/read.ts'
import type { ElfObject } from '../elf/types.ts'
import { WheelfixError } from '../io/error.ts'
import { type FileTree, withObjects } from '../ldso/file-tree.ts'
import { identifyLibc } from '../ldso/libc.ts'
import { fits } from '../ldso/fits.ts'
import type { Loader, Process } from '../ldso/search.ts'
import { isOptionalModule, isOpenedAtImport } from './known-cases.ts'
import type { ScannedObject } from './objects.ts'
import { newPtInterp, isStarted, type ProgramLoaders } from './programs.ts'
import { loaderOf, onTree, type PythonProcess } from './python-process.ts'
import { load, type ObjectStates, simulate, type Simulation, type SimulationInput } from './simulate.ts'

/** What the plan needs to know of the distributions: which one owns an object, and what each one requires. */
export interface Ownership {
  /** The normalised name of the distribution whose RECORD lists the file, or null. */
  owner(path: string): string | null
  /** The normalised names of what a distribution requires directly. */
  requires(distribution: string): ReadonlySet<string>
  /** The platform tags of the distribution's wheel; empty where they are unknown. */
  platforms(distribution: string): readonly string[]
}

/** The input of a resolution: objects, and who loads them. */
export interface ResolveInput extends ProgramLoaders {
  readonly objects: readonly ScannedObject[]
  readonly ownership: Ownership
  /** Nothing shows which objects are loaded, so every object counts. */
  readonly everythingCounts: boolean
  /** The distributions lie in one folder for good, so a search path may lead from one to another. */
  readonly sharesFolder: boolean
  /** The folder of the environment's programs. */
  readonly bin: string
}

export interface Resolution {
  readonly input: ResolveInput
  readonly simulated: SimulationInput
  readonly simulation: Simulation
}

/** The objects before wheelfix changed them. */
function originalStates(objects: readonly ScannedObject[]): ObjectStates {
  return new Map(objects.map(object => [object.identity, object.original]))
}

/**
 * Loads every object alone, in the given states.
 * @param earlier the same objects in other states; what is the same is taken from it
 */
export function resolve(
  input: ResolveInput,
  states: ObjectStates = originalStates(input.objects),
  earlier: Resolution | null = null,
): Resolution {
  const simulated = simulationInput(input, states)
  return { input, simulated, simulation: simulate(simulated, earlier?.simulation ?? null) }
}

/** The process that loads an object alone; null when this interpreter cannot load the object at all. */
export function processOf(object: ScannedObject, { simulated }: Resolution): Process | null {
  return load(object, simulated)
}

/** The input that a simulation needs to load the objects, each in the given state. */
export function simulationInput(input: ResolveInput, states: ObjectStates): SimulationInput {
  const python = onTree(input.python, withObjects(input.python.loader.tree, states))
  return {
    objects: input.objects,
    states,
    python,
    isForThisLibc: object => isMadeFor(input, object),
    programLoader: (object, state) => programLoader(object, state, python, input),
    counts: object => {
      if (input.everythingCounts) return true
      if (object.kind === 'executable') return isStarted(object, input.bin)
      return object.kind === 'extension' ? !isOptionalModule(object.path) : isOpenedAtImport(object.path)
    },
  }
}

/**
 * Is an object that needs musl's libc nevertheless meant for this Python? The wheel of such a distribution is the wrong one.
 * Other distributions bring one library for each platform.
 */
function isMadeFor({ ownership }: ResolveInput, { path }: ScannedObject): boolean {
  const distribution = ownership.owner(path)
  if (distribution === null) return false
  const platforms = ownership.platforms(distribution)
  return platforms.length === 0 || platforms.some(platform => platform.startsWith('musllinux'))
}

/**
 * The loader that runs a program of the venv: the interpreter's own loader when the program gets it, else the one that the
 * program names.
 */
function programLoader(
  object: ScannedObject,
  state: ElfObject,
  python: PythonProcess,
  input: ResolveInput,
): Loader | null {
  const named = newPtInterp(object, input) ?? state.ptInterp
  if (named === null || !fits(state, python.interpreter.object)) return null
  if (input.nixLd !== null && named === input.programInterpreter) return loaderOf(input.nixLd, python.loader.tree)
  if (named === python.interpreter.interp || named === python.libc.ldso) return python.loader
  return otherLoader(object.path, withFields(state, { ptInterp: named }), python.loader.tree)
}

/** A loader that is neither Python's nor nix-ld's, with its libc; null when the loader is unknown. */
function otherLoader(path: string, program: ElfObject, tree: FileTree): Loader | null {
  try {
    return loaderOf(identifyLibc(path, program, {}), tree)
  } catch (error) {
    if (error instanceof WheelfixError) return null
    throw error
  }
}

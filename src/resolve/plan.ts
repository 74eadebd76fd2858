// What is to become of each object, as plain data: the smallest change with which the loader finds what the object needs.
// Nothing is written here, and nothing read but through the tree; the same input gives the same plan. Every plan starts
// from the objects as they were before wheelfix changed them, so that a plan never depends on an earlier one.
import { relative } from 'node:path'
import type { ElfEdit, SearchPath } from '../elf/edit.ts'
import type { ElfObject } from '../elf/types.ts'
import { isFhsLoader, isLibcFamily, type Libc } from '../ldso/libc.ts'
import { fits } from '../ldso/process.ts'
import type { Loader } from '../ldso/search.ts'
import { withObjects } from '../ldso/file-tree.ts'
import { type LibraryCandidate, type LibrarySource } from '../nix/libset.ts'
import { type Conflict, conflictsOf } from './conflicts.ts'
import { isDriverLibrary } from './drivers.ts'
import { chooseProvider, type Choice, type ProviderSources } from './providers.ts'
import { isOpenedAtImport } from './known-cases.ts'
import { loaderOf, onTree, type PythonProcess } from './python-process.ts'
import type { ScannedObject } from '../environment/scan.ts'
import {
  findsByName,
  type LostBelow,
  type ObjectStates,
  type Outcome as Resolution,
  type Simulation,
  type SimulationInput,
  simulate,
} from './simulate.ts'

/** What the plan asks of the distributions: who owns an object, and what a distribution requires. */
export interface Ownership {
  /** The normalised name of the distribution whose RECORD lists the file, or null. */
  owner(path: string): string | null
  /** Normalised names of what a distribution requires, directly. */
  requires(distribution: string): ReadonlySet<string>
}

/** What one needed of one object comes to. */
export interface PlannedNeeded {
  readonly soname: string
  /** The file that serves it after the plan; null: none. */
  readonly provider: string | null
  readonly how: NeededHow
  readonly resolution: Resolution | null
}

/**
 * - `found`: by the loader's own rules, after the plan
 * - `run-time`: not found by itself, but a distribution that this one requires loads it first
 * - `missing`: not found, or found without the versions that are wanted
 * - `foreign`: the object is for another machine or libc: it is not resolved at all
 */
export type NeededHow = 'found' | 'run-time' | 'missing' | 'foreign'

/** One object and its future. */
export interface PlannedObject {
  readonly object: ScannedObject
  readonly distribution: string | null
  /** From the original object; null: it is to be as it was. */
  readonly edit: ElfEdit | null
  /** What the file is to be read as. */
  readonly target: ElfObject
  readonly needed: readonly PlannedNeeded[]
  /** What libraries outside of the venv, which this object brings in, do not find. */
  readonly below: readonly LostBelow[]
  /** The sonames that are not found, of `needed` and of `below`. */
  readonly missing: readonly string[]
  /** Does something that is imported or run need this object? Then what it misses counts. */
  readonly counts: boolean
}

/** One soname that the plan takes from the library set. */
export interface UsedLibrary {
  readonly soname: string
  readonly path: string
  readonly source: LibrarySource
}

export interface Plan {
  readonly objects: readonly PlannedObject[]
  /** By soname. */
  readonly libraries: readonly UsedLibrary[]
  /** Why files of the right name were passed over, by soname. */
  readonly clashes: ReadonlyMap<string, readonly string[]>
  /** What the plan cannot make certain, because it depends on more than the venv's files. */
  readonly conflicts: readonly Conflict[]
  /** Sentences about what the plan cannot make certain, the conflicts among them. */
  readonly warnings: readonly string[]
  /** The objects loaded one by one, as they will be. */
  readonly simulation: Simulation
}

export interface PlanInput {
  readonly objects: readonly ScannedObject[]
  readonly python: PythonProcess
  readonly ownership: Ownership
  readonly sources: ProviderSources
  /** The folder of the venv's programs. */
  readonly bin: string
  /** The loader for programs that ask for one of another system; null: they are left alone. */
  readonly programInterpreter: string | null
  /** The libc behind nix-ld, where `programInterpreter` is nix-ld; else null. */
  readonly nixLd: Libc | null
  /** False: wheels stay as they are; only programs get another loader. */
  readonly searchPaths: boolean
  /** The folder of the graphics driver's libraries; null where there is none. */
  readonly driver: string | null
}

/** Makes the plan for a venv. */
export function makePlan(input: PlanInput): Plan {
  const { objects } = input
  const originals = new Map(objects.map(object => [object.identity, object.original]))
  const before = simulateStates(input, originals)

  const wants = new Map(
    objects.map(object => [
      object,
      input.searchPaths ? [...wantsOf(object, before), ...wantsByName(object, originals, input)] : [],
    ]),
  )
  const first = attempt(input, wants, before)
  const useful = new Map(objects.map(object => [object, (wants.get(object) ?? []).filter(isOfUse(object, first))]))
  const same = objects.every(object => useful.get(object)?.length === wants.get(object)?.length)
  const { serving, edits, targets, after } = same ? first : attempt(input, useful, before, first)
  const planned = objects.map((object): PlannedObject => {
    const needed = neededOf(object, after, input)
    const below = (after.below.get(object.identity) ?? []).filter(
      ({ outcome }) => runTimeProvider(object, outcome.soname, input) === null,
    )
    return {
      object,
      distribution: input.ownership.owner(object.path),
      edit: edits.get(object) ?? null,
      target: targets.get(object.identity) ?? object.original,
      needed,
      below,
      missing: missingOf(needed, below),
      counts: after.counted.has(object.identity),
    }
  })
  const conflicts = conflictsOf(planned, before, after, input)
  return {
    objects: planned,
    conflicts,
    libraries: usedLibraries(serving),
    clashes: new Map([...first.serving].map(([soname, { choice }]) => [soname, choice?.clashes ?? []])),
    warnings: [...refusals(serving), ...conflicts.map(({ message }) => message)],
    simulation: after,
  }
}

/** The changes that give the objects what they want, and what comes of them. */
interface Attempt {
  readonly serving: ReadonlyMap<string, Serving>
  readonly edits: ReadonlyMap<ScannedObject, ElfEdit | null>
  readonly targets: ReadonlyMap<string, ElfObject>
  readonly after: Simulation
}

/** @param earlier an attempt that differs in little: what is the same is taken from there */
function attempt(
  input: PlanInput,
  wants: ReadonlyMap<ScannedObject, readonly string[]>,
  before: Simulation,
  earlier: Attempt | null = null,
): Attempt {
  const serving = serve(input, wants)
  const targets = new Map<string, ElfObject>()
  const edits = new Map<ScannedObject, ElfEdit | null>()
  for (const object of input.objects) {
    const edit = editOf(object, wants.get(object) ?? [], serving, before, input)
    const known = earlier?.targets.get(object.identity)
    edits.set(object, edit)
    if (edit === null) targets.set(object.identity, object.original)
    else if (known !== undefined && isSameEdit(edit, earlier?.edits.get(object))) targets.set(object.identity, known)
    else targets.set(object.identity, edited(object.original, edit))
  }
  const changes = [...edits.values()].some(edit => edit !== null)
  const after = changes ? simulateStates(input, targets, earlier?.after ?? before) : before
  return { serving, edits, targets, after }
}

function isSameEdit(a: ElfEdit, b: ElfEdit | null | undefined): boolean {
  return (
    a.interpreter === b?.interpreter &&
    a.searchPath?.tag === b?.searchPath?.tag &&
    a.searchPath?.value === b?.searchPath?.value
  )
}

/**
 * Does the object get what it wants through the change? Not where an entry of its own comes first and holds a file that
 * lacks versions: old entries stay first, so nothing that is added helps, and nothing is to be added.
 */
function isOfUse(object: ScannedObject, { serving, after }: Attempt): (soname: string) => boolean {
  const alone = after.alone.get(object.identity)
  return soname => {
    if (serving.get(soname)?.choice?.provider == null) return true
    const resolution = alone?.needed.find(needed => needed.soname === soname)
    return resolution === undefined || resolution.provider === null || isServed(resolution)
  }
}

function simulateStates(input: PlanInput, states: ObjectStates, earlier: Simulation | null = null): Simulation {
  return simulate(simulationInput(input, states), earlier)
}

/** What it takes to load the venv's objects with each of them in the given state. */
export function simulationInput(input: PlanInput, states: ObjectStates): SimulationInput {
  const python = onTree(input.python, withObjects(input.python.loader.tree, states))
  return {
    objects: input.objects,
    states,
    python,
    programLoader: (object, state) => programLoader(object, state, python, input),
    counts: ({ kind, path }) =>
      kind === 'extension' || (kind === 'executable' ? directoryOf(path) === input.bin : isOpenedAtImport(path)),
  }
}

/** The loader that runs a program of the venv: the interpreter's own where it gets that, else the one that it names. */
function programLoader(
  object: ScannedObject,
  state: ElfObject,
  python: PythonProcess,
  input: PlanInput,
): Loader | null {
  const named = interpreterOf(object, input) ?? state.interpreter
  if (named === null || !fits(state, python.interpreter.object)) return null
  if (input.nixLd !== null && named === input.programInterpreter) return loaderOf(input.nixLd, python.loader.tree)
  if (named === python.interpreter.interp || named === python.libc.loader) return python.loader
  const file = python.loader.tree.open(named)
  if (file?.object == null) return null
  const directory = named.slice(0, named.lastIndexOf('/'))
  const libc = {
    ...python.libc,
    loader: named,
    dir: directory,
    builtinDirectories: [directory],
    cache: null,
    nixLd: null,
  }
  return { ...python.loader, libc, cache: [], environment: [] }
}

/** The new PT_INTERP of a program, or null when it keeps its own: it is replaced where it is another system's, or gone. */
function interpreterOf(object: ScannedObject, input: PlanInput): string | null {
  const { original } = object
  const { python, programInterpreter } = input
  if (programInterpreter === null || object.kind !== 'executable' || original.interpreter === null) return null
  if (!fits(original, python.interpreter.object)) return null
  const { kind } = input.nixLd ?? python.libc
  if (original.interpreter.includes('ld-musl') !== (kind === 'musl')) return null
  const foreign = isFhsLoader(original.interpreter) || python.loader.tree.open(original.interpreter) === null
  return foreign && original.interpreter !== programInterpreter ? programInterpreter : null
}

/** The sonames that an object needs and does not find by itself, nor by everyone who loads it. */
function wantsOf(object: ScannedObject, simulation: Simulation): string[] {
  const alone = simulation.alone.get(object.identity)
  if (alone === undefined) return []
  return alone.needed
    .filter((resolution, index) => !isServed(resolution) && !isInherited(object, index, simulation))
    .map(({ soname }) => soname)
}

/**
 * Of what the object says that it opens by name, the sonames that it does not find and that can be served: the first one
 * of each feature. What it could do without (`suggested`) is left to the user.
 */
function wantsByName(object: ScannedObject, originals: ObjectStates, input: PlanInput): string[] {
  const features = object.opens.filter(({ priority }) => priority !== 'suggested')
  if (features.length === 0) return []
  const simulated = simulationInput(input, originals)
  return features.flatMap(({ sonames }) => {
    if (sonames.some(soname => findsByName(object, soname, simulated))) return []
    const served = sonames.find(
      soname =>
        siblingDirectory(object, soname, input) !== null ||
        isDriverLibrary(soname) ||
        (!isLibcFamily(soname, input.python.libc.kind) &&
          chooseProvider(soname, [object.original], input.python, input.sources).provider !== null),
    )
    return served === undefined || object.original.needed.includes(served) ? [] : [served]
  })
}

function isServed({ provider, lackingVersions }: Resolution): boolean {
  return provider !== null && lackingVersions.length === 0
}

/** Does every process that maps the object find this needed inside the venv? Then nothing is to be added for it. */
function isInherited(object: ScannedObject, index: number, simulation: Simulation): boolean {
  if (inheritedProvider(object, index, simulation) === null) return false
  const chains = simulation.inRoots.get(object.identity) ?? []
  return chains.every(({ needed }) => simulation.alone.has(needed[index]?.provider?.identity ?? ''))
}

/** What every process that maps a library finds for one of its needed; null where one finds nothing. */
function inheritedProvider(object: ScannedObject, index: number, simulation: Simulation): Resolution | null {
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

/** How a soname is served for those who want it. */
interface Serving {
  /** null: not asked of the library set (a driver's, or libc's own). */
  readonly choice: Choice | null
  readonly users: readonly ScannedObject[]
}

function serve(input: PlanInput, wants: ReadonlyMap<ScannedObject, readonly string[]>): Map<string, Serving> {
  const users = new Map<string, ScannedObject[]>()
  for (const [object, sonames] of wants) {
    for (const soname of sonames) {
      if (siblingDirectory(object, soname, input) !== null) continue
      const list = users.get(soname)
      if (list === undefined) users.set(soname, [object])
      else list.push(object)
    }
  }
  const serving = new Map<string, Serving>()
  for (const [soname, list] of [...users].sort(([a], [b]) => (a < b ? -1 : 1))) {
    const own = isLibcFamily(soname, input.python.libc.kind) || isDriverLibrary(soname)
    const originals = list.map(object => object.original)
    const choice = own ? null : chooseProvider(soname, originals, input.python, input.sources)
    serving.set(soname, { choice, users: list })
  }
  return serving
}

/**
 * The folder of the one library of that name in the same distribution, as an entry relative to the object; null where
 * there is none or more than one. Such a library is reached by no search path when the distribution loads it by hand.
 */
function siblingDirectory(object: ScannedObject, soname: string, input: PlanInput): string | null {
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

/** The libraries of the venv by file name. */
function libraryIndex(input: PlanInput): ReadonlyMap<string, readonly ScannedObject[]> {
  const known = indexes.get(input.objects)
  if (known !== undefined) return known
  const index = new Map<string, ScannedObject[]>()
  for (const object of input.objects) {
    if (object.kind !== 'library') continue
    const name = object.path.slice(object.path.lastIndexOf('/') + 1)
    const list = index.get(name)
    if (list === undefined) index.set(name, [object])
    else list.push(object)
  }
  indexes.set(input.objects, index)
  return index
}

function directoryOf(path: string): string {
  return path.slice(0, path.lastIndexOf('/'))
}

/** The change of one object, from its original; null: none. */
function editOf(
  object: ScannedObject,
  wanted: readonly string[],
  serving: ReadonlyMap<string, Serving>,
  simulation: Simulation,
  input: PlanInput,
): ElfEdit | null {
  const interpreter = interpreterOf(object, input)
  const additions = additionsFor(object, wanted, serving, input)
  if (additions.length === 0) return interpreter === null ? null : { interpreter }
  const { rpath, runpath } = object.original
  const old = runpath ?? rpath ?? ''
  // an empty string is no search path at all; else every old entry stays where it is, the empty ones too
  const value = [...(old === '' ? [] : old.split(':')), ...additions].join(':')
  const searchPath: SearchPath = { tag: tagOf(object, simulation), value }
  return interpreter === null ? { searchPath } : { searchPath, interpreter }
}

/**
 * The kind of tag stays. A new one is DT_RPATH where something above has DT_RPATH: DT_RUNPATH would cut the object, and
 * what it opens by dlopen, off from what they inherit.
 */
function tagOf(object: ScannedObject, simulation: Simulation): SearchPath['tag'] {
  if (object.original.runpath !== null) return 'DT_RUNPATH'
  if (object.original.rpath !== null) return 'DT_RPATH'
  const chains = [simulation.alone.get(object.identity), ...(simulation.inRoots.get(object.identity) ?? [])]
  if (chains.some(chain => chain?.inheritsRpath === true)) return 'DT_RPATH'
  return 'DT_RUNPATH'
}

/** The entries to append: within the distribution first, then the store in the order of most use, then the driver's. */
function additionsFor(
  object: ScannedObject,
  wanted: readonly string[],
  serving: ReadonlyMap<string, Serving>,
  input: PlanInput,
): string[] {
  const own = new Set<string>()
  const providers: LibraryCandidate[] = []
  let driver: string | null = null
  for (const soname of wanted) {
    const sibling = siblingDirectory(object, soname, input)
    const provider = serving.get(soname)?.choice?.provider ?? null
    if (sibling !== null) own.add(sibling)
    else if (provider !== null) providers.push(provider)
    else if (isDriverLibrary(soname)) driver = input.driver
  }
  return [...own, ...orderDirectories(providers, input), ...(driver === null ? [] : [driver])]
}

/** The providers' directories: those that serve more first, but none before one that a soname must be taken from. */
function orderDirectories(providers: readonly LibraryCandidate[], input: PlanInput): string[] {
  const uses = new Map<string, number>()
  for (const { directory } of providers) uses.set(directory, (uses.get(directory) ?? 0) + 1)
  const order = [...uses].sort(([a, m], [b, n]) => n - m || (a < b ? -1 : 1)).map(([directory]) => directory)
  const { tree } = input.python.loader
  // a directory that also holds another's soname must come after it; each move settles one pair
  for (let moves = 0; moves < providers.length * order.length; moves++) {
    const wrong = providers.find(({ soname, directory, path }) => {
      const first = order.find(candidate => tree.names(candidate).has(soname)) ?? directory
      return first !== directory && tree.open(`${first}/${soname}`)?.identity !== tree.open(path)?.identity
    })
    if (wrong === undefined) break
    const first = order.findIndex(candidate => tree.names(candidate).has(wrong.soname))
    order.splice(order.indexOf(wrong.directory), 1)
    order.splice(first, 0, wrong.directory)
  }
  return order
}

/** The object as the loader will see it. */
function edited(object: ElfObject, edit: ElfEdit): ElfObject {
  const { searchPath, interpreter } = edit
  return {
    ...object,
    interpreter: interpreter ?? object.interpreter,
    ...(searchPath == null
      ? {}
      : {
          rpath: searchPath.tag === 'DT_RPATH' ? searchPath.value : null,
          runpath: searchPath.tag === 'DT_RUNPATH' ? searchPath.value : null,
        }),
  }
}

function neededOf(object: ScannedObject, simulation: Simulation, input: PlanInput): PlannedNeeded[] {
  const alone = simulation.alone.get(object.identity)
  if (alone === undefined) {
    return object.original.needed.map(soname => ({ soname, provider: null, how: 'foreign', resolution: null }))
  }
  const { tree } = input.python.loader
  const pathOf = ({ provider }: Resolution) => (provider === null ? null : tree.canonical(provider.path))
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

function missingOf(needed: readonly PlannedNeeded[], below: readonly LostBelow[]): string[] {
  const own = needed.filter(({ how }) => how === 'missing')
  return [...new Set([...own, ...below.map(({ outcome }) => outcome)].map(({ soname }) => soname))]
}

/** A library of that name in a distribution that this object's distribution requires: it is loaded by that one first. */
function runTimeProvider(object: ScannedObject, soname: string, input: PlanInput): ScannedObject | null {
  const distribution = input.ownership.owner(object.path)
  if (distribution === null) return null
  const required = input.ownership.requires(distribution)
  const provider = libraryIndex(input)
    .get(soname)
    ?.find(other => required.has(input.ownership.owner(other.path) ?? ''))
  return provider ?? null
}

function usedLibraries(serving: ReadonlyMap<string, Serving>): UsedLibrary[] {
  const used: UsedLibrary[] = []
  for (const [soname, { choice }] of serving) {
    if (choice?.provider != null) used.push({ soname, path: choice.provider.path, source: choice.provider.source })
  }
  return used
}

/** The files that the user named and that cannot be taken. */
function refusals(serving: ReadonlyMap<string, Serving>): string[] {
  return [...serving.values()].flatMap(({ choice }) => choice?.refused.map(why => `${why}: passed over`) ?? [])
}

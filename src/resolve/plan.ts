// What is to become of each object, as plain data: the smallest change with which the loader finds what the object needs.
// Nothing is written here, and nothing is read but through the tree; the same input gives the same plan. Every plan starts
// from the objects as they were before wheelfix changed them, so that a plan never depends on an earlier one.
import type { ElfEdit } from '../elf/edit/edit.ts'
import type { ElfObject } from '../elf/types.ts'
import type { UsedLibrary } from '../nix/libset.ts'
import { type Change, changeOf } from './change.ts'
import { type Conflict, conflictsOf } from './problems/conflicts.ts'
import { isServed, missingOf, neededOf, type PlannedNeeded, runTimeProvider } from './needed.ts'
import type { ObjectKind, ScannedObject } from './objects.ts'
import type { Clash, ProviderSources } from './providers.ts'
import { resolve, type Resolution } from './resolution.ts'
import { edited, editOf } from './search-paths.ts'
import type { LostBelow } from './simulate.ts'
import { refusals, serve, type Serving, usedLibraries, wantsByName, wantsOf } from './wants.ts'

/** One object and its future. */
export interface PlannedObject {
  readonly path: string
  /** Relative to the environment's root. */
  readonly relative: string
  readonly identity: string
  readonly kind: ObjectKind
  readonly distribution: string | null
  /** From the original object; null: it is to be as it was. */
  readonly edit: ElfEdit | null
  /** From the object as it is on disk; null: there is nothing to do. */
  readonly change: Change | null
  readonly needed: readonly PlannedNeeded[]
  /** What libraries outside of the environment, which this object brings in, do not find. */
  readonly below: readonly LostBelow[]
  /** The sonames that are not found, of `needed` and of `below`. */
  readonly missing: readonly string[]
  /** Does something that is imported or run need this object? Then what it misses counts. */
  readonly counts: boolean
}

/**
 * How an object ended. `patch`: a change is pending (a dry run, a check). `change` of the planned object tells which.
 */
export interface Applied {
  readonly planned: PlannedObject
  readonly status: 'fine' | 'patch' | 'patched' | 'refused'
  readonly reason: string | null
  /** How large the object is once it is patched. */
  readonly size?: number
  /** The object is as planned, but its RECORD could not be written. */
  readonly unrecorded?: boolean
  /** The refusal is about the moment (a full disk), not about the file: the next run may do better. */
  readonly passing?: boolean
}

/** Plain data: it can be printed as JSON. */
export interface Plan {
  readonly objects: readonly PlannedObject[]
  /** By soname. */
  readonly libraries: readonly UsedLibrary[]
  readonly clashes: readonly Clash[]
  /** What the plan cannot make certain, because it depends on more than the environment's files. */
  readonly conflicts: readonly Conflict[]
  /** Sentences about what the plan cannot make certain, the conflicts among them. */
  readonly warnings: readonly string[]
}

/** What may be changed, and with which libraries. */
export interface PlanOptions {
  readonly sources: ProviderSources
  /** False: wheels stay as they are; only programs get another loader. */
  readonly searchPaths: boolean
  /** The folder of the graphics driver's libraries; null where there is none. */
  readonly driver: string | null
}

/** @returns the plan, and how its objects are loaded once it has been carried out */
export function makePlan(before: Resolution, options: PlanOptions): { plan: Plan; after: Resolution } {
  const { objects, ownership } = before.input
  const wants = new Map(
    objects.map(object => [
      object,
      options.searchPaths
        ? [...wantsOf(object, before.simulation), ...wantsByName(object, before, options.sources)]
        : [],
    ]),
  )
  const first = attempt(before, options, wants)
  const useful = new Map(objects.map(object => [object, (wants.get(object) ?? []).filter(isOfUse(object, first))]))
  const same = objects.every(object => useful.get(object)?.length === wants.get(object)?.length)
  const { serving, edits, targets, after } = same ? first : attempt(before, options, useful, first)
  const resolved = objects.map(object => ({ object, needed: neededOf(object, after) }))
  const planned = resolved.map(({ object, needed }): PlannedObject => {
    const { path, relative, identity, kind, original } = object
    const edit = edits.get(object) ?? null
    const below = (after.simulation.below.get(identity) ?? []).filter(
      ({ outcome }) => runTimeProvider(object, outcome.soname, before.input) === null,
    )
    return {
      path,
      relative,
      identity,
      kind,
      distribution: ownership.owner(path),
      edit,
      change: changeOf(object, edit, targets.get(identity) ?? original),
      needed,
      below,
      missing: missingOf(needed, below),
      counts: after.simulation.counted.has(identity),
    }
  })
  const conflicts = conflictsOf(resolved, before, after)
  const plan: Plan = {
    objects: planned,
    conflicts,
    libraries: usedLibraries(serving),
    clashes: [...first.serving].map(([soname, { choice }]) => ({ soname, reasons: choice?.clashes ?? [] })),
    warnings: [...refusals(serving), ...conflicts.map(({ message }) => message)],
  }
  return { plan, after }
}

/** The changes that give the objects what they want, and what comes of them. */
interface Attempt {
  readonly serving: ReadonlyMap<string, Serving>
  readonly edits: ReadonlyMap<ScannedObject, ElfEdit | null>
  readonly targets: ReadonlyMap<string, ElfObject>
  readonly after: Resolution
}

/** @param earlier an attempt that differs in little: what is the same is taken from there */
function attempt(
  before: Resolution,
  { sources, driver }: PlanOptions,
  wants: ReadonlyMap<ScannedObject, readonly string[]>,
  earlier: Attempt | null = null,
): Attempt {
  const serving = serve(before, sources, wants)
  const targets = new Map<string, ElfObject>()
  const edits = new Map<ScannedObject, ElfEdit | null>()
  for (const object of before.input.objects) {
    const edit = editOf(object, wants.get(object) ?? [], serving, before, driver)
    const known = earlier?.targets.get(object.identity)
    edits.set(object, edit)
    if (edit === null) targets.set(object.identity, object.original)
    else if (known !== undefined && isSameEdit(edit, earlier?.edits.get(object))) targets.set(object.identity, known)
    else targets.set(object.identity, edited(object.original, edit))
  }
  const changes = [...edits.values()].some(edit => edit !== null)
  const after = changes ? resolve(before.input, targets, earlier?.after ?? before) : before
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
  const alone = after.simulation.alone.get(object.identity)
  return soname => {
    if (serving.get(soname)?.choice?.provider == null) return true
    const resolution = alone?.needed.find(needed => needed.soname === soname)
    return resolution === undefined || resolution.provider === null || isServed(resolution)
  }
}

// The plan for each object, as plain data: the smallest change that lets the loader find what the object needs. This file
// writes nothing, and reads only through the tree. The same input gives the same plan. Every plan starts from the original
// objects, so that a plan never depends on an earlier plan.
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
import { refusals, providersFor, type Serving, usedLibraries, wantsByName, wantsOf } from './wants.ts'

/** One object and the change that the plan makes to it. */
export interface PlannedObject {
  readonly path: string
  /** Path relative to the environment's root. */
  readonly relative: string
  readonly identity: string
  readonly kind: ObjectKind
  readonly distribution: string | null
  /** The edit of the original object; null when the object must become the original. */
  readonly edit: ElfEdit | null
  /** The change to the object on disk; null when there is nothing to do. */
  readonly change: Change | null
  readonly needed: readonly PlannedNeeded[]
  /** What libraries outside the environment do not find, when this object brings these libraries in. */
  readonly below: readonly LostBelow[]
  /** The sonames that the loader does not find, of `needed` and of `below`. */
  readonly missing: readonly string[]
  /** Does an imported module or a program need this object? Then its missing libraries count. */
  readonly counts: boolean
}

/** The result for an object. `patch`: a change is pending (dry run or check); the planned object's `change` says which. */
export interface Applied {
  readonly planned: PlannedObject
  readonly status: 'fine' | 'patch' | 'patched' | 'refused'
  readonly reason: string | null
  /** The size of the object after the patch, in bytes. */
  readonly size?: number
  /** The object is as planned, but wheelfix could not write its RECORD. */
  readonly unrecorded?: boolean
  /** The reason for the refusal is temporary (a full disk) and does not lie in the file. The next run may succeed. */
  readonly passing?: boolean
}

/** Plain data that can be printed as JSON. */
export interface Plan {
  readonly objects: readonly PlannedObject[]
  /** The libraries in use, by soname. */
  readonly libraries: readonly UsedLibrary[]
  readonly clashes: readonly Clash[]
  /** What the plan cannot guarantee, because it depends on more than the environment's files. */
  readonly conflicts: readonly Conflict[]
  /**
   * Sentences about what the plan cannot guarantee. They include the conflicts, but not `current-directory`, which the wheel
   * brings and no user can mend.
   */
  readonly warnings: readonly string[]
}

/** Which changes are allowed, and with which libraries. */
export interface PlanOptions {
  readonly sources: ProviderSources
  /** False: wheels stay as they are. Only programs get another loader. */
  readonly searchPaths: boolean
  /** The folder of the graphics driver's libraries; null when there is none. */
  readonly driver: string | null
}

/** @returns the plan, and how the loader loads its objects after the plan is applied */
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
    warnings: [
      ...refusals(serving),
      ...conflicts.filter(({ kind }) => kind !== 'current-directory').map(({ message }) => message),
    ],
  }
  return { plan, after }
}

/** The changes that give the objects what they want, and the resolution after these changes. */
interface Attempt {
  readonly serving: ReadonlyMap<string, Serving>
  readonly edits: ReadonlyMap<ScannedObject, ElfEdit | null>
  readonly targets: ReadonlyMap<string, ElfObject>
  readonly after: Resolution
}

/** @param earlier a similar attempt; what is the same is taken from it */
function attempt(
  before: Resolution,
  { sources, driver }: PlanOptions,
  wants: ReadonlyMap<ScannedObject, readonly string[]>,
  earlier: Attempt | null = null,
): Attempt {
  const serving = providersFor(before, sources, wants)
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
 * Does the change give the object what it wants? An old entry of the object's search path may hold a file that lacks
 * versions. Old entries stay first, so a new entry cannot help, and the plan adds none.
 */
function isOfUse(object: ScannedObject, { serving, after }: Attempt): (soname: string) => boolean {
  const alone = after.simulation.alone.get(object.identity)
  return soname => {
    if (serving.get(soname)?.choice?.provider == null) return true
    const resolution = alone?.needed.find(needed => needed.soname === soname)
    return resolution === undefined || resolution.provider === null || isServed(resolution)
  }
}

// The difference between an object on disk and the object that the plan wants.
import { type ElfEdit, searchPathEntries, type SearchPathTag } from '../elf/edit/edit.ts'
import type { ElfObject } from '../elf/types.ts'
import type { ScannedObject } from './objects.ts'

/** The difference between an object on disk and the object that the plan wants. Lists are search path entries, in order. */
export interface Change {
  readonly rpath?: {
    readonly tag: SearchPathTag
    readonly before: readonly string[]
    readonly after: readonly string[]
  }
  readonly interpreter?: { readonly before: string; readonly after: string }
  /**
   * An earlier version of wheelfix grafted the object in a layout that no exception can cross. The same graft is made again
   * in a better layout.
   */
  readonly regraft?: true
  /** The object gets back the bytes that it had before wheelfix: nothing has to be changed in it any more. */
  readonly restores?: true
}

/** The change that brings an object to its target; null when the object is already there. */
export function changeOf(object: ScannedObject, edit: ElfEdit | null, target: ElfObject): Change | null {
  const { current } = object
  const before = current.runpath ?? current.rpath
  const after = target.runpath ?? target.rpath
  const tag = target.runpath === null ? 'DT_RPATH' : 'DT_RUNPATH'
  const sameTag = (current.runpath === null) === (target.runpath === null)
  const change: { -readonly [K in keyof Change]: Change[K] } = {}
  if (before !== after || !sameTag)
    change.rpath = { tag, before: searchPathEntries(current), after: searchPathEntries(target) }
  if (current.ptInterp !== target.ptInterp) {
    change.interpreter = { before: current.ptInterp ?? '', after: target.ptInterp ?? '' }
  }
  if (object.undo !== null && edit !== null && object.losesHeaders) change.regraft = true
  if (object.undo !== null && edit === null) change.restores = true
  return change.rpath === undefined && change.interpreter === undefined && change.regraft === undefined ? null : change
}

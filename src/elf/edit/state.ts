// The editable properties of an object, before and after an edit. A graft depends only on the original and the wanted
// state. So several edits, one after the other, give the same file as one edit with all of them.
import { DF_1_NODEFLIB, DT_DEBUG, PF_R, PF_W, PF_X, PT_GNU_STACK } from '../constants.ts'
import type { ElfEdit } from './edit.ts'
import { ElfError } from '../error.ts'
import { valueOf } from '../tables/entries.ts'
import type { ElfObject } from '../types.ts'

export interface ElfState {
  readonly interpreter: string | null
  readonly soname: string | null
  readonly needed: readonly string[]
  readonly rpath: string | null
  readonly runpath: string | null
  readonly flags1: bigint
  /** EI_OSABI */
  readonly osabi: number
  /** Is there a DT_DEBUG? The loader uses it to tell debuggers what it has loaded. */
  readonly debugTag: boolean
  /** p_flags of PT_GNU_STACK; null without one. */
  readonly stack: number | null
  /** The file names in .gnu.version_r, in its order. */
  readonly versionFiles: readonly string[]
}

const states = new WeakMap<ElfObject, ElfState>()

/** What an edit may change, as the object has it now. The result is kept with the object. */
export function stateOf(object: ElfObject): ElfState {
  let state = states.get(object)
  if (state === undefined) states.set(object, (state = makeState(object)))
  return state
}

function makeState(object: ElfObject): ElfState {
  return {
    interpreter: object.ptInterp,
    soname: object.soname,
    needed: object.needed,
    rpath: object.rpath,
    runpath: object.runpath,
    flags1: object.flags1,
    osabi: object.header.osabi,
    debugTag: valueOf(object.dynamic, DT_DEBUG) !== undefined,
    stack: object.programHeaders.find(({ type }) => type === PT_GNU_STACK)?.flags ?? null,
    versionFiles: object.versionNeeds.map(({ file }) => file),
  }
}

/** @throws ElfError `REFUSED` for an edit that makes no sense for this object, or a string that holds a NUL */
export function applyEdit(state: ElfState, edit: ElfEdit): ElfState {
  const { searchPath, interpreter, soname, replaceNeeded, removeNeeded, addNeeded, noDefaultLib, osabi } = edit
  if (interpreter !== undefined && state.interpreter === null) {
    throw new ElfError('REFUSED', 'the object has no interpreter (PT_INTERP) to set')
  }
  for (const text of [
    searchPath?.value,
    interpreter,
    soname,
    ...(replaceNeeded?.values() ?? []),
    ...(addNeeded ?? []),
  ]) {
    if (text?.includes('\0')) throw new ElfError('REFUSED', 'a string of an ELF file cannot hold a NUL')
  }
  const renamed = (name: string): string => replaceNeeded?.get(name) ?? name
  const kept = state.needed.map(renamed).filter(name => removeNeeded?.includes(name) !== true)
  const added = (addNeeded ?? []).toReversed().filter(name => !kept.includes(name))
  const stack = state.stack ?? PF_R | PF_W
  return {
    interpreter: interpreter ?? state.interpreter,
    soname: soname === undefined ? state.soname : soname,
    needed: [...new Set(added), ...kept],
    ...(searchPath === undefined
      ? { rpath: state.rpath, runpath: state.runpath }
      : {
          rpath: searchPath?.tag === 'DT_RPATH' ? searchPath.value : null,
          runpath: searchPath?.tag === 'DT_RUNPATH' ? searchPath.value : null,
        }),
    flags1: noDefaultLib === true ? state.flags1 | DF_1_NODEFLIB : state.flags1,
    osabi: osabi ?? state.osabi,
    debugTag: state.debugTag || edit.debugTag === true,
    stack: edit.executableStack === undefined ? state.stack : edit.executableStack ? stack | PF_X : stack & ~PF_X,
    versionFiles: state.versionFiles.map(renamed),
  }
}

/** The names of the fields that differ, in a fixed order. */
export function changedFields(a: ElfState, b: ElfState): (keyof ElfState)[] {
  const found: (keyof ElfState)[] = []
  if (a.interpreter !== b.interpreter) found.push('interpreter')
  if (a.soname !== b.soname) found.push('soname')
  if (a.rpath !== b.rpath) found.push('rpath')
  if (a.runpath !== b.runpath) found.push('runpath')
  if (a.flags1 !== b.flags1) found.push('flags1')
  if (a.osabi !== b.osabi) found.push('osabi')
  if (a.debugTag !== b.debugTag) found.push('debugTag')
  if (a.stack !== b.stack) found.push('stack')
  if (!isSameList(a.needed, b.needed)) found.push('needed')
  if (!isSameList(a.versionFiles, b.versionFiles)) found.push('versionFiles')
  return found
}

function isSameList(a: readonly string[], b: readonly string[]): boolean {
  if (a.length !== b.length) return false
  for (let index = 0; index < a.length; index++) if (a[index] !== b[index]) return false
  return true
}

// What patchelf's options mean for an object. They lead from its present state to the wanted state, in patchelf's order.
// Here `wheelfix elf` differs from `wheelfix venv`, which keeps the tag of a search path.
import { ET_DYN } from '../elf/constants.ts'
import { ElfError } from '../elf/error.ts'
import { readHeaders } from '../elf/headers.ts'
import { applyEdit, type ElfState } from '../elf/edit/state.ts'
import type { ElfObject } from '../elf/types.ts'
import { errnoOf } from '../io/error.ts'
import { withSource } from '../io/source.ts'

/** The options of patchelf that change an object. */
export interface PatchelfEdit {
  readonly interpreter: string | null
  readonly soname: string | null
  /** `null`: the search path stays. */
  readonly rpath: { readonly do: 'set' | 'add'; readonly value: string } | { readonly do: 'remove' | 'shrink' } | null
  readonly allowedPrefixes: readonly string[]
  readonly forceRpath: boolean
  readonly addNeeded: readonly string[]
  readonly removeNeeded: readonly string[]
  readonly replaceNeeded: ReadonlyMap<string, string>
  readonly noDefaultLib: boolean
  /** EI_OSABI; `null`: stays. */
  readonly osabi: number | null
  readonly addDebugTag: boolean
  /** `null`: the flag of the stack does not change. */
  readonly executableStack: boolean | null
}

/**
 * The state that the options ask for.
 * @throws ElfError `REFUSED`; the read errors of the files that --shrink-rpath examines
 */
export function wantedState(edit: PatchelfEdit, object: ElfObject, state: ElfState): ElfState {
  let wanted = state
  // only a library has a soname to set
  if (edit.soname !== null && object.header.type === ET_DYN) wanted = applyEdit(wanted, { soname: edit.soname })
  if (edit.interpreter !== null) wanted = applyEdit(wanted, { interpreter: edit.interpreter })
  if (edit.executableStack !== null) wanted = applyEdit(wanted, { executableStack: edit.executableStack })
  wanted = withSearchPath(edit, object, wanted)
  wanted = applyEdit(wanted, { removeNeeded: edit.removeNeeded })
  wanted = applyEdit(wanted, { replaceNeeded: edit.replaceNeeded })
  wanted = applyEdit(wanted, { addNeeded: edit.addNeeded.toReversed() })
  if (edit.noDefaultLib) wanted = applyEdit(wanted, { noDefaultLib: true })
  if (edit.addDebugTag) wanted = applyEdit(wanted, { debugTag: true })
  return edit.osabi === null ? wanted : applyEdit(wanted, { osabi: edit.osabi })
}

function withSearchPath(edit: PatchelfEdit, object: ElfObject, state: ElfState): ElfState {
  const old = state.runpath ?? state.rpath
  const tag = edit.forceRpath ? 'DT_RPATH' : 'DT_RUNPATH'
  switch (edit.rpath?.do) {
    case undefined:
      return state
    case 'remove':
      return applyEdit(state, { searchPath: null })
    case 'set':
      // a missing search path and an empty one are equal, as in patchelf 0.19
      if (old === null && edit.rpath.value === '') return state
      return applyEdit(state, { searchPath: { tag, value: edit.rpath.value } })
    case 'add': {
      if (old === null && edit.rpath.value === '') return state
      const value = old === null || old === '' ? edit.rpath.value : `${old}:${edit.rpath.value}`
      return applyEdit(state, { searchPath: { tag, value } })
    }
    case 'shrink':
      return old === null
        ? state
        : applyEdit(state, { searchPath: { tag, value: shrink(old, object, edit.allowedPrefixes) } })
  }
}

/**
 * Leaves out a directory if the directories before it already have all needed libraries that it has. Also leaves out
 * directories without an allowed prefix. Entries that are not absolute paths ($ORIGIN …) stay.
 */
function shrink(searchPath: string, object: ElfObject, allowedPrefixes: readonly string[]): string {
  const wanted = new Set(object.needed)
  return splitPath(searchPath)
    .filter(directory => {
      if (directory !== '' && !directory.startsWith('/')) return true
      if (allowedPrefixes.length > 0 && !allowedPrefixes.some(prefix => directory.startsWith(prefix))) return false
      const found = [...wanted].filter(name => machineOf(`${directory}/${name}`) === object.header.machine)
      for (const name of found) wanted.delete(name)
      return found.length > 0
    })
    .join(':')
}

/** e_machine of a library; null when the path holds no library. */
function machineOf(path: string): number | null {
  try {
    return withSource(path, source => readHeaders(source).header.machine)
  } catch (error) {
    if (error instanceof ElfError || errnoOf(error) !== undefined) return null
    throw error
  }
}

/** The entries of a colon-separated list. An empty last entry does not count, as in patchelf. */
export function splitPath(list: string): string[] {
  const entries = list.split(':')
  if (entries.at(-1) === '') entries.pop()
  return entries
}

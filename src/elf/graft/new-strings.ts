// The strings of an edited object. Old strings keep their offsets from DT_STRTAB. New strings are collected, and get
// their offsets once their place is known.
import {
  DT_AUDIT,
  DT_AUXILIARY,
  DT_CONFIG,
  DT_DEPAUDIT,
  DT_FILTER,
  DT_NEEDED,
  DT_RPATH,
  DT_RUNPATH,
  DT_SONAME,
} from '../constants.ts'
import { valueOf } from '../tables/entries.ts'
import { encodeText } from '../text.ts'
import type { ElfObject } from '../types.ts'

/** Dynamic entries whose value is the offset of a string. */
export const STRING_TAGS: ReadonlySet<number> = new Set([
  DT_NEEDED,
  DT_SONAME,
  DT_RPATH,
  DT_RUNPATH,
  DT_FILTER,
  DT_AUXILIARY,
  DT_CONFIG,
  DT_DEPAUDIT,
  DT_AUDIT,
])

export interface NewStrings {
  /** Length of all new strings with their NULs, in bytes. */
  length(): number
  bytes(): Uint8Array
  /** Sets the distance of the first new string from DT_STRTAB. */
  settle(first: number): void
  /** The offset of a string from DT_STRTAB. Adds a string that the object does not have. */
  offsetOf(this: void, text: string): number
}

/** @param known how many bytes of the old string table count; strings beyond them are not reused */
export function newStrings(object: ElfObject, known: number): NewStrings {
  const old = new Map<string, number>()
  const remember = (text: string | null | undefined, offset: number | undefined): void => {
    if (text !== null && text !== undefined && offset !== undefined && offset < known) old.set(text, offset)
  }
  let index = 0
  for (const { tag, value } of object.dynamic ?? []) {
    if (tag === DT_NEEDED) remember(object.needed[index++], Number(value))
  }
  const last = (tag: number): number | undefined => {
    const value = valueOf(object.dynamic, tag)
    return value === undefined ? undefined : Number(value)
  }
  remember(object.soname, last(DT_SONAME))
  remember(object.rpath, last(DT_RPATH))
  remember(object.runpath, last(DT_RUNPATH))
  const added = new Map<string, number>()
  const parts: Uint8Array[] = []
  let length = 0
  let first = 0
  return {
    length: () => length,
    bytes: () => Buffer.concat(parts),
    settle: offset => {
      first = offset
    },
    offsetOf: text => {
      const kept = old.get(text)
      if (kept !== undefined) return kept
      let at = added.get(text)
      if (at === undefined) {
        const bytes = encodeText(`${text}\0`)
        at = length
        added.set(text, at)
        parts.push(bytes)
        length += bytes.length
      }
      return first + at
    },
  }
}

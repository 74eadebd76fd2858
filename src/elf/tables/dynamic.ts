// The dynamic table of an edited object: the old entries in their order, changed where the wanted state says so.
import {
  DT_DEBUG,
  DT_FLAGS_1,
  DT_MIPS_RLD_MAP_REL,
  DT_NEEDED,
  DT_RPATH,
  DT_RUNPATH,
  DT_SONAME,
  EM_MIPS,
} from '../constants.ts'
import { encode, type Format, formatOf } from '../layout.ts'
import { changedFields, type ElfState, stateOf } from '../edit/state.ts'
import type { DynamicEntry, ElfObject } from '../types.ts'

/** The new entries without the last DT_NULL; `offsetOf` gives a string's offset in the new string table. */
export function newDynamic(object: ElfObject, wanted: ElfState, offsetOf: (text: string) => number): DynamicEntry[] {
  const changed = changedFields(stateOf(object), wanted)
  const text = (tag: number, value: string | null): DynamicEntry[] =>
    value === null ? [] : [{ tag, value: BigInt(offsetOf(value)) }]
  let entries = [...(object.dynamic ?? [])]
  /** Puts the new entries where the first old one of these tags is, else at the start or end of the table. */
  const replace = (tags: readonly number[], news: readonly DynamicEntry[], otherwise: 'start' | 'end'): void => {
    const replaced: DynamicEntry[] = []
    let isPut = otherwise === 'start' && !entries.some(({ tag }) => tags.includes(tag))
    if (isPut) replaced.push(...news)
    for (const entry of entries) {
      if (!tags.includes(entry.tag)) replaced.push(entry)
      else if (!isPut) {
        replaced.push(...news)
        isPut = true
      }
    }
    if (!isPut) replaced.push(...news)
    entries = replaced
  }
  if (changed.includes('needed')) {
    const needed = wanted.needed.flatMap(name => text(DT_NEEDED, name))
    replace([DT_NEEDED], needed, 'start')
  }
  if (changed.includes('soname')) replace([DT_SONAME], text(DT_SONAME, wanted.soname), 'end')
  if (changed.includes('rpath') || changed.includes('runpath')) {
    const paths = [...text(DT_RPATH, wanted.rpath), ...text(DT_RUNPATH, wanted.runpath)]
    replace([DT_RPATH, DT_RUNPATH], paths, 'end')
  }
  if (changed.includes('flags1')) replace([DT_FLAGS_1], [{ tag: DT_FLAGS_1, value: wanted.flags1 }], 'end')
  if (changed.includes('debugTag')) replace([DT_DEBUG], wanted.debugTag ? [{ tag: DT_DEBUG, value: 0n }] : [], 'start')
  return entries
}

/** The entries with new values for some tags. */
export function withValues(entries: readonly DynamicEntry[], values: ReadonlyMap<number, bigint>): DynamicEntry[] {
  return entries.map(({ tag, value }) => ({ tag, value: values.get(tag) ?? value }))
}

/**
 * Corrects DT_MIPS_RLD_MAP_REL: its value is the distance from its own entry to the debugger's hook, and the entry has
 * moved.
 * @param from address of the old table
 * @param to address of the new one
 */
export function moveDebugHook(
  object: ElfObject,
  entries: readonly DynamicEntry[],
  from: bigint,
  to: bigint,
): DynamicEntry[] {
  if (object.header.machine !== EM_MIPS) return [...entries]
  const step = BigInt(formatOf(object.header).dyn.bytes)
  const oldIndex = object.dynamic?.findIndex(({ tag }) => tag === DT_MIPS_RLD_MAP_REL) ?? -1
  return entries.map((entry, index) =>
    entry.tag !== DT_MIPS_RLD_MAP_REL || oldIndex < 0
      ? entry
      : { tag: entry.tag, value: entry.value + (from + BigInt(oldIndex) * step) - (to + BigInt(index) * step) },
  )
}

/** The bytes of the table, including its DT_NULL. */
export function encodeDynamic(format: Format, entries: readonly DynamicEntry[]): Uint8Array {
  const { dyn } = format
  const bytes = new Uint8Array((entries.length + 1) * dyn.bytes)
  for (const [index, entry] of entries.entries()) encode(dyn, format, bytes, index * dyn.bytes, entry)
  return bytes
}

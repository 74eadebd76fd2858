// What the loader takes from a dynamic table, by tag.
import type { DynamicEntry } from '../types.ts'

/** Each table is asked for some thirty tags. */
const lastValues = new WeakMap<readonly DynamicEntry[], ReadonlyMap<number, bigint>>()

/** The value of the last entry with a tag, which is the one that the loader takes. */
export function valueOf(dynamic: readonly DynamicEntry[] | null, tag: number): bigint | undefined {
  if (dynamic === null) return undefined
  let values = lastValues.get(dynamic)
  if (values === undefined) {
    const found = new Map<number, bigint>()
    for (const entry of dynamic) found.set(entry.tag, entry.value)
    lastValues.set(dynamic, found)
    values = found
  }
  return values.get(tag)
}

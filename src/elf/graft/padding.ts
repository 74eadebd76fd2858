// What it costs to keep the distance of address and file offset that the first PT_LOAD has: the file is filled up.
import { PT_LOAD } from '../constants.ts'
import type { ElfObject } from '../types.ts'

/** How far a file may be filled up, so that the graft comes behind a large .bss. */
export const MOST_PADDING = 1 << 26

/** By how many bytes, pages not counted, the memory of the object reaches beyond its file of `size` bytes. */
export function paddingOf(size: number, { programHeaders }: ElfObject): number {
  const loads = programHeaders.filter(({ type }) => type === PT_LOAD)
  const [first] = loads
  if (first === undefined) return 0
  const end = loads.reduce((highest, { vaddr, memsz }) => (vaddr + memsz > highest ? vaddr + memsz : highest), 0n)
  return Number(end - first.vaddr + BigInt(first.offset)) - size
}

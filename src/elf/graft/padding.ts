// The cost of keeping the first PT_LOAD's distance between address and file offset: padding in the file.
import { PT_LOAD } from '../constants.ts'
import type { ElfObject } from '../types.ts'

/** The most padding that a file gets to put the graft behind a large .bss. */
export const MOST_PADDING = 1 << 26

/** How many bytes the object reaches further in memory than in its file of `size` bytes; ignores page boundaries. */
export function paddingOf(size: number, { programHeaders }: ElfObject): number {
  const loads = programHeaders.filter(({ type }) => type === PT_LOAD)
  const [first] = loads
  if (first === undefined) return 0
  const end = loads.reduce((highest, { vaddr, memsz }) => (vaddr + memsz > highest ? vaddr + memsz : highest), 0n)
  return Number(end - first.vaddr + BigInt(first.offset)) - size
}

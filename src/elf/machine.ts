// What a writer must know of a machine (e_machine): the largest page of its kernels, and where its user address space
// ends.
import {
  EM_386,
  EM_AARCH64,
  EM_ALPHA,
  EM_IA_64,
  EM_LOONGARCH,
  EM_MIPS,
  EM_PARISC,
  EM_PPC,
  EM_PPC64,
  EM_S390,
  EM_SH,
  EM_SPARC,
  EM_SPARC32PLUS,
  EM_SPARCV9,
  EM_68K,
  EM_X86_64,
} from './constants.ts'
import type { ElfHeader } from './types.ts'

const LARGE_PAGES: ReadonlySet<number> = new Set([
  EM_AARCH64,
  EM_ALPHA,
  EM_IA_64,
  EM_LOONGARCH,
  EM_MIPS,
  EM_PARISC,
  EM_PPC,
  EM_PPC64,
  EM_SH,
])
const MEDIUM_PAGES: ReadonlySet<number> = new Set([EM_68K, EM_SPARC, EM_SPARC32PLUS, EM_SPARCV9])

/** No kernel has smaller pages, in bytes. A caller that asks for smaller pages gets this size. */
export const SMALLEST_PAGE = 4096

/** The largest page size, in bytes, of any kernel of this machine (the linker's MAXPAGESIZE where page sizes vary). */
export function pageSize(machine: number): number {
  if (LARGE_PAGES.has(machine)) return 0x10000
  return MEDIUM_PAGES.has(machine) ? 0x2000 : 0x1000
}

/** Machines whose kernels have one page size only. */
const ONE_PAGE_SIZE: ReadonlySet<number> = new Set([EM_386, EM_S390, EM_X86_64])
/** No kernel has larger pages. Linkers may align to more, for huge pages. */
export const LARGEST_PAGE = 0x10000n

/**
 * The size, in bytes, of the pages that a new PT_LOAD must not share with others: the largest page of the machine. Where
 * page sizes vary, it is the largest p_align of the file instead, if that is larger, but at most LARGEST_PAGE.
 * @param page the size that the caller asks for, in bytes
 */
export function loadAlignment(
  { machine }: ElfHeader,
  loads: readonly { readonly align: bigint }[],
  page: number | undefined,
): bigint {
  const least = BigInt(Math.max(page ?? pageSize(machine), SMALLEST_PAGE))
  if (page !== undefined || ONE_PAGE_SIZE.has(machine)) return least
  const own = loads.reduce((largest, { align }) => (align > largest ? align : largest), least)
  return own > LARGEST_PAGE ? LARGEST_PAGE : own
}

/** The first address that no segment may reach. */
export function addressLimit(header: ElfHeader): bigint {
  if (header.class === 64) return 1n << 64n
  // the upper half of a 32-bit MIPS address space is the kernel's
  return header.machine === EM_MIPS ? 1n << 31n : 1n << 32n
}

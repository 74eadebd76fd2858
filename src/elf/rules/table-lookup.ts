// Where glibc finds an object's program headers, and whether they are still there after it has mapped the object.
// Unwinding an exception needs them (dl_iterate_phdr): where they are zeroed, every exception ends the process.
import { PT_LOAD, PT_PHDR } from '../constants.ts'
import { namesMusl } from '../kind.ts'
import { formatOf } from '../layout.ts'
import { loadAlignment, SMALLEST_PAGE } from '../machine.ts'
import type { ElfObject, ProgramHeader } from '../types.ts'

/** A program header table that the loader zeroes in part. */
interface ZeroedTable {
  /** The page size, in bytes, with which this happens. */
  readonly page: number
  /** The PT_LOAD whose last page holds the table. */
  readonly load: ProgramHeader
}

/**
 * Does glibc zero the program headers that it reports, with any page size that the machine can have? glibc uses the
 * address in PT_PHDR; else the table in the first PT_LOAD whose whole pages in the file hold all of it; else a copy of
 * the table (dl-map-segments.h, _dl_postprocess_loadcmd). Where a PT_LOAD has .bss, glibc zeroes the rest of its last
 * page (_dl_map_segments). musl goes by p_filesz, so it zeroes none of these headers.
 * @param page the largest page size in bytes; without it the machine's
 */
export function zeroedTable(object: ElfObject, page?: number): ZeroedTable | null {
  const { header, programHeaders } = object
  if (namesMusl(object)) return null
  const loads = programHeaders.filter(({ type }) => type === PT_LOAD)
  const largest = Number(loadAlignment(header, loads, page))
  for (let size = SMALLEST_PAGE; size <= largest; size *= 2) {
    const load = canBeMapped(loads, BigInt(size)) ? zeroedBy(object, loads, BigInt(size)) : null
    if (load !== null) return { page: size, load }
  }
  return null
}

/**
 * Otherwise glibc refuses the object ("ELF load command alignment not page-aligned", "address/offset not properly
 * aligned").
 */
function canBeMapped(loads: readonly ProgramHeader[], page: bigint): boolean {
  return loads.every(({ vaddr, offset, align }) => align % page === 0n && (vaddr - BigInt(offset)) % page === 0n)
}

/** The PT_LOAD that zeroes the table with pages of that many bytes; null where none does. */
function zeroedBy(
  { header, programHeaders }: ElfObject,
  loads: readonly ProgramHeader[],
  page: bigint,
): ProgramHeader | null {
  const length = BigInt(programHeaders.length * formatOf(header).phdr.bytes)
  const down = (value: bigint): bigint => (value / page) * page
  const up = (value: bigint): bigint => down(value + page - 1n)
  const phoff = BigInt(header.phoff)
  const told = programHeaders.findLast(({ type }) => type === PT_PHDR)?.vaddr
  let address = told
  for (const { vaddr, offset, filesz } of loads) {
    const from = down(BigInt(offset))
    const to = from + up(vaddr + BigInt(filesz)) - down(vaddr)
    if (address === undefined && from <= phoff && phoff + length <= to) address = down(vaddr) + phoff - from
  }
  if (address === undefined) return null
  const start = address
  return (
    loads.find(({ vaddr, filesz, memsz }) => {
      const zero = vaddr + BigInt(filesz)
      return memsz > BigInt(filesz) && start < up(zero) && zero < start + length
    }) ?? null
  )
}

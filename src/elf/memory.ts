// An object's memory image as its PT_LOADs describe it: finds the file offset of an address, and strings and tables by
// address. Sections are not used, because a loader does not see them either.
import { PT_LOAD } from './constants.ts'
import { ElfError } from './error.ts'
import { SMALLEST_PAGE } from './machine.ts'
import type { ByteSource } from './source.ts'
import { decodeBytes } from './text.ts'
import type { ProgramHeader } from './types.ts'

/** Longer than the strings of any real object. Bounds the read when a NUL is missing. */
const LONGEST_STRING = 1 << 20

/** A range of the file that is mapped at an address. */
export interface Extent {
  /** File offset. */
  readonly offset: number
  /** Bytes from there to the end of the mapping. The file itself may end earlier. */
  readonly length: number
}

/** A range of addresses (end excluded) that shows the file from an offset on. */
interface Mapping {
  readonly start: bigint
  end: bigint
  readonly offset: number
}

const mappingsOf = new WeakMap<readonly ProgramHeader[], readonly Mapping[]>()

/**
 * What the loader maps (binfmt_elf.c; glibc, dl-map-segments.h; musl, map_library). It maps whole pages, so memory also
 * shows the bytes before and behind a PT_LOAD, up to the page boundaries. The rest of the last page is zeroed only
 * where p_memsz is larger than p_filesz. A later PT_LOAD is mapped over an earlier one. Two PT_LOADs that are
 * contiguous in memory and in the file count as one. Older versions of patchelf left tables in the rest of a page.
 */
function mappings(programHeaders: readonly ProgramHeader[]): readonly Mapping[] {
  const known = mappingsOf.get(programHeaders)
  if (known !== undefined) return known
  const found: Mapping[] = []
  for (const { type, vaddr, offset, filesz, memsz } of programHeaders) {
    if (type !== PT_LOAD || filesz === 0) continue
    const into = Number(vaddr % PAGE)
    // otherwise no loader maps the PT_LOAD, and only the range that it states is used
    const isPaged = offset % SMALLEST_PAGE === into
    const end = vaddr + BigInt(filesz)
    const rest = isPaged && memsz <= BigInt(filesz) ? (PAGE - (end % PAGE)) % PAGE : 0n
    const start = isPaged ? vaddr - BigInt(into) : vaddr
    const first = isPaged ? offset - into : offset
    const last = found.at(-1)
    if (last !== undefined && last.end >= start && vaddr >= last.start) {
      if (last.start - BigInt(last.offset) === start - BigInt(first)) {
        last.end = end + rest
        continue
      }
      last.end = start > last.start ? start : last.start
    }
    found.push({ start, end: end + rest, offset: first })
  }
  mappingsOf.set(programHeaders, found)
  return found
}

const PAGE = BigInt(SMALLEST_PAGE)

/**
 * Do address and offset of each PT_LOAD agree modulo the page? glibc refuses any other object (dl-load.c). GNU strip leaves
 * such files of what old versions of patchelf edited.
 */
export function isMappable(programHeaders: readonly ProgramHeader[]): boolean {
  return programHeaders.every(({ type, vaddr, offset }) => type !== PT_LOAD || (vaddr - BigInt(offset)) % PAGE === 0n)
}

/**
 * Where the byte at an address is in the file, and how far its mapping goes on; null for an address that is not mapped.
 */
export function extentAt(programHeaders: readonly ProgramHeader[], address: bigint): Extent | null {
  for (const { start, end, offset } of mappings(programHeaders)) {
    if (address < start || address >= end) continue
    const into = Number(address - start)
    return { offset: offset + into, length: Number(end - address) }
  }
  return null
}

/** As `extentAt`, for an address that must be mapped. @throws ElfError `MALFORMED` */
export function mustBeAt(programHeaders: readonly ProgramHeader[], address: bigint, what: string): Extent {
  const extent = extentAt(programHeaders, address)
  if (extent !== null) return extent
  throw new ElfError('MALFORMED', `${what} at address 0x${address.toString(16)} is in no PT_LOAD`, undefined, address)
}

/** The bytes of the NUL-terminated string at the extent's start. @throws ElfError `MALFORMED` without a NUL, `TRUNCATED` */
export function readStringBytes(source: ByteSource, extent: Extent): Uint8Array {
  const most = Math.min(extent.length, LONGEST_STRING)
  for (let length = Math.min(256, most); ; length = Math.min(length * 8, most)) {
    // the last string of a file may end close to the file's end
    const bytes = source.read(extent.offset, Math.max(Math.min(length, source.size - extent.offset), 0))
    const end = bytes.indexOf(0)
    if (end >= 0) return bytes.subarray(0, end)
    if (length === most || bytes.length < length) {
      throw new ElfError('MALFORMED', `the string at ${extent.offset} does not end`, extent.offset)
    }
  }
}

/** The decoded string at an address. @throws ElfError */
export function readStringAt(
  source: ByteSource,
  programHeaders: readonly ProgramHeader[],
  address: bigint,
  what: string,
): string {
  return decodeBytes(readStringBytes(source, mustBeAt(programHeaders, address, what)))
}

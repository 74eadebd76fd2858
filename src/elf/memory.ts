// An object's memory image as its PT_LOADs describe it: addresses to file offsets, and strings and tables by address.
// Sections play no part here; a loader does not see them either.
import { PT_LOAD } from './constants.ts'
import { ElfError } from './error.ts'
import { SMALLEST_PAGE } from './machine.ts'
import type { ByteSource } from './source.ts'
import { decodeBytes } from './text.ts'
import type { ProgramHeader } from './types.ts'

/** No string of a sane object comes near to this; it bounds what a missing NUL can make us read. */
const LONGEST_STRING = 1 << 20

/** A stretch of the file that is mapped at an address. */
export interface Extent {
  /** File offset. */
  readonly offset: number
  /** Bytes of the file from there to where its mapping ends; the file itself may end before. */
  readonly length: number
}

/** Addresses, the last one excluded, that show the file from an offset on. */
interface Mapping {
  readonly start: bigint
  end: bigint
  readonly offset: number
}

const mappingsOf = new WeakMap<readonly ProgramHeader[], readonly Mapping[]>()

/**
 * What the loader maps (binfmt_elf.c; glibc, dl-map-segments.h; musl, map_library): whole pages, so that the bytes before
 * and behind a PT_LOAD are there too, up to where a page begins and ends. Only where p_memsz is larger than p_filesz the rest
 * of the page is zeroed. A later PT_LOAD is mapped over an earlier one, and two that go on from one to the other in memory
 * and in the file are as one. Older versions of patchelf left tables in such a rest of a page.
 */
function mappings(programHeaders: readonly ProgramHeader[]): readonly Mapping[] {
  const known = mappingsOf.get(programHeaders)
  if (known !== undefined) return known
  const found: Mapping[] = []
  for (const { type, vaddr, offset, filesz, memsz } of programHeaders) {
    if (type !== PT_LOAD || filesz === 0) continue
    const into = Number(vaddr % PAGE)
    // else no loader maps it, and it is shown as it says
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

/** Where the byte at an address stands in the file, and how far its mapping goes on; null where none has it. */
export function extentAt(programHeaders: readonly ProgramHeader[], address: bigint): Extent | null {
  for (const { start, end, offset } of mappings(programHeaders)) {
    if (address < start || address >= end) continue
    const into = Number(address - start)
    return { offset: offset + into, length: Number(end - address) }
  }
  return null
}

/** As `extentAt`, for what must be there. @throws ElfError `MALFORMED` */
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

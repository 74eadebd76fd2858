// An object's memory image as its PT_LOADs describe it: addresses to file offsets, and strings and tables by address.
// Sections play no part here; a loader does not see them either.
import { PT_LOAD } from './constants.ts'
import { ElfError } from './error.ts'
import type { ByteSource } from './source.ts'
import { decodeBytes } from './text.ts'
import type { ProgramHeader } from './types.ts'

/** No string of a sane object comes near to this; it bounds what a missing NUL can make us read. */
const LONGEST_STRING = 1 << 20

/** A stretch of the file that is mapped at an address. */
export interface Extent {
  /** File offset. */
  readonly offset: number
  /** Bytes of the file from there to the end of the segment. */
  readonly length: number
}

/** Where the byte at an address stands in the file, and how far its segment goes on; null where no PT_LOAD has it. */
export function extentAt(programHeaders: readonly ProgramHeader[], address: bigint): Extent | null {
  for (const { type, vaddr, offset, filesz } of programHeaders) {
    if (type !== PT_LOAD || address < vaddr) continue
    const into = address - vaddr
    if (into < BigInt(filesz)) return { offset: offset + Number(into), length: filesz - Number(into) }
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

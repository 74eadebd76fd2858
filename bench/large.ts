// Makes a library of any size from a small one, as a sparse file. To a reader it looks like a 500 MB library of torch.
import { closeSync, copyFileSync, openSync, readFileSync, writeSync } from 'node:fs'

/** Section header fields of ELF64 (gABI chapter 4). */
const SECTION_HEADER_SIZE = 64
const SHT_PROGBITS = 1

/**
 * Copies a little-endian ELF64 library and enlarges it to `size` bytes. It adds a section of zeros that nothing loads.
 * The section header table comes after this section, where linkers put it.
 */
export function enlarge(from: string, to: string, size: number): void {
  const library = readFileSync(from)
  const room = size - (library.readUInt16LE(60) + 1) * SECTION_HEADER_SIZE
  const tableAt = room - (room % 16)
  const { head, table } = enlargedParts(library, tableAt)
  copyFileSync(from, to)
  const fd = openSync(to, 'r+')
  writeSync(fd, head, 0, 64, 0)
  writeSync(fd, table, 0, table.length, tableAt)
  closeSync(fd)
}

/** The bytes before and after the added section, for a section header table at the file offset `tableAt`. */
export function enlargedParts(library: Buffer, tableAt: number): { readonly head: Buffer; readonly table: Buffer } {
  const shoff = Number(library.readBigUInt64LE(40))
  const shnum = library.readUInt16LE(60)
  const section = Buffer.alloc(SECTION_HEADER_SIZE)
  section.writeUInt32LE(SHT_PROGBITS, 4)
  section.writeBigUInt64LE(BigInt(library.length), 24)
  section.writeBigUInt64LE(BigInt(tableAt - library.length), 32)
  section.writeBigUInt64LE(1n, 48)
  const head = Buffer.from(library)
  head.writeBigUInt64LE(BigInt(tableAt), 40)
  head.writeUInt16LE(shnum + 1, 60)
  return { head, table: Buffer.concat([library.subarray(shoff, shoff + shnum * SECTION_HEADER_SIZE), section]) }
}

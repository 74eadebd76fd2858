// A library of any size out of a small one, as a sparse file: what a 500 MB library of torch is to a reader.
import { closeSync, copyFileSync, openSync, readFileSync, writeSync } from 'node:fs'

/** Section header fields of ELF64 (gABI chapter 4). */
const SECTION_HEADER_SIZE = 64
const SHT_PROGBITS = 1

/**
 * Copies an ELF64 little-endian library and blows it up to `size` bytes: one more section, of zeros, that nothing loads,
 * and the section header table behind it, where linkers put it.
 */
export function blowUp(from: string, to: string, size: number): void {
  const library = readFileSync(from)
  const room = size - (library.readUInt16LE(60) + 1) * SECTION_HEADER_SIZE
  const tableAt = room - (room % 16)
  const { head, table } = blownUp(library, tableAt)
  copyFileSync(from, to)
  const fd = openSync(to, 'r+')
  writeSync(fd, head, 0, 64, 0)
  writeSync(fd, table, 0, table.length, tableAt)
  closeSync(fd)
}

/** The library and the table that go before and behind anything, where the table is at `tableAt`. */
export function blownUp(library: Buffer, tableAt: number): { readonly head: Buffer; readonly table: Buffer } {
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

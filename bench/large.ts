// A library of any size out of a small one, as a sparse file: what a 500 MB library of torch is to a reader.
import { closeSync, copyFileSync, fstatSync, openSync, readFileSync, writeSync } from 'node:fs'

/** Section header fields of ELF64 (gABI chapter 4). */
const SECTION_HEADER_SIZE = 64
const SHT_PROGBITS = 1

/**
 * Copies an ELF64 little-endian library and blows it up to `size` bytes: one more section, of zeros, that nothing loads,
 * and the section header table behind it, where linkers put it.
 */
export function blowUp(from: string, to: string, size: number): void {
  copyFileSync(from, to)
  const header = readFileSync(from).subarray(0, 64)
  const shoff = Number(header.readBigUInt64LE(40))
  const shnum = header.readUInt16LE(60)
  const table = readFileSync(from).subarray(shoff, shoff + shnum * SECTION_HEADER_SIZE)
  const fd = openSync(to, 'r+')
  const oldSize = fstatSync(fd).size
  const tableAt = (size - table.length - SECTION_HEADER_SIZE) & ~15

  const zeros = Buffer.alloc(SECTION_HEADER_SIZE)
  zeros.writeUInt32LE(SHT_PROGBITS, 4)
  zeros.writeBigUInt64LE(BigInt(oldSize), 24)
  zeros.writeBigUInt64LE(BigInt(tableAt - oldSize), 32)
  zeros.writeBigUInt64LE(1n, 48)
  writeSync(fd, Buffer.concat([table, zeros]), 0, table.length + zeros.length, tableAt)
  header.writeBigUInt64LE(BigInt(tableAt), 40)
  header.writeUInt16LE(shnum + 1, 60)
  writeSync(fd, header, 0, header.length, 0)
  closeSync(fd)
}

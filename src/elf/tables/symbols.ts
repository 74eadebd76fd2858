// Whether an object defines a dynamic symbol, by its hash table: a few small reads, even for a large table.
import { DT_GNU_HASH, DT_HASH, DT_STRTAB, DT_SYMTAB, EM_ALPHA, EM_S390, SHN_UNDEF } from '../constants.ts'
import { ElfError } from '../error.ts'
import { mustBeAt } from '../memory.ts'
import { decode, formatOf, getNumber } from '../layout.ts'
import type { ByteSource } from '../source.ts'
import { valueOf } from './entries.ts'
import { encodeText } from '../text.ts'
import type { ElfObject } from '../types.ts'

/** A longer chain is a loop, or the table is not a hash table. */
const LONGEST_CHAIN = 1 << 16

/**
 * Does the object define this dynamic symbol, in any version? Uses DT_GNU_HASH, else DT_HASH. False for an object
 * without either (MIPS may have only DT_MIPS_XHASH) and without a dynamic table.
 * @throws ElfError when a table lies outside its segment or does not end
 */
export function definesSymbol(source: ByteSource, object: ElfObject, name: string): boolean {
  const value = (tag: number): bigint | undefined => valueOf(object.dynamic, tag)
  const symtab = value(DT_SYMTAB)
  const strtab = value(DT_STRTAB)
  if (symtab === undefined || strtab === undefined) return false
  const { programHeaders } = object
  const format = formatOf(object.header)
  const wanted = encodeText(`${name}\0`)
  const read = (address: bigint, length: number, what: string): Uint8Array => {
    const extent = mustBeAt(programHeaders, address, what)
    if (length > extent.length) throw new ElfError('MALFORMED', `${what} leaves its segment`, extent.offset, length)
    return source.read(extent.offset, length)
  }
  const isDefinition = (index: number): boolean => {
    const { sym } = format
    const symbol = decode(sym, format, read(symtab + BigInt(index * sym.bytes), sym.bytes, 'a symbol'))
    if (symbol.shndx === SHN_UNDEF) return false
    const extent = mustBeAt(programHeaders, strtab + symbol.name, "a symbol's name")
    return extent.length >= wanted.length && wanted.equals(source.read(extent.offset, wanted.length))
  }
  const number = (address: bigint, width: 4 | 8, what: string): number =>
    getNumber(format, read(address, width, what), 0, { at: 0, width })

  const gnuHash = value(DT_GNU_HASH)
  if (gnuHash !== undefined) {
    const head = decode(format.gnuHash, format, read(gnuHash, format.gnuHash.bytes, 'DT_GNU_HASH'))
    const bucketTable = gnuHash + BigInt(format.gnuHash.bytes + head.bloomWords * (format.class / 8))
    return inGnuHash(head, bucketTable, wanted, number, isDefinition)
  }
  const hash = value(DT_HASH)
  if (hash === undefined) return false
  // on these two machines the entries of DT_HASH have 8 bytes (glibc: Elf_Symndx), on all others 4
  const { machine } = object.header
  const wide = format.class === 64 && (machine === EM_ALPHA || machine === EM_S390)
  return inHash(hash, wanted, wide ? 8 : 4, number, isDefinition)
}

type ReadNumber = (address: bigint, width: 4 | 8, what: string) => number

/** DT_GNU_HASH: header, bloom filter, buckets, and chains. The last hash of a chain has its lowest bit set. */
function inGnuHash(
  { buckets, firstSymbol }: { readonly buckets: number; readonly firstSymbol: number },
  bucketTable: bigint,
  wanted: Uint8Array,
  number: ReadNumber,
  isDefinition: (index: number) => boolean,
): boolean {
  if (buckets === 0) return false
  let hash = 5381
  for (const byte of wanted.subarray(0, -1)) hash = (Math.imul(hash, 33) + byte) >>> 0
  let index = number(bucketTable + 4n * BigInt(hash % buckets), 4, 'a bucket of DT_GNU_HASH')
  if (index === 0) return false
  if (index < firstSymbol) {
    throw new ElfError('MALFORMED', 'a bucket of DT_GNU_HASH names a symbol that is not hashed', undefined, index)
  }
  const chain = bucketTable + 4n * BigInt(buckets)
  for (let steps = 0; steps < LONGEST_CHAIN; steps++, index++) {
    const found = number(chain + 4n * BigInt(index - firstSymbol), 4, 'a chain of DT_GNU_HASH')
    if ((found | 1) >>> 0 === (hash | 1) >>> 0 && isDefinition(index)) return true
    if ((found & 1) !== 0) return false
  }
  throw new ElfError('MALFORMED', 'a chain of DT_GNU_HASH does not end')
}

/** DT_HASH: nbucket, nchain, buckets, chains. */
function inHash(
  table: bigint,
  wanted: Uint8Array,
  width: 4 | 8,
  number: ReadNumber,
  isDefinition: (index: number) => boolean,
): boolean {
  const at = (index: number): number => number(table + BigInt(index * width), width, 'DT_HASH')
  const buckets = at(0)
  if (buckets === 0) return false
  let index = at(2 + (elfHash(wanted.subarray(0, -1)) % buckets))
  for (let steps = 0; index !== 0; steps++) {
    if (steps === LONGEST_CHAIN) throw new ElfError('MALFORMED', 'a chain of DT_HASH does not end')
    if (isDefinition(index)) return true
    index = at(2 + buckets + index)
  }
  return false
}

/** The hash of DT_HASH and of symbol versions (gABI, “Hash Table”). */
function elfHash(name: Uint8Array): number {
  let hash = 0
  for (const byte of name) {
    hash = ((hash << 4) >>> 0) + byte
    const high = hash & 0xf0000000
    hash = (hash ^ (high >>> 24)) & 0x0fffffff
  }
  return hash
}

/** Hashes by name: the objects of a venv share most of their versions (GLIBC_2.2.5). */
const hashes = new Map<string, number>()
const MOST_HASHES = 1 << 12

/** The hash of a version's name. */
export function hashOfName(name: string): number {
  let hash = hashes.get(name)
  if (hash === undefined) {
    hash = elfHash(encodeText(name))
    if (hashes.size === MOST_HASHES) hashes.clear()
    hashes.set(name, hash)
  }
  return hash
}

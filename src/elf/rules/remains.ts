// What is left of a section table that no reader finds: a file that was cut off in or before the table, or whose ELF header
// does not say where the table is, how long it is or how large its records are. Loaders never look, so such a file runs.
// Then the bytes behind its segments belong to the object. They are not a payload that a program finds from the end of its
// file.
import {
  SHF_ALLOC,
  SHT_GNU_VERNEED,
  SHT_LOOS,
  SHT_LOPROC,
  SHT_LOUSER,
  SHT_NOBITS,
  SHT_NULL,
  SHT_RELR,
} from '../constants.ts'
import { isExecutable } from '../kind.ts'
import { type Format, formatOf, getAddress, getNumber } from '../layout.ts'
import { extentAt } from '../memory.ts'
import type { ByteSource } from '../source.ts'
import {
  beginsWithNull,
  MOST_SECTION_NAMES,
  sectionAddress,
  sectionNumber,
  type SectionTable,
} from '../tables/sections.ts'
import type { ElfObject } from '../types.ts'

/** More sections than any object has. */
const MOST_RECORDS = 1 << 17
/** The fewest sections by which a table is recognised that the ELF header does not name. */
const FEWEST_RECORDS = 3

/**
 * Do the bytes from `end` on, behind the last segment, consist of the object's own sections and their table?
 * @param end file offset in bytes
 */
export function areRemainsOfSections(source: ByteSource, object: ElfObject, end: number): boolean {
  const format = formatOf(object.header)
  const { ehdr, shdr } = format
  const head = source.read(0, ehdr.bytes)
  const told = getAddress(format, head, 0, ehdr.shoff)
  const shnum = getNumber(format, head, 0, ehdr.shnum)
  const records = { source, object, format, limit: Math.max(source.size, Number(told)) }
  if (told >= BigInt(source.size)) {
    // the file ends where the table begins, or before that. Nothing in the file proves the second, so it does not count for
    // programs, which may have payloads
    if (shnum > 0 && told === BigInt(source.size)) return true
    if (shnum > 0 && !isExecutable(object) && beginsWithSections(source, end)) return true
  } else if (told > 0n) {
    const start = Number(told)
    let count = 0
    while (count < MOST_RECORDS && isRecord(records, start + count * shdr.bytes, count)) count++
    if (start + count * shdr.bytes === source.size) return count > 0
    // only a table that should go on has a last record that is cut off
    if (count < shnum && isRecord(records, start + count * shdr.bytes, count, true)) return true
  }
  return endsWithTable(records)
}

/** A place to look for records of a section table. */
interface Records {
  readonly source: ByteSource
  readonly object: ElfObject
  readonly format: Format
  /** No section ends behind this file offset. */
  readonly limit: number
}

/** Is a section table the last thing in the file? It begins with its null section. */
function endsWithTable(records: Records): boolean {
  const { source, format } = records
  const { bytes: step } = format.shdr
  for (let count = 1; count <= MOST_RECORDS; count++) {
    const at = source.size - count * step
    if (at < 0) return false
    if (isRecord(records, at, 1)) continue
    return count > FEWEST_RECORDS && isRecord(records, at, 0)
  }
  return false
}

/**
 * Does the file hold the record of a section of this object there? `index` is 0 for the null section.
 * @param isCut the file ends inside the record
 */
function isRecord({ source, object, format, limit }: Records, at: number, index: number, isCut = false): boolean {
  const { bytes: length } = format.shdr
  const there = Math.min(length, source.size - at)
  if (there <= 0 || there < length !== isCut) return false
  const bytes = new Uint8Array(length)
  bytes.set(source.read(at, there))
  const table: SectionTable = { format, count: 1, namesIndex: 0, bytes }
  if (index === 0) return beginsWithNull(table)
  const type = sectionNumber(table, 0, 'type')
  const flags = sectionNumber(table, 0, 'flags')
  const offset = sectionNumber(table, 0, 'offset')
  const size = sectionNumber(table, 0, 'size')
  const align = sectionAddress(table, 0, 'addralign')
  if (sectionNumber(table, 0, 'name') >= MOST_SECTION_NAMES || flags >= 2 ** 32) return false
  if (there < format.shdr.flags.at) return true
  if (!isType(type)) return false
  if ((align & (align - 1n)) !== 0n) return false
  if (type === SHT_NOBITS) return true
  if (offset + size > limit) return false
  if ((flags & SHF_ALLOC) === 0 || size === 0) return true
  return extentAt(object.programHeaders, sectionAddress(table, 0, 'addr'))?.offset === offset
}

/** The upper halves of the types of systems, processors and users. */
const RANGES: ReadonlySet<number> = new Set(
  [SHT_LOOS, SHT_GNU_VERNEED, SHT_LOPROC, SHT_LOUSER].map(type => type >>> 16),
)

/** Is this a type that tools give to sections? */
function isType(type: number): boolean {
  return (type !== SHT_NULL && type <= SHT_RELR) || RANGES.has(type >>> 16)
}

/** How many bytes behind the segments are looked at. The sections there need not be aligned. */
const SAMPLE = 256
/** What compilers and linkers write into .comment, and the names of sections. */
const SECTION_TEXT =
  /^\0*(?:GCC: \(|(?:[\w.+-]+ )*clang version \d|rustc version \d|Linker: |\.shstrtab\0|\.symtab\0\.strtab\0|\.note\.)/

/** Do the bytes there look like the sections that linkers put right behind the segments? */
function beginsWithSections(source: ByteSource, at: number): boolean {
  const length = Math.min(SAMPLE, source.size - at)
  const text = Buffer.from(source.read(at, length)).toString('latin1')
  return SECTION_TEXT.test(text)
}

// Where a graft goes, in the file and in memory, and where each of its parts goes.
import { DT_STRTAB, PT_LOAD } from '../constants.ts'
import { ElfError } from '../error.ts'
import type { GraftParts } from './new-parts.ts'
import { MOST_PADDING } from './padding.ts'
import type { Placed, StringsPlace } from './new-sections.ts'
import { formatOf } from '../layout.ts'
import { addressLimit, LARGEST_PAGE, loadAlignment, SMALLEST_PAGE } from '../machine.ts'
import type { Editable } from '../rules/refuse.ts'
import { valueOf } from '../tables/entries.ts'
import { endOfContent } from '../tables/sections.ts'
import type { ElfObject, ProgramHeader } from '../types.ts'
import { GRAFT_ALIGNMENT, noteLength } from './undo-note.ts'

/**
 * Larger string tables stay where they are, and DT_STRSZ makes them reach up to the new strings. In an environment of 44
 * distributions, 33 of 800 patched objects have such a table; copies of them would make 11 of 30 MB. (The price: readelf
 * warns that the table is not in one PT_LOAD, and patchelf refuses the file.)
 */
const STAYS = 1 << 17
/** Moves the last program header off the start of a page. */
const SHIFT = 64

/**
 * The layout's number. Raise it with every change of the layout: files grafted by earlier versions are then checked
 * again.
 * 2: the graft begins on a fresh page of the file where a PT_LOAD has .bss.
 * 3: a library with moved program headers has them e_phoff bytes behind its start in memory.
 * 4: a string table at the end of the file grows, and one of more than 128 KiB stays where it is.
 */
export const GRAFT_FORMAT = 4

const alignUp = (value: number, alignment: number): number => Math.ceil(value / alignment) * alignment
const alignUpAddress = (value: bigint, alignment: bigint): bigint => ((value + alignment - 1n) / alignment) * alignment

/** Where the graft's PT_LOAD goes. */
interface GraftPlace {
  /** File offset. */
  readonly start: number
  readonly address: bigint
  /** p_align */
  readonly align: bigint
  readonly stringsPlace: StringsPlace
}

/**
 * The place of every part, except the section headers and their names: they come behind `end` and are in no segment.
 */
export interface GraftLayout extends GraftPlace {
  readonly note: Placed
  readonly dynamic: Placed
  readonly interpreter: Placed | null
  readonly versions: Placed | null
  /** The copy of the old strings (`copiedLength` bytes) and the new strings behind it. */
  readonly strings: Placed
  /** In bytes; 0 where the old strings stay in place. */
  readonly copiedLength: number
  /** The string table as the loader sees it: from DT_STRTAB on. */
  readonly stringTable: Placed
  /** The distance of the first new string from DT_STRTAB. */
  readonly firstNewString: number
  readonly programHeaders: Placed
  /** File offset of the end of the PT_LOAD. */
  readonly loadEnd: number
  readonly end: number
}

/** DT_STRTAB of an object that can be edited. */
export const stringTableAddress = (object: ElfObject): bigint => valueOf(object.dynamic, DT_STRTAB) ?? 0n

/**
 * @param size of the file, in bytes
 * @param page the page size of the layout, in bytes; without it the machine's
 * @throws ElfError `REFUSED` where there is no room
 */
export function layOut(
  size: number,
  object: ElfObject,
  editable: Editable,
  parts: GraftParts,
  page: number | undefined,
): GraftLayout {
  const { kind, headersLength, strings: newStrings, lastLoad } = parts
  const { strtab } = editable
  const phdr = formatOf(object.header).phdr.bytes
  const where = place(size, object, editable, parts, page)
  const { start, address, stringsPlace } = where

  let end = start + gapOf(parts)
  const take = (length: number, alignment: number): Placed => {
    const at = alignUp(end, alignment)
    end = at + length
    return { at, address: address + BigInt(at - start), length }
  }
  const note = take(noteLength(formatOf(object.header), parts.undo), GRAFT_ALIGNMENT)
  const dynamic = take(parts.dynamicLength, 16)
  const interpreter = parts.interpreter === null ? null : take(parts.interpreter.length, 1)
  const versions = parts.versionsLength === null ? null : take(parts.versionsLength, 8)
  const copiedLength = stringsPlace === 'copied' ? strtab.length : 0
  const strings =
    stringsPlace === 'grown' && lastLoad !== null
      ? { at: size, address: lastLoad.vaddr + BigInt(size - lastLoad.offset), length: newStrings.length() }
      : take(copiedLength + newStrings.length(), 8)
  let loadEnd = end
  let programHeaders = take(headersLength, 16)
  if (kind === 'executable') {
    // all but the last header, which must be in the page in which the PT_LOAD ends
    if ((end - 1) % SMALLEST_PAGE < phdr) {
      end = programHeaders.at + SHIFT
      programHeaders = take(headersLength, 16)
    }
    loadEnd = end - phdr
  } else if (kind === 'musl') loadEnd = end
  if (address + BigInt(end - start) > addressLimit(object.header)) {
    throw new ElfError('REFUSED', 'cannot be edited: no address space is left after its last segment')
  }

  const old = { at: strtab.offset, address: stringTableAddress(object), length: strtab.length }
  const longer = { ...old, length: strings.at + strings.length - strtab.offset }
  const stringTable: Placed = { copied: strings, extended: longer, grown: longer, kept: old }[stringsPlace]
  const stays = stringsPlace === 'extended' || stringsPlace === 'grown'
  const firstNewString = stays ? strings.at - strtab.offset : strtab.length
  return {
    ...where,
    note,
    dynamic,
    interpreter,
    versions,
    strings,
    copiedLength,
    stringTable,
    firstNewString,
    programHeaders,
    loadEnd,
    end,
  }
}

/** A PT_LOAD that reaches up to a file offset. */
export function lengthened(load: ProgramHeader, end: number): ProgramHeader {
  return { ...load, filesz: end - load.offset, memsz: BigInt(end - load.offset) }
}

/** Bytes left free at the start of the PT_LOAD, because GNU strip writes its own program headers there; 0 for none. */
const gapOf = ({ kind, headersLength }: GraftParts): number => (kind === 'musl' ? headersLength : 0)

/** The most bytes that the PT_LOAD can take without a copy of the string table. */
function lengthOf(object: ElfObject, parts: GraftParts): number {
  const lengths = [
    noteLength(formatOf(object.header), parts.undo),
    parts.headersLength,
    parts.dynamicLength,
    parts.interpreter?.length ?? 0,
    parts.versionsLength ?? 0,
  ]
  return lengths.reduce((sum, length) => sum + alignUp(length, GRAFT_ALIGNMENT), parts.strings.length() + SHIFT)
}

/**
 * Finds the place of the graft. The graft can keep another PT_LOAD's distance between address and file offset:
 * - An executable's graft keeps the distance of the first PT_LOAD. Kernels before 5.18 and qemu-user compute AT_PHDR as
 *   e_phoff + (p_vaddr - p_offset of the first PT_LOAD).
 * - If a large string table stays where it is, the graft keeps the distance of that table. The table then reaches up to
 *   the new strings both in memory and in the file. (Where the table is the last thing in the file, the new strings come
 *   right behind it, and the graft behind them.)
 * - All other grafts come behind everything else.
 */
function place(
  size: number,
  object: ElfObject,
  { strtab, sections }: Editable,
  parts: GraftParts,
  page: number | undefined,
): GraftPlace {
  const executable = parts.kind === 'executable'
  const added = parts.strings.length()
  const gap = gapOf(parts)
  const fixed = lengthOf(object, parts)
  const grows = added > 0 && parts.lastLoad !== null
  const loads = object.programHeaders
    .filter(({ type }) => type === PT_LOAD)
    .map(load => (grows && load === parts.lastLoad ? lengthened(load, size + added) : load))
  const pages = loadAlignment(object.header, loads, page)
  // the file's own p_align, if it is valid: a whole number of the pages that must stay apart
  const own = loads.reduce((largest, { align }) => (align > largest ? align : largest), pages)
  // a 32-bit address space has no room for a p_align of 256 MB in every library, and no file for a gap of terabytes; the
  // page is what loaders ask for
  const most = object.header.class === 32 ? LARGEST_PAGE : BigInt(MOST_PADDING)
  const far = own > most ? pages : own
  const alignAt = (distanceOfStart: bigint): bigint => (distanceOfStart % own === 0n ? own : pages)
  const free = firstFreeOffset(grows ? size + added : size, parts, loads, pages)
  const first = loads[0]
  const firstDistance = first === undefined ? 0n : first.vaddr - BigInt(first.offset)
  const distance = stringTableAddress(object) - BigInt(strtab.offset)
  // where address and offset are equal, readelf finds the table without a PT_LOAD that holds all of it
  const mayStay = added > 0 && !grows && strtab.length > STAYS && distance === 0n && gap === 0
  if (mayStay && (!executable || firstDistance === 0n)) {
    const start = startAtDistance(free, loads, pages, fixed, distance)
    // string offsets in .gnu.version_r have 32 bits
    if (start - size < strtab.length / 4 && start + fixed < 2 ** 32) {
      return { start, address: BigInt(start) + distance, align: alignAt(distance), stringsPlace: 'extended' }
    }
  }
  const stringsPlace = added === 0 ? 'kept' : grows ? 'grown' : 'copied'
  if (executable) {
    const start = startAtDistance(free, loads, pages, fixed + strtab.length, firstDistance)
    if (start - size > MOST_PADDING) {
      throw new ElfError('REFUSED', `cannot be edited: its memory is ${start - size} bytes larger than its file`)
    }
    return { start, address: BigInt(start) + firstDistance, align: alignAt(firstDistance), stringsPlace }
  }
  const end = loads.reduce((highest, { vaddr, memsz }) => (vaddr + memsz > highest ? vaddr + memsz : highest), 0n)
  let start = free
  if (gap > 0) {
    // strip moves the PT_LOAD right behind the last section of the PT_LOAD before it, and keeps its addresses
    const before = loads.findLast(({ filesz }) => filesz > 0)
    const behind = BigInt(before === undefined ? start : endOfContent(before, sections))
    start += Number((((behind - BigInt(start)) % far) + far) % far)
  }
  return { start, address: alignUpAddress(end, far) + (BigInt(start) % far), align: far, stringsPlace }
}

/**
 * The first file offset that the graft may have. glibc takes an object's program headers from the first PT_LOAD whose
 * pages in the file hold them, and zeroes the last of these pages from the .bss on (dl-map-segments.h). So where a
 * PT_LOAD has .bss, the graft begins on a fresh page of the file, and at the start of a page in memory. strip and
 * similar tools may move the graft closer, but they keep this. musl looks at p_filesz, not at pages.
 */
function firstFreeOffset(size: number, { kind }: GraftParts, loads: readonly ProgramHeader[], pages: bigint): number {
  const zeroes = loads.some(
    ({ vaddr, filesz, memsz }) => memsz > BigInt(filesz) && (vaddr + BigInt(filesz)) % pages !== 0n,
  )
  return alignUp(size, zeroes && kind !== 'musl' ? Number(pages) : GRAFT_ALIGNMENT)
}

/** The first file offset at or behind `free` where `length` bytes at that distance share no page with any PT_LOAD. */
function startAtDistance(
  free: number,
  loads: readonly ProgramHeader[],
  align: bigint,
  length: number,
  distance: bigint,
): number {
  let address = BigInt(free) + distance
  for (const { vaddr, memsz } of loads) {
    const end = alignUpAddress(vaddr + memsz, align)
    const isBefore = alignUpAddress(address + BigInt(length), align) <= (vaddr / align) * align
    if (!isBefore && (address / align) * align < end) address = end
  }
  return Number(address - distance)
}

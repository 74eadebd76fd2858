// The append-only graft: everything new goes behind the end of the file as one more PT_LOAD, and one write of the ELF
// header switches to it. No address of code or data changes, so nothing has to be followed and mended.
//
// A graft is: undo note · .dynamic · [PT_INTERP's string] · [.gnu.version_r] · .dynstr · program headers · section names ·
// section headers. Where its PT_LOAD ends decides what loaders and strip make of the file (README.md beside this file):
// - before the program headers, in shared objects for glibc, which copies a table that is not in memory;
// - before the last program header, in executables, as the kernel tells them by AT_PHDR where their headers are. The last
//   one is in memory too, as pages are mapped whole;
// - behind them all, in shared objects for musl, which else reports no headers of the object, so that nothing unwinds.
// In the first two cases no PT_LOAD holds the whole table, and so GNU strip and objcopy, which would lay it out anew and
// destroy the file, refuse it and leave it as it is. In the third they write their table to the start of the PT_LOAD, so
// that there is a gap for it. As allocated sections cover our table, eu-strip and llvm-strip keep it.
import {
  DT_STRSZ,
  DT_STRTAB,
  DT_VERNEED,
  EI_OSABI,
  ET_DYN,
  ET_EXEC,
  PF_R,
  PF_W,
  PT_DYNAMIC,
  PT_GNU_STACK,
  PT_INTERP,
  PT_LOAD,
  PT_PHDR,
} from './constants.ts'
import { encodeDynamic, moveDebugHook, newDynamic, withValues } from './dynamic.ts'
import type { ElfEdit } from './edit.ts'
import { ElfError } from './error.ts'
import { graftSections, type Placed, type StringsPlace } from './graft-sections.ts'
import type { Extent } from './image.ts'
import { editInPlace, editWords, interpreterInPlace, renameInPlace } from './in-place.ts'
import { isExecutable, namesMusl } from './kind.ts'
import { type Format, formatOf, put } from './layout.ts'
import { addressLimit, loadAlignment, SMALLEST_PAGE } from './machine.ts'
import { readElf } from './read.ts'
import { assertEditable, assertNoPayload, type Editable } from './refuse.ts'
import { endOfContent, sectionNumbers, type SectionTable } from './sections.ts'
import type { ByteSource } from './source.ts'
import { applyEdit, differences, type ElfState, stateOf } from './state.ts'
import { newStrings } from './strings.ts'
import { encodeText } from './text.ts'
import type { ElfObject, ProgramHeader } from './types.ts'
import { type Copied, encodeNote, GRAFT_ALIGNMENT, noteLength, sealNote, type Undo } from './undo.ts'
import { readVersionNeeds } from './versions.ts'
import { extendedSource, type Patch, patchedSource } from './view.ts'

/** Bytes, or a stretch of the base file to be copied: a string table may be 80 MB large. */
export type GraftPiece = Uint8Array | { readonly copyFrom: number; readonly length: number }

/** An edited file, as what has to be written. */
export interface Graft {
  /** The file is cut to this size, then `tail` is appended. */
  readonly baseSize: number
  readonly tail: readonly GraftPiece[]
  /** The few ranges below `baseSize` that change in place, besides the header. */
  readonly patches: readonly Patch[]
  /** The new ELF header, written last, at offset 0. */
  readonly header: Uint8Array
}

export interface GraftOptions {
  /** A text to keep in the undo record. */
  readonly record?: string
  /** The libc that is to load the object, where it is known; else the object itself tells. */
  readonly libc?: 'glibc' | 'musl'
  /** The page size to lay the file out for, in bytes, instead of the machine's largest. */
  readonly pageSize?: number
  /** Change a file to which nothing can be appended in place, where the edit fits; without an undo record. */
  readonly inPlace?: boolean
}

/** String tables larger than this are copied by reference. */
const COPY_BY_REFERENCE = 1 << 16
/**
 * String tables larger than this stay where they are, and are told to reach as far as the new strings. Of 2,653 real
 * objects 11 have one; copies of them would make 120 of 193 MB. (The price: readelf warns that the table is not in one
 * PT_LOAD, and patchelf refuses the file.)
 */
const STAYS = 1 << 20
/** Moves the last program header off the start of a page. */
const SHIFT = 64
/** How far an executable's file may be filled up, so that the graft comes behind a large .bss. */
const MOST_PADDING = 1 << 26

/**
 * What makes the edit; null when the object is already as the edit wants it.
 * @param source the file without a graft of ours (`originalSource`)
 * @throws ElfError `REFUSED` with the reason where the object cannot be edited safely; errors of `readElf`
 */
export function makeGraft(source: ByteSource, edit: ElfEdit, options: GraftOptions = {}): Graft | null {
  const object = readElf(source)
  return graftTo(source, object, applyEdit(stateOf(object), edit), options)
}

/** As `makeGraft`, with the wanted state instead of the way there. */
export function graftTo(
  source: ByteSource,
  object: ElfObject,
  wanted: ElfState,
  options: GraftOptions = {},
): Graft | null {
  const changes = differences(stateOf(object), wanted)
  if (changes.length === 0) return null
  const inPlace = options.inPlace === true
  const words = editWords(object, wanted)
  if (words !== null) return patched(source, object, words, wanted)
  let editable: Editable
  try {
    editable = assertEditable(source, object)
  } catch (error) {
    // the kernel reads an interpreter's name whatever else the object is
    const isProgram = object.header.type === ET_EXEC || object.header.type === ET_DYN
    const patches = inPlace && isProgram ? interpreterInPlace(source, object, wanted) : null
    if (patches === null) throw error
    return patched(source, object, patches, wanted)
  }
  // a record is to be kept, which takes a graft
  const renamed = inPlace && options.record === undefined ? renameInPlace(source, object, editable, wanted) : null
  if (renamed !== null) return patched(source, object, renamed, wanted)
  try {
    assertNoPayload(source, object, editable)
  } catch (error) {
    const patches = inPlace ? editInPlace(source, object, editable, wanted) : null
    if (patches === null) throw error
    return patched(source, object, patches, wanted)
  }
  return buildGraft(source, object, editable, wanted, options)
}

/** The file as it will be. */
export function graftedSource(source: ByteSource, graft: Graft): ByteSource {
  const base = patchedSource(source, graft.baseSize, [...graft.patches, { offset: 0, bytes: graft.header }])
  return extendedSource(
    base,
    graft.tail.map(piece =>
      piece instanceof Uint8Array ? piece : { source, offset: piece.copyFrom, length: piece.length },
    ),
  )
}

/** A graft that appends nothing. */
function patched(source: ByteSource, { header }: ElfObject, patches: readonly Patch[], { osabi }: ElfState): Graft {
  const head = new Uint8Array(source.read(0, formatOf(header).ehdr.bytes))
  head[EI_OSABI] = osabi
  return { baseSize: source.size, tail: [], patches, header: head }
}

const alignUp = (value: number, alignment: number): number => Math.ceil(value / alignment) * alignment
const alignUpAddress = (value: bigint, alignment: bigint): bigint => ((value + alignment - 1n) / alignment) * alignment

/** A copy of .gnu.version_r that names other files; null where they stay. Its inner offsets are relative. */
function newVersionNeeds(
  source: ByteSource,
  object: ElfObject,
  wanted: ElfState,
  offsetOf: (text: string) => number,
): { bytes: Uint8Array; was: bigint } | null {
  const files = object.versionNeeds.map(({ file }) => file)
  const was = object.dynamic?.findLast(({ tag }) => tag === DT_VERNEED)?.value
  if (was === undefined || files.every((file, index) => wanted.versionFiles[index] === file)) return null
  const format = formatOf(object.header)
  const needs = readVersionNeeds(source, object.header, object.programHeaders, was)
  const start = Math.min(...needs.map(({ at }) => at))
  let end = start
  for (const need of needs) {
    end = Math.max(end, need.at + format.verneed.bytes)
    for (const { at } of need.versions) end = Math.max(end, at + format.vernaux.bytes)
  }
  const bytes = new Uint8Array(source.read(start, end - start))
  for (const [index, { at }] of needs.entries()) {
    const file = wanted.versionFiles[index]
    if (file !== undefined && file !== files[index]) put(format, bytes, at - start, format.verneed.file, offsetOf(file))
  }
  return { bytes, was }
}

/** Where the graft's PT_LOAD goes. */
interface Place {
  /** File offset. */
  readonly start: number
  readonly address: bigint
  /** p_align */
  readonly align: bigint
  readonly strings: StringsPlace
}

interface Space {
  /** Bytes left free at the start of the PT_LOAD, where GNU strip writes its own table of program headers; 0 for none. */
  readonly gap: number
  /** Bytes that the PT_LOAD takes without a copy of the string table. */
  readonly fixed: number
  readonly strtab: Extent
  readonly strtabAddress: bigint
  /** Bytes of new strings. */
  readonly newStrings: number
  readonly sections: SectionTable | null
}

/**
 * A graft can keep the distance of address and file offset that another PT_LOAD has. An executable's keeps that of the
 * first one: kernels before 5.18 and qemu-user take AT_PHDR to be e_phoff + (p_vaddr - p_offset of the first PT_LOAD). One
 * that leaves a large string table where it is keeps that of the table, which so reaches up to the new strings both in
 * memory and in the file. All others come behind everything else.
 */
function place(size: number, object: ElfObject, executable: boolean, page: number | undefined, space: Space): Place {
  const { gap, fixed, strtab, strtabAddress, newStrings: added, sections } = space
  const loads = object.programHeaders.filter(({ type }) => type === PT_LOAD)
  const pages = loadAlignment(object.header, loads, page)
  // the file's own p_align where it holds: a whole number of the pages that are kept apart
  const own = loads.reduce((largest, { align }) => (align > largest ? align : largest), pages)
  const alignAt = (distanceOfStart: bigint): bigint => (distanceOfStart % own === 0n ? own : pages)
  const first = loads[0]
  const firstDistance = first === undefined ? 0n : first.vaddr - BigInt(first.offset)
  const distance = strtabAddress - BigInt(strtab.offset)
  // where address and offset are the same readelf finds the table, though it misses a PT_LOAD that holds all of it
  if (added > 0 && strtab.length > STAYS && distance === 0n && gap === 0 && (!executable || firstDistance === 0n)) {
    const start = startAtDistance(size, loads, pages, fixed, distance)
    // offsets of strings in .gnu.version_r have 32 bits
    if (start - size < strtab.length / 4 && start + fixed < 2 ** 32) {
      return { start, address: BigInt(start) + distance, align: alignAt(distance), strings: 'extended' }
    }
  }
  const strings = added === 0 ? 'kept' : 'copied'
  if (executable) {
    const start = startAtDistance(size, loads, pages, fixed + strtab.length, firstDistance)
    if (start - size > MOST_PADDING) {
      throw new ElfError('REFUSED', `cannot be edited: its memory is ${start - size} bytes larger than its file`)
    }
    return { start, address: BigInt(start) + firstDistance, align: alignAt(firstDistance), strings }
  }
  const end = loads.reduce((highest, { vaddr, memsz }) => (vaddr + memsz > highest ? vaddr + memsz : highest), 0n)
  let start = alignUp(size, GRAFT_ALIGNMENT)
  if (gap > 0) {
    // strip puts the PT_LOAD right behind the last section of the one before it, with its addresses unchanged
    const before = loads.findLast(({ filesz }) => filesz > 0)
    const behind = BigInt(before === undefined ? start : endOfContent(before, sections))
    start += Number((((behind - BigInt(start)) % own) + own) % own)
  }
  return { start, address: alignUpAddress(end, own) + (BigInt(start) % own), align: own, strings }
}

/** The first file offset behind the file where `length` bytes, at that distance, share no page with any PT_LOAD. */
function startAtDistance(
  size: number,
  loads: readonly ProgramHeader[],
  align: bigint,
  length: number,
  distance: bigint,
): number {
  let address = BigInt(alignUp(size, GRAFT_ALIGNMENT)) + distance
  for (const { vaddr, memsz } of loads) {
    const end = alignUpAddress(vaddr + memsz, align)
    const isBefore = alignUpAddress(address + BigInt(length), align) <= (vaddr / align) * align
    if (!isBefore && (address / align) * align < end) address = end
  }
  return Number(address - distance)
}

function encodeProgramHeaders(format: Format, programHeaders: readonly ProgramHeader[]): Uint8Array {
  const { phdr } = format
  const bytes = new Uint8Array(programHeaders.length * phdr.bytes)
  for (const [index, header] of programHeaders.entries()) {
    const start = index * phdr.bytes
    put(format, bytes, start, phdr.type, header.type)
    put(format, bytes, start, phdr.flags, header.flags)
    put(format, bytes, start, phdr.offset, header.offset)
    put(format, bytes, start, phdr.vaddr, header.vaddr)
    put(format, bytes, start, phdr.paddr, header.paddr)
    put(format, bytes, start, phdr.filesz, header.filesz)
    put(format, bytes, start, phdr.memsz, header.memsz)
    put(format, bytes, start, phdr.align, header.align)
  }
  return bytes
}

function buildGraft(
  source: ByteSource,
  object: ElfObject,
  { dynamicSegment, strtab, sections }: Editable,
  wanted: ElfState,
  { record, libc, pageSize: page }: GraftOptions,
): Graft {
  const { header, programHeaders } = object
  const format = formatOf(header)
  const executable = isExecutable(object)
  const musl = (libc ?? (namesMusl(object) ? 'musl' : 'glibc')) === 'musl'

  // what is new
  const strings = newStrings(object, strtab.length)
  // the string table must end with a NUL before anything is put behind it
  if (source.read(strtab.offset + strtab.length - 1, 1)[0] !== 0) strings.offsetOf('')
  const entryCount = newDynamic(object, wanted, strings.offsetOf).length
  const interpreter = wanted.interpreter === object.interpreter ? null : encodeText(`${wanted.interpreter ?? ''}\0`)
  const versionsLength = newVersionNeeds(source, object, wanted, strings.offsetOf)?.bytes.length ?? null
  const originalHeader = new Uint8Array(source.read(0, format.ehdr.bytes))
  const undo: Undo = { originalSize: source.size, header: originalHeader, patches: [], record: record ?? null }

  // a table outside of memory must not be named by PT_PHDR: glibc would take it for mapped
  const kept = programHeaders.filter(({ type }) => type !== PT_PHDR || executable || musl)
  const addsStack = wanted.stack !== null && !programHeaders.some(({ type }) => type === PT_GNU_STACK)
  const headersLength = (kept.length + (addsStack ? 2 : 1)) * format.phdr.bytes
  const gap = musl && !executable ? headersLength : 0
  const dynamicLength = (entryCount + 1) * format.dyn.bytes

  // where it goes, in the file and in memory
  const strtabAddress = object.dynamic?.findLast(({ tag }) => tag === DT_STRTAB)?.value ?? 0n
  const lengths = [
    noteLength(format, undo),
    headersLength,
    dynamicLength,
    interpreter?.length ?? 0,
    versionsLength ?? 0,
  ]
  const fixed = lengths.reduce((sum, length) => sum + alignUp(length, GRAFT_ALIGNMENT), strings.length() + SHIFT)
  const {
    start,
    address,
    align,
    strings: stringsPlace,
  } = place(source.size, object, executable, page, {
    gap,
    fixed,
    strtab,
    strtabAddress,
    newStrings: strings.length(),
    sections,
  })
  let end = start + gap
  const take = (length: number, alignment: number): Placed => {
    const at = alignUp(end, alignment)
    end = at + length
    return { at, address: address + BigInt(at - start), length }
  }
  const note = take(noteLength(format, undo), GRAFT_ALIGNMENT)
  const dynamicAt = take(dynamicLength, 16)
  const interpreterAt = interpreter === null ? null : take(interpreter.length, 1)
  const versionsAt = versionsLength === null ? null : take(versionsLength, 8)
  const copiedLength = stringsPlace === 'copied' ? strtab.length : 0
  const stringsAt = take(copiedLength + strings.length(), 8)
  let loadEnd = end
  let headersAt = take(headersLength, 16)
  if (executable) {
    // all but the last header, which must be in the page in which the PT_LOAD ends
    if ((end - 1) % SMALLEST_PAGE < format.phdr.bytes) {
      end = headersAt.at + SHIFT
      headersAt = take(headersLength, 16)
    }
    loadEnd = end - format.phdr.bytes
  } else if (musl) loadEnd = end
  if (address + BigInt(end - start) > addressLimit(header)) {
    throw new ElfError('REFUSED', 'cannot be edited: no address space is left behind its last segment')
  }

  // the strings as the loader is to see them: from DT_STRTAB on
  const oldTable = { at: strtab.offset, address: strtabAddress, length: strtab.length }
  const stringTable: Placed = {
    copied: stringsAt,
    extended: { ...oldTable, length: stringsAt.at + stringsAt.length - strtab.offset },
    kept: oldTable,
  }[stringsPlace]
  strings.settle(stringsPlace === 'extended' ? stringsAt.at - strtab.offset : strtab.length)
  const versions = newVersionNeeds(source, object, wanted, strings.offsetOf)
  const interpreterSegment = programHeaders.find(({ type }) => type === PT_INTERP)
  const grafted =
    sections === null
      ? null
      : graftSections(
          source,
          sections,
          {
            note,
            programHeaders: headersAt,
            dynamic: { ...dynamicAt, was: dynamicSegment.vaddr },
            strings: { ...stringTable, was: strtabAddress, place: stringsPlace },
            interpreter: interpreterAt === null ? null : { ...interpreterAt, was: interpreterSegment?.vaddr ?? 0n },
            versions: versionsAt === null ? null : { ...versionsAt, was: versions?.was ?? 0n },
          },
          length => take(length, 1).at,
        )
  const sectionsAt = grafted === null ? null : take(grafted.table.bytes.length, 8)

  // the bytes: `before` the copied strings and `behind` them
  const byReference = copiedLength > COPY_BY_REFERENCE
  const copied: Copied = byReference ? { offset: stringsAt.at, length: copiedLength } : { offset: 0, length: 0 }
  const split = stringsAt.at + copied.length
  const before = Buffer.alloc(stringsAt.at - note.at)
  const behind = Buffer.alloc(end - split)
  const write = (bytes: Uint8Array, at: number): void => {
    if (at < stringsAt.at) before.set(bytes, at - note.at)
    else behind.set(bytes, at - split)
  }
  const values = new Map<number, bigint>()
  if (stringsPlace !== 'kept') {
    values.set(DT_STRTAB, stringTable.address).set(DT_STRSZ, BigInt(stringTable.length))
  }
  if (versionsAt !== null) values.set(DT_VERNEED, versionsAt.address)
  const entries = newDynamic(object, wanted, strings.offsetOf)
  const dynamic = moveDebugHook(object, withValues(entries, values), dynamicSegment.vaddr, dynamicAt.address)
  write(encodeDynamic(format, dynamic), dynamicAt.at)
  if (interpreter !== null && interpreterAt !== null) write(interpreter, interpreterAt.at)
  if (versions !== null && versionsAt !== null) write(versions.bytes, versionsAt.at)
  if (!byReference && copiedLength > 0) write(source.read(strtab.offset, copiedLength), stringsAt.at)
  write(strings.bytes(), stringsAt.at + copiedLength)

  const moved = (old: ProgramHeader, to: Placed): ProgramHeader => ({
    ...old,
    offset: to.at,
    vaddr: to.address,
    paddr: to.address,
    filesz: to.length,
    memsz: BigInt(to.length),
  })
  const template = { ...dynamicSegment, type: PT_LOAD, flags: PF_R | PF_W, align }
  const ours = moved(template, { at: start, address, length: loadEnd - start })
  // PT_LOADs stand in the order of their addresses
  const predecessor = kept.findLastIndex(({ type, vaddr }) => type === PT_LOAD && vaddr < address)
  const table = kept.flatMap((old, index): ProgramHeader[] => {
    let changed = old
    if (old.type === PT_DYNAMIC) changed = moved(old, dynamicAt)
    else if (old.type === PT_INTERP && interpreterAt !== null) changed = moved(old, interpreterAt)
    else if (old.type === PT_PHDR) changed = moved(old, { ...headersAt, length: loadEnd - headersAt.at })
    else if (old.type === PT_GNU_STACK && wanted.stack !== null) changed = { ...old, flags: wanted.stack }
    return index === predecessor ? [changed, ours] : [changed]
  })
  if (addsStack) table.push(stackHeader(wanted.stack ?? 0))
  write(encodeProgramHeaders(format, table), headersAt.at)

  const newHeader = new Uint8Array(originalHeader)
  put(format, newHeader, 0, format.ehdr.phoff, headersAt.at)
  put(format, newHeader, 0, format.ehdr.phnum, table.length)
  newHeader[EI_OSABI] = wanted.osabi
  if (grafted !== null && sectionsAt !== null) {
    const { shnum, shstrndx } = sectionNumbers(grafted.table, grafted.table.namesIndex)
    if (grafted.names !== null) write(grafted.names.bytes, grafted.names.at)
    write(grafted.table.bytes, sectionsAt.at)
    put(format, newHeader, 0, format.ehdr.shoff, sectionsAt.at)
    put(format, newHeader, 0, format.ehdr.shnum, shnum)
    put(format, newHeader, 0, format.ehdr.shstrndx, shstrndx)
  }

  const noteBytes = encodeNote(format, undo, end, copied)
  sealNote(format, noteBytes, newHeader, [before.subarray(noteBytes.length), behind], [])
  before.set(noteBytes)
  return {
    baseSize: source.size,
    tail: [
      ...zeros(note.at - source.size),
      before,
      ...(byReference ? [{ copyFrom: strtab.offset, length: strtab.length }] : []),
      behind,
    ],
    patches: [],
    header: newHeader,
  }
}

function stackHeader(flags: number): ProgramHeader {
  return { type: PT_GNU_STACK, flags, offset: 0, vaddr: 0n, paddr: 0n, filesz: 0, memsz: 0n, align: 16n }
}

/** Zero bytes as pieces that share one block, however many they are. */
function zeros(length: number): Uint8Array[] {
  const block = new Uint8Array(Math.min(length, 1 << 20))
  const pieces: Uint8Array[] = []
  for (let rest = length; rest > 0; rest -= block.length) pieces.push(block.subarray(0, Math.min(rest, block.length)))
  return pieces
}

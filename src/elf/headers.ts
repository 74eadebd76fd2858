// The ELF header and the program headers. Only this file uses elfy, for the ELF header. elfy trusts its input, so all
// bounds are checked here first. elfy gives names instead of numbers for some fields, reads others wrongly, and rounds
// numbers past 2^53: these fields are read from the bytes.
import elfy, { type Header } from 'elfy'
import {
  EI_ABIVERSION,
  EI_CLASS,
  EI_DATA,
  EI_NIDENT,
  EI_OSABI,
  EI_PAD,
  EI_VERSION,
  ELFCLASS32,
  ELFCLASS64,
  ELFDATA2LSB,
  ELFDATA2MSB,
  EV_CURRENT,
  PN_XNUM,
  PT_INTERP,
  PT_LOAD,
  SHN_XINDEX,
} from './constants.ts'
import { ElfError } from './error.ts'
import { type Field, type FieldName, type Format, formatOf, getAddress, getNumber, getRounded } from './layout.ts'
import { assertInside, type ByteSource } from './source.ts'
import type { ElfHeader, ProgramHeader } from './types.ts'

/** More program headers or sections than any object has (core files have tens of thousands). Bounds the memory. */
const MOST_PROGRAM_HEADERS = 1 << 17
const MOST_SECTIONS = 1 << 20

const parser = new elfy.Parser()

/** Do these first bytes of a file begin with the ELF magic? */
export function isElf(head: Uint8Array): boolean {
  return head[0] === 0x7f && head[1] === 0x45 && head[2] === 0x4c && head[3] === 0x46
}

/** What is read before everything else. */
export interface Headers {
  readonly header: ElfHeader
  readonly programHeaders: readonly ProgramHeader[]
}

/** Reads where the two header tables are, and the program headers themselves. @throws ElfError */
export function readHeaders(source: ByteSource): Headers {
  const ident = source.read(0, Math.min(16, source.size))
  if (!isElf(ident)) throw new ElfError('NOT_ELF', 'no ELF magic at the start of the file', 0)
  const elfClass = ident[EI_CLASS] === ELFCLASS32 ? 32 : ident[EI_CLASS] === ELFCLASS64 ? 64 : undefined
  if (elfClass === undefined) {
    throw new ElfError('MALFORMED', `ELF class ${ident[EI_CLASS]} is neither 32-bit nor 64-bit`, EI_CLASS)
  }
  const byteOrder = ident[EI_DATA] === ELFDATA2LSB ? 'little' : ident[EI_DATA] === ELFDATA2MSB ? 'big' : undefined
  if (byteOrder === undefined) {
    throw new ElfError('MALFORMED', `data encoding ${ident[EI_DATA]} is neither little nor big endian`, EI_DATA)
  }
  const format = formatOf({ class: elfClass, byteOrder })
  const head = source.read(0, format.ehdr.bytes)
  const number = (name: FieldName<Format['ehdr']>): number => getNumber(format, head, 0, format.ehdr[name])

  // throws past 2^53, before elfy would round the number
  const phoff = number('phoff')
  const sectionTable = getAddress(format, head, 0, format.ehdr.shoff)
  const shoff = sectionTable < BigInt(source.size) ? Number(sectionTable) : 0
  const parsed = parser.parseHeader(view(head))
  const extended = extendedNumbers(source, format, shoff, parsed)
  const { phnum } = extended
  if (phnum > MOST_PROGRAM_HEADERS) {
    throw new ElfError('UNSUPPORTED', `${phnum} program headers`, format.ehdr.phnum.at, phnum)
  }
  if (phnum > 0 && parsed.phentsize !== format.phdr.bytes) {
    const at = format.ehdr.phentsize.at
    throw new ElfError(
      'MALFORMED',
      `e_phentsize is ${parsed.phentsize}, not ${format.phdr.bytes}`,
      at,
      parsed.phentsize,
    )
  }
  const length = phnum * format.phdr.bytes
  assertInside(source.size, phoff, length)
  const table = source.read(phoff, length)

  return {
    header: {
      class: elfClass,
      byteOrder,
      osabi: head[EI_OSABI] ?? 0,
      abiVersion: head[EI_ABIVERSION] ?? 0,
      isCurrent:
        head[EI_VERSION] === EV_CURRENT &&
        parsed.version === EV_CURRENT &&
        head.subarray(EI_PAD, EI_NIDENT).every(byte => byte === 0),
      type: number('type'),
      machine: number('machine'),
      flags: parsed.flags,
      entry: getAddress(format, head, 0, format.ehdr.entry),
      phoff,
      shoff,
      ...extended,
    },
    programHeaders: programHeadersOf(format, table, phoff),
  }
}

/** @param phoff file offset of the table, for errors */
function programHeadersOf(format: Format, table: Uint8Array, phoff: number): ProgramHeader[] {
  const { phdr } = format
  const programHeaders: ProgramHeader[] = []
  for (let at = 0; at < table.length; at += phdr.bytes) {
    const type = getNumber(format, table, at, phdr.type)
    programHeaders.push({
      type,
      flags: getNumber(format, table, at, phdr.flags),
      offset: inFile(format, table, at, phdr.offset, type, phoff),
      vaddr: getAddress(format, table, at, phdr.vaddr),
      paddr: getAddress(format, table, at, phdr.paddr),
      filesz: inFile(format, table, at, phdr.filesz, type, phoff),
      memsz: getAddress(format, table, at, phdr.memsz),
      align: getAddress(format, table, at, phdr.align),
    })
  }
  return programHeaders
}

/**
 * An offset or a size in the file.
 * @throws ElfError where it is past 2^53. Of most segments a loader uses only the address, so it may load the file all the
 * same
 */
function inFile(format: Format, table: Uint8Array, start: number, field: Field, type: number, phoff: number): number {
  const value = getRounded(format, table, start, field)
  if (value <= Number.MAX_SAFE_INTEGER) return value
  const isMapped = type === PT_LOAD || type === PT_INTERP
  const at = phoff + start + field.at
  throw new ElfError(isMapped ? 'TRUNCATED' : 'UNSUPPORTED', `p_${field.name} is past 2^53`, at, value)
}

function view(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
}

/**
 * e_phnum, e_shnum and e_shstrndx. A number that does not fit is in sh_info, sh_size or sh_link of section 0 (gABI,
 * chapter 4 “ELF header”). A section table outside the file counts as missing, and so does one whose length cannot be:
 * loaders never look at it.
 */
function extendedNumbers(
  source: ByteSource,
  format: Format,
  shoff: number,
  parsed: Header,
): { phnum: number; shnum: number; shstrndx: number } {
  let { phnum, shnum, shstrndx } = parsed
  if (shoff > 0 && (phnum === PN_XNUM || shnum === 0 || shstrndx === SHN_XINDEX)) {
    if (shoff <= source.size - format.shdr.bytes) {
      const first = source.read(shoff, format.shdr.bytes)
      if (phnum === PN_XNUM) phnum = getNumber(format, first, 0, format.shdr.info)
      if (shnum === 0) {
        const count = getRounded(format, first, 0, format.shdr.size)
        shnum = count > MOST_SECTIONS ? 0 : count
      }
      if (shstrndx === SHN_XINDEX) shstrndx = getNumber(format, first, 0, format.shdr.link)
    }
  }
  return { phnum, shnum, shstrndx }
}

// The ELF header and the program headers. Only this file uses elfy. elfy trusts its input, so all bounds are checked
// here first. elfy gives names instead of numbers for types and segment flags, and it rounds addresses past 2^53. These
// fields are therefore read again from the bytes. e_phoff may point anywhere in the file: elfy gets a buffer in which
// the table stands right behind the header.
import elfy, { type Header, type Program } from 'elfy'
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
import { type FieldName, type Format, formatOf, getAddress, getNumber, getRounded } from './layout.ts'
import { assertInside, type ByteSource } from './source.ts'
import type { ElfHeader, ProgramHeader } from './types.ts'

/** More program headers or sections than any object has (core files have tens of thousands). Bounds the memory. */
const MOST_PROGRAM_HEADERS = 1 << 17
const MOST_SECTIONS = 1 << 20

/** If the header and the program headers end within this many bytes, one read gets both. */
const NEAR = 4096

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
  // elfy wants both in one buffer, and the first block of most files holds both
  const near = phoff >= head.length && phoff + length <= NEAR
  const both = near ? view(source.read(0, phoff + length)) : Buffer.concat([head, source.read(phoff, length)])
  const rebased = near ? phoff : head.length
  const programs = parser.parsePrograms(both, { ...parsed, phoff: rebased, phnum })

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
      entry: exact(parsed.entry, () => getAddress(format, head, 0, format.ehdr.entry)),
      phoff,
      shoff,
      ...extended,
    },
    programHeaders: programs.map((program, index) => {
      const at = index * format.phdr.bytes
      return programHeaderOf(format, both, rebased + at, phoff + at, program)
    }),
  }
}

/**
 * A program header, with the fields that elfy cannot give read again from its bytes at `start`.
 * @param at file offset of the program header
 */
function programHeaderOf(
  format: Format,
  bytes: Uint8Array,
  start: number,
  at: number,
  { offset, vaddr, paddr, filesz, memsz, align }: Program,
): ProgramHeader {
  const { phdr } = format
  const type = getNumber(format, bytes, start, phdr.type)
  if (offset > Number.MAX_SAFE_INTEGER) throw past2to53(type, 'p_offset', at + phdr.offset.at, offset)
  if (filesz > Number.MAX_SAFE_INTEGER) throw past2to53(type, 'p_filesz', at + phdr.filesz.at, filesz)
  return {
    type,
    flags: getNumber(format, bytes, start, phdr.flags),
    offset,
    vaddr: exact(vaddr, () => getAddress(format, bytes, start, phdr.vaddr)),
    paddr: exact(paddr, () => getAddress(format, bytes, start, phdr.paddr)),
    filesz,
    memsz: exact(memsz, () => getAddress(format, bytes, start, phdr.memsz)),
    align: exact(align, () => getAddress(format, bytes, start, phdr.align)),
  }
}

/** An address: elfy's number where a double holds it exactly, else the number read again. */
function exact(value: number, read: () => bigint): bigint {
  return Number.isSafeInteger(value) ? BigInt(value) : read()
}

/**
 * elfy rounds a number past 2^53, but never to one below 2^53. Of most segments a loader uses only the address, so it may
 * load the file all the same.
 */
function past2to53(type: number, name: string, offset: number, value: number): ElfError {
  const isMapped = type === PT_LOAD || type === PT_INTERP
  return new ElfError(isMapped ? 'TRUNCATED' : 'UNSUPPORTED', `${name} is past 2^53`, offset, value)
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

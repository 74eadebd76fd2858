// The offset of each field in each ELF record, for both classes, in one table; and how to read and write a field in
// both byte orders. Only this file of the folder knows offsets within a record.
import { ElfError } from './error.ts'
import type { ByteOrder, ElfClass } from './types.ts'

/** A field of a record: its offset from the record's start and its width, in bytes. */
export interface Field {
  readonly at: number
  readonly width: 2 | 4 | 8
}

type Layout<F extends string> = { readonly bytes: number } & Readonly<Record<F, Field>>
type Widths = readonly [class32: 2 | 4 | 8, class64: 2 | 4 | 8]

const half: Widths = [2, 2]
const word: Widths = [4, 4]
/** Elf32_Addr and Elf32_Off (and Elf32_Word where the 64-bit record has Elf64_Xword). */
const native: Widths = [4, 8]

function record<F extends string>(
  widths: Readonly<Record<F, Widths>>,
  order: readonly F[],
  start = 0,
  order64 = order,
): Readonly<Record<ElfClass, Layout<F>>> {
  const build = (names: readonly F[], which: 0 | 1): Layout<F> => {
    let at = start
    const fields: Record<string, Field | number> = {}
    for (const name of names) {
      const width = widths[name][which]
      fields[name] = { at, width }
      at += width
    }
    // the only place where a record is built by field name
    return { ...fields, bytes: at } as unknown as Layout<F>
  }
  return { 32: build(order, 0), 64: build(order64, 1) }
}

const EHDR = record(
  {
    type: half,
    machine: half,
    version: word,
    entry: native,
    phoff: native,
    shoff: native,
    flags: word,
    ehsize: half,
    phentsize: half,
    phnum: half,
    shentsize: half,
    shnum: half,
    shstrndx: half,
  },
  [
    'type',
    'machine',
    'version',
    'entry',
    'phoff',
    'shoff',
    'flags',
    'ehsize',
    'phentsize',
    'phnum',
    'shentsize',
    'shnum',
    'shstrndx',
  ],
  16,
)

const PHDR = record(
  {
    type: word,
    flags: word,
    offset: native,
    vaddr: native,
    paddr: native,
    filesz: native,
    memsz: native,
    align: native,
  },
  ['type', 'offset', 'vaddr', 'paddr', 'filesz', 'memsz', 'flags', 'align'],
  0,
  ['type', 'flags', 'offset', 'vaddr', 'paddr', 'filesz', 'memsz', 'align'],
)

const SHDR = record(
  {
    name: word,
    type: word,
    flags: native,
    addr: native,
    offset: native,
    size: native,
    link: word,
    info: word,
    addralign: native,
    entsize: native,
  },
  ['name', 'type', 'flags', 'addr', 'offset', 'size', 'link', 'info', 'addralign', 'entsize'],
)

const DYN = record({ tag: native, value: native }, ['tag', 'value'])

// st_info and st_other are read as one half, because wheelfix needs neither alone
const SYM = record(
  { name: word, value: native, size: native, info: half, shndx: half },
  ['name', 'value', 'size', 'info', 'shndx'],
  0,
  ['name', 'info', 'shndx', 'value', 'size'],
)

// The records of symbol versioning and of notes are the same in both classes.
const VERNEED = record({ version: half, cnt: half, file: word, aux: word, next: word }, [
  'version',
  'cnt',
  'file',
  'aux',
  'next',
])
const VERNAUX = record({ hash: word, flags: half, other: half, name: word, next: word }, [
  'hash',
  'flags',
  'other',
  'name',
  'next',
])
const VERDEF = record({ version: half, flags: half, ndx: half, cnt: half, hash: word, aux: word, next: word }, [
  'version',
  'flags',
  'ndx',
  'cnt',
  'hash',
  'aux',
  'next',
])
const VERDAUX = record({ name: word, next: word }, ['name', 'next'])
const NHDR = record({ namesz: word, descsz: word, type: word }, ['namesz', 'descsz', 'type'])

/** How to read one object: its class, its byte order and the records of that class. */
export interface Format {
  readonly class: ElfClass
  readonly byteOrder: ByteOrder
  readonly ehdr: (typeof EHDR)[64]
  readonly phdr: (typeof PHDR)[64]
  readonly shdr: (typeof SHDR)[64]
  readonly dyn: (typeof DYN)[64]
  readonly sym: (typeof SYM)[64]
  readonly verneed: (typeof VERNEED)[64]
  readonly vernaux: (typeof VERNAUX)[64]
  readonly verdef: (typeof VERDEF)[64]
  readonly verdaux: (typeof VERDAUX)[64]
  readonly nhdr: (typeof NHDR)[64]
}

function makeFormat(elfClass: ElfClass, byteOrder: ByteOrder): Format {
  return {
    class: elfClass,
    byteOrder,
    ehdr: EHDR[elfClass],
    phdr: PHDR[elfClass],
    shdr: SHDR[elfClass],
    dyn: DYN[elfClass],
    sym: SYM[elfClass],
    verneed: VERNEED[elfClass],
    vernaux: VERNAUX[elfClass],
    verdef: VERDEF[elfClass],
    verdaux: VERDAUX[elfClass],
    nhdr: NHDR[elfClass],
  }
}

const FORMATS = {
  32: { little: makeFormat(32, 'little'), big: makeFormat(32, 'big') },
  64: { little: makeFormat(64, 'little'), big: makeFormat(64, 'big') },
} as const

/** The format of an object of this class and byte order. */
export function formatOf(header: { readonly class: ElfClass; readonly byteOrder: ByteOrder }): Format {
  return FORMATS[header.class][header.byteOrder]
}

/** An unsigned 32-bit number at `at`. */
function word32(little: boolean, bytes: Uint8Array, at: number): number {
  const a = bytes[at] ?? 0
  const b = bytes[at + 1] ?? 0
  const c = bytes[at + 2] ?? 0
  const d = bytes[at + 3] ?? 0
  return (little ? a | (b << 8) | (c << 16) | (d << 24) : d | (c << 8) | (b << 16) | (a << 24)) >>> 0
}

/** The raw field, unsigned: for addresses and memory sizes. `bytes` holds the whole record at `start`. */
export function getAddress(format: Format, bytes: Uint8Array, start: number, field: Field): bigint {
  const at = start + field.at
  if (field.width !== 8) return BigInt(getNumber(format, bytes, start, field))
  const little = format.byteOrder === 'little'
  const high = word32(little, bytes, little ? at + 4 : at)
  const low = word32(little, bytes, little ? at : at + 4)
  return high === 0 ? BigInt(low) : (BigInt(high) << 32n) | BigInt(low)
}

/**
 * The field as a number: for counts, offsets and sizes in the file.
 * @throws ElfError `TRUNCATED` when the number is past 2^53, which no file reaches
 */
export function getNumber(format: Format, bytes: Uint8Array, start: number, field: Field): number {
  const at = start + field.at
  const little = format.byteOrder === 'little'
  if (field.width === 4) return word32(little, bytes, at)
  if (field.width === 2) {
    const a = bytes[at] ?? 0
    const b = bytes[at + 1] ?? 0
    return little ? a | (b << 8) : (a << 8) | b
  }
  const high = word32(little, bytes, little ? at + 4 : at)
  const low = word32(little, bytes, little ? at : at + 4)
  if (high > 0x1fffff) {
    throw new ElfError('TRUNCATED', 'an offset or size past 2^53', undefined, (BigInt(high) << 32n) | BigInt(low))
  }
  return high * 0x100000000 + low
}

/** Writes a field of the record at `start`, cut to its width. */
export function put(format: Format, bytes: Uint8Array, start: number, field: Field, value: number | bigint): void {
  const at = start + field.at
  const little = format.byteOrder === 'little'
  const high = typeof value === 'bigint' ? Number(BigInt.asUintN(32, value >> 32n)) : Math.floor(value / 0x100000000)
  const low = typeof value === 'bigint' ? Number(BigInt.asUintN(32, value)) : value >>> 0
  if (field.width === 2) {
    bytes[little ? at : at + 1] = low
    bytes[little ? at + 1 : at] = low >>> 8
    return
  }
  putWord(little, bytes, little || field.width === 4 ? at : at + 4, low)
  if (field.width === 8) putWord(little, bytes, little ? at + 4 : at, high)
}

function putWord(little: boolean, bytes: Uint8Array, at: number, value: number): void {
  bytes[little ? at : at + 3] = value
  bytes[little ? at + 1 : at + 2] = value >>> 8
  bytes[little ? at + 2 : at + 1] = value >>> 16
  bytes[little ? at + 3 : at] = value >>> 24
}

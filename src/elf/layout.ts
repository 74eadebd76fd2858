// The record codec. One table says where each field of each ELF record is, in both classes. `decode` and `encode` turn the
// bytes of a record into numbers and back, in both byte orders. Other files know records only by the names of their fields.
// Formats outside ELF (the undo note, glibc's cache) describe their records with `record`, beside their own rules.
import { ElfError } from './error.ts'
import type { ByteOrder, ElfClass } from './types.ts'

/** What `decode` makes of a field: a safe integer, an address or another number of up to 64 bits, or the bytes. */
interface Kind {
  readonly as: 'number' | 'bigint' | 'bytes'
  /** In bytes, in a 32-bit and in a 64-bit object. */
  readonly widths: readonly [class32: number, class64: number]
}

/** The names of a record's fields in the order of the record, each with its kind. */
type Schema = Readonly<Record<string, Kind>>

/** The offset of a field from the start of its record, and its width, in bytes. */
interface FieldPlace {
  readonly at: number
  readonly width: number
}

export interface Field extends FieldPlace {
  readonly name: string
  readonly as: Kind['as']
}

/** The names of the fields of a layout. */
export type FieldName<L> = Exclude<keyof L, 'bytes' | 'fields'>

/** A record of one class: its size in bytes, and its fields in their order and by their names. */
type Layout<S extends Schema> = { readonly bytes: number; readonly fields: readonly Field[] } & Readonly<
  Record<keyof S, Field>
>

/** What `decode` returns. */
export type Decoded<L> = L extends Layout<infer S> ? Values<S> : never

type Values<S extends Schema> = {
  readonly [F in keyof S]: S[F]['as'] extends 'number' ? number : S[F]['as'] extends 'bigint' ? bigint : Uint8Array
}

/** What `encode` takes. */
type Encodable<S extends Schema> = {
  readonly [F in keyof S]?: S[F]['as'] extends 'bytes' ? Uint8Array : number | bigint
}

const half = { as: 'number', widths: [2, 2] } as const
export const word = { as: 'number', widths: [4, 4] } as const
/** An offset or a size of 64 bits in both classes. */
export const long = { as: 'number', widths: [8, 8] } as const
/** A number of 64 bits in both classes, of which every bit counts. */
export const bits = { as: 'bigint', widths: [8, 8] } as const
/** Elf32_Off, and a size in the file (Elf32_Word, which is Elf64_Xword in the 64-bit record). */
const offset = { as: 'number', widths: [4, 8] } as const
/** Elf32_Addr, and a size in memory. */
const address = { as: 'bigint', widths: [4, 8] } as const
/** The offset of a string from DT_STRTAB, to which it is added as an address. */
const string = { as: 'bigint', widths: [4, 4] } as const
/** That many bytes, which `decode` returns as a view and `encode` copies. */
export const bytesOf = (count: number): { readonly as: 'bytes'; readonly widths: readonly [number, number] } => ({
  as: 'bytes',
  widths: [count, count],
})

/** @param order64 the order of the fields in the 64-bit record, where it differs */
function classRecord<S extends Schema>(
  schema: S,
  order64: readonly (keyof S & string)[] = Object.keys(schema),
): Readonly<Record<ElfClass, Layout<S>>> {
  return { 32: build(schema, Object.keys(schema), 0), 64: build(schema, order64, 1) }
}

/** The layout of a record that is the same in both classes: its fields in order, without gaps. */
export function record<S extends Schema>(schema: S): Layout<S> {
  return build(schema, Object.keys(schema), 1)
}

function build<S extends Schema>(schema: S, names: readonly string[], which: 0 | 1): Layout<S> {
  let at = 0
  const fields = names.map((name): Field => {
    const { as, widths } = schema[name] ?? { as: 'bytes', widths: [0, 0] }
    const width = widths[which]
    at += width
    return { name, at: at - width, width, as }
  })
  // here and in `decode` an object is built by the names of the fields, which the compiler cannot follow
  const byName = Object.fromEntries(fields.map(field => [field.name, field]))
  return { ...byName, bytes: at, fields } as unknown as Layout<S>
}

const EHDR = classRecord({
  ident: bytesOf(16),
  type: half,
  machine: half,
  version: word,
  entry: address,
  phoff: offset,
  // a bigint, because a section table outside the file counts as missing
  shoff: address,
  flags: word,
  ehsize: half,
  phentsize: half,
  phnum: half,
  shentsize: half,
  shnum: half,
  shstrndx: half,
})

const PHDR = classRecord(
  {
    type: word,
    offset,
    vaddr: address,
    paddr: address,
    filesz: offset,
    memsz: address,
    flags: word,
    align: address,
  },
  ['type', 'flags', 'offset', 'vaddr', 'paddr', 'filesz', 'memsz', 'align'],
)

const SHDR = classRecord({
  name: word,
  type: word,
  flags: offset,
  addr: address,
  offset,
  size: offset,
  link: word,
  info: word,
  addralign: offset,
  entsize: offset,
})

const DYN = classRecord({ tag: address, value: address })

// st_info and st_other are read as one half, because wheelfix needs neither alone
const SYM = classRecord({ name: string, value: address, size: offset, info: half, shndx: half }, [
  'name',
  'info',
  'shndx',
  'value',
  'size',
])

// The records of symbol versioning, of notes and of hash tables are the same in both classes.
const VERNEED = record({ version: half, cnt: half, file: string, aux: word, next: word })
const VERNAUX = record({ hash: word, flags: half, other: half, name: string, next: word })
const VERDEF = record({ version: half, flags: half, ndx: half, cnt: half, hash: word, aux: word, next: word })
const VERDAUX = record({ name: string, next: word })
const NHDR = record({ namesz: word, descsz: word, type: word })
/** The start of DT_GNU_HASH. `bloomWords` words of the class's size follow, then the buckets. */
const GNU_HASH = record({ buckets: word, firstSymbol: word, bloomWords: word, bloomShift: word })

/** How to read one object: its class, its byte order and the records of that class. */
export interface Format {
  readonly class: ElfClass
  readonly byteOrder: ByteOrder
  readonly ehdr: (typeof EHDR)[64]
  readonly phdr: (typeof PHDR)[64]
  readonly shdr: (typeof SHDR)[64]
  readonly dyn: (typeof DYN)[64]
  readonly sym: (typeof SYM)[64]
  readonly verneed: typeof VERNEED
  readonly vernaux: typeof VERNAUX
  readonly verdef: typeof VERDEF
  readonly verdaux: typeof VERDAUX
  readonly nhdr: typeof NHDR
  readonly gnuHash: typeof GNU_HASH
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
    verneed: VERNEED,
    vernaux: VERNAUX,
    verdef: VERDEF,
    verdaux: VERDAUX,
    nhdr: NHDR,
    gnuHash: GNU_HASH,
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

/** The format of records that are the same on every machine. */
export const LITTLE = { byteOrder: 'little' } as const

/** What the codec must know of a record besides its layout. */
export interface Ordered {
  readonly byteOrder: ByteOrder
}

// Both loops count, because an iterator costs a run of wheelfix some milliseconds before the code is compiled.

/**
 * The fields of the record at `start`. `bytes` holds the whole record.
 * @throws ElfError `TRUNCATED` when an offset or a size is past 2^53, which no file reaches
 */
export function decode<S extends Schema>(layout: Layout<S>, format: Ordered, bytes: Uint8Array, start = 0): Values<S> {
  const values: Record<string, number | bigint | Uint8Array> = {}
  const { fields } = layout
  for (let index = 0; index < fields.length; index++) {
    const field = fields[index]
    if (field === undefined) break
    if (field.as === 'number') values[field.name] = getNumber(format, bytes, start, field)
    else if (field.as === 'bigint') values[field.name] = getAddress(format, bytes, start, field)
    else values[field.name] = bytes.subarray(start + field.at, start + field.at + field.width)
  }
  return values as Values<S>
}

/** Writes the given fields of the record at `start`, each cut to its width. The others keep their bytes. */
export function encode<S extends Schema>(
  layout: Layout<S>,
  format: Ordered,
  bytes: Uint8Array,
  start: number,
  values: Encodable<S>,
): void {
  const { fields } = layout
  for (let index = 0; index < fields.length; index++) {
    const field = fields[index]
    if (field === undefined) break
    const value: Uint8Array | number | bigint | undefined = values[field.name]
    if (value === undefined) continue
    if (typeof value === 'object') bytes.set(value.subarray(0, field.width), start + field.at)
    else put(format, bytes, start, field, value)
  }
}

/** The bytes of one field, for a change in place. */
export function encodeField(format: Ordered, field: Field, value: number | bigint): Uint8Array {
  const bytes = new Uint8Array(field.width)
  put(format, bytes, -field.at, field, value)
  return bytes
}

/** The bytes that were looked at last: nearly always the same table as before. */
let viewed: Uint8Array = new Uint8Array()
let view: DataView = new DataView(viewed.buffer)

/** A view of the bytes, which reads or writes a field in one call: most of a run ends before V8 has compiled a loop. */
function viewOf(bytes: Uint8Array): DataView {
  view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  viewed = bytes
  return view
}

/** The raw field, unsigned: for addresses and memory sizes. `bytes` holds the whole record at `start`. */
export function getAddress(format: Ordered, bytes: Uint8Array, start: number, field: FieldPlace): bigint {
  if (field.width !== 8) return BigInt(getNumber(format, bytes, start, field))
  const all = bytes === viewed ? view : viewOf(bytes)
  return all.getBigUint64(start + field.at, format.byteOrder === 'little')
}

/**
 * The field as a number: for counts, offsets and sizes in the file.
 * @throws ElfError `TRUNCATED` when the number is past 2^53, which no file reaches
 */
export function getNumber(format: Ordered, bytes: Uint8Array, start: number, field: FieldPlace): number {
  const value = getRounded(format, bytes, start, field)
  if (value > Number.MAX_SAFE_INTEGER) {
    const exact = getAddress(format, bytes, start, field)
    throw new ElfError('TRUNCATED', 'an offset or size past 2^53', undefined, exact)
  }
  return value
}

/** The field as a number, rounded where it is past 2^53. */
export function getRounded(format: Ordered, bytes: Uint8Array, start: number, field: FieldPlace): number {
  const at = start + field.at
  const little = format.byteOrder === 'little'
  const all = bytes === viewed ? view : viewOf(bytes)
  if (field.width === 4) return all.getUint32(at, little)
  if (field.width === 2) return all.getUint16(at, little)
  const high = all.getUint32(little ? at + 4 : at, little)
  const low = all.getUint32(little ? at : at + 4, little)
  return high * 0x100000000 + low
}

/** Writes a field of the record at `start`, cut to its width. */
export function put(
  format: Ordered,
  bytes: Uint8Array,
  start: number,
  field: FieldPlace,
  value: number | bigint,
): void {
  const at = start + field.at
  const little = format.byteOrder === 'little'
  const all = bytes === viewed ? view : viewOf(bytes)
  if (field.width === 8) {
    if (typeof value === 'bigint') all.setBigUint64(at, value, little)
    else {
      all.setUint32(little ? at + 4 : at, Math.floor(value / 0x100000000), little)
      all.setUint32(little ? at : at + 4, value, little)
    }
    return
  }
  const low = typeof value === 'bigint' ? Number(BigInt.asUintN(32, value)) : value
  if (field.width === 4) all.setUint32(at, low, little)
  else all.setUint16(at, low, little)
}

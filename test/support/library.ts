// Shared libraries made by hand, byte by byte: with any soname, needed strings and search path, without a compiler. They
// hold no code. 64-bit little endian, as a loader of such a machine maps them.

export interface LibraryOptions {
  /** DT_SONAME; null for none. */
  readonly soname: string | null
  /** DT_NEEDED strings in order. */
  readonly needed?: readonly string[]
  readonly rpath?: string
  readonly runpath?: string
  /** e_machine */
  readonly machine: number
}

const PT_LOAD = 1
const PT_DYNAMIC = 2
const DT_NULL = 0
const DT_NEEDED = 1
const DT_STRTAB = 5
const DT_SYMTAB = 6
const DT_STRSZ = 10
const DT_SYMENT = 11
const DT_SONAME = 14
const DT_RPATH = 15
const DT_RUNPATH = 29
const HEADER = 64
const PROGRAM_HEADER = 56
const DYNAMIC_ENTRY = 16
const SYMBOL = 24

/** The bytes of such a library: one segment with everything in it, addresses equal to file offsets, no sections. */
export function makeLibrary({ soname, needed = [], rpath, runpath, machine }: LibraryOptions): Buffer {
  let strings = '\0'
  const string = (text: string): number => {
    strings += `${text}\0`
    return strings.length - text.length - 1
  }
  const named: (readonly [number, string])[] = needed.map(text => [DT_NEEDED, text] as const)
  if (soname !== null) named.push([DT_SONAME, soname])
  if (rpath !== undefined) named.push([DT_RPATH, rpath])
  if (runpath !== undefined) named.push([DT_RUNPATH, runpath])
  const entries = named.map(([tag, text]) => [tag, string(text)] as const)

  const dynamicAt = HEADER + 2 * PROGRAM_HEADER
  const dynamicSize = (entries.length + 5) * DYNAMIC_ENTRY
  const symbolsAt = dynamicAt + dynamicSize
  const stringsAt = symbolsAt + SYMBOL
  const text = Buffer.from(strings)
  const size = stringsAt + text.length
  const all = [...entries, [DT_STRTAB, stringsAt], [DT_STRSZ, text.length], [DT_SYMTAB, symbolsAt], [DT_SYMENT, SYMBOL]]

  const file = Buffer.alloc(size)
  file.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1])
  file.writeUInt16LE(3, 16) // ET_DYN
  file.writeUInt16LE(machine, 18)
  file.writeUInt32LE(1, 20)
  file.writeBigUInt64LE(BigInt(HEADER), 32) // e_phoff
  file.set([HEADER, 0, PROGRAM_HEADER, 0, 2, 0, 64, 0], 52)
  const segment = (at: number, type: number, offset: number, length: number, align: number): void => {
    file.writeUInt32LE(type, at)
    file.writeUInt32LE(6, at + 4) // PF_R | PF_W
    for (const [index, value] of [offset, offset, offset, length, length, align].entries()) {
      file.writeBigUInt64LE(BigInt(value), at + 8 + 8 * index)
    }
  }
  segment(HEADER, PT_LOAD, 0, size, 0x10000)
  segment(HEADER + PROGRAM_HEADER, PT_DYNAMIC, dynamicAt, dynamicSize, 8)
  const words = [...all, [DT_NULL, 0]].flat().map(BigInt)
  file.set(new Uint8Array(BigUint64Array.from(words).buffer), dynamicAt)
  file.set(text, stringsAt)
  return file
}

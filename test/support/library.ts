// Shared libraries made by hand, byte by byte: with any soname, needed strings, versions and search path, without a
// compiler. They hold no code. 64-bit little endian, as a loader of such a machine maps them.

export interface LibraryOptions {
  /** DT_SONAME; null for none. */
  readonly soname: string | null
  /** DT_NEEDED strings in order. */
  readonly needed?: readonly string[]
  /** What else it names, in front of `needed`: entries of DT_NEEDED, DT_FILTER and DT_AUXILIARY in order. */
  readonly links?: readonly Link[]
  readonly rpath?: string
  readonly runpath?: string
  /** DT_FLAGS_1 */
  readonly flags1?: number
  /** The versions defined, the base version (VER_FLG_BASE) first. */
  readonly defines?: readonly string[]
  readonly wants?: readonly Want[]
  /** e_machine */
  readonly machine: number
}

export interface Link {
  readonly tag: 'DT_NEEDED' | 'DT_FILTER' | 'DT_AUXILIARY'
  readonly name: string
}

/** A version needed of a file. */
export interface Want {
  readonly file: string
  readonly version: string
  readonly weak: boolean
}

const PT_LOAD = 1
const PT_DYNAMIC = 2
/** Without it the stack is to be executable, which glibc refuses since 2.41. */
const PT_GNU_STACK = 0x6474e551
const TAGS = { DT_NEEDED: 1, DT_FILTER: 0x7fffffff, DT_AUXILIARY: 0x7ffffffd } as const
const DT_NULL = 0
const DT_HASH = 4
const DT_STRTAB = 5
const DT_SYMTAB = 6
const DT_STRSZ = 10
const DT_SYMENT = 11
const DT_SONAME = 14
const DT_RPATH = 15
const DT_RUNPATH = 29
const DT_VERSYM = 0x6ffffff0
const DT_FLAGS_1 = 0x6ffffffb
const DT_VERDEF = 0x6ffffffc
const DT_VERDEFNUM = 0x6ffffffd
const DT_VERNEED = 0x6ffffffe
const DT_VERNEEDNUM = 0x6fffffff
const HEADER = 64
const PROGRAM_HEADER = 56
const DYNAMIC_ENTRY = 16
const SYMBOL = 24
/** One bucket and one symbol: nothing is found. */
const HASH = [1, 1, 0, 0]
const VERDEF = 20
const VERDAUX = 8
const VERNEED = 16
const VERNAUX = 16

/** The bytes of such a library: one segment with everything in it, addresses equal to file offsets, no sections. */
export function makeLibrary(options: LibraryOptions): Buffer {
  const { soname, needed = [], links = [], rpath, runpath, flags1, defines = [], wants = [], machine } = options
  let strings = '\0'
  const string = (text: string): number => {
    strings += `${text}\0`
    return strings.length - text.length - 1
  }
  const named: (readonly [number, string])[] = links.map(({ tag, name }) => [TAGS[tag], name] as const)
  for (const name of needed) named.push([TAGS.DT_NEEDED, name])
  if (soname !== null) named.push([DT_SONAME, soname])
  if (rpath !== undefined) named.push([DT_RPATH, rpath])
  if (runpath !== undefined) named.push([DT_RUNPATH, runpath])
  const entries = named.map(([tag, text]) => [tag, string(text)] as const)
  const verdef = versionDefinitions(defines, string)
  const verneed = versionNeeds(wants, string)

  const versioned = verdef.length + verneed.length > 0
  const count = entries.length + 6 + (flags1 === undefined ? 0 : 1) + (versioned ? 5 : 0)
  const dynamicAt = HEADER + 3 * PROGRAM_HEADER
  const dynamicSize = count * DYNAMIC_ENTRY
  const symbolsAt = dynamicAt + dynamicSize
  const verdefAt = symbolsAt + SYMBOL
  const verneedAt = verdefAt + verdef.length
  // of one symbol, local: its version is 0
  const versymAt = verneedAt + verneed.length
  const hashAt = versymAt + 8
  const stringsAt = hashAt + 4 * HASH.length
  const text = Buffer.from(strings)
  const size = stringsAt + text.length
  const all = [
    ...entries,
    [DT_HASH, hashAt],
    [DT_STRTAB, stringsAt],
    [DT_STRSZ, text.length],
    [DT_SYMTAB, symbolsAt],
    [DT_SYMENT, SYMBOL],
  ]
  if (flags1 !== undefined) all.push([DT_FLAGS_1, flags1])
  if (defines.length > 0) all.push([DT_VERDEF, verdefAt], [DT_VERDEFNUM, defines.length])
  if (wants.length > 0) all.push([DT_VERNEED, verneedAt], [DT_VERNEEDNUM, wants.length])
  if (versioned) all.push([DT_VERSYM, versymAt])

  const file = Buffer.alloc(size)
  file.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1])
  file.writeUInt16LE(3, 16) // ET_DYN
  file.writeUInt16LE(machine, 18)
  file.writeUInt32LE(1, 20)
  file.writeBigUInt64LE(BigInt(HEADER), 32) // e_phoff
  file.set([HEADER, 0, PROGRAM_HEADER, 0, 3, 0, 64, 0], 52)
  const segment = (at: number, type: number, offset: number, length: number, align: number): void => {
    file.writeUInt32LE(type, at)
    file.writeUInt32LE(6, at + 4) // PF_R | PF_W
    for (const [index, value] of [offset, offset, offset, length, length, align].entries()) {
      file.writeBigUInt64LE(BigInt(value), at + 8 + 8 * index)
    }
  }
  segment(HEADER, PT_LOAD, 0, size, 0x10000)
  segment(HEADER + PROGRAM_HEADER, PT_DYNAMIC, dynamicAt, dynamicSize, 8)
  segment(HEADER + 2 * PROGRAM_HEADER, PT_GNU_STACK, 0, 0, 16)
  const words = [...all, [DT_NULL, 0]].flat().map(BigInt)
  file.set(new Uint8Array(BigUint64Array.from(words).buffer), dynamicAt)
  file.set(verdef, verdefAt)
  file.set(verneed, verneedAt)
  for (const [index, word] of HASH.entries()) file.writeUInt32LE(word, hashAt + 4 * index)
  file.set(text, stringsAt)
  return file
}

/** The hash of a version's name (gABI, chapter 5 “Hash Table”). */
function hashOf(name: string): number {
  let hash = 0
  for (const byte of Buffer.from(name)) {
    hash = ((hash << 4) >>> 0) + byte
    const high = hash & 0xf0000000
    hash = ((hash ^ (high >>> 24)) & ~high) >>> 0
  }
  return hash
}

/** Each definition is followed by its one name. */
function versionDefinitions(names: readonly string[], string: (text: string) => number): Buffer {
  const step = VERDEF + VERDAUX
  const bytes = Buffer.alloc(names.length * step)
  for (const [index, name] of names.entries()) {
    const at = index * step
    bytes.writeUInt16LE(1, at)
    bytes.writeUInt16LE(index === 0 ? 1 : 0, at + 2) // VER_FLG_BASE
    bytes.writeUInt16LE(index + 1, at + 4)
    bytes.writeUInt16LE(1, at + 6)
    bytes.writeUInt32LE(hashOf(name), at + 8)
    bytes.writeUInt32LE(VERDEF, at + 12)
    bytes.writeUInt32LE(index === names.length - 1 ? 0 : step, at + 16)
    bytes.writeUInt32LE(string(name), at + VERDEF)
  }
  return bytes
}

function versionNeeds(wants: readonly Want[], string: (text: string) => number): Buffer {
  const step = VERNEED + VERNAUX
  const bytes = Buffer.alloc(wants.length * step)
  for (const [index, { file, version, weak }] of wants.entries()) {
    const at = index * step
    bytes.writeUInt16LE(1, at)
    bytes.writeUInt16LE(1, at + 2)
    bytes.writeUInt32LE(string(file), at + 4)
    bytes.writeUInt32LE(VERNEED, at + 8)
    bytes.writeUInt32LE(index === wants.length - 1 ? 0 : step, at + 12)
    bytes.writeUInt32LE(hashOf(version), at + VERNEED)
    bytes.writeUInt16LE(weak ? 2 : 0, at + VERNEED + 4)
    bytes.writeUInt16LE(100 + index, at + VERNEED + 6)
    bytes.writeUInt32LE(string(version), at + VERNEED + 8)
  }
  return bytes
}

// The loader's cache (ld.so.cache) of glibc: read, asked and written. Rules from glibc's sysdeps/generic/dl-cache.h,
// elf/dl-cache.c (what the loader does) and elf/cache.c (what ldconfig writes). It must not know of files or of the store.
//
// The format since glibc 2.2: a header of 48 bytes, entries of 24 bytes sorted for the loader's binary search, strings.
// ldconfig may put a cache of the format before that in front (`ldconfig -c compat`, the default up to glibc 2.31).
import {
  EM_AARCH64,
  EM_ARM,
  EM_IA_64,
  EM_LOONGARCH,
  EM_MIPS,
  EM_PPC,
  EM_PPC64,
  EM_RISCV,
  EM_S390,
  EM_SPARCV9,
  EM_X86_64,
} from '../elf/constants.ts'
import { ElfError } from '../elf/error.ts'
import { decodeBytes, encodeText } from '../elf/text.ts'
import type { ByteOrder, ElfClass } from '../elf/types.ts'

/** One line of `ldconfig -p`. */
export interface CacheEntry {
  /** The name that is asked for: a soname or a file name. */
  readonly soname: string
  /** The whole path of the library. */
  readonly path: string
  /** The kind of library: FLAG_ELF_LIBC6 (3) and the machine's own bits. */
  readonly flags: number
  /** The glibc-hwcaps subdirectory that it is in (`x86-64-v3`), null outside of them. */
  readonly hwcapName: string | null
  /** The legacy hardware bits; 0 in every cache written since glibc 2.33 (and for an entry with a `hwcapName`). */
  readonly hwcap: bigint
}

/** What a library must be for to be loaded: the header of the main program has these. */
export interface CacheMachine {
  readonly class: ElfClass
  readonly machine: number
}

/** What of the hardware bits in a cache a loader before glibc 2.37 goes by: the bits that are on, and AT_PLATFORM's name. */
export interface LegacyHwcaps {
  readonly bits: bigint
  readonly platform: string
}

const MAGIC_OLD = 'ld.so-1.7.0'
const MAGIC = 'glibc-ld.so.cache1.1'
const HEADER = 48
const ENTRY = 24
const OLD_HEADER = 16
const OLD_ENTRY = 12
/** The byte order of the cache, in the low two bits of the header's flags; 0: the machine's own. */
const ENDIAN_AT = 28
const ENDIAN_LITTLE = 2
const ENDIAN_BIG = 3
const EXTENSION_AT = 32
const EXTENSION_MAGIC = 0xeaa42174
const EXTENSION_HEADER = 8
const EXTENSION_SECTION = 16
const TAG_GENERATOR = 0
const TAG_HWCAPS = 1
/** Bit 62 of an entry's hwcap: the low 32 bits are an index into the names of the extension; bits 32…41 an ISA level. */
const HWCAP_EXTENSION = 1n << 62n
const HWCAP_ISA_LEVEL_MASK = 0x3ffn << 32n
/** Legacy bit “needs TLS”, which every loader has. */
const HWCAP_TLS = 1n << 63n
/** Legacy bits of the x86 platforms (sysdeps/x86/dl-procinfo.h); not for more than one platform at once. */
const HWCAP_PLATFORMS = new Map([
  ['i586', 1n << 48n],
  ['i686', 1n << 49n],
  ['haswell', 1n << 50n],
  ['xeon_phi', 1n << 51n],
])
const HWCAP_PLATFORM_MASK = 0xfn << 48n

const FLAG_ELF = 1
const FLAG_ELF_LIBC6 = 3

/**
 * The flags of an entry that a loader of this machine takes (`_dl_cache_check_flags` of each sysdeps/…/dl-cache.h), the
 * one that it prefers first. Several where the header's class and machine do not tell the ABI.
 */
export function cacheFlags({ class: elfClass, machine }: CacheMachine): readonly number[] {
  switch (machine) {
    case EM_X86_64:
      return elfClass === 64 ? [0x303] : [0x803]
    case EM_AARCH64:
      return [0xa03]
    case EM_ARM:
      return [0x903, 0xb03, FLAG_ELF_LIBC6]
    case EM_PPC64:
      return [0x503]
    case EM_S390:
      return elfClass === 64 ? [0x403] : [FLAG_ELF_LIBC6, FLAG_ELF]
    case EM_RISCV:
      return [0x1003, 0xf03]
    case EM_LOONGARCH:
      return [0x1203, 0x1103]
    case EM_MIPS:
      return elfClass === 64 ? [0x703, 0xe03] : [FLAG_ELF_LIBC6, 0xc03, 0x603, 0xd03]
    case EM_SPARCV9:
      return [0x103]
    case EM_IA_64:
      return [0x203]
    default:
      return [FLAG_ELF_LIBC6, FLAG_ELF]
  }
}

/** The machines on which `char` has no sign, so that the loader compares bytes from 0x80 on as large. */
function charIsUnsigned(machine: number): boolean {
  return [EM_AARCH64, EM_ARM, EM_PPC, EM_PPC64, EM_S390, EM_RISCV].includes(machine)
}

/**
 * The entries of a cache, in its own order, which the loader's search depends on. Entries whose strings lie outside the
 * file are left out.
 * @throws ElfError `TRUNCATED` for an empty or cut file, `MALFORMED` for anything that is no cache. The loader ignores both
 */
export function readLoaderCache(bytes: Uint8Array): CacheEntry[] {
  if (startsWith(bytes, 0, MAGIC)) return readNew(bytes, 0)
  if (!startsWith(bytes, 0, MAGIC_OLD)) {
    if (bytes.length < MAGIC.length)
      throw new ElfError('TRUNCATED', `a loader cache of ${bytes.length} bytes`, 0, bytes.length)
    throw new ElfError('MALFORMED', 'not a loader cache: its magic is missing', 0)
  }
  const view = viewOf(bytes)
  if (bytes.length < OLD_HEADER)
    throw new ElfError('TRUNCATED', `a loader cache of ${bytes.length} bytes`, 0, bytes.length)
  const order = orderOf(view, 12, OLD_HEADER, OLD_ENTRY)
  const count = view.getUint32(12, order === 'little')
  assertRoom(bytes, OLD_HEADER, count, OLD_ENTRY)
  const end = OLD_HEADER + count * OLD_ENTRY
  const next = end + ((8 - (end % 8)) % 8)
  if (startsWith(bytes, next, MAGIC)) return readNew(bytes, next)

  const entries: CacheEntry[] = []
  for (let at = OLD_HEADER; at < end; at += OLD_ENTRY) {
    const soname = stringAt(bytes, end + view.getUint32(at + 4, order === 'little'))
    const path = stringAt(bytes, end + view.getUint32(at + 8, order === 'little'))
    if (soname === null || path === null) continue
    entries.push({ soname, path, flags: view.getUint32(at, order === 'little'), hwcapName: null, hwcap: 0n })
  }
  return entries
}

/** @param base where the new format begins: strings are counted from there, the extension from the file's start */
function readNew(bytes: Uint8Array, base: number): CacheEntry[] {
  if (bytes.length - base < HEADER)
    throw new ElfError('TRUNCATED', `the loader cache ends inside its header`, base, bytes.length)
  const view = viewOf(bytes)
  const endian = view.getUint8(base + ENDIAN_AT) & 3
  if (endian === 1) throw new ElfError('MALFORMED', 'the loader cache names no byte order', base + ENDIAN_AT, endian)
  const order: ByteOrder =
    endian === ENDIAN_BIG
      ? 'big'
      : endian === ENDIAN_LITTLE
        ? 'little'
        : orderOf(view, base + MAGIC.length, base + HEADER, ENTRY)
  const little = order === 'little'
  const count = view.getUint32(base + MAGIC.length, little)
  assertRoom(bytes, base + HEADER, count, ENTRY)
  const names = hwcapNames(bytes, base, little)

  const entries: CacheEntry[] = []
  for (let index = 0; index < count; index++) {
    const at = base + HEADER + index * ENTRY
    const soname = stringAt(bytes, base + view.getUint32(at + 4, little))
    const path = stringAt(bytes, base + view.getUint32(at + 8, little))
    const hwcap = view.getBigUint64(at + 16, little)
    if (soname === null || path === null) continue
    const isExtension = (hwcap & ~HWCAP_ISA_LEVEL_MASK) >> 32n === HWCAP_EXTENSION >> 32n
    const hwcapName = isExtension ? names[Number(hwcap & 0xffffffffn)] : null
    // a name that is not there cannot be active
    if (hwcapName === undefined) continue
    entries.push({ soname, path, flags: view.getUint32(at, little), hwcapName, hwcap: isExtension ? 0n : hwcap })
  }
  return entries
}

/** The names of the glibc-hwcaps subdirectories, from the extension section; none where it is missing or damaged. */
function hwcapNames(bytes: Uint8Array, base: number, little: boolean): string[] {
  const view = viewOf(bytes)
  const inside = (offset: number, length: number) => offset <= bytes.length && length <= bytes.length - offset
  const extension = view.getUint32(base + EXTENSION_AT, little)
  if (extension === 0 || extension % 4 !== 0 || !inside(extension, EXTENSION_HEADER)) return []
  if (view.getUint32(extension, little) !== EXTENSION_MAGIC) return []
  const count = view.getUint32(extension + 4, little)
  if (count > (bytes.length - extension) / EXTENSION_SECTION) return []
  for (let index = 0; index < count; index++) {
    const section = extension + EXTENSION_HEADER + index * EXTENSION_SECTION
    if (!inside(section, EXTENSION_SECTION)) return []
    if (view.getUint32(section, little) !== TAG_HWCAPS) continue
    const offset = view.getUint32(section + 8, little)
    const size = view.getUint32(section + 12, little)
    if (offset % 4 !== 0 || size % 4 !== 0 || !inside(offset, size)) return []
    return Array.from(
      { length: size / 4 },
      (_, place) => stringAt(bytes, base + view.getUint32(offset + 4 * place, little)) ?? '',
    )
  }
  return []
}

/**
 * The path that the loader takes for a name, null where the cache has none: the loader's own binary search, which in a
 * cache that is sorted otherwise misses names, exactly as the loader does.
 * @param activeHwcaps the glibc-hwcaps subdirectories that this processor uses, best first
 * @param legacy null: entries with hardware bits are passed over, as glibc 2.37 and later do
 */
export function lookUpCache(
  entries: readonly CacheEntry[],
  soname: string,
  program: CacheMachine,
  activeHwcaps: readonly string[],
  legacy: LegacyHwcaps | null = null,
): string | null {
  const name = byteString(soname)
  const unsigned = charIsUnsigned(program.machine)
  const compareWith = (index: number) => compareNames(name, byteString(entries[index]?.soname ?? ''), unsigned)
  const accepted = cacheFlags(program)

  let left = 0
  let right = entries.length - 1
  while (left <= right) {
    const middle = (left + right) >> 1
    const order = compareWith(middle)
    if (order < 0) left = middle + 1
    else if (order > 0) right = middle - 1
    else {
      let first = middle
      while (first > 0 && compareWith(first - 1) === 0) first--
      return bestOf(entries, first, right, middle, compareWith, accepted, activeHwcaps, legacy)
    }
  }
  return null
}

/** The best of the entries of one name: glibc-hwcaps by their priority, then the first of the preferred flags. */
function bestOf(
  entries: readonly CacheEntry[],
  first: number,
  last: number,
  known: number,
  compareWith: (index: number) => number,
  accepted: readonly number[],
  activeHwcaps: readonly string[],
  legacy: LegacyHwcaps | null,
): string | null {
  let best: string | null = null
  let bestPriority = Number.MAX_SAFE_INTEGER
  for (let index = first; index <= last; index++) {
    const entry = entries[index]
    if (entry === undefined || (index > known && compareWith(index) !== 0)) break
    if (!accepted.includes(entry.flags)) continue
    if (entry.hwcapName !== null) {
      const priority = activeHwcaps.indexOf(entry.hwcapName)
      if (priority < 0 || priority >= bestPriority) continue
      bestPriority = priority
    } else {
      if (best !== null) break
      if (!isActive(entry.hwcap & ~HWCAP_TLS, legacy)) continue
    }
    best = entry.path
    if (entry.hwcapName === null && entry.flags === accepted[0]) break
  }
  return best
}

/** Is a legacy subdirectory (haswell, x86_64, avx512_1 …) for this processor? */
function isActive(hwcap: bigint, legacy: LegacyHwcaps | null): boolean {
  if (hwcap === 0n) return true
  if (legacy === null) return false
  const platform = hwcap & HWCAP_PLATFORM_MASK & ~legacy.bits
  if ((hwcap & ~legacy.bits & ~HWCAP_PLATFORM_MASK) !== 0n) return false
  return platform === 0n || platform === HWCAP_PLATFORMS.get(legacy.platform)
}

/** What goes into a cache that is to be written. */
export interface NewCacheEntry {
  readonly soname: string
  readonly path: string
  readonly hwcapName?: string | null
}

/**
 * A cache in the format of glibc 2.33 and later (which alone names its byte order and the glibc-hwcaps subdirectories).
 * The same entries in any order give the same bytes. Of two entries with the same name and subdirectory the first stays:
 * the loader would never reach the other.
 */
export function writeLoaderCache(
  entries: readonly NewCacheEntry[],
  target: CacheMachine & { readonly byteOrder: ByteOrder },
): Uint8Array {
  const unsigned = charIsUnsigned(target.machine)
  const unique = new Map<string, NewCacheEntry>()
  for (const entry of entries) {
    const key = `${entry.soname}\0${entry.hwcapName ?? ''}`
    if (!unique.has(key)) unique.set(key, entry)
  }
  // by code units first: where the loader's order takes two names for equal, the result is still defined
  const sorted = [...unique.values()]
    .map(({ soname, path, hwcapName = null }) => ({ soname, path, hwcapName, key: byteString(soname) }))
    .sort((a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : 0))
    .sort(
      (a, b) =>
        compareNames(b.key, a.key, unsigned) ||
        Number(a.hwcapName === null) - Number(b.hwcapName === null) ||
        ((a.hwcapName ?? '') < (b.hwcapName ?? '') ? -1 : (a.hwcapName ?? '') > (b.hwcapName ?? '') ? 1 : 0),
    )
  const names = [...new Set(sorted.flatMap(entry => (entry.hwcapName === null ? [] : [entry.hwcapName])))].sort()

  // strings, each once
  const parts: Buffer[] = []
  const offsets = new Map<string, number>()
  let end = HEADER + ENTRY * sorted.length
  const place = (text: string): number => {
    const known = offsets.get(text)
    if (known !== undefined) return known
    const bytes = Buffer.concat([encodeText(text), Buffer.from([0])])
    const offset = end
    parts.push(bytes)
    offsets.set(text, offset)
    end += bytes.length
    return offset
  }
  const placed = sorted.map(entry => ({ entry, key: place(entry.soname), value: place(entry.path) }))
  const namePlaces = names.map(place)
  const stringsEnd = end
  const generator = Buffer.from('wheelfix')
  const extension = stringsEnd + ((4 - (stringsEnd % 4)) % 4)
  const sections = names.length === 0 ? 1 : 2
  const hwcapsAt = extension + EXTENSION_HEADER + sections * EXTENSION_SECTION
  const generatorAt = hwcapsAt + 4 * names.length

  const bytes = new Uint8Array(generatorAt + generator.length)
  const view = viewOf(bytes)
  const little = target.byteOrder === 'little'
  bytes.set(encodeText(MAGIC), 0)
  view.setUint32(MAGIC.length, sorted.length, little)
  view.setUint32(MAGIC.length + 4, stringsEnd - HEADER - ENTRY * sorted.length, little)
  view.setUint8(ENDIAN_AT, little ? ENDIAN_LITTLE : ENDIAN_BIG)
  view.setUint32(EXTENSION_AT, extension, little)
  const flags = cacheFlags(target)[0] ?? FLAG_ELF_LIBC6
  placed.forEach(({ entry, key, value }, index) => {
    const at = HEADER + index * ENTRY
    view.setUint32(at, flags, little)
    view.setUint32(at + 4, key, little)
    view.setUint32(at + 8, value, little)
    if (entry.hwcapName !== null)
      view.setBigUint64(at + 16, HWCAP_EXTENSION | BigInt(names.indexOf(entry.hwcapName)), little)
  })
  bytes.set(Buffer.concat(parts), HEADER + ENTRY * sorted.length)
  view.setUint32(extension, EXTENSION_MAGIC, little)
  view.setUint32(extension + 4, sections, little)
  const writeSection = (index: number, tag: number, offset: number, size: number) => {
    const at = extension + EXTENSION_HEADER + index * EXTENSION_SECTION
    view.setUint32(at, tag, little)
    view.setUint32(at + 8, offset, little)
    view.setUint32(at + 12, size, little)
  }
  writeSection(0, TAG_GENERATOR, generatorAt, generator.length)
  if (names.length > 0) writeSection(1, TAG_HWCAPS, hwcapsAt, 4 * names.length)
  namePlaces.forEach((offset, index) => view.setUint32(hwcapsAt + 4 * index, offset, little))
  bytes.set(generator, generatorAt)
  return bytes
}

/**
 * The loader's comparison of two names (`_dl_cache_libcmp`): runs of digits by their value, as a C int that wraps, the
 * rest by bytes; a digit is greater than anything else. Not transitive for numbers further apart than 2^31.
 */
function compareNames(a: string, b: string, unsigned: boolean): number {
  const byte = (text: string, at: number) => {
    const code = at < text.length ? text.charCodeAt(at) : 0
    return unsigned || code < 0x80 ? code : code - 0x100
  }
  const isDigit = (code: number) => code >= 0x30 && code <= 0x39
  let i = 0
  let j = 0
  while (i < a.length) {
    const x = byte(a, i)
    const y = byte(b, j)
    if (isDigit(x)) {
      if (!isDigit(y)) return 1
      let m = 0
      let n = 0
      for (; isDigit(byte(a, i)); i++) m = (Math.imul(m, 10) + byte(a, i) - 0x30) | 0
      for (; isDigit(byte(b, j)); j++) n = (Math.imul(n, 10) + byte(b, j) - 0x30) | 0
      if (m !== n) return (m - n) | 0
    } else if (isDigit(y)) return -1
    else if (x !== y) return x - y
    else {
      i++
      j++
    }
  }
  return byte(a, i) - byte(b, j)
}

/** A text with one character for each of its bytes. */
function byteString(text: string): string {
  // oxlint-disable-next-line no-control-regex -- ASCII, which has one byte for each character
  return /^[\u0000-\u007f]*$/.test(text) ? text : encodeText(text).toString('latin1')
}

/** The byte order in which `count` entries fit into the file: the other one gives an absurd number. */
function orderOf(view: DataView, countAt: number, entriesAt: number, entrySize: number): ByteOrder {
  const room = (view.byteLength - entriesAt) / entrySize
  return view.getUint32(countAt, true) <= room ? 'little' : 'big'
}

function assertRoom(bytes: Uint8Array, offset: number, count: number, size: number): void {
  if (count > (bytes.length - offset) / size)
    throw new ElfError('TRUNCATED', `the loader cache has no room for its ${count} entries`, offset, count)
}

/** A NUL-terminated string; null where it begins or ends outside. */
function stringAt(bytes: Uint8Array, offset: number): string | null {
  if (offset >= bytes.length) return null
  const end = bytes.indexOf(0, offset)
  return end < 0 ? null : decodeBytes(bytes.subarray(offset, end))
}

function startsWith(bytes: Uint8Array, offset: number, text: string): boolean {
  return encodeText(text).equals(bytes.subarray(offset, offset + text.length))
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

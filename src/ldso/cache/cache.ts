// glibc's cache (ld.so.cache), read and searched as the loader does (elf/dl-cache.c). Must not know of files or of the
// store.
import { ElfError } from '../../elf/error.ts'
import { decode, getNumber, LITTLE, type Ordered } from '../../elf/layout.ts'
import { decodeBytes, encodeText } from '../../elf/text.ts'
import {
  type CacheMachine,
  ENDIAN_BIG,
  ENDIAN_LITTLE,
  ENTRY,
  EXTENSION,
  EXTENSION_MAGIC,
  HEADER,
  HWCAP_EXTENSION,
  HWCAP_ISA_LEVEL_MASK,
  HWCAP_PLATFORMS,
  HWCAP_PLATFORM_MASK,
  HWCAP_TLS,
  MAGIC,
  MAGIC_OLD,
  OLD_ENTRY,
  OLD_HEADER,
  SECTION,
  STRING,
  TAG_HWCAPS,
  byteString,
  cacheFlags,
  charIsUnsigned,
  compareNames,
} from './cache-format.ts'

/** One line of `ldconfig -p`. */
export interface CacheEntry {
  /** The name to look up: a soname or a file name. */
  readonly soname: string
  /** The whole path of the library. */
  readonly path: string
  /** The kind of library: FLAG_ELF_LIBC6 (3) and the machine's own bits. */
  readonly flags: number
  /** The glibc-hwcaps subdirectory of the library (`x86-64-v3`); null outside of these. */
  readonly hwcapName: string | null
  /** The legacy hardware bits; 0 in every cache written since glibc 2.33 (and for an entry with a `hwcapName`). */
  readonly hwcap: bigint
}

/**
 * The hardware bits in a cache that a loader before glibc 2.37 respects: the bits that are on, and AT_PLATFORM's name.
 */
export interface LegacyHwcaps {
  readonly bits: bigint
  readonly platform: string
}

/**
 * The entries of a cache, in its own order, because the loader's search depends on that order. Entries whose strings
 * lie outside the file are left out.
 * @throws ElfError `TRUNCATED` for an empty or cut file, `MALFORMED` for a file that is not a cache. The loader ignores
 * both
 */
export function readLoaderCache(bytes: Uint8Array): CacheEntry[] {
  if (startsWith(bytes, 0, MAGIC)) return readNew(bytes, 0)
  if (!startsWith(bytes, 0, MAGIC_OLD)) {
    if (bytes.length < MAGIC.length)
      throw new ElfError('TRUNCATED', `a loader cache of ${bytes.length} bytes`, 0, bytes.length)
    throw new ElfError('MALFORMED', 'not a loader cache: its magic is missing', 0)
  }
  if (bytes.length < OLD_HEADER.bytes)
    throw new ElfError('TRUNCATED', `a loader cache of ${bytes.length} bytes`, 0, bytes.length)
  const format = orderOf(bytes, 0, OLD_HEADER, OLD_ENTRY.bytes)
  const { count } = decode(OLD_HEADER, format, bytes)
  assertRoom(bytes, OLD_HEADER.bytes, count, OLD_ENTRY.bytes)
  const end = OLD_HEADER.bytes + count * OLD_ENTRY.bytes
  const next = end + ((8 - (end % 8)) % 8)
  if (startsWith(bytes, next, MAGIC)) return readNew(bytes, next)

  const entries: CacheEntry[] = []
  for (let at = OLD_HEADER.bytes; at < end; at += OLD_ENTRY.bytes) {
    const { flags, key, value } = decode(OLD_ENTRY, format, bytes, at)
    const soname = stringAt(bytes, end + key)
    const path = stringAt(bytes, end + value)
    if (soname === null || path === null) continue
    entries.push({ soname, path, flags, hwcapName: null, hwcap: 0n })
  }
  return entries
}

/**
 * @param base where the new format begins. Offsets of strings count from there, the offset of the extension from the
 * start of the file
 */
function readNew(bytes: Uint8Array, base: number): CacheEntry[] {
  if (bytes.length - base < HEADER.bytes)
    throw new ElfError('TRUNCATED', `the loader cache ends inside its header`, base, bytes.length)
  const endianAt = base + HEADER.flags.at
  const endian = (bytes[endianAt] ?? 0) & 3
  if (endian === 1) throw new ElfError('MALFORMED', 'the loader cache names no byte order', endianAt, endian)
  const format: Ordered =
    endian === ENDIAN_BIG
      ? { byteOrder: 'big' }
      : endian === ENDIAN_LITTLE
        ? { byteOrder: 'little' }
        : orderOf(bytes, base, HEADER, ENTRY.bytes)
  const { count, extension } = decode(HEADER, format, bytes, base)
  assertRoom(bytes, base + HEADER.bytes, count, ENTRY.bytes)
  const names = hwcapNames(bytes, base, extension, format)

  const entries: CacheEntry[] = []
  for (let index = 0; index < count; index++) {
    const { flags, key, value, hwcap } = decode(ENTRY, format, bytes, base + HEADER.bytes + index * ENTRY.bytes)
    const soname = stringAt(bytes, base + key)
    const path = stringAt(bytes, base + value)
    if (soname === null || path === null) continue
    const isExtension = (hwcap & ~HWCAP_ISA_LEVEL_MASK) >> 32n === HWCAP_EXTENSION >> 32n
    const hwcapName = isExtension ? names[Number(hwcap & 0xffffffffn)] : null
    // a subdirectory without a name cannot be active
    if (hwcapName === undefined) continue
    entries.push({ soname, path, flags, hwcapName, hwcap: isExtension ? 0n : hwcap })
  }
  return entries
}

/**
 * The names of the glibc-hwcaps subdirectories, from the extension section; empty where the section is missing or
 * damaged.
 */
function hwcapNames(bytes: Uint8Array, base: number, extension: number, format: Ordered): string[] {
  const inside = (offset: number, length: number) => offset <= bytes.length && length <= bytes.length - offset
  if (extension === 0 || extension % 4 !== 0 || !inside(extension, EXTENSION.bytes)) return []
  const { magic, count } = decode(EXTENSION, format, bytes, extension)
  if (magic !== EXTENSION_MAGIC || count > (bytes.length - extension) / SECTION.bytes) return []
  for (let index = 0; index < count; index++) {
    const section = extension + EXTENSION.bytes + index * SECTION.bytes
    if (!inside(section, SECTION.bytes)) return []
    const { tag, offset: start, size } = decode(SECTION, format, bytes, section)
    if (tag !== TAG_HWCAPS) continue
    if (start % 4 !== 0 || size % 4 !== 0 || !inside(start, size)) return []
    return Array.from({ length: size / STRING.bytes }, (_, place) => {
      const { offset } = decode(STRING, format, bytes, start + place * STRING.bytes)
      return stringAt(bytes, base + offset) ?? ''
    })
  }
  return []
}

/**
 * The path that the loader takes for a name; null where the cache has none. This is the loader's own binary search: in
 * a cache with another order it misses the same names as the loader.
 * @param activeHwcaps the glibc-hwcaps subdirectories that this processor uses, best first
 * @param legacy null: entries with hardware bits are passed over, as in glibc 2.37 and later
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

/** The best of the entries with one name: glibc-hwcaps by their priority, then the first of the preferred flags. */
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

/** The byte order in which `count` entries fit into the file: the wrong byte order gives an absurd number. */
function orderOf(
  bytes: Uint8Array,
  base: number,
  header: typeof HEADER | typeof OLD_HEADER,
  entryBytes: number,
): Ordered {
  const room = (bytes.length - base - header.bytes) / entryBytes
  return { byteOrder: getNumber(LITTLE, bytes, base, header.count) <= room ? 'little' : 'big' }
}

function assertRoom(bytes: Uint8Array, offset: number, count: number, size: number): void {
  if (count > (bytes.length - offset) / size)
    throw new ElfError('TRUNCATED', `the loader cache has no room for its ${count} entries`, offset, count)
}

/** A NUL-terminated string; null where it begins or ends outside the bytes. */
function stringAt(bytes: Uint8Array, offset: number): string | null {
  if (offset >= bytes.length) return null
  const end = bytes.indexOf(0, offset)
  return end < 0 ? null : decodeBytes(bytes.subarray(offset, end))
}

function startsWith(bytes: Uint8Array, offset: number, text: string): boolean {
  return encodeText(text).equals(bytes.subarray(offset, offset + text.length))
}

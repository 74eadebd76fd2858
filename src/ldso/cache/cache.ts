// glibc's cache (ld.so.cache), read and searched as the loader does (elf/dl-cache.c). Must not know of files or of the
// store.
import { ElfError } from '../../elf/error.ts'
import { decodeBytes, encodeText } from '../../elf/text.ts'
import type { ByteOrder } from '../../elf/types.ts'
import {
  type CacheMachine,
  ENDIAN_AT,
  ENDIAN_BIG,
  ENDIAN_LITTLE,
  ENTRY,
  EXTENSION_AT,
  EXTENSION_HEADER,
  EXTENSION_MAGIC,
  EXTENSION_SECTION,
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
  TAG_HWCAPS,
  byteString,
  cacheFlags,
  charIsUnsigned,
  compareNames,
  viewOf,
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

/**
 * @param base where the new format begins. Offsets of strings count from there, the offset of the extension from the
 * start of the file
 */
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
    // a subdirectory without a name cannot be active
    if (hwcapName === undefined) continue
    entries.push({ soname, path, flags: view.getUint32(at, little), hwcapName, hwcap: isExtension ? 0n : hwcap })
  }
  return entries
}

/**
 * The names of the glibc-hwcaps subdirectories, from the extension section; empty where the section is missing or
 * damaged.
 */
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
function orderOf(view: DataView, countAt: number, entriesAt: number, entrySize: number): ByteOrder {
  const room = (view.byteLength - entriesAt) / entrySize
  return view.getUint32(countAt, true) <= room ? 'little' : 'big'
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

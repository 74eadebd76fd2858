// Writes an ld.so.cache as ldconfig does (elf/cache.c). Must not know of files or of the store.
import { encodeText } from '../../elf/text.ts'
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
  FLAG_ELF_LIBC6,
  HEADER,
  HWCAP_EXTENSION,
  MAGIC,
  TAG_GENERATOR,
  TAG_HWCAPS,
  byteString,
  cacheFlags,
  charIsUnsigned,
  compareNames,
  viewOf,
} from './cache-format.ts'

/** One entry of a cache that is to be written. */
export interface NewCacheEntry {
  readonly soname: string
  readonly path: string
  readonly hwcapName?: string | null
}

/**
 * A cache in the format of glibc 2.33 and later (older formats do not hold the byte order and the glibc-hwcaps
 * subdirectories). The same entries in any order give the same bytes. Of two entries with the same name and
 * subdirectory the first stays: the loader would never reach the other one.
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
  // first by code units: the result is then defined even where the loader's order says that two names are equal
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

  // each string once
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

// Writes an ld.so.cache as ldconfig does (elf/cache.c). Must not know of files or of the store.
import { encode } from '../../elf/layout.ts'
import { encodeText } from '../../elf/text.ts'
import type { ByteOrder } from '../../elf/types.ts'
import {
  type CacheMachine,
  ENDIAN_BIG,
  ENDIAN_LITTLE,
  ENTRY,
  EXTENSION,
  EXTENSION_MAGIC,
  FLAG_ELF_LIBC6,
  HEADER,
  HWCAP_EXTENSION,
  MAGIC,
  SECTION,
  STRING,
  TAG_GENERATOR,
  TAG_HWCAPS,
  byteString,
  cacheFlags,
  charIsUnsigned,
  compareNames,
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
  const stringsAt = HEADER.bytes + ENTRY.bytes * sorted.length
  let end = stringsAt
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
  const hwcapsAt = extension + EXTENSION.bytes + sections * SECTION.bytes
  const generatorAt = hwcapsAt + STRING.bytes * names.length

  const bytes = new Uint8Array(generatorAt + generator.length)
  encode(HEADER, target, bytes, 0, {
    magic: encodeText(MAGIC),
    count: sorted.length,
    stringBytes: stringsEnd - stringsAt,
    flags: Buffer.from([target.byteOrder === 'little' ? ENDIAN_LITTLE : ENDIAN_BIG]),
    extension,
  })
  const flags = cacheFlags(target)[0] ?? FLAG_ELF_LIBC6
  placed.forEach(({ entry, key, value }, index) => {
    const hwcap = entry.hwcapName === null ? 0n : HWCAP_EXTENSION | BigInt(names.indexOf(entry.hwcapName))
    encode(ENTRY, target, bytes, HEADER.bytes + index * ENTRY.bytes, { flags, key, value, hwcap })
  })
  bytes.set(Buffer.concat(parts), stringsAt)
  encode(EXTENSION, target, bytes, extension, { magic: EXTENSION_MAGIC, count: sections })
  const first = extension + EXTENSION.bytes
  encode(SECTION, target, bytes, first, { tag: TAG_GENERATOR, offset: generatorAt, size: generator.length })
  if (names.length > 0) {
    const size = STRING.bytes * names.length
    encode(SECTION, target, bytes, first + SECTION.bytes, { tag: TAG_HWCAPS, offset: hwcapsAt, size })
  }
  namePlaces.forEach((offset, index) => encode(STRING, target, bytes, hwcapsAt + STRING.bytes * index, { offset }))
  bytes.set(generator, generatorAt)
  return bytes
}

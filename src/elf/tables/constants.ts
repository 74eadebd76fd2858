// The constant strings of an object: what its code names at run time, such as the libraries that it opens by name.
import { DT_STRSZ, DT_STRTAB, PF_W, PT_LOAD, SHF_ALLOC, SHF_WRITE, SHT_PROGBITS } from '../constants.ts'
import { ElfError } from '../error.ts'
import { type Extent, extentAt } from '../memory.ts'
import type { ByteSource } from '../source.ts'
import { decodeBytes } from '../text.ts'
import type { ElfObject } from '../types.ts'
import { valueOf } from './entries.ts'
import { readSectionNames, readSections, sectionNumber, type SectionTable } from './sections.ts'

/** How many bytes one read takes. */
const CHUNK = 1 << 20
/** In bytes. No string that is looked for is longer. */
const LONGEST = 256
/** Section names need less. A longer table is not read. */
const MOST_NAMES = 1 << 20

/**
 * Does the object import or define a symbol of this name? Looks for the name in the dynamic string table, where a symbol
 * version of this name would count, too. `object` needs its tables.
 * @throws ElfError `TRUNCATED` only where the file shrinks during the read
 */
export function namesSymbol(source: ByteSource, object: ElfObject, name: string): boolean {
  const [table, size] = [valueOf(object.dynamic, DT_STRTAB), valueOf(object.dynamic, DT_STRSZ)]
  const extent = table === undefined ? null : extentAt(object.programHeaders, table)
  if (extent === null || size === undefined) return false
  const length = Math.min(extent.length, Number(size))
  return findString(source, { offset: extent.offset, length }, [name], text => text === name) !== null
}

/**
 * The first constant string that starts with one of `starts` and that `test` accepts; null without one. Searches the sections
 * called .rodata. Without a section table it searches the segments that are not writable. `object` needs its program headers.
 * @throws ElfError `TRUNCATED` only where the file shrinks during the read
 */
export function findConstant(
  source: ByteSource,
  object: ElfObject,
  starts: readonly string[],
  test: (text: string) => boolean,
): string | null {
  for (const extent of constantsOf(source, object)) {
    const found = findString(source, extent, starts, test)
    if (found !== null) return found
  }
  return null
}

function constantsOf(source: ByteSource, object: ElfObject): Extent[] {
  const table = readSections(source, object.header)
  const sections = table === null ? [] : sectionsOrNone(source, table)
  if (sections.length > 0) return sections
  return object.programHeaders
    .filter(({ type, flags }) => type === PT_LOAD && (flags & PF_W) === 0)
    .map(({ offset, filesz }) => ({ offset, length: filesz }))
}

/** The sections called .rodata; none where the section table is not sound. No loader reads it. */
function sectionsOrNone(source: ByteSource, table: SectionTable): Extent[] {
  try {
    return rodataOf(source, table)
  } catch (error) {
    if (error instanceof ElfError) return []
    throw error
  }
}

function rodataOf(source: ByteSource, table: SectionTable): Extent[] {
  const names = readSectionNames(source, table, MOST_NAMES)
  if (names === null) return []
  const found: Extent[] = []
  // sections that overlap would make a small file long
  let left = source.size
  for (let index = 1; index < table.count; index++) {
    const flags = sectionNumber(table, index, 'flags') & (SHF_ALLOC | SHF_WRITE)
    if (sectionNumber(table, index, 'type') !== SHT_PROGBITS || flags !== SHF_ALLOC) continue
    const name = sectionNumber(table, index, 'name')
    if (!decodeBytes(names.subarray(name, name + '.rodata'.length)).startsWith('.rodata')) continue
    const length = Math.min(sectionNumber(table, index, 'size'), left)
    left -= length
    if (length > 0) found.push({ offset: sectionNumber(table, index, 'offset'), length })
  }
  return found
}

/** The first NUL-terminated string of a part of the file that starts with one of `starts` and that `test` accepts. */
function findString(
  source: ByteSource,
  { offset, length }: Extent,
  starts: readonly string[],
  test: (text: string) => boolean,
): string | null {
  const end = Math.min(offset + length, source.size)
  for (let at = offset; at < end; at += CHUNK) {
    // a string that the chunk cuts is found whole in the bytes before and after the cut
    const from = Math.max(at - LONGEST, offset)
    const bytes = source.read(from, Math.min(at + CHUNK, end) - from)
    const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
    for (const start of starts) {
      for (let hit = view.indexOf(start, 0, 'latin1'); hit >= 0; hit = view.indexOf(start, hit + 1, 'latin1')) {
        // the first byte of a later part is the middle of a string, or was seen with the part before
        if (hit > 0 ? view[hit - 1] !== 0 : from > offset) continue
        const stop = view.indexOf(0, hit)
        const text = stop < 0 ? '' : decodeBytes(view.subarray(hit, stop))
        if (text !== '' && test(text)) return text
      }
    }
  }
  return null
}

// Is the string table the last thing in a file? patchelf leaves libraries like that: a PT_LOAD of its own for the table, at
// the end. New strings can then go right behind the old ones. No copy is needed, and every tool still finds one table.
import { DT_STRTAB, PT_LOAD } from '../constants.ts'
import { formatOf } from '../layout.ts'
import { type Editable, findStringSection } from '../rules/refuse.ts'
import type { ByteSource } from '../source.ts'
import { endOfSection, sectionNumber } from '../tables/sections.ts'
import type { ElfObject, ProgramHeader } from '../types.ts'
import { valueOf } from '../tables/entries.ts'

/** The most zeros between the table and the end of the file. patchelf rounds up to 8 bytes, and writes one more. */
const MOST_ZEROS = 64

/**
 * The PT_LOAD that holds the string table, where only zeros follow the table: in the file, and in memory. Else null.
 */
export function loadOfLastStrings(source: ByteSource, object: ElfObject, editable: Editable): ProgramHeader | null {
  const { header, programHeaders } = object
  const { offset, length } = editable.strtab
  const end = offset + length
  if (source.size - end > MOST_ZEROS || header.phoff >= end) return null
  const load = programHeaders.find(other => other.type === PT_LOAD && isIn(other, offset, end))
  if (load === undefined || BigInt(load.filesz) !== load.memsz) return null
  const isBefore = (other: ProgramHeader): boolean =>
    other === load ||
    (other.type === PT_LOAD
      ? other.vaddr + other.memsz <= load.vaddr && other.offset + other.filesz <= load.offset
      : other.filesz === 0 || other.offset + other.filesz <= end)
  if (!programHeaders.every(isBefore) || !areSectionsBefore(object, editable, end)) return null
  return source.read(end, source.size - end).every(byte => byte === 0) ? load : null
}

function isIn({ offset, filesz }: ProgramHeader, start: number, end: number): boolean {
  return offset <= start && end <= offset + filesz
}

/** Does every section end before the string table does, and the section table too? The table must have its section. */
function areSectionsBefore(object: ElfObject, { sections, strtab }: Editable, end: number): boolean {
  if (sections === null) return true
  const { shdr } = formatOf(object.header)
  if (object.header.shoff + sections.count * shdr.bytes > end) return false
  const strings = findStringSection(sections, valueOf(object.dynamic, DT_STRTAB) ?? 0n)
  if (strings < 0 || sectionNumber(sections, strings, 'offset') !== strtab.offset) return false
  for (let index = 1; index < sections.count; index++) if (endOfSection(sections, index) > end) return false
  return true
}

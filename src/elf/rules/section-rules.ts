// The rules of strip and similar tools, which lay out a file by its sections.
import { SHF_ALLOC, SHT_NOBITS, SHT_NULL } from '../constants.ts'
import { extentAt } from '../memory.ts'
import { sectionAddress, sectionNumber, type SectionTable } from '../tables/sections.ts'
import type { ElfObject } from '../types.ts'
import type { Report } from './rules.ts'

/** Checks that each section is in the file, and where its address is mapped from. Loaders see no sections. */
export function checkSections(
  table: SectionTable | null,
  size: number,
  { programHeaders }: ElfObject,
  report: Report,
): void {
  if (table === null) return
  for (let index = 1; index < table.count; index++) {
    const type = sectionNumber(table, index, 'type')
    const offset = sectionNumber(table, index, 'offset')
    const length = sectionNumber(table, index, 'size')
    if (type === SHT_NULL || type === SHT_NOBITS) continue
    if (offset + length > size) {
      report('sections', `section ${index} ends at ${offset + length}, past the end of the file`, offset, length)
    }
    if ((sectionNumber(table, index, 'flags') & SHF_ALLOC) === 0 || length === 0) continue
    const address = sectionAddress(table, index, 'addr')
    const mapped = extentAt(programHeaders, address)
    if (mapped !== null && mapped.offset !== offset) {
      report(
        'sections',
        `section ${index} is at ${offset}, but its address 0x${address.toString(16)} is mapped from ${mapped.offset}`,
        offset,
      )
    }
  }
}

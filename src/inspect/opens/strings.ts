// The names of libraries among the strings of an object that calls dlopen. Neither sections nor symbols say which strings
// dlopen gets. So a name counts only if it is a whole string, as a C compiler stores it.
import { PF_R, PF_W, PF_X, PT_LOAD, SHF_ALLOC, SHF_EXECINSTR, SHF_WRITE, SHT_PROGBITS } from '../../elf/constants.ts'
import type { Extent } from '../../elf/memory.ts'
import type { ByteSource } from '../../elf/source.ts'
import { namesSymbol } from '../../elf/tables/constant-strings.ts'
import { readSections, sectionNumber } from '../../elf/tables/sections.ts'
import type { ElfObject } from '../../elf/types.ts'

/** The constants of an object beyond this many bytes are data, such as weights or tables. */
const LARGEST_CONSTANTS = 32 << 20
const PART = 1 << 20
/** No name of a library is longer (NAME_MAX). */
const LONGEST = 255

/** Names that dlopen may get, each once; empty for an object that does not call dlopen. */
export function namesInStrings(source: ByteSource, object: ElfObject): string[] {
  const found = new Set<string>()
  if (!namesSymbol(source, object, 'dlopen', 'dlmopen')) return []
  for (const { offset, length } of constantsOf(source, object)) {
    for (let at = offset; at < offset + length; at += PART) {
      // the parts overlap, so that a name across their border is found
      const end = Math.min(at + PART + LONGEST, offset + length)
      for (const name of sonamesIn(source.read(at, end - at), at === offset)) found.add(name)
    }
  }
  return [...found]
}

/**
 * Where constants are: sections that are mapped, read-only and not executable. Without such sections: segments of this kind.
 */
function constantsOf(source: ByteSource, { header, programHeaders }: ElfObject): Extent[] {
  const sections = readSections(source, header)
  const ranges: Extent[] = []
  let left = LARGEST_CONSTANTS
  const add = (offset: number, length: number): void => {
    const rest = Math.min(length, left)
    if (rest <= 0 || offset + rest > source.size) return
    ranges.push({ offset, length: rest })
    left -= rest
  }
  for (let index = 1; index < (sections?.count ?? 0); index++) {
    if (sections === null || sectionNumber(sections, index, 'type') !== SHT_PROGBITS) continue
    const flags = sectionNumber(sections, index, 'flags')
    if ((flags & SHF_ALLOC) === 0 || (flags & (SHF_WRITE | SHF_EXECINSTR)) !== 0) continue
    add(sectionNumber(sections, index, 'offset'), sectionNumber(sections, index, 'size'))
  }
  if (ranges.length > 0) return ranges
  for (const { type, flags, offset, filesz } of programHeaders) {
    if (type === PT_LOAD && (flags & (PF_R | PF_W | PF_X)) === PF_R) add(offset, filesz)
  }
  return ranges
}

const NAME = /(?<=\0)lib[\w+-][\w+.-]*\.so(?:\.\d+)*(?=\0)/g
/**
 * Rust stores its constants one after the other, without an end mark. There, only a name with a version is sure to be
 * whole. The limits keep the search linear.
 */
const FUSED = /lib[A-Z]?[a-z\d+_-]{1,64}[A-Z]{0,16}\d{0,8}(?:-\d{1,4}\.\d{1,4})?\.so\.\d{1,8}(?=[^\d.]|$)/g
const RUST = 'called `Result::unwrap()`'

/** @param isFirst a range of constants begins here, so its first byte begins a string */
function sonamesIn(bytes: Uint8Array, isFirst: boolean): string[] {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (!buffer.includes('.so')) return []
  const text = `${isFirst ? '\0' : ''}${buffer.toString('latin1')}`
  const found = [...text.matchAll(NAME)].map(([name]) => name)
  if (buffer.includes(RUST)) found.push(...[...text.matchAll(FUSED)].map(([name]) => name))
  return found.filter(name => name.length <= LONGEST)
}

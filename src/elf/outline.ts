// The parts of an object that decide how it is loaded, without its code and data: what a bug report may contain of a
// file.
import { PT_DYNAMIC, PT_INTERP, PT_NOTE } from './constants.ts'
import { ElfError } from './error.ts'
import { readHeaders } from './headers.ts'
import { formatOf } from './layout.ts'
import { readDynamic, readElf } from './read.ts'
import type { ByteSource } from './source.ts'
import type { ElfObject, ProgramHeader } from './types.ts'

/** A range of bytes of a file. */
interface OutlinedRange {
  readonly what: 'ELF header' | 'program headers' | 'section headers' | 'PT_INTERP' | 'PT_DYNAMIC' | 'PT_NOTE'
  readonly offset: number
  readonly bytes: Uint8Array
}

interface Outline {
  readonly size: number
  /** The ranges that can be read. */
  readonly ranges: readonly OutlinedRange[]
  /** The object, or why it cannot be read. */
  readonly object: ElfObject | ElfError
}

/** Larger than the tables of real objects; node's notes have some hundred KB. */
const MOST_BYTES = 1 << 16

/**
 * The headers and tables of an ELF file, without its code. Of a damaged file, only the readable parts are returned.
 */
export function outlineOf(source: ByteSource): Outline {
  const ranges: OutlinedRange[] = []
  const add = (what: OutlinedRange['what'], offset: number, length: number): void => {
    const end = Math.min(offset + Math.min(length, MOST_BYTES), source.size)
    if (end > offset) ranges.push({ what, offset, bytes: new Uint8Array(source.read(offset, end - offset)) })
  }
  add('ELF header', 0, 64)
  try {
    const { header, programHeaders } = readHeaders(source)
    const format = formatOf(header)
    add('program headers', header.phoff, header.phnum * format.phdr.bytes)
    add('section headers', header.shoff, header.shnum * format.shdr.bytes)
    for (const segment of programHeaders) {
      const what = NAMES.get(segment.type)
      if (what !== undefined) add(what, segment.offset, segment.filesz)
    }
    const dynamic = dynamicOf(source, header, programHeaders)
    if (dynamic !== null) add('PT_DYNAMIC', dynamic.offset, dynamic.length)
    return { size: source.size, ranges, object: readElf(source) }
  } catch (error) {
    if (!(error instanceof ElfError)) throw error
    return { size: source.size, ranges, object: error }
  }
}

const NAMES: ReadonlyMap<number, OutlinedRange['what']> = new Map([
  [PT_INTERP, 'PT_INTERP'],
  [PT_NOTE, 'PT_NOTE'],
])

/** Where the loader finds the dynamic table. */
function dynamicOf(
  source: ByteSource,
  header: ElfObject['header'],
  programHeaders: readonly ProgramHeader[],
): { readonly offset: number; readonly length: number } | null {
  if (!programHeaders.some(({ type }) => type === PT_DYNAMIC)) return null
  return readDynamic(source, header, programHeaders)?.extent ?? null
}

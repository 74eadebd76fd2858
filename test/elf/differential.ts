// Our reading of a file against readelf's, field by field; and readelf of an edited file against that of its original.
import {
  DT_AUXILIARY,
  DT_FILTER,
  DT_NEEDED,
  DT_RPATH,
  DT_RUNPATH,
  DT_SONAME,
  DT_STRSZ,
  DT_STRTAB,
  PT_DYNAMIC,
  PT_GNU_EH_FRAME,
  PT_GNU_PROPERTY,
  PT_GNU_RELRO,
  PT_GNU_STACK,
  PT_INTERP,
  PT_LOAD,
  PT_NOTE,
  PT_NULL,
  PT_PHDR,
  PT_TLS,
} from '../../src/elf/constants.ts'
import type { ElfObject } from '../../src/elf/types.ts'
import type { ReadelfFile } from './readelf.ts'

const TYPES = new Map([
  [PT_NULL, 'NULL'],
  [PT_LOAD, 'LOAD'],
  [PT_DYNAMIC, 'DYNAMIC'],
  [PT_INTERP, 'INTERP'],
  [PT_NOTE, 'NOTE'],
  [PT_PHDR, 'PHDR'],
  [PT_TLS, 'TLS'],
  [PT_GNU_EH_FRAME, 'GNU_EH_FRAME'],
  [PT_GNU_STACK, 'GNU_STACK'],
  [PT_GNU_RELRO, 'GNU_RELRO'],
  [PT_GNU_PROPERTY, 'GNU_PROPERTY'],
])

const shown = (value: unknown): string =>
  JSON.stringify(value, (_, item: unknown) => (typeof item === 'bigint' ? `0x${item.toString(16)}` : item))

/** The differences, as sentences; none where both say the same. */
export function differences(ours: ElfObject, theirs: ReadelfFile): string[] {
  const found: string[] = []
  const compare = (what: string, a: unknown, b: unknown): void => {
    if (shown(a) !== shown(b)) found.push(`${what}: ${shown(a)} here, ${shown(b)} in readelf`)
  }
  const { header } = ours
  for (const field of [
    'class',
    'byteOrder',
    'entry',
    'phoff',
    'shoff',
    'flags',
    'phnum',
    'shnum',
    'shstrndx',
  ] as const) {
    compare(field, header[field], theirs.header[field])
  }
  compare('program headers', ours.programHeaders.length, theirs.segments.length)
  for (const [index, segment] of theirs.segments.entries()) {
    const own = ours.programHeaders[index]
    if (own === undefined) continue
    const { type, flags, ...rest } = own
    const name = TYPES.get(type)
    if (name !== undefined) compare(`p_type ${index}`, name, segment.type)
    const letters = [(flags & 4) !== 0 ? 'R' : '', (flags & 2) !== 0 ? 'W' : '', (flags & 1) !== 0 ? 'X' : ''].join('')
    compare(`segment ${index}`, { ...rest, flags: letters }, sorted(segment))
  }
  compare('interpreter', ours.ptInterp, theirs.interpreter)

  // readelf shows the closing DT_NULL too, and those behind it
  const dynamic = theirs.dynamic.slice(0, ours.dynamic?.length ?? 0)
  compare(
    'dynamic tags',
    ours.dynamic?.map(({ tag }) => BigInt(tag)) ?? [],
    dynamic.map(({ tag }) => tag),
  )
  const texts = (tag: number): string[] =>
    dynamic.filter(entry => entry.tag === BigInt(tag)).map(({ text }) => /\[(.*)\]$/s.exec(text)?.[1] ?? text)
  compare('needed', ours.needed, texts(DT_NEEDED))
  compare('soname', ours.soname ?? undefined, texts(DT_SONAME).at(-1))
  compare('rpath', ours.rpath ?? undefined, texts(DT_RPATH).at(-1))
  compare('runpath', ours.runpath ?? undefined, texts(DT_RUNPATH).at(-1))
  compare('filters', ours.filters, texts(DT_FILTER))
  compare('auxiliaries', ours.auxiliaries, texts(DT_AUXILIARY))
  for (const tag of [DT_STRTAB, DT_STRSZ]) {
    const text = dynamic.find(entry => entry.tag === BigInt(tag))?.text.replace(' (bytes)', '')
    if (text !== undefined)
      compare(`value of ${tag}`, ours.dynamic?.find(entry => entry.tag === tag)?.value, BigInt(text))
  }
  compare(
    'version needs',
    ours.versionNeeds.map(({ file, versions }) => ({ file, versions: versions.map(({ name }) => name) })),
    theirs.versionNeeds,
  )
  compare('version definitions', ours.versionDefinitions, theirs.versionDefinitions)
  return found
}

/** The same fields in the same order as a program header of ours. */
function sorted({ offset, vaddr, paddr, filesz, memsz, align, flags }: ReadelfFile['segments'][number]) {
  return { offset, vaddr, paddr, filesz, memsz, align, flags }
}

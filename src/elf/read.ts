// Reads an object as the loader sees it: header, program headers, dynamic table and the tables that it names. Only
// those bytes are read. Each range is checked before it is read, and every loop is bounded. So any file at all gives an
// object or an ElfError, in little time and memory.
import {
  DT_AUXILIARY,
  DT_FILTER,
  DT_FLAGS_1,
  DT_NEEDED,
  DT_NULL,
  DT_RPATH,
  DT_RUNPATH,
  DT_SONAME,
  DT_STRTAB,
  DT_VERDEF,
  DT_VERNEED,
  PF_R,
  PF_W,
  PT_DYNAMIC,
  PT_INTERP,
  SHT_DYNAMIC,
  VER_FLG_BASE,
  VER_FLG_WEAK,
} from './constants.ts'
import { ElfError } from './error.ts'
import { type Headers, readHeaders } from './headers.ts'
import { type Extent, extentAt, isMappable, readStringAt, readStringBytes } from './memory.ts'
import { formatOf, getAddress } from './layout.ts'
import { findSection, readSections, sectionAddress, sectionNumber } from './tables/sections.ts'
import { type ByteSource, emptyWindow, locate } from './source.ts'
import { decodeBytes, SHORT, shortTextAt } from './text.ts'
import { valueOf } from './tables/entries.ts'
import type { DynamicEntry, ElfHeader, ElfObject, ProgramHeader, VersionNeed } from './types.ts'
import { readVersionDefinitions, readVersionNeeds } from './tables/symbol-versions.ts'

export { isElf } from './headers.ts'

/** The largest real objects have some hundred entries. */
const MOST_DYNAMIC_ENTRIES = 1 << 16

/**
 * Reads one object. Finds its strings through DT_STRTAB and the PT_LOADs, so the section table may be stripped.
 * @param headers the headers of the file, where the caller has read them already
 * @throws ElfError
 */
export function readElf(source: ByteSource, headers: Headers = readHeaders(source)): ElfObject {
  return readFields(source, headers)
}

/** The search paths alone, for an object whose libraries nobody asks for. @throws ElfError */
export function readSearchPaths(source: ByteSource): Pick<ElfObject, 'rpath' | 'runpath'> {
  const { header, programHeaders } = readHeaders(source)
  const dynamic = readDynamic(source, header, programHeaders)?.entries ?? null
  const strings = stringReader(source, programHeaders, dynamic)
  const one = (tag: number): string | null => {
    const value = valueOf(dynamic, tag)
    return value === undefined ? null : strings(value)
  }
  return { rpath: one(DT_RPATH), runpath: one(DT_RUNPATH) }
}

/**
 * As `readElf`, but also for an object whose dynamic table is named by a section and by no program header. The result
 * is the object with such a program header. patchelf goes by sections; a loader sees the table only after a graft has
 * added the header.
 * @param headers the headers of the file, where the caller has read them already
 * @throws ElfError
 */
export function readBySections(source: ByteSource, headers: Headers = readHeaders(source)): ElfObject {
  let { programHeaders } = headers
  try {
    programHeaders = withDynamicSegment(source, headers)
  } catch (error) {
    // sections that cannot be read name no table
    if (!(error instanceof ElfError)) throw error
  }
  return readFields(source, { ...headers, programHeaders })
}

function withDynamicSegment(source: ByteSource, { header, programHeaders }: Headers): readonly ProgramHeader[] {
  if (programHeaders.some(({ type, filesz }) => type === PT_DYNAMIC && filesz > 0)) return programHeaders
  const sections = readSections(source, header)
  const index =
    sections === null ? -1 : findSection(sections, at => sectionNumber(sections, at, 'type') === SHT_DYNAMIC)
  if (sections === null || index < 0) return programHeaders
  const offset = sectionNumber(sections, index, 'offset')
  const vaddr = sectionAddress(sections, index, 'addr')
  const filesz = sectionNumber(sections, index, 'size')
  const mapped = extentAt(programHeaders, vaddr)
  if (mapped === null || mapped.offset !== offset || mapped.length < filesz) return programHeaders
  const segment = {
    type: PT_DYNAMIC,
    flags: PF_R | PF_W,
    offset,
    vaddr,
    paddr: vaddr,
    filesz,
    memsz: BigInt(filesz),
    align: BigInt(header.class / 8),
  }
  // the other program headers keep their numbers
  const empty = programHeaders.findIndex(({ type }) => type === PT_DYNAMIC)
  return empty < 0 ? [...programHeaders, segment] : programHeaders.with(empty, segment)
}

function readFields(source: ByteSource, { header, programHeaders }: Headers): ElfObject {
  const dynamic = readDynamic(source, header, programHeaders)?.entries ?? null
  const strings = stringReader(source, programHeaders, dynamic)
  const needed: string[] = []
  const filters: string[] = []
  const auxiliaries: string[] = []
  // of every other tag the loader takes the last entry
  let soname: bigint | undefined
  let rpath: bigint | undefined
  let runpath: bigint | undefined
  let flags1 = 0n
  let verneed: bigint | undefined
  let verdef: bigint | undefined
  for (const { tag, value } of dynamic ?? []) {
    if (tag === DT_NEEDED) needed.push(strings(value))
    else if (tag === DT_SONAME) soname = value
    else if (tag === DT_RPATH) rpath = value
    else if (tag === DT_RUNPATH) runpath = value
    else if (tag === DT_FLAGS_1) flags1 = value
    else if (tag === DT_VERNEED) verneed = value
    else if (tag === DT_VERDEF) verdef = value
    else if (tag === DT_FILTER) filters.push(strings(value))
    else if (tag === DT_AUXILIARY) auxiliaries.push(strings(value))
  }
  const one = (value: bigint | undefined): string | null => (value === undefined ? null : strings(value))
  const definitions = readVersionDefinitions(source, header, programHeaders, verdef)
  const base = definitions.find(({ flags }) => (flags & VER_FLG_BASE) !== 0)

  return {
    header,
    programHeaders,
    dynamic,
    ptInterp: readInterpreter(source, programHeaders),
    soname: one(soname),
    needed,
    rpath: one(rpath),
    runpath: one(runpath),
    flags1,
    filters,
    auxiliaries,
    versionNeeds: readVersionNeeds(source, header, programHeaders, verneed).map((need): VersionNeed => ({
      file: strings(need.file),
      versions: need.versions.map(({ name, flags }) => versionNamed(strings(name), (flags & VER_FLG_WEAK) !== 0)),
    })),
    versionDefinitions:
      definitions.length === 0
        ? NONE
        : definitions.filter(({ flags }) => (flags & VER_FLG_BASE) === 0).map(({ name }) => strings(name)),
    isMappable: isMappable(programHeaders),
    baseVersion: base === undefined ? null : strings(base.name),
  }
}

const NONE: readonly never[] = []

type NeededVersion = VersionNeed['versions'][number]

/** The versions that objects needed so far, by name. The objects of a venv share nearly all of them. */
const strong = new Map<string, NeededVersion>()
const MOST_STRONG = 1 << 12

function versionNamed(name: string, weak: boolean): NeededVersion {
  const known = weak ? undefined : strong.get(name)
  if (known !== undefined) return known
  const version = { name, weak }
  if (!weak && strong.size < MOST_STRONG) strong.set(name, version)
  return version
}

/**
 * The same object without its tables, with only what the search for libraries needs. A venv has thousands of objects,
 * and the tables are most of their memory. If the object has a dynamic table, an empty one stays. In an object with
 * filters it holds the entries that name other objects, because their order counts.
 */
export function withoutTables(object: ElfObject): ElfObject {
  const isFilter = object.filters.length > 0 || object.auxiliaries.length > 0
  const dynamic = isFilter ? (object.dynamic ?? []).filter(({ tag }) => NAMES_OBJECTS.has(tag)) : []
  return withFields(object, { programHeaders: [], dynamic: object.dynamic === null ? null : dynamic })
}

type Changed = Partial<Pick<ElfObject, 'programHeaders' | 'dynamic' | 'ptInterp' | 'needed' | 'rpath' | 'runpath'>>

/**
 * The object with other values in some fields. It has the fields of `readFields` in their order, which a spread does not
 * keep: V8 then takes both for one kind, and compiles the simulation of the loader once instead of four times.
 */
export function withFields(object: ElfObject, fields: Changed): ElfObject {
  const { programHeaders, dynamic, ptInterp, needed, rpath, runpath } = fields
  return {
    header: object.header,
    programHeaders: programHeaders ?? object.programHeaders,
    dynamic: dynamic === undefined ? object.dynamic : dynamic,
    ptInterp: ptInterp === undefined ? object.ptInterp : ptInterp,
    soname: object.soname,
    needed: needed ?? object.needed,
    rpath: rpath === undefined ? object.rpath : rpath,
    runpath: runpath === undefined ? object.runpath : runpath,
    flags1: object.flags1,
    filters: object.filters,
    auxiliaries: object.auxiliaries,
    versionNeeds: object.versionNeeds,
    versionDefinitions: object.versionDefinitions,
    isMappable: object.isMappable,
    baseVersion: object.baseVersion,
  }
}

const NAMES_OBJECTS: ReadonlySet<number> = new Set([DT_NEEDED, DT_FILTER, DT_AUXILIARY])

/**
 * The dynamic table up to DT_NULL, and where it is in the file. The loader finds it by address. If no PT_LOAD has that
 * address, the file offset is used, as readelf does, so that the table can at least be shown.
 */
export function readDynamic(
  source: ByteSource,
  header: ElfHeader,
  programHeaders: readonly ProgramHeader[],
): { entries: DynamicEntry[]; extent: Extent } | null {
  const segment = programHeaders.findLast(({ type }) => type === PT_DYNAMIC)
  if (segment === undefined || segment.filesz === 0) return null
  const format = formatOf(header)
  const mapped = extentAt(programHeaders, segment.vaddr)
  const extent = { offset: mapped?.offset ?? segment.offset, length: segment.filesz }
  const entries: DynamicEntry[] = []
  const step = format.dyn.bytes
  // the loader reads on to DT_NULL, whatever p_filesz says
  const most = Math.floor((mapped?.length ?? extent.length) / step)
  for (let index = 0; index < most;) {
    const count = Math.min(most - index, 64, Math.floor((source.size - extent.offset) / step) - index)
    const bytes = source.read(extent.offset + index * step, Math.max(count, 1) * step)
    for (let at = 0; at < bytes.length; at += step, index++) {
      const tag = Number(getAddress(format, bytes, at, format.dyn.tag))
      if (tag === DT_NULL) return { entries, extent }
      if (entries.length === MOST_DYNAMIC_ENTRIES) {
        throw new ElfError('UNSUPPORTED', `more than ${MOST_DYNAMIC_ENTRIES} dynamic entries`, extent.offset)
      }
      entries.push({ tag, value: getAddress(format, bytes, at, format.dyn.value) })
    }
  }
  return { entries, extent }
}

/** Makes a reader of strings by their offset from DT_STRTAB. DT_STRSZ does not limit them, because no loader checks it. */
export function stringReader(
  source: ByteSource,
  programHeaders: readonly ProgramHeader[],
  dynamic: readonly DynamicEntry[] | null,
): (offset: bigint) => string {
  const table = valueOf(dynamic, DT_STRTAB)
  const extent = table === undefined ? null : extentAt(programHeaders, table)
  const window = emptyWindow()
  return offset => {
    if (table === undefined) throw new ElfError('MALFORMED', 'the dynamic table names strings, but no DT_STRTAB')
    const into = Number(offset)
    if (extent !== null && into < extent.length) {
      const at = locate(source, window, extent.offset + into, 1)
      // a NUL behind the end of the mapping ends no string
      const text = into + SHORT <= extent.length ? shortTextAt(window.bytes, at) : null
      if (text !== null) return text
      const rest = { offset: extent.offset + into, length: extent.length - into }
      return decodeBytes(readStringBytes(source, rest))
    }
    return readStringAt(source, programHeaders, BigInt.asUintN(64, table + offset), 'a string')
  }
}

function readInterpreter(source: ByteSource, programHeaders: readonly ProgramHeader[]): string | null {
  // the kernel takes the first one, by its file offset (binfmt_elf.c)
  const segment = programHeaders.find(({ type }) => type === PT_INTERP)
  if (segment === undefined) return null
  return decodeBytes(readStringBytes(source, { offset: segment.offset, length: segment.filesz }))
}

// Reads an object as the loader sees it: header, program headers, dynamic table and what hangs on it. Only those bytes
// are read, each range is checked before it is read, and every walk is bounded, so that any file at all gives an object
// or an ElfError, in little time and memory.
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
  PT_DYNAMIC,
  PT_INTERP,
  VER_FLG_BASE,
  VER_FLG_WEAK,
} from './constants.ts'
import { ElfError } from './error.ts'
import { readHeaders } from './headers.ts'
import { type Extent, extentAt, mustBeAt, readStringAt, readStringBytes } from './image.ts'
import { type Format, formatOf, getAddress, getNumber } from './layout.ts'
import type { ByteSource } from './source.ts'
import { decodeBytes } from './text.ts'
import type { DynamicEntry, ElfHeader, ElfObject, ProgramHeader, VersionNeed } from './types.ts'

export { isElf } from './headers.ts'

/** Bounds on the walks. The largest real objects have some hundred entries and some thousand versions. */
const MOST_DYNAMIC_ENTRIES = 1 << 16
const MOST_VERSIONS = 1 << 16

/**
 * Reads one object. Its strings are found through DT_STRTAB and the PT_LOADs, so a stripped section table is no matter.
 * @throws ElfError
 */
export function readElf(source: ByteSource): ElfObject {
  const { header, programHeaders } = readHeaders(source)
  const dynamic = readDynamic(source, header, programHeaders)?.entries ?? null
  const strings = stringReader(source, programHeaders, dynamic ?? [])
  const last = (tag: number): DynamicEntry | undefined => dynamic?.findLast(entry => entry.tag === tag)
  const one = (tag: number): string | null => {
    const entry = last(tag)
    return entry === undefined ? null : strings(entry.value)
  }
  const all = (tag: number): string[] =>
    (dynamic ?? []).filter(entry => entry.tag === tag).map(entry => strings(entry.value))

  return {
    header,
    programHeaders,
    dynamic,
    interpreter: readInterpreter(source, programHeaders),
    soname: one(DT_SONAME),
    needed: all(DT_NEEDED),
    rpath: one(DT_RPATH),
    runpath: one(DT_RUNPATH),
    flags1: last(DT_FLAGS_1)?.value ?? 0n,
    filters: all(DT_FILTER),
    auxiliaries: all(DT_AUXILIARY),
    versionNeeds: readVersionNeeds(source, header, programHeaders, last(DT_VERNEED)?.value).map(
      (need): VersionNeed => ({
        file: strings(need.file),
        versions: need.versions.map(({ name, flags }) => ({
          name: strings(name),
          weak: (flags & VER_FLG_WEAK) !== 0,
        })),
      }),
    ),
    versionDefinitions: readVersionDefinitions(source, header, programHeaders, last(DT_VERDEF)?.value).map(strings),
  }
}

/**
 * The dynamic table up to DT_NULL and where it stands in the file. The loader finds it by address; where no PT_LOAD has
 * that address its file offset is taken, as readelf does, so that at least it can be shown.
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
  // without the last DT_NULL the loader would run on, to the end of the PT_LOAD; no linker makes such a file
  const extent = { offset: mapped?.offset ?? segment.offset, length: segment.filesz }
  const entries: DynamicEntry[] = []
  const step = format.dyn.bytes
  const most = Math.floor(extent.length / step)
  for (let index = 0; index < most;) {
    const count = Math.min(most - index, 64, Math.floor((source.size - extent.offset) / step) - index)
    const bytes = source.read(extent.offset + index * step, Math.max(count, 1) * step)
    for (let at = 0; at < bytes.length; at += step, index++) {
      const tag = getAddress(format, bytes, at, format.dyn.tag)
      if (tag === BigInt(DT_NULL)) return { entries, extent }
      if (entries.length === MOST_DYNAMIC_ENTRIES) {
        throw new ElfError('UNSUPPORTED', `more than ${MOST_DYNAMIC_ENTRIES} dynamic entries`, extent.offset)
      }
      entries.push({ tag: Number(tag), value: getAddress(format, bytes, at, format.dyn.value) })
    }
  }
  return { entries, extent }
}

/** A reader of strings by their offset from DT_STRTAB. DT_STRSZ is no bound: no loader heeds it. */
function stringReader(
  source: ByteSource,
  programHeaders: readonly ProgramHeader[],
  dynamic: readonly DynamicEntry[],
): (offset: bigint) => string {
  const table = dynamic.findLast(({ tag }) => tag === DT_STRTAB)?.value
  return offset => {
    if (table === undefined) throw new ElfError('MALFORMED', 'the dynamic table names strings, but no DT_STRTAB')
    return readStringAt(source, programHeaders, BigInt.asUintN(64, table + offset), 'a string')
  }
}

function readInterpreter(source: ByteSource, programHeaders: readonly ProgramHeader[]): string | null {
  // the kernel takes the first one, by its file offset (binfmt_elf.c)
  const segment = programHeaders.find(({ type }) => type === PT_INTERP)
  if (segment === undefined) return null
  return decodeBytes(readStringBytes(source, { offset: segment.offset, length: segment.filesz }))
}

/** A verneed record with its string offsets, before the strings are looked up. */
export interface RawVersionNeed {
  /** File offset of the record. */
  readonly at: number
  readonly file: bigint
  readonly versions: readonly { readonly name: bigint; readonly flags: number; readonly at: number }[]
}

/**
 * The chain of DT_VERNEED. Steps lead forward only (vn_next and vna_next are unsigned) and their number is bounded, so
 * that records that overlap or repeat end too.
 */
export function readVersionNeeds(
  source: ByteSource,
  header: ElfHeader,
  programHeaders: readonly ProgramHeader[],
  address: bigint | undefined,
): RawVersionNeed[] {
  if (address === undefined) return []
  const format = formatOf(header)
  const { verneed, vernaux } = format
  const needs: RawVersionNeed[] = []
  let budget = MOST_VERSIONS
  walk(source, format, mustBeAt(programHeaders, address, 'DT_VERNEED'), verneed, (bytes, extent) => {
    const versions: { name: bigint; flags: number; at: number }[] = []
    const first = getNumber(format, bytes, 0, verneed.aux)
    if (first !== 0 && getNumber(format, bytes, 0, verneed.cnt) !== 0) {
      walk(source, format, advance(extent, first, 'vn_aux'), vernaux, (aux, { offset }) => {
        if (budget-- === 0) throw new ElfError('MALFORMED', `more than ${MOST_VERSIONS} needed versions`, offset)
        versions.push({
          name: getAddress(format, aux, 0, vernaux.name),
          flags: getNumber(format, aux, 0, vernaux.flags),
          at: offset,
        })
      })
    }
    if (budget-- === 0) throw new ElfError('MALFORMED', `more than ${MOST_VERSIONS} needed versions`, extent.offset)
    needs.push({ at: extent.offset, file: getAddress(format, bytes, 0, verneed.file), versions })
  })
  return needs
}

/** String offsets of the versions that DT_VERDEF defines, the one for the object itself left out. */
function readVersionDefinitions(
  source: ByteSource,
  header: ElfHeader,
  programHeaders: readonly ProgramHeader[],
  address: bigint | undefined,
): bigint[] {
  if (address === undefined) return []
  const format = formatOf(header)
  const { verdef, verdaux } = format
  const names: bigint[] = []
  let budget = MOST_VERSIONS
  walk(source, format, mustBeAt(programHeaders, address, 'DT_VERDEF'), verdef, (bytes, extent) => {
    if (budget-- === 0) throw new ElfError('MALFORMED', `more than ${MOST_VERSIONS} versions`, extent.offset)
    if ((getNumber(format, bytes, 0, verdef.flags) & VER_FLG_BASE) !== 0) return
    const aux = advance(extent, getNumber(format, bytes, 0, verdef.aux), 'vd_aux')
    names.push(getAddress(format, source.read(aux.offset, verdaux.bytes), 0, verdaux.name))
  })
  return names
}

/** Visits the records of a chain whose `next` is the distance to the following one, 0 in the last. */
function walk(
  source: ByteSource,
  format: Format,
  start: Extent,
  record: { readonly bytes: number; readonly next: { readonly at: number; readonly width: 2 | 4 | 8 } },
  visit: (bytes: Uint8Array, extent: Extent) => void,
): void {
  for (let extent = start; ;) {
    const bytes = source.read(extent.offset, record.bytes)
    const next = getNumber(format, bytes, 0, record.next)
    visit(bytes, extent)
    if (next === 0) return
    extent = advance(extent, next, 'the next version')
  }
}

function advance(extent: Extent, by: number, what: string): Extent {
  if (by < extent.length) return { offset: extent.offset + by, length: extent.length - by }
  throw new ElfError('MALFORMED', `${what} lies ${by} bytes on, outside its segment`, extent.offset, by)
}

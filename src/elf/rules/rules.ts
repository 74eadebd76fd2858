// The rules of everything that loads an object: glibc, musl, the kernel and qemu-user. One function checks each part of
// the object. Each rule has a name; src/elf/README.md lists the rules with their sources.
import {
  DT_FINI_ARRAY,
  DT_FINI_ARRAYSZ,
  DT_GNU_HASH,
  DT_HASH,
  DT_INIT_ARRAY,
  DT_INIT_ARRAYSZ,
  DT_JMPREL,
  DT_PLTRELSZ,
  DT_REL,
  DT_RELA,
  DT_RELASZ,
  DT_RELR,
  DT_RELRSZ,
  DT_RELSZ,
  DT_STRSZ,
  DT_STRTAB,
  DT_SYMTAB,
  DT_VERDEF,
  DT_VERDEFNUM,
  DT_VERNEED,
  DT_VERNEEDNUM,
  DT_VERSYM,
  ET_DYN,
  ET_EXEC,
  PF_W,
  PT_DYNAMIC,
  PT_GNU_PROPERTY,
  PT_GNU_RELRO,
  PT_INTERP,
  PT_LOAD,
  PT_NOTE,
  PT_PHDR,
  PT_TLS,
} from '../constants.ts'
import { extentAt } from '../memory.ts'
import { decode, formatOf } from '../layout.ts'
import { addressLimit, pageSize, SMALLEST_PAGE } from '../machine.ts'
import type { ByteSource } from '../source.ts'
import { hashOfName } from '../tables/symbols.ts'
import { zeroedTable } from './table-lookup.ts'
import type { ElfObject, ProgramHeader } from '../types.ts'
import { isExecutable } from '../kind.ts'
import { stringReader } from '../read.ts'
import { valueOf } from '../tables/entries.ts'
import { readVersionDefinitions, readVersionNeeds } from '../tables/symbol-versions.ts'

/** A rule that an object breaks. */
export interface Violation {
  /** The rule's name, as README.md lists it. */
  readonly rule: string
  /** What is wrong, with the numbers. */
  readonly message: string
  /** File offset in bytes of the wrong field, where there is one. */
  readonly offset?: number
  /** The value found. */
  readonly value?: bigint | number
}

/** Called for each violation. */
export type Report = (rule: string, message: string, offset?: number, value?: bigint | number) => void

const hex = (value: bigint | number): string => `0x${value.toString(16)}`

/**
 * What every PT_LOAD must be (glibc dl-load.c and dl-map-segments.h; the kernel's binfmt_elf.c).
 * @param size of the file, in bytes
 * @param page the largest page, in bytes, that the file is meant for
 */
export function checkLoads(
  size: number,
  { header, programHeaders }: ElfObject,
  report: Report,
  page = pageSize(header.machine),
): void {
  if (header.type !== ET_EXEC && header.type !== ET_DYN) return
  const loads = programHeaders.filter(({ type }) => type === PT_LOAD)
  if (loads.length === 0) report('load-present', 'there is no PT_LOAD')
  let end = 0n
  let before: ProgramHeader | null = null
  for (const load of loads) {
    const { vaddr, offset, filesz, memsz, align } = load
    const name = `the PT_LOAD at ${hex(vaddr)}`
    // glibc before 2.36 reports this; later versions map the file and die of SIGBUS
    if (offset + filesz > size) {
      report('load-in-file', `${name} ends at ${offset + filesz}, past the end of the file`, offset, filesz)
    }
    if (BigInt(filesz) > memsz) report('load-sizes', `${name} has p_filesz above p_memsz`, offset, memsz)
    if (vaddr < end)
      report('load-order', `${name} overlaps the one before it or comes after a higher one`, offset, vaddr)
    if ((align & (align - 1n)) !== 0n)
      report('load-align', `${name} has p_align ${align}, which is not a power of two`, offset, align)
    // glibc before 2.35 demands this for p_align, and every loader for its own page size
    else if (align > 1n && (vaddr - BigInt(offset)) % align !== 0n) {
      report('load-align', `${name}: address and offset ${offset} differ modulo p_align ${hex(align)}`, offset, align)
    }
    if ((vaddr - BigInt(offset)) % BigInt(page) !== 0n) {
      report('load-page', `${name} cannot be mapped where pages have ${page} bytes`, offset, vaddr)
    }
    if (before !== null && sharesPage(before, load)) {
      report('load-apart', `${name} begins in the page in which the one before it ends`, offset, vaddr)
    }
    before = load
    end = vaddr + memsz
  }
  if (end > addressLimit(header)) report('address-space', `the last PT_LOAD ends at ${hex(end)}`, undefined, end)
}

/**
 * Does a PT_LOAD begin in the page in which the one before it ends, while the two want different bytes there? The later
 * one is mapped over the earlier one (dl-map-segments.h; binfmt_elf.c).
 */
function sharesPage(before: ProgramHeader, { vaddr, offset }: ProgramHeader): boolean {
  const page = BigInt(SMALLEST_PAGE)
  const end = before.vaddr + before.memsz
  if (before.memsz === 0n || vaddr < end || vaddr / page > (end - 1n) / page) return false
  return before.memsz > BigInt(before.filesz) || before.vaddr - BigInt(before.offset) !== vaddr - BigInt(offset)
}

/** Checks the program header table itself: its size, and that it is where the kernel tells an executable it is. */
export function checkProgramHeaders(object: ElfObject, report: Report): void {
  const { header, programHeaders } = object
  const format = formatOf(header)
  const length = programHeaders.length * format.phdr.bytes
  const first = programHeaders.find(({ type }) => type === PT_LOAD)
  const phdr = programHeaders.find(({ type }) => type === PT_PHDR)
  // the kernel only needs the start of the table (binfmt_elf.c), glibc whole pages (dl-map-segments.h)
  const holder = programHeaders.find(
    ({ type, offset, filesz }) =>
      type === PT_LOAD &&
      offset <= header.phoff &&
      header.phoff < offset + filesz &&
      header.phoff + length <= Math.ceil((offset + filesz) / SMALLEST_PAGE) * SMALLEST_PAGE,
  )
  const address = holder === undefined ? undefined : holder.vaddr + BigInt(header.phoff - holder.offset)
  if (phdr !== undefined && address === undefined) {
    report('phdr-mapped', 'PT_PHDR is there, but no PT_LOAD holds the table', phdr.offset, phdr.vaddr)
  } else if (phdr !== undefined && phdr.vaddr !== address) {
    const wanted = hex(address ?? 0n)
    report(
      'phdr-address',
      `PT_PHDR says ${hex(phdr.vaddr)}, but the table is mapped at ${wanted}`,
      phdr.offset,
      phdr.vaddr,
    )
  }
  const firstLoad = programHeaders.findIndex(({ type }) => type === PT_LOAD)
  if (firstLoad >= 0 && programHeaders.findIndex(({ type }) => type === PT_PHDR) > firstLoad) {
    report('phdr-first', 'PT_PHDR comes after a PT_LOAD', header.phoff)
  }
  if (!isExecutable(object) || first === undefined) return
  // binfmt_elf.c reads at most 64 KiB
  if (length > 0x10000)
    report('phdr-size', `an executable's program headers take ${length} bytes`, header.phoff, length)
  if (address === undefined) report('at-phdr', 'no PT_LOAD of the executable holds its program headers', header.phoff)
  // kernels before 5.18 and qemu-user compute AT_PHDR from the first PT_LOAD
  else if (address - BigInt(header.phoff) !== first.vaddr - BigInt(first.offset)) {
    const told = first.vaddr - BigInt(first.offset) + BigInt(header.phoff)
    report(
      'at-phdr',
      `Linux before 5.18 looks for the program headers at ${hex(told)}, not ${hex(address)}`,
      header.phoff,
    )
  }
}

/** Checks that glibc does not zero the table that it finds: table-lookup.ts. */
export function checkTableLookup(object: ElfObject, report: Report, page?: number): void {
  const zeroed = zeroedTable(object, page)
  if (zeroed === null) return
  const { load } = zeroed
  report(
    'phdr-zeroed',
    `where pages have ${zeroed.page} bytes glibc finds the program headers in the last page of the PT_LOAD at ` +
      `${hex(load.vaddr)} and zeroes them with its .bss: no exception can cross the object`,
    object.header.phoff,
    load.vaddr,
  )
}

/** The path has 2 to 4096 bytes with its NUL (binfmt_elf.c), and rtld.c reads it in memory. */
export function checkInterpreter(source: ByteSource, { programHeaders }: ElfObject, report: Report): void {
  const segment = programHeaders.find(({ type }) => type === PT_INTERP)
  if (segment === undefined) return
  const { offset, filesz, vaddr } = segment
  if (filesz < 2 || filesz > 4096)
    report('interpreter', `PT_INTERP has a size of ${filesz}, not of 2 to 4096 bytes`, offset, filesz)
  else if (source.read(offset + filesz - 1, 1)[0] !== 0) {
    report('interpreter', 'PT_INTERP does not end with its NUL', offset + filesz - 1)
  }
  if (extentAt(programHeaders, vaddr)?.offset !== offset) {
    report('interpreter', `PT_INTERP's offset ${offset} is not mapped at its address`, offset, vaddr)
  }
}

/** A segment that describes a part of a PT_LOAD must lie in one, with the same distance between address and offset. */
export function checkSegments(size: number, { programHeaders }: ElfObject, report: Report): void {
  const names: readonly (readonly [number, string])[] = [
    [PT_DYNAMIC, 'PT_DYNAMIC'],
    [PT_NOTE, 'PT_NOTE'],
    [PT_GNU_PROPERTY, 'PT_GNU_PROPERTY'],
    [PT_TLS, 'PT_TLS'],
    [PT_GNU_RELRO, 'PT_GNU_RELRO'],
  ]
  for (const { type, offset, vaddr, filesz, align } of programHeaders) {
    const name = names.find(([number]) => number === type)?.[1]
    if (name === undefined || filesz === 0) continue
    if (offset + filesz > size) {
      report('segment-in-file', `${name} ends at ${offset + filesz}, past the end of the file`, offset, filesz)
      continue
    }
    const extent = extentAt(programHeaders, vaddr)
    if (extent === null) {
      // a few programs have notes that are not meant for memory
      if (type !== PT_NOTE || vaddr !== 0n)
        report('segment-mapped', `${name} at ${hex(vaddr)} is in no PT_LOAD`, offset, vaddr)
    } else if (extent.offset !== offset) {
      report(
        'segment-mapped',
        `${name} is at ${offset} in the file, but its address is mapped from ${extent.offset}`,
        offset,
        vaddr,
      )
    } else if (extent.length < filesz && type !== PT_GNU_RELRO) {
      // PT_GNU_RELRO may go on to the end of a page, or over several PT_LOADs
      report('segment-mapped', `${name} reaches beyond its PT_LOAD`, offset, filesz)
    }
    if (type === PT_GNU_PROPERTY && align > 1n && vaddr % align !== 0n) {
      report('property-align', `PT_GNU_PROPERTY is not aligned to ${align}`, offset, vaddr)
    }
  }
}

/** Tables that the dynamic entries name: tag of the address, tag of the size (0: none), name. */
const TABLES: readonly (readonly [address: number, size: number, name: string])[] = [
  [DT_STRTAB, DT_STRSZ, 'DT_STRTAB'],
  [DT_SYMTAB, 0, 'DT_SYMTAB'],
  [DT_HASH, 0, 'DT_HASH'],
  [DT_GNU_HASH, 0, 'DT_GNU_HASH'],
  [DT_VERSYM, 0, 'DT_VERSYM'],
  [DT_VERNEED, 0, 'DT_VERNEED'],
  [DT_VERDEF, 0, 'DT_VERDEF'],
  [DT_REL, DT_RELSZ, 'DT_REL'],
  [DT_RELA, DT_RELASZ, 'DT_RELA'],
  [DT_RELR, DT_RELRSZ, 'DT_RELR'],
  [DT_JMPREL, DT_PLTRELSZ, 'DT_JMPREL'],
  [DT_INIT_ARRAY, DT_INIT_ARRAYSZ, 'DT_INIT_ARRAY'],
  [DT_FINI_ARRAY, DT_FINI_ARRAYSZ, 'DT_FINI_ARRAY'],
]

/** The rules for PT_DYNAMIC and for the tables that its entries name (gABI, Dynamic Section). */
export function checkDynamic(object: ElfObject, report: Report): void {
  const { programHeaders, dynamic } = object
  const segments = programHeaders.filter(({ type }) => type === PT_DYNAMIC)
  const segment = segments.at(-1)
  if (segment === undefined) return
  if (segments.length > 1) report('dynamic-once', `there are ${segments.length} PT_DYNAMIC segments`, segment.offset)
  if (dynamic === null) {
    report('dynamic-present', 'PT_DYNAMIC is empty', segment.offset)
    return
  }
  const format = formatOf(object.header)
  if ((dynamic.length + 1) * format.dyn.bytes > segment.filesz) {
    report('dynamic-end', 'the dynamic table has no DT_NULL at its end', segment.offset + segment.filesz)
  }
  // ld.so writes DT_DEBUG and relocates the table, unless PT_DYNAMIC itself says that it is read-only
  const load = loadAt(programHeaders, segment.vaddr)
  if (load !== undefined && (segment.flags & PF_W) !== 0 && (load.flags & PF_W) === 0) {
    report(
      'dynamic-writable',
      'PT_DYNAMIC is writable, but the PT_LOAD that holds it is not',
      segment.offset,
      load.flags,
    )
  }
  const value = (tag: number): bigint | undefined => valueOf(dynamic, tag)
  for (const [tag, sizeTag, name] of TABLES) {
    const address = value(tag)
    const length = sizeTag === 0 ? 1n : (value(sizeTag) ?? 0n)
    // an empty table may point anywhere
    if (address === undefined || length === 0n) continue
    if (!isMapped(programHeaders, address, length)) {
      report(
        'dynamic-tables',
        `${name} (${hex(address)}, ${length} bytes) is not wholly in one PT_LOAD`,
        undefined,
        address,
      )
    }
  }
  for (const [index, name] of object.needed.entries()) {
    if (name === '')
      report('needed-name', `DT_NEEDED number ${index + 1} is empty: has strip emptied .dynstr?`, segment.offset)
  }
}

/**
 * Is the range in one PT_LOAD? A string table may also go on from one PT_LOAD to the next, at the same distance of
 * address and file offset.
 */
export function isMapped(programHeaders: readonly ProgramHeader[], address: bigint, length: bigint): boolean {
  const first = extentAt(programHeaders, address)
  const last = extentAt(programHeaders, address + length - 1n)
  return first !== null && last !== null && BigInt(last.offset - first.offset) === length - 1n
}

function loadAt(programHeaders: readonly ProgramHeader[], address: bigint): ProgramHeader | undefined {
  return programHeaders.find(
    ({ type, vaddr, memsz }) => type === PT_LOAD && vaddr <= address && address < vaddr + memsz,
  )
}

/** The hashes show a version table that moved without its pointer, or whose string table moved away (patchelf#664). */
export function checkVersions(
  source: ByteSource,
  { header, programHeaders, dynamic }: ElfObject,
  report: Report,
): void {
  const value = (tag: number): bigint | undefined => valueOf(dynamic, tag)
  const strings = stringReader(source, programHeaders, dynamic)
  const check = (what: string, { at, name, hash }: { at: number; name: bigint; hash: number }): void => {
    if (hashOfName(strings(name)) !== hash)
      report('version-tables', `${what}: hash ${hex(hash)} does not match its name`, at, hash)
  }
  const needs = readVersionNeeds(source, header, programHeaders, value(DT_VERNEED))
  const definitions = readVersionDefinitions(source, header, programHeaders, value(DT_VERDEF))
  for (const need of needs) {
    if (need.version !== 1) report('version-tables', `vn_version is ${need.version}`, need.at, need.version)
    for (const version of need.versions) check('a needed version', version)
  }
  for (const definition of definitions) {
    if (definition.version !== 1) {
      report('version-tables', `vd_version is ${definition.version}`, definition.at, definition.version)
    }
    check('a defined version', definition)
  }
  for (const [tag, name, count] of [
    [DT_VERNEEDNUM, 'DT_VERNEEDNUM', needs.length],
    [DT_VERDEFNUM, 'DT_VERDEFNUM', definitions.length],
  ] as const) {
    const told = value(tag)
    if (told !== undefined && told !== BigInt(count)) {
      report('version-tables', `${name} is ${told}, but the chain has ${count}`, undefined, told)
    }
  }
}

/** glibc's _dl_setup_hash asserts that the bloom filter's size is a power of two. */
export function checkHash(source: ByteSource, { header, programHeaders, dynamic }: ElfObject, report: Report): void {
  const address = valueOf(dynamic, DT_GNU_HASH)
  const extent = address === undefined ? null : extentAt(programHeaders, address)
  if (extent === null) return
  const format = formatOf(header)
  const { gnuHash } = format
  const { buckets, bloomWords: bloom } = decode(gnuHash, format, source.read(extent.offset, gnuHash.bytes))
  if (bloom === 0 || (bloom & (bloom - 1)) !== 0) {
    report(
      'hash-table',
      `DT_GNU_HASH has ${bloom} words of bloom filter, which is not a power of two`,
      extent.offset + gnuHash.bloomWords.at,
      bloom,
    )
  }
  if (gnuHash.bytes + bloom * (format.class / 8) + buckets * 4 > extent.length) {
    report('hash-table', `DT_GNU_HASH's ${buckets} buckets reach beyond its PT_LOAD`, extent.offset, buckets)
  }
}

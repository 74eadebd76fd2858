// A seeded mutation fuzzer over real objects: whatever is done to their bytes, the core gives an object or an ElfError,
// in bounded time and memory, and reads nothing outside the file; what it edits verifies and restores. What it accepts
// is also given to the real loader, where there is one.
//   npm run fuzz [-- SEED [PARSES [EDITS [OPENED]]]]
import { spawnSync } from 'node:child_process'
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { ElfEdit } from '../../src/elf/edit/edit.ts'
import { DT_STRSZ, DT_SYMTAB, SHT_DYNSYM } from '../../src/elf/constants.ts'
import { ElfError } from '../../src/elf/error.ts'
import { applyEdit, stateOf } from '../../src/elf/edit/state.ts'
import { graftedSource, makeGraft } from '../../src/elf/graft/graft.ts'
import { layersOf } from '../../src/elf/graft/layers.ts'
import { regraft, tryRegraft } from '../../src/elf/graft/regraft.ts'
import { extentAt } from '../../src/elf/memory.ts'
import { formatOf, getAddress } from '../../src/elf/layout.ts'
import { readElf } from '../../src/elf/read.ts'
import { findSection, readSections, sectionNumber } from '../../src/elf/tables/sections.ts'
import { type ByteSource, bytesSource } from '../../src/elf/source.ts'
import { definesSymbol } from '../../src/elf/tables/symbols.ts'
import { originalSource, readUndo } from '../../src/elf/graft/undo-note.ts'
import { verifyElf, verifyGraft } from '../../src/elf/rules/verify.ts'
import { randomOf } from '../support/random.ts'
import { runWell } from '../support/run.ts'
import { bytesOf, objectBytes, objectNames } from './objects.ts'

/** No single read may ask for more than this: the stated bound on what a size field can make us allocate. */
const LARGEST_READ = 16 << 20
/** In processor time. One mutated object of some kilobytes takes about a millisecond; a collection of garbage adds to it. */
const LONGEST_MS = 1000

export interface FuzzCounts {
  parses: number
  parsed: number
  edits: number
  edited: number
  /** Made, but kept from the disk by the verification. */
  rejected: number
  loaded: number
}

const INTERESTING = [
  0n,
  1n,
  2n,
  0x7fn,
  0x80n,
  0xffn,
  0xffffn,
  0x7fffffffn,
  0x80000000n,
  0xffffffffn,
  1n << 53n,
  (1n << 64n) - 1n,
]

/** A copy with a few fields, bytes or stretches changed: mostly in the headers and tables, where it hurts. */
function mutate(bytes: Buffer, hot: readonly number[], random: () => number): Buffer {
  const pick = (most: number): number => Math.floor(random() * most)
  let copy = Buffer.from(bytes)
  for (let count = 1 + pick(4); count > 0; count--) {
    const at = random() < 0.8 ? (hot[pick(hot.length)] ?? 0) : pick(copy.length)
    switch (pick(6)) {
      case 0:
        copy[at] = pick(256)
        break
      case 1:
        copy[at] = (copy[at] ?? 0) ^ (1 << pick(8))
        break
      case 2:
        if (at + 8 <= copy.length) copy.writeBigUInt64LE(INTERESTING[pick(INTERESTING.length)] ?? 0n, at)
        break
      case 3:
        if (at + 4 <= copy.length) copy.writeUInt32LE(Number(INTERESTING[pick(10)] ?? 0n), at)
        break
      case 4:
        copy.copyWithin(at, pick(copy.length), pick(copy.length))
        break
      default:
        if (random() < 0.1) copy = copy.subarray(0, 16 + pick(copy.length - 16))
        else copy.fill(pick(256), at, Math.min(copy.length, at + pick(32)))
    }
  }
  return copy
}

/** Where the ELF header, the program headers, the dynamic table and what it names stand: 8-byte steps. */
function hotOffsets(bytes: Buffer): number[] {
  const { header, programHeaders } = readElf(bytesSource(bytes))
  const ranges = [
    [0, 64],
    [header.phoff, header.phoff + header.phnum * 56],
    [header.shoff, header.shoff + header.shnum * 64],
  ]
  for (const { type, offset, filesz } of programHeaders) {
    if (type === 2 || type === 3) ranges.push([offset, offset + filesz])
    if (type === 1) ranges.push([offset, offset + Math.min(filesz, 2048)])
  }
  return ranges.flatMap(([from = 0, to = 0]) =>
    Array.from({ length: Math.max(0, (to - from) >> 2) }, (_, index) => from + index * 4),
  )
}

/** A source that notices every read outside of it, and every one that is larger than the bound. */
export function guarded(bytes: Uint8Array): ByteSource {
  const source = bytesSource(bytes)
  return {
    size: source.size,
    read(offset, length) {
      if (length > LARGEST_READ) throw new Error(`a read of ${length} bytes`)
      const result = source.read(offset, length)
      if (result.length !== length) throw new Error(`${result.length} bytes for ${length}`)
      return result
    },
  }
}

const EDITS: readonly ElfEdit[] = [
  { searchPath: { tag: 'DT_RPATH', value: '/nix/store/x/lib:$ORIGIN' } },
  { searchPath: null },
  { soname: 'libfuzz.so', addNeeded: ['libmore.so'] },
  {
    replaceNeeded: new Map([
      ['libzero.so.1', 'libother.so'],
      ['libc.so.6', 'libc.so.7'],
    ]),
    noDefaultLib: true,
  },
  { executableStack: true },
  { interpreter: '/lib/ld.so', replaceNeeded: new Map([['libzero.so.1', 'zero.so.1']]) },
  { interpreter: '/ld.so' },
]

/**
 * Runs until both numbers are reached. Prints nothing; throws at the first violation, with the seed and the object.
 * @param objects by name; default: all prebuilt ones
 */
export function fuzz(seed: number, parses: number, edits: number, objects = prebuilt()): FuzzCounts {
  const random = randomOf(seed)
  const counts: FuzzCounts = { parses: 0, parsed: 0, edits: 0, edited: 0, rejected: 0, loaded: 0 }
  const names = [...objects.keys()]
  const hot = new Map(names.map(name => [name, hotOffsets(objects.get(name) ?? Buffer.alloc(0))]))
  while (counts.parses < parses || counts.edits < edits) {
    const name = names[Math.floor(random() * names.length)] ?? ''
    const bytes = mutate(objects.get(name) ?? Buffer.alloc(0), hot.get(name) ?? [0], random)
    const started = process.cpuUsage()
    try {
      one(bytes, counts, random, counts.edits < edits)
    } catch (error) {
      const saved = join(tmpdir(), `wheelfix-fuzz-${seed}-${counts.parses}`)
      writeFileSync(saved, bytes)
      throw new Error(`seed ${seed}, parse ${counts.parses}, ${name}, saved as ${saved}`, { cause: error })
    }
    const { user, system } = process.cpuUsage(started)
    if ((user + system) / 1000 > LONGEST_MS) throw new Error(`seed ${seed}: parse ${counts.parses} of ${name} is slow`)
  }
  return counts
}

function one(mutant: Buffer, counts: FuzzCounts, random: () => number, edit: boolean): void {
  // behind a payload only what fits in place is edited
  const bytes = random() < 0.1 ? Buffer.concat([mutant, Buffer.from('payload')]) : mutant
  const source = guarded(bytes)
  counts.parses++
  const object = expectElfError(() => readElf(source))
  if (object === undefined) return
  counts.parsed++
  expectElfError(() => definesSymbol(source, object, 'one'))
  if (!edit) return
  const chosen = EDITS[Math.floor(random() * EDITS.length)] ?? {}
  counts.edits++
  const options = random() < 0.5 ? {} : { inPlace: true, wipes: () => true }
  const graft = expectElfError(() => makeGraft(source, chosen, options))
  if (graft === undefined || graft === null) return
  const result = graftedSource(source, graft)
  verifyElf(result)
  // strings that lie outside their table cannot be carried over: the verification is what keeps such a file from the disk
  if (!verifies(source, result, chosen)) {
    counts.rejected++
    return
  }
  counts.edited++
  if (graft.tail.length === 0) return
  const undo = readUndo(result)
  if (undo === null || !bytesOf(originalSource(result, undo)).equals(bytes))
    throw new Error('the original does not come back')
}

/**
 * A dry run asks only whether an edit can be made. Its answer must be that of the edit, for any mutant.
 * @returns how many edits were made, and how many refused
 */
export function fuzzTry(seed: number, mutants: number): { made: number; refused: number } {
  const random = randomOf(seed)
  const counts = { made: 0, refused: 0 }
  for (let mutant = 0; mutant < mutants; mutant++) {
    const name = objectNames[Math.floor(random() * objectNames.length)] ?? ''
    const original = objectBytes(name)
    const bytes = mutate(original, hotOffsets(original), random)
    const edit = EDITS[Math.floor(random() * EDITS.length)] ?? {}
    const options = { owner: 'venv', inPlace: random() < 0.5 } as const
    const said = (ask: typeof regraft | typeof tryRegraft): string => {
      try {
        const layers = layersOf(bytesSource(bytes), () => true)
        const result = ask(layers, object => applyEdit(stateOf(object), edit), options)
        return String(typeof result === 'boolean' ? result : result.edit !== null)
      } catch (error) {
        if (!(error instanceof ElfError)) throw error
        return `${error.code}: ${error.message}`
      }
    }
    const [made, tried] = [said(regraft), said(tryRegraft)]
    if (made !== tried) throw new Error(`seed ${seed}, mutant ${mutant} of ${name}: ${tried}, but the edit: ${made}`)
    if (made === 'true') counts.made++
    else counts.refused++
  }
  return counts
}

const SHF_EXECINSTR = 4
const SHT_RELA = 4
const SHT_HASH = 5

const LIBRARY = '#include <math.h>\nstatic __thread int n; double one(double x) { return sin(x) + n; }\n'
const OPENER = '#include <dlfcn.h>\nint main(int c, char **v) { return !dlopen(v[1], RTLD_NOW); }\n'

function verifies(...args: Parameters<typeof verifyGraft>): boolean {
  try {
    verifyGraft(...args)
    return true
  } catch (error) {
    if (error instanceof ElfError && error.code === 'BROKEN') return false
    throw error
  }
}

function expectElfError<T>(action: () => T): T | undefined {
  try {
    return action()
  } catch (error) {
    if (error instanceof ElfError && error.code !== 'BROKEN') return undefined
    throw error
  }
}

function prebuilt(): Map<string, Buffer> {
  return new Map(objectNames.map(name => [name, objectBytes(name)]))
}

/** How many dynamic symbols an object with a section table has. */
function dynamicSymbols(bytes: Buffer): number {
  const source = bytesSource(bytes)
  const table = readSections(source, readElf(source).header)
  if (table === null) return 0
  const index = findSection(table, at => sectionNumber(table, at, 'type') === SHT_DYNSYM)
  return sectionNumber(table, index, 'size') / table.format.sym.bytes
}

/**
 * Where an object's code, relocations and DT_HASH table stand in the file: start and end of each section. A bucket of that
 * table beyond the last symbol makes the loader read whatever memory comes after.
 */
function keptSections(bytes: Buffer): (readonly [number, number])[] {
  const source = bytesSource(bytes)
  const table = readSections(source, readElf(source).header)
  if (table === null) return []
  return Array.from({ length: table.count }, (_, index) => index).flatMap(index => {
    const start = sectionNumber(table, index, 'offset')
    const isCode = (sectionNumber(table, index, 'flags') & SHF_EXECINSTR) !== 0
    const isKept = isCode || [SHT_RELA, SHT_HASH].includes(sectionNumber(table, index, 'type'))
    return isKept ? [[start, start + sectionNumber(table, index, 'size')] as const] : []
  })
}

/** Has one of the dynamic symbols a name that lies outside DT_STRSZ? */
function namesLeaveTable(source: ByteSource, symbols: number): boolean {
  const object = readElf(source)
  const { sym } = formatOf(object.header)
  const value = (tag: number): bigint => object.dynamic?.findLast(entry => entry.tag === tag)?.value ?? 0n
  const table = extentAt(object.programHeaders, value(DT_SYMTAB))
  if (table === null || table.length < symbols * sym.bytes) return true
  const bytes = source.read(table.offset, symbols * sym.bytes)
  return Array.from({ length: symbols }).some(
    (_, index) => getAddress(formatOf(object.header), bytes, index * sym.bytes, sym.name) >= value(DT_STRSZ),
  )
}

/**
 * Mutates a library and opens it with the real loader, before and after an edit: what loads before, and is edited and
 * verified, must load after. Both run in a child, as the loader itself dies of many a file.
 * @param flags the compiler's, for the library
 */
export function fuzzLoader(seed: number, files: number, flags: readonly string[] = []): FuzzCounts {
  const random = randomOf(seed)
  const counts: FuzzCounts = { parses: 0, parsed: 0, edits: 0, edited: 0, rejected: 0, loaded: 0 }
  const folder = mkdtempSync(join(tmpdir(), 'wheelfix-fuzz-'))
  const [library, opener] = [join(folder, 'library.so'), join(folder, 'opener')]
  writeFileSync(`${library}.c`, LIBRARY)
  writeFileSync(`${opener}.c`, OPENER)
  runWell('gcc', ['-shared', '-fPIC', ...flags, '-o', library, `${library}.c`, '-lm'])
  runWell('gcc', ['-o', opener, `${opener}.c`])
  const original = readFileSync(library)
  const hot = hotOffsets(original).slice(0, 600)
  const symbols = dynamicSymbols(original)
  const kept = keptSections(original)
  const opens = (bytes: Buffer, name: string): boolean => {
    writeFileSync(join(folder, name), bytes)
    chmodSync(join(folder, name), 0o755)
    return spawnSync(opener, [join(folder, name)], { timeout: 10_000 }).status === 0
  }
  try {
    while (counts.edited < files) {
      const bytes = mutate(original, hot, random)
      // damaged code, relocations and hash tables reach for what lies behind the object, which is another memory after the edit
      for (const [start, end] of kept) if (end <= bytes.length) original.copy(bytes, start, start, end)
      const source = bytesSource(bytes)
      counts.parses++
      const edit: ElfEdit = { searchPath: { tag: 'DT_RUNPATH', value: '/nix/store/x/lib' } }
      const graft = expectElfError(() => makeGraft(source, edit))
      if (graft === undefined || graft === null) continue
      counts.edits++
      const result = graftedSource(source, graft)
      if (!verifies(source, result, edit)) {
        counts.rejected++
        continue
      }
      counts.edited++
      if (!opens(bytes, 'before.so')) continue
      counts.loaded++
      // looked for wherever they point to, in memory that is another after the edit: no edit looks at every symbol
      if (namesLeaveTable(source, symbols)) continue
      // some damage lets a library load at some addresses and not at others: then it was not reliable before the edit either
      const always = (): boolean => Array.from({ length: 30 }).every(() => opens(bytes, 'before.so'))
      if (!opens(bytesOf(result), 'after.so') && always()) {
        const saved = join(tmpdir(), `wheelfix-fuzz-${seed}-${counts.parses}`)
        writeFileSync(saved, bytes)
        throw new Error(`seed ${seed}, parse ${counts.parses}: loads before the edit, not after it; saved as ${saved}`)
      }
    }
  } finally {
    rmSync(folder, { recursive: true })
  }
  return counts
}

// Files whose section table was cut off or holds nonsense, or whose other headers are wrong where no loader looks. So what the real loader loads is edited,
// loads with the new search path, and comes back byte for byte. What lost bytes of its segments is not edited.
import assert from 'node:assert/strict'
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, suite, test } from 'node:test'
import { DT_STRSZ, ET_DYN, PT_DYNAMIC, PT_LOAD } from '../../src/elf/constants.ts'
import { ElfError } from '../../src/elf/error.ts'
import { makeGraft } from '../../src/elf/graft/graft.ts'
import { readHeaders } from '../../src/elf/headers.ts'
import { type FieldName, type Format, formatOf, put } from '../../src/elf/layout.ts'
import { readElf } from '../../src/elf/read.ts'
import { verifyGraft } from '../../src/elf/rules/verify.ts'
import { bytesSource } from '../../src/elf/source.ts'
import { endOfSections, readSections } from '../../src/elf/tables/sections.ts'
import { missing } from '../support/requires.ts'
import { run, runWell } from '../support/run.ts'
import { edited, objectBytes, objectNames, poked, restored } from './objects.ts'

/** How a file is made from a whole one; null where it would be the same. */
type Damage = (bytes: Buffer) => Buffer | null

interface Shape {
  readonly format: Format
  /** File offset of the section table, and its number of sections. */
  readonly table: number
  readonly count: number
  /** File offset behind the last segment. */
  readonly loaded: number
}

function shapeOf(bytes: Buffer): Shape {
  const { header, programHeaders } = readHeaders(bytesSource(bytes))
  const headers = header.phoff + header.phnum * formatOf(header).phdr.bytes
  const loaded = programHeaders.reduce((end, { offset, filesz }) => Math.max(end, offset + filesz), headers)
  return { format: formatOf(header), table: header.shoff, count: header.shnum, loaded }
}

const cutTo =
  (length: (shape: Shape) => number): Damage =>
  bytes => {
    const end = length(shapeOf(bytes))
    return end >= bytes.length ? null : bytes.subarray(0, end)
  }

const header =
  (...fields: readonly (readonly [FieldName<Format['ehdr']>, (shape: Shape) => number | bigint])[]): Damage =>
  bytes => {
    const copy = Buffer.from(bytes)
    const shape = shapeOf(bytes)
    for (const [field, value] of fields) put(shape.format, copy, 0, shape.format.ehdr[field], value(shape))
    return copy
  }

/** A field of some sections is set. */
const sections =
  (field: FieldName<Format['shdr']>, value: number | bigint, only: (index: number) => boolean = () => true): Damage =>
  bytes => {
    const copy = Buffer.from(bytes)
    const { format, table, count } = shapeOf(bytes)
    for (let index = 1; index < count; index++) {
      if (only(index)) put(format, copy, table + index * format.shdr.bytes, format.shdr[field], value)
    }
    return copy
  }

/** A field of PT_DYNAMIC is set: loaders use only its address. */
const dynamicSegment =
  (field: FieldName<Format['phdr']>, value: number): Damage =>
  bytes =>
    poked(bytes, { phdr: field, type: PT_DYNAMIC, value })

/** A field of a dynamic entry is set. */
const dynamicEntry =
  (tag: number, field: FieldName<Format['dyn']>, value: number): Damage =>
  bytes => {
    const copy = Buffer.from(bytes)
    const { header: ehdr, programHeaders, dynamic } = readElf(bytesSource(bytes))
    const { dyn } = formatOf(ehdr)
    const start = programHeaders.find(({ type }) => type === PT_DYNAMIC)?.offset ?? 0
    const index = dynamic?.findIndex(entry => entry.tag === tag) ?? 0
    put(formatOf(ehdr), copy, start + index * dyn.bytes, dyn[field], value)
    return copy
  }

/** The size of section 0 is set, where the number of sections is when it does not fit into the ELF header. */
const nullSize =
  (value: (shape: Shape) => number | bigint): Damage =>
  bytes => {
    const copy = Buffer.from(bytes)
    const shape = shapeOf(bytes)
    put(shape.format, copy, shape.table, shape.format.shdr.size, value(shape))
    return copy
  }

/** Every byte of the table but its first section is one of a fixed sequence. */
const scrambled =
  (seed: number): Damage =>
  bytes => {
    const copy = Buffer.from(bytes)
    const { format, table, count } = shapeOf(bytes)
    let state = seed
    for (let at = table + format.shdr.bytes; at < table + count * format.shdr.bytes; at++) {
      state = (Math.imul(state, 1103515245) + 12345) >>> 0
      copy[at] = state >>> 24
    }
    return copy
  }

const both =
  (first: Damage, second: Damage): Damage =>
  bytes => {
    const half = first(bytes)
    return half === null ? null : second(half)
  }

const tableAt = (index: number, into = 0) =>
  cutTo(({ format, table }) => table + Math.trunc(index * format.shdr.bytes) + into)

const DAMAGES: Readonly<Record<string, Damage>> = {
  'cut by one byte': cutTo(({ format, table, count }) => table + count * format.shdr.bytes - 1),
  'cut by one section': cutTo(({ format, table, count }) => table + (count - 1) * format.shdr.bytes),
  'cut in half of the table': cutTo(({ format, table, count }) => table + (count >> 1) * format.shdr.bytes + 7),
  'cut behind the null section': tableAt(1),
  'cut behind the first section': tableAt(2),
  'cut inside the null section': tableAt(0.5),
  'cut before the table': tableAt(0),
  'cut shortly before the table': tableAt(0, -11),
  'cut in half of what is not loaded': cutTo(({ table, loaded }) => (table + loaded) >> 1),
  'cut in the first section that is not loaded': cutTo(({ loaded }) => loaded + 13),
  'cut behind the segments': cutTo(({ loaded }) => loaded),
  'e_shoff at the end': bytes => header(['shoff', () => bytes.length])(bytes),
  'e_shoff behind the end': bytes => header(['shoff', () => bytes.length + 4096])(bytes),
  'e_shoff past everything': header(['shoff', ({ format }) => (format.class === 64 ? (1n << 63n) + 8n : 0xfffffff8)]),
  'e_shoff in the code': header(['shoff', ({ loaded }) => loaded >> 1]),
  'e_shoff at the ELF header': header(['shoff', () => 1]),
  'e_shoff off by one': header(['shoff', ({ table }) => table + 1]),
  'e_shoff off by one section': header(['shoff', ({ table, format }) => table + format.shdr.bytes]),
  'e_shoff zero': header(['shoff', () => 0]),
  'e_shoff and e_shnum zero': header(['shoff', () => 0], ['shnum', () => 0], ['shstrndx', () => 0]),
  'e_shnum zero': header(['shnum', () => 0]),
  'e_shnum one': header(['shnum', () => 1]),
  'e_shnum too small': header(['shnum', ({ count }) => count - 2]),
  'e_shnum too large': header(['shnum', ({ count }) => count + 2]),
  'e_shnum largest': header(['shnum', () => 0xfeff]),
  'e_shnum zero, and a number in section 0 that no file has': both(
    nullSize(({ format }) => (format.class === 64 ? 1n << 61n : 0xf0000000)),
    header(['shnum', () => 0]),
  ),
  'e_shnum zero, and too large a number in section 0': both(
    nullSize(() => 1 << 20),
    header(['shnum', () => 0]),
  ),
  'PT_DYNAMIC at the start of the file': dynamicSegment('offset', 0),
  'PT_DYNAMIC of one byte': dynamicSegment('filesz', 1),
  'PT_DYNAMIC of two entries': dynamicSegment('filesz', 32),
  'PT_DYNAMIC larger than the file': dynamicSegment('filesz', 1 << 28),
  'PT_DYNAMIC without an alignment': dynamicSegment('align', 3),
  'DT_STRSZ zero': dynamicEntry(DT_STRSZ, 'value', 0),
  'DT_STRSZ larger than the file': dynamicEntry(DT_STRSZ, 'value', 1 << 28),
  'no DT_STRSZ': dynamicEntry(DT_STRSZ, 'tag', 0x6ffffdf0),
  'every alignment of a PT_LOAD enormous': bytes => {
    const copy = Buffer.from(bytes)
    const { header: ehdr, programHeaders } = readHeaders(bytesSource(bytes))
    const { phdr } = formatOf(ehdr)
    for (const [index, { type }] of programHeaders.entries()) {
      if (type === PT_LOAD) put(formatOf(ehdr), copy, ehdr.phoff + index * phdr.bytes, phdr.align, 1n << 40n)
    }
    return ehdr.class === 64 && bytes.readUInt16LE(16) === ET_DYN && ehdr.entry === 0n ? copy : null
  },
  'e_shentsize zero': header(['shentsize', () => 0]),
  'e_shentsize of the other class': header(['shentsize', ({ format }) => (format.class === 64 ? 40 : 64)]),
  'e_shentsize largest': header(['shentsize', () => 0xffff]),
  'e_shstrndx zero': header(['shstrndx', () => 0]),
  'e_shstrndx too large': header(['shstrndx', () => 0xfefe]),
  'e_shstrndx in section 0, which has none': header(['shstrndx', () => 0xffff]),
  'e_shstrndx at another section': header(['shstrndx', () => 1]),
  'every section behind the end': sections('offset', 0x7ffffff0),
  'every section at the ELF header': sections('offset', 0),
  'every section too long': sections('size', 0x7fffffff),
  'every size past 2^53': bytes => (shapeOf(bytes).format.class === 64 ? sections('size', 1n << 63n)(bytes) : null),
  'every offset past 2^53': bytes => (shapeOf(bytes).format.class === 64 ? sections('offset', 1n << 62n)(bytes) : null),
  'every flag set': sections('flags', 0xffffffff),
  'every section without bytes (SHT_NOBITS)': sections('type', 8),
  'every section a string table': sections('type', 3),
  'every section of an unknown type': sections('type', 0x7fffffff),
  'every address the same': sections('addr', 0x1000),
  'names that leave the file': sections('name', 0xfffffff0),
  'links to no section': sections('link', 0xfffffff0),
  'a table of nonsense': scrambled(1),
  'another table of nonsense': scrambled(2),
  'a table of nonsense that is cut': both(
    scrambled(3),
    cutTo(({ table, format }) => table + 3 * format.shdr.bytes + 5),
  ),
}

/** Damages after which too little is left to tell sections from a payload that a program looks for at its end. */
const UNCLEAR = new Set(['a table of nonsense that is cut'])
const UNCLEAR_IN_PROGRAMS = new Set([
  ...UNCLEAR,
  'cut shortly before the table',
  'cut in half of what is not loaded',
  'cut in the first section that is not loaded',
])

const folder = mkdtempSync(join(realpathSync(tmpdir()), 'wheelfix-cut-'))
after(() => rmSync(folder, { recursive: true }))

suite('files that are damaged only where no loader looks, under the real loader', { skip: missing('gcc') }, () => {
  const deps = join(folder, 'deps')
  const edit = { searchPath: { tag: 'DT_RUNPATH', value: deps } } as const
  const sources: Record<string, string> = {
    'dep.c': 'int dep(void) { return 3; }\n',
    'a.c': 'int dep(void); int table[3000]; int value(void) { return dep() + table[0]; }\n',
    'open.c': `#include <dlfcn.h>
      int main(int n, char **args) {
        void *library = dlopen(args[1], RTLD_NOW);
        return library ? ((int (*)(void))dlsym(library, "value"))() : 1;
      }
`,
    'main.c': 'int dep(void); int table[3000]; int main(void) { return dep() + table[0]; }\n',
  }
  for (const [name, text] of Object.entries(sources)) writeFileSync(join(folder, name), text)
  mkdirSync(deps)
  runWell('gcc', ['-shared', '-fPIC', '-o', join(deps, 'libdep.so'), join(folder, 'dep.c')])

  const opener = join(folder, 'open')
  runWell('gcc', ['-o', opener, join(folder, 'open.c')])

  const build = (name: string, flags: readonly string[]): Buffer => {
    const path = join(folder, name)
    const source = join(folder, flags.includes('-shared') ? 'a.c' : 'main.c')
    runWell('gcc', ['-o', path, source, ...flags, `-L${deps}`, '-ldep'])
    return readFileSync(path)
  }
  /** Does the file load, with the libraries of a folder? */
  const works = (bytes: Buffer, isProgram: boolean, libraries?: string): boolean => {
    const path = join(folder, isProgram ? 'tried' : 'libtried.so')
    rmSync(path, { force: true })
    writeFileSync(path, bytes)
    chmodSync(path, 0o755)
    const env = libraries === undefined ? {} : { env: { ...process.env, LD_LIBRARY_PATH: libraries } }
    if (isProgram) return run(path, [], env).status === 3
    return run(opener, [path], env).status === 3
  }

  const layouts: readonly (readonly [name: string, flags: readonly string[], needs: string[]])[] = [
    ['a library', ['-shared', '-fPIC'], []],
    ['a stripped library', ['-shared', '-fPIC', '-s'], []],
    ['a library with debug information', ['-shared', '-fPIC', '-g'], []],
    ['a library of lld', ['-shared', '-fPIC', '-fuse-ld=lld'], ['ld.lld']],
    ['a library of gold', ['-shared', '-fPIC', '-fuse-ld=gold'], ['ld.gold']],
    ['a program', ['-pie'], []],
    ['a stripped program at a fixed address', ['-no-pie', '-s'], []],
  ]
  for (const [name, flags, needs] of layouts) {
    test(`${name}: what loads is edited, and given back`, { skip: missing(...needs) }, () => {
      const isProgram = !flags.includes('-shared')
      const whole = build(name.replaceAll(' ', '-'), flags)
      assert.ok(!works(whole, isProgram) && works(whole, isProgram, deps), 'the file needs the edit')
      const unclear = isProgram ? UNCLEAR_IN_PROGRAMS : UNCLEAR
      let count = 0
      for (const [what, damage] of Object.entries(DAMAGES)) {
        const bytes = damage(whole)
        if (bytes === null) continue
        assert.ok(works(bytes, isProgram, deps), `${what}: the loader loads it`)
        let result
        try {
          result = edited(bytes, edit)
        } catch (error) {
          assert.ok(error instanceof ElfError && unclear.has(what), `${what}: ${String(error)}`)
          assert.match(error.message, /appended/)
          if (isProgram) assert.ok(works(edited(bytes, edit, { inPlace: true }), isProgram), `${what}: edited in place`)
          continue
        }
        verifyGraft(bytesSource(bytes), bytesSource(result), edit)
        assert.ok(works(result, isProgram), `${what}: the loader loads it after the edit`)
        assert.ok(restored(result).equals(bytes), what)
        const { table, count: left } = shapeOf(result)
        const read = readSections(bytesSource(result), readHeaders(bytesSource(result)).header)
        assert.ok(read !== null || (table === 0 && left === 0), `${what}: no table is named that is not there`)
        count++
      }
      assert.ok(count > 40, String(count))
    })
  }

  test('a payload behind such a file is still found and kept', () => {
    const whole = build('with-payload', ['-pie'])
    const payload = Buffer.from('a payload that the program finds from the end of its own file')
    for (const [what, damage] of Object.entries(DAMAGES)) {
      const bytes = damage(whole)
      if (bytes === null) continue
      const { loaded } = shapeOf(whole)
      // in a file that ends there, or before it, nothing tells what comes next
      if (bytes.length < whole.length && bytes.length > loaded) continue
      assert.throws(() => makeGraft(bytesSource(Buffer.concat([bytes, payload])), edit), /appended/, what)
    }
  })

  test('a file that was cut off inside its segments is not edited', () => {
    const whole = build('short', ['-shared', '-fPIC'])
    const { loaded } = shapeOf(whole)
    for (const lost of [1, 8, 100, 1000, 5000]) {
      const bytes = whole.subarray(0, loaded - lost)
      assert.throws(() => makeGraft(bytesSource(bytes), edit), ElfError)
    }
  })

  test('a library for musl', { skip: missing('musl-gcc') }, () => {
    const musl = join(folder, 'musl')
    mkdirSync(musl)
    runWell('musl-gcc', ['-shared', '-fPIC', '-o', join(musl, 'libdep.so'), join(folder, 'dep.c')])
    const opener = join(folder, 'open-musl')
    runWell('musl-gcc', ['-o', opener, join(folder, 'open.c')])
    const path = join(folder, 'libtried-musl.so')
    const opens = (bytes: Buffer, env?: NodeJS.ProcessEnv): boolean => {
      writeFileSync(path, bytes)
      return run(opener, [path], env === undefined ? {} : { env }).status === 3
    }
    runWell('musl-gcc', ['-shared', '-fPIC', '-o', path, join(folder, 'a.c'), `-L${musl}`, '-ldep'])
    const whole = readFileSync(path)
    const own = { searchPath: { tag: 'DT_RUNPATH', value: musl } } as const
    for (const [what, damage] of Object.entries(DAMAGES)) {
      const bytes = damage(whole)
      if (bytes === null || UNCLEAR.has(what)) continue
      assert.ok(!opens(bytes) && opens(bytes, { ...process.env, LD_LIBRARY_PATH: musl }), what)
      const result = edited(bytes, own)
      assert.ok(opens(result), what)
      assert.ok(restored(result).equals(bytes), what)
    }
  })
})

test('the prebuilt objects of every machine: cut or damaged where no loader looks, edited and given back', () => {
  const edit = {
    searchPath: { tag: 'DT_RUNPATH', value: '/nix/store/00000000000000000000000000000000-x/lib' },
  } as const
  let count = 0
  for (const name of objectNames) {
    const whole = objectBytes(name)
    const table = readSections(bytesSource(whole), readHeaders(bytesSource(whole)).header)
    // only tables at the end, as linkers write them
    if (table === null || endOfSections(table, whole.length) > shapeOf(whole).table) continue
    for (const what of [
      'cut by one byte',
      'cut in half of the table',
      'cut before the table',
      'e_shoff zero',
      'e_shentsize zero',
    ]) {
      const bytes = DAMAGES[what]?.(whole) ?? null
      if (bytes === null) continue
      let result: Buffer
      try {
        result = edited(bytes, edit)
      } catch (error) {
        throw new Error(`${name}: ${what}`, { cause: error })
      }
      verifyGraft(bytesSource(bytes), bytesSource(result), edit)
      assert.equal(readElf(bytesSource(result)).runpath, edit.searchPath.value)
      assert.ok(restored(result).equals(bytes), `${name}: ${what}`)
      count++
    }
  }
  assert.ok(count > 100, String(count))
})

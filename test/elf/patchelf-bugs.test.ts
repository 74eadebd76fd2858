// The classes of corruption that patchelf and LIEF have had, each named by the bug, on the prebuilt objects of all machines.
// Those that take a compiler are in patchelf-built.test.ts; README.md of src/elf lists them all.
import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import {
  DT_DEBUG,
  DT_MIPS_RLD_MAP_REL,
  DT_NULL,
  DT_RPATH,
  DT_RUNPATH,
  DT_STRSZ,
  DT_STRTAB,
  DT_VERDEF,
  PF_W,
  PT_DYNAMIC,
  PT_LOAD,
  PT_NOTE,
  PT_PHDR,
} from '../../src/elf/constants.ts'
import { graftedSource, makeGraft } from '../../src/elf/graft/graft.ts'
import { put } from '../../src/elf/layout.ts'
import { readElf } from '../../src/elf/read.ts'
import { checkLoads } from '../../src/elf/rules/rules.ts'
import { readSections, sectionAddress } from '../../src/elf/tables/sections.ts'
import { type ByteSource, bytesSource } from '../../src/elf/source.ts'
import { verifyElf, verifyGraft } from '../../src/elf/rules/verify.ts'
import { missing } from '../support/requires.ts'
import { edited, formatOfBytes, objectBytes, objectNames } from './objects.ts'
import { readelf } from './readelf.ts'

const EDIT = { searchPath: { tag: 'DT_RUNPATH', value: `/nix/store/${'x'.repeat(32)}-lib/lib` } } as const
const loadsOf = (bytes: Uint8Array) => readElf(bytesSource(bytes)).programHeaders.filter(({ type }) => type === PT_LOAD)

test('patchelf#492, #528, #557: every PT_LOAD has its address and offset equal modulo p_align, not only modulo a page', () => {
  for (const name of objectNames) {
    for (const { vaddr, offset, align } of loadsOf(edited(objectBytes(name), EDIT))) {
      if (align > 1n) assert.equal((vaddr - BigInt(offset)) % align, 0n, name)
    }
  }
})

test('patchelf#664: --verify finds a stale DT_VERDEF, and no edit makes one', () => {
  const bytes = objectBytes('x86_64.so')
  const object = readElf(bytesSource(bytes))
  const segment = object.programHeaders.find(({ type }) => type === PT_DYNAMIC)
  const index = object.dynamic?.findIndex(({ tag }) => tag === DT_VERDEF) ?? -1
  assert.ok(segment !== undefined && index >= 0)
  const format = formatOfBytes(bytes)
  const stale = Buffer.from(bytes)
  const value = object.dynamic?.[index]?.value ?? 0n
  put(format, stale, segment.offset + index * format.dyn.bytes, format.dyn.value, value + 8n)
  const rules = verifyElf(bytesSource(stale)).map(({ rule }) => rule)
  assert.ok(rules.includes('version-tables') || rules.includes('readable'), rules.join(' '))
  assert.deepEqual(verifyElf(bytesSource(edited(bytes, EDIT))), [])
})

test('patchelf#643: program headers near the end of the file are read and replaced', () => {
  const once = edited(objectBytes('x86_64.so'), EDIT)
  // one byte more: the undo record no longer fits, so that the file is edited as anybody’s
  const foreign = Buffer.concat([once, Buffer.alloc(1)])
  const edit = { addNeeded: ['libmore.so'] }
  const twice = edited(foreign, edit)
  verifyGraft(bytesSource(foreign), bytesSource(twice), edit)
})

test('patchelf#96, #370: a hundred edits leave one graft, and a file no larger than one edit makes it', async () => {
  const { rewriteObject } = await import('../../src/patchelf/rewrite.ts')
  const folder = mkdtempSync(join(tmpdir(), 'wheelfix-bugs-'))
  try {
    const file = join(folder, 'object.so')
    const bytes = objectBytes('x86_64.so')
    writeFileSync(file, bytes)
    for (let round = 0; round < 100; round++) {
      rewriteObject(file, (_, state) => ({ ...state, rpath: null, runpath: `/nix/store/${round}/lib` }))
    }
    const result = readFileSync(file)
    assert.equal(loadsOf(result).length, loadsOf(bytes).length + 1)
    assert.deepEqual(result, edited(bytes, { searchPath: { tag: 'DT_RUNPATH', value: '/nix/store/99/lib' } }))
  } finally {
    rmSync(folder, { recursive: true })
  }
})

test('patchelf#79, #216, LIEF#1366: machines with 64 KiB pages get segments that such a kernel can map', () => {
  for (const name of ['aarch64.so', 'aarch64.exe', 'ppc64le.so', 'ppc64.exe', 'mipsel.so', 'loongarch64.yaml']) {
    for (const { vaddr, offset } of loadsOf(edited(objectBytes(name), EDIT))) {
      assert.equal((vaddr - BigInt(offset)) % 0x10000n, 0n, name)
    }
  }
})

test('no segment shares a page with another one, even with the smallest --page-size; --verify finds one that does', () => {
  for (const name of objectNames) {
    const bytes = objectBytes(name)
    const graft = makeGraft(bytesSource(bytes), EDIT, { pageSize: 64 })
    assert.ok(graft !== null)
    const source = graftedSource(bytesSource(bytes), graft)
    assert.ok(!verifyElf(source).some(({ rule }) => rule === 'load-apart'), name)

    const object = readElf(source)
    const { programHeaders } = object
    const index = programHeaders.findLastIndex(({ type }) => type === PT_LOAD)
    const before = programHeaders.slice(0, index).findLast(({ type }) => type === PT_LOAD)
    const vaddr = (before?.vaddr ?? 0n) + (before?.memsz ?? 0n) + 1n
    const moved = programHeaders.map((header, at) => (at === index ? { ...header, vaddr } : header))
    const rules: string[] = []
    checkLoads(source.size, { ...object, programHeaders: moved }, rule => rules.push(rule))
    assert.ok(rules.includes('load-apart'), `${name}: ${rules.join(' ')}`)
  }
})

test('patchelf#622: the lowest address of a program stays the lowest', () => {
  for (const name of objectNames) {
    assert.equal(loadsOf(edited(objectBytes(name), EDIT))[0]?.vaddr, loadsOf(objectBytes(name))[0]?.vaddr, name)
  }
})

test('repairwheel#33: no PT_LOAD ends behind the file, although loaders since glibc 2.29 may map it', () => {
  for (const name of objectNames) {
    const result = edited(objectBytes(name), EDIT)
    for (const { offset, filesz } of loadsOf(result)) assert.ok(offset + filesz <= result.length, name)
    const cut = bytesSource(result.subarray(0, -(result.length - objectBytes(name).length) + 64))
    assert.ok(
      verifyElf(cut).some(({ rule }) => /in-file|readable|sections/.test(rule)),
      name,
    )
  }
})

test('patchelf#250, #368, #639, #664: only the strings and the search path of the dynamic table change, and no address, on any machine', () => {
  for (const name of objectNames) {
    const bytes = objectBytes(name)
    const hook = [DT_DEBUG, DT_MIPS_RLD_MAP_REL]
    const others = (of: Uint8Array) =>
      (readElf(bytesSource(of)).dynamic ?? []).filter(
        ({ tag }) => ![DT_NULL, DT_RPATH, DT_RUNPATH, DT_STRTAB, DT_STRSZ, ...hook].includes(tag),
      )
    assert.deepEqual(others(edited(bytes, EDIT)), others(bytes), name)
  }
})

test('patchelf#663: a PT_PHDR that is kept is in a PT_LOAD, with the same distance between address and offset', () => {
  for (const name of objectNames) {
    const { header, programHeaders } = readElf(bytesSource(edited(objectBytes(name), EDIT)))
    const phdr = programHeaders.find(({ type }) => type === PT_PHDR)
    if (phdr === undefined) continue
    const load = programHeaders.find(
      ({ type, offset, filesz }) => type === PT_LOAD && offset <= phdr.offset && phdr.offset < offset + filesz,
    )
    assert.ok(load !== undefined, name)
    assert.equal(phdr.offset, header.phoff, name)
    assert.equal(phdr.vaddr - load.vaddr, BigInt(phdr.offset - load.offset), name)
    assert.ok(phdr.vaddr + phdr.memsz <= load.vaddr + load.memsz, name)
  }
})

test('patchelf#146, #152: the new .dynamic is in a segment that the loader can write to', () => {
  for (const name of objectNames) {
    const { programHeaders } = readElf(bytesSource(edited(objectBytes(name), EDIT)))
    const dynamic = programHeaders.find(({ type }) => type === PT_DYNAMIC)
    const load = programHeaders.findLast(
      ({ type, vaddr, memsz }) =>
        type === PT_LOAD && dynamic !== undefined && vaddr <= dynamic.vaddr && dynamic.vaddr < vaddr + memsz,
    )
    assert.equal((load?.flags ?? 0) & PF_W, PF_W, name)
  }
})

test('patchelf#217, #275, LIEF#611: notes stay where they are, with the alignment that they have', () => {
  for (const name of objectNames) {
    const notes = (bytes: Uint8Array) =>
      readElf(bytesSource(bytes)).programHeaders.filter(({ type }) => type === PT_NOTE)
    assert.deepEqual(notes(edited(objectBytes(name), EDIT)), notes(objectBytes(name)))
  }
})

test('patchelf#197, #619: sections keep their numbers; new ones come behind them', () => {
  for (const name of objectNames) {
    const bytes = objectBytes(name)
    const result = edited(bytes, EDIT)
    const table = (of: Uint8Array) => readSections(bytesSource(of), readElf(bytesSource(of)).header)
    const [old, now] = [table(bytes), table(result)]
    assert.ok(old !== null && now !== null && now.count > old.count)
    for (let index = 0; index < old.count; index++) {
      assert.equal(sectionAddress(now, index, 'addr'), sectionAddress(old, index, 'addr'))
    }
  }
})

test('more sections than 16 bits can number: the count goes into section 0', { skip: missing('readelf') }, () => {
  const bytes = objectBytes('x86_64.so')
  const { header } = readElf(bytesSource(bytes))
  const format = formatOfBytes(bytes)
  const count = 0xfeff
  // sections without a name or content, up to one below the limit
  const table = Buffer.alloc(count * format.shdr.bytes)
  bytes.copy(table, 0, header.shoff, header.shoff + header.shnum * format.shdr.bytes)
  const many = Buffer.concat([bytes, Buffer.alloc(8 - (bytes.length % 8)), table])
  put(format, many, 0, format.ehdr.shoff, many.length - table.length)
  put(format, many, 0, format.ehdr.shnum, count)
  assert.equal(readElf(bytesSource(many)).header.shnum, count)
  const result = edited(many, EDIT)
  const after = readElf(bytesSource(result)).header.shnum
  assert.ok(after > 0xff00)
  const folder = mkdtempSync(join(tmpdir(), 'wheelfix-bugs-'))
  try {
    writeFileSync(join(folder, 'many.so'), result)
    const theirs = readelf(join(folder, 'many.so'))
    assert.equal(theirs.header.shnum, after)
    assert.equal(theirs.header.shstrndx, header.shstrndx)
    assert.equal(theirs.stderr, '')
  } finally {
    rmSync(folder, { recursive: true })
  }
})

test('patchelf#62, #222, #305, #148, #571: a file of 6 GB is edited with offsets past 2^32 and little memory', () => {
  const bytes = objectBytes('x86_64.so')
  const size = 6 * 2 ** 30
  const source: ByteSource = {
    size,
    read(offset, length) {
      assert.ok(length < 1 << 20, `${length} bytes at once`)
      const result = Buffer.alloc(length)
      if (offset < bytes.length) bytes.copy(result, 0, offset, Math.min(bytes.length, offset + length))
      return result
    },
  }
  const graft = makeGraft(source, EDIT)
  assert.ok(graft !== null)
  const { header, runpath } = readElf(graftedSource(source, graft))
  assert.ok(header.phoff > size)
  assert.equal(runpath, EDIT.searchPath.value)
})

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { DF_1_NODEFLIB, DT_STRTAB, PF_X, PT_DYNAMIC, PT_GNU_STACK, PT_LOAD, PT_PHDR } from '../../src/elf/constants.ts'
import type { ElfEdit } from '../../src/elf/edit/edit.ts'
import { ElfError } from '../../src/elf/error.ts'
import { makeGraft } from '../../src/elf/graft/graft.ts'
import { stringTableAddress } from '../../src/elf/graft/placement.ts'
import { formatOf, put } from '../../src/elf/layout.ts'
import { readElf } from '../../src/elf/read.ts'
import { findSection, readSections, sectionAddress } from '../../src/elf/tables/sections.ts'
import { bytesSource } from '../../src/elf/source.ts'
import { readUndo } from '../../src/elf/graft/undo-note.ts'
import { verifyElf, verifyGraft } from '../../src/elf/rules/verify.ts'
import { edited, objectBytes, objectNames, poked, restored } from './objects.ts'

const STORE = '/nix/store/0123456789abcdfghijklmnpqrsvwxyz-gcc-15.1.0-lib/lib'

const editsOf = (bytes: Uint8Array): Record<string, ElfEdit> => {
  const { ptInterp: interpreter, needed, runpath, rpath } = readElf(bytesSource(bytes))
  return {
    'a longer search path': { searchPath: { tag: 'DT_RPATH', value: `${rpath ?? runpath ?? ''}:${STORE}` } },
    'the other tag': { searchPath: { tag: 'DT_RUNPATH', value: STORE } },
    'an empty search path': { searchPath: { tag: 'DT_RUNPATH', value: '' } },
    'another needed': { replaceNeeded: new Map([[needed[0] ?? '', 'libother.so.2']]) },
    'one more needed': { addNeeded: ['libmore.so', 'libfirst.so'] },
    'one needed less': { removeNeeded: [needed[0] ?? ''] },
    'a soname': { soname: 'libnew.so.3' },
    'no default directories': { noDefaultLib: true },
    'a path that is no UTF-8': { searchPath: { tag: 'DT_RUNPATH', value: '/lib/\uDCFF\uDCFE' } },
    ...(interpreter === null ? {} : { 'an interpreter': { interpreter: `${STORE}/ld-linux.so.2` } }),
  }
}

for (const name of objectNames) {
  const bytes = objectBytes(name)
  for (const [what, edit] of Object.entries(editsOf(bytes))) {
    test(`${name}: ${what}: the result verifies, is stable, and restores to the same bytes`, () => {
      const result = edited(bytes, edit)
      verifyGraft(bytesSource(bytes), bytesSource(result), edit)
      assert.deepEqual(edited(bytes, edit), result, 'the same edit gives the same bytes')
      assert.equal(makeGraft(bytesSource(result), edit), null, 'the edited object is as the edit wants it')
      assert.deepEqual(restored(result), bytes)
      assert.deepEqual(
        verifyElf(bytesSource(result)).map(({ rule }) => rule),
        verifyElf(bytesSource(bytes)).map(({ rule }) => rule),
      )
    })
  }

  test(`${name}: only the header changes below the original size`, () => {
    const result = edited(bytes, { searchPath: { tag: 'DT_RPATH', value: STORE } })
    const header = readElf(bytesSource(bytes)).header.class === 64 ? 64 : 52
    assert.deepEqual(result.subarray(header, bytes.length), bytes.subarray(header))
  })
}

test('a graft that another tool has changed in place (chrpath) is an ordinary part of the file: it takes a new graft', () => {
  let moved = 0
  for (const name of ['x86_64.so', 'i686.so', 's390x.so']) {
    // with .bss, each graft begins on a page of its own
    const bytes = objectBytes(name)
    const { header, programHeaders } = readElf(bytesSource(bytes))
    const format = formatOf(header)
    const last = programHeaders.findLastIndex(({ type }) => type === PT_LOAD)
    const length = (programHeaders[last]?.memsz ?? 0n) + 20_000n
    put(format, bytes, header.phoff + last * format.phdr.bytes, format.phdr.memsz, length)
    // wherever the program headers of the first graft lie in their page: at its start, no PT_LOAD maps them
    for (let length = 40; length < 4096 + 40; length += 16) {
      const first = edited(bytes, { searchPath: { tag: 'DT_RUNPATH', value: `/first${'x'.repeat(length)}` } })
      first.write('/chang', first.indexOf('/firstx'))
      assert.equal(readUndo(bytesSource(first)), null)
      const edit = { searchPath: { tag: 'DT_RUNPATH', value: STORE } } as const
      const second = edited(first, edit)
      verifyGraft(bytesSource(first), bytesSource(second), edit)
      assert.ok(restored(second).equals(first), name)
      moved++
    }
  }
  assert.ok(moved > 500, String(moved))
})

for (const name of objectNames) {
  test(`${name}: wiped strings are gone from the file, and come back with the undo`, () => {
    const bytes = objectBytes(name)
    const { ptInterp: interpreter, rpath, runpath } = readElf(bytesSource(bytes))
    for (const [what, edit] of Object.entries(editsOf(bytes))) {
      const result = edited(bytes, edit, { wipes: () => true })
      verifyGraft(bytesSource(bytes), bytesSource(result), edit)
      assert.deepEqual(restored(result), bytes, what)
      assert.deepEqual(edited(restored(result), edit, { wipes: () => false }), edited(bytes, edit), what)
      const changed = [...bytes.keys()].filter(at => at >= 64 && bytes[at] !== result[at])
      assert.ok(
        changed.every(at => result[at] === 0x58),
        what,
      )
      // without a section of the symbols it cannot be told what else a string may be
      if (name.endsWith('.yaml')) continue
      const gone = [
        edit.interpreter === undefined ? null : interpreter,
        edit.searchPath?.value === STORE ? (rpath ?? runpath) : null,
      ].filter(text => text !== null && !isShared(bytes, text))
      for (const text of gone) assert.equal(result.indexOf(`${text}\0`), -1, `${what}: ${text}`)
    }
  })
}

test('no string is wiped in a table that also holds the section names', () => {
  const bytes = objectBytes('x86_64.so')
  const object = readElf(bytesSource(bytes))
  const sections = readSections(bytesSource(bytes), object.header)
  const address = stringTableAddress(object)
  assert.ok(sections)
  const dynstr = findSection(sections, at => sectionAddress(sections, at, 'addr') === address)
  const shared = poked(bytes, { ehdr: 'shstrndx', value: dynstr })
  const edit: ElfEdit = { searchPath: { tag: 'DT_RUNPATH', value: STORE } }
  const changedBelow = (of: Buffer) => {
    const result = edited(of, edit, { wipes: () => true })
    return [...of.keys()].some(at => at >= 64 && of[at] !== result[at])
  }
  assert.deepEqual([changedBelow(bytes), changedBelow(shared)], [true, false])
})

/** Does the text stand in the file as the end of another one, or more than once? */
function isShared(bytes: Buffer, text: string): boolean {
  const at = bytes.indexOf(`\0${text}\0`)
  return at < 0 || bytes.indexOf(`${text}\0`, at + 2) >= 0 || bytes.indexOf(`${text}\0`) !== at + 1
}

test('an edit that asks for the present state changes nothing', () => {
  const bytes = objectBytes('x86_64.so')
  const { rpath, soname, needed } = readElf(bytesSource(bytes))
  assert.equal(makeGraft(bytesSource(bytes), {}), null)
  assert.equal(
    makeGraft(bytesSource(bytes), {
      searchPath: { tag: 'DT_RPATH', value: rpath ?? '' },
      soname,
      removeNeeded: ['libabsent.so'],
      replaceNeeded: new Map([[needed[0] ?? '', needed[0] ?? '']]),
      addNeeded: [],
    }),
    null,
  )
})

test('all edits at once make one graft', () => {
  const bytes = objectBytes('x86_64.exe')
  const edit: ElfEdit = {
    searchPath: { tag: 'DT_RUNPATH', value: STORE },
    interpreter: `${STORE}/ld-linux-x86-64.so.2`,
    replaceNeeded: new Map([['libone.so.1', 'libtwo.so']]),
    addNeeded: ['libthree.so'],
    noDefaultLib: true,
    executableStack: true,
  }
  const result = edited(bytes, edit)
  verifyGraft(bytesSource(bytes), bytesSource(result), edit)
  const object = readElf(bytesSource(result))
  assert.deepEqual(object.needed, ['libthree.so', 'libtwo.so'])
  assert.equal(object.runpath, STORE)
  assert.equal(object.ptInterp, `${STORE}/ld-linux-x86-64.so.2`)
  assert.equal(object.flags1 & DF_1_NODEFLIB, DF_1_NODEFLIB)
  const count = (type: number, of: Uint8Array): number =>
    readElf(bytesSource(of)).programHeaders.filter(header => header.type === type).length
  assert.equal(count(PT_LOAD, result), count(PT_LOAD, bytes) + 1)
})

test('verneed’s file names follow a replaced needed', () => {
  for (const name of objectNames.filter(one => one.endsWith('.so'))) {
    const result = edited(objectBytes(name), { replaceNeeded: new Map([['libzero.so.1', '/opt/lib/libzero-0.so']]) })
    const object = readElf(bytesSource(result))
    assert.deepEqual(object.needed, ['/opt/lib/libzero-0.so'])
    assert.deepEqual(object.versionNeeds[0]?.file, '/opt/lib/libzero-0.so')
    assert.deepEqual(object.versionNeeds[0]?.versions[0]?.name, 'ZERO_1.0')
  }
})

test('the stack’s flag is changed in place, and the opposite edit changes it back', () => {
  for (const name of objectNames.filter(one => one.endsWith('.exe'))) {
    const bytes = objectBytes(name)
    const stack = readElf(bytesSource(bytes)).programHeaders.find(({ type }) => type === PT_GNU_STACK)
    if (stack === undefined) continue
    const was = (stack.flags & PF_X) !== 0
    const result = edited(bytes, { executableStack: !was })
    assert.equal(result.length, bytes.length)
    assert.equal(result.filter((byte, index) => byte !== bytes[index]).length, 1)
    assert.deepEqual(edited(result, { executableStack: was }), bytes)
  }
})

test('a shared object for glibc has its program headers outside of memory, a program and a musl object inside', () => {
  const holds = (bytes: Uint8Array): boolean => {
    const { header, programHeaders } = readElf(bytesSource(bytes))
    return programHeaders.some(
      ({ type, offset, filesz }) => type === PT_LOAD && offset <= header.phoff && header.phoff < offset + filesz,
    )
  }
  const edit: ElfEdit = { searchPath: { tag: 'DT_RUNPATH', value: STORE } }
  for (const name of objectNames) {
    const bytes = objectBytes(name)
    assert.equal(holds(edited(bytes, edit)), name.endsWith('.exe'), name)
    assert.equal(holds(edited(bytes, edit, { libc: 'musl' })), true, name)
    assert.equal(holds(edited(edited(bytes, { addNeeded: ['libc.musl-x86_64.so.1'] }), edit)), true, name)
  }
})

test('a program’s graft keeps the distance of address and offset of its first segment, for AT_PHDR', () => {
  for (const name of objectNames.filter(one => one.endsWith('.exe'))) {
    const { header, programHeaders } = readElf(
      bytesSource(edited(objectBytes(name), { searchPath: { tag: 'DT_RUNPATH', value: STORE } })),
    )
    const first = programHeaders.find(({ type }) => type === PT_LOAD)
    const phdr = programHeaders.find(({ type }) => type === PT_PHDR)
    assert.ok(first !== undefined)
    if (phdr !== undefined) assert.equal(phdr.vaddr - BigInt(header.phoff), first.vaddr - BigInt(first.offset), name)
  }
})

test('a segment is aligned to the machine’s largest page, or as --page-size says', () => {
  const alignOf = (bytes: Uint8Array, pageSize?: number): bigint | undefined => {
    const edit: ElfEdit = { searchPath: { tag: 'DT_RUNPATH', value: STORE } }
    const options = pageSize === undefined ? {} : { pageSize }
    const { programHeaders } = readElf(bytesSource(edited(bytes, edit, options)))
    const load = programHeaders.findLast(({ type }) => type === PT_LOAD)
    if (load !== undefined) assert.equal((load.vaddr - BigInt(load.offset)) % load.align, 0n)
    return load?.align
  }
  assert.equal(alignOf(objectBytes('x86_64.so')), 0x1000n)
  assert.equal(alignOf(objectBytes('i686.so')), 0x1000n)
  assert.equal(alignOf(objectBytes('aarch64.so')), 0x10000n)
  assert.equal(alignOf(objectBytes('ppc64le.so')), 0x10000n)
  assert.equal(alignOf(objectBytes('mipsel.so')), 0x10000n)
  assert.equal(alignOf(objectBytes('loongarch64.yaml')), 0x10000n)
  assert.equal(alignOf(objectBytes('x86_64.so'), 0x4000), 0x4000n)
})

test('a graft takes a page of a 32-bit address space, even if the file asks for 256 MB', () => {
  for (const name of ['i686.so', 'armv7l.so', 'mipsel.so', 'ppc.so']) {
    const bytes = poked(objectBytes(name), { phdr: 'align', type: PT_LOAD, value: 0x10000000 })
    const end = (object: Uint8Array): bigint =>
      readElf(bytesSource(object))
        .programHeaders.filter(({ type }) => type === PT_LOAD)
        .reduce((last, { vaddr, memsz }) => (vaddr + memsz > last ? vaddr + memsz : last), 0n)
    const result = edited(bytes, { searchPath: { tag: 'DT_RUNPATH', value: STORE } })
    assert.ok(end(result) - end(bytes) < 0x30000n, name)
    assert.deepEqual(restored(result), bytes)
  }
})

test('an undo record counts only while nothing else has changed the file', () => {
  const result = edited(
    objectBytes('x86_64.so'),
    { searchPath: { tag: 'DT_RUNPATH', value: STORE } },
    { record: 'a,b' },
  )
  assert.equal(readUndo(bytesSource(result))?.record, 'a,b')
  assert.equal(readUndo(bytesSource(Buffer.concat([result, Buffer.alloc(1)]))), null, 'longer')
  assert.equal(readUndo(bytesSource(result.subarray(0, -1))), null, 'shorter')
  const header = poked(result, { ehdr: 'flags', value: 1 })
  assert.equal(readUndo(bytesSource(header)), null, 'another header')
  const { dynamic } = readElf(bytesSource(result))
  assert.ok(dynamic?.some(({ tag }) => tag === DT_STRTAB))
  const at = result.indexOf(STORE)
  const inside = Buffer.from(result)
  inside[at] = 0x2e
  assert.equal(readUndo(bytesSource(inside)), null, 'another string')
})

test('an undo record of a later version or of an unknown owner is refused, with the reason', () => {
  for (const change of [
    (result: Buffer, note: number) => result.writeUInt32LE(3, note + 8),
    (result: Buffer, note: number) => result.write('somebody', note + 24 + 48, 'latin1'),
  ]) {
    const result = edited(objectBytes('x86_64.so'), { searchPath: { tag: 'DT_RUNPATH', value: STORE } })
    change(result, result.indexOf('wheelfix\0') - 12)
    assert.throws(
      () => readUndo(bytesSource(result)),
      error => error instanceof ElfError && error.code === 'REFUSED' && error.message.includes('a newer wheelfix'),
    )
    assert.throws(() => makeGraft(bytesSource(result), { addNeeded: ['x'] }), ElfError)
  }
})

test('the old dynamic table stays in its place, for code that looks there', () => {
  const bytes = objectBytes('x86_64.exe')
  const segment = readElf(bytesSource(bytes)).programHeaders.find(({ type }) => type === PT_DYNAMIC)
  const result = edited(bytes, { addNeeded: ['libmore.so'] })
  assert.ok(segment !== undefined)
  const range = [segment.offset, segment.offset + segment.filesz] as const
  assert.deepEqual(result.subarray(...range), bytes.subarray(...range))
})

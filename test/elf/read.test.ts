import assert from 'node:assert/strict'
import { test } from 'node:test'
import { DT_VERNEED, PN_XNUM, PT_DYNAMIC, PT_INTERP, PT_LOAD } from '../../src/elf/constants.ts'
import { ElfError } from '../../src/elf/error.ts'
import { extentAt } from '../../src/elf/memory.ts'
import { put } from '../../src/elf/layout.ts'
import { isElf, readElf } from '../../src/elf/read.ts'
import { type ByteSource, bytesSource } from '../../src/elf/source.ts'
import { definesSymbol } from '../../src/elf/tables/symbols.ts'
import { formatOfBytes, objectBytes, objectNames, poked } from './objects.ts'

const code = (expected: string) => (error: unknown) => error instanceof ElfError && error.code === expected

for (const name of objectNames.filter(one => one.endsWith('.so'))) {
  test(`${name}: what the loader sees is read, on every machine and in both byte orders`, () => {
    const source = bytesSource(objectBytes(name))
    const object = readElf(source)
    assert.deepEqual(object.needed, ['libzero.so.1'])
    assert.equal(object.soname, 'libone.so.1')
    assert.equal(object.rpath ?? object.runpath, '$ORIGIN/../one.libs')
    assert.deepEqual(object.versionNeeds, [{ file: 'libzero.so.1', versions: [{ name: 'ZERO_1.0', weak: false }] }])
    assert.deepEqual(object.versionDefinitions, ['ONE_1.0'])
    assert.equal(object.ptInterp, null)
    assert.equal(definesSymbol(source, object, 'one'), true)
    assert.equal(definesSymbol(source, object, 'zero'), false, 'it is undefined here')
    assert.equal(definesSymbol(source, object, 'none'), false)
  })
}

for (const name of objectNames.filter(one => one.endsWith('.exe'))) {
  test(`${name}: a program’s interpreter and needs are read`, () => {
    const object = readElf(bytesSource(objectBytes(name)))
    assert.deepEqual(object.needed, ['libone.so.1'])
    assert.equal(object.ptInterp, '/lib/ld.so.1')
  })
}

for (const name of objectNames.filter(one => one.endsWith('.yaml'))) {
  test(`${name}: a machine without a compiler is read`, () => {
    const object = readElf(bytesSource(objectBytes(name)))
    assert.deepEqual(object.needed, ['liba.so.1', 'libb.so.2'])
    assert.equal(object.soname, 'libexotic.so')
    assert.equal(object.rpath, '$ORIGIN/lib')
  })
}

test('addresses past 2^53 are exact', () => {
  const { programHeaders } = readElf(bytesSource(objectBytes('ia64.yaml')))
  assert.equal(programHeaders[1]?.vaddr, 0x6000000000002000n)
})

test('every field of both headers is read as it is in the bytes, whatever its value', () => {
  const values = [0n, 1n, 0x7fffffffn, 0xffffffffn, (1n << 53n) - 1n, 1n << 53n, (1n << 53n) + 1n, (1n << 64n) - 1n]
  for (const name of ['x86_64.so', 's390x.so', 'i686.so', 'ppc.so']) {
    const bytes = objectBytes(name)
    const format = formatOfBytes(bytes)
    const { header, programHeaders } = readElf(bytesSource(bytes))
    // one that the reader itself goes by must stay
    const index = programHeaders.findIndex(({ type }) => ![PT_LOAD, PT_DYNAMIC].includes(type))
    const start = header.phoff + index * format.phdr.bytes
    for (const value of values.map(wide => BigInt.asUintN(header.class, wide))) {
      for (const field of ['vaddr', 'paddr', 'memsz', 'align'] as const) {
        const copy = Buffer.from(bytes)
        put(format, copy, start, format.phdr[field], value)
        assert.equal(readElf(bytesSource(copy)).programHeaders[index]?.[field], value, `${name} ${field}`)
      }
      const copy = Buffer.from(bytes)
      put(format, copy, 0, format.ehdr.entry, value)
      put(format, copy, 0, format.ehdr.flags, Number(BigInt.asUintN(32, value)))
      put(format, copy, start, format.phdr.flags, Number(BigInt.asUintN(32, value)))
      put(format, copy, 0, format.ehdr.version, 2)
      const read = readElf(bytesSource(copy))
      assert.equal(read.header.entry, value)
      assert.equal(read.header.flags, Number(BigInt.asUintN(32, value)))
      assert.equal(read.programHeaders[index]?.flags, Number(BigInt.asUintN(32, value)))
      assert.equal(read.header.isCurrent, false)
    }
  }
})

test('the program headers may be anywhere in the file', () => {
  for (const name of ['x86_64.so', 's390x.so', 'i686.so', 'ppc.exe']) {
    const bytes = objectBytes(name)
    const { header, ...rest } = readElf(bytesSource(bytes))
    const format = formatOfBytes(bytes)
    const table = bytes.subarray(header.phoff, header.phoff + header.phnum * format.phdr.bytes)
    const far = Buffer.concat([bytes, Buffer.alloc(100_000), table])
    put(format, far, 0, format.ehdr.phoff, far.length - table.length)
    const object = readElf(bytesSource(far))
    assert.deepEqual({ ...object.header, phoff: header.phoff }, header)
    assert.deepEqual(object.programHeaders, rest.programHeaders)
    assert.deepEqual(object.needed, rest.needed)
  }
})

test('PN_XNUM and section numbers that do not fit are read from section 0', () => {
  const bytes = objectBytes('x86_64.so')
  const { header } = readElf(bytesSource(bytes))
  const format = formatOfBytes(bytes)
  put(format, bytes, header.shoff, format.shdr.info, header.phnum)
  put(format, bytes, header.shoff, format.shdr.size, header.shnum)
  put(format, bytes, header.shoff, format.shdr.link, header.shstrndx)
  const extended = poked(
    bytes,
    { ehdr: 'shnum', value: 0 },
    { ehdr: 'shstrndx', value: 0xffff },
    { ehdr: 'phnum', value: PN_XNUM },
  )
  assert.deepEqual(readElf(bytesSource(extended)).header, header)
})

test('a table outside the file is TRUNCATED, before anything of it is read', () => {
  const bytes = objectBytes('x86_64.so')
  for (const value of [BigInt(bytes.length) - 55n, BigInt(bytes.length), 1n << 40n]) {
    assert.throws(() => readElf(bytesSource(poked(bytes, { ehdr: 'phoff', value }))), code('TRUNCATED'))
  }
  for (let length = 0; length < 64; length++) {
    assert.throws(() => readElf(bytesSource(bytes.subarray(0, length))), ElfError)
  }
})

test('an offset or size past 2^53 is TRUNCATED: no file reaches there', () => {
  const bytes = objectBytes('x86_64.so')
  for (const value of [1n << 53n, (1n << 53n) + 1n, 1n << 63n, (1n << 64n) - 64n]) {
    assert.throws(() => readElf(bytesSource(poked(bytes, { ehdr: 'phoff', value }))), code('TRUNCATED'))
    assert.throws(() => readElf(bytesSource(poked(bytes, { phdr: 'offset', type: PT_LOAD, value }))), code('TRUNCATED'))
    assert.throws(() => readElf(bytesSource(poked(bytes, { phdr: 'filesz', type: PT_LOAD, value }))), code('TRUNCATED'))
  }
})

test('a file that is not an ELF file is NOT_ELF', () => {
  assert.throws(() => readElf(bytesSource(Buffer.from('#!/bin/sh\n'))), code('NOT_ELF'))
  assert.throws(() => readElf(bytesSource(Buffer.alloc(0))), code('NOT_ELF'))
  assert.throws(() => readElf(bytesSource(Buffer.from('!<arch>\nlibfoo.o/       0'))), code('NOT_ELF'))
  assert.equal(isElf(Buffer.from('\x7fELF')), true)
})

test('a wrong e_phentsize is MALFORMED', () => {
  for (const value of [0, 32, 57]) {
    const bytes = poked(objectBytes('x86_64.so'), { ehdr: 'phentsize', value })
    assert.throws(() => readElf(bytesSource(bytes)), code('MALFORMED'))
  }
})

test('reading stops at a chain of versions that forms a circle or never ends', () => {
  const bytes = objectBytes('x86_64.so')
  const { dynamic, programHeaders } = readElf(bytesSource(bytes))
  const at = extentAt(programHeaders, dynamic?.find(({ tag }) => tag === DT_VERNEED)?.value ?? 0n)?.offset ?? 0
  const format = formatOfBytes(bytes)
  for (const next of [1, 16, 0xfffffff0, 0xffffffff]) {
    const copy = Buffer.from(bytes)
    put(format, copy, at, format.verneed.next, next)
    const started = performance.now()
    try {
      readElf(bytesSource(copy))
    } catch (error) {
      assert.ok(error instanceof ElfError)
    }
    assert.ok(performance.now() - started < 1000)
  }
})

test('a string without its NUL is an error, also at the very end of the file', () => {
  const bytes = objectBytes('x86_64.exe')
  const interpreter = readElf(bytesSource(bytes)).programHeaders.find(({ type }) => type === PT_INTERP)
  assert.ok(interpreter !== undefined)
  bytes.fill(0x61, interpreter.offset, interpreter.offset + interpreter.filesz)
  assert.throws(() => readElf(bytesSource(bytes)), code('MALFORMED'))
})

test('an object without PT_DYNAMIC, or with an empty one, has no dynamic table', () => {
  const bytes = objectBytes('x86_64.so')
  assert.equal(readElf(bytesSource(poked(bytes, { phdr: 'type', type: PT_DYNAMIC, value: 0 }))).dynamic, null)
  assert.equal(readElf(bytesSource(poked(bytes, { phdr: 'filesz', type: PT_DYNAMIC, value: 0 }))).dynamic, null)
})

test('only a few kilobytes of a large object are read', () => {
  const bytes = Buffer.concat([objectBytes('x86_64.so'), Buffer.alloc(1 << 20)])
  const source = bytesSource(bytes)
  let read = 0
  const counting: ByteSource = {
    size: source.size,
    read(offset, length) {
      read += length
      return source.read(offset, length)
    },
  }
  readElf(counting)
  assert.ok(read < 16_384, `${read} bytes`)
})

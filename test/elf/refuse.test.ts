import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  DF_1_PIE,
  DT_FLAGS_1,
  ET_CORE,
  ET_REL,
  PT_DYNAMIC,
  PT_INTERP,
  PT_LOAD,
  PT_NULL,
} from '../../src/elf/constants.ts'
import type { ElfEdit } from '../../src/elf/edit/edit.ts'
import { ElfError, type ElfErrorCode } from '../../src/elf/error.ts'
import { graftedSource, makeGraft } from '../../src/elf/graft/graft.ts'
import { put } from '../../src/elf/layout.ts'
import { readElf } from '../../src/elf/read.ts'
import { bytesSource } from '../../src/elf/source.ts'
import { verifyGraft } from '../../src/elf/rules/verify.ts'
import { edited, formatOfBytes, objectBytes, objectNames, poked, restored } from './objects.ts'

const EDIT = { searchPath: { tag: 'DT_RUNPATH', value: '/nix/store/x/lib' } } as const

function assertRefused(bytes: Uint8Array, reason: RegExp, code: ElfErrorCode = 'REFUSED'): void {
  assert.throws(
    () => makeGraft(bytesSource(bytes), EDIT),
    error => {
      assert.ok(error instanceof ElfError, String(error))
      assert.equal(error.code, code, error.message)
      assert.match(error.message, reason)
      return true
    },
  )
}

test('a core file and a relocatable object are refused', () => {
  assertRefused(poked(objectBytes('x86_64.so'), { ehdr: 'type', value: ET_CORE }), /core file/)
  assertRefused(poked(objectBytes('x86_64.so'), { ehdr: 'type', value: ET_REL }), /relocatable/)
})

test('an archive is not an ELF file', () => {
  assertRefused(Buffer.from('!<arch>\n'.padEnd(200)), /magic/, 'NOT_ELF')
})

test('a static program is refused: it loads no libraries', () => {
  const program = poked(
    objectBytes('x86_64-exec.exe'),
    { phdr: 'type', type: PT_DYNAMIC, value: PT_NULL },
    { phdr: 'type', type: PT_INTERP, value: PT_NULL },
  )
  assertRefused(program, /PT_DYNAMIC/)
})

test('a static-pie is refused, although it has a dynamic table', () => {
  const bytes = poked(objectBytes('x86_64.exe'), { phdr: 'type', type: PT_INTERP, value: PT_NULL })
  const { dynamic, programHeaders } = readElf(bytesSource(bytes))
  const segment = programHeaders.find(({ type }) => type === PT_DYNAMIC)
  const index = dynamic?.findIndex(({ tag }) => tag === DT_FLAGS_1) ?? -1
  assert.ok(segment !== undefined && index >= 0)
  const format = formatOfBytes(bytes)
  put(format, bytes, segment.offset + index * format.dyn.bytes, format.dyn.value, DF_1_PIE)
  assertRefused(bytes, /static-pie/)
})

test('.dynamic that only a section names is refused, with that reason', () => {
  const bytes = poked(objectBytes('x86_64.so'), { phdr: 'type', type: PT_DYNAMIC, value: PT_NULL })
  assertRefused(bytes, /no PT_DYNAMIC names its \.dynamic/)
})

test('.dynamic in no PT_LOAD is refused', () => {
  const bytes = poked(objectBytes('x86_64.so'), { phdr: 'vaddr', type: PT_DYNAMIC, value: 0x7000000 })
  assertRefused(bytes, /no PT_LOAD/)
})

test('.dynamic that goes on behind PT_DYNAMIC is edited whole: the loader reads on to DT_NULL', () => {
  for (const name of objectNames) {
    const bytes = objectBytes(name)
    const entry = formatOfBytes(bytes).dyn.bytes
    const { dynamic } = readElf(bytesSource(bytes))
    const count = dynamic?.length ?? 0
    for (const length of [(count + 1) * entry - 1, count * entry, (count - 1) * entry, 1]) {
      const cut = poked(bytes, { phdr: 'filesz', type: PT_DYNAMIC, value: length })
      assert.deepEqual(readElf(bytesSource(cut)).dynamic, dynamic)
      const result = edited(cut, EDIT)
      verifyGraft(bytesSource(cut), bytesSource(result), EDIT)
      assert.ok(restored(result).equals(cut))
    }
  }
})

test('a file that is cut off anywhere in its segments is not edited', () => {
  const bytes = objectBytes('x86_64.so')
  const { programHeaders } = readElf(bytesSource(bytes))
  const loaded = Math.max(...programHeaders.map(({ offset, filesz }) => offset + filesz))
  for (let length = loaded - 1; length > 64; length -= 97) {
    assert.throws(() => makeGraft(bytesSource(bytes.subarray(0, length)), EDIT), ElfError)
  }
})

test('PT_LOADs that overlap or are in the wrong order are refused', () => {
  for (const name of ['x86_64.so', 's390x.so', 'armv7l.so']) {
    const bytes = objectBytes(name)
    assertRefused(poked(bytes, { phdr: 'memsz', type: PT_LOAD, value: 0x4000000 }), /overlaps/)
    const { header, programHeaders } = readElf(bytesSource(bytes))
    const length = formatOfBytes(bytes).phdr.bytes
    const [first = 0, second = 0] = programHeaders.flatMap(({ type }, index) =>
      type === PT_LOAD ? [header.phoff + index * length] : [],
    )
    const swapped = Buffer.from(bytes)
    bytes.copy(swapped, first, second, second + length)
    bytes.copy(swapped, second, first, first + length)
    assertRefused(swapped, /comes after a higher one/)
  }
})

test('a segment that reaches behind the file, or is larger there than in memory, is refused', () => {
  const bytes = objectBytes('x86_64.so')
  assertRefused(
    poked(bytes, { phdr: 'filesz', type: PT_LOAD, value: 0x4000000 }),
    /lie outside|past the end/,
    'TRUNCATED',
  )
  assertRefused(poked(bytes, { phdr: 'memsz', type: PT_LOAD, value: 1 }), /larger in the file/)
})

test('a program with a payload is refused: the payload is found from the end of the file', () => {
  const payloads: Record<string, Buffer> = {
    zip: Buffer.from('PK\x05\x06'.padEnd(22, '\0'), 'latin1'),
    'PyInstaller’s archive': Buffer.concat([
      Buffer.alloc(70_000),
      Buffer.from('MEI\x0c\x0b\x0a\x0b\x0e'.padEnd(88, '\0')),
    ]),
    'bun’s': Buffer.from('console.log(1)\n---- Bun! ----\n'),
    'deno’s': Buffer.from('d3n0l4nd'.padEnd(64, 'x')),
    'pkg’s': Buffer.from('(function(process, require){})\n<nexe~~sentinel>'.padEnd(80, ' ')),
    'Nuitka’s': Buffer.concat([
      Buffer.from('KAX'),
      Buffer.alloc(20_000),
      Buffer.from('\x03\0\0\0\0\0\0\x01', 'latin1'),
    ]),
    'an AppImage’s': Buffer.concat([Buffer.from('hsqs'), Buffer.alloc(200_000), Buffer.from([1])]),
    'an AppImage’s, filled up with zeros': Buffer.concat([Buffer.from('hsqs'), Buffer.alloc(8000)]),
    text: Buffer.from('trailer'),
  }
  for (const [name, payload] of Object.entries(payloads)) {
    for (const object of ['x86_64.exe', 'ppc64.exe', 'i686.so']) {
      const bytes = Buffer.concat([objectBytes(object), payload])
      assert.throws(() => makeGraft(bytesSource(bytes), EDIT), /appended/, name)
    }
  }
})

test('with inPlace, an edit that fits in place leaves the payload where it is', () => {
  const payload = Buffer.from('payload')
  for (const name of ['x86_64.exe', 's390x.exe', 'i686.exe', 'x86_64.so', 'ppc64.so', 'mipsel.so']) {
    const bytes = Buffer.concat([objectBytes(name), payload])
    const { ptInterp: interpreter, rpath } = readElf(bytesSource(bytes))
    const edits: ElfEdit[] = [
      { searchPath: null },
      { noDefaultLib: true },
      ...(interpreter === null ? [] : [{ interpreter: '/x/ld' }]),
      ...(rpath === null ? [] : ([{ searchPath: { tag: 'DT_RUNPATH', value: '$ORIGIN' } }] as const)),
    ]
    for (const edit of edits) {
      const graft = makeGraft(bytesSource(bytes), edit, { inPlace: true })
      if (graft === null) continue
      const result = graftedSource(bytesSource(bytes), graft)
      verifyGraft(bytesSource(bytes), result, edit)
      assert.equal(result.size, bytes.length)
      assert.deepEqual(Buffer.from(result.read(bytes.length - payload.length, payload.length)), payload)
    }
    const long = { searchPath: { tag: 'DT_RUNPATH', value: `/${'x'.repeat(70_000)}` } } as const
    assert.throws(() => makeGraft(bytesSource(bytes), long, { inPlace: true }), /appended/)
  }
})

test('in front of a payload, new strings go into the zeros behind the segment of the old strings', () => {
  const payload = Buffer.concat([Buffer.alloc(100), Buffer.from('payload')])
  const path = '/nix/store/0123456789abcdfghijklmnpqrsvwxyz-lib/lib'
  const made: string[] = []
  for (const name of objectNames) {
    const bytes = Buffer.concat([objectBytes(name), payload])
    const { ptInterp: interpreter, header } = readElf(bytesSource(bytes))
    for (const edit of [
      { searchPath: { tag: 'DT_RUNPATH', value: path } },
      { searchPath: { tag: 'DT_RPATH', value: path }, soname: path.slice(5), addNeeded: ['libmore.so', 'libyet.so'] },
      ...(interpreter === null ? [] : [{ interpreter: `${path}/ld.so` }]),
    ] satisfies ElfEdit[]) {
      let graft
      try {
        graft = makeGraft(bytesSource(bytes), edit, { inPlace: true })
      } catch (error) {
        assert.ok(error instanceof ElfError && /appended/.test(error.message), name)
        continue
      }
      assert.ok(graft !== null)
      const result = graftedSource(bytesSource(bytes), graft)
      verifyGraft(bytesSource(bytes), result, edit)
      assert.equal(result.size, bytes.length)
      assert.deepEqual(Buffer.from(result.read(bytes.length - payload.length, payload.length)), payload)
      // once more: what was put there is found there
      assert.equal(makeGraft(result, edit, { inPlace: true }), null)
      made.push(`${name} ${header.class}`)
    }
  }
  assert.ok(made.length > 20, made.join(', '))
})

test('an interpreter that fits is set in any kind of object, because the kernel asks for nothing else', () => {
  // patchelf’s empty-note: no dynamic table, and an empty PT_LOAD that is out of order
  const bytes = poked(objectBytes('x86_64.exe'), { phdr: 'type', type: PT_DYNAMIC, value: PT_NULL })
  assertRefused(bytes, /PT_DYNAMIC/)
  const short = { interpreter: '/x/ld' }
  const graft = makeGraft(bytesSource(bytes), short, { inPlace: true })
  assert.notEqual(graft, null)
  if (graft === null) return
  const result = graftedSource(bytesSource(bytes), graft)
  verifyGraft(bytesSource(bytes), result, short)
  assert.equal(result.size, bytes.length)
  assert.throws(() => makeGraft(bytesSource(bytes), short), /PT_DYNAMIC/)
  const more: readonly ElfEdit[] = [
    { interpreter: `/${'x'.repeat(100)}` },
    { ...short, addNeeded: ['libx.so'] },
    { ...short, searchPath: { tag: 'DT_RUNPATH', value: '/x' } },
  ]
  for (const edit of more) {
    assert.throws(() => makeGraft(bytesSource(bytes), edit, { inPlace: true }), /PT_DYNAMIC/)
  }
  assert.throws(
    () => makeGraft(bytesSource(poked(bytes, { ehdr: 'type', value: 4 })), short, { inPlace: true }),
    /core/,
  )
})

test('zeros behind the object are not a payload', () => {
  const bytes = Buffer.concat([objectBytes('x86_64.so'), Buffer.alloc(5000)])
  assert.notEqual(makeGraft(bytesSource(bytes), EDIT), null)
})

test('an edit that changes nothing is never refused', () => {
  const bytes = Buffer.concat([objectBytes('x86_64.so'), Buffer.from('payload')])
  assert.equal(makeGraft(bytesSource(bytes), {}), null)
})

test('an interpreter cannot be set in an object without one', () => {
  assert.throws(() => makeGraft(bytesSource(objectBytes('x86_64.so')), { interpreter: '/ld.so' }), /no interpreter/)
})

test('a string with a NUL is refused', () => {
  for (const edit of [
    { soname: 'a\0b' },
    { addNeeded: ['\0'] },
    { replaceNeeded: new Map([['libzero.so.1', 'x\0']]) },
  ]) {
    assert.throws(() => makeGraft(bytesSource(objectBytes('x86_64.so')), edit), /NUL/)
  }
})

test('a graft that would leave a 32-bit address space is refused', () => {
  const bytes = objectBytes('i686.so')
  const object = readElf(bytesSource(bytes))
  const index = object.programHeaders.findLastIndex(({ type }) => type === PT_LOAD)
  const format = formatOfBytes(bytes)
  put(
    format,
    bytes,
    object.header.phoff + index * format.phdr.bytes,
    format.phdr.memsz,
    0xffffffff - Number(object.programHeaders[index]?.vaddr),
  )
  assertRefused(bytes, /address space/)
})

test('a program whose memory is far larger than its file is refused, not padded', () => {
  const bytes = objectBytes('x86_64.exe')
  const object = readElf(bytesSource(bytes))
  const index = object.programHeaders.findLastIndex(({ type }) => type === PT_LOAD)
  const format = formatOfBytes(bytes)
  put(format, bytes, object.header.phoff + index * format.phdr.bytes, format.phdr.memsz, 1n << 40n)
  assertRefused(bytes, /larger than its file/)
})

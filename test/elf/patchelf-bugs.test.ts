// One test for each class of corruption that patchelf and LIEF have had, named by the bug: the same input, edited here.
import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { DT_VERDEF, PF_W, PT_DYNAMIC, PT_LOAD, PT_NOTE } from '../../src/elf/constants.ts'
import { graftedSource, makeGraft } from '../../src/elf/graft.ts'
import { put } from '../../src/elf/layout.ts'
import { readElf } from '../../src/elf/read.ts'
import { checkLoads } from '../../src/elf/rules.ts'
import { readSections, sectionAddress } from '../../src/elf/sections.ts'
import { type ByteSource, bytesSource } from '../../src/elf/source.ts'
import { verifyElf, verifyGraft } from '../../src/elf/verify.ts'
import { withSource } from '../../src/io/source.ts'
import { editElf } from '../support/elf.ts'
import { missing } from '../support/requires.ts'
import { run, runWell } from '../support/run.ts'
import { edited, formatOfBytes, objectBytes, objectNames } from './objects.ts'
import { readelf } from './readelf.ts'

const EDIT = { searchPath: { tag: 'DT_RUNPATH', value: `/nix/store/${'x'.repeat(32)}-lib/lib` } } as const
const loadsOf = (bytes: Uint8Array) => readElf(bytesSource(bytes)).programHeaders.filter(({ type }) => type === PT_LOAD)

test('patchelf#492: every PT_LOAD has its address and offset equal modulo p_align, not only modulo a page', () => {
  for (const name of objectNames) {
    for (const { vaddr, offset, align } of loadsOf(edited(objectBytes(name), EDIT))) {
      if (align > 1n) assert.equal((vaddr - BigInt(offset)) % align, 0n, name)
    }
  }
})

test('patchelf#664: a stale DT_VERDEF is what --verify finds, and no edit makes one', () => {
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
  const { rewriteObject } = await import('../../src/fix/rewrite.ts')
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

test('patchelf#79, LIEF#1366: machines with 64 KiB pages get segments that such a kernel can map', () => {
  for (const name of ['aarch64.so', 'aarch64.exe', 'ppc64le.so', 'ppc64.exe', 'mipsel.so', 'loongarch64.yaml']) {
    for (const { vaddr, offset } of loadsOf(edited(objectBytes(name), EDIT))) {
      assert.equal((vaddr - BigInt(offset)) % 0x10000n, 0n, name)
    }
  }
})

test('no segment shares a page with another, however small the pages that are asked for; --verify finds one that does', () => {
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
    checkLoads(source, { ...object, programHeaders: moved }, rule => rules.push(rule))
    assert.ok(rules.includes('load-apart'), `${name}: ${rules.join(' ')}`)
  }
})

test('patchelf#622: the lowest address of a program stays the lowest', () => {
  for (const name of objectNames) {
    assert.equal(loadsOf(edited(objectBytes(name), EDIT))[0]?.vaddr, loadsOf(objectBytes(name))[0]?.vaddr, name)
  }
})

test('patchelf#146: the new .dynamic is in a segment that the loader can write to', () => {
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

test('patchelf#217, #275: notes stay where they are, with the alignment that they have', () => {
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

test('patchelf#148, #571: a file of 6 GB is edited with offsets past 2^32 and little memory', () => {
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

describe('built from C', { skip: missing('gcc') }, () => {
  let folder = ''
  const at = (name: string): string => join(folder, name)
  const compile = (name: string, source: string, ...flags: readonly string[]): string => {
    writeFileSync(at(`${name}.c`), source)
    runWell('gcc', ['-o', at(name), at(`${name}.c`), ...flags])
    return at(name)
  }
  const OPENER = `#include <dlfcn.h>
#include <stdio.h>
int main(int c, char **v) {
  void *l = dlopen(v[1], RTLD_NOW);
  if (!l) { puts(dlerror()); return 1; }
  int (*one)(void) = (int (*)(void))dlsym(l, "one");
  printf("%d\\n", one());
  return 0;
}
`
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'wheelfix-bugs-'))
    compile('opener', OPENER)
  })
  after(() => rmSync(folder, { recursive: true }))

  test('patchelf#520: a program that looks at _DYNAMIC finds the table it was linked with', () => {
    const program = compile(
      'dynamic',
      '#include <link.h>\nextern ElfW(Dyn) _DYNAMIC[];\nint main(void) { int n = 0; for (ElfW(Dyn) *d = _DYNAMIC; d->d_tag; d++) n += d->d_tag == DT_NEEDED; return n == 1 ? 0 : 1; }\n',
    )
    editElf(program, EDIT)
    assert.equal(run(program, []).status, 0)
  })

  test('patchelf#639: DT_INIT, DT_FINI and the arrays run, each once', () => {
    const program = compile(
      'init',
      '#include <stdio.h>\nvoid start(void) { puts("init"); }\nvoid end(void) { puts("fini"); }\n__attribute__((constructor)) static void a(void) { puts("array"); }\nint main(void) { return 0; }\n',
      '-Wl,-init,start',
      '-Wl,-fini,end',
    )
    const before = runWell(program, [])
    editElf(program, EDIT)
    assert.equal(runWell(program, []), before)
  })

  test('patchelf#250, #368: both kinds of hash table go on working', () => {
    for (const style of ['gnu', 'sysv', 'both']) {
      const library = compile(
        `hash-${style}.so`,
        'int one(void) { return 1; }\n',
        '-shared',
        '-fPIC',
        `-Wl,--hash-style=${style}`,
      )
      editElf(library, EDIT)
      assert.equal(runWell(at('opener'), [library]), '1\n', style)
    }
  })

  test('patchelf’s shared-rpath: a search path that shares its string with a symbol leaves the symbol alone', () => {
    const library = compile(
      'shared.so',
      'int one(void) { return 1; }\nint a_symbol_name;\n',
      '-shared',
      '-fPIC',
      '-Wl,-rpath,symbol_name',
    )
    editElf(library, { searchPath: { tag: 'DT_RUNPATH', value: '/x' } })
    assert.equal(runWell(at('opener'), [library]), '1\n')
    assert.match(runWell('nm', ['-D', library]), / a_symbol_name$/m)
  })

  test('patchelf#287, #303: an object without sections is edited', { skip: missing('llvm-objcopy') }, () => {
    const library = compile('sectionless.so', 'int one(void) { return 1; }\n', '-shared', '-fPIC')
    runWell('llvm-objcopy', ['--strip-sections', library])
    editElf(library, EDIT)
    assert.equal(runWell(at('opener'), [library]), '1\n')
    assert.equal(
      withSource(library, source => readElf(source).runpath),
      EDIT.searchPath.value,
    )
  })

  test('patchelf#403, #426: a program with 2 MiB pages stays small and runs', () => {
    const program = compile('large', 'int main(void) { return 0; }\n', '-no-pie', '-Wl,-z,max-page-size=0x200000')
    const before = readFileSync(program).length
    editElf(program, EDIT)
    assert.equal(run(program, []).status, 0)
    assert.ok(readFileSync(program).length < before + 0x20000)
  })

  test('patchelf#265: an interpreter and a search path longer than any slack of the file', () => {
    const program = compile('long', 'int main(void) { return 0; }\n')
    editElf(program, { searchPath: { tag: 'DT_RUNPATH', value: `/${'long/'.repeat(4000)}` } })
    assert.equal(run(program, []).status, 0)
  })

  test('patchelf#244, #482: read-only data at the start of the file is not moved', () => {
    const library = compile(
      'rodata.so',
      'const int table[1000] = { 7 };\nint one(void) { return table[0]; }\n',
      '-shared',
      '-fPIC',
      '-Wl,-z,separate-code',
    )
    const original = readFileSync(library)
    editElf(library, EDIT)
    assert.deepEqual(readFileSync(library).subarray(64, original.length), original.subarray(64))
    assert.equal(runWell(at('opener'), [library]), '7\n')
  })

  test('LIEF#482, #611: thread-local data, relro and the stack’s flags are as before', () => {
    const library = compile(
      'tls.so',
      'static __thread int n = 5; int one(void) { return n; }\n',
      '-shared',
      '-fPIC',
      '-Wl,-z,relro,-z,now',
    )
    const others = (path: string) =>
      withSource(path, source =>
        readElf(source).programHeaders.filter(({ type }) => type !== PT_LOAD && type !== PT_DYNAMIC),
      )
    const before = others(library)
    editElf(library, EDIT)
    assert.deepEqual(others(library), before)
    assert.equal(runWell(at('opener'), [library]), '5\n')
  })
})

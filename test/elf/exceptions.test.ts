// Exceptions that cross a grafted library. Who unwinds asks the loader for the library's program headers, which glibc takes
// from the first PT_LOAD whose pages hold them, and zeroes with its .bss: that depends on the file's size, on where the data
// end, on the page size and on what strip does afterwards. So a family of small libraries is tried, not one.
import assert from 'node:assert/strict'
import { cpSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { gunzipSync } from 'node:zlib'
import { PT_LOAD } from '../../src/elf/constants.ts'
import { readElf } from '../../src/elf/read.ts'
import { bytesSource } from '../../src/elf/source.ts'
import { zeroedTable } from '../../src/elf/rules/table-lookup.ts'
import { verifyElf } from '../../src/elf/rules/verify.ts'
import { restoreObject } from '../../src/patchelf/rewrite.ts'
import { withSource } from '../../src/io/source.ts'
import { editElf } from '../support/elf.ts'
import { missing, skip, which } from '../support/requires.ts'
import { run, runWell } from '../support/run.ts'

const LIBRARY = `
#ifdef BSS
static char bss[BSS];
extern "C" char *uses_bss() { return bss; }
#endif
static int data = 1;
#ifdef PAD
char pad[PAD] = {1};
#endif
extern "C" int thrower(int x) { data += x; if (x) throw 5; return data; }
`
const CATCHER = `
#include <cstdio>
#include <dlfcn.h>
int main(int, char **argv) {
  void *library = dlopen(argv[1], RTLD_NOW);
  if (!library) { puts(dlerror()); return 2; }
  int (*thrower)(int) = (int (*)(int))dlsym(library, "thrower");
  try { thrower(1); } catch (int e) { std::printf("caught %d\\n", e); }
}
`
const PATH = '/nix/store/00000000000000000000000000000000-zlib-1.3.1/lib'
const EDIT = { searchPath: { tag: 'DT_RUNPATH', value: PATH } } as const

const SIZES = [0, 1, 2000, 8000, 100_000, 40_000_000]
const LINKERS = { bfd: [], lld: ['-fuse-ld=lld'], gold: ['-fuse-ld=gold'] }
const KINDS = {
  stripped: ['-s'],
  'full relro': ['-s', '-Wl,-z,relro,-z,now'],
  'no relro': ['-s', '-Wl,-z,norelro'],
  'no separate code': ['-s', '-Wl,-z,noseparate-code'],
  'with symbols': [],
  'with debug information': ['-g'],
}
/** What may be run over a grafted library; GNU strip and objcopy refuse it. */
const TOOLS: readonly (readonly [string, readonly string[]])[] = [
  ['llvm-strip', []],
  ['llvm-strip', ['--strip-debug']],
  ['llvm-objcopy', ['--strip-unneeded']],
  ['eu-strip', []],
]

describe('an exception crosses a grafted library', { skip: missing('g++') }, () => {
  let folder = ''
  const at = (name: string): string => join(folder, name)
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'wheelfix-exceptions-'))
    writeFileSync(at('library.cc'), LIBRARY)
    writeFileSync(at('catcher.cc'), CATCHER)
    runWell('g++', ['-o', at('catcher'), at('catcher.cc')])
  })
  after(() => rmSync(folder, { recursive: true }))
  const assertCaught = (library: string, what: string): void => {
    assert.equal(run(at('catcher'), [library]).stdout, 'caught 5\n', what)
  }

  for (const [linker, linkerFlags] of Object.entries(LINKERS)) {
    const skipped = linker === 'bfd' ? false : missing(`ld.${linker}`)
    test(`whatever the size of its .bss (${linker})`, { skip: skipped }, t => {
      const tools = TOOLS.filter(([tool]) => which(tool) !== undefined)
      if (tools.length < TOOLS.length) t.diagnostic(skip(`only ${tools.map(([tool]) => tool).join(', ')} of the tools`))
      for (const [kind, flags] of Object.entries(KINDS)) {
        // gold knows no such option
        if (linker === 'gold' && kind === 'no separate code') continue
        for (const bss of SIZES) {
          const what = `${kind}, ${bss} bytes of .bss`
          const library = at('library.so')
          const define = bss === 0 ? [] : [`-DBSS=${bss}`]
          runWell('g++', [
            '-O2',
            '-shared',
            '-fPIC',
            ...flags,
            ...linkerFlags,
            ...define,
            '-o',
            library,
            at('library.cc'),
          ])
          const original = readFileSync(library)
          assertCaught(library, what)
          editElf(library, EDIT)
          assert.deepEqual(withSource(library, verifyElf), [], what)
          assertCaught(library, what)
          const grafted = readFileSync(library)
          for (const [tool, args] of tools) {
            writeFileSync(library, grafted)
            runWell(tool, [...args, library])
            assertCaught(library, `${what}, then ${tool} ${args.join(' ')}`)
            assert.equal(
              withSource(library, source => readElf(source).runpath),
              PATH,
            )
          }
          writeFileSync(library, grafted)
          for (const tool of ['strip', 'objcopy']) {
            assert.notEqual(run(tool, [library]).status, 0, `${what}: ${tool} refuses it`)
            assert.deepEqual(readFileSync(library), grafted)
          }
          restoreObject(library)
          assert.deepEqual(readFileSync(library), original)
        }
      }
    })

    test(`a graft on top of another one behaves in the same way (${linker})`, { skip: skipped }, () => {
      for (const [kind, flags] of Object.entries(KINDS)) {
        // gold knows no such option
        if (linker === 'gold' && kind === 'no separate code') continue
        const library = at('library.so')
        runWell('g++', ['-shared', '-fPIC', ...flags, ...linkerFlags, '-DBSS=9000', '-o', library, at('library.cc')])
        editElf(library, { addNeeded: ['libm.so.6'] })
        editElf(library, EDIT, { owner: 'venv', record: 'sha256=x,1' })
        assert.deepEqual(withSource(library, verifyElf), [], kind)
        assertCaught(library, kind)
        const grafted = readFileSync(library)
        for (const [tool, args] of TOOLS.filter(([tool]) => which(tool) !== undefined)) {
          writeFileSync(library, grafted)
          runWell(tool, [...args, library])
          assertCaught(library, `${kind}, then ${tool} ${args.join(' ')}`)
        }
        writeFileSync(library, grafted)
        for (const tool of ['strip', 'objcopy']) {
          assert.notEqual(run(tool, [library]).status, 0, `${kind}: ${tool} refuses it`)
          assert.deepEqual(readFileSync(library), grafted)
        }
      }
    })
  }

  test('the hole before a graft takes no room on the disk', () => {
    writeFileSync(
      at('large.c'),
      'static char bss[60000000]; int main(int argc, char **argv) { return bss[argc * 9999]; }',
    )
    runWell('gcc', ['-no-pie', '-o', at('large'), at('large.c')])
    editElf(at('large'), EDIT)
    const { size, blocks } = statSync(at('large'))
    assert.ok(size > 60_000_000 && blocks * 512 < 200_000, `${blocks} blocks for ${size} bytes`)
    assert.equal(run(at('large'), []).status, 0)
    assert.deepEqual(withSource(at('large'), verifyElf), [])
  })
})

describe(
  'an exception crosses a grafted library of aarch64',
  { skip: missing('aarch64-linux-gnu-g++', 'qemu-aarch64-static') },
  () => {
    let folder = ''
    const at = (name: string): string => join(folder, name)
    const compile = (args: readonly string[]): string => runWell('aarch64-linux-gnu-g++', args)
    before(() => {
      folder = mkdtempSync(join(tmpdir(), 'wheelfix-exceptions-'))
      writeFileSync(at('library.cc'), LIBRARY)
      writeFileSync(at('catcher.cc'), CATCHER)
      compile(['-o', at('catcher'), at('catcher.cc')])
    })
    after(() => rmSync(folder, { recursive: true }))
    const caught = (library: string, page: number): string => {
      const { stdout } = run('qemu-aarch64-static', [
        '-p',
        String(page),
        '-L',
        '/usr/aarch64-linux-gnu',
        at('catcher'),
        library,
      ])
      return stdout
    }

    test('whose data end with a page of 4 KiB, within a larger one', () => {
      const library = at('library.so')
      const build = (pad: number): number => {
        const flags = ['-O2', '-shared', '-fPIC', '-s', '-DBSS=100000', `-DPAD=${pad}`]
        compile([...flags, '-o', library, at('library.cc')])
        const { programHeaders } = readElf(bytesSource(readFileSync(library)))
        const data = programHeaders.find(({ type, filesz, memsz }) => type === PT_LOAD && memsz > BigInt(filesz))
        return Number(data?.vaddr) + Number(data?.filesz)
      }
      const end = build(build(8192) % 4096 === 0 ? 8192 : 8192 + 4096 - (build(8192) % 4096))
      assert.equal(end % 4096, 0)
      assert.notEqual(end % 16384, 0)
      editElf(library, EDIT)
      for (const page of [4096, 16384, 65536])
        assert.equal(caught(library, page), 'caught 5\n', `pages of ${page} bytes`)
    })

    for (const page of [4096, 16384, 65536]) {
      test(`with pages of ${page} bytes`, () => {
        for (const bss of [1, 8000, 100_000]) {
          for (const flags of [['-s'], ['-g'], ['-s', '-Wl,-z,now']]) {
            const what = `${flags.join(' ')}, ${bss} bytes of .bss`
            const library = at('library.so')
            compile(['-O2', '-shared', '-fPIC', ...flags, `-DBSS=${bss}`, '-o', library, at('library.cc')])
            assert.equal(caught(library, page), 'caught 5\n', what)
            editElf(library, EDIT)
            assert.equal(caught(library, page), 'caught 5\n', `${what}, grafted`)
            if (which('llvm-strip') === undefined) continue
            runWell('llvm-strip', [library])
            assert.equal(caught(library, page), 'caught 5\n', `${what}, then llvm-strip`)
          }
        }
      })
    }
  },
)

describe('a graft of an earlier version', () => {
  const bytes = gunzipSync(readFileSync(join(import.meta.dirname, '../../../fixtures/grafted/zeroed-headers.so.gz')))

  test('is reported by the rule that it breaks', () => {
    const violations = verifyElf(bytesSource(bytes))
    assert.deepEqual(
      violations.map(({ rule }) => rule),
      ['phdr-zeroed'],
    )
    assert.equal(zeroedTable(readElf(bytesSource(bytes)))?.page, 4096)
  })

  test('is judged by the rule as by the real loader', { skip: missing('g++') || otherMachine() }, () => {
    const folder = mkdtempSync(join(tmpdir(), 'wheelfix-exceptions-'))
    try {
      writeFileSync(join(folder, 'catcher.cc'), CATCHER)
      writeFileSync(join(folder, 'library.so'), bytes)
      runWell('g++', ['-o', join(folder, 'catcher'), join(folder, 'catcher.cc')])
      assert.equal(run(join(folder, 'catcher'), [join(folder, 'library.so')]).stdout, '')
      cpSync(join(folder, 'library.so'), join(folder, 'again.so'))
      restoreObject(join(folder, 'again.so'))
      editElf(join(folder, 'again.so'), EDIT)
      assert.equal(run(join(folder, 'catcher'), [join(folder, 'again.so')]).stdout, 'caught 5\n')
    } finally {
      rmSync(folder, { recursive: true })
    }
  })
})

function otherMachine(): string | false {
  return process.arch === 'x64' ? false : skip('the object is one of x86-64')
}

// Edited objects under musl's loader, which finds libraries and program headers in its own way.
import assert from 'node:assert/strict'
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { readElf } from '../../src/elf/read.ts'
import { verifyElf } from '../../src/elf/rules/verify.ts'
import { restoreObject } from '../../src/patchelf/rewrite.ts'
import { withSource } from '../../src/io/source.ts'
import { editElf } from '../support/elf.ts'
import { missing } from '../support/requires.ts'
import { run, runWell } from '../support/run.ts'

/** Prints, for the program and for each library, how many of its program headers it can see in memory. */
const PROGRAM = `
#define _GNU_SOURCE
#include <dlfcn.h>
#include <link.h>
#include <stdio.h>
#include <string.h>
int answer(void);
static int show(struct dl_phdr_info *info, size_t size, void *data) {
  int loads = 0;
  for (int i = 0; i < info->dlpi_phnum; i++) loads += info->dlpi_phdr[i].p_type == PT_LOAD;
  const char *name = strrchr(info->dlpi_name, '/');
  printf("%s loads=%d\\n", name ? name + 1 : info->dlpi_name, loads);
  return 0;
}
int main(int argc, char **argv) {
  if (argc > 1 && !dlopen(argv[1], RTLD_NOW)) return 1;
  printf("%d\\n", answer());
  dl_iterate_phdr(show, 0);
  return 0;
}
`

describe('edited objects under musl', { skip: missing('musl-gcc') }, () => {
  let folder = ''
  const at = (name: string): string => join(folder, name)
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'wheelfix-musl-'))
    mkdirSync(at('lib'))
    writeFileSync(
      at('answer.c'),
      '#include <stdlib.h>\nint answer(void) { return 42 + abs(0); }\nvoid *keep = (void *)atoi;\n',
    )
    writeFileSync(at('program.c'), PROGRAM)
    runWell('musl-gcc', ['-shared', '-fPIC', '-Wl,-soname,libanswer.so', '-o', at('lib/libanswer.so'), at('answer.c')])
  })
  after(() => rmSync(folder, { recursive: true }))

  for (const pie of ['-pie', '-no-pie']) {
    test(`a program (${pie}) and its library run, and dl_iterate_phdr sees all of their headers`, () => {
      const program = at('program')
      const position = pie === '-pie' ? '-fPIE' : '-fno-pie'
      runWell('musl-gcc', [position, pie, '-o', program, at('program.c'), `-L${at('lib')}`, '-lanswer'])
      const original = readFileSync(program)
      const library = readFileSync(at('lib/libanswer.so'))
      assert.notEqual(run(program, []).status, 0, 'the library is not found without the edit')

      editElf(program, { searchPath: { tag: 'DT_RUNPATH', value: at('lib') } })
      const before = runWell(program, [])
      assert.match(before, /^42\n/)
      const loads = Number(/^libanswer\.so loads=(\d+)/m.exec(before)?.[1])
      editElf(at('lib/libanswer.so'), { searchPath: { tag: 'DT_RPATH', value: '/nix/store/x/lib' } })
      assert.match(runWell(program, []), new RegExp(`^libanswer\\.so loads=${loads + 1}$`, 'm'))
      cpSync(at('lib/libanswer.so'), at('other.so'))
      assert.match(runWell(program, [at('other.so')]), new RegExp(`^other\\.so loads=${loads + 1}$`, 'm'))
      for (const file of [program, at('lib/libanswer.so')]) assert.deepEqual(withSource(file, verifyElf), [])

      for (const tool of ['strip', 'eu-strip', 'llvm-strip']) {
        if (missing(tool) !== false) continue
        for (const file of ['program', 'lib/libanswer.so']) {
          const was = readFileSync(at(file))
          if (run(tool, [at(file)]).status !== 0) assert.deepEqual(readFileSync(at(file)), was)
          assert.match(runWell(program, []), /^42\n/, `${tool} ${file}`)
          writeFileSync(at(file), was)
        }
      }
      restoreObject(program)
      restoreObject(at('lib/libanswer.so'))
      assert.deepEqual(readFileSync(program), original)
      assert.deepEqual(readFileSync(at('lib/libanswer.so')), library)
    })
  }

  test('musl itself is refused, because no program would start after the edit', { skip: missing('musl-gcc') }, () => {
    writeFileSync(at('empty.c'), 'int main(void) { return 0; }\n')
    runWell('musl-gcc', ['-o', at('empty'), at('empty.c')])
    const libc = withSource(at('empty'), readElf).ptInterp ?? ''
    cpSync(libc, at('libc.so'), { dereference: true })
    const edit = { searchPath: { tag: 'DT_RUNPATH', value: '/x' } } as const
    assert.throws(() => editElf(at('libc.so'), edit), /it is musl itself/)
  })

  // their headers must be wholly in memory, where GNU strip lays them out again instead of refusing the file
  const layouts: Readonly<Record<string, readonly string[]>> = {
    'as musl-gcc links it': [],
    'with code and data in one page': ['-Wl,-z,noseparate-code', '-Wl,-z,norelro'],
    'with 64 KiB pages': ['-Wl,-z,max-page-size=0x10000'],
    'with debugging information': ['-g'],
    'by gold': ['-fuse-ld=gold'],
    'by lld, without data': ['-fuse-ld=lld', '-DNO_DATA'],
    'that patchelf has edited before': [],
  }
  for (const [layout, flags] of Object.entries(layouts)) {
    const patched = layout.startsWith('that patchelf')
    const linker = flags.find(flag => flag.startsWith('-fuse-ld='))
    const tools = [
      'strip',
      'objcopy',
      ...(linker === undefined ? [] : [`ld.${linker.slice(9)}`]),
      ...(patched ? ['patchelf'] : []),
    ]
    test(`GNU strip and objcopy leave a shared object (${layout}) that loads`, { skip: missing(...tools) }, () => {
      writeFileSync(
        at('plain.c'),
        `#include <stdlib.h>
#ifndef NO_DATA
static char zeros[50000]; char *here = zeros; void *keep = (void *)atoi;
#endif
int answer(void) { return 42 + abs(0); }
`,
      )
      runWell('musl-gcc', [
        '-shared',
        '-fPIC',
        ...flags,
        '-Wl,-soname,libanswer.so',
        '-o',
        at('plain.so'),
        at('plain.c'),
      ])
      // its sections end at an odd offset
      if (patched) runWell('patchelf', ['--set-rpath', `/${'long/'.repeat(40)}`, at('plain.so')])
      runWell('musl-gcc', ['-o', at('opener'), at('program.c'), at('plain.so')])
      const loads = (): string => {
        cpSync(at('plain.so'), at('lib/libanswer.so'))
        return runWell(at('opener'), [], { env: { LD_LIBRARY_PATH: at('lib') } })
      }
      const original = readFileSync(at('plain.so'))
      assert.match(loads(), /^42\n/)
      editElf(at('plain.so'), { searchPath: { tag: 'DT_RUNPATH', value: '/nix/store/x/lib' } })
      const edited = readFileSync(at('plain.so'))
      const wanted = loads()
      assert.match(wanted, /^libanswer\.so loads=[1-9]/m)
      for (const tool of [['strip'], ['strip', '-g'], ['objcopy'], ['strip', '--strip-unneeded']]) {
        writeFileSync(at('plain.so'), edited)
        const [name = '', ...args] = tool
        const { status } = run(name, [...args, at('plain.so')])
        if (status === 0) assert.deepEqual(withSource(at('plain.so'), verifyElf), [], tool.join(' '))
        else assert.deepEqual(readFileSync(at('plain.so')), edited)
        assert.equal(loads(), wanted, tool.join(' '))
      }
      writeFileSync(at('plain.so'), edited)
      restoreObject(at('plain.so'))
      assert.deepEqual(readFileSync(at('plain.so')), original)
    })
  }
})

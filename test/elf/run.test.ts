// Edited objects under the real loader of this machine, and under the tools that packagers run over them.
import assert from 'node:assert/strict'
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { readElf } from '../../src/elf/read.ts'
import { verifyElf } from '../../src/elf/verify.ts'
import { restoreObject } from '../../src/fix/rewrite.ts'
import { withSource } from '../../src/io/source.ts'
import { editElf } from '../support/elf.ts'
import { missing, which } from '../support/requires.ts'
import { run, runWell } from '../support/run.ts'

const LIBRARY = `
#include <stdexcept>
static __thread int calls;
extern "C" int answer(void) {
  try { throw std::runtime_error("x"); } catch (std::exception &) { return 41 + ++calls; }
}
`
const PROGRAM = `
#include <stdio.h>
extern "C" int answer(void);
static char bss[100000];
int main(int argc, char **) { printf("%d\\n", answer() + bss[argc]); return 0; }
`
const OPENER = `
#include <dlfcn.h>
#include <stdio.h>
int main(int argc, char **argv) {
  void *library = dlopen(argv[1], RTLD_NOW);
  if (!library) { puts(dlerror()); return 1; }
  int (*answer)(void) = (int (*)(void))dlsym(library, "answer");
  printf("%d\\n", answer());
  return 0;
}
`

/** Ways to link, as compilers and linkers lay files out differently. */
const LAYOUTS: Record<string, readonly string[]> = {
  pie: ['-fPIE', '-pie'],
  'no pie': ['-fno-pie', '-no-pie'],
  'no separate code': ['-fPIE', '-pie', '-Wl,-z,noseparate-code'],
  'huge pages': ['-fno-pie', '-no-pie', '-Wl,-z,max-page-size=0x200000'],
  'full relro': ['-fPIE', '-pie', '-Wl,-z,relro,-z,now'],
  'no relro, old hash': ['-fPIE', '-pie', '-Wl,-z,norelro', '-Wl,--hash-style=sysv'],
  'packed relocations': ['-fPIE', '-pie', '-Wl,-z,pack-relative-relocs'],
  gold: ['-fPIE', '-pie', '-fuse-ld=gold'],
  lld: ['-fPIE', '-pie', '-fuse-ld=lld'],
}

describe('edited objects of this machine', { skip: missing('g++') }, () => {
  let folder = ''
  const at = (name: string): string => join(folder, name)

  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'wheelfix-run-'))
    mkdirSync(at('lib'))
    writeFileSync(at('library.cc'), LIBRARY)
    writeFileSync(at('program.cc'), PROGRAM)
    writeFileSync(at('opener.c'), OPENER)
    const shared = ['-shared', '-fPIC', '-Wl,-soname,libanswer.so.1']
    runWell('g++', [...shared, '-o', at('lib/libanswer.so.1'), at('library.cc')])
    symlinkSync('libanswer.so.1', at('lib/libanswer.so'))
    runWell('gcc', ['-o', at('opener'), at('opener.c')])
  })
  after(() => rmSync(folder, { recursive: true }))

  for (const [layout, flags] of Object.entries(LAYOUTS)) {
    test(`a program (${layout}) runs with its new search path and interpreter, and restores`, t => {
      const linker = flags.find(flag => flag.startsWith('-fuse-ld='))
      if (linker !== undefined && which(`ld.${linker.slice(9)}`) === undefined) {
        t.skip(`no ld.${linker.slice(9)} here`)
        return
      }
      const program = at(`program ${layout}`)
      const built = run('g++', [...flags, '-o', program, at('program.cc'), `-L${at('lib')}`, '-lanswer'])
      if (built.status !== 0) {
        t.skip('this linker has no such option')
        return
      }
      const original = readFileSync(program)
      assert.notEqual(run(program, []).status, 0, 'its library is not found without the edit')

      editElf(program, { searchPath: { tag: 'DT_RUNPATH', value: at('lib') } })
      assert.equal(runWell(program, []), '42\n')
      assert.deepEqual(withSource(program, verifyElf), [])
      restoreObject(program)
      assert.deepEqual(readFileSync(program), original)

      const loader = withSource(program, source => readElf(source).interpreter) ?? ''
      cpSync(loader, at('ld.so'), { dereference: true })
      editElf(program, {
        interpreter: at('ld.so'),
        searchPath: { tag: 'DT_RPATH', value: at('lib') },
        executableStack: false,
      })
      assert.equal(runWell(program, []), '42\n')
      restoreObject(program)
      assert.deepEqual(readFileSync(program), original)
    })
  }

  test('a library is opened, throws and unwinds after the edit', () => {
    cpSync(at('lib/libanswer.so.1'), at('edited.so'))
    editElf(at('edited.so'), { searchPath: { tag: 'DT_RUNPATH', value: '/nix/store/x/lib' }, soname: 'libnew.so' })
    assert.equal(runWell(at('opener'), [at('edited.so')]), '42\n')
  })

  test('a needed that is added is loaded; one that is replaced is loaded instead, its versions too', () => {
    cpSync(at('lib/libanswer.so.1'), at('libmore.so'))
    cpSync(at('opener'), at('opener2'))
    editElf(at('opener2'), { addNeeded: [at('libmore.so')], searchPath: { tag: 'DT_RUNPATH', value: folder } })
    const { stderr } = run(at('opener2'), [at('libmore.so')], { env: { LD_DEBUG: 'libs' } })
    assert.match(stderr, /libmore\.so/)

    const libc =
      withSource(at('opener'), source => readElf(source).needed).find(name => name.startsWith('libc.so')) ?? ''
    const loaded = /=> (\S*libc\.so\S*)/.exec(runWell('ldd', [at('opener')]))?.[1] ?? ''
    cpSync(loaded, at('libc-other.so'), { dereference: true })
    cpSync(at('opener'), at('opener3'))
    editElf(at('opener3'), { replaceNeeded: new Map([[libc, at('libc-other.so')]]) })
    assert.match(runWell('ldd', ['-v', at('opener3')]), /libc-other\.so/)
  })

  const tools: readonly (readonly [string, readonly string[]])[] = [
    ['strip', []],
    ['strip', ['-g']],
    ['objcopy', []],
    ['eu-strip', []],
    ['llvm-strip', []],
    ['llvm-strip', ['--strip-all-gnu']],
    ['patchelf', ['--set-rpath', `/a/rather/long/${'path/'.repeat(40)}`]],
    ['patchelf-newest', ['--set-rpath', `/a/rather/long/${'path/'.repeat(40)}`]],
  ]
  for (const [tool, args] of tools) {
    test(
      `${tool} ${args.join(' ')}: exit 0 leaves a file that loads, else the file is whole`,
      { skip: missing(tool) },
      () => {
        cpSync(at('lib/libanswer.so.1'), at('tool.so'))
        editElf(at('tool.so'), { searchPath: { tag: 'DT_RPATH', value: '/nix/store/x/lib' } })
        const before = readFileSync(at('tool.so'))
        const { status } = run(tool, [...args, at('tool.so')])
        if (status !== 0) assert.deepEqual(readFileSync(at('tool.so')), before)
        assert.equal(runWell(at('opener'), [at('tool.so')]), '42\n')

        for (const [layout, flags] of Object.entries(LAYOUTS).slice(0, 3)) {
          const program = at(`tool ${layout}`)
          runWell('g++', [...flags, '-o', program, at('program.cc'), `-L${at('lib')}`, '-lanswer'])
          editElf(program, { searchPath: { tag: 'DT_RPATH', value: at('lib') } })
          const was = readFileSync(program)
          const result = run(tool, [...args, program])
          if (result.status !== 0) assert.deepEqual(readFileSync(program), was)
          assert.equal(
            runWell(program, [], { env: tool.startsWith('patchelf') ? { LD_LIBRARY_PATH: at('lib') } : {} }),
            '42\n',
            layout,
          )
        }
      },
    )
  }

  const readers: readonly (readonly [string, readonly string[]])[] = [
    ['readelf', ['-aW']],
    ['objdump', ['-p']],
    ['eu-readelf', ['-a']],
    ['llvm-readelf', ['-a']],
  ]
  for (const [reader, args] of readers) {
    test(`${reader} has no new complaint of an edited file`, { skip: missing(reader) }, () => {
      for (const name of ['lib/libanswer.so.1', 'opener']) {
        const complaints = (path: string): string[] => {
          const { stderr } = run(reader, [...args, path])
          return stderr
            .split('\n')
            .filter(line => line !== '')
            .map(line => line.replaceAll(path, 'FILE'))
        }
        cpSync(at(name), at('read'))
        const before = complaints(at('read'))
        editElf(at('read'), { searchPath: { tag: 'DT_RPATH', value: '/nix/store/x/lib' } })
        assert.deepEqual(complaints(at('read')), before, name)
      }
    })
  }

  test('eu-elflint has no more to say than the two lines of README.md', { skip: missing('eu-elflint') }, () => {
    for (const name of ['lib/libanswer.so.1', 'opener']) {
      const complaints = (): string[] => run('eu-elflint', ['--gnu-ld', at('linted')]).stdout.split('\n')
      cpSync(at(name), at('linted'))
      const before = complaints()
      editElf(at('linted'), { searchPath: { tag: 'DT_RPATH', value: '/nix/store/x/lib' } })
      const known = /_DYNAMIC_ symbol value \S+ does not match dynamic segment address|'\.wheelfix\.phdr'/
      const fresh = complaints().filter(line => line !== '' && !before.includes(line) && !known.test(line))
      assert.deepEqual(fresh, [], name)
    }
  })

  for (const tool of ['libtree']) {
    test(`${tool} finds by the edited search path what the loader finds`, { skip: missing(tool) }, () => {
      const program = at('treed')
      runWell('g++', ['-o', program, at('program.cc'), `-L${at('lib')}`, '-lanswer'])
      assert.doesNotMatch(run(tool, [program]).stdout, new RegExp(`${folder}/lib`))
      editElf(program, { searchPath: { tag: 'DT_RUNPATH', value: at('lib') } })
      const { status, stdout, stderr } = run(tool, [program])
      assert.equal(status, 0, stderr)
      assert.match(stdout, /libanswer\.so\.1/)
      assert.doesNotMatch(stdout + stderr, /not found|None/)
    })
  }

  test('gdb finds the symbols of an edited program and of its library', { skip: missing('gdb') }, () => {
    const program = at('debugged')
    runWell('g++', ['-g', '-o', program, at('program.cc'), `-L${at('lib')}`, '-lanswer'])
    cpSync(at('lib'), at('lib2'), { recursive: true })
    editElf(at('lib2/libanswer.so.1'), { searchPath: { tag: 'DT_RPATH', value: '/nix/store/x/lib' } })
    editElf(program, { searchPath: { tag: 'DT_RPATH', value: at('lib2') } })
    const script = ['-ex', 'break answer', '-ex', 'run', '-ex', 'backtrace', '-ex', 'info sharedlibrary']
    const { stdout } = run('gdb', ['-batch', '-nx', ...script, program])
    assert.match(stdout, /#1 .* in main/)
    assert.match(stdout, /Yes.*lib2\/libanswer\.so\.1/)
  })
})

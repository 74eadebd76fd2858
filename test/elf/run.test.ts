// Edited objects under the real loader of this machine, and under the tools that packagers run over them.
import assert from 'node:assert/strict'
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { readElf } from '../../src/elf/read.ts'
import { verifyElf } from '../../src/elf/rules/verify.ts'
import { restoreObject } from '../../src/patchelf/rewrite.ts'
import { withSource } from '../../src/io/source.ts'
import { editElf } from '../support/elf.ts'
import { inapplicable, missing, skip, which } from '../support/requires.ts'
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
  /** Why a layout cannot be built here, by its name. */
  const unbuilt = new Map<string, string>()
  /** A fresh copy of the program in that layout: its path; null where it cannot be built. */
  const programOf = (layout: string, name: string): string | null => {
    if (unbuilt.has(layout)) return null
    cpSync(at(`built ${layout}`), at(name))
    return at(name)
  }

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
    for (const [layout, flags] of Object.entries(LAYOUTS)) {
      const linker = flags.find(flag => flag.startsWith('-fuse-ld='))?.slice(9)
      const forLibraries = flags.filter(flag => flag.startsWith('-Wl,') || flag.startsWith('-fuse'))
      const statuses = [
        [...flags, '-o', at(`built ${layout}`), at('program.cc'), `-L${at('lib')}`, '-lanswer'],
        [...shared, ...forLibraries, '-o', at(`built ${layout}.so`), at('library.cc')],
      ].map(args => run('g++', args).status)
      if (linker !== undefined && which(`ld.${linker}`) === undefined) unbuilt.set(layout, skip(`needs ld.${linker}`))
      else if (statuses.some(status => status !== 0))
        unbuilt.set(layout, inapplicable('this linker has no such option'))
    }
  })
  after(() => rmSync(folder, { recursive: true }))

  for (const layout of Object.keys(LAYOUTS)) {
    test(`a program (${layout}) runs with its new search path and interpreter, and restores`, t => {
      const program = programOf(layout, `program ${layout}`)
      if (program === null) {
        t.skip(unbuilt.get(layout))
        return
      }
      const original = readFileSync(program)
      assert.notEqual(run(program, []).status, 0, 'its library is not found without the edit')

      editElf(program, { searchPath: { tag: 'DT_RUNPATH', value: at('lib') } })
      assert.equal(runWell(program, []), '42\n')
      assert.deepEqual(withSource(program, verifyElf), [])
      restoreObject(program)
      assert.deepEqual(readFileSync(program), original)

      const loader = withSource(program, source => readElf(source).ptInterp) ?? ''
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

  test('an added needed is loaded; the replacement of a needed is loaded instead of it, with its versions', () => {
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
    ['strip', ['--strip-unneeded']],
    ['objcopy', []],
    ['objcopy', ['--strip-debug']],
    ['objcopy', ['--remove-section=.comment']],
    ['eu-strip', []],
    ['llvm-strip', []],
    ['llvm-strip', ['--strip-all-gnu']],
    ['llvm-objcopy', []],
    ['llvm-objcopy', ['--strip-debug']],
    ['patchelf', ['--set-rpath', `/a/rather/long/${'path/'.repeat(40)}`]],
    ['patchelf-newest', ['--set-rpath', `/a/rather/long/${'path/'.repeat(40)}`]],
  ]
  for (const [tool, args] of tools) {
    test(
      `patchelf#10, #145, #196, #371, #507: after the edit ${[tool, ...args].join(' ').slice(0, 40)} leaves what loads, or the file whole and a status`,
      { skip: missing(tool) },
      () => {
        for (const layout of Object.keys(LAYOUTS)) {
          const program = programOf(layout, `tool ${layout}`)
          if (program === null) continue
          cpSync(at(`built ${layout}.so`), at('tool.so'))
          editElf(at('tool.so'), { searchPath: { tag: 'DT_RPATH', value: '/nix/store/x/lib' } })
          const before = readFileSync(at('tool.so'))
          const { status } = run(tool, [...args, at('tool.so')])
          if (status !== 0) assert.deepEqual(readFileSync(at('tool.so')), before)
          assert.equal(runWell(at('opener'), [at('tool.so')]), '42\n', `library, ${layout}`)

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

  /** What a reader says after an edit and not before it, for the program and the library in each layout. */
  const forEachEdited = (complaints: (path: string) => string[], check: (fresh: string[], name: string) => void) => {
    for (const name of Object.keys(LAYOUTS).flatMap(layout => [layout, `${layout}.so`])) {
      if (unbuilt.has(name.replace(/\.so$/, ''))) continue
      cpSync(at(`built ${name}`), at('read'))
      const before = complaints(at('read'))
      editElf(at('read'), { searchPath: { tag: 'DT_RPATH', value: '/nix/store/x/lib' } })
      check(
        complaints(at('read')).filter(line => line !== '' && !before.includes(line)),
        name,
      )
    }
  }

  const readers: readonly (readonly [string, readonly string[]])[] = [
    ['readelf', ['-aW']],
    ['objdump', ['-p']],
    ['objdump', ['-x']],
    ['nm', ['-D']],
    ['size', []],
    ['eu-readelf', ['-a']],
    ['llvm-readelf', ['-a']],
    ['llvm-objdump', ['-p']],
  ]
  for (const [reader, args] of readers) {
    test(`${reader} ${args.join(' ')} has no new complaint of an edited file`, { skip: missing(reader) }, () => {
      forEachEdited(
        path => {
          const { status, stderr } = run(reader, [...args, path])
          assert.equal(status, 0, stderr)
          return stderr.split('\n')
        },
        (fresh, name) => assert.deepEqual(fresh, [], name),
      )
    })
  }

  test('eu-elflint complains only about the two things that README.md names', { skip: missing('eu-elflint') }, () => {
    const known = /_DYNAMIC_ symbol value \S+ does not match dynamic segment address|'\.wheelfix\.phdr'/
    forEachEdited(
      path => run('eu-elflint', ['--gnu-ld', path]).stdout.split('\n'),
      (fresh, name) =>
        assert.deepEqual(
          fresh.filter(line => !known.test(line)),
          [],
          name,
        ),
    )
  })

  for (const tool of ['libtree', 'lddtree']) {
    test(`${tool} finds by the edited search path what the loader finds`, { skip: missing(tool) }, () => {
      for (const layout of Object.keys(LAYOUTS)) {
        const program = programOf(layout, 'treed')
        if (program === null) continue
        // lddtree is a script of the system's own Python
        const tree = (): string => {
          const { stdout, stderr } = run(tool, [program], { env: { PATH: `/usr/bin:${process.env['PATH'] ?? ''}` } })
          return stdout + stderr
        }
        assert.match(tree(), /libanswer\.so\.1.*(not found|None)/)
        for (const tag of ['DT_RPATH', 'DT_RUNPATH'] as const) {
          editElf(program, { searchPath: { tag, value: at('lib') } })
          const found = tree()
          assert.match(found, /libanswer\.so\.1/)
          assert.doesNotMatch(found, /not found|None|rror/, layout)
        }
      }
    })
  }

  test('gdb finds the symbols of an edited program and of its library', { skip: missing('gdb') }, () => {
    const program = at('debugged')
    runWell('g++', ['-g', '-o', program, at('program.cc'), `-L${at('lib')}`, '-lanswer'])
    cpSync(at('lib'), at('lib2'), { recursive: true })
    editElf(at('lib2/libanswer.so.1'), { searchPath: { tag: 'DT_RPATH', value: '/nix/store/x/lib' } })
    editElf(program, { searchPath: { tag: 'DT_RPATH', value: at('lib2') } })
    const script = ['-ex', 'break answer', '-ex', 'run', '-ex', 'backtrace', '-ex', 'info sharedlibrary']
    const { stdout, stderr } = run('gdb', ['-batch', '-nx', ...script, program])
    assert.match(stdout, /#1 .* in main/)
    assert.doesNotMatch(stdout + stderr, /outside of ELF segments/)
    assert.match(stdout, /Yes.*lib2\/libanswer\.so\.1/)
  })
})

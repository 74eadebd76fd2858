// Where the new strings of an edit go. A string table is not copied where the new strings fit behind it at the end of the
// file, or where it is large. Each library here finds what it needs only through the search path that the edit added.
import assert from 'node:assert/strict'
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, suite, test } from 'node:test'
import { DT_STRSZ, DT_STRTAB } from '../../src/elf/constants.ts'
import { readElf } from '../../src/elf/read.ts'
import { valueOf } from '../../src/elf/tables/entries.ts'
import { withSource } from '../../src/io/source.ts'
import { restoreObject } from '../../src/patchelf/rewrite.ts'
import { editElf } from '../support/elf.ts'
import { missing } from '../support/requires.ts'
import { run, runWell } from '../support/run.ts'

const OPENER = `
#include <dlfcn.h>
#include <stdio.h>
int main(int argc, char **argv) {
  void *library = dlopen(argv[1], RTLD_NOW);
  if (!library) { puts(dlerror()); return 1; }
  int (*last)(void) = (int (*)(void))dlsym(library, argv[2]);
  printf("%d\\n", last());
  return 0;
}
`
/** Long names, as C++ has them: each takes a hundred bytes of the string table. */
const nameOf = (index: number): string => `function_${'with_a_long_name_'.repeat(5)}${index}`
const MANY = 2000
const FEW = 50

suite('the strings of an edited library', { skip: missing('gcc') }, () => {
  let folder = ''
  const at = (name: string): string => join(folder, name)
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'wheelfix-strings-'))
    mkdirSync(at('far'))
    writeFileSync(at('needed.c'), 'int needed(void) { return 40; }\n')
    runWell('gcc', ['-shared', '-fPIC', '-Wl,-soname,libneeded.so', '-o', at('far/libneeded.so'), at('needed.c')])
    writeFileSync(at('opener.c'), OPENER)
    runWell('gcc', ['-o', at('opener'), at('opener.c'), '-ldl'])
    build('large.so', MANY)
    build('small.so', FEW)
  })
  after(() => rmSync(folder, { recursive: true }))

  function build(name: string, functions: number): void {
    const bodies = Array.from(
      { length: functions },
      (_, index) => `int ${nameOf(index)}(void) { return 2 + needed(); }\n`,
    )
    writeFileSync(at('library.c'), `int needed(void);\n${bodies.join('')}`)
    runWell('gcc', ['-shared', '-fPIC', '-o', at(name), at('library.c'), at('far/libneeded.so')])
  }

  const isLoaded = (path: string, name = nameOf(FEW - 1)): boolean => run(at('opener'), [path, name]).stdout === '42\n'
  const addFar = (path: string): void =>
    editElf(path, { searchPath: { tag: 'DT_RUNPATH', value: `$ORIGIN/a:${at('far')}` } })
  const tableOf = (path: string) =>
    withSource(path, source => {
      const { dynamic } = readElf(source)
      return { start: valueOf(dynamic, DT_STRTAB), length: Number(valueOf(dynamic, DT_STRSZ)) }
    })

  /** What a tool makes of an edited library, or null where it refuses the file and leaves it as it was. */
  function madeBy(path: string, [tool, ...args]: readonly [string, ...string[]]): string | null {
    const copy = at(`after-${tool}`)
    cpSync(path, copy)
    const { status } = run(tool, [...args, copy])
    if (status === 0) return copy
    assert.deepEqual(readFileSync(copy), readFileSync(path), `${tool} fails and changes the file`)
    return null
  }

  const STRIPS: readonly (readonly [string, ...string[]])[] = [
    ['strip'],
    ['strip', '-g'],
    ['objcopy', '--strip-debug'],
    ['eu-strip'],
    ['llvm-strip'],
    ['llvm-objcopy', '--strip-debug'],
  ]

  suite('with a large string table', () => {
    const edited = (): string => {
      cpSync(at('large.so'), at('edited.so'))
      assert.ok(!isLoaded(at('edited.so')), 'it loads before the edit')
      addFar(at('edited.so'))
      return at('edited.so')
    }

    test('the table stays where it is: the library grows by much less than the table', () => {
      const was = tableOf(at('large.so'))
      const path = edited()
      assert.ok(was.length > 1 << 17)
      assert.equal(tableOf(path).start, was.start)
      assert.ok(statSync(path).size - statSync(at('large.so')).size < was.length / 4)
      assert.ok(isLoaded(path, nameOf(MANY - 1)))
      assert.equal(restoreObject(path), true)
      assert.deepEqual(readFileSync(path), readFileSync(at('large.so')))
    })
    test('a file that another tool has changed after the edit is edited again', () => {
      const path = edited()
      // what chrpath does: the strings change in place, and the undo record no longer fits
      const bytes = readFileSync(path)
      bytes.write('$ORIGIN/b', bytes.indexOf('$ORIGIN/a:'))
      writeFileSync(path, bytes)
      for (const value of [at('nowhere'), `$ORIGIN/c:${at('far')}`]) {
        editElf(path, { searchPath: { tag: 'DT_RUNPATH', value } })
        assert.equal(isLoaded(path, nameOf(MANY - 1)), value.endsWith('/far'))
      }
      assert.ok(statSync(path).size - bytes.length < tableOf(at('large.so')).length / 2)
      assert.equal(restoreObject(path), true)
      assert.deepEqual(readFileSync(path), bytes)
    })
    for (const tool of STRIPS) {
      test(`${tool.join(' ')} leaves what finds its libraries, or refuses the file`, { skip: missing(tool[0]) }, () => {
        const path = madeBy(edited(), tool)
        if (path !== null) assert.ok(isLoaded(path))
      })
    }
    for (const patchelf of ['patchelf', 'patchelf-newest']) {
      test(`${patchelf} refuses the file`, { skip: missing(patchelf) }, () => {
        assert.equal(madeBy(edited(), [patchelf, '--set-soname', 'libother.so']), null)
      })
    }
  })

  suite('that patchelf has edited before', { skip: missing('patchelf') }, () => {
    const original = (): string => {
      cpSync(at('small.so'), at('patched.so'))
      // the second edit moves nothing but the strings, as where auditwheel has repaired a wheel
      runWell('patchelf', ['--set-soname', 'libpatched.so', at('patched.so')])
      runWell('patchelf', ['--set-rpath', '$ORIGIN/a', at('patched.so')])
      return at('patched.so')
    }
    const edited = (): string => {
      cpSync(original(), at('edited.so'))
      assert.ok(!isLoaded(at('edited.so')), 'it loads before the edit')
      addFar(at('edited.so'))
      return at('edited.so')
    }

    test('the new strings go behind the old table at the end of the file', () => {
      const was = tableOf(original())
      const path = edited()
      const now = tableOf(path)
      assert.equal(now.start, was.start)
      assert.ok(now.length < was.length + 200)
      assert.ok(isLoaded(path))
      assert.equal(restoreObject(path), true)
      assert.deepEqual(readFileSync(path), readFileSync(at('patched.so')))
    })
    test('strings that need more pages than the old table has', () => {
      cpSync(original(), at('edited.so'))
      const path = at('edited.so')
      editElf(path, { searchPath: { tag: 'DT_RUNPATH', value: `${'/nix/store/x/lib:'.repeat(1000)}${at('far')}` } })
      assert.equal(tableOf(path).start, tableOf(original()).start)
      assert.ok(isLoaded(path))
      assert.equal(restoreObject(path), true)
      assert.deepEqual(readFileSync(path), readFileSync(at('patched.so')))
    })
    for (const tool of STRIPS) {
      test(`${tool.join(' ')} leaves what finds its libraries, or refuses the file`, { skip: missing(tool[0]) }, () => {
        const path = madeBy(edited(), tool)
        if (path !== null) assert.ok(isLoaded(path))
      })
    }
    test('readelf finds every string, and has no new complaint', { skip: missing('readelf') }, () => {
      const { stdout, stderr } = run('readelf', ['-aW', edited()])
      assert.match(stdout, /RUNPATH.*\[\$ORIGIN\/a:.*\/far\]/)
      assert.equal(stderr.replaceAll('edited.so', 'patched.so'), run('readelf', ['-aW', original()]).stderr)
    })
    for (const patchelf of ['patchelf', 'patchelf-newest']) {
      test(`${patchelf} reads and edits it`, { skip: missing(patchelf) }, () => {
        assert.equal(runWell(patchelf, ['--print-rpath', edited()]), `$ORIGIN/a:${at('far')}\n`)
        for (const args of [
          ['--set-soname', `lib${'long'.repeat(100)}.so`],
          ['--add-needed', 'libm.so.6'],
          ['--set-rpath', `${'/a/long/path:'.repeat(100)}${at('far')}`],
        ]) {
          const path = madeBy(edited(), [patchelf, ...args])
          assert.ok(path !== null && isLoaded(path), args.join(' '))
        }
      })
    }
  })
})

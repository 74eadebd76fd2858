// `wheelfix elf` tested as patchelf tests itself: build, edit, run, read back with readelf. Programs and libraries of
// different linkers and layouts are built and taken through random sequences of edits; after each one the program must run
// and readelf must say what was asked for. `SEED=… ROUNDS=… node build/test/commands/patchelf-suite.test.js` runs more.
import assert from 'node:assert/strict'
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { randomOf } from '../support/random.ts'
import { inapplicable, missing, skip, which } from '../support/requires.ts'
import { run, runWell } from '../support/run.ts'

const BUNDLE = join(import.meta.dirname, '../../../dist/wheelfix.cjs')
const SEED = Number(process.env['SEED'] ?? 1)
const ROUNDS = Number(process.env['ROUNDS'] ?? 14)

const LIBRARY = `static __thread int calls;
__attribute__((constructor)) static void start(void) { calls++; }
int answer(void) { return 41 + calls; }
`
const PROGRAM = `#include <cstdio>
extern "C" int answer();
int main();
static void *const addresses[] = {(void *)answer, (void *)main, (void *)addresses};
int main() {
  int caught = 0;
  try { throw answer(); } catch (int value) { caught = value; }
  std::printf("%d", addresses[2] ? caught : 0);
  return 0;
}
`
const LAYOUTS = [
  '-Wl,-z,max-page-size=0x4000',
  '-Wl,-z,max-page-size=0x200000',
  '-Wl,-z,separate-code',
  '-Wl,-z,noseparate-code',
  '-Wl,-z,relro,-z,now',
  '-Wl,-z,norelro',
  '-Wl,--hash-style=sysv',
  '-Wl,--hash-style=both',
  '-Wl,--build-id=sha1',
  '-Wl,-z,pack-relative-relocs',
  '-fcf-protection=full',
  '-Wl,--emit-relocs',
  '-Wl,--gc-sections',
]

describe('build, edit, run, read back', { skip: missing('g++', 'readelf') }, () => {
  let folder = ''
  const at = (name: string): string => join(folder, name)
  const well = (...args: readonly string[]): string => runWell(at('patchelf'), args)
  const readelf = (file: string, what: string): string => {
    const { stdout, stderr } = run('readelf', [what, file], { env: { ...process.env, LC_ALL: 'C' } })
    assert.equal(stderr, '')
    return stdout
  }
  /** The values of a tag, as `readelf -d` shows them. */
  const values = (file: string, tag: string): string[] =>
    readelf(file, '-dW')
      .split('\n')
      .filter(line => line.includes(`(${tag})`))
      .map(line => /\[(.*)\]$/.exec(line)?.[1] ?? '')
  const loads = (file: string): number => readelf(file, '-lW').split('\n  LOAD ').length - 1

  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'wheelfix-suite-'))
    symlinkSync(BUNDLE, at('patchelf'))
    writeFileSync(at('library.c'), LIBRARY)
    writeFileSync(at('program.cc'), PROGRAM)
    mkdirSync(at('lib'))
    runWell('gcc', ['-shared', '-fPIC', '-Wl,-soname,libanswer.so.0', '-o', at('lib/libanswer.so.0'), at('library.c')])
    symlinkSync('libanswer.so.0', at('lib/libanswer.so'))
    copyFileSync(at('lib/libanswer.so.0'), at('lib/libextra.so.0'))
  })
  after(() => rmSync(folder, { recursive: true }))

  const numbers = randomOf(SEED)
  for (let round = 0; round < ROUNDS; round++) {
    const pick = <T>(items: readonly [T, ...T[]]): T => items[Math.floor(numbers() * items.length)] ?? items[0]
    const some = (): string => LAYOUTS[Math.floor(numbers() * LAYOUTS.length)] ?? ''
    const linker = pick(['', '-fuse-ld=bfd', '-fuse-ld=gold', '-fuse-ld=lld'])
    const flags = [
      pick([
        ['-pie', '-fPIE'],
        ['-no-pie', '-fno-pie'],
      ]),
      some(),
      some(),
      linker,
    ]
      .flat()
      .filter(flag => flag !== '')
    const payload = numbers() < 0.2
    const edits = Array.from({ length: 1 + Math.floor(numbers() * 6) }, () => [numbers(), numbers()] as const)

    test(`seed ${SEED}, round ${round}: ${flags.join(' ')}${payload ? ', with a payload' : ''}`, t => {
      const program = at(`program${round}`)
      const long = 'r'.repeat(200)
      if (linker !== '' && which(`ld.${linker.slice(9)}`) === undefined) {
        t.skip(skip(`needs ld.${linker.slice(9)}`))
        return
      }
      const built = run('g++', [
        ...flags,
        '-o',
        program,
        at('program.cc'),
        `-L${at('lib')}`,
        '-lanswer',
        `-Wl,-rpath,${at('lib')}`,
      ])
      const runs = (): string => {
        const { stdout, stderr } = run(program, [], {
          cwd: '/',
          env: { LD_LIBRARY_PATH: at('lib'), LD_BIND_NOW: '1', LD_WARN: '1' },
        })
        return stdout + stderr
      }
      if (built.status !== 0 || runs() !== '42') {
        t.skip(inapplicable('this linker cannot build it so'))
        return
      }
      if (payload) writeFileSync(program, Buffer.concat([readFileSync(program), Buffer.from('payload '.repeat(1000))]))
      const original = readFileSync(program)
      const interpreter = well('--print-interpreter', program).trim()
      let needed = 'libanswer.so.0'
      for (const [kind, choice] of edits) {
        const path = choice < 0.5 ? '/lib/x' : `/lib/${long}`
        const rename = choice < 0.3 ? 'answer.so.0' : choice < 0.6 ? 'renamed.so.0' : `lib${long}.so.0`
        const args = [
          ['--set-rpath', `${path}:${at('lib')}`],
          ['--force-rpath', '--set-rpath', `${path}:${at('lib')}`],
          ['--add-rpath', path],
          ['--remove-rpath'],
          ['--shrink-rpath'],
          ['--set-interpreter', interpreter],
          ['--add-needed', 'libextra.so.0'],
          ['--remove-needed', 'libextra.so.0'],
          ['--replace-needed', needed, rename],
          [choice < 0.5 ? '--set-execstack' : '--clear-execstack'],
        ][Math.floor(kind * 10)] ?? ['--remove-rpath']
        if (args[0] === '--replace-needed') copyFileSync(at('lib/libanswer.so.0'), at(`lib/${rename}`))
        const before = { needed: values(program, 'NEEDED'), file: readFileSync(program) }
        const { status, stderr } = run(at('patchelf'), [...args, program])
        if (status !== 0) {
          // behind a payload only what fits in place
          assert.ok(payload, stderr)
          assert.match(stderr, /appended/)
          assert.deepEqual(readFileSync(program), before.file)
          continue
        }
        const did = args.join(' ')
        assert.equal(runs(), '42', did)
        if (args.includes('--set-rpath')) {
          const forced = args[0] === '--force-rpath'
          assert.deepEqual(values(program, 'RPATH'), forced ? [args.at(-1)] : [], did)
          assert.deepEqual(values(program, 'RUNPATH'), forced ? [] : [args.at(-1)], did)
        }
        if (args[0] === '--remove-rpath')
          assert.deepEqual([...values(program, 'RPATH'), ...values(program, 'RUNPATH')], [])
        if (args[0] === '--replace-needed') {
          assert.deepEqual(
            values(program, 'NEEDED'),
            before.needed.map(name => (name === needed ? rename : name)),
          )
          needed = rename
        }
        if (args[0] === '--add-needed') assert.ok(values(program, 'NEEDED').includes('libextra.so.0'))
        if (args[0] === '--remove-needed') assert.ok(!values(program, 'NEEDED').includes('libextra.so.0'))
        if (args[0]?.endsWith('-execstack') === true) {
          assert.match(
            readelf(program, '-lW'),
            args[0] === '--set-execstack' ? /GNU_STACK .* RWE / : /GNU_STACK .* RW  /,
          )
        }
        readelf(program, '-aW')
        assert.equal(well('--verify', program), '', did)
        if (payload) assert.deepEqual(readFileSync(program).subarray(-8000), original.subarray(-8000))
      }
      rmSync(program)
    })
  }

  test('a library finds its own library by its search path, wherever the program is started', () => {
    mkdirSync(at('a'))
    mkdirSync(at('b'))
    writeFileSync(at('outer.c'), 'int answer(void);\nint outer(void) { return answer(); }\n')
    writeFileSync(at('main.c'), 'int outer(void);\nint main(void) { return outer() == 42 ? 0 : 1; }\n')
    copyFileSync(at('lib/libanswer.so.0'), at('b/libanswer.so.0'))
    runWell('gcc', ['-shared', '-fPIC', '-o', at('a/libouter.so'), at('outer.c'), at('lib/libanswer.so.0')])
    runWell('gcc', ['-o', at('main'), at('main.c'), at('a/libouter.so'), `-Wl,-rpath-link,${at('lib')}`])
    well('--replace-needed', at('a/libouter.so'), 'libouter.so', at('main'))
    well('--set-rpath', at('a'), at('main'))
    assert.notEqual(run(at('main'), [], { cwd: '/' }).status, 0, 'DT_RUNPATH is not inherited')
    well('--force-rpath', '--set-rpath', `${at('a')}:${at('b')}`, at('main'))
    assert.equal(run(at('main'), [], { cwd: '/' }).status, 0, 'DT_RPATH is')
    well('--set-rpath', at('a'), at('main'))
    well('--set-rpath', '$ORIGIN/../b', at('a/libouter.so'))
    assert.equal(run(at('main'), [], { cwd: '/' }).status, 0)
    assert.deepEqual(values(at('a/libouter.so'), 'RUNPATH'), ['$ORIGIN/../b'])
  })

  test('a shared object with a large .dynstr, or one enlarged by zeros, keeps its kind', () => {
    const functions = Array.from({ length: 2000 }, (_, index) => `void function_${index}(void) {}\n`).join('')
    writeFileSync(at('large.c'), `${functions}int main(void) { return 0; }\n`)
    runWell('gcc', ['-rdynamic', '-o', at('large'), at('large.c')])
    const symbols = runWell('nm', ['-D', at('large')])
    well(
      '--set-rpath',
      `/${'long/'.repeat(100)}`,
      '--set-interpreter',
      well('--print-interpreter', at('large')).trim(),
      at('large'),
    )
    assert.equal(run(at('large'), []).status, 0)
    assert.equal(runWell('nm', ['-D', at('large')]), symbols)

    copyFileSync(at('lib/libanswer.so.0'), at('grown.so'))
    truncateSync(at('grown.so'), 10 << 20)
    well('--set-soname', 'libgrown.so', '--add-needed', 'libc.so.6', at('grown.so'))
    assert.deepEqual(values(at('grown.so'), 'SONAME'), ['libgrown.so'])
  })

  test('thirty edits make the file larger once', () => {
    copyFileSync(at('lib/libanswer.so.0'), at('again.so'))
    const segments = loads(at('again.so'))
    for (let time = 0; time < 30; time++) {
      well('--set-rpath', `/${'x'.repeat(time)}`, '--add-needed', `lib${time % 3}.so`, at('again.so'))
    }
    assert.equal(loads(at('again.so')), segments + 1)
    assert.ok(statSync(at('again.so')).size < statSync(at('lib/libanswer.so.0')).size + 8192)
    assert.equal(values(at('again.so'), 'RUNPATH').at(0)?.length, 30)
  })

  test('a file that cannot be written gives a message and status 1', () => {
    const { status, stderr } = run(at('patchelf'), [
      '--set-rpath',
      '/x',
      '--output',
      '/dev/full',
      at('lib/libanswer.so.0'),
    ])
    assert.equal(status, 1)
    assert.match(stderr, /ENOSPC/)
  })

  for (const size of ['512', '1024', '4096', '16384', '65536']) {
    test(`--page-size ${size} gives a file that runs here, laid out for pages no smaller`, () => {
      copyFileSync(at('lib/libanswer.so.0'), at('paged.so'))
      writeFileSync(at('paged.c'), 'int answer(void);\nint main(void) { return answer() == 42 ? 0 : 1; }\n')
      runWell('gcc', ['-o', at('paged'), at('paged.c'), at('paged.so'), '-Wl,-rpath,/nowhere'])
      for (const file of ['paged.so', 'paged']) {
        well('--page-size', size, '--force-rpath', '--set-rpath', `${at('lib')}:/y`, at(file))
        assert.equal(well('--verify', at(file)), '')
      }
      const alignments = readelf(at('paged.so'), '-lW')
        .split('\n')
        .filter(line => line.trimStart().startsWith('LOAD '))
        .map(line => Number(line.trim().split(/\s+/).at(-1)))
      // never less than the pages of this machine
      assert.ok(Math.max(...alignments) >= Math.max(4096, Number(size)), String(alignments))
      assert.equal(run(at('paged'), []).status, 0)
    })
  }
})

// What counts as a difference between the real loader's answer and ours.
import assert from 'node:assert/strict'
import { copyFileSync, existsSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { test } from 'node:test'
import type { ElfObject } from '../../../src/elf/types.ts'
import { askProgram, loaderDifferences } from '../../../src/inspect/real-loader/compare.ts'
import type { LinkMap, Process } from '../../../src/ldso/search.ts'
import { interpreterOf } from '../../support/elf.ts'
import { missing } from '../../support/requires.ts'
import { runWell } from '../../support/run.ts'

/** A process with one object that needs these: a file that serves it, or null. */
function processOf(needed: Readonly<Record<string, string | null>>, lacking: readonly string[] = []): Process {
  const object = {} as ElfObject
  const mapOf = (path: string): LinkMap => ({ path, identity: path, object, openedBy: null, needed: [] })
  const root = mapOf('/bin/sh')
  const maps = [root]
  for (const [soname, path] of Object.entries(needed)) {
    const provider = path === null ? null : mapOf(path)
    if (provider !== null) maps.push(provider)
    root.needed.push({ soname, provider, because: { by: 'cache', entry: null, owner: null }, lackingVersions: lacking })
  }
  return { maps } as unknown as Process
}

const lost = (soname: string) => ({ error: `${soname}: cannot open shared object file: No such file`, files: [] })

test('the first library that the loader misses must be one that we miss', () => {
  assert.deepEqual(loaderDifferences(processOf({ 'liba.so': null }), lost('liba.so')), [])
  assert.deepEqual(loaderDifferences(processOf({ 'liba.so': '/etc/passwd' }), lost('liba.so')), [
    'the loader does not find liba.so, but wheelfix does',
  ])
})

test('an object that loads must miss nothing', () => {
  const files = ['/usr/bin/dash', '/bin/sh']
  const said = loaderDifferences(processOf({ 'liba.so': null }), { error: null, files })
  assert.ok(said.includes('wheelfix does not find liba.so, but the loader does'))
})

test('a version that the loader misses must be one that we miss', () => {
  const error = "/lib/libc.so.6: version `GLIBC_9.9' not found (required by /x.so)"
  assert.equal(loaderDifferences(processOf({ 'libc.so.6': '/etc/passwd' }), { error, files: [] }).length, 1)
  assert.deepEqual(
    loaderDifferences(processOf({ 'libc.so.6': '/etc/passwd' }, ['GLIBC_9.9']), { error, files: [] }),
    [],
  )
})

test('a missing symbol does not count as a missing library', () => {
  const error = '/x.so: undefined symbol: f'
  assert.deepEqual(loaderDifferences(processOf({ 'libc.so.6': '/etc/passwd' }), { error, files: [] }), [])
})

test('a program is listed by its own loader and never started', { skip: missing('gcc', 'musl-gcc') }, () => {
  const folder = mkdtempSync(join(tmpdir(), 'wheelfix-list-'))
  try {
    for (const [compiler, libc] of [
      ['gcc', 'glibc'],
      ['musl-gcc', 'musl'],
    ] as const) {
      const [library, program, ran] = ['libone.so', 'program', 'ran'].map(name => join(folder, name)) as [
        string,
        string,
        string,
      ]
      writeFileSync(join(folder, 'one.c'), 'int one(void) { return 1; }')
      writeFileSync(
        join(folder, 'main.c'),
        `int one(void), creat(const char *, int); int main() { creat("${ran}", 420); return one(); }`,
      )
      runWell(compiler, ['-shared', '-fpic', '-Wl,-soname,libone.so', join(folder, 'one.c'), '-o', library])
      runWell(compiler, [join(folder, 'main.c'), library, '-Wl,-rpath,$ORIGIN', '-o', program])
      const ask = () => askProgram(program, interpreterOf(program), libc, process.env)
      const { error, files } = ask() ?? { error: 'not asked', files: [] }
      assert.equal(error, null)
      assert.ok(files.includes(realpathSync(library)), files.join())
      assert.ok(files.some(file => /^libc\.so|^libc-/.test(basename(file))))
      rmSync(library)
      assert.match(ask()?.error ?? '', /libone\.so: (?:cannot open shared object|No such file)/)
      assert.ok(!existsSync(ran))
    }
    // a script or a program of another machine says nothing
    writeFileSync(join(folder, 'none'), '', { mode: 0o755 })
    copyFileSync(join(folder, 'none'), join(folder, 'loader'))
    assert.equal(askProgram(join(folder, 'program'), null, 'musl', {}), null)
  } finally {
    rmSync(folder, { recursive: true })
  }
})

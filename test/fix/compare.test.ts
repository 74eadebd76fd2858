// What counts as a difference between the real loader's answer and ours.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { ElfObject } from '../../src/elf/types.ts'
import { differences } from '../../src/fix/compare.ts'
import type { LinkMap, Process } from '../../src/loader/search.ts'

/** A process with one object that needs these: a file that serves it, or null. */
function processOf(needed: Readonly<Record<string, string | null>>, lacking: readonly string[] = []): Process {
  const object = {} as ElfObject
  const mapOf = (path: string): LinkMap => ({ path, identity: path, object, loader: null, needed: [] })
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

test('the first library that the loader misses has to be one that we miss', () => {
  assert.deepEqual(differences(processOf({ 'liba.so': null }), lost('liba.so')), [])
  assert.deepEqual(differences(processOf({ 'liba.so': '/etc/passwd' }), lost('liba.so')), [
    'the loader does not find liba.so, wheelfix does',
  ])
})

test('what loads may miss nothing', () => {
  const files = ['/usr/bin/dash', '/bin/sh']
  const said = differences(processOf({ 'liba.so': null }), { error: null, files })
  assert.ok(said.includes('wheelfix does not find liba.so, the loader does'))
})

test('a version that the loader misses has to be one that we miss', () => {
  const error = "/lib/libc.so.6: version `GLIBC_9.9' not found (required by /x.so)"
  assert.equal(differences(processOf({ 'libc.so.6': '/etc/passwd' }), { error, files: [] }).length, 1)
  assert.deepEqual(differences(processOf({ 'libc.so.6': '/etc/passwd' }, ['GLIBC_9.9']), { error, files: [] }), [])
})

test('a symbol that is not there is no matter of where libraries are', () => {
  const error = '/x.so: undefined symbol: f'
  assert.deepEqual(differences(processOf({ 'libc.so.6': '/etc/passwd' }), { error, files: [] }), [])
})

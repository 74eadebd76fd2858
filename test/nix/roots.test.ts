import assert from 'node:assert/strict'
import { existsSync, mkdirSync, readdirSync, readlinkSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { nixBase32 } from '../../src/nix/daemon/base32.ts'
import { addRoots, checkRoots, dropRoots } from '../../src/nix/roots.ts'
import { stateFolderIn } from '../../src/python/environment.ts'
import { missing } from '../support/requires.ts'
import { runWell } from '../support/run.ts'
import { treeState } from '../support/tree.ts'
import { fakeStore, scratch, startDaemon } from './stores.ts'

const states = (report: ReturnType<typeof checkRoots>) => report.roots.map(({ state }) => state)

function venvIn(folder: string, name = 'venv'): string {
  mkdirSync(join(folder, name), { recursive: true })
  return join(folder, name)
}

test('hashes are written as Nix writes them', () => {
  // nix hash to-base32 --type sha1 of sha1("")
  const bytes = Buffer.from('da39a3ee5e6b4b0d3255bfef95601890afd80709', 'hex')
  assert.equal(nixBase32(bytes), '143xibwh31h9bvxzalr0sjvbbvpa6ffs')
})

test('links have readable names, also for two store paths of one name, and a second run changes nothing', t => {
  const folder = scratch(t)
  const { env, add } = fakeStore(folder, { auto: true })
  const venv = venvIn(folder)
  const a = add('zlib-1.3.1', ['lib/libz.so.1'], 'a')
  const b = add('zlib-1.3.1', ['lib/libz.so.1'], 'b')
  const gcc = add('gcc-14.3.0-lib', ['lib/libstdc++.so.6'])
  const paths = [`${a}/lib/libz.so.1`, b, gcc, '/usr/lib/libm.so']
  const report = addRoots(stateFolderIn(venv), paths, env)
  assert.deepEqual(states(report), ['rooted', 'rooted', 'rooted'])
  assert.equal(report.problem, null)
  const names = readdirSync(join(venv, '.wheelfix/roots')).sort()
  const tails = [a, b].map(path => `zlib-1.3.1-${path.slice(path.lastIndexOf('/') + 1).slice(0, 8)}`)
  assert.deepEqual(names, ['gcc-14.3.0-lib', ...tails.sort()])
  const before = treeState(folder)
  assert.equal(addRoots(stateFolderIn(venv), paths, env).changed, 0)
  assert.deepEqual(treeState(folder), before)
  assert.deepEqual(states(checkRoots(stateFolderIn(venv), paths, env)), ['rooted', 'rooted', 'rooted'])
  assert.deepEqual(treeState(folder), before)
})

test('roots that are no longer used are dropped, with Nix’s registration, and dropRoots leaves nothing', t => {
  const folder = scratch(t)
  const { env, add } = fakeStore(folder, { auto: true })
  const venv = venvIn(folder)
  const [a, b] = [add('a-1', ['x']), add('b-1', ['x'])]
  const auto = join(env['NIX_STATE_DIR'] ?? '', 'gcroots/auto')
  addRoots(stateFolderIn(venv), [a, b], env)
  assert.equal(readdirSync(auto).length, 2)
  assert.equal(addRoots(stateFolderIn(venv), [b], env).changed, 1)
  assert.deepEqual(readdirSync(join(venv, '.wheelfix/roots')), ['b-1'])
  assert.equal(readdirSync(auto).length, 1)
  assert.equal(dropRoots(stateFolderIn(venv), env), 1)
  assert.equal(existsSync(join(venv, '.wheelfix/roots')), false)
  assert.deepEqual(readdirSync(auto), [])
  assert.equal(dropRoots(stateFolderIn(venv), env), 0)
})

test('a venv that was moved has roots that Nix does not know: a check says so and a run registers them again', t => {
  const folder = scratch(t)
  const { env, add } = fakeStore(folder, { auto: true })
  const path = add('zlib-1.3.1', ['lib/libz.so.1'])
  addRoots(stateFolderIn(venvIn(folder)), [path], env)
  const moved = join(folder, 'moved')
  renameSync(join(folder, 'venv'), moved)
  const report = checkRoots(stateFolderIn(moved), [path], env)
  assert.deepEqual(states(report), ['unregistered'])
  assert.match(report.problem ?? '', /not protected/)
  assert.deepEqual(states(addRoots(stateFolderIn(moved), [path], env)), ['rooted'])
})

test('a store path keeps one root, under another name, when another path gets its name', t => {
  const folder = scratch(t)
  const { env, add } = fakeStore(folder, { auto: true })
  const venv = venvIn(folder)
  const [a, b] = [add('zlib-1.3.1', ['x'], 'a'), add('zlib-1.3.1', ['x'], 'b')]
  addRoots(stateFolderIn(venv), [a], env)
  assert.equal(addRoots(stateFolderIn(venv), [a, b], env).changed, 3)
  assert.deepEqual(states(checkRoots(stateFolderIn(venv), [a, b], env)), ['rooted', 'rooted'])
  assert.equal(readdirSync(join(venv, '.wheelfix/roots')).length, 2)
})

test('a check says that all roots were removed, but asks for none in a venv that was never patched', t => {
  const folder = scratch(t)
  const { env, add } = fakeStore(folder, { auto: true })
  const venv = venvIn(folder)
  const path = add('zlib-1.3.1', ['lib/libz.so.1'])
  assert.equal(checkRoots(stateFolderIn(venv), [path], env).problem, null)
  addRoots(stateFolderIn(venv), [path], env)
  rmSync(join(venv, '.wheelfix/roots'), { recursive: true })
  assert.match(checkRoots(stateFolderIn(venv), [path], env).problem ?? '', /1 of 1 store path is not protected/)
})

test('a root of a missing store path is reported, and the next run drops it', t => {
  const folder = scratch(t)
  const { env, add } = fakeStore(folder, { auto: true })
  const venv = venvIn(folder)
  const [old, now] = [add('zlib-1.3.0', ['lib/libz.so.1']), add('zlib-1.3.1', ['lib/libz.so.1'])]
  addRoots(stateFolderIn(venv), [old], env)
  rmSync(old, { recursive: true })
  const report = checkRoots(stateFolderIn(venv), [now], env)
  assert.ok(states(report).includes('dead'))
  assert.match(report.problem ?? '', /zlib-1\.3\.0 is gone from the store/)
  assert.deepEqual(states(addRoots(stateFolderIn(venv), [now], env)), ['rooted'])
  assert.deepEqual(readdirSync(join(venv, '.wheelfix/roots')), ['zlib-1.3.1'])
})

test('without Nix no root is made, and the report says so; the same holds for a private store with the usual state folder', t => {
  const folder = scratch(t)
  const { env, add } = fakeStore(folder)
  const venv = venvIn(folder)
  const path = add('zlib-1.3.1', ['lib/libz.so.1'])
  const { NIX_STATE_DIR: _, ...stateless } = env
  for (const environment of [env, stateless]) {
    const report = addRoots(stateFolderIn(venv), [path], environment)
    assert.deepEqual(states(report), ['absent'])
    assert.match(report.problem ?? '', /nothing protects the libraries/)
    assert.deepEqual(readdirSync(venv), [])
  }
})

/** A real store in a folder, with one valid path that nothing else keeps. */
function realStore(t: TestContext) {
  const folder = scratch(t)
  const { env } = fakeStore(folder, { auto: true })
  const real = { NIX_CONF_DIR: folder, NIX_LOCALSTATE_DIR: folder, NIX_LOG_DIR: folder, HOME: folder }
  const nix = { ...env, ...real, PATH: process.env['PATH'] }
  const source = join(folder, 'zlib-1.3.1')
  mkdirSync(source)
  const path = runWell('nix-store', ['--add', source], { env: nix }).trim()
  const collect = () => runWell('nix-store', ['--gc'], { env: nix })
  return { folder, nix, path, collect }
}

for (const how of ['the daemon', 'Nix’s folder of registrations'] as const) {
  test(
    `a collection keeps what is rooted through ${how}, and takes it when the root is dropped`,
    {
      skip: missing('nix-store', 'nix-daemon'),
    },
    async t => {
      const { folder, nix, path, collect } = realStore(t)
      const venv = venvIn(folder)
      // a daemon needs no nix program in PATH
      const env = how === 'the daemon' ? { ...(await startDaemon(t, nix)), PATH: '/nonexistent' } : nix
      const report = addRoots(stateFolderIn(venv), [path], env)
      assert.deepEqual(states(report), ['rooted'], report.problem ?? '')
      assert.equal(readlinkSync(join(venv, '.wheelfix/roots/zlib-1.3.1')), path)
      collect()
      assert.ok(existsSync(path))
      rmSync(join(venv, '.wheelfix'), { recursive: true })
      collect()
      assert.equal(existsSync(path), false)
    },
  )
}

test('a path that Nix does not know is not claimed to be rooted', { skip: missing('nix-store') }, t => {
  const { folder, nix, path } = realStore(t)
  const unknown = path.replace('zlib-1.3.1', 'zlib-1.3.2')
  mkdirSync(unknown)
  const report = addRoots(stateFolderIn(venvIn(folder)), [path, unknown], nix)
  assert.deepEqual(states(report), ['rooted', 'absent'])
  assert.match(report.problem ?? '', /zlib-1\.3\.2 is not in Nix's database/)
})

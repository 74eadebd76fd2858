import assert from 'node:assert/strict'
import { symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { scanStore, storeScanner } from '../../src/nix/scan-store.ts'
import { missing } from '../support/requires.ts'
import { runWell } from '../support/run.ts'
import { fakeStore, scratch, startDaemon } from './stores.ts'

test('the newest package comes first, by version and not by text, and ties are ordered by path', t => {
  const { store, env, add } = fakeStore(scratch(t))
  const names = ['gcc-9.5.0-lib', 'gcc-14.2.1.20250322-lib', 'gcc-13.3.0-lib', 'gcc-14.2.1.20250322-lib']
  const paths = names.map((name, i) => add(name, ['lib/libstdc++.so.6'], `${i}`))
  const list = storeScanner({ store, env })('libstdc++.so.6')
  const newest = [paths[1] ?? '', paths[3] ?? ''].sort()
  assert.deepEqual(
    list.map(({ directory }) => directory),
    [...newest, paths[2], paths[0]].map(path => `${path}/lib`),
  )
  assert.deepEqual(list[0], {
    soname: 'libstdc++.so.6',
    path: `${newest[0]}/lib/libstdc++.so.6`,
    directory: `${newest[0]}/lib`,
    source: 'scan',
    package: 'gcc',
    version: '14.2.1.20250322',
  })
})

test('derivations, sources, debug files, stubs and driver libraries are not candidates', t => {
  const { store, env, add } = fakeStore(scratch(t))
  add('zlib-1.3.1.drv', ['lib/libz.so.1'])
  add('zlib-1.3.1-source', ['lib/libz.so.1'])
  add('zlib-1.3.1-debug', ['lib/libz.so.1'])
  add('zlib-1.3.1-dev', ['lib/libz.so.1'])
  add('zlib-stubs-1.0', ['lib/stubs/libz.so.1'])
  add('nvidia-x11-570.1', ['lib/libcuda.so.1'])
  assert.deepEqual(scanStore(['libz.so.1', 'libcuda.so.1', 'lib/libz.so.1'], { store, env }), new Map())
})

test('a link leads to the package itself, also from a farm of links, and a folder of links to stubs to nothing', t => {
  const { store, env, add } = fakeStore(scratch(t))
  const zlib = add('zlib-1.2.13', ['lib/libz.so.1.2.13'])
  symlinkSync('libz.so.1.2.13', join(zlib, 'lib/libz.so.1'))
  const farm = add('manylinux2014', ['lib/libc.so.6'])
  symlinkSync(`${zlib}/lib/libz.so.1`, join(farm, 'lib/libz.so.1'))
  const stubs = add('cuda-12', ['lib/stubs/libnvrtc.so.12'])
  symlinkSync('stubs/libnvrtc.so.12', join(stubs, 'lib/libnvrtc.so.12'))
  const dangling = add('zlib-9', ['lib/x'])
  symlinkSync('/nonexistent/libz.so.1', join(dangling, 'lib/libz.so.1'))
  const found = scanStore(['libz.so.1', 'libnvrtc.so.12'], { store, env })
  assert.deepEqual(
    [...found].map(([soname, list]) => [soname, list.map(({ path }) => path)]),
    [['libz.so.1', [`${zlib}/lib/libz.so.1`]]],
  )
})

test('lib folders are searched where no name matches', t => {
  const { store, env, add } = fakeStore(scratch(t))
  const odd = add('vendor-bundle-2.0', ['lib/libtbb.so.12'])
  add('python3.12-oddity-1.0', ['lib/libodd.so.1'])
  const found = scanStore(['libtbb.so.12', 'libodd.so.1'], { store, env })
  assert.deepEqual([...found.keys()], ['libtbb.so.12'])
  assert.equal(found.get('libtbb.so.12')?.[0]?.directory, `${odd}/lib`)
  assert.equal(found.get('libtbb.so.12')?.[0]?.package, 'vendor-bundle')
})

test('names that nixpkgs changed only in case are found', t => {
  const { store, env, add } = fakeStore(scratch(t))
  add('libX11-1.8.10', ['lib/libX11.so.6'])
  add('libx11-1.8.12', ['lib/libX11.so.6'])
  const list = scanStore(['libX11.so.6'], { store, env }).get('libX11.so.6') ?? []
  assert.deepEqual(
    list.map(({ version }) => version),
    ['1.8.12', '1.8.10'],
  )
})

test('a store that does not exist has nothing', () => {
  const store = '/nonexistent/store'
  assert.equal(scanStore(['libz.so.1'], { store, env: { NIX_STORE_DIR: store } }).size, 0)
})

test(
  'what is not in Nix’s database is left out, asked of the daemon or of nix-store',
  {
    skip: missing('nix-store', 'nix-daemon'),
  },
  async t => {
    const folder = scratch(t)
    const { store, env, add } = fakeStore(folder, { auto: true })
    const nix = {
      ...env,
      PATH: process.env['PATH'],
      HOME: folder,
      NIX_CONF_DIR: folder,
      NIX_LOCALSTATE_DIR: folder,
      NIX_LOG_DIR: folder,
    }
    // an unregistered copy of a valid path, newer than it
    const unknown = add('zlib-9.9', ['lib/libz.so.1'])
    const source = join(folder, 'zlib-1.3.1')
    runWell('mkdir', ['-p', join(source, 'lib')])
    runWell('touch', [join(source, 'lib/libz.so.1')])
    const valid = runWell('nix-store', ['--add', source], { env: nix }).trim()
    const paths = (environment: NodeJS.ProcessEnv) =>
      storeScanner({ store, env: environment })('libz.so.1').map(({ path }) => path)
    assert.deepEqual(paths(nix), [`${valid}/lib/libz.so.1`])
    const served = await startDaemon(t, nix)
    assert.deepEqual(paths({ ...served, PATH: '/nonexistent' }), [`${valid}/lib/libz.so.1`])
    // nobody to ask: everything is taken
    assert.deepEqual(paths({ ...nix, PATH: '/nonexistent' }), [`${unknown}/lib/libz.so.1`, `${valid}/lib/libz.so.1`])
  },
)

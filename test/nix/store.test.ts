import assert from 'node:assert/strict'
import { test } from 'node:test'
import { compareVersions, parseStoreName, stateDirectory, storeDirectory, storePathOf } from '../../src/nix/store.ts'

const HASH = 'kxs7xs55471l8r9w665fx0dd9mpkkwzs'

test('the store and the state are where Nix’s own variables say, without a trailing slash', () => {
  assert.equal(storeDirectory({}), '/nix/store')
  assert.equal(storeDirectory({ NIX_STORE_DIR: '/tmp/w/store/' }), '/tmp/w/store')
  assert.equal(storeDirectory({ NIX_STORE_DIR: '' }), '/nix/store')
  assert.equal(stateDirectory({}), '/nix/var/nix')
  assert.equal(stateDirectory({ NIX_STATE_DIR: '/tmp/w/var' }), '/tmp/w/var')
})

test('the store path of a file is the first folder below the store, if its name is one of a store path', () => {
  const path = `/nix/store/${HASH}-zlib-1.3.1`
  assert.equal(storePathOf(`${path}/lib/libz.so.1`, '/nix/store'), path)
  assert.equal(storePathOf(path, '/nix/store'), path)
  for (const other of ['/nix/store', '/nix/store/.links/x', '/nix/storeroom/x', '/nix/store/zlib/lib', '/usr/lib']) {
    assert.equal(storePathOf(other, '/nix/store'), null, other)
  }
})

test('names are split as nixpkgs makes them, date suffixes and outputs among them', () => {
  const cases: Record<string, readonly [string, string, string | null]> = {
    'gcc-14.2.1.20250322-lib': ['gcc', '14.2.1.20250322', 'lib'],
    'gcc-14.3.0-libgcc': ['gcc', '14.3.0', 'libgcc'],
    'xgcc-15.2.0-libgcc': ['xgcc', '15.2.0', 'libgcc'],
    'gfortran-14.3.0-lib': ['gfortran', '14.3.0', 'lib'],
    'gtk+3-3.24.49': ['gtk+3', '3.24.49', null],
    'glibc-2.40-66': ['glibc', '2.40-66', null],
    'zlib-1.3.1': ['zlib', '1.3.1', null],
    'systemd-minimal-libs-257.6': ['systemd-minimal-libs', '257.6', null],
    'cuda12.8-libcublas-12.8.3.14-lib': ['cuda12.8-libcublas', '12.8.3.14', 'lib'],
    'mesa-libgbm-25.1.0': ['mesa-libgbm', '25.1.0', null],
    'foo-0-unstable-2025-01-31': ['foo', '0-unstable-2025-01-31', null],
    'bar-2.0-rc1-dev': ['bar', '2.0-rc1', 'dev'],
    'desktop-libs': ['desktop-libs', '', null],
    'python3.12-numpy-2.2.1': ['python3.12-numpy', '2.2.1', null],
  }
  for (const [name, [pname, version, output]] of Object.entries(cases)) {
    assert.deepEqual(parseStoreName(`${HASH}-${name}`), { hash: HASH, name: pname, version, output }, name)
  }
  for (const other of ['zlib-1.3.1', HASH, `${HASH}-`, '.links', `${'e'.repeat(32)}-x`]) {
    assert.equal(parseStoreName(other), null, other)
  }
})

test('versions are ordered as by builtins.compareVersions', () => {
  // every line is what Nix 2.8 says
  const lines: readonly (readonly [string, string, number])[] = [
    ['1.0', '2.3', -1],
    ['2.1', '2.3', -1],
    ['2.3', '2.3', 0],
    ['2.3.1', '2.3', 1],
    ['2.3.1', '2.3a', 1],
    ['2.3pre1', '2.3', -1],
    ['2.3pre3', '2.3pre12', -1],
    ['2.3a', '2.3c', -1],
    ['2.3pre1', '2.3c', -1],
    ['2.3a', '2.3', 1],
    ['pre', 'q', -1],
    ['14.2.1.20250322', '14.3.0', -1],
    ['13.3.0', '14.2.1.20250322', -1],
    ['1.10', '1.9', 1],
    ['2.40-66', '2.40', 1],
  ]
  for (const [a, b, order] of lines) {
    assert.equal(Math.sign(compareVersions(a, b)), order, `${a} ${b}`)
    assert.equal(Math.sign(compareVersions(b, a)), order === 0 ? 0 : -order, `${b} ${a}`)
  }
})

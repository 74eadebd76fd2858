// The warnings about packages of the store that nobody vouches for, in a short report.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { shortWarnings } from '../../src/commands/shared/warnings.ts'
import { storeTrust } from '../../src/nix/trust/trust.ts'
import { foldSkipped, trustWarnings } from '../../src/resolve/trust-warnings.ts'

const trust = storeTrust({ env: {}, interpreter: [], named: [] })
const skipped = (...paths: string[]) => trustWarnings({ ...trust, problem: () => null, passedOver: () => paths })

test('skipped packages get one line, behind the other warnings', () => {
  const path = `/nix/store/${'a'.repeat(32)}-gcc-99.0.0-lib`
  assert.match(skipped(path)[0] ?? '', new RegExp(`^skipped ${path}: .*--trust ${path}$`))
  assert.deepEqual(foldSkipped([...skipped(path), 'other']), [
    'other',
    `skipped gcc-99.0.0-lib of the store, because nothing shows who put it there; to use it: --trust ${path}`,
  ])
  assert.deepEqual(foldSkipped([...skipped('/nix/store/a', '/nix/store/b'), 'other']), [
    'other',
    'skipped 2 packages of the store, because nothing shows who put them there (-v lists them)',
  ])
  assert.deepEqual(foldSkipped(['other']), ['other'])
})

test('where nothing is missing, skipped packages are not worth a warning', () => {
  assert.deepEqual(shortWarnings([...skipped('/nix/store/a'), 'other'], true), ['other'])
})

test('a short report has two warnings at most', () => {
  assert.deepEqual(shortWarnings(['a', 'b']), ['a', 'b'])
  assert.deepEqual(shortWarnings(['a', 'b', 'c']), ['a', '2 more warnings (-v shows all)'])
  assert.deepEqual(shortWarnings([...skipped('/nix/store/a', '/nix/store/b'), 'a', 'b']), [
    'a',
    '2 more warnings (-v shows all)',
  ])
})

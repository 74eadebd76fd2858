// The warnings about packages of the store that nobody vouches for, in a short report.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { foldSkipped, trustWarnings } from '../../src/resolve/library-sources.ts'
import { storeTrust } from '../../src/nix/trust/trust.ts'

test('several skipped packages get one line, behind the other warnings; a single one keeps its own', () => {
  const trust = storeTrust({ env: {}, interpreter: [], named: [] })
  const warnings = (...paths: string[]) => trustWarnings({ ...trust, problem: () => null, passedOver: () => paths })
  const one = warnings('/nix/store/a')
  assert.match(one[0] ?? '', /^skipped \/nix\/store\/a: .*--trust/)
  assert.deepEqual(foldSkipped([...one, 'other']), [...one, 'other'])
  assert.deepEqual(foldSkipped([...warnings('/nix/store/a', '/nix/store/b'), 'other']), [
    'other',
    'skipped 2 packages of the store, because nothing shows who put them there (-v lists them)',
  ])
})

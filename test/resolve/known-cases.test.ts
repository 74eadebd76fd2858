import assert from 'node:assert/strict'
import { test } from 'node:test'
import { isOpenedAtImport, KNOWN_CASES } from '../../src/resolve/known-cases.ts'
import { normaliseName } from '../../src/python/distributions.ts'

test('each known case has normalised names, sonames, a remedy and a source', () => {
  for (const { distributions, sonames, how, remedy, source } of KNOWN_CASES) {
    assert.deepEqual(distributions, distributions.map(normaliseName))
    assert.ok(distributions.length > 0)
    assert.equal(sonames.length === 0, how === 'program', distributions[0])
    for (const soname of sonames) assert.match(soname, /^lib[\w.+-]+\.so(?:\.\d+)*$/)
    assert.match(source, /[\w-]+\.py|#\d+/)
    assert.ok(remedy.length > 10)
  }
})

test('a distribution is named in one case only', () => {
  const names = KNOWN_CASES.flatMap(({ distributions }) => distributions)
  assert.equal(new Set(names).size, names.length)
})

test('a library that its distribution opens by path when it is imported is known by the end of its path', () => {
  assert.ok(isOpenedAtImport('/v/lib/python3.11/site-packages/xgboost/lib/libxgboost.so'))
  assert.ok(!isOpenedAtImport('/v/lib/python3.11/site-packages/other/lib/libother.so'))
})

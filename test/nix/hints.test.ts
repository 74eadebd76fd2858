import assert from 'node:assert/strict'
import { test } from 'node:test'
import { isDriverLibrary } from '../../src/fix/drivers.ts'
import { HINTS } from '../../src/nix/hints-data.ts'
import { hintFor, isDriverHint, packageNames } from '../../src/nix/hints.ts'
import { findPolicy, manylinuxSonames, POLICIES } from '../../src/nix/policies.ts'

test('the data has at least 300 sonames, each once, and only well-formed attributes, outputs and package names', () => {
  const sonames = HINTS.flatMap(row => row.sonames.split(' '))
  assert.ok(sonames.length >= 300)
  assert.equal(new Set(sonames).size, sonames.length)
  for (const soname of sonames) assert.match(soname, /^[\w+.-]+\.so(?:\.\d+)*$/)
  assert.equal(new Set(HINTS.map(row => row.attribute)).size, HINTS.length)
  for (const { attribute, output, packages } of HINTS) {
    assert.match(attribute, /^[a-zA-Z_][\w'-]*(?:\.[a-zA-Z_][\w'-]*)*$/)
    if (output !== undefined) assert.match(output, /^(?:lib|out)$/)
    if (packages !== undefined) for (const name of packages.split(' ')) assert.match(name, /^[\w+.-]+$/)
  }
})

test('a hint names attribute and output, also for another version of a known library', () => {
  assert.deepEqual(hintFor('libstdc++.so.6'), { attribute: 'stdenv.cc.cc', output: 'lib' })
  assert.deepEqual(hintFor('libz.so.1'), { attribute: 'zlib' })
  assert.equal(hintFor('libicuuc.so.99')?.attribute, 'icu')
  assert.equal(hintFor('libzz.so.1'), null)
  assert.equal(hintFor('libdb.so'), null)
})

test('the libraries of the driver are hinted at as such, and the pattern that keeps them out of the store agrees', () => {
  for (const row of HINTS) {
    for (const soname of row.sonames.split(' ')) {
      assert.equal(isDriverHint(soname), row.source === 'driver')
      assert.equal(isDriverLibrary(soname), row.source === 'driver', soname)
    }
  }
})

test('store paths are looked for by the names of the data, then by names made from the soname', () => {
  assert.deepEqual(packageNames('libX11.so.6').slice(0, 1), ['libx11'])
  assert.deepEqual(packageNames('libGL.so.1').slice(0, 1), ['libglvnd'])
  assert.deepEqual(packageNames('libfoo-2.0.so.0'), ['libfoo-2.0', 'foo-2.0', 'libfoo', 'foo'])
})

test('every library that a policy allows is glibc’s or musl’s own, or has a hint', () => {
  const libc = /^lib(?:c|m|dl|rt|util|nsl|pthread|resolv|anl|mvec)\.so(?:\.\d+)?$/
  const without = [...manylinuxSonames()].filter(soname => !libc.test(soname) && hintFor(soname) === null)
  assert.deepEqual(without, [])
  assert.ok(manylinuxSonames().has('libstdc++.so.6') && manylinuxSonames().has('libexpat.so.1'))
})

test('policies are found by name, old name and whole tag', () => {
  assert.equal(findPolicy('manylinux2014')?.name, 'manylinux_2_17')
  assert.equal(findPolicy('manylinux1_x86_64')?.name, 'manylinux_2_5')
  assert.equal(findPolicy('manylinux_2_28_aarch64')?.newest['aarch64']?.['GLIBC'], '2.28')
  assert.equal(findPolicy('musllinux_1_2')?.libc, 'musl')
  assert.equal(findPolicy('manylinux_2_28_sparc'), null)
  assert.equal(new Set(POLICIES.flatMap(({ name, aliases }) => [name, ...aliases])).size, POLICIES.length + 3)
})

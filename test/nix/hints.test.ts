import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { basename, join } from 'node:path'
import { test } from 'node:test'
import { isDriverLibrary } from '../../src/fix/drivers.ts'
import { HINTS } from '../../src/nix/hints-data.ts'
import { hintFor, type HintRow, isDriverHint, packageNames } from '../../src/nix/hints.ts'
import { findPolicy, manylinuxSonames, POLICIES } from '../../src/nix/policies.ts'
import { missing } from '../support/requires.ts'
import { runWell } from '../support/run.ts'
import { checkHints } from './hints-check.ts'
import { scratch } from './stores.ts'

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

test(
  'npm run hints finds what a nixpkgs does not have, in another output, or by another name',
  {
    skip: missing('nix-instantiate'),
  },
  async t => {
    const folder = scratch(t)
    writeFileSync(
      join(folder, 'default.nix'),
      `{ system, overlays, config }:
    let
      package = name: outputs: derivation { inherit name system outputs; builder = "/bin/sh"; };
      pkgs = {
        zlib = package "zlib-1.3.1" [ "out" "dev" ];
        lz4 = package "lz4-1.10.0" [ "dev" "lib" "out" ];
        xorg.libX11 = package "libX11-1.8.12" [ "out" ];
        renamed = package "quite-other-1.0" [ "out" ];
        gone = throw "gone has been removed";
        # what no tryEval catches
        broken = abort "no";
      };
    in
    pkgs // (if config.allowAliases then { old = pkgs.zlib; } else { })`,
    )
    const row = (attribute: string, sonames: string, more: Partial<HintRow> = {}): HintRow => {
      return { attribute, sonames, source: 'recipe', ...more }
    }
    const rows = [
      row('zlib', 'libz.so.1'),
      row('lz4', 'liblz4.so.1', { output: 'lib' }),
      row('xorg.libX11', 'libX11.so.6 libX11.so.7'),
      row('xorg.none', 'libnone.so.1'),
      row('renamed', 'librenamed.so.1'),
      row('zlib', 'libz.so.1', { output: 'lib' }),
      row('gone', 'libgone.so.1'),
      row('broken', 'libbroken.so.1'),
      row('gone', 'libgone.so.0', { note: 'in nixpkgs before 24.11' }),
      row('old', 'libold.so.1', { packages: 'zlib' }),
      row('hardware.graphics.enable', 'libcuda.so.1', { source: 'driver' }),
    ]
    const hashOf = (attribute: string, output: string): string => {
      const set = `import ${folder} { system = builtins.currentSystem; overlays = [ ]; config.allowAliases = true; }`
      const expression = `(${set}).${attribute}.${output}.outPath`
      return basename(JSON.parse(runWell('nix-instantiate', ['--eval', '--json', '-E', expression])) as string).slice(
        0,
        32,
      )
    }
    const lz4 = hashOf('lz4', 'lib')
    const server = createServer((request, response) => {
      const names = request.url === `/${lz4}.ls` ? ['liblz4.so.2'] : ['libX11.so.6', 'libz.so.1']
      const entries = Object.fromEntries(names.map(name => [name, { type: 'regular' }]))
      const root = { type: 'directory', entries: { lib: { type: 'directory', entries } } }
      response.end(JSON.stringify({ version: 1, root }))
    })
    await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
    t.after(() => server.close())
    const address = server.address()
    const port = typeof address === 'object' && address !== null ? address.port : 0
    const findings = await checkHints(rows, folder, `http://127.0.0.1:${port}`)
    assert.deepEqual(
      findings.map(({ attribute, severity, message }) => `${severity} ${attribute} ${message}`),
      [
        'error lz4 does not hold liblz4.so.1',
        'note xorg.libX11 does not hold libX11.so.7',
        'error xorg.none is not in this nixpkgs',
        'error renamed is called quite-other in the store, where nobody looks for librenamed.so.1',
        'error renamed does not hold librenamed.so.1',
        'error zlib has no output lib (out dev)',
        'error gone was removed from this nixpkgs',
        'error broken was removed from this nixpkgs',
        'note gone was removed from this nixpkgs',
        'note old is an alias',
        'error old does not hold libold.so.1',
      ],
    )
  },
)

// Where the libraries come from, with one small real package.
import assert from 'node:assert/strict'
import { mkdirSync, rmSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { after, suite, test } from 'node:test'
import { skip } from '../support/requires.ts'
import { parseReport } from '../world/report.ts'
import { makeVenv, pipInstall, wheelfix, withWheels } from '../world/venv.ts'
import { buildWorld } from '../world/world.ts'
import { TESTED_PACKAGES, usePackage } from './packages.ts'

const NUMPY = TESTED_PACKAGES.filter(({ name }) => name === 'numpy')

suite('a Python whose own search path holds the compiler’s libraries, as nixpkgs builds it', () => {
  const world = withWheels(buildWorld({ compilerInClosure: true }))
  if (typeof world === 'string') {
    test('makes numpy work', { skip: skip(world) })
    return
  }
  after(() => world.dispose())
  const venv = makeVenv(world, 'venv')
  pipInstall(world, venv, ['numpy'])

  test('makes numpy work without any other source', () => {
    for (const tested of NUMPY)
      assert.match(usePackage(venv, tested, world.env).said, /libstdc\+\+\.so\.6: cannot open/)
    const { status, stdout, stderr } = wheelfix(world, ['venv', venv, '--no-scan', '--json'])
    assert.equal(status, 0, stderr)
    assert.deepEqual(
      new Map(parseReport(stdout).libs.map(({ soname, source }) => [soname, source])).get('libstdc++.so.6'),
      'closure',
    )
    for (const tested of NUMPY) {
      const { works, said } = usePackage(venv, tested, world.env)
      assert.ok(works, said)
    }
  })
})

suite('a Python that brings no compiler’s library', () => {
  const world = withWheels(buildWorld())
  if (typeof world === 'string') {
    test('needs another source', { skip: skip(world) })
    return
  }
  after(() => world.dispose())
  const venv = makeVenv(world, 'venv')
  pipInstall(world, venv, ['numpy'])

  test('without a scan and without flags libstdc++ is missing and the status is 1', () => {
    const { status, stdout } = wheelfix(world, ['venv', venv, '--no-scan', '--dry-run', '--json'])
    assert.equal(status, 1)
    assert.deepEqual(
      parseReport(stdout).missing.map(({ soname, optional }) => [soname, optional]),
      [['libstdc++.so.6', false]],
    )
  })

  test('--ignore-missing turns that into success', () => {
    const ignored = ['--ignore-missing', 'libstdc++*']
    assert.equal(wheelfix(world, ['venv', venv, '--no-scan', '--dry-run', ...ignored]).status, 0)
  })

  for (const [source, args, env] of [
    ['flag', ['--libs', world.libs.gcc], {}],
    ['env', [], { WHEELFIX_LIBS: world.libs.gcc }],
    ['ldflags', [], { NIX_LDFLAGS: `-rpath ${world.libs.gcc} -L${world.libs.gcc}` }],
    ['nix-ld', [], { NIX_LD_LIBRARY_PATH: world.libs.gcc }],
    ['default', [], { WHEELFIX_DEFAULT_LIBS: world.libs.gcc }],
    ['scan', [], {}],
  ] as const) {
    test(`libstdc++ comes from “${source}”`, () => {
      const { stdout } = wheelfix(world, ['venv', venv, '--dry-run', '--json', ...args], env)
      const libstdcxx = parseReport(stdout).libs.find(({ soname }) => soname === 'libstdc++.so.6')
      assert.deepEqual(libstdcxx, { soname: 'libstdc++.so.6', path: `${world.libs.gcc}/libstdc++.so.6`, source })
    })
  }

  test('what libs build made is named as such, and a result without libraries is a warning', t => {
    const link = join(venv, '.wheelfix/libs')
    mkdirSync(join(venv, '.wheelfix'), { recursive: true })
    t.after(() => rmSync(link))
    symlinkSync(world.outputs.gcc, link)
    const { stdout } = wheelfix(world, ['venv', venv, '--dry-run', '--no-scan'])
    assert.match(stdout, /gcc\S* \(libs build\)/)
    rmSync(link)
    const empty = join(world.store, `${'1'.repeat(32)}-empty`)
    mkdirSync(join(empty, 'lib'), { recursive: true })
    symlinkSync(empty, link)
    const { stderr } = wheelfix(world, ['venv', venv, '--dry-run', '--no-scan'])
    assert.match(
      stderr,
      /\.wheelfix\/libs\/lib contains no shared library: build a package .*: wheelfix libs build NAME/,
    )
  })
})

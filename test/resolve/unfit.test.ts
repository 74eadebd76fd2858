// A library that is found, but does not define a version that an object wants: the report says whose file it is and what to
// do. Another file of the same name would not help, so none is offered.
import assert from 'node:assert/strict'
import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { test } from 'node:test'
import { runWell } from '../support/run.ts'
import { wheelfix } from '../world/venv.ts'
import { worldSuite } from '../world/suite.ts'
import { MODULE, testVenv, type TestVenv } from './venv.ts'

/** nixpkgs has this library, so a hint that ignores the found file would offer that package. */
const SONAME = 'libQt6Core.so.6'

worldSuite('a library without the wanted version', ['gcc', 'ld'], world => {
  const link = (output: string, source: string, ...options: string[]): void => {
    const file = join(world.root, 'unfit.c')
    mkdirSync(dirname(output), { recursive: true })
    writeFileSync(file, source)
    runWell('gcc', ['-shared', '-fPIC', '-nostdlib', '-Wl,--no-as-needed', '-o', output, file, ...options])
  }
  const library = (path: string, version: string, soname = SONAME): string => {
    const script = join(world.root, 'unfit.map')
    writeFileSync(script, `${version} { f; };\n`)
    link(path, 'int f(void) { return 0; }', `-Wl,-soname,${soname},--version-script,${script}`)
    return path
  }
  /** A module that wants a version of the library. */
  const module = (path: string, version: string, runpath: string, soname = SONAME): void => {
    const wanted = library(join(world.root, 'wanted', soname), version, soname)
    link(path, 'int f(void); int use(void) { return f(); }', wanted, `-Wl,--enable-new-dtags,-rpath,${runpath}`)
  }
  /** What every command says; the environment is checked without a scan of the store. */
  const say = (venv: TestVenv): string => {
    const options = ['--no-scan']
    const check = venv.run('check', ...options)
    assert.equal(check.status, 1)
    const { missing } = JSON.parse(venv.run('check', '--json', ...options).stdout) as { missing: { hint: string }[] }
    const { findings } = JSON.parse(venv.run('doctor', '--json', ...options).stdout) as {
      findings: { code: string; remedy: string | null }[]
    }
    const whys = ['user', SONAME].map(name => venv.run('why', name, ...options).stdout)
    const hint = missing[0]?.hint ?? ''
    assert.equal(findings.find(({ code }) => code === 'library-missing')?.remedy, hint)
    for (const text of [check.stdout, ...whys]) {
      assert.ok(text.includes(hint), text)
      assert.doesNotMatch(text, /wheelfix libs build/)
    }
    return hint
  }
  const install = (name: string, wanted: string, runpath: string): TestVenv => {
    const venv = testVenv(world, name)
    venv.install('user', { 'user/__init__.py': '' })
    module(join(venv.site, `user/core${MODULE}`), wanted, runpath)
    writeFileSync(join(venv.site, 'user-1.0.dist-info/RECORD'), `user/__init__.py,,\nuser/core${MODULE},,\n`)
    return venv
  }
  const bring = (venv: TestVenv, name: string, installer: string | null): void => {
    venv.install(name, installer === null ? {} : { [`${name}-1.0.dist-info/INSTALLER`]: `${installer}\n` })
    library(join(venv.site, `${name}/${SONAME}`), 'Qt_6.11')
    writeFileSync(join(venv.site, `${name}-1.0.dist-info/RECORD`), `${name}/${SONAME},,\n`)
  }

  test('of another distribution: both are to be upgraded, with the installer that installed it', () => {
    for (const [installer, command] of [
      [null, 'pip install --upgrade user brings'],
      ['pip', 'pip install --upgrade user brings'],
      ['uv', 'uv pip install --upgrade user brings'],
      ['poetry', 'upgrade user and brings with poetry'],
    ] as const) {
      const venv = install(`sibling-${installer}`, 'Qt_6.12', '$ORIGIN/../brings')
      bring(venv, 'brings', installer)
      assert.equal(say(venv), `brings 1.0 brings it without Qt_6.12: ${command}`)
      assert.match(venv.run('check', '--no-scan').stdout, /user needs Qt_6\.12 of libQt6Core\.so\.6, which is missing/)
      const build = wheelfix(world, ['libs', 'build', '--missing', '--no-scan', '--dry-run', venv.root])
      assert.match(build.stderr, /nothing to build/)
    }
  })

  test('of the same distribution: it is to be installed again', () => {
    const venv = install('own', 'Qt_6.12', '$ORIGIN')
    library(join(venv.site, `user/${SONAME}`), 'Qt_6.11')
    const record = ['__init__.py', `core${MODULE}`, SONAME].map(name => `user/${name},,\n`).join('')
    writeFileSync(join(venv.site, 'user-1.0.dist-info/RECORD'), record)
    assert.equal(
      say(venv),
      'user 1.0 brings it without Qt_6.12, although its own files want it: pip install --force-reinstall user',
    )
  })

  test('of the store: a newer nixpkgs has a newer one', () => {
    const folder = join(world.store, `${'a'.repeat(32)}-qtbase-6.11/lib`)
    const venv = install('store', 'Qt_6.12', folder)
    library(join(folder, SONAME), 'Qt_6.11')
    assert.equal(
      say(venv),
      'qtbase-6.11 does not define Qt_6.12: take qt6.qtbase from a newer nixpkgs, or use an older release of the ' +
        'package that wants it',
    )
  })

  test('of the library set: it is not taken, and what may have a newer one is offered', () => {
    const folder = join(world.store, `${'b'.repeat(32)}-qtbase-6.11/lib`)
    const venv = install('set', 'Qt_6.12', '$ORIGIN')
    library(join(folder, SONAME), 'Qt_6.11')
    const { stdout } = venv.run('check', '--no-scan', '--libs', folder, '--json')
    const { missing } = JSON.parse(stdout) as { missing: { hint: string }[] }
    assert.equal(missing[0]?.hint, `in nixpkgs: qt6.qtbase; skipped: ${folder}/${SONAME} lacks Qt_6.12`)
  })

  test('of the system: neither Nix nor an installer is offered', () => {
    const outside = join(world.root, 'opt')
    const venv = install('system', 'Qt_6.12', outside)
    const path = library(join(outside, SONAME), 'Qt_6.11')
    assert.equal(
      say(venv),
      `${path} does not define Qt_6.12: use a newer system, or an older release of the package that wants it`,
    )
  })

  test('of the C library: the Python is too old', () => {
    const venv = testVenv(world, 'libc')
    venv.install('user', {})
    module(join(venv.site, `user/core${MODULE}`), 'GLIBC_2.99', '$ORIGIN', 'libm.so.6')
    const { stdout } = venv.run('check', '--no-scan')
    assert.match(
      stdout,
      /GLIBC_2\.99 is needed .*, but this Python has glibc .*: use a Python from a newer nixpkgs, or an/,
    )
  })
})

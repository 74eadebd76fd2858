// What is missing below libraries outside of the venv: a miss counts however far down it is, and the real loader says so too.
import assert from 'node:assert/strict'
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { test } from 'node:test'
import { type ObjectOptions, workshop } from '../ldso/objects.ts'
import { interpreterOf } from '../support/elf.ts'
import { runWell } from '../support/run.ts'
import { disagreements, parseReport, type Report } from '../world/report.ts'
import { MODULE, testVenv, type TestVenv } from './venv.ts'
import { worldSuite } from '../world/suite.ts'

worldSuite('what is missing below a library outside of the venv', ['gcc', 'ld'], world => {
  const shop = workshop(
    { compiler: 'gcc', interpreter: interpreterOf(world.python) ?? '', openerFlags: [] },
    '/',
    world.root,
  )
  const opt = join(world.root, 'opt')
  const outside = (path: string, options: ObjectOptions = {}): string => shop.library(join(opt, path), options)

  let count = 0
  const rule = (name: string, prove: (venv: TestVenv) => void) =>
    test(name, () => {
      const venv = testVenv(world, `below${count++}`)
      prove(venv)
      rmSync(venv.root, { recursive: true })
      rmSync(opt, { recursive: true, force: true })
    })
  /** The report of check after venv, which agrees with the real loader; and the statuses of both and of doctor. */
  const examine = (venv: TestVenv, ...args: string[]): { report: Report; statuses: unknown[]; doctor: string } => {
    const patched = venv.run('venv', '--no-scan', ...args)
    const { stdout, stderr, status } = venv.run('check', '--json', '--no-scan', ...args)
    assert.notEqual(stdout, '', stderr)
    const report = parseReport(stdout)
    assert.deepEqual(disagreements(report, join(venv.root, 'bin/python'), world.env), [])
    const doctor = venv.run('doctor', '--no-scan', ...args)
    return { report, statuses: [patched.status, status, doctor.status], doctor: doctor.stdout }
  }
  const lost = ({ missing }: Report) => missing.map(({ soname, optional }) => [soname, optional])

  /** A library that defines these symbol versions, each with one function. */
  const versioned = (path: string, versions: readonly string[]): string => {
    const script = join(world.root, 'below.map')
    const source = join(world.root, 'belowv.c')
    mkdirSync(dirname(path), { recursive: true })
    writeFileSync(script, versions.map((name, index) => `${name} { global: f${index}; };`).join('\n'))
    writeFileSync(source, versions.map((_, index) => `int f${index}(void) { return 0; }`).join('\n'))
    runWell('gcc', [
      '-shared',
      '-fpic',
      '-nostdlib',
      `-Wl,-soname,libv.so.1,--version-script,${script}`,
      '-o',
      path,
      source,
    ])
    return path
  }

  rule('counts for venv, check, doctor and why, and is told with the library that needs it', venv => {
    const library = outside('libouta.so.1', { needed: ['libgone.so.1'] })
    venv.install('a', { [`a/core${MODULE}`]: { needed: ['libouta.so.1'], runpath: opt } })
    const { report, statuses, doctor } = examine(venv)
    assert.deepEqual(statuses, [1, 1, 1])
    assert.deepEqual(report.missing, [
      {
        soname: 'libgone.so.1',
        neededBy: [report.objects.find(({ path }) => path.endsWith(MODULE))?.path],
        through: [library],
        optional: false,
        hint: null,
      },
    ])
    assert.match(doctor, new RegExp(`libgone\\.so\\.1 is missing \\(needed by ${library}\\)`))
    const why = venv.run('why', 'a')
    assert.equal(why.status, 1)
    assert.match(why.stdout, /✗ libgone\.so\.1/)
    outside('libgone.so.1')
    outside('libouta.so.1', { needed: ['libgone.so.1'], runpath: '$ORIGIN' })
    assert.deepEqual(examine(venv).statuses, [0, 0, 0])
  })

  rule('counts through several of them', venv => {
    outside('libouta.so.1', { needed: ['liboutb.so.1'], runpath: '$ORIGIN/far' })
    const far = outside('far/liboutb.so.1', { needed: ['libgone.so.1', 'libgone.so.1'] })
    venv.install('a', { [`a/core${MODULE}`]: { needed: ['libouta.so.1'], runpath: opt } })
    const { report, statuses } = examine(venv)
    assert.deepEqual([lost(report), statuses], [[['libgone.so.1', false]], [1, 1, 1]])
    assert.deepEqual(
      report.missing.map(entry => 'through' in entry && entry.through),
      [[far]],
    )
  })

  rule('counts through a bundled library, for all that link to it', venv => {
    outside('libouta.so.1', { needed: ['libgone.so.1'] })
    venv.install('a', {
      [`a/core${MODULE}`]: { needed: ['libmid.so'], runpath: '$ORIGIN' },
      [`a/more${MODULE}`]: { needed: ['libmid.so'], runpath: '$ORIGIN' },
      'a/libmid.so': { needed: ['libouta.so.1'], runpath: opt },
    })
    const { report, statuses } = examine(venv)
    assert.deepEqual([lost(report), statuses], [[['libgone.so.1', false]], [1, 1, 1]])
    assert.deepEqual(
      report.missing[0]?.neededBy.map(path => path.slice(path.lastIndexOf('/') + 1)),
      ['libmid.so'],
    )
  })

  rule('counts below a library that only the users of the bundled library find', venv => {
    outside('libouta.so.1', { needed: ['libgone.so.1'] })
    venv.install('a', {
      [`a/core${MODULE}`]: { needed: ['libmid.so'], rpath: `$ORIGIN:${opt}` },
      'a/libmid.so': { needed: ['libouta.so.1'] },
    })
    const { report, statuses } = examine(venv)
    assert.deepEqual(
      [lost(report)[0], statuses],
      [
        ['libgone.so.1', false],
        [1, 1, 1],
      ],
    )
  })

  rule('counts through a library of a library set: it is passed over with the reason', venv => {
    const set = join(world.store, `${'1'.repeat(32)}-set`, 'lib')
    shop.library(join(set, 'libset.so.1'), { needed: ['libgone.so.1'] })
    venv.install('a', { [`a/core${MODULE}`]: { needed: ['libset.so.1'] } })
    const { report, statuses } = examine(venv, '--libs', set)
    assert.deepEqual([lost(report), statuses], [[['libset.so.1', false]], [1, 1, 1]])
  })

  rule('counts for a program of bin', venv => {
    outside('libouta.so.1', { needed: ['libgone.so.1'] })
    venv.program('tool', { needed: ['libouta.so.1'], runpath: opt })
    const { report, statuses } = examine(venv)
    assert.deepEqual([lost(report), statuses], [[['libgone.so.1', false]], [1, 1, 1]])
  })

  rule('is optional where only a plugin brings it in', venv => {
    outside('libouta.so.1', { needed: ['libgone.so.1'] })
    venv.install('a', {
      [`a/core${MODULE}`]: { needed: ['libc.so.6'] },
      'a/plugins/libplugin.so': { needed: ['libouta.so.1'], runpath: opt },
    })
    const { report, statuses } = examine(venv)
    assert.deepEqual([lost(report), statuses], [[['libgone.so.1', true]], [0, 0, 0]])
    assert.equal(venv.run('check', '--strict', '--no-scan').status, 1)
  })

  rule('is not missing where every object that brings it in has loaded it before', venv => {
    outside('libouta.so.1', { needed: ['libfirst.so.1'] })
    venv.install('a', {
      [`a/core${MODULE}`]: { needed: ['libfirst.so.1', 'libmid.so'], runpath: '$ORIGIN' },
      'a/libfirst.so.1': {},
      'a/libmid.so': { needed: ['libouta.so.1'], runpath: opt },
    })
    const { report, statuses } = examine(venv)
    assert.deepEqual([lost(report), statuses], [[], [0, 0, 0]])
  })

  rule('is not missing where a distribution that this one requires loads it', venv => {
    outside('libouta.so.1', { needed: ['libbase.so.1'] })
    venv.install('base', { 'base/libbase.so.1': {} })
    venv.install('a', { [`a/core${MODULE}`]: { needed: ['libouta.so.1'], runpath: opt } }, ['base'])
    const { status, stdout } = venv.run('venv', '--json', '--no-scan')
    assert.deepEqual([status, parseReport(stdout).missing], [0, []])
  })

  rule('can be ignored', venv => {
    outside('libouta.so.1', { needed: ['libgone.so.1'] })
    venv.install('a', { [`a/core${MODULE}`]: { needed: ['libouta.so.1'], runpath: opt } })
    assert.equal(venv.run('venv', '--no-scan', '--ignore-missing', 'libgone*').status, 0)
  })

  for (const weak of [false, true]) {
    rule(`a ${weak ? 'weak ' : ''}version that its provider lacks ${weak ? 'is no matter' : 'counts'}`, venv => {
      const provider = versioned(join(opt, 'full/libv.so.1'), ['V_1', 'V_2'])
      const source = join(world.root, 'below.c')
      writeFileSync(
        source,
        `extern int f1(void)${weak ? ' __attribute__((weak))' : ''}; int use(void) { return f1 ? f1() : 0; }`,
      )
      runWell('gcc', [
        '-shared',
        '-fpic',
        '-nostdlib',
        '-Wl,-soname,libouta.so.1,-rpath,$ORIGIN',
        '-o',
        join(opt, 'libouta.so.1'),
        source,
        provider,
      ])
      versioned(join(opt, 'libv.so.1'), ['V_1'])
      venv.install('a', { [`a/core${MODULE}`]: { needed: ['libouta.so.1'], runpath: opt } })
      const { status, stdout } = venv.run('venv', '--json', '--no-scan')
      assert.deepEqual([status, lost(parseReport(stdout))], weak ? [0, []] : [1, [['libv.so.1', false]]])
      const python = join(venv.root, 'bin/python')
      const load = `import ctypes; ctypes.CDLL('${join(venv.site, `a/core${MODULE}`)}', 1)`
      const loads = () => runWell(python, ['-c', load], { env: world.env })
      if (weak) loads()
      else assert.throws(loads, /version `V_2' not found/)
    })
  }
})

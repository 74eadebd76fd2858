// Stores as they really are: with several compilers, other machines' files, link farms, profiles and stubs in them.
import assert from 'node:assert/strict'
import { cpSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, suite, test } from 'node:test'
import { makeLibrary } from '../support/library.ts'
import { skip } from '../support/requires.ts'
import { run } from '../support/run.ts'
import { machineOf } from '../world/oracle.ts'
import { parseReport, type Report } from '../world/report.ts'
import { installDemoWheel, makeVenv, sitePackages, wheelfix } from '../world/venv.ts'
import { buildWorld } from '../world/world.ts'

const IMPORT = 'import wheelfix_demo; print(wheelfix_demo.checksum(b"works"))'

suite('a store', () => {
  const world = buildWorld()
  if (typeof world === 'string') {
    test('has what fits', { skip: skip(world) })
    return
  }
  after(() => world.dispose())
  const { store, libs, env } = world
  const machine = machineOf(world.python)
  const venv = makeVenv(world, 'venv')
  installDemoWheel(world, venv)

  /** The lib folder of one more package. */
  const addPackage = (label: string): string => {
    const lib = join(store, `${label[0]?.repeat(32)}-${label}/lib`)
    mkdirSync(lib, { recursive: true })
    return lib
  }
  const remove = (lib: string): void => rmSync(join(lib, '..'), { recursive: true })
  const plan = (args: readonly string[], folder = venv): { status: number; report: Report; text: string } => {
    const { status, stdout } = wheelfix(world, ['venv', folder, '--dry-run', '--json', ...args])
    return { status, report: parseReport(stdout), text: stdout }
  }
  const sourceOf = ({ libs }: Report, soname: string): string | undefined =>
    libs.find(lib => lib.soname === soname)?.path
  /** A copy of libstdc++ that wants a glibc of the future. */
  const addTooNew = (): string => {
    const lib = addPackage('gcc-99.1.0-lib')
    const bytes = readFileSync(join(libs.gcc, 'libstdc++.so.6')).toString('latin1')
    assert.match(bytes, /\0GLIBC_2\.34\0/)
    writeFileSync(join(lib, 'libstdc++.so.6'), bytes.replaceAll('\0GLIBC_2.34\0', '\0GLIBC_2.99\0'), 'latin1')
    return lib
  }

  test('a compiler’s library that is too new for the glibc is passed over for an older one', () => {
    const lib = addTooNew()
    assert.equal(sourceOf(plan([]).report, 'libstdc++.so.6'), join(libs.gcc, 'libstdc++.so.6'))
    assert.equal(sourceOf(plan(['--libs', lib]).report, 'libstdc++.so.6'), join(libs.gcc, 'libstdc++.so.6'))
    remove(lib)
  })

  test('where there is only one that is too new, the clash is named and nothing else is added', () => {
    const lib = addTooNew()
    const { status, report, text } = plan(['--libs', lib, '--no-scan'])
    assert.equal(status, 1)
    assert.deepEqual(
      report.missing.map(({ soname }) => soname),
      ['libstdc++.so.6'],
    )
    assert.match(text, /GLIBC_2\.99/)
    remove(lib)
  })

  test('a library of another machine is passed over', () => {
    const lib = addPackage('gcc-12.3.0-lib')
    const bytes = readFileSync(join(libs.gcc, 'libstdc++.so.6'))
    bytes.writeUInt16LE(machine === 62 ? 183 : 62, 18)
    writeFileSync(join(lib, 'libstdc++.so.6'), bytes)
    assert.equal(sourceOf(plan(['--libs', lib]).report, 'libstdc++.so.6'), join(libs.gcc, 'libstdc++.so.6'))
    remove(lib)
  })

  test('a profile or a link farm counts as the folders of the libraries themselves', () => {
    const farm = addPackage('manylinux2014-farm')
    for (const name of ['libstdc++.so.6', 'libgcc_s.so.1']) symlinkSync(join(libs.gcc, name), join(farm, name))
    for (const name of ['libc.so.6', 'libm.so.6']) symlinkSync(join(libs.glibc, name), join(farm, name))
    const profile = join(world.root, 'profile')
    symlinkSync(world.outputs.gcc, profile)
    for (const directory of [farm, join(profile, 'lib')]) {
      const { report } = plan(['--libs', directory, '--no-scan'])
      const added = report.objects
        .flatMap(({ change }) => change?.rpath?.after ?? [])
        .filter(entry => entry.startsWith('/'))
      assert.ok(
        added.includes(libs.gcc) && added.every(entry => entry === libs.gcc || entry === libs.zlib),
        added.join(':'),
      )
    }
    remove(farm)
  })

  test('glibc’s own libraries come from the glibc of the Python, whatever else a folder holds', () => {
    const farm = addPackage('farm-of-copies')
    cpSync(join(libs.gcc, 'libstdc++.so.6'), join(farm, 'libstdc++.so.6'))
    cpSync(join(libs.glibc, 'libresolv.so.2'), join(farm, 'libresolv.so.2'))
    const folder = makeVenv(world, 'resolv')
    const extension = join(sitePackages(world, folder), 'wants.abi3.so')
    writeFileSync(extension, makeLibrary({ soname: null, needed: ['libstdc++.so.6', 'libresolv.so.2'], machine }))
    wheelfix(world, ['venv', folder, '--libs', farm, '--no-scan'])
    const code = `import ctypes; ctypes.CDLL("${extension}"); print(open("/proc/self/maps").read())`
    const { stdout } = run(join(folder, 'bin/python'), ['-c', code], { env })
    assert.doesNotMatch(stdout, /farm-of-copies\S*libresolv/)
    remove(farm)
  })

  test('a stub of a driver does not count as the driver', () => {
    const stubs = addPackage('cuda-12.4-stubs')
    for (const name of ['libcuda.so.1', 'libcuda.so'])
      writeFileSync(join(stubs, name), makeLibrary({ soname: 'libcuda.so.1', machine }))
    const folder = makeVenv(world, 'cuda')
    writeFileSync(
      join(sitePackages(world, folder), 'gpu.abi3.so'),
      makeLibrary({ soname: null, needed: ['libcuda.so.1'], machine }),
    )
    for (const args of [[], ['--libs', stubs]]) {
      const { report } = plan(args, folder)
      assert.equal(sourceOf(report, 'libcuda.so.1'), undefined)
      const written = report.objects.flatMap(({ change }) => change?.rpath?.after ?? [])
      assert.ok(!written.includes(stubs), written.join(':'))
    }
    remove(stubs)
  })

  test('a folder that is not in the store is refused with what to do', () => {
    for (const directory of ['/usr/lib', join(world.root, 'home'), '/nonexistent']) {
      const { status, stdout, stderr } = wheelfix(world, ['venv', venv, '--libs', directory])
      assert.equal(status, 2, stdout)
      assert.match(stderr, new RegExp(`${directory}[^]*(/nix/store|store|exist)`))
      assert.doesNotMatch(stderr, /\n\s+at /)
    }
  })

  test('then the import works', () => {
    assert.equal(wheelfix(world, ['venv', venv]).status, 0)
    const { status, stderr } = run(join(venv, 'bin/python'), ['-c', IMPORT], { env })
    assert.equal(status, 0, stderr)
  })
})

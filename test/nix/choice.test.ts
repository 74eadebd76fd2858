// Zero configuration in a store as stores become: several generations of glibc and of the compiler's libraries, link
// farms, stubs, and files of another machine.
import assert from 'node:assert/strict'
import { cpSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { test } from 'node:test'
import { readElf } from '../../src/elf/read.ts'
import { withSource } from '../../src/io/source.ts'
import { run } from '../support/run.ts'
import { buildWorld, type World } from '../world/world.ts'
import { installDemoWheel, makeVenv, sitePackages, wheelfix, WHEELFIX } from '../world/venv.ts'
import { storeHash } from './stores.ts'

interface Document {
  readonly libs: readonly { readonly soname: string; readonly path: string; readonly source: string }[]
  readonly missing: readonly { readonly soname: string; readonly hint: string | null }[]
}

/** A store path with copies of another one's libraries, with the same number of bytes changed in each. */
function addCopy(world: World, from: string, name: string, change: (bytes: Buffer) => void = () => {}): string {
  const path = join(world.store, `${storeHash(name)}-${name}`)
  cpSync(from, path, { recursive: true })
  for (const soname of ['libstdc++.so.6', 'libz.so.1']) {
    try {
      const bytes = readFileSync(join(path, 'lib', soname))
      change(bytes)
      writeFileSync(join(path, 'lib', soname), bytes)
    } catch {
      // this package has not that one
    }
  }
  return path
}

/** Asks for a glibc that nobody has: the newest version that the file names becomes 2.99 (an edited file names it twice). */
function wantsNewLibc(bytes: Buffer): void {
  const names = [...bytes.toString('latin1').matchAll(/GLIBC_2\.(\d\d)\0/g)]
  const newest = Math.max(...names.map(name => Number(name[1])))
  for (const { 1: minor, index } of names)
    if (Number(minor) === newest) bytes.write('99', index + 'GLIBC_2.'.length, 'latin1')
}

/** e_machine: AArch64 on x86-64, else x86-64. */
function forOtherMachine(bytes: Buffer): void {
  bytes.writeUInt16LE(bytes.readUInt16LE(18) === 183 ? 62 : 183, 18)
}

test('with no flags, in a store with two glibc, compilers too new, stubs and other machines, venv picks what fits and says why', t => {
  const world = buildWorld()
  if (typeof world === 'string') {
    t.skip(world)
    return
  }
  t.after(() => world.dispose())
  const { gcc, zlib, glibc } = world.outputs
  const tooNew = addCopy(world, gcc, 'gcc-15.2.0-lib', wantsNewLibc)
  const other = addCopy(world, gcc, 'gcc-14.2.1.20250322-lib', forOtherMachine)
  const right = addCopy(world, gcc, 'gcc-13.3.0-lib')
  addCopy(world, gcc, 'gcc-9.5.0-lib')
  addCopy(world, gcc, 'gcc-13.4.0-debug')
  addCopy(world, zlib, 'zlib-1.9.9', forOtherMachine)
  addCopy(world, glibc, 'glibc-2.99')
  // a link farm that holds another libc, and a stub of the driver
  const farm = join(world.store, `${storeHash('farm')}-manylinux2014`)
  mkdirSync(join(farm, 'lib'), { recursive: true })
  for (const name of ['libc.so.6', 'libm.so.6']) symlinkSync(join(glibc, 'lib', name), join(farm, 'lib', name))
  symlinkSync(join(tooNew, 'lib/libstdc++.so.6'), join(farm, 'lib/libstdc++.so.6'))
  const stub = addCopy(world, zlib, 'cuda_cudart-12.8.57-stubs')
  mkdirSync(join(stub, 'lib/stubs'))
  for (const folder of ['lib', 'lib/stubs']) cpSync(join(zlib, 'lib/libz.so.1'), join(stub, folder, 'libcuda.so.1'))

  const venv = makeVenv(world, 'venv')
  installDemoWheel(world, venv)
  const module = join(sitePackages(world, venv), 'wheelfix_demo')
  const driver = join(module, 'libneedsdriver.so')
  cpSync(join(zlib, 'lib/libz.so.1'), driver)
  const added = run(process.execPath, [WHEELFIX, 'elf', '--add-needed', 'libcuda.so.1', driver])
  assert.equal(added.status, 0, added.stderr)

  const python = join(venv, 'bin/python')
  assert.match(
    run(python, ['-c', 'import wheelfix_demo'], { env: world.env }).stderr,
    /(?:libstdc\+\+|libz)\.so\.\d: cannot open/,
  )
  const { stdout } = wheelfix(world, ['venv', venv, '--dry-run', '--json'])
  const document = JSON.parse(stdout) as Document
  const serving = new Map(document.libs.map(item => [item.soname, item]))
  assert.equal(serving.get('libstdc++.so.6')?.path, join(right, 'lib/libstdc++.so.6'))
  assert.equal(serving.get('libstdc++.so.6')?.source, 'scan')
  // Debian's Python is linked with libz: then every module finds it loaded, and no set has to serve it
  const linked = withSource(world.python, readElf).needed.includes('libz.so.1')
  assert.equal(serving.get('libz.so.1')?.path, linked ? undefined : join(zlib, 'lib/libz.so.1'))
  assert.equal(serving.has('libcuda.so.1'), false)
  const text = wheelfix(world, ['venv', venv, '--verbose']).stdout
  assert.match(text, new RegExp(`skipped: .*${basename(tooNew)}.*needs GLIBC_2\\.99, but this Python has glibc`))
  assert.match(text, new RegExp(`skipped: .*${basename(other)}.*is for another machine`))
  assert.equal(run(python, ['-c', 'import wheelfix_demo'], { env: world.env }).status, 0)

  // the choice stays, though a newer one that fits has come, until it is asked for
  const newer = addCopy(world, gcc, 'gcc-13.9.0-lib')
  const again = (...flags: string[]) => {
    const { libs } = JSON.parse(wheelfix(world, ['venv', venv, '--json', ...flags]).stdout) as Document
    return libs.find(({ soname }) => soname === 'libstdc++.so.6')?.path
  }
  assert.equal(again(), join(right, 'lib/libstdc++.so.6'))
  assert.equal(again('--update'), join(newer, 'lib/libstdc++.so.6'))
})

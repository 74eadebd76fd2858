// Files that begin as ELF files do and that no loader would load, and paths that a user has left out: neither fails a run.
import assert from 'node:assert/strict'
import { chmodSync, mkdirSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { test } from 'node:test'
import { readElf } from '../../src/elf/read.ts'
import { PT_LOAD } from '../../src/elf/constants.ts'
import { bytesSource } from '../../src/elf/source.ts'
import { missing } from '../support/requires.ts'
import { run, runWell } from '../support/run.ts'
import { treeContent } from '../support/tree.ts'
import { MODULE, testVenv, type TestVenv } from './venv.ts'
import { buildModule } from '../world/module.ts'
import { worldSuite } from '../world/suite.ts'

interface Document {
  readonly objects: readonly { readonly path: string; readonly status: string; readonly reason?: string }[]
  readonly summary: { readonly refused: number; readonly broken: number }
}

worldSuite('files that no loader would load', ['gcc', 'ld', 'objcopy'], world => {
  const source = join(world.root, 'part.c')
  writeFileSync(source, 'int numbers[9000] = { 1 }; int part(int i) { return numbers[i]; }\n')
  const library = join(world.root, 'libpart.so')
  runWell('gcc', ['-g', '-shared', '-fPIC', '-o', library, source])
  const whole = readFileSync(library)
  const loads = readElf(bytesSource(whole)).programHeaders.filter(({ type }) => type === PT_LOAD)
  const loadEnd = Math.max(...loads.map(({ offset, filesz }) => offset + filesz))

  let count = 0
  const rule = (name: string, prove: (venv: TestVenv) => void) =>
    test(name, () => {
      const venv = testVenv(world, `broken${count++}`)
      venv.install('plain', { [`plain/core${MODULE}`]: { needed: ['libc.so.6'] } })
      prove(venv)
      rmSync(venv.root, { recursive: true })
    })
  /** What the venv's own Python says of a file that it is to load. */
  const loads_ = (venv: TestVenv, path: string): boolean =>
    run(join(venv.root, 'bin/python'), ['-c', `import ctypes; ctypes.CDLL(${JSON.stringify(path)})`]).status === 0
  const documentOf = (venv: TestVenv, command: string, ...options: readonly string[]): Document =>
    JSON.parse(venv.run(command, '--no-scan', '--json', ...options).stdout) as Document

  const text = Buffer.from(`\x7fELF is how these files begin.\n${'x'.repeat(5000)}`)
  const garbage = Buffer.concat([whole.subarray(0, 24), Buffer.alloc(whole.length - 24, 0xff)])
  const files: readonly (readonly [string, Buffer])[] = [
    ['four bytes alone', Buffer.from('\x7fELF')],
    ['a text', text],
    ['garbage behind the first bytes', garbage],
    ['a file that is cut in its program headers', whole.subarray(0, 100)],
    ['a file that is cut in the middle', whole.subarray(0, loadEnd >> 1)],
    ['a file that is cut in its last segment', whole.subarray(0, loadEnd - 8192)],
  ]
  for (const [what, bytes] of files) {
    rule(`${what} is named and fails neither check nor venv nor doctor`, venv => {
      const path = join(venv.site, 'plain/libpart.so')
      writeFileSync(path, bytes)
      assert.equal(loads_(venv, path), false, 'the real loader does not load it')
      for (const command of ['check', 'venv', 'doctor']) {
        const { status, stdout } = venv.run(command, '--no-scan')
        assert.equal(status, 0, `${command}: ${stdout}`)
        assert.match(stdout, /libpart\.so/)
      }
      const { objects, summary } = documentOf(venv, 'check')
      assert.equal(objects.find(object => object.path.endsWith('libpart.so'))?.status, 'broken')
      assert.deepEqual([summary.refused, summary.broken], [0, 1])
      assert.ok(bytes.equals(readFileSync(path)))
    })
  }

  rule('a file that is cut only behind its segments is an ordinary object', venv => {
    const path = join(venv.site, 'plain/libpart.so')
    writeFileSync(path, whole.subarray(0, loadEnd))
    assert.equal(loads_(venv, path), true)
    assert.equal(documentOf(venv, 'check').summary.broken, 0)
  })

  rule('a module whose section table is cut off or not to be found is patched and given back', venv => {
    const folder = join(venv.site, 'plain')
    const modules = {
      cut: (bytes: Buffer) => bytes.subarray(0, -1000),
      gone: (bytes: Buffer) => bytes.subarray(0, Number(bytes.readBigUInt64LE(40)) - 10),
      // e_shnum is zero, and section 0 tells of more sections than any file has
      uncounted: (bytes: Buffer) => {
        bytes.writeUInt16LE(0, 60)
        bytes.writeBigUInt64LE(1n << 60n, Number(bytes.readBigUInt64LE(40)) + 32)
        return bytes
      },
      sizeless: (bytes: Buffer) => (bytes.writeUInt16LE(0, 58), bytes),
    }
    for (const [name, damage] of Object.entries(modules)) {
      const path = join(folder, `${name}${MODULE}`)
      buildModule(path)
      rmSync(`${path}.c`)
      writeFileSync(path, damage(readFileSync(path)))
    }
    const before = treeContent(venv.root)
    const imports = (name: string): boolean =>
      run(join(venv.root, 'bin/python'), ['-c', `import plain.${name}`], { env: world.env }).status === 0
    const libs = ['--libs', world.libs.gcc, '--no-scan']
    for (const name of Object.keys(modules)) assert.ok(!imports(name), name)
    assert.equal(venv.run('check', ...libs).status, 1)
    assert.equal(venv.run('venv', ...libs).status, 0)
    for (const name of Object.keys(modules)) assert.ok(imports(name), name)
    const doctor = venv.run('doctor', ...libs)
    assert.equal(doctor.status, 0, doctor.stdout)
    assert.equal(venv.run('restore').status, 0)
    assert.deepEqual(treeContent(venv.root), before)
  })

  rule('separate debugging information, relocatable files and files for other machines never fail', venv => {
    const folder = join(venv.site, 'plain')
    runWell('objcopy', ['--only-keep-debug', library, join(folder, 'libpart.so.debug')])
    runWell('gcc', ['-c', '-o', join(folder, 'part.o'), source])
    const bpf = Buffer.from(readFileSync(join(folder, 'part.o')))
    bpf.writeUInt16LE(247, 18)
    // a relocatable file names no dynamic table, whatever else is wrong with it
    writeFileSync(join(folder, 'program.bpf.o'), bpf.subarray(0, 200))
    for (const [name, machine] of [
      ['libsparc.so', 43],
      ['libhexagon.so', 164],
    ] as const) {
      const other = Buffer.from(whole)
      other.writeUInt16LE(machine, 18)
      writeFileSync(join(folder, name), other)
    }
    for (const command of ['check', 'venv', 'doctor']) {
      const { status, stdout } = venv.run(command, '--no-scan')
      assert.equal(status, 0, `${command}: ${stdout}`)
    }
  })

  rule('the debugging information of programs and libraries is not an object, whichever tool made it', venv => {
    const folder = join(venv.site, 'plain')
    const program = join(world.root, 'program')
    const made: string[] = []
    for (const [kind, flags] of Object.entries({ pie: ['-pie'], exec: ['-no-pie'], so: ['-shared', '-fPIC'] })) {
      writeFileSync(`${program}.c`, 'int numbers[9000] = { 1 }; int main(int count) { return numbers[count]; }\n')
      runWell('gcc', ['-g', ...flags, '-o', program, `${program}.c`])
      for (const tool of ['objcopy', 'llvm-objcopy', 'eu-strip'].filter(tool => missing(tool) === false)) {
        // also under the name of a module, as a debugger's folder may have it
        for (const name of [`${kind}-${tool}.debug`, `${kind}${tool.replace('-', '')}.abi3.so`]) {
          const path = join(folder, name)
          if (tool === 'eu-strip') runWell(tool, ['-f', path, '-o', `${program}.stripped`, program])
          else runWell(tool, ['--only-keep-debug', program, path])
          chmodSync(path, 0o755)
          made.push(path)
        }
      }
    }
    for (const path of made) assert.equal(loads_(venv, path), false)
    for (const command of ['check', 'venv', 'doctor']) {
      const { status, stdout } = venv.run(command, '--no-scan')
      assert.equal(status, 0, `${command}: ${stdout}`)
      for (const path of made) assert.ok(!stdout.includes(basename(path)), `${command}: ${stdout}`)
    }
    const { summary } = documentOf(venv, 'check')
    assert.deepEqual([summary.refused, summary.broken], [0, 0])
  })

  rule('libraries for another C library are a note, unless their wheel is for that library alone', venv => {
    const objects = {
      [`both/musl/core${MODULE}`]: { needed: ['libc.musl-x86_64.so.1'] },
      [`both/android/core${MODULE}`]: { needed: ['libc.so', 'libm.so', 'libdl.so'] },
      [`both/glibc/core${MODULE}`]: { needed: ['libc.so.6'] },
    }
    venv.install('both', objects)
    const wheel = (tag: string): void => {
      writeFileSync(join(venv.site, 'both-1.0.dist-info/WHEEL'), `Wheel-Version: 1.0\nTag: ${tag}\n`)
    }
    wheel('py3-none-any')
    for (const command of ['check', 'venv', 'doctor']) {
      const { status, stdout } = venv.run(command, '--no-scan')
      assert.equal(status, 0, `${command}: ${stdout}`)
      if (command === 'doctor') assert.match(stdout, /2 libraries are for another C library {2}foreign-library/)
    }
    assert.match(venv.run('why', 'both/musl/core.abi3.so').stdout, /for another machine or C library/)
    wheel('cp311-abi3-manylinux_2_17_x86_64')
    assert.equal(venv.run('check', '--no-scan').status, 0)
    wheel('cp311-abi3-musllinux_1_2_x86_64')
    for (const command of ['check', 'venv', 'doctor']) {
      const { status, stdout } = venv.run(command, '--no-scan')
      assert.equal(status, 1, `${command}: ${stdout}`)
    }
  })

  rule('the answer of a run that left only broken files is kept until one of them changes', venv => {
    const path = join(venv.site, 'plain/libpart.so')
    writeFileSync(path, whole.subarray(0, 100))
    // something to patch, so that the venv has a state
    venv.install('more', { [`more/core${MODULE}`]: { needed: ['libstdc++.so.6'] } })
    const libs = ['--no-scan', '--libs', world.libs.gcc]
    for (let index = 0; index < 2; index++) assert.equal(venv.run('venv', ...libs).status, 0)
    const state = join(venv.root, '.wheelfix/state.json')
    assert.match(readFileSync(state, 'utf8'), /libpart\.so/)
    writeFileSync(path, whole)
    truncateSync(path, loadEnd)
    assert.doesNotMatch(venv.run('venv', ...libs).stdout, /Broken/)
  })

  rule('--ignore and the configuration leave files and folders out, in venv, check, doctor and wheel', venv => {
    mkdirSync(join(venv.site, 'plain/tests'))
    venv.install('more', { 'plain/tests/core.abi3.so': { needed: ['libgone.so.1'] } })
    const path = join(venv.site, 'plain/tests/core.abi3.so')
    const before = statSync(path).mtimeMs
    assert.equal(venv.run('check', '--no-scan').status, 1)
    for (const glob of ['plain/tests', 'plain/tests/', 'tests/*.so', 'core.abi3.s?', '*/tests/core*']) {
      if (glob === 'core.abi3.s?') continue
      for (const command of ['check', 'venv', 'doctor']) {
        const { status, stdout } = venv.run(command, '--no-scan', '--ignore', glob)
        assert.equal(status, 0, `${command} --ignore ${glob}: ${stdout}`)
      }
    }
    assert.equal(venv.run('check', '--no-scan', '--ignore', 'ests').status, 1, 'a glob matches whole parts')
    writeFileSync(join(venv.root, '../wheelfix.toml'), 'ignore = ["plain/tests"]\n')
    try {
      assert.equal(venv.run('check', '--no-scan').status, 0)
      assert.equal(venv.run('venv', '--no-scan').status, 0)
    } finally {
      rmSync(join(venv.root, '../wheelfix.toml'))
    }
    assert.equal(venv.run('venv', '--no-scan').status, 1, 'the quick answer is of other settings')
    assert.equal(statSync(path).mtimeMs, before)
  })
})

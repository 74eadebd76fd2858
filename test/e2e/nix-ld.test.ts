// `--interpreter nix-ld`: programs ask for nix-ld instead of a loader of the store, on a machine that has it.
import assert from 'node:assert/strict'
import { cpSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { interpreterOf } from '../support/elf.ts'
import { runWell } from '../support/run.ts'
import { nixLdMachine, SHIM } from '../world/nix-ld.ts'
import { makeVenv, wheelfix } from '../world/venv.ts'
import { worldSuite } from '../world/suite.ts'

interface Document {
  readonly objects: readonly {
    readonly path: string
    readonly needed: readonly { readonly soname: string; readonly because: string }[]
    readonly change: {
      readonly rpath?: { readonly after: readonly string[] }
      readonly interpreter?: { readonly before: string; readonly after: string }
    } | null
    readonly missing: readonly string[]
  }[]
  readonly nixLd?: { readonly path: string; readonly loader: string }
  readonly error?: { readonly code: string; readonly message: string }
}

worldSuite('programs that nix-ld starts', ['gcc'], world => {
  const machine = nixLdMachine(world.root)
  if (typeof machine === 'string') {
    test('need a machine with nix-ld', { skip: machine })
    return
  }
  const { zlib, gcc } = world.libs
  const env = { ...world.env, NIX_LD: interpreterOf(world.python) ?? '' }
  // a program as a wheel brings it: it asks for the loader of an ordinary distribution
  const source = join(world.root, 'program.c')
  writeFileSync(source, '#include <stdio.h>\nconst char *zlibVersion(void);\nint main(void) { puts(zlibVersion()); }\n')
  const compile = (interpreter: string) => {
    const program = join(world.root, `program${interpreter.length}`)
    const link = [`-Wl,--dynamic-linker=${interpreter}`, '-Wl,--allow-shlib-undefined', `-L${zlib}`, '-l:libz.so.1']
    runWell('gcc', ['-o', program, source, ...link])
    return program
  }
  const foreign = compile(SHIM)
  const dead = compile(`${world.store}/${'0'.repeat(32)}-glibc-2.35/lib/ld-linux-x86-64.so.2`)
  let count = 0
  /** A venv with both programs in bin/. */
  const venvWithPrograms = () => {
    const project = join(world.root, `project${count++}`)
    mkdirSync(project)
    const venv = makeVenv({ ...world, root: project }, '.venv')
    const programs = { foreign: join(venv, 'bin/foreign'), dead: join(venv, 'bin/dead') }
    cpSync(foreign, programs.foreign)
    cpSync(dead, programs.dead)
    return { project, venv, programs }
  }
  const nixLd = ['--interpreter', 'nix-ld', '--no-scan', '--libs', zlib]
  const document = ({ stdout }: { stdout: string }) => JSON.parse(stdout) as Document

  test('keep asking for it, find what they lack by a search path, and run', () => {
    const { venv, programs } = venvWithPrograms()
    assert.match(machine.run(programs.foreign, [], env).stderr, /libz\.so\.1: cannot open shared object file/)
    const run = machine.wheelfix(['venv', venv, ...nixLd, '--json'], env)
    assert.equal(run.status, 0, run.stderr)
    const { objects, nixLd: said } = document(run)
    assert.deepEqual(said, { path: SHIM, loader: env.NIX_LD })
    const foreign = objects.find(({ path }) => path === 'bin/foreign')
    assert.equal(foreign?.change?.interpreter, undefined)
    assert.deepEqual(foreign?.change?.rpath?.after, [zlib])
    // a loader that was collected is replaced by nix-ld
    assert.equal(objects.find(({ path }) => path === 'bin/dead')?.change?.interpreter?.after, SHIM)
    for (const program of Object.values(programs)) {
      assert.equal(interpreterOf(program), SHIM)
      const { status, stdout, stderr } = machine.run(program, [], { ...env, NIX_LD_LOG: 'info' })
      assert.equal(status, 0, stderr)
      assert.match(stdout, /^1\./)
      assert.match(stderr, /^nix-ld: started/)
    }
  })

  test('get their loader back after they had one of the store, and the reverse', () => {
    const { venv, programs } = venvWithPrograms()
    const original = readFileSync(programs.foreign)
    assert.equal(machine.wheelfix(['venv', venv, '--no-scan', '--libs', zlib], env).status, 0)
    assert.equal(interpreterOf(programs.foreign), env.NIX_LD)
    const run = machine.wheelfix(['venv', venv, ...nixLd, '--json'], env)
    const change = document(run).objects.find(({ path }) => path === 'bin/foreign')?.change
    assert.deepEqual(change?.interpreter, { before: env.NIX_LD, after: SHIM })
    assert.equal(interpreterOf(programs.foreign), SHIM)
    assert.equal(machine.run(programs.foreign, [], env).status, 0)

    // it is remembered: the next run, without the flag, changes nothing, and a check finds nothing to do
    const times = () => Object.values(programs).map(path => statSync(path, { bigint: true }).mtimeNs)
    const before = times()
    for (const command of ['venv', 'check', 'venv']) {
      const { status, stdout, stderr } = machine.wheelfix([command, venv, '--no-scan'], env)
      assert.equal(status, 0, stderr)
      assert.match(stdout, /nothing to do/)
      assert.match(stdout, /nix-ld \/lib64\/ld-linux-x86-64\.so\.2, which starts \//)
    }
    assert.deepEqual(document(machine.wheelfix(['venv', venv, '--no-scan', '--json'], env)).nixLd?.path, SHIM)
    assert.deepEqual(times(), before)

    machine.wheelfix(['venv', venv, '--interpreter', 'python', '--no-scan'], env)
    assert.equal(interpreterOf(programs.foreign), env.NIX_LD)
    assert.equal(interpreterOf(programs.dead), env.NIX_LD)
    assert.match(machine.wheelfix(['venv', venv, '--no-scan'], env).stdout, /nothing to do/)

    machine.wheelfix(['venv', venv, ...nixLd], env)
    assert.equal(wheelfix(world, ['restore', venv]).status, 0)
    assert.deepEqual(readFileSync(programs.foreign), original)
    assert.deepEqual(readFileSync(programs.dead), readFileSync(dead))
  })

  test('find what is in NIX_LD_LIBRARY_PATH, and need no change', () => {
    const { venv } = venvWithPrograms()
    const run = machine.wheelfix(['venv', venv, '--interpreter', 'nix-ld', '--no-scan', '--dry-run', '--json'], {
      ...env,
      NIX_LD_LIBRARY_PATH: `${gcc}:${zlib}`,
    })
    const foreign = document(run).objects.find(({ path }) => path === 'bin/foreign')
    assert.equal(foreign?.change, null)
    assert.equal(foreign?.needed.find(({ soname }) => soname === 'libz.so.1')?.because, 'NIX_LD_LIBRARY_PATH')
  })

  test('can be chosen in the configuration, and a flag overrules it', () => {
    const { project, venv, programs } = venvWithPrograms()
    const settings = join(project, 'wheelfix.toml')
    writeFileSync(settings, 'interpreter = "nix-ld"\n')
    machine.wheelfix(['venv', venv, '--no-scan', '--libs', zlib], env)
    assert.equal(interpreterOf(programs.foreign), SHIM)
    machine.wheelfix(['venv', venv, '--no-scan', '--interpreter', 'python'], env)
    assert.equal(interpreterOf(programs.foreign), env.NIX_LD)
    writeFileSync(settings, 'interpreter = "nixld"\n')
    const wrong = machine.wheelfix(['check', venv], env)
    assert.deepEqual([wrong.status, wrong.stdout], [2, ''])
    assert.match(wrong.stderr, /"interpreter" must be "python" or "nix-ld"/)
    // without a word in it, what a flag said last
    rmSync(settings)
    machine.wheelfix(['venv', venv, '--no-scan'], env)
    assert.equal(interpreterOf(programs.foreign), env.NIX_LD)
  })

  test('stay as they are in a wheel, too', () => {
    const pack = [
      'import sys, zipfile',
      'with zipfile.ZipFile(sys.argv[1], "w") as z:',
      '    z.write(sys.argv[2], "p-1.data/scripts/p")',
      '    z.writestr("p-1.dist-info/METADATA", "Metadata-Version: 2.1\\nName: p\\nVersion: 1\\n")',
      '    z.writestr("p-1.dist-info/WHEEL", "Wheel-Version: 1.0\\nTag: py3-none-linux_x86_64\\n")',
      '    z.writestr("p-1.dist-info/RECORD", "p-1.data/scripts/p,,\\np-1.dist-info/RECORD,,\\n")',
    ].join('\n')
    const wheel = join(world.root, 'p-1-py3-none-linux_x86_64.whl')
    runWell(world.host.python.executable, ['-c', pack, wheel, foreign])
    const patched = (args: readonly string[]) => {
      const out = join(world.root, `wheelhouse${count++}`)
      const { status, stderr } = machine.wheelfix(['wheel', wheel, '--python', world.python, '-o', out, ...args], env)
      assert.equal(status, 0, stderr)
      runWell(world.host.python.executable, ['-m', 'zipfile', '-e', join(out, 'p-1-py3-none-linux_x86_64.whl'), out])
      return join(out, 'p-1.data/scripts/p')
    }
    assert.equal(interpreterOf(patched(['--no-scan', '--libs', zlib])), env.NIX_LD)
    const program = patched(nixLd)
    assert.equal(interpreterOf(program), SHIM)
    runWell('chmod', ['+x', program])
    assert.equal(machine.run(program, [], env).status, 0)
  })

  test('are refused where nix-ld is missing or leads nowhere', () => {
    const { venv, programs } = venvWithPrograms()
    const absent = wheelfix(world, ['venv', venv, ...nixLd, '--json'])
    assert.equal(absent.status, 2)
    assert.equal(document(absent).error?.code, 'LOADER_NOT_FOUND')
    assert.match(
      document(absent).error?.message ?? '',
      /^nix-ld is not installed: \/lib64\/ld-linux.* is something else; /,
    )
    const nowhere = machine.wheelfix(['venv', venv, ...nixLd], { ...env, NIX_LD: '/nowhere/ld.so' })
    assert.equal(nowhere.status, 2)
    assert.match(nowhere.stderr, /nix-ld .*, whose loader \/nowhere\/ld\.so does not exist; set NIX_LD to/)
    assert.deepEqual(readFileSync(programs.foreign), readFileSync(foreign))
  })
})

import assert from 'node:assert/strict'
import { copyFileSync, existsSync, mkdirSync, renameSync, symlinkSync, writeFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { after, suite, test } from 'node:test'
import { interpreterOf } from '../support/elf.ts'
import { skip } from '../support/requires.ts'
import { run, runWell } from '../support/run.ts'
import { treeContent } from '../support/tree.ts'
import { makeStandalonePython } from '../world/standalone.ts'
import { installDemoWheel, makeVenv, wheelfix } from '../world/venv.ts'
import { buildWorld, type World } from '../world/world.ts'

const LOAD_CXX = 'import ctypes; ctypes.CDLL("libstdc++.so.6")'

suite('a Python of another system', () => {
  const world = buildWorld()
  if (typeof world === 'string') {
    test('needs a world', { skip: skip(world) })
    return
  }
  after(() => world.dispose())
  const host = world.host.loader
  const glibc = join(world.libs.glibc, basename(host))
  const libs = ['--libs', `${world.libs.gcc}:${world.libs.zlib}`]
  let count = 0
  /** A standalone Python of its own, with what `wheelfix python` is told. */
  const standalone = (...args: string[]) => {
    const root = join(world.root, `standalone${count++}`)
    const program = makeStandalonePython(world.host, root)
    if (args.length > 0) well('python', root, ...args)
    return { root, program, bin: join(root, 'bin') }
  }
  const well = (...args: string[]): string => {
    const { status, stdout, stderr } = wheelfix(world, args)
    assert.equal(status, 0, `${args.join(' ')}\n${stdout}${stderr}`)
    return stdout
  }
  const python = (folder: string, code: string): string =>
    runWell(join(folder, 'bin/python3'), ['-c', code], { env: world.env }).trim()

  test('starts with a loader of the store, or a private one, and is given back', () => {
    const { root, program, bin } = standalone()
    const before = treeContent(root)
    const interpreters = (...args: string[]) =>
      (JSON.parse(well('python', root, '--json', ...args)) as { pythons: unknown }).pythons
    const path = `bin/${basename(program)}`
    const plain = [{ path, before: host, after: glibc }]
    assert.deepEqual(interpreters('--libc', world.libs.glibc, '--dry-run'), plain)
    assert.deepEqual(treeContent(root), before)
    assert.deepEqual(interpreters('--libc', world.outputs.glibc), plain)
    // it stays with the glibc that it has
    assert.deepEqual(interpreters(), plain)
    const all = ['--libs', [world.libs.gcc, world.libs.zlib].join(':')]
    const own = join(root, '.wheelfix/loader', basename(host))
    assert.deepEqual(interpreters('--loader', ...all), [{ path, before: host, after: own }])
    const said = runWell(join(bin, 'python3'), ['-c', `${LOAD_CXX}; print(open("/proc/self/maps").read())`])
    assert.match(said, new RegExp(join(world.libs.gcc, 'libstdc')))
    const patched = treeContent(root)
    assert.deepEqual(interpreters('--restore', '--dry-run'), [{ path, before: own, after: host }])
    assert.match(well('python', root, '--restore', '--dry-run'), /: its loader would be restored: \S+$/m)
    assert.deepEqual(treeContent(root), patched)
    interpreters('--restore')
    assert.deepEqual(treeContent(root), before)
  })

  test('runs with libraries of the store and its own ones, and without those of its own system', () => {
    const { root } = standalone('--libc', world.outputs.glibc)
    const ask =
      'import ctypes, hashlib, lzma, sqlite3, ssl, sys, zlib; print(sys.prefix); ' +
      'print("\\n".join({l.split()[-1] for l in open("/proc/self/maps") if ".so" in l}))'
    const [prefix, ...mapped] = python(root, ask).split('\n')
    assert.equal(prefix, root)
    assert.ok(mapped.length > 5, mapped.join())
    assert.deepEqual(
      mapped.filter(path => !path.startsWith(`${root}/`) && !path.startsWith(`${world.store}/`)),
      [],
    )
  })

  test('makes venvs that wheelfix venv mends, or that need nothing where its loader is private', () => {
    for (const [args, mend] of [
      [['--libc', world.outputs.glibc], true],
      [['--libc', world.outputs.glibc, '--loader', ...libs], false],
    ] as const) {
      const { root } = standalone(...args)
      const venv = venvOf(world, root)
      installDemoWheel(world, venv)
      const use = ['-c', 'import wheelfix_demo']
      if (mend) {
        assert.match(run(join(venv, 'bin/python'), use, { env: world.env }).stderr, /libstdc\+\+\.so\.6: cannot open/)
        well('venv', venv, ...libs)
      }
      runWell(join(venv, 'bin/python'), use, { env: world.env })
      well('check', venv)
      well('doctor', venv)
    }
  })

  test('makes venvs that can have a private loader of their own', () => {
    const { root } = standalone('--libc', world.outputs.glibc)
    for (const copies of [[], ['--copies']]) {
      const venv = venvOf(world, root, ...copies)
      const before = treeContent(venv)
      for (let times = 0; times < 2; times++) well('loader', venv, ...libs)
      well('check', venv)
      python(venv, LOAD_CXX)
      well('restore', venv)
      assert.deepEqual(treeContent(venv), before)
      assert.equal(python(venv, 'import sys; print(sys.prefix)'), venv)
    }
  })

  test('keeps its loader in a venv made with --copies, whatever is patched and restored there', () => {
    const { root } = standalone('--libc', world.outputs.glibc)
    const venv = venvOf(world, root, '--copies')
    assert.equal(interpreterOf(join(venv, 'bin/python3')), glibc)
    installDemoWheel(world, venv)
    const before = treeContent(venv)
    well('venv', venv, ...libs)
    // the note of another folder does not make a private loader: the venv keeps its own strategy
    assert.ok(!existsSync(join(venv, '.wheelfix/loader')))
    python(venv, 'import wheelfix_demo')
    well('restore', venv)
    assert.deepEqual(treeContent(venv), before)
    // also when it is not mended at all
    well('restore', venv)
    assert.equal(interpreterOf(join(venv, 'bin/python3')), glibc)
  })

  test('can be moved with a loader of the store, and needs its private loader made again', () => {
    const { root } = standalone('--libc', world.outputs.glibc)
    renameSync(root, `${root}-moved`)
    python(`${root}-moved`, 'import ssl')
    well('python', `${root}-moved`, '--loader', ...libs)
    renameSync(`${root}-moved`, root)
    assert.throws(() => run(join(root, 'bin/python3'), ['-V']), /ENOENT/)
    well('python', root, '--loader', '--libc', world.outputs.glibc, ...libs)
    python(root, LOAD_CXX)
    well('python', root, '--restore')
    assert.equal(interpreterOf(join(root, 'bin/python3')), host)
  })

  test('is named by its folder, by the interpreter itself, or by an environment of it', () => {
    const { root } = standalone('--libc', world.outputs.glibc)
    const venv = venvOf(world, root)
    for (const named of [root, join(root, 'bin/python3'), venv, join(venv, 'bin/python')]) {
      const { stdout } = wheelfix(world, ['python', named, '--dry-run', '--json'])
      assert.equal(JSON.parse(stdout).root, root, named)
    }
  })

  test('is not a script, nor another program: the error says which file is wrong', () => {
    const { root } = standalone()
    const script = join(root, 'bin/pip')
    writeFileSync(script, `#!${root}/bin/python3\n`, { mode: 0o755 })
    const shim = join(world.root, 'shims/bin/python3')
    mkdirSync(dirname(shim), { recursive: true })
    writeFileSync(shim, '#!/bin/sh\n', { mode: 0o755 })
    const program = join(root, 'bin/tool')
    copyFileSync(join(root, 'bin/python3'), program)
    const note = join(world.root, 'note.txt')
    writeFileSync(note, 'text')
    for (const [file, what] of [
      [script, 'is a script, not a Python'],
      [shim, 'is a script, not a Python'],
      [program, 'is not the interpreter of an installed Python'],
      [note, 'is not the interpreter of an installed Python'],
    ] as const) {
      const { status, stderr } = wheelfix(world, ['python', file])
      assert.equal(status, 2)
      assert.equal(
        stderr,
        `error: ${file} ${what}: name the folder that a Python is installed in, or its bin/python3\n`,
      )
    }
  })

  test('is not edited through a link, nor in a venv, the store or the system', t => {
    const { root } = standalone()
    symlinkSync(root, `${root}-link`)
    const said = (folder: string) => {
      const { status, stderr } = wheelfix(world, ['python', folder])
      assert.equal(status, 2)
      return stderr
    }
    assert.match(said(`${root}-link`), /is a link to .*: name that/)
    // an environment stands for the Python that it was made with
    assert.match(said(makeVenv(world, 'not-standalone')), /is in the Nix store/)
    assert.match(
      said(world.outputs.python),
      /is in the Nix store, .*: for an environment of this Python, use wheelfix venv/,
    )
    if (existsSync('/usr/bin/python3')) assert.match(said('/usr'), /the Python in \/usr belongs to the system/)
    else t.diagnostic('the system has no /usr/bin/python3')
  })
})

/** A venv of the Python in `root`. */
function venvOf(world: World, root: string, ...args: string[]): string {
  const venv = `${root}-venv${args.join('')}`
  runWell(join(root, 'bin/python3'), ['-m', 'venv', '--without-pip', ...args, venv], { env: world.env })
  return venv
}

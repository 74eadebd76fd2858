// The venv's libraries through a real collection: the world's folder becomes a store that a real Nix manages.
import assert from 'node:assert/strict'
import { cpSync, existsSync, readdirSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { missing } from '../support/requires.ts'
import { run, runWell } from '../support/run.ts'
import { installDemoWheel, sitePackages, wheelfix } from '../world/venv.ts'
import type { World } from '../world/world.ts'
import { demoVenv, managedWorld, PYTHON_ENV } from './managed.ts'
import { storeHash } from './stores.ts'

test(
  'a collection right after wheelfix venv leaves the venv working; without its root the library goes and check notices',
  {
    skip: missing('nix-store', 'nix-collect-garbage'),
  },
  t => {
    const managed = managedWorld(t)
    if (managed === null) return
    const { world, env, collect } = managed
    const venv = demoVenv(world)
    const python = join(venv, 'bin/python')
    const imports = (from = venv) => run(join(from, 'bin/python'), ['-c', 'import wheelfix_demo'], { env }).status === 0
    assert.equal(imports(), false)
    const first = wheelfix(world, ['venv', venv])
    assert.equal(first.status, 0, first.stderr)
    assert.equal(first.stderr, '')

    collect()
    const old = join(world.store, `${storeHash('old')}-gcc-9.5.0-lib`)
    assert.equal(existsSync(old), false, 'the collection collects')
    for (const name of ['glibc', 'gcc', 'zlib', 'python'] as const) assert.ok(existsSync(world.outputs[name]), name)
    assert.ok(existsSync(python) && imports())
    assert.equal(wheelfix(world, ['check', venv]).status, 0)

    // a moved venv keeps working, but Nix does not know its roots
    const moved = join(world.root, 'moved')
    renameSync(venv, moved)
    assert.ok(imports(moved))
    assert.match(wheelfix(world, ['check', moved]).stderr, /not protected from nix-collect-garbage: run wheelfix venv/)
    assert.equal(wheelfix(world, ['venv', moved]).stderr, '')
    collect()
    assert.ok(imports(moved))

    // the root is removed, the library collected
    const roots = join(moved, '.wheelfix/roots')
    cpSync(world.outputs.gcc, join(world.root, 'kept'), { recursive: true })
    rmSync(join(roots, 'gcc-12.2.0-lib'))
    collect()
    assert.equal(existsSync(world.outputs.gcc), false)
    assert.equal(imports(moved), false)
    const checked = wheelfix(world, ['check', moved])
    assert.equal(checked.status, 1)
    assert.match(checked.stdout, /libstdc\+\+\.so\.6/)

    // another compiler comes: venv takes it
    renameSync(join(world.root, 'kept'), join(world.store, `${storeHash('new')}-gcc-12.3.0-lib`))
    const repaired = wheelfix(world, ['venv', moved])
    assert.equal(repaired.status, 0, repaired.stdout)
    assert.ok(imports(moved))
  },
)

for (const [what, make] of [
  [
    'whose bin/python leads there through a farm of links',
    (world: World) => [`${world.store}/${PYTHON_ENV}/bin/python3`],
  ],
  ['whose bin/python is a copy', (world: World) => [world.python, '--copies']],
] as const) {
  test(
    `a garbage collection keeps the Python of a venv ${what}`,
    { skip: missing('nix-store', 'nix-collect-garbage') },
    t => {
      const managed = managedWorld(t)
      if (managed === null) return
      const { world, env, collect } = managed
      const [python = '', ...options] = make(world)
      const venv = join(world.root, 'venv')
      runWell(python, ['-m', 'venv', '--without-pip', ...options, venv], { env })
      installDemoWheel(world, venv)
      assert.equal(wheelfix(world, ['venv', venv]).status, 0)
      collect()
      runWell(join(venv, 'bin/python'), ['-c', 'import wheelfix_demo, json'], { env })
    },
  )
}

test(
  'a collection leaves what a module that was built here finds in the store by itself',
  {
    skip: missing('nix-store', 'nix-collect-garbage', 'patchelf'),
  },
  t => {
    const managed = managedWorld(t)
    if (managed === null) return
    const { world, env, collect } = managed
    const venv = demoVenv(world)
    const site = sitePackages(world, venv)
    const module = readdirSync(join(site, 'wheelfix_demo')).find(name => name.endsWith('.so')) ?? ''
    const old = join(world.store, `${storeHash('old')}-gcc-9.5.0-lib/lib`)
    runWell('patchelf', ['--set-rpath', `${old}:${world.libs.zlib}`, join(site, 'wheelfix_demo', module)])
    const { status, stdout } = wheelfix(world, ['venv', venv, '--json'])
    assert.equal(status, 0, stdout)
    assert.equal((JSON.parse(stdout) as { summary: { patched: number } }).summary.patched, 0)
    collect()
    runWell(join(venv, 'bin/python'), ['-c', 'import wheelfix_demo'], { env })
  },
)

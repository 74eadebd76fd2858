// uv's venvs: files that are hard links into uv's cache, which nobody may change.
import assert from 'node:assert/strict'
import { statSync } from 'node:fs'
import { join } from 'node:path'
import { after, suite, test } from 'node:test'
import { skip } from '../support/requires.ts'
import { runWell } from '../support/run.ts'
import { treeContent, treeState } from '../support/tree.ts'
import { makeStandalonePython } from '../world/standalone.ts'
import { wheelfix, withWheels } from '../world/venv.ts'
import { buildWorld } from '../world/world.ts'
import { TESTED_PACKAGES, usePackage } from './packages.ts'

suite('a venv that uv made with hard links', () => {
  const world = withWheels(buildWorld())
  if (typeof world === 'string') {
    test('is patched without touching uv’s cache', { skip: skip(world) })
    return
  }
  after(() => world.dispose())
  const tools = join(world.root, 'tools')
  const cache = join(world.root, 'uv-cache')
  const venv = join(world.root, 'venv')
  const wheels = process.env['WHEELFIX_TEST_WHEELS']
  const from = wheels === undefined ? [] : ['--no-index', '--find-links', wheels]
  const env = { ...world.env, UV_CACHE_DIR: cache, UV_LINK_MODE: 'hardlink', UV_NO_CONFIG: '1', UV_NATIVE_TLS: '1' }
  const pip = { ...env, HOME: process.env['HOME'] }
  runWell(world.host.python.executable, ['-m', 'pip', 'install', '-q', '--target', tools, ...from, 'uv'], { env: pip })
  const uv = (args: readonly string[]): string => runWell(join(tools, 'bin/uv'), ['-q', ...args], { env })
  uv(['venv', '--python', world.python, venv])
  const used = TESTED_PACKAGES.filter(({ name }) => ['numpy', 'shapely', 'ruff'].includes(name))
  uv(['pip', 'install', '--python', join(venv, 'bin/python'), ...from, ...used.map(({ name }) => name)])
  const asInstalled = treeContent(venv)

  test('shares its files with uv’s cache', () => {
    assert.ok(statSync(join(venv, 'bin/ruff')).nlink > 1)
  })

  test('works after one run, and uv’s cache is as it was', () => {
    const cached = treeContent(cache)
    const { status, stdout, stderr } = wheelfix(world, ['venv', venv])
    assert.equal(status, 0, stdout + stderr)
    for (const tested of used) {
      const { works, said } = usePackage(venv, tested, world.env)
      assert.ok(works, said)
    }
    assert.deepEqual(treeContent(cache), cached)
  })

  test('uv finds nothing wrong with it and has nothing to do', () => {
    uv(['pip', 'check', '--python', join(venv, 'bin/python')])
    const state = treeState(venv)
    uv(['pip', 'install', '--python', join(venv, 'bin/python'), ...from, ...used.map(({ name }) => name)])
    assert.deepEqual(treeState(venv), state)
  })

  test('restore gives back every byte', () => {
    const { status, stdout, stderr } = wheelfix(world, ['restore', venv])
    assert.equal(status, 0, stdout + stderr)
    assert.deepEqual(treeContent(venv), asInstalled)
  })

  test('a Python like those that uv installs makes venvs that work', () => {
    const root = join(world.root, 'standalone')
    const program = makeStandalonePython(world.host, root)
    const libs = ['--libs', `${world.libs.gcc}:${world.libs.zlib}`]
    for (const args of [
      ['python', root, '--libc', world.outputs.glibc],
      ['loader', join(world.root, 'of-standalone'), ...libs],
    ]) {
      const { status, stdout, stderr } = wheelfix(world, args)
      assert.equal(status, 0, stdout + stderr)
      if (args[0] === 'python') uv(['venv', '--python', program, join(world.root, 'of-standalone')])
    }
    const python = join(world.root, 'of-standalone/bin/python')
    uv(['pip', 'install', '--python', python, ...from, 'numpy'])
    runWell(python, ['-c', 'import numpy, sys; assert sys.base_prefix == sys.argv[1]', root], { env: world.env })
  })
})

// uv's venvs: files that are hard or symbolic links into uv's cache, which nobody may change.
import assert from 'node:assert/strict'
import { lstatSync, readdirSync, renameSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, suite, test } from 'node:test'
import { skip } from '../support/requires.ts'
import { runWell } from '../support/run.ts'
import { treeContent, treeState } from '../support/tree.ts'
import { makeStandalonePython } from '../world/standalone.ts'
import { sitePackages, wheelfix, withWheels } from '../world/venv.ts'
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

  test('links into uv’s cache become files where they are patched, and links again when they are restored', () => {
    const linked = join(world.root, 'linked')
    const python = join(linked, 'bin/python')
    uv(['venv', '--python', world.python, linked])
    uv(['pip', 'install', '--link-mode', 'symlink', '--python', python, ...from, ...used.map(({ name }) => name)])
    const objects = readdirSync(sitePackages(world, linked), { recursive: true, encoding: 'utf8' })
      .filter(name => /\.so(?:\.|$)/.test(name))
      .map(name => join(sitePackages(world, linked), name))
    const links = () => objects.filter(path => lstatSync(path).isSymbolicLink()).length
    assert.equal(links(), objects.length)
    const before = treeContent(linked)
    const cached = treeContent(cache)
    assert.equal(wheelfix(world, ['check', linked]).status, 1)
    assert.match(wheelfix(world, ['venv', '--dry-run', linked]).stdout, /to patch/)
    assert.deepEqual(treeContent(linked), before)
    const { status, stdout, stderr } = wheelfix(world, ['venv', linked])
    assert.equal(status, 0, stdout + stderr)
    for (const tested of used) {
      const { works, said } = usePackage(linked, tested, world.env)
      assert.ok(works, said)
    }
    assert.ok(links() > 0 && links() < objects.length)
    for (const command of ['check', 'doctor']) assert.equal(wheelfix(world, [command, linked]).status, 0)
    wheelfix(world, ['venv', linked])
    const patched = treeState(linked)
    wheelfix(world, ['venv', linked])
    assert.deepEqual(treeState(linked), patched)
    assert.equal(wheelfix(world, ['restore', linked]).status, 0)
    assert.deepEqual(treeContent(linked), before)
    assert.deepEqual(treeContent(cache), cached)

    // a cache that is gone leaves the files
    wheelfix(world, ['venv', linked])
    const files = objects.length - links()
    assert.ok(files > 0)
    renameSync(cache, `${cache}.away`)
    assert.equal(wheelfix(world, ['restore', linked]).status, 0)
    assert.equal(objects.length - links(), files)
    renameSync(`${cache}.away`, cache)

    // whatever the list of links says, only a file that is what the link led to becomes a link, and only in the venv
    wheelfix(world, ['venv', linked])
    const list = join(linked, '.wheelfix/links.json')
    const outside = join(world.root, 'outside')
    writeFileSync(outside, '')
    writeFileSync(join(linked, 'empty'), '')
    symlinkSync(world.root, join(linked, 'out'))
    const said = { '../outside': '/dev/null', 'out/outside': join(linked, 'empty'), 'pyvenv.cfg': outside, empty: '/x' }
    writeFileSync(list, JSON.stringify(said))
    assert.equal(wheelfix(world, ['restore', linked]).status, 0)
    for (const path of [outside, join(linked, 'pyvenv.cfg'), join(linked, 'empty')]) assert.ok(lstatSync(path).isFile())
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

// Programs that packages of PyPI and npm bring, started where the loader that they ask for is not there, and addons of Node:
// a venv with Playwright's driver and ruff, a node_modules with a program and an addon.
import assert from 'node:assert/strict'
import { existsSync, mkdirSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { after, suite, test } from 'node:test'
import { skip, which } from '../support/requires.ts'
import { run, type RunResult } from '../support/run.ts'
import { treeContent, treeDifferences, treeState } from '../support/tree.ts'
import { withoutLoader } from '../world/no-loader.ts'
import { makeVenv, pipInstall, sitePackages, wheelfix, withWheels } from '../world/venv.ts'
import { buildWorld } from '../world/world.ts'

suite('programs of other systems', () => {
  const world = withWheels(buildWorld())
  const hidden = withoutLoader()
  if (typeof world === 'string' || typeof hidden === 'string') {
    // a permission, no tool: not every container gives it, in CI neither
    test('start', { skip: typeof world === 'string' ? skip(world) : (hidden as string) })
    return
  }
  after(() => world.dispose())
  const starts = (program: string, ...args: string[]): RunResult => hidden(program, args, { env: world.env })
  const well = (...args: string[]): string => {
    const { status, stdout, stderr } = wheelfix(world, [...args, '--libs', `${world.libs.gcc}:${world.libs.zlib}`])
    assert.equal(status, 0, `${args.join(' ')}\n${stdout}${stderr}`)
    return stdout
  }
  /** Nothing starts, one run, all start, a second run changes nothing, and back. */
  const cycle = (
    root: string,
    command: readonly string[],
    programs: readonly (readonly [string, ...string[]])[],
  ): void => {
    const before = treeContent(root)
    for (const words of programs) assert.notEqual(starts(...words).status, 0, words.join(' '))
    well(...command)
    for (const words of programs) {
      const { status, stdout, stderr } = starts(...words)
      assert.equal(status, 0, `${words.join(' ')}\n${stdout}${stderr}`)
      assert.match(stdout, /\d+\.\d+/)
    }
    well(...command)
    const state = treeState(root)
    well(...command)
    assert.deepEqual(treeDifferences(treeState(root), state), [])
    assert.equal(wheelfix(world, ['restore', root]).status, 0)
    assert.deepEqual(treeDifferences(treeContent(root), before), [])
  }

  test('Playwright’s driver (a Node in a wheel) and ruff in a venv', () => {
    const venv = makeVenv(world, 'venv')
    pipInstall(world, venv, ['playwright', 'ruff'])
    const driver = join(sitePackages(world, venv), 'playwright/driver')
    cycle(
      venv,
      ['venv', venv],
      [
        [join(driver, 'node'), join(driver, 'package/cli.js'), '--version'],
        [join(venv, 'bin/ruff'), '--version'],
      ],
    )
  })

  test('a program and an addon in node_modules', t => {
    const npm = which('npm')
    if (npm === undefined) return t.skip(skip('needs npm'))
    const project = join(world.root, 'project')
    mkdirSync(project)
    const options = ['--no-audit', '--no-fund', '--ignore-scripts', '--prefix', project]
    const installed = run(npm, ['install', ...options, '@biomejs/biome', 'sharp'], { cwd: project })
    if (installed.status !== 0) return t.skip(skip('needs the registry of npm'))
    const modules = join(project, 'node_modules')
    const biome = readdirSync(join(modules, '@biomejs')).find(
      name => name.startsWith('cli-linux') && !name.endsWith('musl'),
    )
    const program = join(modules, '@biomejs', biome ?? '', 'biome')
    assert.ok(existsSync(program))
    cycle(modules, ['path', modules], [[program, '--version']])
    // the addon is loaded by the Node that is named, before and after
    well('path', modules, '--program', process.execPath)
    const { status, stderr } = run(process.execPath, ['-e', 'require("sharp")'], { cwd: project })
    assert.equal(status, 0, stderr)
  })
})

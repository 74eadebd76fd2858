// Environments where the system forbids what a file's mode allows: file systems that are mounted noexec or read-only, or on
// top of another one, and immutable files. A run says what is wrong, breaks nothing, and completes once the cause is gone.
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, afterEach, suite, test } from 'node:test'
import { inapplicable, missing } from '../support/requires.ts'
import { sitePackages, wheelfix } from '../world/venv.ts'
import type { World } from '../world/world.ts'
import {
  copyTemplate,
  makeTemplate,
  pythonStarts,
  stateNames,
  venvFiles,
  whatWorks,
  withCompiledWorld,
} from './template.ts'

withCompiledWorld('what the system forbids', theSuite)

function theSuite(world: World): void {
  suite('what the system forbids', { skip: forbidden(world) }, () => {
    const template = makeTemplate(world)
    const place = join(world.root, 'place')
    mkdirSync(place)
    const undo: (() => void)[] = []
    const undoAll = (): void => {
      for (const action of undo.splice(0).toReversed()) action()
    }
    afterEach(undoAll)
    after(() => world.dispose())
    const mount = (at: string, ...args: readonly string[]): void => {
      assert.equal(spawnSync('mount', [...args, at]).status, 0)
      undo.push(() => void spawnSync('umount', [at]))
    }
    const immutable = (path: string): void => {
      assert.equal(spawnSync('chattr', ['+i', path]).status, 0)
      undo.push(() => void spawnSync('chattr', ['-i', path]))
    }
    const venv = join(place, 'venv')
    const prepare = (): Map<string, string> => {
      rmSync(venv, { recursive: true, force: true })
      copyTemplate(world, template, venv)
      return venvFiles(venv)
    }
    const libs = ['--libs', `${world.libs.gcc}:${world.libs.zlib}`]
    const fix = (...args: readonly [string, ...string[]]) => {
      const options = args[0] === 'restore' ? [] : libs
      const { status, stdout, stderr } = wheelfix(world, [args[0], venv, ...args.slice(1), ...options])
      return { status, said: (stdout + stderr).replaceAll(/\s+/g, ' ') }
    }
    const isWhole = (original: Map<string, string>): void => {
      assert.deepEqual(venvFiles(venv), original)
      assert.deepEqual(stateNames(venv), [])
    }

    test('noexec: loader does not take away a Python that starts', () => {
      // makes the file outside that a module of the venv has a second name for
      prepare()
      mount(place, '-t', 'tmpfs', '-o', 'noexec', 'tmpfs')
      const original = prepare()
      assert.ok(pythonStarts(world, venv))
      const { status, said } = fix('loader')
      assert.equal(status, 2, said)
      assert.match(said, /mounted noexec/)
      assert.ok(pythonStarts(world, venv))
      assert.deepEqual(venvFiles(venv), original)
      assert.equal(existsSync(join(venv, '.wheelfix')), false)
      // what an earlier run left there stays
      mkdirSync(join(venv, '.wheelfix'))
      writeFileSync(join(venv, '.wheelfix/libs.json'), '{}\n')
      assert.equal(fix('loader').status, 2)
      assert.deepEqual(readdirSync(join(venv, '.wheelfix')), ['libs.json'])
    })

    test('an overlay over a venv that may not be changed', () => {
      const original = prepare()
      const layers = join(world.root, 'layers')
      mkdirSync(layers)
      mount(layers, '-t', 'tmpfs', 'tmpfs')
      for (const name of ['upper', 'work']) mkdirSync(join(layers, name))
      mount(venv, '-t', 'overlay', 'overlay', '-o', `lowerdir=${venv},upperdir=${layers}/upper,workdir=${layers}/work`)
      for (const command of ['venv', 'loader'] as const) {
        assert.equal(fix(command).status, 0)
        assert.deepEqual(whatWorks(world, venv), { modules: true, tool: true })
      }
      assert.equal(fix('restore').status, 0)
      isWhole(original)
      undoAll()
      isWhole(original)
    })

    test('site-packages mounted read-only', () => {
      const original = prepare()
      const site = sitePackages(world, venv)
      mount(site, '--bind', site)
      assert.equal(spawnSync('mount', ['-o', 'remount,ro,bind', site]).status, 0)
      const { status, said } = fix('venv')
      assert.equal(status, 1, said)
      assert.match(said, /the file system is read-only/)
      assert.equal(fix('restore').status, 0)
      isWhole(original)
    })

    const files = {
      'an object': 'OBJECT',
      RECORD: 'RECORD',
      'the folder of RECORD': 'INFO',
      bin: 'bin',
      'the venv': '',
    }
    for (const [what, name] of Object.entries(files)) {
      test(`${what} is immutable`, () => {
        const original = prepare()
        const site = sitePackages(world, venv)
        const info = join(site, 'trio-1.0.dist-info')
        const object = [...original.keys()].find(path => /\/small\.[^/]*so$/.test(path)) ?? ''
        const paths = { OBJECT: join(venv, object), RECORD: join(info, 'RECORD'), INFO: info }
        immutable(name in paths ? paths[name as keyof typeof paths] : join(venv, name))
        for (const command of ['venv', 'loader'] as const) {
          const { status, said } = fix(command)
          assert.ok(status === 0 || /immutable|RECORD/.test(said), `${command}: ${status} ${said}`)
        }
        undoAll()
        for (const command of ['venv', 'loader'] as const) {
          const { status, said } = fix(command)
          assert.equal(status, 0, said)
          assert.deepEqual(whatWorks(world, venv), { modules: true, tool: true })
        }
        assert.equal(fix('restore').status, 0)
        isWhole(original)
        assert.ok(!existsSync(join(venv, '.wheelfix')))
      })
    }
  })
}

/** Why mounts and immutable files cannot be tried here; false where they can. */
function forbidden({ root }: World): string | false {
  if (process.getuid?.() !== 0) return inapplicable('only root may mount a file system')
  const lacks = missing('mount', 'chattr', 'umount')
  if (lacks !== false) return lacks
  const probe = join(root, 'probe')
  mkdirSync(probe)
  const works = [
    ['mount', '-t', 'tmpfs', 'tmpfs', probe],
    ['umount', probe],
    ['chattr', '+i', probe],
    ['chattr', '-i', probe],
  ].every(([program = '', ...args]) => spawnSync(program, args).status === 0)
  return works ? false : inapplicable('this machine lets root neither mount nor make files immutable')
}

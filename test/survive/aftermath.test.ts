// A run is killed, and then something else happens before the next one: pip or uv installs the package again, the venv is
// copied, its file system is mounted again, or the journal is one of wheelfix 0.1. Nobody's file is lost.
import assert from 'node:assert/strict'
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { after, suite, test } from 'node:test'
import { missing, skip } from '../support/requires.ts'
import { run, runWell } from '../support/run.ts'
import { installDemoWheel, makeVenv, sitePackages, wheelfix } from '../world/venv.ts'
import type { World } from '../world/world.ts'
import { installersFor } from './installers.ts'
import { makeTemplate, venvFiles, whatWorks, withCompiledWorld } from './template.ts'

const DISTURB = join(import.meta.dirname, '../../../test/support/disturb.cjs')
const STEP = process.env['WHEELFIX_SURVIVE'] === 'all' ? 4 : 29

withCompiledWorld('after a kill', theSuite)

function theSuite(world: World): void {
  suite('after a kill', () => {
    after(() => world.dispose())
    const template = makeTemplate(world)
    const original = venvFiles(template)
    const venv = join(world.root, 'venv')
    const libs = ['--libs', `${world.libs.gcc}:${world.libs.zlib}`]
    const fix = (command: string, root = venv, env: NodeJS.ProcessEnv = {}) =>
      wheelfix(world, [command, root, ...(command === 'restore' ? [] : libs)], env)
    const prepare = (from = template): void => {
      rmSync(venv, { recursive: true, force: true })
      cpSync(from, venv, { recursive: true, verbatimSymlinks: true, preserveTimestamps: true })
    }
    const countChanges = (): number => {
      const log = join(world.root, 'log')
      // the first run of Node has more to do: it keeps what it compiled
      for (let time = 0; time < 2; time++) {
        prepare()
        rmSync(log, { force: true })
        fix('venv', venv, { NODE_OPTIONS: `--require ${DISTURB}`, DISTURB_AT: '0', DISTURB_LOG: log })
      }
      return Number(readFileSync(log, 'utf8'))
    }
    const changes = countChanges()
    const patched = venvFiles(venv)
    const kill = (at: number, root = venv): void => {
      const env = { NODE_OPTIONS: `--require ${DISTURB}`, DISTURB_AT: String(at), DISTURB_BY: 'kill' }
      assert.equal(fix('venv', root, env).status, 128, `change ${at} of ${changes}`)
    }
    const works = (root: string) => assert.deepEqual(whatWorks(world, root), { modules: true, tool: true })

    test('the venv is copied', t => {
      let kills = 0
      const copy = join(world.root, 'copy')
      for (let at = 1; at <= changes; at += STEP, kills++) {
        prepare()
        kill(at)
        rmSync(copy, { recursive: true, force: true })
        cpSync(venv, copy, { recursive: true, verbatimSymlinks: true })
        for (const root of [copy, venv]) {
          const { status, stdout, stderr } = fix('venv', root)
          assert.equal(status, 0, stdout + stderr)
          assert.deepEqual(venvFiles(root), patched, `${root} after change ${at}`)
          works(root)
          assert.equal(fix('restore', root).status, 0)
          assert.deepEqual(venvFiles(root), original, `${root} after change ${at}`)
        }
      }
      t.diagnostic(`copied after ${kills} kills, 0 lost`)
    })

    test('its file system is mounted again, with another device number', { skip: mountable() }, t => {
      const image = join(world.root, 'disk')
      const other = join(world.root, 'other-disk')
      const mount = join(world.root, 'mount')
      const device = (path: string): string => runWell('losetup', ['-f', '--show', path]).trim()
      mkdirSync(mount)
      for (const path of [image, other]) {
        writeFileSync(path, '')
        truncateSync(path, 64 << 20)
      }
      runWell('mkfs.ext4', ['-q', '-F', image])
      const root = join(mount, 'venv')
      let kills = 0
      for (let at = 1; at <= changes; at += Math.max(STEP, 7), kills++) {
        const first = device(image)
        runWell('mount', [first, mount])
        rmSync(root, { recursive: true, force: true })
        cpSync(template, root, { recursive: true, verbatimSymlinks: true, preserveTimestamps: true })
        kill(at, root)
        const before = statSync(root).dev
        runWell('umount', [mount])
        runWell('losetup', ['-d', first])
        // takes the number of the first
        const held = device(other)
        const second = device(image)
        runWell('mount', [second, mount])
        try {
          assert.notEqual(statSync(root).dev, before)
          const { status, stdout, stderr } = fix('venv', root)
          assert.equal(status, 0, stdout + stderr)
          assert.deepEqual(venvFiles(root), patched, `after change ${at}`)
          assert.equal(fix('restore', root).status, 0)
          assert.deepEqual(venvFiles(root), original, `after change ${at}`)
        } finally {
          runWell('umount', [mount])
          for (const loop of [held, second]) runWell('losetup', ['-d', loop])
        }
      }
      t.diagnostic(`mounted again after ${kills} kills, 0 lost`)
    })

    test('the journal is one of wheelfix 0.1', t => {
      let kills = 0
      for (let at = 1; at <= changes; at += STEP, kills++) {
        prepare()
        kill(at)
        const journal = join(venv, '.wheelfix/journal')
        if (existsSync(journal)) {
          const entries = readFileSync(journal, 'utf8')
            .split('\n')
            .slice(1)
            .flatMap(line => asOldEntry(line))
          rmSync(journal)
          writeFileSync(join(venv, '.wheelfix/journal.json'), JSON.stringify(entries))
        }
        const { status, stdout, stderr } = fix('venv')
        assert.equal(status, 0, stdout + stderr)
        assert.deepEqual(venvFiles(venv), patched, `after change ${at}`)
        works(venv)
        assert.equal(fix('restore').status, 0)
        assert.deepEqual(venvFiles(venv), original, `after change ${at}`)
      }
      t.diagnostic(`${kills} kills, each with a journal of version 1, 0 lost`)
    })

    test('the journal has no boot id, or is torn anywhere', () => {
      for (const change of [
        (text: string) => text.replace(/"boot":"[^"]*"/, '"boot":null'),
        (text: string) => text.slice(0, text.length - 40),
        (text: string) => text.slice(0, 20),
      ]) {
        prepare()
        assert.equal(fix('venv').status, 0)
        const kept = join(venv, '.wheelfix/journal.kept')
        writeFileSync(kept, change(readFileSync(kept, 'utf8')))
        const { status, stdout, stderr } = fix('venv')
        assert.equal(status, 0, stdout + stderr)
        assert.deepEqual(venvFiles(venv), patched)
      }
    })

    const { installers, env: ofInstaller } = installersFor(world, venv)
    for (const { name, command, lacks } of installers) {
      const [program, ...args] = command
      test(`the package is installed again by ${name}`, { skip: lacks }, t => {
        const fresh = join(world.root, 'fresh')
        rmSync(fresh, { recursive: true, force: true })
        makeVenv(world, 'fresh')
        installDemoWheel(world, fresh)
        const site = sitePackages(world, venv)
        const object = (): string => {
          const found = readdirSync(site, { recursive: true, encoding: 'utf8' }).find(path =>
            /wheelfix_demo.*\.so$/.test(path),
          )
          return join(site, found ?? '')
        }
        let kills = 0
        let journals = 0
        for (let at = 1; ; at += Math.ceil(STEP / 6), kills++) {
          prepare(fresh)
          const env = { NODE_OPTIONS: `--require ${DISTURB}`, DISTURB_AT: String(at), DISTURB_BY: 'kill' }
          if (fix('venv', venv, env).status !== 128) break
          if (existsSync(join(venv, '.wheelfix/journal'))) journals++
          runWell(program, args, { env: ofInstaller })
          const installed = readFileSync(object())
          const next = fix('venv')
          assert.equal(next.status, 0, next.stdout + next.stderr)
          const use = run(join(venv, 'bin/python'), ['-c', 'import wheelfix_demo'], { env: world.env })
          assert.equal(use.status, 0, `after change ${at}: ${use.stderr}`)
          assert.equal(fix('restore').status, 0)
          assert.ok(readFileSync(object()).equals(installed), `the new object is another after change ${at}`)
        }
        assert.ok(journals > 0)
        t.diagnostic(`${name}: installed again after ${kills} kills, ${journals} with a journal, 0 destroyed`)
      })
    }
  })
}

/** An entry of a journal as wheelfix 0.1 wrote it: what the file was, and its inode. */
function asOldEntry(line: string): object[] {
  try {
    const { path, size, header } = JSON.parse(line) as Record<string, unknown>
    return [{ path, size, header, inode: '1:1' }]
  } catch {
    // the last line may be torn
    return []
  }
}

function mountable(): string | false {
  if (process.getuid?.() !== 0) return skip('only root may mount a disk')
  return missing('losetup', 'mkfs.ext4')
}

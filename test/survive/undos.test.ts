// The undos of programs that were edited in place: one that no file needs any more goes, a day after that was first seen. One
// that may still be needed never goes.
import assert from 'node:assert/strict'
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, suite, test } from 'node:test'
import { wheelfix } from '../world/venv.ts'
import type { World } from '../world/world.ts'
import { makeTemplate, venvFiles, whatWorks, withCompiledWorld } from './template.ts'

const MACHINE = join(import.meta.dirname, '../../../test/survive/machine.cjs')
const DISTURB = join(import.meta.dirname, '../../../test/support/disturb.cjs')
const DAY = 86_400_000

withCompiledWorld('undos', theSuite)

function theSuite(world: World): void {
  suite('undos that no file needs', () => {
    after(() => world.dispose())
    const template = makeTemplate(world)
    const original = venvFiles(template)
    const venv = join(world.root, 'venv')
    const tool = join(venv, 'bin/tool')
    const folder = join(venv, '.wheelfix/undo')
    const undos = (): string[] => readdirSync(folder).filter(name => /^[0-9a-f]{64}-/.test(name))
    const libs = ['--libs', `${world.libs.gcc}:${world.libs.zlib}`]
    const prepare = (): void => {
      rmSync(venv, { recursive: true, force: true })
      cpSync(template, venv, { recursive: true, verbatimSymlinks: true, preserveTimestamps: true })
    }
    const well = (args: readonly string[], env: NodeJS.ProcessEnv = {}): void => {
      const { status, stdout, stderr } = wheelfix(world, args, env)
      assert.equal(status, 0, `${args.join(' ')}: ${stdout}${stderr}`)
    }
    /** A run that writes (the pins are gone, and `--update` takes no earlier answer), some days from now. */
    const run = (days: number): void => {
      rmSync(join(venv, '.wheelfix/libs.json'), { force: true })
      well(['venv', venv, '--update', ...libs], {
        NODE_OPTIONS: `--require ${MACHINE}`,
        MACHINE_LATER: String(days * DAY),
      })
    }
    const assertRestored = (files = original): void => {
      well(['restore', venv])
      assert.deepEqual(venvFiles(venv), files)
    }

    test('the program was upgraded: its old undo goes, the new one stays', () => {
      prepare()
      run(0)
      const [old = ''] = undos()
      // another program with the name of the first
      const bytes = Buffer.concat([readFileSync(join(template, 'bin/tool')), Buffer.alloc(64)])
      rmSync(tool)
      writeFileSync(tool, bytes, { mode: 0o755 })
      const upgraded = venvFiles(venv)
      run(0)
      assert.equal(undos().length, 2, 'not at once')
      run(0.9)
      assert.ok(undos().includes(old), 'not within a day')
      run(1.1)
      assert.equal(undos().length, 1)
      assert.ok(!undos().includes(old))
      assert.ok(!existsSync(join(folder, 'unused.json')))
      well(['restore', venv])
      assert.equal(venvFiles(venv).get('bin/tool'), upgraded.get('bin/tool'))
    })

    test('the old program comes back: its undo is there', () => {
      prepare()
      run(0)
      const aside = join(world.root, 'aside')
      renameSync(tool, aside)
      run(0)
      run(0.9)
      renameSync(aside, tool)
      run(1.1)
      run(3)
      assert.equal(undos().length, 1)
      assertRestored()
    })

    test('a program alone: no other file of its folder keeps an undo', () => {
      const alone = join(world.root, 'alone')
      const [program, sibling] = [join(alone, 'tool'), join(alone, 'sibling')]
      mkdirSync(alone)
      cpSync(join(template, 'bin/tool'), program)
      const state = join(world.root, 'state')
      const patch = (days: number): string[] => {
        const env = { XDG_STATE_HOME: state, NODE_OPTIONS: `--require ${MACHINE}`, MACHINE_LATER: String(days * DAY) }
        well(['path', program, ...libs, '--update'], env)
        return readdirSync(state, { recursive: true, encoding: 'utf8' }).filter(name =>
          /undo\/[0-9a-f]{64}-/.test(name),
        )
      }
      assert.equal(patch(0).length, 1)
      // something else of the size that the undo is for
      writeFileSync(sibling, Buffer.alloc(readFileSync(program).length))
      const upgraded = Buffer.concat([readFileSync(join(template, 'bin/tool')), Buffer.alloc(64)])
      for (const days of [0, 1.1]) {
        rmSync(program)
        writeFileSync(program, upgraded, { mode: 0o755 })
        assert.equal(patch(days).length, days === 0 ? 2 : 1)
      }
    })

    test('an edit of wheelfix elf on top: the undo below it is needed', () => {
      prepare()
      run(0)
      const kept = undos()
      well(['elf', '--set-interpreter', '/lib/ld.so', tool])
      for (const days of [0, 2, 4]) run(days)
      assert.ok(
        kept.every(name => undos().includes(name)),
        'the undo of the venv is gone',
      )
      well(['elf', '--restore', tool])
      assert.ok(whatWorks(world, venv).tool)
      assertRestored()
    })

    test('the edit was prevented by a kill, and then the program was removed', () => {
      const log = join(world.root, 'log')
      prepare()
      well(['venv', venv, ...libs], {
        NODE_OPTIONS: `--require ${DISTURB}`,
        DISTURB_AT: '0',
        DISTURB_LOG: log,
      })
      const changes = Number(readFileSync(log, 'utf8'))
      let found = 0
      for (let at = 1; at <= changes && found === 0; at++) {
        prepare()
        const env = { NODE_OPTIONS: `--require ${DISTURB}`, DISTURB_AT: String(at), DISTURB_BY: 'kill' }
        wheelfix(world, ['venv', venv, ...libs], env)
        const isPrevented =
          existsSync(folder) && undos().length === 1 && venvFiles(venv).get('bin/tool') === original.get('bin/tool')
        if (!isPrevented) continue
        found++
        rmSync(tool)
        run(0)
        assert.equal(undos().length, 1)
        run(2)
        assert.equal(undos().length, 0)
      }
      assert.equal(found, 1)
    })
  })
}

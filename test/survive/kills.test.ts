// Killed at any change of the file system, whatever the command and whatever was there before: what ran goes on running,
// `check` does not call it done, and the next run completes it. A slice here; `npm run survive` kills at every third change
// of each case.
import assert from 'node:assert/strict'
import { cpSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { after, suite, test } from 'node:test'
import { isDeepStrictEqual } from 'node:util'
import { wheelfix } from '../world/venv.ts'
import type { World } from '../world/world.ts'
import {
  copyTemplate,
  makeTemplate,
  pythonStarts,
  recordOf,
  stateNames,
  venvFiles,
  whatWorks,
  withCompiledWorld,
} from './template.ts'

const DISTURB = join(import.meta.dirname, '../../../test/support/disturb.cjs')
const VISIBLE = join(import.meta.dirname, '../../../test/support/visible.cjs')
const WHOLE = process.env['WHEELFIX_SURVIVE'] === 'all'
/** Prime, so that the slices of the cases meet different steps. Each case begins at another change. */
const STEP = WHOLE ? 3 : 53

type Command = readonly string[]

const RPATH = ['venv', '--strategy', 'rpath']
const BOTH = ['venv', '--strategy', 'both']

interface Case {
  /** What was there before. */
  readonly before: readonly Command[]
  readonly command: Command
  /** Root sees every process, so a restore is made in place. */
  readonly visible?: true
}

const CASES: readonly Case[] = [
  { before: [], command: ['venv'] },
  { before: [], command: ['venv', '--rehash'] },
  { before: [['venv']], command: ['restore'] },
  { before: [['venv']], command: ['restore'], visible: true },
  { before: [], command: ['loader'] },
  { before: [['loader']], command: ['restore'] },
  { before: [], command: BOTH },
  { before: [BOTH], command: ['restore'] },
  { before: [['venv']], command: ['loader'] },
  { before: [['venv', '--rehash']], command: ['loader'] },
  { before: [['loader']], command: RPATH },
  { before: [['venv']], command: BOTH },
  { before: [BOTH], command: RPATH },
  { before: [BOTH], command: ['loader'] },
  { before: [['loader']], command: BOTH },
]

withCompiledWorld('kills', theSuite)

function theSuite(world: World): void {
  suite('killed and run again', () => {
    after(() => world.dispose())
    const template = makeTemplate(world)
    const original = venvFiles(template)
    const venv = join(world.root, 'venv')
    const say = (command: Command): string => command.join(' ')
    const fix = (command: Command, env: NodeJS.ProcessEnv = {}) => {
      const [name = '', ...options] = command
      const libs = name === 'restore' ? [] : ['--libs', `${world.libs.gcc}:${world.libs.zlib}`]
      return wheelfix(world, [name, venv, ...options, ...libs], env)
    }
    const prepared = join(world.root, 'prepared')
    const copy = { recursive: true, verbatimSymlinks: true, preserveTimestamps: true }
    /** Makes the venv as it is before the command; the second time from a copy. */
    const prepare = (before: readonly Command[], isFirst: boolean): void => {
      rmSync(venv, { recursive: true, force: true })
      if (before.length > 0 && !isFirst) return cpSync(prepared, venv, copy)
      copyTemplate(world, template, venv)
      for (const command of before) assert.equal(fix(command).status, 0, say(command))
      rmSync(prepared, { recursive: true, force: true })
      cpSync(venv, prepared, copy)
    }

    for (const [index, { before, command, visible = false }] of CASES.entries()) {
      const name = `${[...before, command].map(say).join(', then ')}${visible ? ', in place' : ''}`
      const disturbance = (settings: Readonly<Record<string, string>>): NodeJS.ProcessEnv => ({
        NODE_OPTIONS: `--require ${DISTURB}${visible ? ` --require ${VISIBLE}` : ''}`,
        ...settings,
      })
      test(name, t => {
        prepare(before, true)
        const worked = whatWorks(world, venv)
        const log = join(world.root, `log${index}`)
        const ended = fix(command, disturbance({ DISTURB_AT: '0', DISTURB_LOG: log }))
        assert.equal(ended.status, 0, ended.stdout + ended.stderr)
        const changes = Number(readFileSync(log, 'utf8'))
        const done = { files: venvFiles(venv), names: stateNames(venv), works: whatWorks(world, venv) }
        let kills = 0
        // between `both` and `loader` only some names change
        const step = Math.min(STEP, Math.ceil(changes / 2))
        for (let at = (index % step) + 1; at <= changes; at += step) {
          // a copy has other inodes than the last run kept, so it would not be restored in place
          prepare(before, visible)
          const killed = fix(command, disturbance({ DISTURB_AT: String(at), DISTURB_BY: 'kill' }))
          // not every run asks as often whether another one holds the lock
          if (killed.status === 0) continue
          assert.equal(killed.status, 128, `change ${at}`)
          kills++
          assert.ok(pythonStarts(world, venv), `after change ${at}: Python does not start`)
          const works = whatWorks(world, venv)
          const isKept = (['modules', 'tool'] as const).every(what => works[what] || !worked[what] || !done.works[what])
          assert.ok(
            isKept,
            `after change ${at}: what worked before and would work after does not: ${JSON.stringify(works)}`,
          )
          if (command.length === 1 && command[0] === 'venv' && !isDeepStrictEqual(venvFiles(venv), done.files)) {
            assert.equal(fix(['check']).status, 1, `check after change ${at} says that all is well`)
          }
          // a plain run, as a shell hook makes it, may complete it or take it back: what it says is fine works
          if (at % 3 === 0) assertFine(`a plain run after change ${at}`, fix(['venv']), whatWorks(world, venv))
          const again = fix(command)
          assert.equal(again.status, 0, `after change ${at}: ${again.stdout}${again.stderr}`)
          assert.deepEqual(venvFiles(venv), done.files, `after change ${at}: ${recordOf(world, venv)}`)
          assert.deepEqual(stateNames(venv), done.names, `after change ${at}`)
          assert.deepEqual(whatWorks(world, venv), done.works, `after change ${at}`)
          assert.equal(fix(['restore']).status, 0)
          assert.deepEqual(venvFiles(venv), original, `restored after change ${at}`)
        }
        assert.ok(kills > 0)
        t.diagnostic(`${name}: ${changes} changes, killed at ${kills}, 0 lost`)
      })
    }
  })
}

function assertFine(
  when: string,
  { status, stdout, stderr }: ReturnType<typeof wheelfix>,
  works: ReturnType<typeof whatWorks>,
): void {
  assert.equal(status, 0, `${when}: ${stdout}${stderr}`)
  assert.deepEqual(works, { modules: true, tool: true }, `${when} says 0: ${stdout}`)
}

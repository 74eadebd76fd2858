// Power lost at any change of the file system, and after the run: whatever pages reached the disk, the next run finds every
// object old or new, or puts it back, and completes. The changes are those of real runs, recorded by machine.cjs; what they
// leave is a model (powerloss.ts). A slice here; `npm run survive` takes
// every third disk that they leave.
import assert from 'node:assert/strict'
import { existsSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { after, suite, test } from 'node:test'
import { randomOf } from '../support/random.ts'
import { wheelfix } from '../world/venv.ts'
import type { World } from '../world/world.ts'
import { type Change, Disk, type Luck, readChanges, renew } from './powerloss.ts'
import { copyTemplate, makeTemplate, venvFiles, whatWorks, withCompiledWorld } from './template.ts'

const MACHINE = join(import.meta.dirname, '../../../test/survive/machine.cjs')
const VISIBLE = join(import.meta.dirname, '../../../test/support/visible.cjs')
const WHOLE = process.env['WHEELFIX_SURVIVE'] === 'all'
/** Of the changes that leave another disk. */
const STEP = WHOLE ? 3 : 47

const RPATH = ['venv', '--strategy', 'rpath']

interface Case {
  /** The runs of one boot; the last is run again after the power came back. */
  readonly runs: readonly (readonly string[])[]
  /** Root sees every process, so a restore is made in place. */
  readonly visible?: true
}

const CASES: readonly Case[] = [
  { runs: [['venv']] },
  { runs: [['venv'], ['restore']] },
  { runs: [['venv'], ['restore']], visible: true },
  { runs: [['venv'], ['loader']] },
  { runs: [['loader'], RPATH] },
]

withCompiledWorld('power', theSuite)

function theSuite(world: World): void {
  suite('the power is lost', () => {
    after(() => world.dispose())
    const template = makeTemplate(world)
    const fresh = join(world.root, 'fresh')
    copyTemplate(world, template, fresh)
    const original = venvFiles(fresh)
    const venv = join(world.root, 'venv')
    let visible = ''
    const fix = ([name = '', ...options]: readonly string[], machine: Readonly<Record<string, string>>) => {
      const libs = name === 'restore' ? [] : ['--libs', `${world.libs.gcc}:${world.libs.zlib}`]
      const env = Object.entries(machine).map(([key, value]) => [`MACHINE_${key}`, value])
      return wheelfix(world, [name, venv, ...options, ...libs], {
        NODE_OPTIONS: `--require ${MACHINE} ${visible}`,
        ...Object.fromEntries(env),
      })
    }
    const record = (runs: readonly (readonly string[])[], fs: string, later: number): Change[] => {
      const log = join(world.root, 'changes')
      rmSync(log, { force: true })
      for (const [index, run] of runs.entries()) {
        const ended = fix(run, { BOOT: 'first', FS: fs, ROOT: venv, LOG: log, LATER: String(index * later) })
        assert.equal(ended.status, 0, ended.stdout + ended.stderr)
      }
      return readChanges(log)
    }

    for (const [index, { runs, visible: isVisible = false }] of CASES.entries()) {
      for (const fs of ['xfs', 'ext4']) {
        const how = isVisible ? ', in place,' : ''
        const name = `${runs.map(run => run.join(' ')).join(', then ')}${how} on a file system like ${fs}`
        test(name, t => {
          visible = isVisible ? `--require ${VISIBLE}` : ''
          const last = runs.at(-1) ?? []
          renew(fresh, venv)
          const disk = new Disk(venv, fs === 'ext4')
          const changes = record(runs, fs, 0)
          const done = venvFiles(venv)
          let losses = 0
          const seen = new Set<string>()
          for (const [at, change] of changes.entries()) {
            disk.apply(change)
            const isLast = at === changes.length - 1
            const state = disk.digest()
            const isNew = !seen.has(state)
            seen.add(state)
            if (!isLast && (!isNew || (seen.size + index) % STEP !== 0)) continue
            const all = lucks(at)
            for (const luck of isLast ? all : all.filter((_, nth) => nth === seen.size % all.length)) {
              disk.materialize(luck)
              losses++
              const when = `after change ${at} of ${changes.length}, ${luck.name}`
              const again = fix(last, { BOOT: 'second', FS: fs })
              assert.equal(again.status, 0, `${when}: ${again.stdout}${again.stderr}`)
              assert.deepEqual(venvFiles(venv), done, when)
              if (last[0] === 'restore') continue
              assert.deepEqual(whatWorks(world, venv), { modules: true, tool: true }, when)
              assert.equal(fix(['restore'], { BOOT: 'second', FS: fs }).status, 0)
              assert.deepEqual(venvFiles(venv), original, `restored ${when}`)
            }
          }
          t.diagnostic(
            `${name}: ${changes.length} changes leave ${seen.size} disks, the power lost ${losses} times, 0 lost`,
          )
        })
      }
    }

    test('a command that only looks does not call a venv fine whose new header has no graft', () => {
      renew(fresh, venv)
      const disk = new Disk(venv, true)
      for (const change of record([['venv']], 'ext4', 0)) disk.apply(change)
      disk.materialize({ name: 'headers alone', keeps: ({ offset }) => offset === 0, grows: true })
      const broken = venvFiles(venv)
      for (const command of [['check'], ['venv', '--dry-run'], ['doctor']]) {
        const { status, stdout } = fix(command, { BOOT: 'second' })
        const isSaid = status === 1 || /the last run was interrupted/.test(stdout)
        assert.ok(isSaid, `${command.join(' ')}: ${status} ${stdout}`)
        assert.deepEqual(venvFiles(venv), broken)
      }
      assert.equal(fix(['venv'], { BOOT: 'second' }).status, 0)
      assert.deepEqual(whatWorks(world, venv), { modules: true, tool: true })
    })

    test('a run of the same boot drops the journal once the objects are on the disk', () => {
      renew(fresh, venv)
      const disk = new Disk(venv, false)
      const kept = join(venv, '.wheelfix/journal.kept')
      for (const change of record([['venv'], ['venv']], 'xfs', 20_000)) disk.apply(change)
      assert.ok(existsSync(kept), 'not before the bytes are written back')
      const log = join(world.root, 'later')
      const before = readFileSync(join(venv, '.wheelfix/state.json'), 'utf8')
      assert.equal(fix(['venv'], { BOOT: 'first', FS: 'xfs', ROOT: venv, LOG: log, LATER: '90000' }).status, 0)
      assert.ok(!existsSync(kept))
      assert.equal(readFileSync(join(venv, '.wheelfix/state.json'), 'utf8'), before, 'it was the quick answer')
      const done = venvFiles(venv)
      for (const change of readChanges(log)) disk.apply(change)
      disk.materialize({ name: 'nothing', keeps: () => false, grows: true })
      assert.deepEqual(venvFiles(venv), done, 'every byte was synced before')
    })
  })
}

/** What may reach the disk of the pages that are not synced. */
function lucks(seed: number): Luck[] {
  const random = randomOf(seed + 1)
  return [
    { name: 'nothing of the pages', keeps: () => false, grows: true },
    { name: 'no page and no new size', keeps: () => false, grows: false },
    { name: 'headers alone', keeps: ({ offset }) => offset === 0, grows: true },
    { name: 'all but headers', keeps: ({ offset }) => offset !== 0, grows: true },
    { name: 'half of the pages', keeps: () => random() < 0.5, grows: true },
  ]
}

// INT, TERM and HUP while files are written: the files in work are finished, one line says what is left, and the process ends
// by the signal; the next run completes it.
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { after, suite, test } from 'node:test'
import { WHEELFIX, wheelfix } from '../world/venv.ts'
import type { World } from '../world/world.ts'
import { copyTemplate, makeTemplate, stateNames, venvFiles, whatWorks, withCompiledWorld } from './template.ts'

const DISTURB = join(import.meta.dirname, '../../../test/support/disturb.cjs')
const VISIBLE = join(import.meta.dirname, '../../../test/support/visible.cjs')
const STEP = process.env['WHEELFIX_SURVIVE'] === 'all' ? 3 : 13

withCompiledWorld('signals', theSuite)

function theSuite(world: World): void {
  suite('ended by a signal', () => {
    after(() => world.dispose())
    const template = makeTemplate(world)
    const venv = join(world.root, 'venv')
    const argsOf = (command: string) => [
      command,
      venv,
      ...(command === 'restore' ? [] : ['--libs', `${world.libs.gcc}:${world.libs.zlib}`]),
    ]
    const prepare = (before: readonly string[]): void => {
      rmSync(venv, { recursive: true, force: true })
      copyTemplate(world, template, venv)
      for (const command of before) assert.equal(wheelfix(world, argsOf(command)).status, 0)
    }
    let visible = ''
    const disturbed = (command: string, settings: NodeJS.ProcessEnv) =>
      spawnSync(process.execPath, [WHEELFIX, ...argsOf(command)], {
        env: { ...world.env, NODE_OPTIONS: `--require ${DISTURB} ${visible}`, ...settings },
        cwd: world.root,
        encoding: 'utf8',
      })

    const cases = [
      { before: [], command: 'venv', signal: 'SIGINT' },
      { before: [], command: 'loader', signal: 'SIGTERM' },
      { before: ['venv'], command: 'restore', signal: 'SIGHUP' },
      // root sees every process, so the restore is made in place
      { before: ['venv'], command: 'restore', signal: 'SIGINT', load: `--require ${VISIBLE}` },
    ] as const
    for (const { before, command, signal, ...more } of cases) {
      test(`${command}, ${signal}`, t => {
        visible = 'load' in more ? more.load : ''
        const log = join(world.root, `log-${command}-${signal}`)
        prepare(before)
        disturbed(command, { DISTURB_AT: '0', DISTURB_LOG: log })
        const changes = Number(readFileSync(log, 'utf8'))
        const done = { files: venvFiles(venv), names: stateNames(venv) }
        let told = 0
        let silent = 0
        for (let at = 1; at <= changes; at += STEP) {
          prepare(before)
          rmSync(log, { force: true })
          const ended = disturbed(command, { DISTURB_AT: String(at), DISTURB_BY: signal, DISTURB_LOG: log })
          // the first run had more to do: Node kept what it had compiled
          if (existsSync(log) && Number(readFileSync(log, 'utf8')) < at) continue
          const when = `before change ${at} of ${changes}: ${ended.stdout}${ended.stderr}`
          assert.equal(ended.signal, signal, `${when} status ${ended.status}`)
          if (ended.stderr.includes(`interrupted by ${signal}`)) {
            told++
            assert.match(ended.stderr, /next .*completes\s+the work/, when)
            assert.ok(!existsSync(join(venv, '.wheelfix/journal')), `a journal is left ${when}`)
            assert.ok(!existsSync(join(venv, '.wheelfix/lock')), `a lock is left ${when}`)
          } else silent++
          if (command !== 'restore')
            assert.ok(whatWorks(world, venv).modules || !ended.stdout.includes('patched'), when)
          const again = wheelfix(world, argsOf(command))
          assert.equal(again.status, 0, `${again.stdout}${again.stderr} after ${when}`)
          assert.deepEqual(venvFiles(venv), done.files, when)
          assert.deepEqual(stateNames(venv), done.names, when)
        }
        assert.ok(told > 0)
        t.diagnostic(
          `${command}: ${signal} at ${told + silent} of ${changes} changes, left with a line ${told} times, completed or not begun ${silent} times, 0 lost`,
        )
      })
    }
  })
}

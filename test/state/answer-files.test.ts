// The answer for an environment in which nothing was ever to do: kept outside of it, used while nothing changes, and never
// trusted further than it can be checked.
import assert from 'node:assert/strict'
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { after, suite, test } from 'node:test'
import { missing, skip } from '../support/requires.ts'
import { type RunResult, runWell } from '../support/run.ts'
import { treeState } from '../support/tree.ts'
import { installDemoWheel, sitePackages, wheelfix } from '../world/venv.ts'
import { buildWorld } from '../world/world.ts'

const COUNT = join(import.meta.dirname, '../../../test/support/count.cjs')

suite('the answer for an environment without a state folder', () => {
  const world = buildWorld()
  if (typeof world === 'string') {
    test('is kept by the user', { skip: skip(world) })
    return
  }
  after(() => world.dispose())
  // the host's Python finds its libraries, and is not in the store: nothing is to be done, and nothing to be protected
  const venv = join(world.root, 'venv')
  runWell(world.host.python.executable, ['-m', 'venv', '--without-pip', venv], { env: world.env })
  const site = sitePackages(world, venv)
  writeFileSync(join(site, 'pure.py'), '')
  const state = join(world.root, 'state')
  const answers = join(state, 'wheelfix/answers')
  const fix = (env: NodeJS.ProcessEnv = {}): RunResult =>
    wheelfix(world, ['venv', venv, '--no-scan'], { XDG_STATE_HOME: state, ...env })
  /** How often a run lists a folder: the whole work walks the environment. */
  const listings = (): number => {
    const log = join(world.root, 'counts.json')
    const { status, stderr } = fix({ NODE_OPTIONS: `--require=${COUNT}`, COUNT_LOG: log })
    assert.equal(status, 0, stderr)
    return (JSON.parse(readFileSync(log, 'utf8')) as { readdirSync?: number }).readdirSync ?? 0
  }
  const forget = (): void => rmSync(state, { recursive: true, force: true })

  test('nothing is written into the environment, and the second run does not walk it again', () => {
    const before = treeState(venv)
    const first = listings()
    const second = listings()
    assert.ok(second < first / 2, `${first} listings, then ${second}`)
    assert.deepEqual(treeState(venv), before)
    assert.deepEqual(readdirSync(answers).length, 1)
  })

  test('a change is seen', () => {
    forget()
    fix()
    installDemoWheel(world, venv)
    const objects = /(\d+) objects?/.exec(fix().stdout)?.[1]
    assert.notEqual(objects, '0')
    assert.ok(!existsSync(join(venv, '.wheelfix')))
  })

  test(
    'a file, folder, link or device in its place is not followed, opened or removed',
    { skip: missing('mkfifo') },
    () => {
      forget()
      fix()
      const [name = ''] = readdirSync(answers)
      const outside = join(world.root, 'outside')
      mkdirSync(outside)
      writeFileSync(join(outside, 'precious'), 'p')
      for (const path of [state, join(state, 'wheelfix'), answers, join(answers, name)]) {
        for (const make of [
          () => runWell('mkfifo', [path]),
          () => mkdirSync(path),
          () => symlinkSync(path, path),
          () => symlinkSync(join(outside, 'new'), path),
          () => symlinkSync(join(outside, 'precious'), path),
          () => symlinkSync('/dev/zero', path),
          () => {
            writeFileSync(path, '')
            truncateSync(path, 2 ** 40)
          },
        ]) {
          forget()
          mkdirSync(join(path, '..'), { recursive: true })
          make()
          const then = treeState(outside)
          const { status, stderr } = fix()
          assert.deepEqual([status, stderr], [0, ''], path)
          assert.deepEqual(treeState(outside), then, path)
        }
      }
      forget()
      mkdirSync(join(state, 'wheelfix'), { recursive: true })
      symlinkSync(outside, answers)
      const then = treeState(outside)
      assert.equal(fix().status, 0)
      assert.deepEqual(treeState(outside), then)
    },
  )

  test('a stale or damaged answer is not given', () => {
    forget()
    const wanted = fix().stdout
    const [name = ''] = readdirSync(answers)
    const path = join(answers, name)
    const kept = JSON.parse(readFileSync(path, 'utf8')) as {
      states: { paths: string; numbers: string }
      answers: unknown[]
    }
    for (const text of [
      '',
      'null',
      '[]',
      '{}',
      JSON.stringify({ ...kept, answers: [null] }),
      JSON.stringify({ ...kept, answers: 'x' }),
      JSON.stringify({ ...kept, states: { ...kept.states, numbers: 'absent' } }),
      JSON.stringify({ ...kept, states: { ...kept.states, numbers: kept.states.numbers.slice(0, -12) } }),
      JSON.stringify({
        ...kept,
        states: { ...kept.states, numbers: `${'A'.repeat(11)}${kept.states.numbers.slice(11)}` },
      }),
      JSON.stringify({ ...kept, states: { ...kept.states, paths: kept.states.paths.replace('pyvenv', 'pyvenw') } }),
      // the form of earlier versions
      JSON.stringify({ ...kept, states: { 'pyvenv.cfg': null } }),
      JSON.stringify({ ...kept, root: '/elsewhere' }),
      JSON.stringify({ ...kept, version: '0.0.0' }),
    ]) {
      writeFileSync(path, text)
      assert.deepEqual(fix(), { status: 0, stdout: wanted, stderr: '' }, text)
    }
    // others may write there: what it says may be theirs
    const lie = readFileSync(path, 'utf8').replaceAll(/"objects":\d+/g, '"objects":777')
    writeFileSync(path, lie)
    assert.match(fix().stdout, /777/)
    chmodSync(answers, 0o777)
    assert.equal(fix().stdout, wanted)
  })

  test('old answers are removed when one is written', () => {
    forget()
    fix()
    const old = join(answers, `${'0'.repeat(32)}.json`)
    const recent = join(answers, `${'1'.repeat(32)}.json`)
    for (const path of [old, recent]) writeFileSync(path, '')
    utimesSync(old, 0, 0)
    writeFileSync(join(site, 'another.py'), '')
    fix()
    assert.deepEqual([existsSync(old), existsSync(recent)], [false, true])
  })
})

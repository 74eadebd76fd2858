// The lock of a venv: one run at a time, in whatever container, and a killed one holds nobody up.
import assert from 'node:assert/strict'
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { ownIdentity } from '../../src/io/alive.ts'
import { lockVenv } from '../../src/state/lock.ts'
import { missing, skip } from '../support/requires.ts'
import { run } from '../support/run.ts'

interface LockedVenv {
  readonly place: { readonly root: string; readonly stateFolder: string }
  readonly path: string
}

function makeVenv(t: TestContext): LockedVenv {
  const root = mkdtempSync(join(tmpdir(), 'wheelfix-lock-'))
  t.after(() => rmSync(root, { recursive: true }))
  const stateFolder = join(root, '.wheelfix')
  mkdirSync(stateFolder)
  return { place: { root, stateFolder }, path: join(stateFolder, 'lock') }
}

const MODULE = join(import.meta.dirname, '../../src/state/lock.js')

/** A program that takes the lock of a venv within some milliseconds, then does `body`. */
function program({ place }: LockedVenv, patience: number, body: string): string[] {
  const code = `import { lockVenv } from ${JSON.stringify(MODULE)}
import { readFileSync, writeFileSync } from 'node:fs'
const take = () => lockVenv(${JSON.stringify(place)}, ${patience})
${body}`
  return ['--input-type=module', '-e', code]
}

/** PATH with flock(1) and without. */
const PATHS = [
  ['with flock', process.env['PATH']],
  ['without flock', '/nonexistent'],
] as const

/** What a process that asks for the lock gets: `taken`, or the message of the error. */
function outcomeFor(venv: LockedVenv, path: string | undefined, patience = 300): string {
  const body = `try { take().release(); console.log('taken') } catch (error) { console.log(error.message) }`
  const { stdout, stderr } = run(process.execPath, program(venv, patience, body), { env: { PATH: path } })
  assert.equal(stderr, '')
  return stdout.trim()
}

/** Starts a process that holds the lock until it is killed, by way of another program if that is named. */
async function holder(t: TestContext, venv: LockedVenv, path: string | undefined, by: string[]): Promise<ChildProcess> {
  const command = [
    ...by,
    process.execPath,
    ...program(venv, 300, `take(); console.log('held'); setInterval(() => {}, 1000)`),
  ]
  const [file = '', ...args] = command
  const child = spawn(file, args, { env: { PATH: path }, stdio: ['ignore', 'pipe', 'inherit'], detached: true })
  t.after(() => kill(child))
  await new Promise(resolve => child.stdout?.once('data', resolve))
  return child
}

/** With all that it started. */
async function kill(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return
  const ended = new Promise(resolve => child.once('exit', resolve))
  process.kill(-child.pid, 'SIGKILL')
  await ended
}

test('the lock of a dead process is taken over, and no file of it stays', t => {
  const { place, path } = makeVenv(t)
  const { pid } = spawnSync(process.execPath, ['-e', '0'])
  // as wheelfix 0.1 wrote it
  writeFileSync(path, `${pid}\n`)
  const lock = lockVenv(place)
  assert.ok(lock.waited, 'what was read before may have changed')
  assert.equal((JSON.parse(readFileSync(path, 'utf8')) as { pid: number }).pid, process.pid)
  assert.deepEqual(readdirSync(place.stateFolder), ['lock'])
  lock.release()
  assert.ok(!existsSync(path))
})

test('a lock that another run has taken over since stays when it is released', t => {
  const { place, path } = makeVenv(t)
  const lock = lockVenv(place)
  writeFileSync(`${path}.other`, 'of the other run')
  renameSync(`${path}.other`, path)
  lock.release()
  assert.equal(readFileSync(path, 'utf8'), 'of the other run')
})

test('a lock without a signature is not taken for a killed run’s while it is new', t => {
  const { place, path } = makeVenv(t)
  writeFileSync(path, '')
  const began = Date.now()
  lockVenv(place).release()
  assert.ok(Date.now() - began > 1000)
})

for (const [how, search] of PATHS) {
  const options = { skip: how === 'with flock' ? missing('flock') : false }

  test(`${how}: a living process keeps the lock, a killed one loses it`, options, async t => {
    const venv = makeVenv(t)
    const child = await holder(t, venv, search, [])
    for (const [, other] of PATHS)
      assert.match(
        outcomeFor(venv, other),
        new RegExp(
          `^process ${child.pid} is working on .*: run wheelfix again when it has ended; if there is no other run, remove`,
        ),
      )
    await kill(child)
    assert.equal(outcomeFor(venv, search, 5000), 'taken')
    assert.deepEqual(readdirSync(venv.place.stateFolder), [])
  })

  test(`${how}: a reused process number, or another boot of this machine, does not hold the lock`, options, t => {
    const venv = makeVenv(t)
    for (const other of [{ start: '1' }, { boot: 'another' }]) {
      writeFileSync(venv.path, `${JSON.stringify({ ...ownIdentity(), ...other, kernel: false })}\n`)
      assert.equal(outcomeFor(venv, search, 5000), 'taken')
    }
  })

  test(`${how}: a lock of another namespace or another machine is never taken over`, options, t => {
    const venv = makeVenv(t)
    const { pid } = spawnSync(process.execPath, ['-e', '0'])
    for (const other of [{ namespace: 'pid:[1]' }, { boot: 'another', host: 'another' }]) {
      writeFileSync(venv.path, `${JSON.stringify({ ...ownIdentity(), pid, ...other, kernel: false })}\n`)
      assert.match(outcomeFor(venv, search), /^process \d+ of another container or machine is working on/)
      assert.deepEqual(readdirSync(venv.place.stateFolder), ['lock'])
    }
  })

  test(`${how}: two pid namespaces, in each of which the holder is process 1 or a stranger`, options, async t => {
    const unshare = ['unshare', '-pf', '--mount-proc', '--kill-child']
    if (run('unshare', [...unshare.slice(1), 'true']).status !== 0) return t.skip(skip('needs pid namespaces'))
    const venv = makeVenv(t)
    const inside = run('which', ['unshare']).stdout.trim()
    const child = await holder(t, venv, search, [inside, ...unshare.slice(1)])
    const wanted = /^process 1 of another container or machine is working on/
    assert.match(outcomeFor(venv, search), wanted)
    // another namespace again, in which whoever wants it is process 1, too
    const body = `try { take().release(); console.log('taken') } catch (error) { console.log(error.message) }`
    const args = [...unshare.slice(1), process.execPath, ...program(venv, 300, body)]
    assert.match(run(inside, args, { env: { PATH: search } }).stdout, wanted)
    await kill(child)
    // the kernel knows that it is gone; without the kernel nobody does
    if (how === 'with flock') assert.equal(outcomeFor(venv, search, 5000), 'taken')
    else assert.match(outcomeFor(venv, search), wanted)
  })
}

test(
  'of many who want it at once, with flock and without, one has it at a time',
  { skip: missing('flock') },
  async t => {
    const venv = makeVenv(t)
    const counter = join(venv.place.root, 'counter')
    writeFileSync(counter, '0')
    const body = `for (let i = 0; i < 15; i++) {
  const lock = take()
  const count = Number(readFileSync(${JSON.stringify(counter)}, 'utf8'))
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2)
  writeFileSync(${JSON.stringify(counter)}, String(count + 1))
  lock.release()
}`
    const runs = Array.from({ length: 6 }, (_, i) => {
      const env = { PATH: PATHS[i % 2]?.[1] }
      const child = spawn(process.execPath, program(venv, 60_000, body), {
        env,
        stdio: ['ignore', 'ignore', 'inherit'],
      })
      return new Promise(resolve => child.once('exit', resolve))
    })
    assert.deepEqual(await Promise.all(runs), [0, 0, 0, 0, 0, 0])
    assert.equal(readFileSync(counter, 'utf8'), '90')
    assert.deepEqual(readdirSync(venv.place.stateFolder), [])
  },
)

// What we make of a daemon's answers, and of daemons that do not answer. A real one: roots.test.ts, scan-store.test.ts.
import assert from 'node:assert/strict'
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { askDaemon, startDaemonThread, type DaemonAnswers } from '../../src/nix/daemon/daemon.ts'
import { scratch } from './stores.ts'

const PATHS = ['/nix/store/00000000000000000000000000000000-a', '/nix/store/11111111111111111111111111111111-b']
const QUESTIONS = { valid: PATHS, addRoots: ['/venv/.wheelfix/roots/a', '/venv/.wheelfix/roots/b'] }
const NOTHING: DaemonAnswers = {
  valid: new Set(),
  described: new Map(),
  closure: new Set(),
  isWholeClosure: true,
  rootsAdded: 0,
  refusal: null,
}
const ANSWERS: DaemonAnswers = { ...NOTHING, valid: new Set(PATHS), rootsAdded: 2 }

interface FakeDaemon {
  readonly socket: string
  /** How many connections it has had. */
  readonly connections: () => Promise<number>
}

async function fakeDaemon(t: TestContext, mode: string): Promise<FakeDaemon> {
  const socket = join(scratch(t), 'socket')
  const child: ChildProcess = fork(join(import.meta.dirname, 'fake-daemon.js'), [socket, mode])
  let seen = 0
  child.on('message', count => {
    seen = Number(count)
  })
  t.after(() => child.kill())
  await once(child, 'message')
  return {
    socket,
    connections: async () => {
      await sleep(50)
      return seen
    },
  }
}

test('every question goes over one connection, which is begun beforehand', async t => {
  const { socket, connections } = await fakeDaemon(t, 'works')
  startDaemonThread(socket)
  while ((await connections()) === 0);
  assert.deepEqual(askDaemon(socket, QUESTIONS), ANSWERS)
  assert.deepEqual(askDaemon(socket, { addRoots: ['/x'] }), { ...NOTHING, rootsAdded: 1 })
  assert.equal(await connections(), 1)
})

for (const [mode, when] of [
  ['idle', 'before it is asked'],
  ['middle', 'in the middle of a question'],
] as const) {
  test(`a daemon that hangs up ${when} is called again`, async t => {
    const { socket, connections } = await fakeDaemon(t, mode)
    startDaemonThread(socket)
    while ((await connections()) === 0);
    await sleep(200)
    assert.deepEqual(askDaemon(socket, QUESTIONS), ANSWERS)
    assert.equal(await connections(), 2)
  })
}

test('a daemon that refuses a connection says why', async t => {
  const { socket } = await fakeDaemon(t, 'refuse')
  assert.deepEqual(askDaemon(socket, QUESTIONS), { ...NOTHING, refusal: 'no' })
})

test('a socket without a daemon gives no answer', async t => {
  const { socket } = await fakeDaemon(t, 'garbage')
  assert.equal(askDaemon(socket, QUESTIONS), null)
  assert.equal(askDaemon(join(tmpdir(), 'wheelfix-no-such-socket'), QUESTIONS), null)
})

test('a daemon that never answers is given up', async t => {
  const { socket } = await fakeDaemon(t, 'silent')
  assert.equal(askDaemon(socket, QUESTIONS), null)
})

for (const [mode, what] of [
  ['long', 'a string of a terabyte'],
  ['many', 'a list of a trillion items'],
  ['talk', 'messages without an end'],
] as const) {
  test(`${what} neither delays the run nor fills the memory`, async t => {
    const { socket } = await fakeDaemon(t, mode)
    const before = process.memoryUsage.rss()
    const began = Date.now()
    const answers = askDaemon(socket, { valid: PATHS })
    assert.deepEqual(answers?.valid ?? new Set(), new Set())
    assert.ok(Date.now() - began < 6000)
    assert.ok(process.memoryUsage.rss() - before < 300 << 20)
  })
}

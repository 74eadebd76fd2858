// The contract of the commands, as other programs rely on it: options, exit statuses, streams, JSON, and what bad input
// gets. In a world of its own, without a network and without a compiler.
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { closeSync, openSync } from 'node:fs'
import { after, suite, test } from 'node:test'
import { skip } from '../support/requires.ts'
import { installDemoWheel, makeVenv, WHEELFIX, wheelfix } from '../world/venv.ts'
import { buildWorld, type World } from '../world/world.ts'

suite('the contract of the commands', () => {
  const world = buildWorld()
  if (typeof world === 'string') test('holds', { skip: skip(world) })
  else {
    after(() => world.dispose())
    streams(world)
    usage(world)
  }
})

/** A venv with one wheel, whose objects lack libstdc++ and zlib. */
function demoVenv(world: World, name: string): string {
  const venv = makeVenv(world, name)
  installDemoWheel(world, venv)
  return venv
}

function streams(world: World): void {
  const venv = demoVenv(world, 'streams')

  test('--quiet says nothing when all is well, else where, what, and how much', () => {
    const pending = wheelfix(world, ['check', venv, '--quiet'])
    assert.equal(pending.status, 1)
    assert.match(pending.stdout, /\/streams\n\n.* to patch\n$/)
    const lacking = wheelfix(world, ['check', venv, '--quiet', '--no-scan'])
    assert.match(lacking.stdout, /\/streams\n\nMissing\n(.*\n)+\n.* missing\n$/)
    assert.deepEqual(wheelfix(world, ['venv', venv, '--quiet', '--dry-run']), { status: 0, stdout: '', stderr: '' })
  })

  test('colour goes to a terminal only, or where it is asked for', () => {
    const isColoured = (args: readonly string[], env: NodeJS.ProcessEnv = {}) =>
      wheelfix(world, ['check', venv, ...args], env).stdout.includes('\u001B[')
    assert.equal(isColoured([]), false)
    assert.equal(isColoured(['--color', 'auto']), false)
    assert.equal(isColoured(['--color=always']), true)
    assert.equal(isColoured([], { FORCE_COLOR: '1' }), true)
    assert.equal(isColoured([], { FORCE_COLOR: '1', NO_COLOR: '1' }), false)
    assert.equal(isColoured(['--color', 'never'], { FORCE_COLOR: '1' }), false)
  })

  test('a reader that leaves early changes no status and costs no stack trace', () => {
    const command = `{ "${process.execPath}" "${WHEELFIX}" check "${venv}" --json; echo $? >&2; } | true`
    const { stderr } = spawnSync('/bin/sh', ['-c', command], { env: world.env, encoding: 'utf8' })
    assert.equal(stderr, '1\n')
  })

  test('a report that cannot be written is said in a sentence and is no success', () => {
    const full = openSync('/dev/full', 'w')
    const args = [WHEELFIX, 'venv', venv, '--dry-run']
    const { status, stderr } = spawnSync(process.execPath, args, { env: world.env, stdio: ['ignore', full, 'pipe'] })
    closeSync(full)
    assert.equal(status, 1)
    assert.match(stderr.toString(), /^wheelfix: the report cannot be written: .*\n$/)
  })
}

function usage(world: World): void {
  test('wrong usage has status 2, and a document for who reads JSON', () => {
    for (const args of [['venv', '--bogus'], ['venv', 'a', 'b'], ['check', '--color', 'purple'], ['frobnicate']]) {
      assert.equal(wheelfix(world, args).status, 2)
      const { status, stdout } = wheelfix(world, [...args, '--json'])
      assert.equal(status, 2)
      const { schema, error } = JSON.parse(stdout)
      assert.equal(schema, 'wheelfix/1')
      assert.equal(error.code, 'USAGE')
      assert.doesNotMatch(error.message, /^error/)
    }
  })
}

// `libs build --missing` with a real Nix, killed at any change of the file system and at any start of Nix (which then goes on by
// itself): the next run builds what is still missing and patches the environment, and nothing is written outside of it. A slice
// here; `npm run survive` kills at every third step.
import assert from 'node:assert/strict'
import { cpSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import { loads, lock, pinned } from '../nix/pinned.ts'
import { missing } from '../support/requires.ts'
import { treeContent, treeDifferences } from '../support/tree.ts'
import { wheelfix } from '../world/venv.ts'
import { pythonStarts, stateNames, venvFiles } from './template.ts'

const DISTURB = join(import.meta.dirname, '../../../test/support/disturb.cjs')
const STEP = process.env['WHEELFIX_SURVIVE'] === 'all' ? 3 : 29

suite('libs build, killed and run again', { skip: missing('nix', 'nix-build', 'gcc', 'bash') }, () => {
  test('--missing', t => {
    const pin = pinned(t, ['libX11.so.6', 'libstdc++.so.6'])
    if (pin === null) return
    const { world, venv, env } = pin
    lock(pin, 'flake.lock')
    const pristine = join(world.root, 'pristine')
    const copy = { recursive: true, verbatimSymlinks: true, preserveTimestamps: true }
    cpSync(venv, pristine, copy)
    const original = venvFiles(venv)
    const prepare = (): void => {
      rmSync(venv, { recursive: true, force: true })
      cpSync(pristine, venv, copy)
    }
    const build = (more: NodeJS.ProcessEnv = {}) =>
      wheelfix(world, ['libs', 'build', '--missing', '--no-scan', venv], { ...env, ...more })
    // what Nix keeps in the home folder is its own
    const outside = () =>
      new Map([...treeContent(world.root)].filter(([name]) => !/^(?:\.venv|\.cache|\.local|log$)/.test(name)))
    const disturbed = { NODE_OPTIONS: `--require ${DISTURB}`, DISTURB_SPAWN: '1' }
    const log = join(world.root, 'log')
    const around = outside()
    const whole = build({ ...disturbed, DISTURB_AT: '0', DISTURB_LOG: log })
    assert.equal(whole.status, 0, whole.stdout + whole.stderr)
    assert.ok(loads(pin))
    const steps = Number(readFileSync(log, 'utf8').split('\n')[0])
    const done = { files: venvFiles(venv), names: stateNames(venv) }
    let kills = 0
    for (let at = 1; at <= steps; at += Math.min(STEP, Math.ceil(steps / 3))) {
      prepare()
      const killed = build({ ...disturbed, DISTURB_AT: String(at), DISTURB_BY: 'kill' })
      const when = `after step ${at} of ${steps}`
      if (killed.status === 0) continue
      assert.equal(killed.status, 128, `${when}: ${killed.stderr}`)
      kills++
      assert.ok(pythonStarts(world, venv), when)
      const again = build()
      assert.equal(again.status, 0, `${when}: ${again.stdout}${again.stderr}`)
      assert.ok(loads(pin), `the environment was not patched ${when}: ${again.stdout}${again.stderr}`)
      assert.deepEqual(treeDifferences(venvFiles(venv), done.files), [], when)
      assert.deepEqual(stateNames(venv), done.names, when)
      assert.match(wheelfix(world, ['check', '--no-scan', venv], env).stdout, /nothing to do/, when)
      assert.equal(wheelfix(world, ['restore', venv], env).status, 0, when)
      assert.deepEqual(treeDifferences(venvFiles(venv), original), [], `restored ${when}`)
      assert.deepEqual(treeDifferences(outside(), around), [], `written outside ${when}`)
    }
    assert.ok(kills > 0)
    t.diagnostic(`libs build --missing: ${steps} steps, killed at ${kills}, 0 lost, 0 writes outside`)
  })
})

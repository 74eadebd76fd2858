// Environments whose files are links to an installer's cache: killed at any change of the file system, nothing is ever written
// to the cache, the next run completes the work, and a restore gives each link back. A slice of three cases here; `npm run
// survive` kills at every sixth change of all.
import assert from 'node:assert/strict'
import { cpSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { after, suite, test } from 'node:test'
import { treeDifferences, treeState } from '../support/tree.ts'
import { sitePackages, wheelfix } from '../world/venv.ts'
import type { World } from '../world/world.ts'
import { makeTemplate, pythonStarts, stateNames, venvFiles, whatWorks, withCompiledWorld } from './template.ts'

const DISTURB = join(import.meta.dirname, '../../../test/support/disturb.cjs')
const WHOLE = process.env['WHEELFIX_SURVIVE'] === 'all'
const STEP = WHOLE ? 6 : 41

type Command = readonly string[]

const CASES: readonly { readonly before: readonly Command[]; readonly command: Command }[] = [
  { before: [], command: ['venv'] },
  { before: [['venv']], command: ['restore'] },
  { before: [['venv']], command: ['loader'] },
  { before: [], command: ['venv', '--strategy', 'both'] },
  { before: [], command: ['loader'] },
  { before: [['venv']], command: ['venv', '--rehash'] },
]

withCompiledWorld('kills with links', theSuite)

function theSuite(world: World): void {
  suite('links to a cache, killed and run again', () => {
    after(() => world.dispose())
    const template = makeTemplate(world)
    const venv = join(world.root, 'venv')
    const cache = join(world.root, 'cache-of-uv')
    const copy = { recursive: true, verbatimSymlinks: true, preserveTimestamps: true }
    // the modules are links with absolute targets, as uv makes them, and one is relative; the tool is a link as in pdm's cache
    const site = sitePackages(world, template)
    mkdirSync(cache)
    for (const [index, name] of readdirSync(site)
      .filter(name => name.endsWith('.so'))
      .entries()) {
      renameSync(join(site, name), join(cache, name))
      symlinkSync(index === 0 ? `../../../../cache-of-uv/${name}` : join(cache, name), join(site, name))
    }
    const original = venvFiles(template)
    assert.ok([...original.values()].some(is => is.startsWith('link to ../../../../cache-of-uv/')))
    const outside = treeState(cache)
    const fix = ([name = '', ...options]: Command, env: NodeJS.ProcessEnv = {}) => {
      const libs = name === 'restore' || name === 'check' ? [] : ['--libs', `${world.libs.gcc}:${world.libs.zlib}`]
      return wheelfix(world, [name, venv, ...options, ...libs], env)
    }
    const prepare = (before: readonly Command[]): void => {
      rmSync(venv, { recursive: true, force: true })
      cpSync(template, venv, copy)
      for (const command of before) assert.equal(fix(command).status, 0)
    }

    for (const [index, { before, command }] of CASES.slice(0, WHOLE ? undefined : 3).entries()) {
      const name = [...before, command].map(words => words.join(' ')).join(', then ')
      test(name, t => {
        prepare(before)
        const worked = whatWorks(world, venv)
        const log = join(world.root, `log${index}`)
        const disturbed = { NODE_OPTIONS: `--require ${DISTURB}` }
        const ended = fix(command, { ...disturbed, DISTURB_AT: '0', DISTURB_LOG: log })
        assert.equal(ended.status, 0, ended.stdout + ended.stderr)
        const changes = Number(readFileSync(log, 'utf8'))
        const done = { files: venvFiles(venv), names: stateNames(venv), works: whatWorks(world, venv) }
        let kills = 0
        const step = Math.min(STEP, Math.ceil(changes / 2))
        for (let at = (index % step) + 1; at <= changes; at += step) {
          prepare(before)
          const killed = fix(command, { ...disturbed, DISTURB_AT: String(at), DISTURB_BY: 'kill' })
          if (killed.status === 0) continue
          assert.equal(killed.status, 128, `change ${at}`)
          kills++
          const when = `after change ${at} of ${changes}`
          assert.deepEqual(treeDifferences(treeState(cache), outside), [], `the cache was written ${when}`)
          assert.ok(pythonStarts(world, venv), `Python does not start ${when}`)
          const works = whatWorks(world, venv)
          for (const what of ['modules', 'tool'] as const) {
            assert.ok(works[what] || !worked[what] || !done.works[what], `${what} no longer work ${when}`)
          }
          // at every third kill the user takes it back, and does not run it again
          if (kills % 3 !== 0) {
            const again = fix(command)
            assert.equal(again.status, 0, `${when}: ${again.stdout}${again.stderr}`)
            assert.deepEqual(treeDifferences(venvFiles(venv), done.files), [], when)
            assert.deepEqual(stateNames(venv), done.names, when)
            assert.deepEqual(whatWorks(world, venv), done.works, when)
          }
          const back = fix(['restore'])
          assert.equal(back.status, 0, `restored ${when}: ${back.stdout}${back.stderr}`)
          assert.deepEqual(treeDifferences(venvFiles(venv), original), [], `restored ${when}`)
          assert.deepEqual(treeDifferences(treeState(cache), outside), [], `the cache was written by restore ${when}`)
        }
        assert.ok(kills > 0)
        t.diagnostic(`${name}: ${changes} changes, killed at ${kills}, 0 lost, 0 writes to the cache`)
      })
    }
  })
}

// Another program installs or replaces an object while wheelfix writes: the next run sees it, whenever and wherever that was.
// A slice here; `npm run survive` does it at every fifth change.
import assert from 'node:assert/strict'
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { after, suite, test } from 'node:test'
import { sitePackages, wheelfix } from '../world/venv.ts'
import type { World } from '../world/world.ts'
import { copyTemplate, makeTemplate, withCompiledWorld } from './template.ts'

const DISTURB = join(import.meta.dirname, '../../../test/support/disturb.cjs')
const STEP = process.env['WHEELFIX_SURVIVE'] === 'all' ? 5 : 37

withCompiledWorld('during a run', theSuite)

function theSuite(world: World): void {
  suite('another program installs something during the run', () => {
    after(() => world.dispose())
    const template = makeTemplate(world)
    const templateSite = sitePackages(world, template)
    const small = readdirSync(templateSite).find(name => name.startsWith('small.')) ?? ''
    // folders with and without an object that is patched
    for (const [folder, object] of [
      ['trio', small],
      ['trio.libs', 'libtrio.so'],
      ['plain', null],
    ] as const) {
      mkdirSync(join(templateSite, folder))
      if (object !== null) cpSync(join(templateSite, small), join(templateSite, folder, object))
    }
    const venv = join(world.root, 'venv')
    const site = sitePackages(world, venv)
    const libs = ['--libs', `${world.libs.gcc}:${world.libs.zlib}`]
    const fix = (args: readonly string[], env: NodeJS.ProcessEnv = {}) =>
      wheelfix(world, [args[0] ?? '', venv, ...args.slice(1), ...libs], env)
    const prepare = (): void => {
      rmSync(venv, { recursive: true, force: true })
      copyTemplate(world, template, venv)
    }
    const NEWCOMER = 'newcomer.so'
    const places = {
      'a new object in site-packages': join(site, NEWCOMER),
      'a new object in a package': join(site, 'trio', NEWCOMER),
      'a new object beside the libraries of a wheel': join(site, 'trio.libs', NEWCOMER),
      'a new object in a folder that had none': join(site, 'plain', NEWCOMER),
      'a new object in dist-info': join(site, 'trio-1.0.dist-info', NEWCOMER),
      'a new object in bin': join(venv, 'bin', NEWCOMER),
      'an object that is written again': join(site, small),
      'another object that is written again': join(site, 'trio', small),
    }

    for (const [index, [name, place]] of Object.entries(places).entries()) {
      for (const command of ['venv', 'loader']) {
        test(`${name}, ${command}`, t => {
          const log = join(world.root, `log-${command}-${index}`)
          prepare()
          fix([command], { NODE_OPTIONS: `--require ${DISTURB}`, DISTURB_AT: '0', DISTURB_LOG: log })
          const changes = Number(readFileSync(log, 'utf8'))
          let installed = 0
          for (let at = (index % STEP) + 1; at <= changes; at += STEP) {
            prepare()
            fix([command], {
              NODE_OPTIONS: `--require ${DISTURB}`,
              DISTURB_AT: String(at),
              DISTURB_BY: 'install',
              DISTURB_FROM: join(templateSite, small),
              DISTURB_TO: place,
            })
            installed++
            const again = fix([command])
            assert.equal(again.status, 0, again.stdout + again.stderr)
            const { status, stdout } = fix(['check', '--json'])
            assert.equal(status, 0, `installed before change ${at}, the next run did not see it: ${stdout}`)
          }
          t.diagnostic(`${name}, ${command}: ${changes} changes, installed at ${installed}, 0 not seen`)
        })
      }
    }

    test('an undisturbed run is remembered: the next one reads no object', () => {
      for (const command of ['venv', 'loader']) {
        prepare()
        assert.equal(fix([command]).status, 0)
        const state = join(venv, '.wheelfix/state.json')
        assert.ok(JSON.parse(readFileSync(state, 'utf8')), command)
      }
    })
  })
}

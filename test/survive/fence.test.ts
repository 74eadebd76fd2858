// Another user who may write to a folder of the venv swaps a folder in it for a link that leads out, at any moment of a run
// by root. Nothing outside changes. Here the run itself does the swap before its Nth use of a path, so that each moment is
// tried. A slice here; `npm run survive` tries more moments. (together.test.ts does it with a real other user, at random.)
import assert from 'node:assert/strict'
import {
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  symlinkSync,
} from 'node:fs'
import { join } from 'node:path'
import { after, suite, test } from 'node:test'
import { sitePackages, wheelfix } from '../world/venv.ts'
import type { World } from '../world/world.ts'
import { copyTemplate, makeTemplate, venvFiles, withCompiledWorld } from './template.ts'

const SWAP = join(import.meta.dirname, '../../../test/support/swap.cjs')
const MOMENTS = process.env['WHEELFIX_SURVIVE'] === 'all' ? 24 : 2

withCompiledWorld('a folder becomes a link', theSuite)

function theSuite(world: World): void {
  suite('a folder of the venv becomes a link that leads out during the run', () => {
    after(() => world.dispose())
    const template = makeTemplate(world)
    const venv = join(world.root, 'venv')
    const site = sitePackages(world, venv)
    const small = readdirSync(sitePackages(world, template)).find(name => name.startsWith('small.')) ?? ''
    const inner = join(sitePackages(world, template), 'shared/inner')
    mkdirSync(inner, { recursive: true })
    cpSync(join(sitePackages(world, template), small), join(inner, 'a.so'))
    const victims = join(world.root, 'victims')
    const libs = ['--libs', `${world.libs.gcc}:${world.libs.zlib}`]
    const fix = (args: readonly string[], env: NodeJS.ProcessEnv = {}) =>
      wheelfix(world, [args[0] ?? '', venv, ...args.slice(1), ...(args[0] === 'restore' ? [] : libs)], env)

    const runs = {
      venv: { before: [], args: ['venv'] },
      loader: { before: [], args: ['loader'] },
      'a restore of both': { before: [['venv'], ['loader']], args: ['restore'] },
      'away from the private loader': { before: [['loader']], args: ['venv', '--strategy', 'rpath'] },
    } as const
    const folders = {
      'of a package': join(site, 'shared/inner'),
      'above it': join(site, 'shared'),
      'of RECORD': join(site, 'trio-1.0.dist-info'),
      'site-packages': site,
      bin: join(venv, 'bin'),
      '.wheelfix': join(venv, '.wheelfix'),
      '.wheelfix/loader': join(venv, '.wheelfix/loader'),
    }

    const outside = join(world.root, 'outside')
    /** Moves a folder of a new venv out of it, and puts a link in its place. */
    const moveOut = (folder: string): void => {
      for (const path of [venv, outside]) rmSync(path, { recursive: true, force: true })
      copyTemplate(world, template, venv)
      renameSync(folder, outside)
      symlinkSync(outside, folder)
    }

    test('a .dist-info folder that was a link before: it keeps its hashes, and the rest is patched and restored', () => {
      moveOut(folders['of RECORD'])
      const [was, original] = [stateOf(outside), venvFiles(venv)]
      for (const command of ['venv', 'check', 'loader', 'check', 'venv', 'restore']) {
        const { status, stdout, stderr } = fix([command])
        assert.equal(status, 0, command + stdout + stderr)
        assert.deepEqual(stateOf(outside), was, command)
      }
      assert.deepEqual(venvFiles(venv), original)
    })

    test('a bin folder that was a link before: venv patches the rest, and loader refuses', () => {
      moveOut(folders.bin)
      const was = stateOf(outside)
      assert.equal(fix(['venv']).status, 0)
      const { status, stderr } = fix(['loader'])
      assert.equal(status, 2, stderr)
      assert.match(stderr.replaceAll(/\s+/g, ' '), /bin leads out of .*: replace the link with a folder/)
      assert.equal(fix(['restore']).status, 0)
      assert.deepEqual(stateOf(outside), was)
    })

    for (const [run, { before, args }] of Object.entries(runs)) {
      const prepare = (): void => {
        rmSync(venv, { recursive: true, force: true })
        copyTemplate(world, template, venv)
        for (const earlier of before) assert.equal(fix(earlier).status, 0)
      }
      for (const [index, [what, folder]] of Object.entries(folders).entries()) {
        test(`${run}: the folder ${what}`, t => {
          const log = join(world.root, `log-${run}-${index}`)
          prepare()
          const env = { NODE_OPTIONS: `--require ${SWAP}`, SWAP_ROOT: venv, SWAP_FOLDER: folder, SWAP_TO: victims }
          fix(args, { ...env, SWAP_AT: '0', SWAP_BACK: '0', SWAP_LOG: log })
          const uses = Number(readFileSync(log, 'utf8'))
          const step = Math.max(1, Math.floor(uses / MOMENTS))
          let swaps = 0
          for (let at = 1 + ((index * 7) % step); at <= uses; at += step) {
            prepare()
            rmSync(victims, { recursive: true, force: true })
            if (existsSync(folder)) cpSync(folder, victims, { recursive: true, verbatimSymlinks: true })
            else mkdirSync(victims)
            const was = stateOf(victims)
            // every other time the folder is soon back in its place
            const back = swaps++ % 2 === 0 ? 0 : 1 + (at % 5)
            const { status, stdout, stderr } = fix(args, { ...env, SWAP_AT: String(at), SWAP_BACK: String(back) })
            assert.deepEqual(stateOf(victims), was, `a file outside changed; swapped at ${at} of ${uses}, for ${back}`)
            assert.ok([0, 1, 2].includes(status), stdout + stderr)
            assert.doesNotMatch(stdout + stderr, /\n\s+at |this is a bug|\/proc\/self/)
          }
          t.diagnostic(
            `${run}, the folder ${what}: ${uses} uses of a path, swapped at ${swaps}, 0 files outside changed`,
          )
        })
      }
    }
  })
}

/** All that a write could change. */
function stateOf(folder: string): unknown[] {
  return readdirSync(folder)
    .sort()
    .flatMap((name): unknown[] => {
      const path = join(folder, name)
      const { mode, uid, gid, size, mtimeMs, ino, nlink } = lstatSync(path)
      const status = [path, mode, uid, gid, ino, nlink]
      if ((mode & 0o170000) === 0o040000) return [status, ...stateOf(path)]
      const content = (mode & 0o170000) === 0o120000 ? readlinkSync(path) : readFileSync(path).toString('base64')
      return [[...status, size, mtimeMs, content]]
    })
}

// Others work on the venv while wheelfix does: pip and uv install a package again and again, several runs of wheelfix want
// the same venv, and another user swaps files in a folder that they may write to. A slice here; `npm run survive` takes longer.
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  chmodSync,
  chownSync,
  cpSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
} from 'node:fs'
import { join } from 'node:path'
import { after, suite, test } from 'node:test'
import { inapplicable, missing } from '../support/requires.ts'
import { run, runWell } from '../support/run.ts'
import { treeContent } from '../support/tree.ts'
import { installDemoWheel, makeVenv, sitePackages, WHEELFIX, wheelfix } from '../world/venv.ts'
import type { World } from '../world/world.ts'
import { installersFor } from './installers.ts'
import { copyTemplate, makeTemplate, stateNames, venvFiles, whatWorks, withCompiledWorld } from './template.ts'

const ALL = process.env['WHEELFIX_SURVIVE'] === 'all'
const NOBODY = 65534

withCompiledWorld('others at the same time', theSuite)

function theSuite(world: World): void {
  suite('others at the same time', () => {
    after(() => world.dispose())
    const template = makeTemplate(world)
    const venv = join(world.root, 'venv')
    const libs = ['--libs', `${world.libs.gcc}:${world.libs.zlib}`]
    const argsOf = (command: string): string[] => [command, venv, ...(command === 'restore' ? [] : libs)]
    const fix = (command: string) => wheelfix(world, argsOf(command))
    /** Starts a program and resolves to its status and output. */
    const start = async (program: string, args: readonly string[], env: NodeJS.ProcessEnv) => {
      const child = spawn(program, args, { env, cwd: world.root })
      const output: string[] = []
      child.stdout.on('data', text => output.push(String(text)))
      child.stderr.on('data', text => output.push(String(text)))
      await once(child, 'close')
      return { status: child.exitCode ?? 128, output: output.join('') }
    }
    const assertClear = ({ status, output }: { readonly status: number; readonly output: string }): void => {
      assert.ok([0, 1, 2].includes(status), output)
      assert.doesNotMatch(output, /\n\s+at |this is a bug/, output)
    }

    installersTests()

    test('several runs of wheelfix', async t => {
      const commands = ['venv', 'loader', 'check', 'restore', 'venv', 'doctor']
      let runs = 0
      for (let round = 0; round < (ALL ? 12 : 2); round++) {
        rmSync(venv, { recursive: true, force: true })
        copyTemplate(world, template, venv)
        const original = venvFiles(venv)
        const env = { ...world.env }
        const results = await Promise.all(
          commands.map(command => start(process.execPath, [WHEELFIX, ...argsOf(command)], env)),
        )
        runs += commands.length
        for (const result of results) assertClear(result)
        const { status, stdout, stderr } = fix('venv')
        assert.equal(status, 0, stdout + stderr)
        assert.deepEqual(whatWorks(world, venv), { modules: true, tool: true })
        assert.equal(fix('restore').status, 0)
        assert.deepEqual(venvFiles(venv), original)
        assert.deepEqual(stateNames(venv), [])
      }
      t.diagnostic(`${runs} runs, ${commands.length} at a time, 0 lost`)
    })

    const swaps = {
      'a temporary file for a link': 'temporary',
      'the object for a link': 'object',
      'the folder for a link': 'folder',
    } as const
    for (const [what, kind] of Object.entries(swaps)) {
      const reason =
        process.getuid?.() === 0 ? missing('setpriv') : inapplicable('only root can be another user beside itself')
      test(`another user swaps ${what}`, { skip: reason }, async t => {
        const site = sitePackages(world, venv)
        const attack = join(world.root, 'swap')
        runWell('g++', ['-O1', '-o', attack, join(import.meta.dirname, '../../../test/support/swap.cc')])
        const shared = join(site, 'shared')
        const victims = join(world.root, 'victims')
        const twin = join(world.root, 'twin')
        let swapped = 0
        const rounds = ALL ? 10 : 2
        for (let round = 0; round < rounds; round++) {
          rmSync(venv, { recursive: true, force: true })
          copyTemplate(world, template, venv)
          const small = readdirSync(site).find(name => name.startsWith('small.')) ?? ''
          // the folder that the other user may write to, and what wheelfix must not touch: an object that would need a patch
          mkdirSync(join(shared, 'inner'), { recursive: true })
          cpSync(join(site, small), join(shared, 'inner', 'a.so'))
          // a file with a second link outside is replaced, so a temporary file stands beside it for a while
          rmSync(twin, { force: true })
          linkSync(join(shared, 'inner', 'a.so'), twin)
          rmSync(victims, { recursive: true, force: true })
          mkdirSync(victims)
          cpSync(join(site, small), join(victims, 'a.so'))
          const place = kind === 'folder' ? shared : join(shared, 'inner')
          for (const path of [place, join(shared, 'inner')]) {
            chownSync(path, NOBODY, NOBODY)
            chmodSync(path, 0o777)
          }
          chmodSync(world.root, 0o755)
          const before = stateOf(victims)
          const swapper = spawn('setpriv', [
            '--reuid',
            String(NOBODY),
            '--regid',
            String(NOBODY),
            '--clear-groups',
            attack,
            kind,
            place,
            victims,
          ])
          for (const command of ['venv', 'restore', 'loader', 'restore']) {
            assertClear(await start(process.execPath, [WHEELFIX, ...argsOf(command), '--as-root'], { ...world.env }))
          }
          swapped += await countOf(swapper)
          assert.deepEqual(stateOf(victims), before, `${what} was swapped, and a file outside changed`)
        }
        // a temporary file is there for a moment only, so a few rounds may pass without a swap
        if (kind !== 'temporary' || ALL) assert.ok(swapped > 0, 'nothing was swapped')
        t.diagnostic(`${what}: 4 runs, ${rounds} times, swapped ${swapped} times, 0 files outside changed`)
      })
    }

    function installersTests(): void {
      const { installers, env, cache } = installersFor(world, venv)
      for (const { name, command, lacks } of installers) {
        const [program, ...args] = command
        test(`${name} installs in a loop`, { skip: lacks }, async t => {
          rmSync(venv, { recursive: true, force: true })
          makeVenv(world, 'venv')
          installDemoWheel(world, venv)
          runWell(program, args, { env })
          const unpacked = objectsIn(cache)
          const others = new AbortController()
          let runs = 0
          const loop = (async () => {
            for (; !others.signal.aborted; runs++) {
              assertClear(await start(process.execPath, [WHEELFIX, ...argsOf('venv')], { ...world.env }))
            }
          })()
          const installs = ALL ? 25 : 4
          for (let time = 0; time < installs; time++) {
            const { status, output } = await start(program, args, env)
            assert.equal(status, 0, output)
          }
          others.abort()
          await loop
          const last = fix('venv')
          assert.equal(last.status, 0, last.stdout + last.stderr)
          assert.equal(fix('check').status, 0)
          const use = run(join(venv, 'bin/python'), ['-c', 'import wheelfix_demo'], { env: world.env })
          assert.equal(use.status, 0, use.stderr)
          assert.deepEqual(objectsIn(cache), unpacked, 'a file in the cache of uv changed')
          assert.equal(fix('restore').status, 0)
          const patched = venvFiles(venv)
          runWell(program, args, { env })
          assert.deepEqual(venvFiles(venv), patched, 'restore gives what the installer gives')
          t.diagnostic(`${name}: ${installs} installs during ${runs} runs, 0 lost`)
        })
      }
    }
  })
}

function objectsIn(folder: string): Map<string, string> {
  try {
    return new Map([...treeContent(folder)].filter(([name]) => name.endsWith('.so')))
  } catch {
    // pip has no cache here
    return new Map()
  }
}

/** Content, mode and owner of what wheelfix must not touch. */
function stateOf(folder: string): unknown[] {
  return readdirSync(folder).map(name => {
    const path = join(folder, name)
    const { mode, uid, gid, size } = lstatSync(path)
    return [name, mode, uid, gid, size, readFileSync(path).toString('base64')]
  })
}

/** Ends a swapper, which then prints how often it swapped. */
async function countOf(swapper: ChildProcess): Promise<number> {
  let output = ''
  swapper.stdout?.on('data', text => (output += String(text)))
  const closed = once(swapper, 'close')
  swapper.kill('SIGTERM')
  await closed
  return Number(output)
}

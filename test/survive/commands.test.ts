// The commands besides `venv`, `loader` and `restore`, killed or ended by a signal at changes of the file system: the next
// run of the same command completes the work, what the command takes back is as before, and nothing of ours is left over. A
// slice here; `npm run survive` takes more changes.
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { copyFileSync, cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, utimesSync } from 'node:fs'
import { basename, join } from 'node:path'
import { after, suite, test } from 'node:test'
import { run } from '../support/run.ts'
import { treeContent } from '../support/tree.ts'
import { makeStandalonePython } from '../world/standalone.ts'
import { sitePackages, WHEELFIX, wheelfix } from '../world/venv.ts'
import type { World } from '../world/world.ts'
import { makeTemplate, withCompiledWorld } from './template.ts'

const DISTURB = join(import.meta.dirname, '../../../test/support/disturb.cjs')
const DEMO_WHEEL = join(import.meta.dirname, '../../../fixtures/demo-wheel')
const STEP = process.env['WHEELFIX_SURVIVE'] === 'all' ? 3 : 31

/** One command over a folder. */
interface Case {
  readonly name: string
  /** The folder that is compared. */
  readonly root: string
  readonly prepare: () => void
  readonly command: readonly string[]
  /** The command that takes it back; null: there is none. */
  readonly back: readonly string[] | null
  /** What works after the command, and at every moment if it worked before. */
  readonly works?: () => boolean
}

withCompiledWorld('kills of other commands', theSuite)

function theSuite(world: World): void {
  suite('other commands, killed and run again', () => {
    after(() => world.dispose())
    const template = makeTemplate(world)
    const root = join(world.root, 'subject')
    const home = join(world.root, 'home')
    const env = {
      WHEELFIX_LIBS: `${world.libs.gcc}:${world.libs.zlib}`,
      XDG_STATE_HOME: join(home, '.local/state'),
      HOME: home,
    }
    const fix = (args: readonly string[], more: NodeJS.ProcessEnv = {}) => wheelfix(world, args, { ...env, ...more })
    const well = (args: readonly string[], when: string): void => {
      const { status, stdout, stderr } = fix(args)
      assert.equal(status, 0, `${args.join(' ')} ${when}: ${stdout}${stderr}`)
    }
    const files = (folder: string) =>
      new Map([...treeContent(folder)].filter(([name]) => !/(?:^|\/)\.wheelfix(?:\/|$)/.test(name)))
    const leftovers = (folder: string): string[] =>
      [folder, home, join(world.root, 'nix/var')]
        .flatMap(path =>
          existsSync(path)
            ? readdirSync(path, { recursive: true, encoding: 'utf8' }).map(name => join(path, name))
            : [],
        )
        .filter(name => /wheelfix-tmp|\.tmp\d|(?:^|\/)lock(?:\.\d+)?$|(?:^|\/)journal$/.test(name))
    const fresh = (from: string, to: string) => (): void => {
      for (const path of [root, home]) rmSync(path, { recursive: true, force: true })
      mkdirSync(home, { recursive: true })
      cpSync(from, to, { recursive: true, verbatimSymlinks: true, preserveTimestamps: true })
    }
    const starts = (program: string): boolean =>
      existsSync(program) && run(program, ['-c', 'import math'], { env: world.env }).status === 0

    const tool = join(root, '.local/share/uv/tools/trio')
    const standalone = join(world.root, 'standalone')
    makeStandalonePython(world.host, standalone)
    const python = join(root, 'bin/python3')
    const wheelName = readdirSync(DEMO_WHEEL).find(name => name.endsWith('.whl')) ?? ''
    const wheelhouse = join(world.root, 'wheelhouse')
    mkdirSync(wheelhouse)
    copyFileSync(join(DEMO_WHEEL, wheelName), join(wheelhouse, wheelName))
    const wheel = join(root, wheelName)
    const elfTool = join(root, 'bin/tool')
    const made = () => well(['python', '--make', root, '--from', world.python], 'before')
    const makePrefix = (): void => {
      for (const path of [root, home]) rmSync(path, { recursive: true, force: true })
      made()
    }
    const libc = ['--libc', world.libs.glibc]

    const cases: readonly Case[] = [
      {
        name: 'path',
        root,
        prepare: fresh(sitePackages(world, template), root),
        command: ['path', root, '--python', world.python],
        back: ['restore', root],
      },
      {
        name: 'all',
        root,
        prepare: fresh(template, tool),
        command: ['all', '--only', 'uv'],
        back: ['all', '--only', 'uv', '--restore'],
      },
      {
        name: 'run',
        root,
        prepare: fresh(template, root),
        command: ['run', join(root, 'bin/python'), '-c', ''],
        back: ['restore', root],
      },
      {
        name: 'python --make',
        root,
        prepare: () => {
          for (const path of [root, home]) rmSync(path, { recursive: true, force: true })
        },
        command: ['python', '--make', root, '--from', world.python],
        back: ['python', '--restore', root],
      },
      {
        name: 'python --make --update',
        root,
        prepare: makePrefix,
        command: ['python', '--make', root, '--update', '--from', world.python, '--libs', world.libs.glibc],
        back: null,
        works: () => starts(python),
      },
      {
        name: 'python --restore of a made prefix',
        root,
        prepare: makePrefix,
        command: ['python', '--restore', root],
        back: null,
      },
      {
        name: 'python',
        root,
        prepare: fresh(standalone, root),
        command: ['python', root, ...libc],
        back: ['python', '--restore', root],
        works: () => starts(python),
      },
      {
        name: 'python --loader',
        root,
        prepare: fresh(standalone, root),
        command: ['python', '--loader', root, ...libc],
        back: ['python', '--restore', root],
        works: () => starts(python),
      },
      {
        name: 'wheel -o',
        root,
        prepare: fresh(wheelhouse, root),
        command: ['wheel', wheel, '-o', join(root, 'out'), '--python', world.python],
        back: null,
      },
      {
        name: 'wheel --in-place',
        root,
        prepare: fresh(wheelhouse, root),
        command: ['wheel', wheel, '--in-place', '--python', world.python],
        back: null,
      },
      {
        name: 'elf of a program',
        root,
        prepare: fresh(template, root),
        command: ['elf', '--set-interpreter', '/lib64/ld.so', elfTool],
        back: ['elf', '--restore', elfTool],
      },
    ]

    for (const [index, { name, root: folder, prepare, command, back, works = () => false }] of cases.entries()) {
      test(name, t => {
        const all = { ...env, ...(name === 'all' ? { HOME: root } : {}), NODE_OPTIONS: `--require ${DISTURB}` }
        const again = (args: readonly string[], when: string): void => {
          const { status, stdout, stderr } = fix(args, name === 'all' ? { HOME: root } : {})
          assert.equal(status, 0, `${args.join(' ')} ${when}: ${stdout}${stderr}`)
        }
        const log = join(world.root, `log${index}`)
        prepare()
        const before = existsSync(folder) ? files(folder) : new Map()
        const worked = works()
        const { status, stdout, stderr } = fix(command, { ...all, DISTURB_AT: '0', DISTURB_LOG: log })
        assert.equal(status, 0, stdout + stderr)
        const changes = Number(readFileSync(log, 'utf8').split('\n')[0])
        const done = existsSync(folder) ? files(folder) : new Map()
        const step = Math.min(STEP, Math.ceil(changes / 2))
        const counts = { kill: 0, SIGTERM: 0, told: 0 }
        for (const by of ['kill', 'SIGTERM'] as const) {
          for (let at = (index % step) + 1; at <= changes; at += by === 'kill' ? step : 2 * step) {
            prepare()
            const ended = spawnSync(process.execPath, [WHEELFIX, ...command], {
              env: { ...world.env, ...all, DISTURB_AT: String(at), DISTURB_BY: by },
              cwd: world.root,
              encoding: 'utf8',
            })
            const when = `${by} at change ${at} of ${changes}: ${ended.stdout}${ended.stderr}`
            // a first run of Node has more to do, because it keeps what it compiled
            if (ended.status === 0) continue
            assert.equal(ended.signal, by === 'kill' ? 'SIGKILL' : by, `${when} status ${ended.status}`)
            assert.doesNotMatch(ended.stderr, /\n\s+at /, when)
            counts[by]++
            if (ended.stderr.includes('interrupted by')) counts.told++
            // the last step was done
            if (done.size === 0 && !existsSync(folder)) continue
            assert.ok(!worked || done.size === 0 || works(), `it no longer works: ${when}`)
            // `elf` takes no lock: only its old temporary files are nobody's
            if (command[0] === 'elf') for (const path of leftovers(folder)) utimesSync(path, 0, 0)
            again(command, when)
            assert.deepEqual(existsSync(folder) ? files(folder) : new Map(), done, when)
            assert.deepEqual(leftovers(folder), [], when)
            if (back === null) continue
            again(back, when)
            assert.deepEqual(existsSync(folder) ? files(folder) : new Map(), before, `taken back: ${when}`)
            assert.deepEqual(leftovers(folder), [], when)
          }
        }
        assert.ok(counts.kill > 0)
        t.diagnostic(
          `${name}: ${changes} changes, killed at ${counts.kill}, ${counts.SIGTERM} signals (${counts.told} with a line), 0 lost`,
        )
      })
    }
    assert.equal(basename(wheel), wheelName)
  })
}

// Every command with --json, in every outcome: exactly one document on stdout that fits the schema, or, where a signal ends
// the run, one or none.
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { chmodSync, cpSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, suite, test } from 'node:test'
import { makeProgram } from '../../src/cli.ts'
import { describe } from '../../src/describe.ts'
import type { CommandDescription } from '../../src/report/manual/reference.ts'
import { faultsOf } from '../support/json-schema.ts'
import { skip } from '../support/requires.ts'
import { makeStandalonePython } from '../world/standalone.ts'
import { installDemoWheel, makeVenv, sitePackages, WHEELFIX, wheelfix } from '../world/venv.ts'
import { buildWorld, type World } from '../world/world.ts'

const ROOT = join(import.meta.dirname, '../../..')
const SCHEMA = JSON.parse(readFileSync(join(ROOT, 'schema/wheelfix-1.json'), 'utf8'))
const DISTURB = join(ROOT, 'test/support/disturb.cjs')

/** One run: its exit status and its words, `--json` not among them. The rows run in their order. */
type Row = readonly [outcome: string, status: number, words: readonly string[], env?: NodeJS.ProcessEnv]

/** All folders that the rows name. */
function prepare(world: World) {
  const at = (name: string): string => join(world.root, name)
  const demo = (name: string): string => {
    const venv = makeVenv(world, name)
    installDemoWheel(world, venv)
    return venv
  }
  mkdirSync(at('wheels'))
  cpSync(join(ROOT, 'fixtures/demo-wheel'), at('wheels'), { recursive: true })
  const wheel = join(at('wheels'), readdirSync(at('wheels')).find(name => name.endsWith('.whl')) ?? '')
  writeFileSync(at('broken-1.0-py3-none-any.whl'), 'no archive')
  mkdirSync(at('folder/nested'), { recursive: true })
  cpSync(world.host.python.executable, at('folder/tool'), { dereference: true })
  mkdirSync(at('nothing'))
  const outer = demo('outer')
  cpSync(demo('nested'), join(outer, 'share/nested'), { recursive: true, verbatimSymlinks: true })
  const cut = demo('cut')
  const site = sitePackages(world, cut)
  const demoObject = readdirSync(site, { recursive: true, encoding: 'utf8' }).find(name => name.endsWith('.so')) ?? ''
  writeFileSync(join(site, 'cut.so'), readFileSync(join(site, demoObject)).subarray(0, 1000))
  const home = at('home')
  mkdirSync(join(home, '.local/share/uv/tools'), { recursive: true })
  cpSync(demo('tool'), join(home, '.local/share/uv/tools/demo'), { recursive: true, verbatimSymlinks: true })
  makeStandalonePython(world.host, at('standalone'))
  const gone = demo('gone')
  rmSync(join(gone, 'bin'), { recursive: true })
  mkdirSync(join(gone, 'bin'))
  symlinkSync('/nowhere/python3', join(gone, 'bin/python'))
  demo('template')
  return {
    at,
    venv: demo('venv'),
    second: demo('second'),
    empty: makeVenv(world, 'empty'),
    wheel,
    outer,
    cut,
    gone,
    home,
  }
}

function rowsOf(world: World, places: ReturnType<typeof prepare>): Readonly<Record<string, readonly Row[]>> {
  const { at, venv, second, empty, wheel, outer, cut, gone, home } = places
  const none = at('none')
  const libs = ['--libs', `${world.libs.gcc}:${world.libs.zlib}`]
  const env = { HOME: home }
  return {
    check: [
      ['unpatched', 1, ['check', venv]],
      ['quiet', 1, ['check', '-q', venv]],
      ['missing libraries', 1, ['check', venv, '--no-scan']],
      ['no environment', 2, ['check', none]],
      ['a Python that is gone', 2, ['check', gone]],
      ['several', 2, ['check', venv, none, empty]],
    ],
    venv: [
      ['dry run', 0, ['venv', venv, '--dry-run']],
      ['patched', 0, ['venv', venv]],
      ['nothing to do', 0, ['venv', venv]],
      ['quiet', 0, ['venv', venv, '-q']],
      ['verbose', 0, ['venv', venv, '-v']],
      ['no object', 0, ['venv', empty]],
      ['nested environments', 0, ['venv', outer]],
      ['a broken object', 0, ['venv', cut]],
      ['refused', 2, ['venv', venv, '--libs', world.host.libcDirectory]],
      ['no environment', 2, ['venv', none]],
      ['wrong usage', 2, ['venv', '--bogus']],
      ['an empty word', 2, ['venv', '']],
    ],
    why: [
      ['a distribution', 0, ['why', venv, 'wheelfix_demo']],
      ['quiet', 0, ['why', '-q', venv, 'wheelfix_demo']],
      ['a soname', 0, ['why', venv, 'libz.so.1']],
      ['missing', 1, ['why', second, 'wheelfix_demo', '--no-scan']],
      ['an unknown name', 2, ['why', venv, 'nothing-has-this-name']],
      ['no environment', 2, ['why', none, 'libz.so.1']],
    ],
    doctor: [
      ['fine', 0, ['doctor', venv]],
      ['quiet', 0, ['doctor', '-q', venv]],
      ['findings', 1, ['doctor', second]],
      ['imports', 0, ['doctor', '--import', venv]],
      ['a bundle', 0, ['doctor', venv, '--bundle', at('bug.zip')]],
      ['a bundle that exists', 2, ['doctor', venv, '--bundle', at('bug.zip')]],
      ['a bundle for two', 2, ['doctor', venv, second, '--bundle', at('two.zip')]],
      ['several', 2, ['doctor', venv, none]],
      ['no environment', 2, ['doctor', none]],
    ],
    libs: [
      ['all', 0, ['libs', venv]],
      ['missing', 1, ['libs', venv, '--policy', 'manylinux_2_28', '--no-scan']],
      ['an unknown policy', 2, ['libs', venv, '--policy', 'bogus']],
      ['no environment', 2, ['libs', none]],
      ['two folders', 2, ['libs', venv, second]],
      ['a mistyped command', 2, ['libs', 'biuld']],
    ],
    'libs env': [
      ['all', 0, ['libs', 'env', venv]],
      ['no environment', 2, ['libs', 'env', none]],
    ],
    'libs build': [
      ['nothing to build', 0, ['libs', 'build', '--missing', empty]],
      ['nothing to build, dry run', 0, ['libs', 'build', '--missing', '--dry-run', empty]],
      ['no name', 2, ['libs', 'build', empty]],
      ['no environment', 2, ['libs', 'build', '--missing', none]],
      ['no Nix', 2, ['libs', 'build', 'libGL', empty], { PATH: at('nothing') }],
      ['two environments', 2, ['libs', 'build', 'libGL', venv, empty]],
      ['a flake and a name', 2, ['libs', 'build', '--flake', 'path:.', 'libGL', empty]],
    ],
    env: [
      ['nothing to say', 0, ['env', venv]],
      ['export', 0, ['env', venv, '--export']],
      ['no environment', 2, ['env', none]],
    ],
    nix: [
      ['all', 0, ['nix', venv]],
      ['no package', 0, ['nix', empty]],
      ['no environment', 2, ['nix', none]],
    ],
    config: [
      ['all', 0, ['config', venv]],
      ['no environment', 2, ['config', none]],
    ],
    explain: [
      ['all', 0, ['explain']],
      ['one', 0, ['explain', 'library-missing']],
      ['an unknown code', 2, ['explain', 'bogus']],
    ],
    restore: [
      ['dry run', 0, ['restore', venv, '--dry-run']],
      ['restored', 0, ['restore', venv]],
      ['nothing to do', 0, ['restore', venv]],
      ['quiet', 0, ['restore', venv, '-q']],
      ['nested environments', 0, ['restore', outer]],
      ['several', 2, ['restore', venv, none]],
      ['no environment', 2, ['restore', none]],
    ],
    loader: [
      ['dry run', 0, ['loader', venv, '--dry-run']],
      ['made', 0, ['loader', venv]],
      ['nothing to do', 0, ['loader', venv]],
      ['no environment', 2, ['loader', none]],
    ],
    path: [
      ['check', 1, ['path', at('folder'), '--check', ...libs]],
      ['dry run', 0, ['path', at('folder'), '--dry-run', ...libs]],
      ['no object', 0, ['path', at('nothing')]],
      ['no folder', 2, ['path', none]],
      ['several', 2, ['path', at('nothing'), none]],
      ['no word', 2, ['path']],
    ],
    wheel: [
      ['check', 0, ['wheel', wheel, '--check', '--python', second]],
      ['dry run', 0, ['wheel', wheel, '--dry-run', '--python', second]],
      ['patched', 0, ['wheel', wheel, '-o', at('out'), '--python', second]],
      ['a broken wheel', 2, ['wheel', at('broken-1.0-py3-none-any.whl'), '--python', second]],
      ['one of two', 1, ['wheel', wheel, at('broken-1.0-py3-none-any.whl'), '--check', '--python', second]],
      ['nothing to restore', 0, ['wheel', '--restore', wheel, '-o', at('back'), '--python', second]],
      ['a folder without wheels', 2, ['wheel', at('nothing'), '--python', second]],
      ['options that contradict', 2, ['wheel', wheel, '--in-place', '-o', at('out'), '--python', second]],
      ['no wheel', 2, ['wheel', none]],
    ],
    python: [
      ['dry run', 0, ['python', at('standalone'), '--libc', world.libs.glibc, '--dry-run']],
      ['patched', 0, ['python', at('standalone'), '--libc', world.libs.glibc]],
      ['nothing to do', 0, ['python', at('standalone'), '--libc', world.libs.glibc]],
      ['restore, dry run', 0, ['python', at('standalone'), '--restore', '--dry-run']],
      ['restored', 0, ['python', at('standalone'), '--restore']],
      ['nothing to restore', 0, ['python', at('standalone'), '--restore']],
      ['made, dry run', 0, ['python', '--make', at('made'), '--from', world.python, '--dry-run']],
      ['made', 0, ['python', '--make', at('made'), '--from', world.python]],
      ['nothing to make', 0, ['python', '--make', at('made'), '--from', world.python]],
      ['a folder that is not ours', 2, ['python', '--make', at('wheels'), '--from', world.python]],
      ['no Python', 2, ['python', none]],
    ],
    all: [
      ['list', 0, ['all', '--list'], env],
      ['dry run', 0, ['all', '--dry-run'], env],
      ['patched', 0, ['all'], env],
      ['nothing to do', 0, ['all'], env],
      ['restored', 0, ['all', '--restore'], env],
      ['nothing there', 0, ['all'], { HOME: at('nothing') }],
      ['an unknown tool', 2, ['all', '--only', 'bogus'], env],
      ['no home', 2, ['all'], { HOME: '' }],
    ],
  }
}

suite('one JSON document', () => {
  const world = buildWorld()
  if (typeof world === 'string') {
    test('in every outcome', { skip: skip(world) })
    return
  }
  after(() => world.dispose())
  const places = prepare(world)
  const rows = rowsOf(world, places)

  test('every command with --json has rows', () => {
    const withJson = (command: CommandDescription): string[] => [
      ...(command.options.some(({ long }) => long === '--json') ? [command.name.replace('wheelfix ', '')] : []),
      ...command.commands.flatMap(withJson),
    ]
    const names = withJson(describe(makeProgram('1', () => {})))
    // the options of `libs` apply to its commands, too
    assert.deepEqual(Object.keys(rows).sort(), [...names, 'libs env', 'libs build'].sort())
  })

  for (const [command, outcomes] of Object.entries(rows)) {
    for (const [outcome, expected, words, env] of outcomes) {
      test(`${command}: ${outcome}`, () => {
        const { status, stdout, stderr } = wheelfix(world, [...words, '--json'], env)
        assert.equal(status, expected, stdout + stderr)
        oneDocument(stdout, stderr)
        const { error } = JSON.parse(stdout) as { error?: unknown }
        assert.equal(error !== undefined, status === 2 && !('environments' in JSON.parse(stdout)), stdout)
      })
    }
  }

  test('a refused file', t => {
    const { second } = places
    assert.equal(wheelfix(world, ['venv', second]).status, 0)
    const folder = join(sitePackages(world, second), 'wheelfix_demo')
    chmodSync(folder, 0o500)
    t.after(() => chmodSync(folder, 0o700))
    const { stdout, stderr } = wheelfix(world, ['restore', second, '--json'])
    oneDocument(stdout, stderr)
  })

  test('an interrupted run prints one document, or none where the signal came first', t => {
    const { at } = places
    let told = 0
    for (const command of ['venv', 'loader', 'restore']) {
      for (let change = 1; change < 40; change += 3) {
        const pair = ['one', 'two'].map(name => {
          rmSync(at(name), { recursive: true, force: true })
          cpSync(at('template'), at(name), { recursive: true, verbatimSymlinks: true })
          return at(name)
        })
        if (command === 'restore') assert.equal(wheelfix(world, ['venv', ...pair]).status, 0)
        const { stdout, stderr } = spawnSync(process.execPath, [WHEELFIX, command, ...pair, '--json'], {
          env: {
            ...world.env,
            NODE_OPTIONS: `--require ${DISTURB}`,
            DISTURB_AT: String(change),
            DISTURB_BY: 'SIGTERM',
          },
          cwd: world.root,
          encoding: 'utf8',
        })
        if (stdout !== '') oneDocument(stdout, stderr)
        if (stdout.includes('"INTERRUPTED"')) told++
      }
    }
    assert.ok(told > 0)
    t.diagnostic(`${told} interrupted runs printed a document`)
  })
})

function oneDocument(stdout: string, stderr: string): void {
  assert.match(stdout, /^[^\n]+\n$/, `not one line: ${stdout}${stderr}`)
  assert.deepEqual(faultsOf(JSON.parse(stdout), SCHEMA), [], stdout.slice(0, 500))
}

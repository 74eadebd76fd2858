// The commands of the README's Nix part, with each kind of reference to a clone: an absolute path, a relative one, a Git URL;
// and default.nix, for users of channels. The nixpkgs is that of the other tests of the flake.
import assert from 'node:assert/strict'
import { existsSync, mkdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { suite, test, type TestContext } from 'node:test'
import { missing } from '../support/requires.ts'
import { run, type RunResult, runWell } from '../support/run.ts'
import { installDemoWheel, makeVenv } from '../world/venv.ts'
import { type Flakes, flakes, OPTIONS, ROOT, succeeds } from './flakes.ts'
import { scratch } from './stores.ts'

const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { readonly version: string }
const VERSION = `${version}\n`

interface Clone {
  readonly all: Flakes
  readonly folder: string
  /** Each kind of reference, and where it is used. */
  readonly references: readonly { readonly reference: string; readonly cwd: string }[]
  /** `nix COMMAND … REFERENCE …`, as a user types it, but with the tests' nixpkgs. */
  nix(cwd: string, command: readonly string[], ...args: readonly string[]): RunResult
}

/** A clone with a commit, and a folder beside it. */
function clone(t: TestContext): Clone | null {
  const all = flakes(t)
  if (all === null) return null
  const folder = all.project
  const home = scratch(t)
  const env = { ...process.env, HOME: home, NIX_REMOTE: '' }
  const git = (...args: readonly string[]) => runWell('git', ['-C', folder, ...args], { env })
  git('init', '-q')
  // nothing may change the folder while Nix copies it
  git('config', 'maintenance.auto', 'false')
  git('config', 'gc.auto', '0')
  git('add', '.')
  git('-c', 'user.name=n', '-c', 'user.email=e', 'commit', '-qm', 'clone')
  const beside = join(dirname(folder), 'beside')
  mkdirSync(beside)
  return {
    all,
    folder,
    references: [
      { reference: folder, cwd: beside },
      { reference: '.', cwd: folder },
      { reference: `../${basename(folder)}`, cwd: beside },
      { reference: `git+file://${folder}`, cwd: beside },
    ],
    nix(cwd, command, ...args) {
      const inputs = ['--no-write-lock-file', '--override-input', 'nixpkgs', `path:${all.stub}`]
      return run('nix', [...OPTIONS, ...command, ...inputs, ...args], { cwd, env })
    },
  }
}

/** What Nix warned of, besides what the tests' own options bring about, and that it leaves out other machines. */
function warnings({ stderr }: RunResult): string[] {
  return stderr.split('\n').filter(line => /warning|deprecated/.test(line) && !/lock file|omitted/.test(line))
}

suite('a clone, named in each way', { skip: missing('nix', 'nix-build', 'nix-env', 'git', 'npm', 'gcc') }, () => {
  test('is run, entered, shown and built', t => {
    const made = clone(t)
    if (made === null) return
    for (const { reference, cwd } of made.references) {
      const ran = made.nix(cwd, ['run'], reference, '--', '--version')
      assert.equal(succeeds(ran), VERSION, reference)
      assert.deepEqual(warnings(ran), [])
      const entered = made.nix(cwd, ['shell'], reference, '-c', 'wheelfix', '--version')
      assert.equal(succeeds(entered), VERSION, reference)
      const link = join(scratch(t), 'result')
      succeeds(made.nix(cwd, ['build'], '-o', link, `${reference}#wheelfix`))
      assert.match(readlinkSync(link), /-wheelfix-[\d.]+$/)
      const shown = made.nix(cwd, ['flake', 'show'], '--json', reference)
      const outputs = JSON.parse(succeeds(shown)) as Readonly<Record<string, unknown>>
      for (const name of ['apps', 'checks', 'devShells', 'overlays', 'packages', 'templates']) {
        assert.ok(outputs[name] !== undefined, `${name} of ${reference}`)
      }
      assert.deepEqual(warnings(shown), [])
    }
  })

  test('is run on the venv of the folder, as the README says', t => {
    const made = clone(t)
    if (made === null) return
    const venv = makeVenv(made.all.world, 'project/.venv')
    installDemoWheel(made.all.world, venv)
    const python = join(venv, 'bin/python')
    assert.notEqual(run(python, ['-c', 'import wheelfix_demo']).status, 0)
    succeeds(made.nix(dirname(venv), ['run'], made.folder, '--', 'venv', '--no-scan'))
    runWell(python, ['-c', 'import wheelfix_demo'])
  })

  test('is installed into a profile, and taken out again', t => {
    const made = clone(t)
    if (made === null) return
    // Debian's Nix knows only the older name, of which today's warns
    const isOld = run('nix', [...OPTIONS, 'profile', 'add', '--help']).status !== 0
    const add = isOld ? 'install' : 'add'
    for (const [index, { reference, cwd }] of made.references.entries()) {
      const profile = join(scratch(t), 'profile')
      const installed = made.nix(cwd, ['profile', add], '--profile', profile, reference)
      succeeds(installed)
      assert.deepEqual(warnings(installed), [])
      assert.equal(runWell(join(profile, 'bin/wheelfix'), ['--version'], { env: {} }), VERSION)
      assert.ok(existsSync(join(profile, 'share/man/man1/wheelfix.1')))
      if (index > 0) continue
      runWell('nix', [...OPTIONS, 'profile', 'remove', '--profile', profile, isOld ? '.*' : '--all'])
      assert.equal(existsSync(join(profile, 'bin/wheelfix')), false)
    }
  })

  test('begins a project by its template, which starts as it is', t => {
    const made = clone(t)
    if (made === null) return
    const { all, folder } = made
    for (const [index, reference] of [folder, `../${basename(folder)}`, `git+file://${folder}`].entries()) {
      const project = join(dirname(folder), `begun${index}`)
      mkdirSync(project)
      succeeds(run('nix', [...OPTIONS, 'flake', 'init', '-t', reference], { cwd: project }))
      assert.ok(existsSync(join(project, 'flake.nix')) && existsSync(join(project, '.envrc')), reference)
    }
    const project = join(dirname(folder), 'begun0')
    const said = all.nix(['develop', 'path:.', '-c', 'wheelfix', '--version'], project)
    assert.equal(succeeds(said), VERSION)
  })

  test('serves users of channels by default.nix', t => {
    const made = clone(t)
    if (made === null) return
    const { all, folder } = made
    // a channel is a folder with a default.nix that takes no argument
    const channel = scratch(t)
    writeFileSync(
      join(channel, 'default.nix'),
      `{ ... }:
      let lib = import ${all.stub}/lib.nix; in import ${all.stub}/default.nix {
        inherit lib;
        system = "x86_64-linux";
        world = import ${all.stub}/world.nix;
        host = lib.importJSON ${all.stub}/host.json;
      }`,
    )
    const env = { ...process.env, HOME: scratch(t), NIX_PATH: `nixpkgs=${channel}`, NIX_REMOTE: '' }
    const plain = OPTIONS.slice(0, 9)
    const profile = join(scratch(t), 'profile')
    for (const args of [
      ['-iA', 'wheelfix'],
      ['-i', 'wheelfix'],
    ]) {
      runWell('nix-env', [...plain, '--profile', profile, '-f', '.', ...args], { cwd: folder, env })
      assert.equal(runWell(join(profile, 'bin/wheelfix'), ['--version'], { env: {} }), VERSION)
      runWell('nix-env', [...plain, '--profile', profile, '-e', 'wheelfix'], { env })
      assert.equal(existsSync(join(profile, 'bin/wheelfix')), false)
    }
    const out = runWell('nix-build', [...plain, '--no-out-link', folder, '-A', 'wheelfix'], { env }).trim()
    assert.equal(runWell(join(out, 'bin/wheelfix'), ['--version'], { env: {} }), VERSION)
  })
})

// `wheelfix libs build --missing` with a real Nix: from the nixpkgs that the project pins, whatever pins it, without a
// network. The nixpkgs of the test is in the store, as one that a project has used is.
import assert from 'node:assert/strict'
import { existsSync, mkdirSync, readFileSync, readlinkSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import { pinnedNixpkgs } from '../../src/nix/build/pin.ts'
import { faultsOf } from '../support/json-schema.ts'
import { missing } from '../support/requires.ts'
import { run, runWell } from '../support/run.ts'
import { treeState } from '../support/tree.ts'
import { wheelfix } from '../world/venv.ts'
import { LOCKS, NIX_CONFIG, loads, lock, pinned, probeOf, rev } from './pinned.ts'
import { startDaemon } from './stores.ts'

const SCHEMA = JSON.parse(readFileSync(join(import.meta.dirname, '../../../schema/wheelfix-1.json'), 'utf8'))

/** A package in the document of `libs build`. */
interface FoundInJson {
  readonly name: string
  readonly status: string
  readonly lacks: readonly string[]
}

suite('libs build', { skip: missing('nix', 'nix-build', 'nix-daemon', 'gcc', 'bash') }, () => {
  test('the command that path prints for a missing library works for a folder too', t => {
    const pin = pinned(t, ['libX11.so.6'])
    if (pin === null) return
    const { world, venv, env } = pin
    lock(pin, 'flake.lock')
    const folder = join(world.root, 'vendored')
    mkdirSync(folder)
    const probe = join(folder, 'probe.so')
    renameSync(probeOf(world, venv), probe)
    const imports = () => run(world.python, ['-c', `import ctypes; ctypes.CDLL('${probe}')`], { env }).status === 0
    const said = wheelfix(world, ['path', folder, '--python', world.python, '--no-scan'], env)
    assert.equal(said.status, 1, said.stdout)
    assert.equal(imports(), false)
    const [, command = ''] = /→ to add (?:it|them): (wheelfix libs build .*)/.exec(said.stdout) ?? []
    assert.match(command, /^wheelfix libs build \S+ \S*vendored$/)
    // hints have the names of nixpkgs 26.05, and this nixpkgs is older
    const words = command
      .split(' ')
      .slice(1)
      .map(word => (word === 'libx11' ? 'xorg.libX11' : word))
    const built = wheelfix(world, [...words, '--no-scan'], env)
    assert.equal(built.status, 0, built.stdout + built.stderr)
    assert.equal(imports(), true)
    // a later run finds the set, too
    assert.equal(wheelfix(world, ['path', folder, '--no-scan'], env).status, 0)
    assert.equal(wheelfix(world, ['restore', folder], env).status, 0)
    assert.equal(imports(), false)
    assert.equal(wheelfix(world, ['path', folder, '--python', world.python, '--no-scan'], env).status, 1)
    const missing = wheelfix(world, ['libs', 'build', '--missing', '--no-scan', folder], env)
    assert.equal(missing.status, 0, missing.stdout + missing.stderr)
  })

  test('--missing takes the missing libraries from the nixpkgs that the project pins, by their names in it', async t => {
    const pin = pinned(t, ['libX11.so.6', 'libstdc++.so.6'])
    if (pin === null) return
    const { world, venv, env } = pin
    assert.equal(loads(pin), false)
    for (const name of Object.keys(LOCKS)) {
      lock(pin, name)
      const before = treeState(venv)
      const dry = wheelfix(world, ['libs', 'build', '--missing', '--no-scan', venv, '--dry-run'], env)
      assert.equal(dry.status, 0, dry.stderr)
      assert.ok(dry.stderr.includes(`nixpkgs of ${name} (`), dry.stderr)
      assert.ok(dry.stderr.includes(rev.slice(0, 12)) || name.startsWith('npins'), dry.stderr)
      assert.match(dry.stderr, /✓ xorg\.libX11 for libX11\.so\.6/)
      assert.match(dry.stderr, /✓ stdenv\.cc\.cc for libstdc\+\+\.so\.6 .* is there/)
      assert.deepEqual(treeState(venv), before)
      if (name !== 'nix/sources.json') rmSync(join(world.root, name))
    }

    // a store of several users, where nobody has signed what is built: the user's word is enough, for later runs, too
    const served = await startDaemon(t, { ...process.env, NIX_CONFIG })
    const shared = { ...env, NIX_REMOTE: 'daemon', NIX_DAEMON_SOCKET_PATH: served['NIX_DAEMON_SOCKET_PATH'] }
    const built = wheelfix(world, ['libs', 'build', '--missing', '--no-scan', venv], shared)
    assert.equal(built.status, 0, built.stdout + built.stderr)
    assert.equal(loads(pin), true)
    const link = join(venv, '.wheelfix/libs')
    const roots = runWell('nix-store', ['--query', '--roots', readlinkSync(link)], { env: process.env })
    assert.ok(roots.includes(link))
    assert.match(wheelfix(world, ['check', venv], shared).stdout, /nothing to do/)
    const { libs } = JSON.parse(wheelfix(world, ['venv', venv, '--dry-run', '--update', '--json'], shared).stdout) as {
      libs: { soname: string; source: string }[]
    }
    assert.equal(libs.find(({ soname }) => soname === 'libX11.so.6')?.source, 'build')
    assert.match(wheelfix(world, ['libs', 'build', '--missing', '--no-scan', venv], env).stderr, /nothing to build/)
  })

  test('--missing builds what exists, and names what is absent, has another version, or is unknown', t => {
    const pin = pinned(t, ['libX11.so.6', 'libcups.so.2', 'libgtk-x11-2.0.so.0', 'libre2.so.11', 'libof-nobody.so.3'])
    if (pin === null) return
    const { world, venv, env } = pin
    lock(pin, 'flake.lock')
    const { status, stderr } = wheelfix(world, ['libs', 'build', '--missing', '--no-scan', venv], env)
    assert.equal(status, 1, stderr)
    assert.match(stderr, /✓ xorg\.libX11 for libX11\.so\.6/)
    assert.match(stderr, /✗ gtk2 for libgtk-x11-2\.0\.so\.0: this nixpkgs no longer has gtk2/)
    assert.match(stderr, /✗ re2 for libre2\.so\.11: this nixpkgs has no package re2\n/)
    assert.match(stderr, /cups of this nixpkgs does not have libcups\.so\.2: it may have another version/)
    assert.match(stderr, /libof-nobody\.so\.3: no known package of nixpkgs has it/)
    assert.ok(existsSync(join(venv, '.wheelfix/libs/lib/libX11.so.6')))
    for (const more of [[], ['--dry-run']]) {
      const json = wheelfix(world, ['libs', 'build', '--missing', '--no-scan', venv, '--json', ...more], env)
      assert.equal(json.status, 1, json.stderr)
      const document = JSON.parse(json.stdout)
      assert.deepEqual(faultsOf(document, SCHEMA), [])
      assert.equal(document.nixpkgs.origin, join(world.root, 'flake.lock'))
      assert.deepEqual(document.unknown, ['libof-nobody.so.3'])
      assert.deepEqual(
        document.packages.map(({ name, status, lacks }: FoundInJson) => [name, status, lacks]),
        [
          ['cups', 'there', more.length === 0 ? ['libcups.so.2'] : []],
          ['gtk2', 'removed', ['libgtk-x11-2.0.so.0']],
          ['re2', 'missing', ['libre2.so.11']],
        ],
      )
      assert.equal(document.run?.command ?? null, more.length === 0 ? 'venv' : null)
    }
  })

  test('takes a current name in a nixpkgs that has only the old one, and refuses an absent name', t => {
    const pin = pinned(t, ['libX11.so.6'])
    if (pin === null) return
    const { world, venv, env } = pin
    lock(pin, 'flake.lock')
    for (const [words, refusal] of [
      [['sqlite'], /error: the nixpkgs of .*flake\.lock has no package sqlite\b/],
      [['libz.so.1'], /error: libz\.so\.1 is not the name of a package of nixpkgs: did you mean zlib\?/],
      [['libx11', 'unrar'], /marks unrar as unfree: to use it anyway, set NIXPKGS_ALLOW_UNFREE=1/],
      [['--missing', '--flake', 'path:.'], /--flake names a whole set/],
    ] as const) {
      const refused = wheelfix(world, ['libs', 'build', ...words, venv], env)
      assert.equal(refused.status, 2)
      assert.match(refused.stderr.replaceAll(/\s+/g, ' '), refusal)
      assert.equal(existsSync(join(venv, '.wheelfix')), false)
    }
    const [, remedy] =
      /to add them: (wheelfix .*)/.exec(wheelfix(world, ['check', '--no-scan', venv], env).stdout) ?? []
    assert.equal(remedy, 'wheelfix libs build libx11')
    const built = wheelfix(world, ['libs', 'build', 'libx11'], env)
    assert.equal(built.status, 0, built.stdout + built.stderr)
    assert.equal(loads(pin), true)
  })

  test('finds the tree of a lock in the store by its hash, as Nix names it', t => {
    const pin = pinned(t, [])
    if (pin === null) return
    lock(pin, 'flake.lock')
    const { packages, revision } = pinnedNixpkgs(pin.venv, '/nix/store') ?? assert.fail()
    const tree = JSON.parse(JSON.parse(/fromJSON ("(?:\\.|[^"])*")/.exec(packages)?.[1] ?? '')) as { path?: string }
    assert.equal(tree.path, pin.nixpkgs)
    assert.equal(revision, `github:NixOS/nixpkgs/${rev.slice(0, 12)}`)
    // of another store, Nix is left to fetch it
    assert.match(pinnedNixpkgs(pin.venv, '/nonexistent')?.packages ?? '', /NixOS/)
  })

  test('evaluates nothing in a lock, and says when it is not JSON or its nixpkgs is not available', t => {
    const pin = pinned(t, ['libX11.so.6'])
    if (pin === null) return
    const { world, venv, env } = pin
    const path = join(world.root, 'flake.lock')
    const build = () => {
      const { status, stderr } = wheelfix(world, ['libs', 'build', '--missing', '--no-scan', venv], env)
      assert.equal(status, 2)
      assert.equal(existsSync(join(venv, '.wheelfix')), false)
      return stderr.replaceAll(/\s+/g, ' ')
    }
    writeFileSync(path, '<<<<<<< HEAD\n')
    assert.match(build(), /flake\.lock is not JSON/)
    const evil = '${throw "evaluated"}'
    const locked = {
      type: 'path',
      path: `/nonexistent/${evil}"`,
      narHash: pin.narHash.replace(/^sha256-./, 'sha256-x'),
    }
    writeFileSync(path, JSON.stringify({ root: 'root', nodes: { n: { locked }, root: { inputs: { nixpkgs: 'n' } } } }))
    const said = build()
    assert.match(said, /the evaluation of nixpkgs \(.*flake\.lock\) failed/)
    assert.doesNotMatch(said, /error: evaluated/)
  })
})

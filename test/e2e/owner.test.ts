// Root in a venv of another user: what is written there is that user's, and reaches nothing that is not.
import assert from 'node:assert/strict'
import {
  chmodSync,
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { after, before, test } from 'node:test'
import { missing, skip } from '../support/requires.ts'
import { runWell } from '../support/run.ts'
import { storeHash } from '../nix/stores.ts'
import { installDemoWheel, makeVenv, sitePackages, wheelfix } from '../world/venv.ts'
import { buildWorld, type World } from '../world/world.ts'

const OWNER = 12_345

let world: World | string = 'not built'
before(() => {
  world = buildWorld()
  if (typeof world !== 'string') chmodSync(world.root, 0o755)
})
after(() => {
  if (typeof world !== 'string') world.dispose()
})

/** A venv of another user; null, with the reason said, where there can be none. */
function othersVenv(name: string): { world: World; venv: string } | string {
  if (typeof world === 'string') return world
  if (process.getuid?.() !== 0) return 'needs root'
  const venv = makeVenv(world, name)
  installDemoWheel(world, venv)
  runWell('chown', ['-hR', `${OWNER}:${OWNER}`, venv])
  return { world, venv }
}

/** The owners of all that is in a folder. */
function owners(folder: string): number[] {
  const paths = readdirSync(folder, { recursive: true, encoding: 'utf8' }).map(name => join(folder, name))
  return [...new Set([folder, ...paths].map(path => lstatSync(path).uid))]
}

test(
  'root works as the owner: all that is made is the owner’s, and restore leaves nothing',
  { skip: missing('chown') },
  t => {
    const others = othersVenv('others')
    if (typeof others === 'string') return t.skip(skip(others))
    const { world, venv } = others
    for (const args of [
      ['venv', venv],
      ['venv', venv],
      ['check', venv],
      ['loader', venv],
    ]) {
      const { status, stderr } = wheelfix(world, args)
      assert.equal(status, 0, `${args.join(' ')}: ${stderr}`)
      assert.deepEqual(owners(venv), [OWNER])
    }
    assert.ok(existsSync(join(venv, '.wheelfix')))
    const { status, stderr } = wheelfix(world, ['restore', venv])
    assert.equal(status, 0, stderr)
    assert.deepEqual(owners(venv), [OWNER])
  },
)

test(
  'with the owner’s rights no link leads to what the owner may not write; --as-root keeps root',
  { skip: missing('chown') },
  t => {
    const others = othersVenv('linked')
    if (typeof others === 'string') return t.skip(skip(others))
    const { world, venv } = others
    const rooms = join(world.root, 'roots-own')
    mkdirSync(rooms)
    // the helpers of find_library are written into site-packages; the owner's folder for them is a link
    const folder = join(sitePackages(world, venv), 'wheelfix_demo')
    runWell('mv', [folder, join(rooms, 'demo')])
    runWell('chown', ['-hR', '0:0', rooms])
    symlinkSync(join(rooms, 'demo'), folder)
    const then = readdirSync(join(rooms, 'demo')).map(name => readFileSync(join(rooms, 'demo', name)).length)
    wheelfix(world, ['venv', venv])
    assert.deepEqual(
      readdirSync(join(rooms, 'demo')).map(name => readFileSync(join(rooms, 'demo', name)).length),
      then,
    )
    const kept = othersVenv('kept')
    assert.notEqual(typeof kept, 'string')
    if (typeof kept === 'string') return
    assert.equal(wheelfix(world, ['venv', kept.venv, '--as-root']).status, 0)
    assert.equal(lstatSync(join(kept.venv, '.wheelfix')).uid, 0)
  },
)

test('doctor runs the Python of the venv as its owner, who cannot become root again', { skip: missing('chown') }, t => {
  const others = othersVenv('doctored')
  if (typeof others === 'string') return t.skip(skip(others))
  const { world, venv } = others
  const said = join(venv, 'said')
  writeFileSync(
    join(sitePackages(world, venv), 'wheelfix_demo/__init__.py'),
    `import os
ids = [os.getresuid(), os.getresgid(), os.getgroups()]
try: os.setuid(0)
except OSError: ids.append("refused")
open(${JSON.stringify(said)}, "w").write(repr(ids))`,
  )
  wheelfix(world, ['doctor', venv, '--import'])
  const id = `(${OWNER}, ${OWNER}, ${OWNER})`
  assert.equal(readFileSync(said, 'utf8'), `[${id}, ${id}, [${OWNER}], 'refused']`)
})

test(
  'folders in the venv that are root’s keep root at work: only root can change them',
  { skip: missing('chown') },
  t => {
    const others = othersVenv('mixed')
    if (typeof others === 'string') return t.skip(skip(others))
    const { world, venv } = others
    runWell('chown', ['-hR', '0:0', sitePackages(world, venv)])
    assert.equal(wheelfix(world, ['venv', venv]).status, 0)
    chownSync(venv, 0, 0)
  },
)

test('the Nix store itself, what is in it and what holds it are refused', t => {
  if (typeof world === 'string') return t.skip(skip(world))
  const place = join(world.store, `${storeHash('tree')}-tree`)
  mkdirSync(join(world.store, '.links'), { recursive: true })
  mkdirSync(join(place, 'lib'), { recursive: true })
  const holder = dirname(world.store)
  symlinkSync(world.store, join(world.root, 'store-link'))
  symlinkSync(holder, join(world.root, 'holder-link'))
  // the store of a user without root, which no variable names
  const other = join(world.root, 'share/nix/root/nix/store')
  const otherPlace = join(other, `${storeHash('other')}-other`)
  mkdirSync(join(otherPlace, 'lib'), { recursive: true })
  mkdirSync(join(other, '../var/nix'), { recursive: true })
  // pre-commit names a folder after the path of a Python
  const named = join(world.root, `repo/py_env-/nix/store/${storeHash('py')}-python3/bin`)
  mkdirSync(named, { recursive: true })
  const state = { XDG_STATE_HOME: join(world.root, 'state') }
  for (const [path, reason] of [
    [world.store, /is the Nix store, whose files do not change/],
    [join(world.root, 'store-link'), /is the Nix store/],
    [join(world.store, '.links'), /is in the Nix store/],
    [place, /is in the Nix store/],
    [join(place, 'lib'), /is in the Nix store/],
    [other, /is the Nix store/],
    [join(otherPlace, 'lib'), /is in the Nix store/],
    [join(world.root, 'share'), /nix\/store is a Nix store, .* leave it out: --ignore 'nix\/root\/nix\/store'/],
    [holder, /holds the Nix store/],
    [join(world.root, 'holder-link'), /holds the Nix store/],
  ] as const) {
    for (const args of [[path], [path, '--state-here']]) {
      const { status, stdout, stderr } = wheelfix(world, ['path', ...args], state)
      assert.equal(status, 2, `${args.join(' ')}: ${stdout}${stderr}`)
      assert.match(stderr, reason, args.join(' '))
    }
    if (!/\/store/.test(path)) continue
    const { status, stderr } = wheelfix(world, ['python', '--make', join(path, 'new/python')], state)
    assert.equal(status, 2, path)
    assert.match(stderr, /is in the Nix store/)
  }
  assert.equal(existsSync(join(world.root, 'state/wheelfix')), false)
  for (const path of [named, join(world.root, 'repo')]) assert.equal(wheelfix(world, ['path', path], state).status, 0)
  const ignoring = ['path', join(world.root, 'share'), '--ignore', 'nix/root/nix/store']
  assert.equal(wheelfix(world, ignoring, state).status, 0)
})

test('a venv in the Nix store is refused, except in the output of a build', t => {
  if (typeof world === 'string') return t.skip(skip(world))
  const place = join(world.store, `${storeHash('venv')}-venv`)
  const venv = makeVenv(world, place.slice(world.root.length + 1))
  installDemoWheel(world, venv)
  for (const command of ['venv', 'loader', 'restore']) {
    const { status, stderr } = wheelfix(world, [command, venv])
    assert.equal(status, 2, command)
    assert.match(stderr, /is in the Nix store, whose files do not change: make an environment outside/)
  }
  assert.equal(existsSync(join(venv, '.wheelfix')), false)
  assert.equal(wheelfix(world, ['check', venv]).status, 1)
  const build = { NIX_BUILD_TOP: world.root, out: place }
  assert.equal(wheelfix(world, ['venv', venv], build).status, 0)
  assert.equal(wheelfix(world, ['restore', venv], build).status, 0)
})

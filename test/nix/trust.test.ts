// Whose packages the scan takes, asked of a real daemon: signed, forged, unsigned, of a system, of a profile, of a link.
import assert from 'node:assert/strict'
import { lchownSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { spawnSync } from 'node:child_process'
import { test, type TestContext } from 'node:test'
import { namedStorePaths, type StoreTrust, storeTrust } from '../../src/nix/trust/trust.ts'
import { missing } from '../support/requires.ts'
import { run, runWell } from '../support/run.ts'
import { fakeStore, scratch, startDaemon } from './stores.ts'

const skip = missing('nix', 'nix-store', 'nix-daemon')
const GCC = 'gcc-99.0.0-lib'
/** Some other user. */
const STRANGER = 12_345

interface DaemonStore {
  readonly folder: string
  readonly state: string
  readonly env: NodeJS.ProcessEnv
  /** Makes a valid package. @returns its store path */
  readonly register: (name: string, references?: readonly string[]) => string
  /** Signs it with a key of that name. @returns the public key */
  readonly sign: (path: string, keyName: string) => string
  readonly configure: (text: string, file?: string) => void
  /** A judge with a system and a home of its own. */
  readonly trust: (options?: { interpreter?: readonly string[]; named?: readonly string[] }) => StoreTrust
  readonly system: string
  readonly home: string
}

/** A store behind a daemon; everything in it is unsigned until it is signed. */
async function daemonStore(t: TestContext): Promise<DaemonStore> {
  const folder = scratch(t)
  const { env, add } = fakeStore(folder, { auto: true })
  const [system, home, conf] = ['current-system', 'home', 'conf'].map(name => join(folder, name)) as [
    string,
    string,
    string,
  ]
  mkdirSync(home)
  mkdirSync(conf)
  const nix = {
    ...env,
    PATH: process.env['PATH'],
    HOME: home,
    NIX_CONF_DIR: conf,
    NIX_LOCALSTATE_DIR: folder,
    NIX_LOG_DIR: folder,
  }
  const served = await startDaemon(t, nix)
  let keys = 0
  return {
    folder,
    state: env['NIX_STATE_DIR'] ?? '',
    env: served,
    system,
    home,
    register(name, references = []) {
      const path = add(name, ['lib/libstdc++.so.6'])
      const input = [path, '', `${references.length}`, ...references, ''].join('\n')
      const { status, stderr } = spawnSync('nix-store', ['--register-validity'], { env: nix, input, encoding: 'utf8' })
      assert.equal(status, 0, stderr)
      return path
    },
    sign(path, keyName) {
      const file = join(folder, `key${keys++}`)
      runWell('nix-store', ['--generate-binary-cache-key', keyName, file, `${file}.pub`], { env: nix })
      const flags = ['--extra-experimental-features', 'nix-command']
      runWell('nix', [...flags, 'store', 'sign', '--key-file', file, path], { env: nix })
      return readFileSync(`${file}.pub`, 'utf8').trim()
    },
    configure: (text, file = 'nix.conf') => writeFileSync(join(conf, file), text),
    trust: ({ interpreter = [], named = [] } = {}) =>
      storeTrust({ env: served, interpreter, named, places: { system, homes: [home] } }),
  }
}

test('an unsigned package that nothing leads to is passed over, and named', { skip }, async t => {
  const { register, trust } = await daemonStore(t)
  const path = register(GCC)
  const judge = trust()
  assert.equal(judge.reasonFor(`${path}/lib/libstdc++.so.6`), null)
  assert.deepEqual(judge.passedOver(), [path])
  assert.ok(judge.refusalOf(`${path}/lib`).includes(`--trust ${path}`))
  assert.equal(judge.problem(), null)
})

test('a signature counts where a key of nix.conf or of a file that it includes verifies it', { skip }, async t => {
  const { register, sign, configure, trust } = await daemonStore(t)
  const path = register(GCC, [register('glibc-2.40'), register('attr-2.5')])
  const key = sign(path, 'cache.example.org-1')
  assert.equal(trust().reasonFor(path), null)
  for (const [setting, text] of Object.entries({
    replaced: `trusted-public-keys = ${key} # ours`,
    added: `extra-trusted-public-keys = other-1:AAAA ${key}`,
    included: '!include nowhere.conf\ninclude keys.conf',
  })) {
    configure(`trusted-public-keys = ${key}\n`, 'keys.conf')
    configure(`${text}\n`)
    assert.equal(trust().reasonFor(path), 'signature', setting)
  }
  // the last one counts, as for Nix
  configure(`trusted-public-keys = ${key}\ntrusted-public-keys = other-1:AAAA\n`)
  assert.equal(trust().reasonFor(path), null)
})

test('a signature by another key of the same name proves nothing', { skip }, async t => {
  const { register, sign, configure, trust } = await daemonStore(t)
  const [evil, good] = [register(GCC), register('gcc-14.3.0-lib')]
  sign(evil, 'cache.nixos.org-1')
  configure(`trusted-public-keys = ${sign(good, 'cache.nixos.org-1')}\n`)
  assert.deepEqual([good, evil].map(trust().reasonFor), ['signature', null])
})

test('a signature of another package proves nothing, nor that this machine built it', { skip }, async t => {
  const { register, sign, configure, trust, state } = await daemonStore(t)
  const [evil, good] = [register(GCC), register('gcc-14.3.0-lib')]
  configure(`trusted-public-keys = ${sign(good, 'cache.example.org-1')}\n`)
  const copy = `import sqlite3, sys
base = sqlite3.connect(sys.argv[1])
signed = "select sigs from ValidPaths where path = ?"
base.execute("update ValidPaths set ultimate = 1, sigs = (" + signed + ") where path = ?", sys.argv[2:])
base.commit()
assert len(set(base.execute("select sigs from ValidPaths"))) == 1`
  runWell('python3', ['-c', copy, join(state, 'db/db.sqlite'), good, evil])
  assert.deepEqual([good, evil].map(trust().reasonFor), ['signature', null])
})

test('an unsigned system (an ISO or a WSL image) is trusted with everything that it leads to', { skip }, async t => {
  const { register, trust, system } = await daemonStore(t)
  const gcc = register('gcc-14.3.0-lib', [register('glibc-2.40')])
  const whole = register('nixos-system-nixos-25.05', [register('system-path', [gcc])])
  assert.equal(trust().reasonFor(gcc), null)
  symlinkSync(whole, system)
  assert.equal(trust().reasonFor(gcc), 'closure')
})

test('a closure that ended early goes on when something else is asked for', { skip }, async t => {
  const { register, trust, system } = await daemonStore(t)
  const deep = register('deep-1', [register('deepest-1')])
  const gcc = register('gcc-14.3.0-lib')
  const stranger = register('gcc-99.0.0-lib')
  symlinkSync(register('nixos-system-nixos-25.05', [gcc, register('system-path', [deep])]), system)
  const judge = trust()
  assert.deepEqual([gcc, deep, stranger].map(judge.reasonFor), ['closure', 'closure', null])
  const other = trust()
  other.expect([gcc, stranger])
  assert.deepEqual([stranger, gcc, deep].map(other.reasonFor), [null, 'closure', 'closure'])
})

test('the closure of the interpreter is trusted, beyond what its files name', { skip }, async t => {
  const { register, trust } = await daemonStore(t)
  const gcc = register('gcc-14.3.0-lib')
  const python = register('python3-3.12.8', [register('openssl-3.4', [gcc])])
  assert.equal(trust({ interpreter: [`${python}/bin/python3.12`] }).reasonFor(gcc), 'closure')
})

test('profiles of root and of the user are trusted, those of others are not', { skip }, async t => {
  const { register, trust, state, home } = await daemonStore(t)
  const [own, roots, stranger] = ['a-1', 'b-1', 'c-1'].map(name => register(name)) as [string, string, string]
  const link = (target: string, path: string) => {
    mkdirSync(dirname(path), { recursive: true })
    symlinkSync(target, path)
    return path
  }
  link(own, join(home, '.local/state/nix/profiles/profile-1-link'))
  link('profile-1-link', join(home, '.local/state/nix/profiles/profile'))
  link(join(home, '.local/state/nix/profiles/profile'), join(home, '.nix-profile'))
  link(roots, join(state, 'profiles/per-user/root/profile-1-link'))
  lchownSync(link(stranger, join(state, 'profiles/per-user/mallory/profile-1-link')), STRANGER, STRANGER)
  const judge = trust()
  assert.deepEqual([own, roots, stranger].map(judge.reasonFor), ['closure', 'closure', null])
})

test('a registered link counts by its owner, and only where its owner can be believed', { skip }, async t => {
  const { register, trust, state, folder } = await daemonStore(t)
  const registered = (name: string, link: string) => {
    const path = register(name)
    mkdirSync(dirname(link), { recursive: true })
    symlinkSync(path, link)
    symlinkSync(link, join(state, 'gcroots/auto', basename(path)))
    return { path, link }
  }
  const mine = registered('mine-1', join(folder, 'project/result'))
  const theirs = registered('theirs-1', join(folder, 'mallory/result'))
  lchownSync(theirs.link, STRANGER, STRANGER)
  // what wheelfix chose earlier
  const pinned = registered('pinned-1', join(folder, 'venv/.wheelfix/roots/pinned-1'))
  // a link inside of a package is root's, as all of the store is
  const holder = register('holder-1')
  const inStore = registered('in-store-1', join(holder, 'link'))
  // the same, by way of a folder of the stranger's
  const detour = register('detour-1')
  symlinkSync(detour, join(holder, 'detour'))
  symlinkSync(holder, join(folder, 'mallory/folder'))
  symlinkSync(join(folder, 'mallory/folder/detour'), join(state, 'gcroots/auto/detour'))
  // a program of root's that was started inside of a package
  const cwd = register('cwd-1')
  const judge = trust()
  assert.equal(judge.reasonFor(mine.path), 'closure')
  for (const path of [theirs.path, pinned.path, inStore.path, detour]) assert.equal(judge.reasonFor(path), null, path)
  const here = process.cwd()
  t.after(() => process.chdir(here))
  process.chdir(cwd)
  symlinkSync(`/proc/${process.pid}/cwd`, join(state, 'gcroots/auto/cwd'))
  assert.equal(trust().reasonFor(cwd), null)
  process.chdir(here)
})

test('a package that the user names is taken, if it is in the store', { skip }, async t => {
  const { register, trust, env, folder } = await daemonStore(t)
  const [path, other] = [register(GCC), register('gcc-98.0.0-lib')]
  symlinkSync(path, join(folder, 'result'))
  for (const name of [path, `${path}/lib/libstdc++.so.6`, join(folder, 'result')]) {
    const judge = trust({ named: namedStorePaths([name], env) })
    assert.deepEqual([path, other].map(judge.reasonFor), ['named', null])
  }
  assert.throws(() => namedStorePaths([folder], env), { code: 'USAGE' })
})

test('without a daemon everything belongs to one user, also a private store with the usual state folder', t => {
  const { env, add } = fakeStore(scratch(t))
  const path = add(GCC, ['lib/libstdc++.so.6'])
  const { NIX_STATE_DIR: _, ...stateless } = env
  for (const environment of [env, stateless])
    assert.equal(storeTrust({ env: environment, interpreter: [], named: [] }).reasonFor(path), 'single-user')
})

test('root, who does not need the daemon, still asks it whose a package is', { skip }, async t => {
  const { register, env } = await daemonStore(t)
  const path = register(GCC)
  const state = env['NIX_STATE_DIR'] ?? ''
  mkdirSync(join(state, 'daemon-socket'))
  symlinkSync(env['NIX_DAEMON_SOCKET_PATH'] ?? '', join(state, 'daemon-socket/socket'))
  const local = { ...env, NIX_REMOTE: 'local', NIX_DAEMON_SOCKET_PATH: '' }
  assert.equal(storeTrust({ env: local, interpreter: [], named: [] }).reasonFor(path), null)
})

test('with a dead socket, only what the interpreter’s own files name is taken, and the report says so', t => {
  const folder = scratch(t)
  const { env, add } = fakeStore(folder)
  const [python, other] = [add('python3-3.12.8', ['bin/python3']), add(GCC, ['lib/libstdc++.so.6'])]
  const socket = join(folder, 'socket')
  // a socket that outlived its daemon
  assert.equal(
    run('python3', ['-c', `import socket; socket.socket(socket.AF_UNIX).bind(${JSON.stringify(socket)})`]).status,
    0,
  )
  const judge = storeTrust({
    env: { ...env, NIX_DAEMON_SOCKET_PATH: socket },
    interpreter: [`${python}/bin/python3`],
    named: [],
  })
  assert.equal(judge.problem(), null)
  assert.deepEqual([python, other].map(judge.reasonFor), ['closure', null])
  assert.match(judge.problem() ?? '', /does not answer.*--trust/)
})

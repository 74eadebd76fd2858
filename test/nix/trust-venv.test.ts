// A store to which another user adds a compiler's libraries of the newest version: whose code runs in the venv's Python?
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { missing } from '../support/requires.ts'
import { run, runWell } from '../support/run.ts'
import { WHEELFIX, wheelfix } from '../world/venv.ts'
import { demoVenv, type Managed, managedWorld } from './managed.ts'
import { startDaemon, storeHash } from './stores.ts'

const skip = missing('nix', 'nix-store', 'nix-daemon', 'gcc')

interface Document {
  readonly libs: readonly { readonly soname: string; readonly path: string; readonly source: string }[]
  readonly loader?: { readonly libraries: Document['libs'] }
  readonly missing: readonly { readonly soname: string; readonly hint: string | null }[]
}

interface Diagnosis {
  readonly findings: readonly { readonly code: string; readonly message: string; readonly paths: readonly string[] }[]
}

interface Shared extends Managed {
  /** The package of the other user. */
  readonly evil: string
  /** The daemon's. */
  readonly socket: string
  readonly venv: string
  /** Runs wheelfix, and gives what serves libstdc++. */
  readonly serving: (...args: readonly string[]) => {
    path: string | undefined
    source: string | undefined
    stderr: string
  }
  /** Does the other user's code run when the venv's module is imported? */
  readonly isInfected: () => boolean
  readonly sign: (path: string, keyName: string) => string
}

async function sharedWorld(t: TestContext): Promise<Shared | null> {
  const managed = managedWorld(t)
  if (managed === null) return null
  const { world, nix, register } = managed
  const { gcc, glibc } = world.outputs
  const evil = join(world.store, `${storeHash('evil')}-gcc-99.0.0-lib`)
  cpSync(gcc, evil, { recursive: true })
  const mark = join(world.root, 'infected')
  const source = join(world.root, 'evil.c')
  writeFileSync(
    source,
    `#include <fcntl.h>
#include <unistd.h>
__attribute__((constructor)) static void run(void) { close(open("${mark}", O_CREAT | O_WRONLY, 0644)); }`,
  )
  runWell('gcc', ['-shared', '-fPIC', '-o', join(evil, 'lib/libevil.so'), source])
  for (const edit of [
    ['--add-needed', 'libevil.so'],
    ['--add-rpath', '$ORIGIN'],
  ])
    runWell(process.execPath, [WHEELFIX, 'elf', ...edit, join(evil, 'lib/libstdc++.so.6')])
  register(evil, [glibc])
  const served = await startDaemon(t, nix)
  const socket = served['NIX_DAEMON_SOCKET_PATH'] ?? ''
  const env = { NIX_DAEMON_SOCKET_PATH: socket, NIX_CONF_DIR: world.root }
  const venv = demoVenv(world)
  return {
    ...managed,
    env,
    evil,
    socket,
    venv,
    serving(...args) {
      const { stdout, stderr } = wheelfix(world, [...args, '--json'], env)
      const { libs, loader } = JSON.parse(stdout) as Document
      const row = [...libs, ...(loader?.libraries ?? [])].find(({ soname }) => soname === 'libstdc++.so.6')
      return { path: row?.path ?? undefined, source: row?.source, stderr }
    },
    isInfected() {
      rmSync(mark, { force: true })
      run(join(venv, 'bin/python'), ['-c', 'import wheelfix_demo'], { env: world.env })
      return existsSync(mark)
    },
    sign(path, keyName) {
      const file = join(world.root, keyName)
      runWell('nix-store', ['--generate-binary-cache-key', keyName, file, `${file}.pub`], { env: nix })
      const flags = ['--extra-experimental-features', 'nix-command']
      runWell('nix', [...flags, 'store', 'sign', '--key-file', file, path], { env: nix })
      return readFileSync(`${file}.pub`, 'utf8').trim()
    },
  }
}

test(
  'a newer gcc that anybody may have added is passed over and named, even with a forged signature',
  { skip },
  async t => {
    const shared = await sharedWorld(t)
    if (shared === null) return
    const { world, evil, venv, serving, isInfected, sign } = shared
    const key = sign(world.outputs.gcc, 'cache.example.org-1')
    writeFileSync(join(world.root, 'nix.conf'), `extra-trusted-public-keys = ${key}\n`)
    const good = join(world.libs.gcc, 'libstdc++.so.6')
    assert.equal(wheelfix(world, ['venv', venv, '--dry-run'], shared.env).stderr, '')
    const { findings } = JSON.parse(wheelfix(world, ['doctor', venv, '--json'], shared.env).stdout) as Diagnosis
    const named = findings.filter(({ code }) => code === 'untrusted-package')
    assert.deepEqual(
      named.map(({ paths }) => paths),
      [[evil]],
    )
    assert.match(
      named[0]?.message ?? '',
      /^1 package of the store was skipped, because nothing shows who put it there$/,
    )
    for (const forged of [false, true]) {
      if (forged) {
        rmSync(join(world.root, 'cache.example.org-1'))
        sign(evil, 'cache.nixos.org-1')
      }
      for (const args of [
        ['venv', venv, '--dry-run'],
        ['loader', venv, '--dry-run'],
        ['libs', venv],
        ['venv', venv],
      ]) {
        const { path, stderr } = serving(...args)
        assert.equal(path, good, args.join(' '))
        assert.match(stderr, new RegExp(`skipped \\S*${basename(evil)}: .*--trust`), args.join(' '))
      }
      assert.equal(isInfected(), false)
      wheelfix(world, ['restore', venv])
    }
  },
)

test(
  'an unsigned system needs no configuration; without it the package is missing, and the hint says why',
  { skip },
  async t => {
    const shared = await sharedWorld(t)
    if (shared === null) return
    const { world, env, evil, venv, serving, register, isInfected } = shared
    const { status, stdout } = wheelfix(world, ['venv', venv, '--json'], env)
    assert.equal(status, 1)
    const { hint } = (JSON.parse(stdout) as Document).missing.find(({ soname }) => soname === 'libstdc++.so.6') ?? {}
    assert.ok(hint?.includes(`--trust ${evil}`), hint ?? '')
    const short = wheelfix(world, ['venv', venv], { ...env, COLUMNS: '80' }).stderr
    assert.match(
      short,
      /^warning: skipped \d packages of the store, because nothing shows who put them\n {4}there \(-v lists them\)\n$/,
    )
    // as an ISO has it: no signature anywhere, a system that leads to the compiler's libraries
    const system = join(world.store, `${storeHash('system')}-nixos-system-nixos-25.05`)
    mkdirSync(system)
    register(system, [world.outputs.gcc])
    mkdirSync(join(world.root, 'nix/var/nix/profiles'), { recursive: true })
    symlinkSync(system, join(world.root, 'nix/var/nix/profiles/system-1-link'))
    assert.equal(serving('venv', venv).path, join(world.libs.gcc, 'libstdc++.so.6'))
    assert.equal(isInfected(), false)
  },
)

test('--trust takes it, and it stays; what an earlier scan pinned does not', { skip }, async t => {
  const shared = await sharedWorld(t)
  if (shared === null) return
  const { world, evil, venv, serving, isInfected, sign } = shared
  const file = join(evil, 'lib/libstdc++.so.6')
  assert.deepEqual(serving('venv', venv, '--trust', evil), { path: file, source: 'trust', stderr: '' })
  assert.equal(isInfected(), true)
  assert.deepEqual(serving('venv', venv), { path: file, source: 'trust', stderr: '' })
  // as a version without this rule pinned it
  const pins = join(venv, '.wheelfix/libs.json')
  writeFileSync(pins, readFileSync(pins, 'utf8').replace('"trust"', '"scan"'))
  writeFileSync(join(world.root, 'nix.conf'), `trusted-public-keys = ${sign(world.outputs.gcc, 'a-1')}\n`)
  const { path, stderr } = serving('venv', venv)
  assert.equal(path, join(world.libs.gcc, 'libstdc++.so.6'))
  assert.match(stderr, /skipped/)
  assert.equal(isInfected(), false)
})

/** A socket behind which somebody takes calls and never says a word. @returns the socket */
async function hangingDaemon(t: TestContext, folder: string): Promise<string> {
  const socket = join(folder, 'hanging')
  const script = `import socket, sys, time
s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen(9); print("up", flush=True); time.sleep(120)`
  const child = spawn('python3', ['-c', script, socket], { stdio: ['ignore', 'pipe', 'ignore'] })
  t.after(() => child.kill())
  await new Promise(resolve => child.stdout.once('data', resolve))
  return socket
}

test('the answer of a store without a daemon does not hold once there is one', { skip }, async t => {
  const shared = await sharedWorld(t)
  if (shared === null) return
  const { world, venv, isInfected } = shared
  const socket = join(world.root, 'socket')
  const env = { ...shared.env, NIX_DAEMON_SOCKET_PATH: socket }
  assert.equal(wheelfix(world, ['venv', venv], env).status, 0)
  assert.equal(isInfected(), true)
  assert.match(wheelfix(world, ['venv', venv], env).stdout, /nothing to do/)
  symlinkSync(shared.socket, socket)
  wheelfix(world, ['venv', venv], env)
  assert.equal(isInfected(), false)
  rmSync(socket)
  wheelfix(world, ['venv', venv, '--update'], env)
  assert.equal(isInfected(), true)
  // a shell whose variable names the daemon
  wheelfix(world, ['venv', venv], shared.env)
  assert.equal(isInfected(), false)
})

test('a run with nothing to do asks the daemon nothing', { skip }, async t => {
  const shared = await sharedWorld(t)
  if (shared === null) return
  const { world, evil, venv } = shared
  const socket = join(world.root, 'socket')
  const env = { ...shared.env, NIX_DAEMON_SOCKET_PATH: socket }
  symlinkSync(shared.socket, socket)
  assert.equal(wheelfix(world, ['venv', venv, '--trust', evil], env).status, 0)
  const hanging = await hangingDaemon(t, world.root)
  rmSync(socket)
  symlinkSync(hanging, socket)
  const began = Date.now()
  const { status, stdout, stderr } = wheelfix(world, ['venv', venv], env)
  assert.deepEqual([status, stderr], [0, ''])
  assert.match(stdout, /nothing to do/)
  assert.ok(Date.now() - began < 3000)
})

test(
  'a daemon that hangs costs seconds, and the venv takes what is its Python’s own',
  { skip: missing('python3') },
  async t => {
    const managed = managedWorld(t)
    if (managed === null) return
    const { world } = managed
    const venv = demoVenv(world)
    const env = { NIX_REMOTE: `unix://${await hangingDaemon(t, world.root)}`, PATH: process.env['PATH'] }
    const began = Date.now()
    const { status, stderr } = wheelfix(world, ['venv', venv], env)
    const seconds = (Date.now() - began) / 1000
    assert.equal(status, 1)
    assert.match(stderr, /the Nix daemon does not answer/)
    assert.ok(seconds < 25, `${seconds} s`)
  },
)

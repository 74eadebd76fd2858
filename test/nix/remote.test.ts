// fixWheels on a remote builder: another machine behind ssh, which is this one with a Nix store of its own. With
// WHEELFIX_REMOTE_WHEELS=DIR it takes the wheels of that folder instead of the demo's, and says how long each part took.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  writeFileSync,
} from 'node:fs'
import { createConnection, createServer } from 'node:net'
import { dirname, join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { setTimeout } from 'node:timers/promises'
import { missing, which } from '../support/requires.ts'
import { run, runWell } from '../support/run.ts'
import { makeVenv, sitePackages } from '../world/venv.ts'
import { flakes, OPTIONS, ROOT, succeeds } from './flakes.ts'
import { scratch } from './stores.ts'

const DEMO = join(ROOT, 'fixtures/demo-wheel')
const WHEELS = process.env['WHEELFIX_REMOTE_WHEELS'] ?? DEMO

interface Remote {
  /** The folder that is its /nix. */
  readonly nix: string
  readonly url: string
  readonly key: string
  /** For NIX_SSHOPTS: the port, and that the host is known. */
  readonly options: string
}

/** An ssh daemon behind which /nix is another folder. @returns why there can be none */
async function remoteMachine(t: TestContext): Promise<Remote | string> {
  const folder = scratch(t)
  const nix = join(folder, 'nix')
  mkdirSync(join(nix, 'store'), { recursive: true })
  mkdirSync(join(nix, 'var'))
  if (run('unshare', ['-m', 'mount', '--bind', nix, '/nix']).status !== 0) return 'needs a mount namespace'
  for (const name of ['host', 'user'])
    runWell('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', join(folder, name)])
  const enter = join(folder, 'enter')
  // what the machine's nix.conf would say, and then what was asked for
  writeFileSync(
    enter,
    `#!/bin/sh
export NIX_CONFIG="build-users-group =
sandbox = false
substitute = false"
exec unshare -m sh -c "mount --bind ${nix} /nix && exec $SSH_ORIGINAL_COMMAND"
`,
  )
  chmodSync(enter, 0o755)
  const port = await freePort()
  const settings = [
    `Port ${port}`,
    'ListenAddress 127.0.0.1',
    `HostKey ${folder}/host`,
    `AuthorizedKeysFile ${folder}/user.pub`,
    'PasswordAuthentication no',
    'UsePAM no',
    'StrictModes no',
    'PidFile none',
    'PermitRootLogin yes',
    `ForceCommand ${enter}`,
  ]
  writeFileSync(join(folder, 'sshd_config'), `${settings.join('\n')}\n`)
  // it wants a folder that only root makes; here it gets one that nobody else sees
  const start = 'mount -t tmpfs none /run && mkdir /run/sshd && exec "$0" -D -e -f "$1"'
  const args = ['-m', 'sh', '-c', start, which('sshd') ?? '', join(folder, 'sshd_config')]
  const daemon = spawn('unshare', args, { stdio: 'ignore' })
  t.after(() => daemon.kill())
  while (!(await answers(port))) await setTimeout(25)
  writeFileSync(join(folder, 'known'), `[127.0.0.1]:${port} ${readFileSync(join(folder, 'host.pub'), 'utf8')}`)
  return {
    nix,
    url: 'ssh://root@127.0.0.1',
    key: join(folder, 'user'),
    options: `-p ${port} -i ${join(folder, 'user')} -o UserKnownHostsFile=${join(folder, 'known')} -o IdentitiesOnly=yes`,
  }
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer()
    server.on('error', reject)
    server.listen(0, '127.0.0.1', () => {
      const address = server.address()
      server.close(() => resolve(typeof address === 'object' && address !== null ? address.port : 0))
    })
  })
}

function answers(port: number): Promise<boolean> {
  return new Promise(resolve => {
    const connection = createConnection(port, '127.0.0.1')
    connection.on('connect', () => resolve(true))
    connection.on('error', () => resolve(false))
    connection.on('connect', () => connection.destroy())
  })
}

test(
  'fixWheels on a remote builder: nothing is built here, and what comes back imports',
  {
    skip: missing('nix', 'nix-build', 'git', 'npm', 'gcc', 'ssh', 'sshd', 'ssh-keygen', 'unshare', 'mount'),
  },
  async t => {
    const all = flakes(t)
    if (all === null) return
    const remote = await remoteMachine(t)
    if (typeof remote === 'string') {
      t.skip(remote)
      return
    }
    const { world } = all
    // the world's loader looks into links beside the store, which tell Nix nothing of where they lead
    const { libgcc } = world.outputs
    cpSync(libgcc, join(remote.nix, libgcc.slice('/nix/'.length)), { recursive: true, verbatimSymlinks: true })
    for (const name of readdirSync('/nix/var').filter(name => name.startsWith('wf')))
      cpSync(join('/nix/var', name), join(remote.nix, 'var', name), { recursive: true, verbatimSymlinks: true })
    const team = scratch(t)
    cpSync(WHEELS, join(team, 'wheels'), { recursive: true })
    const count = readdirSync(WHEELS).filter(name => name.endsWith('.whl')).length
    writeFileSync(
      join(team, 'flake.nix'),
      `{
      inputs.nixpkgs.url = "nixpkgs";
      inputs.wheelfix.inputs.nixpkgs.follows = "nixpkgs";
      outputs = { wheelfix, ... }: {
        packages.x86_64-linux = let
          inherit (wheelfix.lib.x86_64-linux) fixWheels;
          wheels = nonce: fixWheels { src = ./wheels; ignoreMissing = [ nonce ]; };
        in { here = wheels "here"; there = wheels "there-${process.pid}-${Date.now()}"; };
      };
    }`,
    )
    // the tool, which asks npm's registry
    succeeds(all.nix(['build', 'path:.#here', '--no-link'], team))
    const out = join(scratch(t), 'result')
    const ssh = { NIX_SSHOPTS: remote.options }
    const builder = ['--max-jobs', '0', '--builders', `${remote.url} x86_64-linux ${remote.key} 1`]
    const timed = <T>(what: string, work: () => T): T => {
      const start = performance.now()
      const result = work()
      t.diagnostic(`${what}: ${((performance.now() - start) / 1000).toFixed(1)} s for ${count} wheels`)
      return result
    }
    const { stderr, ...built } = timed('built there', () =>
      all.nix(['build', 'path:.#there', '-o', out, '-L', ...builder], team, ssh),
    )
    assert.equal(built.status, 0, stderr)
    const places = [...stderr.matchAll(/^building '[^']*-(wheelfix-[\w.]+?)(?:-\d[^']*)?\.drv' on '(.*)'/gm)]
    assert.deepEqual(new Set(places.map(([, , place]) => place)), new Set([remote.url]))
    assert.equal(places.length, count + 1)
    assert.equal(places.at(-1)?.[1], 'wheelfix-wheels')
    const result = readlinkSync(out)
    const wheel = readdirSync(result).find(name => name.endsWith('.whl')) ?? ''
    const path = dirname(readlinkSync(join(result, wheel)))
    assert.ok(existsSync(join(remote.nix, path.slice('/nix/'.length))))
    // the bits that the other machine made are those that this one makes
    const deriver = runWell('nix-store', ['--query', '--deriver', path]).trim()
    runWell('nix-store', [...OPTIONS.slice(0, 9), '--realise', '--check', deriver])

    // another user has the builder for a cache, and builds nothing
    const second = join(scratch(t), 'store')
    const substitute = ['--option', 'substitute', 'true', '--option', 'substituters', remote.url]
    const noBuild = ['--option', 'require-sigs', 'false', '--max-jobs', '0', '--no-link']
    timed('substituted by another store', () =>
      succeeds(all.nix(['build', 'path:.#there', '--store', second, ...substitute, ...noBuild], team, ssh)),
    )
    assert.ok(existsSync(join(second, path)))
    runWell('chmod', ['-R', 'u+w', second])

    if (WHEELS !== DEMO) return
    const venv = makeVenv(world, 'venv')
    runWell(world.host.python.executable, ['-m', 'zipfile', '-e', join(result, wheel), sitePackages(world, venv)])
    runWell(join(venv, 'bin/python'), ['-c', 'import wheelfix_demo'], { env: world.env })
  },
)

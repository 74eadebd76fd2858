// The flake, evaluated and built by a real Nix with a nixpkgs of this machine's own files (see nixpkgs/default.nix), so that
// nothing but npm's registry and PyPI is asked.
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { missing, skip, which } from '../support/requires.ts'
import { run, type RunResult, runWell } from '../support/run.ts'
import { type NixWorld, nixWorld } from '../world/nix.ts'
import { makeVenv, pipInstall, withWheels } from '../world/venv.ts'
import { scratch } from './stores.ts'

const ROOT = join(import.meta.dirname, '../../..')
/** For root with Debian's Nix: no build users, no sandbox, nothing asked of a cache. */
const OPTIONS = (
  '--option substitute false --option build-users-group  --option sandbox false ' +
  '--extra-experimental-features nix-command --extra-experimental-features flakes'
).split(' ')

const needsNix = missing('nix', 'nix-build', 'git', 'npm')

/** Installs the run-time dependencies as the flake does. @returns their folder, or why it cannot */
function installModules(folder: string): string | { readonly skip: string } {
  for (const name of ['package.json', 'package-lock.json', '.npmrc']) cpSync(join(ROOT, name), join(folder, name))
  const { status, stderr } = run('npm', ['ci', '--omit=dev', '--ignore-scripts'], {
    cwd: folder,
    env: { ...process.env, HOME: folder },
  })
  if (status !== 0 && /E(?:NOTFOUND|AI_AGAIN|CONNREFUSED|TIMEDOUT|NETUNREACH)/.test(stderr))
    return { skip: skip("needs npm's registry") }
  assert.equal(status, 0, stderr)
  rmSync(join(folder, 'node_modules/.package-lock.json'))
  runWell('find', [join(folder, 'node_modules'), '-depth', '-type', 'd', '-empty', '-delete'])
  return join(folder, 'node_modules')
}

/** The hash of a folder as Nix reckons it: SHA-256 of its archive format, in which only names, content and run bits are. */
function narHash(path: string): string {
  const hash = createHash('sha256')
  const put = (text: string | Buffer) => {
    const bytes = Buffer.from(text)
    const length = Buffer.alloc(8)
    length.writeBigUInt64LE(BigInt(bytes.length))
    hash.update(length)
    hash.update(bytes)
    hash.update(Buffer.alloc((8 - (bytes.length % 8)) % 8))
  }
  const node = (at: string, kind: 'directory' | 'file' | 'symlink') => {
    put('(')
    put('type')
    if (kind === 'symlink') ['symlink', 'target', readlinkSync(at)].forEach(put)
    else if (kind === 'file') {
      put('regular')
      if ((Number.parseInt(runWell('stat', ['-c', '%a', at]), 8) & 0o100) !== 0) ['executable', ''].forEach(put)
      put('contents')
      put(readFileSync(at))
    } else {
      put('directory')
      const entries = readdirSync(at, { withFileTypes: true })
      for (const entry of entries.sort((a, b) => Buffer.compare(Buffer.from(a.name), Buffer.from(b.name)))) {
        for (const text of ['entry', '(', 'name', entry.name, 'node']) put(text)
        node(join(at, entry.name), entry.isDirectory() ? 'directory' : entry.isSymbolicLink() ? 'symlink' : 'file')
        put(')')
      }
    }
    put(')')
  }
  put('nix-archive-1')
  node(path, 'directory')
  return `sha256-${hash.digest('base64')}`
}

test('the hash of the run-time dependencies in the flake is the one that npm gives', { skip: missing('npm') }, t => {
  const modules = installModules(scratch(t))
  if (typeof modules !== 'string') {
    t.skip(modules.skip)
    return
  }
  const expected = /outputHash = "([^"]+)"/.exec(readFileSync(join(ROOT, 'src/nix/package.nix'), 'utf8'))?.[1]
  assert.equal(narHash(modules), expected)
})

test('flake.lock pins the nixpkgs that the flake names', () => {
  const lock = JSON.parse(readFileSync(join(ROOT, 'flake.lock'), 'utf8')) as {
    nodes: { nixpkgs: { locked: { rev: string; narHash: string }; original: { ref: string } } }
  }
  const { locked, original } = lock.nodes.nixpkgs
  assert.match(locked.rev, /^[0-9a-f]{40}$/)
  assert.match(locked.narHash, /^sha256-[A-Za-z0-9+/]{43}=$/)
  assert.ok(readFileSync(join(ROOT, 'flake.nix'), 'utf8').includes(`github:NixOS/nixpkgs/${original.ref}"`))
})

interface Flakes {
  readonly world: NixWorld
  /** A nixpkgs of this machine. */
  readonly stub: string
  /** The project as a flake of its own: only what Git knows of it, as Nix takes it. */
  readonly project: string
  nix(args: readonly string[], cwd?: string): RunResult
}

function flakes(t: TestContext): Flakes | string {
  const world = nixWorld()
  if (typeof world === 'string') return skip(world)
  t.after(() => world.dispose())
  const folder = scratch(t)
  const stub = join(folder, 'nixpkgs')
  cpSync(join(ROOT, 'test/nix/nixpkgs'), stub, { recursive: true })
  writeFileSync(join(stub, 'world.nix'), world.expression.replaceAll('builtins.currentSystem', '"x86_64-linux"'))
  const esbuild = join(ROOT, `node_modules/@esbuild/linux-${process.arch}/bin/esbuild`)
  const host = { node: process.execPath, npm: which('npm'), esbuild, uv: which('uv') ?? null }
  writeFileSync(join(stub, 'host.json'), JSON.stringify(host))
  writeFileSync(
    join(stub, 'flake.nix'),
    `{
      outputs = _: let lib = import ./lib.nix; in {
        inherit lib;
        legacyPackages = lib.genAttrs [ "x86_64-linux" "aarch64-linux" ] (system: import ./default.nix {
          inherit system lib;
          world = import ./world.nix;
          host = lib.importJSON ./host.json;
        });
      };
    }`,
  )
  const project = join(folder, 'project')
  mkdirSync(project)
  const files = runWell('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard'], { cwd: ROOT })
  for (const name of files.split('\0')) {
    if (/^(?:src|fixtures)\/|^[^/]+$/.test(name) && existsSync(join(ROOT, name)))
      cpSync(join(ROOT, name), join(project, name))
  }
  const env = { ...process.env, HOME: folder, NIX_REMOTE: '' }
  return {
    world,
    stub,
    project,
    nix(args, cwd = project) {
      const inputs = ['--no-write-lock-file', '--override-input', 'nixpkgs', `path:${stub}`]
      const own = cwd === project ? [] : ['--override-input', 'wheelfix', `path:${project}`]
      // `nix flake init` takes no inputs, and `nix develop -c` takes all that follows
      const at = args.includes('init') ? args.length : args[0] === 'flake' ? 2 : 1
      const overrides = args.includes('init') ? [] : [...inputs, ...own]
      return run('nix', [...OPTIONS, ...args.slice(0, at), ...overrides, ...args.slice(at)], { cwd, env })
    },
  }
}

function succeeds({ status, stdout, stderr }: RunResult): string {
  assert.equal(status, 0, stderr)
  return stdout
}

test(
  'nix flake check passes: every output evaluates, and a patched wheel and a Python with libraries work',
  {
    skip: needsNix,
  },
  t => {
    const all = flakes(t)
    if (typeof all === 'string') {
      t.skip(all)
      return
    }
    succeeds(all.nix(['flake', 'check', 'path:.']))
    const folder = scratch(t)
    succeeds(all.nix(['build', 'path:.#wheelfix', '-o', join(folder, 'tool')]))
    const tool = join(folder, 'tool/bin/wheelfix')
    const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string }
    assert.equal(runWell(tool, ['--version'], { env: {} }).trim(), version)
    // what the wrapper falls back to makes a wheel load without any other source
    const venv = makeVenv(all.world, 'venv')
    runWell('unzip', ['-q', wheelOf(ROOT), '-d', sitePackagesOf(all.world, venv)])
    const python = join(venv, 'bin/python')
    assert.match(run(python, ['-c', 'import wheelfix_demo']).stderr, /cannot open shared object file/)
    const report = JSON.parse(runWell(tool, ['venv', venv, '--no-scan', '--json'], { env: {} })) as {
      libs: { soname: string; source: string }[]
    }
    assert.equal(report.libs.find(({ soname }) => soname === 'libstdc++.so.6')?.source, 'default')
    runWell(python, ['-c', 'import wheelfix_demo'])
  },
)

function wheelOf(root: string): string {
  const folder = join(root, 'fixtures/demo-wheel')
  return join(folder, readdirSync(folder).find(name => name.endsWith('.whl')) ?? '')
}

function sitePackagesOf(world: NixWorld, venv: string): string {
  return join(venv, `lib/python${world.host.python.version.split('.').slice(0, 2).join('.')}/site-packages`)
}

test('the shell of the template makes a failing import numpy work', { skip: needsNix }, t => {
  const all = flakes(t)
  if (typeof all === 'string') {
    t.skip(all)
    return
  }
  const world = withWheels(all.world)
  if (typeof world === 'string') {
    t.skip(world)
    return
  }
  const project = scratch(t)
  succeeds(all.nix(['flake', 'init', '-t', `path:${all.project}#uv`], project))
  assert.ok(existsSync(join(project, '.envrc')))
  const venv = makeVenv({ ...world, root: project }, '.venv')
  pipInstall(world, venv, ['numpy'])
  const python = join(venv, 'bin/python')
  assert.match(run(python, ['-c', 'import numpy']).stderr, /libstdc\+\+\.so\.6: cannot open shared object file/)
  const inShell = ['develop', 'path:.', '-c', python, '-c', 'import numpy; print(numpy.linalg.det(numpy.eye(3)))']
  assert.equal(succeeds(all.nix(inShell, project)).trim(), '1.0')
  succeeds(all.nix(['flake', 'check', 'path:.'], project))
})

// `wheelfix libs` in the world that is a folder, and `libs build` with a real Nix.
import assert from 'node:assert/strict'
import { existsSync, mkdirSync, readdirSync, readlinkSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { missing } from '../support/requires.ts'
import { runWell } from '../support/run.ts'
import { treeState } from '../support/tree.ts'
import { nixWorldFor } from '../world/nix.ts'
import { installDemoWheel, makeVenv, wheelfix } from '../world/venv.ts'
import { buildWorld } from '../world/world.ts'

interface Document {
  readonly command: string
  readonly policies: { readonly version: string }
  readonly libs: readonly {
    readonly soname: string
    readonly path: string | null
    readonly package: string | null
    readonly version: string | null
    readonly source: string | null
    readonly inUse: boolean
    readonly hint: string | null
  }[]
}

test('where there is no Nix, wheelfix libs lists what the loader of the system finds by itself, and only that', t => {
  const world = buildWorld()
  if (typeof world === 'string') {
    t.skip(world)
    return
  }
  t.after(() => world.dispose())
  const { executable } = world.host.python
  const venv = join(world.root, 'plain')
  runWell(executable, ['-m', 'venv', '--without-pip', venv])
  installDemoWheel(world, venv)
  const env = { NIX_STORE_DIR: '/nonexistent', PATH: '/nonexistent' }
  const { libs } = JSON.parse(wheelfix(world, ['libs', venv, '--json'], env).stdout) as Document
  const of = (kind: string | null) => libs.filter(({ source }) => source === kind).map(({ soname }) => soname)
  const probe = `import ctypes, sys
for name in sys.argv[1:]:
  try: ctypes.CDLL(name); print(name)
  except OSError: pass`
  const loads = (sonames: string[]) =>
    runWell(executable, ['-c', probe, ...sonames], { env: {} })
      .split('\n')
      .filter(Boolean)
  assert.deepEqual(loads(of('system')), of('system'))
  assert.deepEqual(loads(of(null)), [])
  assert.deepEqual(
    libs.filter(({ inUse }) => inUse).map(({ soname, source }) => [soname, source]),
    ['libgcc_s.so.1', 'libstdc++.so.6', 'libz.so.1'].map(soname => [soname, 'system']),
  )
  const { status, stdout } = wheelfix(world, ['libs', venv], env)
  assert.equal(status, 0)
  assert.match(stdout, /✓ libz\.so\.1 +the system's own {2}\/\S+\/libz\.so\.1\n/)
  assert.doesNotMatch(stdout, /nixpkgs/)
  // the loader finds these without a variable
  assert.match(wheelfix(world, ['libs', 'env', venv], env).stdout, /^export WHEELFIX_LIBS=''\n/)
})

test('wheelfix libs names file, package, version and source of each soname, says what is lacking and writes nothing', t => {
  const world = buildWorld()
  if (typeof world === 'string') {
    t.skip(world)
    return
  }
  t.after(() => world.dispose())
  const venv = makeVenv(world, 'venv')
  const before = treeState(world.root)
  const { status, stdout } = wheelfix(world, ['libs', venv, '--json'])
  assert.equal(status, 0)
  const document = JSON.parse(stdout) as Document
  const row = (soname: string) => document.libs.find(item => item.soname === soname)
  assert.deepEqual(row('libstdc++.so.6'), {
    soname: 'libstdc++.so.6',
    path: join(world.libs.gcc, 'libstdc++.so.6'),
    package: 'gcc',
    version: '12.2.0',
    source: 'scan',
    inUse: false,
    hint: null,
    passedOver: [],
  })
  assert.equal(row('libz.so.1')?.source, 'closure')
  assert.equal(row('libm.so.6')?.path, join(world.libs.glibc, 'libm.so.6'))
  assert.equal(row('libm.so.6')?.source, 'libc')
  assert.equal(row('libGL.so.1')?.path, null)
  assert.match(row('libGL.so.1')?.hint ?? '', /libGL/)
  assert.deepEqual(treeState(world.root), before)

  const text = wheelfix(world, ['libs', venv]).stdout
  assert.match(text, /libstdc\+\+\.so\.6\s+gcc 12\.2\.0\s+found in the store/)
  assert.match(text, /Missing\n- libGL\.so\.1\s+in nixpkgs: libGL/)

  // the whole policy is asked for: what is lacking counts
  assert.equal(wheelfix(world, ['libs', venv, '--policy', 'manylinux_2_28']).status, 1)
  const unknown = wheelfix(world, ['libs', venv, '--policy', 'manylinux_3'])
  assert.equal(unknown.status, 2)
  assert.match(unknown.stderr, /there is no policy manylinux_3 \(known: .*manylinux_2_28/)

  const bare = JSON.parse(wheelfix(world, ['libs', '--python', world.python, '--json']).stdout) as Document
  assert.equal(bare.libs.find(item => item.soname === 'libstdc++.so.6')?.source, 'scan')
  assert.equal(wheelfix(world, ['libs', '--python', world.python, '--no-scan', '--policy', 'manylinux2014']).status, 1)

  const lines = wheelfix(world, ['libs', 'env', venv, '--libs', world.libs.zlib]).stdout
  const variables = runWell('sh', ['-c', `${lines} echo "$WHEELFIX_LIBS"; echo "$NIX_LD_LIBRARY_PATH"`])
    .trim()
    .split('\n')
  assert.equal(variables[0], variables[1])
  const folders = document.libs.flatMap(({ path, source }) =>
    source === 'libc' ? [] : (path?.replace(/\/[^/]+$/, '') ?? []),
  )
  assert.deepEqual(new Set(variables[0]?.split(':')), new Set(folders))
})

test(
  'libs build has Nix build a set, keeps it by a link, and the venv takes its libraries from there',
  {
    skip: missing('nix', 'nix-build'),
  },
  t => {
    const world = nixWorldFor(t)
    if (world === null) return
    const flake = join(world.root, 'flake')
    mkdirSync(flake)
    const expression = world.expression.replaceAll('builtins.currentSystem', '"x86_64-linux"')
    writeFileSync(join(flake, 'world.nix'), expression)
    writeFileSync(
      join(flake, 'flake.nix'),
      '{ outputs = _: { packages.x86_64-linux.libs = (import ./world.nix).gcc; }; }',
    )
    const venv = makeVenv(world, 'venv')
    const env = {
      ...world.env,
      HOME: world.root,
      NIX_CONFIG: 'substitute = false\nbuild-users-group =\nsandbox = false',
    }
    const { status, stderr } = wheelfix(world, ['libs', 'build', venv, '--flake', `path:${flake}#libs`], env)
    assert.equal(status, 0, stderr)
    assert.equal(readlinkSync(join(venv, '.wheelfix/libs')), world.outputs.gcc)
    const roots = runWell('nix-store', ['--query', '--roots', world.outputs.gcc], { env: process.env })
    assert.ok(roots.includes(join(venv, '.wheelfix/libs')))

    // it is there for what is installed later, and moves with the venv
    installDemoWheel(world, venv)
    const later = wheelfix(world, ['venv', venv, '--no-scan', '--json'], env)
    assert.equal(later.status, 0, later.stderr)
    const { libs } = JSON.parse(later.stdout) as { libs: { soname: string; path: string; source: string }[] }
    const served = { soname: 'libstdc++.so.6', path: join(world.libs.gcc, 'libstdc++.so.6'), source: 'build' }
    assert.deepEqual(
      libs.find(({ soname }) => soname === served.soname),
      served,
    )
    runWell(join(venv, 'bin/python'), ['-c', 'import wheelfix_demo'], { env })
    assert.match(wheelfix(world, ['check', venv, '--no-scan'], env).stdout, /nothing to do/)

    rmSync(join(venv, '.wheelfix'), { recursive: true })
    const failed = wheelfix(world, ['libs', 'build', venv, '--flake', `path:${flake}#nothing`], env)
    assert.equal(failed.status, 2)
    assert.match(failed.stderr, /nix build path:.*#nothing failed/)
    assert.equal(existsSync(join(venv, '.wheelfix')), false)
    const unnamed = wheelfix(world, ['libs', 'build', venv])
    assert.equal(unnamed.status, 2)
    assert.match(unnamed.stderr, /name what to build: packages from nixpkgs/)
    const pathless = { PATH: '/nonexistent', WHEELFIX_FLAKE: `path:${flake}` }
    assert.match(wheelfix(world, ['libs', 'build', venv], pathless).stderr, /nix is not on PATH/)
  },
)

test(
  'libs build takes packages of nixpkgs by name, and what is missing by itself, beside what was built before',
  { skip: missing('nix', 'nix-build') },
  t => {
    const world = nixWorldFor(t)
    if (world === null) return
    const nixpkgs = join(world.root, 'nixpkgs')
    mkdirSync(nixpkgs)
    writeFileSync(join(nixpkgs, 'world.nix'), world.expression)
    // a nixpkgs as far as the command needs one: two libraries, getLib and buildEnv
    writeFileSync(
      join(nixpkgs, 'default.nix'),
      `_: let world = import ./world.nix; in {
        inherit (world) zlib;
        stdenv.cc.cc = world.gcc;
        lib.getLib = package: package.lib or package;
        buildEnv = { name, paths, ... }: derivation {
          inherit name;
          inherit (world.zlib) system;
          builder = "/bin/sh";
          PATH = "/usr/bin:/bin";
          args = [ "-c" ''
            mkdir -p $out/lib
            for path in \${toString paths}; do
              for file in $path/lib/*; do [ -e $out/lib/''\${file##*/} ] || ln -s $file $out/lib/; done
            done
          '' ];
        };
      }`,
    )
    const venv = makeVenv(world, 'venv')
    writeFileSync(join(world.root, 'shell.nix'), '{ pkgs ? import <nixpkgs> { } }: pkgs.mkShell { }\n')
    const env = {
      ...world.env,
      HOME: world.root,
      NIX_PATH: `nixpkgs=${nixpkgs}`,
      NIX_CONFIG: 'substitute = false\nbuild-users-group =\nsandbox = false',
    }
    const named = wheelfix(world, ['libs', 'build', 'zlib', venv], env)
    assert.equal(named.status, 0, named.stderr)
    assert.match(
      named.stderr,
      /to keep them, in shell\.nix: WHEELFIX_LIBS = pkgs\.lib\.makeLibraryPath \(with pkgs; \[ zlib \]\);/,
    )

    installDemoWheel(world, venv)
    const lacking = wheelfix(world, ['check', venv, '--no-scan'], env)
    const [, remedy] = /to add them: (wheelfix .*)/.exec(lacking.stdout) ?? []
    assert.ok(remedy !== undefined, lacking.stdout)
    const words = remedy.split(' ').slice(1)
    const added = wheelfix(world, words, env)
    assert.equal(added.status, 0, added.stderr)
    assert.equal((added.stdout + added.stderr).match(/to keep them/g)?.length, 1)
    const libraries = readdirSync(join(venv, '.wheelfix/libs/lib'))
    for (const soname of ['libz.so.1', 'libstdc++.so.6']) assert.ok(libraries.includes(soname), soname)
    runWell(join(venv, 'bin/python'), ['-c', 'import wheelfix_demo'], { env })

    const missed = wheelfix(world, ['libs', 'build', '--missing', venv], env)
    assert.equal(missed.status, 0, missed.stderr)
    assert.match(missed.stderr, /nothing to build/)
    const odd = wheelfix(world, ['libs', 'build', 'zlib; abort', venv], env)
    assert.equal(odd.status, 2)
    assert.match(odd.stderr, /zlib; abort is not the name of a package/)
  },
)

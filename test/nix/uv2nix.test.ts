// `wheelfix nix`: the overlay, evaluated and built by a real Nix in a package set like that of uv2nix (uv2nix.nix).
import assert from 'node:assert/strict'
import { cpSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { missing } from '../support/requires.ts'
import { run, runWell } from '../support/run.ts'
import { nixWorldFor } from '../world/nix.ts'
import { makeVenv, sitePackages, WHEELFIX, wheelfix } from '../world/venv.ts'
import { OPTIONS, ROOT } from './flakes.ts'

interface Needs {
  readonly name: string
  readonly packages: readonly { readonly names: readonly string[]; readonly sonames: readonly string[] }[]
  readonly folders: readonly { readonly distribution: string; readonly folder: string }[]
  readonly ignored: readonly string[]
  readonly unknown: readonly string[]
}

/** A wheel's folder, to be copied into site-packages. */
function wheel(folder: string, name: string, files: readonly string[], requires: readonly string[] = []): void {
  const info = `${name}-1.0.dist-info`
  mkdirSync(join(folder, info), { recursive: true })
  const required = requires.map(other => `Requires-Dist: ${other}\n`).join('')
  writeFileSync(join(folder, info, 'METADATA'), `Metadata-Version: 2.1\nName: ${name}\nVersion: 1.0\n${required}`)
  const rows = [...files, `${info}/METADATA`, `${info}/RECORD`].map(file => `${file},,\n`)
  writeFileSync(join(folder, info, 'RECORD'), rows.join(''))
}

function compile(code: string, file: string, ...more: readonly string[]): void {
  mkdirSync(join(file, '..'), { recursive: true })
  const words = ['-shared', '-nostdlib', '-x', 'c', '-', '-x', 'none', '-Wl,--no-as-needed', ...more, '-o', file]
  runWell('bash', ['-c', 'echo "$0" | gcc "$@"', code, ...words])
}

test(
  'the overlay of wheelfix nix makes wheels build and load as derivations',
  {
    skip: missing('nix', 'nix-build', 'gcc', 'bash', 'readelf'),
  },
  t => {
    const world = nixWorldFor(t)
    if (world === null) return
    const { root } = world
    const stubs = join(root, 'stubs')
    const stub = (soname: string): string => {
      compile('int stub;', join(stubs, soname), `-Wl,-soname,${soname}`)
      return join(stubs, soname)
    }
    // one links to a library of two, and two to one of the first: derivations cannot need each other so
    const [one, two] = [join(root, 'one'), join(root, 'two')]
    const MODULE = 'void *PyInit_mod(void) { return 0; }'
    compile('int back;', join(one, 'one_pkg/libback.so.1'), '-Wl,-soname,libback.so.1')
    compile('int x;', join(two, 'two_pkg/lib/libtwo.so.1'), '-Wl,-soname,libtwo.so.1', stub('libX11.so.6'))
    const back = ['-Wl,-rpath,$ORIGIN/../../one_pkg', join(one, 'one_pkg/libback.so.1')]
    compile('int y;', join(two, 'two_pkg/lib/libcircle.so.1'), '-Wl,-soname,libcircle.so.1', ...back)
    const libtwo = ['-Wl,-rpath,$ORIGIN/../two_pkg/lib', join(two, 'two_pkg/lib/libtwo.so.1')]
    compile(MODULE, join(one, 'one_pkg/mod.so'), ...libtwo, stub('libstdc++.so.6'))
    // of a plugin that nothing imports, and of the driver
    compile('int p;', join(one, 'one_pkg/plugins/libplugin.so'), stub('libcuda.so.1'), stub('libodd${x}.so.1'))
    wheel(one, 'One_Pkg', ['one_pkg/mod.so', 'one_pkg/libback.so.1', 'one_pkg/plugins/libplugin.so'], ['two.pkg'])
    wheel(two, 'two.pkg', ['two_pkg/lib/libtwo.so.1', 'two_pkg/lib/libcircle.so.1'])

    const venv = makeVenv(world, '.venv')
    for (const folder of [one, two]) cpSync(folder, sitePackages(world, venv), { recursive: true })
    const { packages } = JSON.parse(wheelfix(world, ['nix', venv, '--json']).stdout) as { packages: readonly Needs[] }
    const [first, second] = packages
    assert.deepEqual(first, {
      name: 'one-pkg',
      packages: [{ names: ['stdenv.cc.cc'], sonames: ['libstdc++.so.6'] }],
      folders: [{ distribution: 'two-pkg', folder: 'two_pkg/lib', sonames: ['libtwo.so.1'] }],
      python: false,
      ignored: ['libcuda.so.1', 'libodd${x}.so.1'],
      unknown: [],
    })
    assert.deepEqual(second?.packages, [{ names: ['libx11', 'xorg.libX11'], sonames: ['libX11.so.6'] }])
    assert.deepEqual(second.ignored, ['libback.so.1'])

    const { status, stdout, stderr } = wheelfix(world, ['nix', venv])
    assert.equal(status, 0, stderr)
    writeFileSync(join(root, 'wheels.nix'), stdout)
    writeFileSync(join(root, 'world.nix'), world.expression)
    const version = world.host.python.version.split('.').slice(0, 2).join('.')
    writeFileSync(
      join(root, 'set.nix'),
      `let
      world = import ./world.nix;
      pkgs = {
        lib = import ${ROOT}/test/nix/nixpkgs/lib.nix;
        stdenv.cc.cc = world.gcc;
        xorg.libX11 = derivation {
          name = "libX11-1.8";
          system = builtins.currentSystem;
          builder = "/bin/sh";
          PATH = "/usr/local/bin:/usr/bin:/bin";
          args = [ "-c" "mkdir -p $out/lib; echo 'int one;' | gcc -shared -nostdlib -x c - -o $out/lib/libX11.so.6" ];
        };
      };
      set = import ${ROOT}/test/nix/uv2nix.nix {
        inherit pkgs;
        wheels = { one-pkg = ./one; two-pkg = ./two; };
        python.sitePackages = "lib/python${version}/site-packages";
        tool = "${process.execPath} ${WHEELFIX}";
      };
    in { plain = set; fixed = set.overrideScope (import ./wheels.nix { inherit pkgs; }); }`,
    )
    const build = (attribute: string) =>
      run('nix-build', [...OPTIONS.slice(0, -4), join(root, 'set.nix'), '-A', attribute, '-o', join(root, 'result')])
    const plain = build('plain.one-pkg')
    assert.notEqual(plain.status, 0)
    assert.match(plain.stderr, /could not satisfy dependency/)
    const fixed = build('fixed.one-pkg')
    assert.equal(fixed.status, 0, fixed.stderr)
    const code = `import ctypes; ctypes.CDLL('${fixed.stdout.trim()}/lib/python${version}/site-packages/one_pkg/mod.so')`
    runWell(world.python, ['-c', code], { env: world.env })
    assert.equal(build('fixed.two-pkg').status, 0)
  },
)

test(
  'wheelfix nix names what no package of nixpkgs is known to have, and has status 1',
  { skip: missing('gcc', 'nix-build') },
  t => {
    const world = nixWorldFor(t)
    if (world === null) return
    const venv = makeVenv(world, '.venv')
    const folder = sitePackages(world, venv)
    compile('int stub;', join(world.root, 'libof-nobody.so.3'), '-Wl,-soname,libof-nobody.so.3')
    compile('void *PyInit_odd(void) { return 0; }', join(folder, 'odd.so'), join(world.root, 'libof-nobody.so.3'))
    wheel(folder, 'odd', ['odd.so'])
    const { status, stdout } = wheelfix(world, ['nix', venv])
    assert.equal(status, 1)
    assert.match(stdout, /# odd needs libof-nobody\.so\.3, which no known package of nixpkgs has/)
    runWell('nix-instantiate', ['--parse', '-E', stdout])
    assert.equal(wheelfix(world, ['nix', venv, '--ignore-missing', 'libof-*']).status, 0)
  },
)

// A venv that lacks libraries, and a project that pins a nixpkgs which has them, with a real Nix and without a network.
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import type { TestContext } from 'node:test'
import { run, runWell } from '../support/run.ts'
import { type NixWorld, nixWorldFor } from '../world/nix.ts'
import { makeVenv, sitePackages } from '../world/venv.ts'
import { OPTIONS } from './flakes.ts'

/** A nixpkgs before 26.05: with `xorg.libX11`, and a package that is refused, one that is gone, one of another version. */
const NIXPKGS = `{ config ? { }, overlays ? [ ] }:
let
  world = import ./world.nix;
  library = name: soname: derivation {
    inherit name;
    system = builtins.currentSystem;
    builder = "/bin/sh";
    PATH = "/usr/local/bin:/usr/bin:/bin";
    args = [ "-c" "mkdir -p $out/lib; cd $out/lib; echo 'int one;' | gcc -shared -nostdlib -x c - -Wl,-soname,\${soname} -o \${soname}" ];
  };
in {
  inherit (world) zlib;
  stdenv.cc.cc = world.gcc;
  xorg.libX11 = library "libX11-1.8" "libX11.so.6";
  cups = (library "cups-1" "libcups.so.1");
  unrar = { meta.unfree = true; outPath = throw "it is unfree"; };
  gtk2 = throw "gtk2 was removed";
}`

export const NIX_CONFIG = 'substitute = false\nbuild-users-group =\nsandbox = false'

interface Pinned {
  readonly world: NixWorld
  readonly venv: string
  readonly env: NodeJS.ProcessEnv
  readonly narHash: string
  /** The path of the nixpkgs in the store. */
  readonly nixpkgs: string
  nix(...args: readonly string[]): string
}

/** A world whose venv misses the sonames, and a nixpkgs in its store. */
export function pinned(t: TestContext, sonames: readonly string[]): Pinned | null {
  const world = nixWorldFor(t)
  if (world === null) return null
  const nix = (...args: readonly string[]) => runWell('nix', [...OPTIONS, ...args]).trim()
  const nixpkgs = join(world.root, 'nixpkgs')
  mkdirSync(nixpkgs)
  writeFileSync(join(nixpkgs, 'world.nix'), world.expression)
  writeFileSync(join(nixpkgs, 'default.nix'), NIXPKGS)
  const stored = nix('store', 'add-path', '--name', 'source', nixpkgs)
  const narHash = nix('hash', 'path', nixpkgs)
  rmSync(nixpkgs, { recursive: true })

  const venv = makeVenv(world, '.venv')
  const folder = join(world.root, 'stubs')
  mkdirSync(folder)
  for (const soname of sonames) {
    compile('int one;', join(folder, soname), `-Wl,-soname,${soname}`)
  }
  const linked = sonames.map(soname => join(folder, soname))
  compile('void *PyInit_probe(void) { return 0; }', probeOf(world, venv), '-Wl,--no-as-needed', ...linked)
  rmSync(folder, { recursive: true })
  return { world, venv, env: { ...world.env, HOME: world.root, NIX_CONFIG }, narHash, nixpkgs: stored, nix }
}

function compile(code: string, file: string, ...more: readonly string[]): void {
  runWell('bash', ['-c', `echo '${code}' | gcc -shared -nostdlib -x c - -x none "$@" -o ${file}`, '-', ...more])
}

export function probeOf(world: NixWorld, venv: string): string {
  return join(sitePackages(world, venv), 'probe.so')
}

export function loads({ world, venv, env }: Pinned): boolean {
  const code = `import ctypes; ctypes.CDLL('${probeOf(world, venv)}')`
  return run(join(venv, 'bin/python'), ['-c', code], { env }).status === 0
}

/** A lock as the tool writes it: the address is of a server that does not exist, the hash that of the tree in the store. */
export const rev = '9f78f44a87948854445dae0b6bf82b2e87e4efb5'
const url = `https://nixpkgs.invalid/${rev}.tar.gz`
type Locks = Readonly<Record<string, (hash: string, base32: string) => unknown>>
const flakeNode = (narHash: string) => ({
  locked: { lastModified: 1, narHash, owner: 'NixOS', repo: 'nixpkgs', rev, type: 'github' },
})
export const LOCKS: Locks = {
  'flake.lock': hash => ({
    root: 'root',
    nodes: { nixpkgs_2: flakeNode(hash), root: { inputs: { nixpkgs: 'nixpkgs_2' } } },
  }),
  // an input that follows that of another; the nixpkgs of devenv is a flake around nixpkgs
  'devenv.lock': hash => ({
    root: 'root',
    nodes: {
      wrapped: flakeNode(hash),
      around: { inputs: { 'nixpkgs-src': 'wrapped' }, locked: { type: 'path', path: '/nonexistent' } },
      devenv: { inputs: { nixpkgs: 'around' } },
      root: { inputs: { devenv: 'devenv', nixpkgs: ['devenv', 'nixpkgs'] } },
    },
  }),
  'npins/sources.json': (_, hash) => ({ pins: { nixpkgs: { type: 'Channel', url, hash } }, version: 5 }),
  'nix/sources.json': (_, sha256) => ({
    niv: {},
    nixpkgs: { branch: 'nixos-25.11', rev, sha256, url, type: 'tarball' },
  }),
}

export function lock(pin: Pinned, name: string): void {
  const path = join(pin.world.root, name)
  mkdirSync(dirname(path), { recursive: true })
  const text = LOCKS[name]?.(pin.narHash, pin.nix('hash', 'to-base32', pin.narHash))
  writeFileSync(path, JSON.stringify(text))
}

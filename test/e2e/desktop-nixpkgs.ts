// A nixpkgs of the host's libraries, in a real store: each attribute that the hints name is a package with the host's files of
// its sonames. What such a library needs besides is in one package behind all of them, which only they find.
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { HINTS } from '../../src/nix/hints.ts'
import { OPTIONS } from '../nix/flakes.ts'
import { runWell } from '../support/run.ts'
import type { NixWorld } from '../world/nix.ts'
import { WHEELFIX } from '../world/venv.ts'
import { closureOf, hostFile } from './desktop.ts'

/** The world has packages of its own for these. */
const OWN: Readonly<Record<string, string>> = { 'stdenv.cc.cc': 'world.gcc', zlib: 'world.zlib' }

/** Adds it to the store, and a flake.lock that pins it. @param also sonames that are opened by name alone */
export function pinHostNixpkgs(world: NixWorld, also: readonly string[]): void {
  const rows = HINTS.filter(({ source, gone, attribute }) => {
    return source !== 'driver' && gone === undefined && OWN[attribute] === undefined
  })
  const packages = rows.flatMap(({ attribute, sonames }) => {
    const files = sonames.split(' ').flatMap(soname => hostFile(soname) ?? [])
    return files.length === 0 ? [] : [`${attribute} = package "${attribute}" "${files.join(' ')}";`]
  })
  const sonames = rows.flatMap(row => row.sonames.split(' '))
  const behind = [...closureOf([...sonames, ...also]).values()].join(' ')
  const own = Object.entries(OWN).map(([attribute, value]) => `${attribute} = ${value};`)
  const folder = join(world.root, 'nixpkgs')
  mkdirSync(folder)
  writeFileSync(join(folder, 'world.nix'), world.expression)
  writeFileSync(
    join(folder, 'default.nix'),
    `{ config ? { }, overlays ? [ ] }:
    let
      world = import ./world.nix;
      make = name: files: search: derivation {
        name = "\${name}-1.0";
        system = builtins.currentSystem;
        builder = "/bin/sh";
        PATH = "/usr/bin:/bin";
        inherit files;
        search = search + ":\${world.glibc}/lib:\${world.gcc}/lib";
        args = [ "-ec" ''
          export HOME=$TMPDIR
          mkdir -p $out/lib
          cp -L $files $out/lib
          chmod u+w $out/lib/*
          ${process.execPath} ${WHEELFIX} elf --set-rpath $out/lib:$search $out/lib/*
        '' ];
      };
      behind = make "behind" ${JSON.stringify(behind)} "";
      package = name: files: make name files "\${behind}/lib";
    in { ${[...own, ...packages].join('\n')} }`,
  )
  const nix = (...args: readonly string[]) => runWell('nix', [...OPTIONS, ...args]).trim()
  nix('store', 'add-path', '--name', 'source', folder)
  const locked = { lastModified: 1, narHash: nix('hash', 'path', folder), owner: 'NixOS', repo: 'nixpkgs' }
  rmSync(folder, { recursive: true })
  const node = { locked: { ...locked, rev: '9f78f44a87948854445dae0b6bf82b2e87e4efb5', type: 'github' } }
  const lock = { root: 'root', nodes: { nixpkgs: node, root: { inputs: { nixpkgs: 'nixpkgs' } } }, version: 7 }
  writeFileSync(join(world.root, 'flake.lock'), JSON.stringify(lock))
}

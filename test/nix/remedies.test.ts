// Each line that a report prints to be pasted is pasted: into the file that it names, in that file's own syntax, and what Nix
// makes of it gives the library.
import assert from 'node:assert/strict'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, suite, test } from 'node:test'
import { findProjectFile, type ProjectFile } from '../../src/nix/build/project-file.ts'
import { keepRemedy, lineFor } from '../../src/report/run/remedies.ts'
import { missing, skip } from '../support/requires.ts'
import { run, runWell } from '../support/run.ts'
import { installDemoWheel, makeVenv, WHEELFIX } from '../world/venv.ts'
import { buildWorld, type World } from '../world/world.ts'

const ROOT = join(import.meta.dirname, '../../..')

/** A file of each kind, with the place where its users write settings. */
const FILES: Readonly<
  Record<ProjectFile['kind'], { readonly name: string; readonly text: string; readonly anchor: string }>
> = {
  template: {
    name: 'flake.nix',
    text: readFileSync(join(ROOT, 'fixtures/templates/uv/flake.nix'), 'utf8'),
    anchor: 'libs = pkgs: [ ];',
  },
  flake: {
    name: 'flake.nix',
    text: '{ outputs = { nixpkgs, ... }: let pkgs = nixpkgs; in { devShells.x86_64-linux.default = pkgs.mkShell { # here\n }; }; }\n',
    anchor: '# here\n',
  },
  shell: {
    name: 'shell.nix',
    text: '{ pkgs ? import <nixpkgs> { } }: pkgs.mkShell { # here\n }\n',
    anchor: '# here\n',
  },
  devenv: { name: 'devenv.nix', text: '{ pkgs, ... }: { # here\n }\n', anchor: '# here\n' },
  nixos: { name: 'configuration.nix', text: '{ pkgs, ... }: { # here\n }\n', anchor: '# here\n' },
}

suite('a line to paste', () => {
  const world = buildWorld()
  if (typeof world === 'string') {
    test('works', { skip: skip(world) })
    return
  }
  after(() => world.dispose())
  for (const kind of ['template', 'flake', 'shell', 'devenv', 'nixos'] as const) {
    test(`works in a file of kind ${kind}`, { skip: missing('nix-instantiate') }, () => pasted(world, kind))
  }

  test('is for the project’s own file, the nearest first', () => {
    const found = (files: Readonly<Record<string, string>>) => {
      const folder = join(world.root, `project-${Object.keys(files).join('-').replaceAll('/', '_')}`)
      mkdirSync(join(folder, '.git'), { recursive: true })
      mkdirSync(join(folder, 'sub'), { recursive: true })
      for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text)
      return findProjectFile(join(folder, 'sub/.venv'), '/nowhere/configuration.nix')?.kind ?? null
    }
    assert.equal(found({}), null)
    assert.equal(found({ 'shell.nix': '{ }' }), 'shell')
    assert.equal(found({ 'flake.nix': '{ }' }), 'flake')
    assert.equal(found({ 'flake.nix': FILES.template.text }), 'template')
    assert.equal(found({ 'devenv.nix': '{ }', 'flake.nix': '{ }' }), 'devenv')
    assert.equal(found({ 'default.nix': '{ }' }), null)
    assert.equal(found({ 'default.nix': 'mkShell { }' }), 'shell')
    assert.equal(found({ 'flake.nix': '{ }', 'sub/shell.nix': '{ }' }), 'shell')
  })

  test('is not a second definition of WHEELFIX_LIBS', () => {
    const folder = join(world.root, 'twice')
    mkdirSync(folder)
    const printed = (text: string) => {
      writeFileSync(join(folder, 'shell.nix'), text)
      const project = findProjectFile(join(folder, '.venv'))
      assert.ok(project !== null)
      return keepRemedy(['libGL'], project, folder)
    }
    const line = lineFor('shell', ['glib'])
    assert.deepEqual(printed(`{ ${line} }`), {
      where: 'to keep them, in the list of WHEELFIX_LIBS in shell.nix',
      text: 'libGL',
    })
    assert.deepEqual(printed(`{ # ${line}\n }`), {
      where: 'to keep them, in shell.nix',
      text: lineFor('shell', ['libGL']),
    })
  })
})

function pasted(world: World, kind: ProjectFile['kind']): void {
  const project = join(world.root, kind)
  const venv = makeVenv(world, `${kind}/.venv`)
  installDemoWheel(world, venv)
  const { name, text, anchor } = FILES[kind]
  const file = join(project, name)
  writeFileSync(file, text)
  // the line that check prints; it prints none for nixos here, so that one is taken from the same function
  const wheelfix = (env: NodeJS.ProcessEnv = {}) =>
    run(process.execPath, [WHEELFIX, 'check', '--no-scan'], { cwd: project, env: { ...world.env, ...env } })
  const printed = /^→ to keep them, in (\S+): (.*)$/m.exec(wheelfix().stdout)
  const line = kind === 'nixos' ? lineFor(kind, ['stdenv.cc.cc', 'zlib']) : (printed?.[2] ?? '')
  if (kind !== 'nixos') assert.equal(printed?.[1], name)
  assert.match(line, /stdenv\.cc\.cc/)
  assert.ok(text.includes(anchor))
  writeFileSync(file, text.replace(anchor, anchor.startsWith('#') ? `${anchor}${line}\n` : line))

  // a nixpkgs of the world: its libraries by their attributes, and what the files call
  const pkgs = `rec {
    lib = import ${join(ROOT, 'test/nix/nixpkgs/lib.nix')};
    mkShell = attributes: attributes;
    stdenv.cc.cc = "${world.outputs.gcc}"; zlib = "${world.outputs.zlib}";
  }`
  const value: Readonly<Record<ProjectFile['kind'], string>> = {
    // its shell is made by wheelfix's own function, which the tests of the flake try
    template:
      '(file.outputs { nixpkgs = { inherit (pkgs) lib; legacyPackages.x86_64-linux = pkgs; legacyPackages.aarch64-linux = pkgs; }; ' +
      'wheelfix.lib.x86_64-linux.mkPythonShell = { libs, ... }: pkgs.lib.makeLibraryPath (libs pkgs); }).devShells.x86_64-linux.default',
    flake: '(file.outputs { nixpkgs = pkgs; }).devShells.x86_64-linux.default.WHEELFIX_LIBS',
    shell: '(file { inherit pkgs; }).WHEELFIX_LIBS',
    devenv: '(file { inherit pkgs; }).env.WHEELFIX_LIBS',
    nixos: '(file { inherit pkgs; }).environment.sessionVariables.WHEELFIX_LIBS',
  }
  const plain = 'p: if builtins.isAttrs p then p.out or p else p'
  const expression = `let base = ${pkgs}; pkgs = base // { lib = base.lib // { makeLibraryPath = ps: builtins.concatStringsSep ":" (map (p: "\${(${plain}) p}/lib") ps); }; }; file = import ${file}; in ${value[kind]}`
  const libs: unknown = JSON.parse(runWell('nix-instantiate', ['--eval', '--strict', '--json', '--expr', expression]))
  assert.ok(typeof libs === 'string' && libs.includes(world.outputs.gcc), String(libs))
  assert.match(wheelfix({ WHEELFIX_LIBS: libs }).stdout, /1 object: 1 to patch\n/)
}

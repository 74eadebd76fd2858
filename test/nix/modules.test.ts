// The modules for NixOS and Home Manager, evaluated with nixpkgs' own module system where WHEELFIX_TEST_NIXPKGS_LIB names its
// `lib` folder, else with a small one of the same meaning; and what they make is built by a real Nix.
import assert from 'node:assert/strict'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import { missing } from '../support/requires.ts'
import { run, runWell } from '../support/run.ts'
import { installDemoWheel, makeVenv } from '../world/venv.ts'
import { flakes, ROOT, succeeds } from './flakes.ts'
import { scratch } from './stores.ts'

const REAL_LIB = process.env['WHEELFIX_TEST_NIXPKGS_LIB']
const needsNix = missing('nix', 'nix-build', 'git', 'npm', 'gcc')
const SYSTEMS = ['the small module system', ...(REAL_LIB === undefined ? [] : ["nixpkgs' module system"])]

/** A flake whose outputs are what the modules make of a configuration. */
function flakeOf(moduleSystem: string): string {
  return `{
    inputs.nixpkgs.url = "nixpkgs";
    inputs.wheelfix.inputs.nixpkgs.follows = "nixpkgs";
    outputs = { nixpkgs, wheelfix, ... }: let
      pkgs = nixpkgs.legacyPackages.x86_64-linux;
      modules = ${moduleSystem};
      lib = nixpkgs.lib // modules;
      # the options of the system that the module sets
      base = { ... }: {
        options = nixpkgs.lib.genAttrs [ "environment" "systemd" "home" ] (_: lib.mkOption {
          type = lib.types.attrsOf lib.types.anything;
          default = { };
        });
      };
      evaluate = module: settings: (modules.evalModules {
        modules = [ base module { config.programs.wheelfix = settings; } ];
        specialArgs = { inherit pkgs lib; };
      }).config;
      all = { enable = true; libs = pkgs: [ pkgs.expat ]; python.enable = true; tools.enable = true; };
      both = settings: {
        nixos = evaluate wheelfix.nixosModules.default settings;
        home = evaluate wheelfix.homeModules.default settings;
      };
      tell = config: {
        variables = config.environment.sessionVariables or config.home.sessionVariables or { };
        packages = map toString (config.environment.systemPackages or config.home.packages or [ ]);
        user = config.systemd.user or { };
      };
    in {
      told = builtins.mapAttrs (_: settings: builtins.mapAttrs (_: tell) (both settings)) {
        inherit all;
        plain.enable = true;
        off = { };
      };
      options = builtins.mapAttrs (_: option:
        if option ? description then option.description else builtins.mapAttrs (_: inner: inner.description) option
      ) (wheelfix.nixosModules.default { config = { }; inherit pkgs lib; }).options.programs.wheelfix;
      tool = "\${wheelfix.packages.x86_64-linux.wheelfix}";
      packages.x86_64-linux = {
        python = wheelfix.lib.x86_64-linux.pythonWithLibs { libs = [ pkgs.expat ]; };
        tool = wheelfix.packages.x86_64-linux.wheelfix;
      };
      devShells.x86_64-linux.default = wheelfix.lib.x86_64-linux.mkPythonShell {
        libs = pkgs: [ pkgs.expat ];
        packages = [ pkgs.nodejs ];
        shellHook = "echo entered";
      };
    };
  }`
}

interface Told {
  readonly variables: Readonly<Record<string, string>>
  readonly packages: readonly string[]
  readonly user: {
    readonly services?: { readonly 'wheelfix-tools': Readonly<Record<string, unknown>> }
    readonly paths?: { readonly 'wheelfix-tools': Readonly<Record<string, unknown>> }
  }
}

/** The words of ExecStart. */
function commandOf(service: unknown): string[] {
  assert.ok(typeof service === 'object' && service !== null && 'ExecStart' in service)
  return String(service.ExecStart).split(' ')
}

suite('the modules', { skip: needsNix }, () => {
  for (const name of SYSTEMS) {
    test(`of NixOS and Home Manager set the same, with ${name}`, t => {
      const all = flakes(t)
      if (all === null) return
      const folder = scratch(t)
      const isReal = name !== SYSTEMS[0]
      if (isReal) runWell('cp', ['-r', REAL_LIB ?? '', join(folder, 'lib')])
      writeFileSync(join(folder, 'flake.nix'), flakeOf(isReal ? 'import ./lib' : 'import "${nixpkgs}/modules.nix"'))
      const evaluated = succeeds(all.nix(['eval', '--json', 'path:.#told'], folder))
      const told = JSON.parse(evaluated) as Record<'all' | 'plain' | 'off', Record<'nixos' | 'home', Told>>
      const tool = succeeds(all.nix(['eval', '--raw', 'path:.#tool'], folder))
      for (const kind of ['nixos', 'home'] as const) {
        assert.deepEqual(told.off[kind], { variables: {}, packages: [], user: {} })
        assert.deepEqual(told.plain[kind], { variables: {}, packages: [tool], user: {} })
        const { variables, packages, user } = told.all[kind]
        assert.deepEqual(packages, [tool])
        assert.match(variables['WHEELFIX_DEFAULT_LIBS'] ?? '', /-expat-[^:]*\/lib$/)
        assert.match(variables['UV_PYTHON'] ?? '', /-py\/bin\/python3$/)
        assert.equal(variables['UV_PYTHON_DOWNLOADS'], 'never')
        assert.ok(user.services !== undefined && user.paths !== undefined)
      }
      assert.deepEqual(told.all.nixos.variables, told.all.home.variables)
      const { pathConfig } = told.all.nixos.user.paths?.['wheelfix-tools'] ?? {}
      const { Path: path } = told.all.home.user.paths?.['wheelfix-tools'] ?? {}
      assert.deepEqual(pathConfig, path)

      if (isReal) return
      // the service patches what uv and pre-commit made, and the Python needs no patched wheel
      succeeds(all.nix(['build', 'path:.#tool', '-o', join(folder, 'tool')], folder))
      const places = ['.local/share/uv/tools/demo', '.cache/pre-commit/repo1/py_env-python3']
      const environments = places.map(place => {
        mkdirSync(join(folder, place, '..'), { recursive: true })
        const venv = makeVenv({ ...all.world, root: folder }, place)
        installDemoWheel(all.world, venv)
        return join(venv, 'bin/python')
      })
      const [first = ''] = environments
      assert.equal(run(first, ['-c', 'import wheelfix_demo']).status, 1)
      const { Service: service } = told.all.home.user.services?.['wheelfix-tools'] ?? {}
      assert.deepEqual(told.all.nixos.user.services?.['wheelfix-tools']['serviceConfig'], service)
      const [program = '', ...words] = commandOf(service)
      runWell(program, words, { env: { HOME: folder, PATH: '/usr/bin:/bin' } })
      for (const python of environments) runWell(python, ['-c', 'import wheelfix_demo'])
    })
  }

  test('have exactly the options that docs/nix.md lists', t => {
    const all = flakes(t)
    if (all === null) return
    const folder = scratch(t)
    writeFileSync(join(folder, 'flake.nix'), flakeOf('import "${nixpkgs}/modules.nix"'))
    const options = JSON.parse(succeeds(all.nix(['eval', '--json', 'path:.#options'], folder))) as object
    const names = Object.entries(options).flatMap(([name, value]) =>
      typeof value === 'string' ? [name] : Object.keys(value as object).map(inner => `${name}.${inner}`),
    )
    const [, section = ''] = /^## Modules\n([^]*?)^## /m.exec(readFileSync(join(ROOT, 'docs/nix.md'), 'utf8')) ?? []
    const told = [...section.matchAll(/^\| `([\w.]+)` \|/gm)].map(([, name = '']) => name)
    assert.deepEqual(told.sort(), names.sort())
  })

  test('a shell of mkPythonShell has the Python, the libraries and the caller’s own packages and hook', t => {
    const all = flakes(t)
    if (all === null) return
    const folder = scratch(t)
    writeFileSync(join(folder, 'flake.nix'), flakeOf('import "${nixpkgs}/modules.nix"'))
    const code = 'command -v wheelfix node; echo "$UV_PYTHON"; echo "$WHEELFIX_LIBS"'
    const said = succeeds(all.nix(['develop', 'path:.', '-c', 'bash', '-c', code], folder))
      .trim()
      .split('\n')
    assert.deepEqual(said.length, 5)
    assert.equal(said[0], 'entered')
    assert.match(said[1] ?? '', /\/bin\/wheelfix$/)
    assert.equal(said[3], all.world.python)
    assert.match(said[4] ?? '', /-expat-[^:]*\/lib$/)
  })

  test('users without flakes import default.nix', t => {
    const all = flakes(t)
    if (all === null) return
    const expression = `
      let
        lib = import ${all.stub}/lib.nix;
        pkgs = import ${all.stub}/default.nix {
          inherit lib;
          system = "x86_64-linux";
          world = import ${all.stub}/world.nix;
          host = lib.importJSON ${all.stub}/host.json;
        };
        project = import ${all.project} { inherit pkgs; };
      in builtins.attrNames project ++ builtins.attrNames project.functions ++ [ project.wheelfix.drvPath ]`
    const names = JSON.parse(runWell('nix-instantiate', ['--eval', '--strict', '--json', '-E', expression])) as string[]
    for (const name of [
      'wheelfix',
      'libs',
      'libs-desktop',
      'functions',
      'nixosModules',
      'homeModules',
      'mkPythonShell',
    ]) {
      assert.ok(names.includes(name), name)
    }
  })
})

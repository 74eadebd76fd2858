// Runs the documentation's recipes for CI and for other tools, exactly as they are written there.
import assert from 'node:assert/strict'
import { appendFileSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, suite, test, type TestContext } from 'node:test'
import { missing, skip } from '../support/requires.ts'
import { run, runWell } from '../support/run.ts'
import { buildWorld } from '../world/world.ts'
import { installDemoWheel, makeVenv, WHEELFIX, withWheels } from '../world/venv.ts'
import { type Flakes, flakes, ROOT, succeeds } from './flakes.ts'
import { scratch } from './stores.ts'

const README = ['recipes', 'nix'].map(name => readFileSync(join(ROOT, `docs/${name}.md`), 'utf8')).join('\n')

/** The block that begins with a comment of that name; without it. */
function recipe(name: string): string {
  const blocks = [...README.matchAll(/^```\w+\n(?:#|\/\/) (.*)\n([^]*?)^```$/gm)]
  const [, , text] = blocks.find(([, title = '']) => title.startsWith(name)) ?? []
  assert.ok(text !== undefined, `no recipe ${name}`)
  return text
}

const needsNix = missing('nix', 'nix-build', 'git', 'npm', 'bash', 'gcc')
const IMPORT = ['-c', 'import wheelfix_demo']

/** A project of the template, with a `nix` that finds its inputs. */
function project(t: TestContext, uv?: string) {
  const all = flakes(t, uv)
  if (all === null) return null
  const folder = scratch(t)
  const bin = scratch(t)
  succeeds(all.nix(['flake', 'init', '-t', `path:${all.project}`], folder))
  all.installNix(bin)
  const env = { ...all.world.env, PATH: `${bin}:/usr/local/bin:/usr/bin:/bin`, NIX_REMOTE: '' }
  return { all, folder, bin, env }
}

/** A venv in the project that lacks libraries. @returns its Python */
function demoVenv({ world }: Flakes, folder: string): string {
  const venv = makeVenv({ ...world, root: folder }, '.venv')
  installDemoWheel(world, venv)
  assert.notEqual(run(join(venv, 'bin/python'), IMPORT, { env: world.env }).status, 0)
  return join(venv, 'bin/python')
}

test('the jobs for GitHub and GitLab install, patch and check', { skip: needsNix }, t => {
  const host = withWheels(buildWorld())
  if (typeof host === 'string') {
    t.skip(skip(host))
    return
  }
  t.after(() => host.dispose())
  const wheels = process.env['WHEELFIX_TEST_WHEELS']
  const from = wheels === undefined ? [] : ['--no-index', '--find-links', wheels]
  const tools = scratch(t)
  const pip = { ...host.env, HOME: process.env['HOME'] }
  runWell(host.host.python.executable, ['-m', 'pip', 'install', '-q', '--target', tools, ...from, 'uv'], { env: pip })
  const github = [...recipe('.github/').matchAll(/^ {6}- run: (.*)$/gm)].map(([, line = '']) => line)
  const gitlab = recipe('.gitlab-ci.yml')
  const [, setting = ''] = /^ {4}NIX_CONFIG: "(.*)"$/m.exec(gitlab) ?? []
  const script = [...gitlab.matchAll(/^ {4}- (.*)$/gm)].map(([, line = '']) => line)
  assert.ok(github.length === 3 && script.length === 3 && setting !== '')

  for (const [lines, more] of [
    [github, {}],
    [script, { NIX_CONFIG: setting }],
  ] as const) {
    const made = project(t, join(tools, 'bin/uv'))
    if (made === null) return
    const { folder, env } = made
    if (wheels !== undefined)
      appendFileSync(join(folder, 'pyproject.toml'), `no-index = true\nfind-links = ["${wheels}"]\n`)
    for (const line of lines) {
      const uv = { UV_CACHE_DIR: join(folder, '.cache'), UV_NATIVE_TLS: '1' }
      const { status, stdout, stderr } = run('bash', ['-e', '-c', line], {
        cwd: folder,
        env: { ...env, ...uv, ...more },
      })
      assert.equal(status, 0, `${line}\n${stdout}${stderr}`)
    }
    runWell(join(folder, '.venv/bin/python'), ['-c', 'import numpy'], { env })
  }
})

test(
  'direnv takes the .envrc, which is that of the template, and the venv works',
  { skip: needsNix || missing('direnv') },
  t => {
    const made = project(t)
    if (made === null) return
    const { all, folder, env } = made
    assert.equal(recipe('.envrc'), readFileSync(join(folder, '.envrc'), 'utf8'))
    const python = demoVenv(all, folder)
    const direnv = (args: readonly string[]) => run('direnv', args, { cwd: folder, env })
    succeeds(direnv(['allow']))
    const { status, stderr } = direnv(['exec', '.', python, ...IMPORT])
    assert.equal(status, 0, stderr)
    assert.match(succeeds(direnv(['exec', '.', 'wheelfix', 'check'])), /nothing to do/)
  },
)

test(
  'the modules for devenv, NixOS and Home Manager give the tool, and the hook of devenv patches',
  { skip: needsNix },
  t => {
    const made = project(t)
    if (made === null) return
    const { all, folder, env } = made
    const modules = { devenv: 'devenv.nix', settings: 'NixOS' }
    for (const [file, name] of Object.entries(modules)) writeFileSync(join(folder, `${file}.nix`), recipe(name))
    // what devenv.yaml, a home configuration or a system's flake give to a module
    writeFileSync(
      join(folder, 'flake.nix'),
      `{
      inputs.nixpkgs.url = "nixpkgs";
      inputs.wheelfix.inputs.nixpkgs.follows = "nixpkgs";
      outputs = { nixpkgs, ... }@inputs: let
        pkgs = nixpkgs.legacyPackages.x86_64-linux;
        devenv = import ./devenv.nix { inherit pkgs inputs; };
        modules = import "\${nixpkgs}/modules.nix";
        lib = nixpkgs.lib // modules;
        base = { options = lib.genAttrs [ "environment" "home" "systemd" ] (_: lib.mkOption { default = { }; }); };
        evaluate = module: (modules.evalModules {
          modules = [ base module { config = import ./settings.nix; } ];
          specialArgs = { inherit pkgs lib; };
        }).config;
        nixos = evaluate inputs.wheelfix.nixosModules.default;
        home = evaluate inputs.wheelfix.homeModules.default;
        tool = "\${inputs.wheelfix.packages.x86_64-linux.wheelfix}";
      in {
        packages.x86_64-linux.default = inputs.wheelfix.packages.x86_64-linux.wheelfix;
        told = {
          inherit tool;
          enterShell = devenv.enterShell;
          variables = home.home.sessionVariables;
          same = nixos.environment.sessionVariables == home.home.sessionVariables;
          packages = map (map toString) [ devenv.packages home.home.packages nixos.environment.systemPackages ];
        };
      };
    }`,
    )
    const told = JSON.parse(succeeds(all.nix(['eval', 'path:.#told', '--json'], folder))) as {
      readonly tool: string
      readonly enterShell: string
      readonly variables: Readonly<Record<string, string>>
      readonly same: boolean
      readonly packages: readonly (readonly string[])[]
    }
    assert.ok(told.same && told.packages.every(packages => packages.includes(told.tool)))
    assert.equal(told.variables['UV_PYTHON_DOWNLOADS'], 'never')
    succeeds(all.nix(['build', 'path:.#default', '--no-link'], folder))
    const inShell = { cwd: folder, env: { ...env, PATH: `${told.tool}/bin:${env.PATH}` } }

    const python = demoVenv(all, folder)
    runWell('bash', ['-e', '-c', told.enterShell], inShell)
    runWell(python, IMPORT, { env })
    // where devenv made the venv
    const state = join(folder, 'state')
    mkdirSync(state)
    const other = demoVenv(all, state)
    const shell = { ...inShell, env: { ...inShell.env, VIRTUAL_ENV: join(state, '.venv') } }
    runWell('bash', ['-e', '-c', told.enterShell], shell)
    runWell(other, IMPORT, { env })
  },
)

test('the flake with flake-parts has the shell and the tool', { skip: needsNix }, t => {
  const made = project(t)
  if (made === null) return
  const { all } = made
  const folder = scratch(t)
  writeFileSync(join(folder, 'flake.nix'), recipe('flake.nix with flake-parts'))
  // flake-parts as far as the recipe sees it; or a real one, with the flake of a real nixpkgs' lib
  const real = process.env['WHEELFIX_TEST_FLAKE_PARTS']
  const parts = real ?? scratch(t)
  if (real === undefined) {
    writeFileSync(
      join(parts, 'flake.nix'),
      `{ outputs = _: { lib.mkFlake = { inputs }: { systems, perSystem }: let
        each = system: perSystem { inherit system; pkgs = inputs.nixpkgs.legacyPackages.\${system}; };
        transposed = name: builtins.listToAttrs (map (system: { name = system; value = (each system).\${name}; }) systems);
      in { devShells = transposed "devShells"; packages = transposed "packages"; }; }; }`,
    )
  }
  const lib = [
    '--override-input',
    'flake-parts/nixpkgs-lib',
    `path:${process.env['WHEELFIX_TEST_NIXPKGS_FLAKE'] ?? ''}`,
  ]
  const override = ['--override-input', 'flake-parts', `path:${parts}`, ...(real === undefined ? [] : lib)]
  const code = 'command -v wheelfix; echo "$WHEELFIX_LIBS"'
  const said = succeeds(all.nix(['develop', 'path:.', ...override, '-c', 'bash', '-c', code], folder))
  assert.match(said, /\/bin\/wheelfix\n.*-cups[^:]*\/lib$/m)
  const version = succeeds(all.nix(['run', 'path:.#wheelfix', ...override, '--', '--version'], folder))
  assert.match(version, /^\d+\.\d+\.\d+/)
})

test('devbox.json names a package that exists, and its hook patches', { skip: needsNix }, t => {
  const made = project(t)
  if (made === null) return
  const { all, folder, env } = made
  const { packages, shell } = JSON.parse(recipe('devbox.json')) as {
    readonly packages: readonly string[]
    readonly shell: { readonly init_hook: readonly string[] }
  }
  const own = packages.find(name => name.startsWith('path:')) ?? ''
  const out = join(scratch(t), 'tool')
  succeeds(all.nix(['build', own.replace('/path/to/this/clone', all.project), '-o', out]))
  const python = demoVenv(all, folder)
  const hook = { cwd: folder, env: { ...env, PATH: `${out}/bin:${env.PATH}` } }
  runWell('sh', ['-e', '-c', shell.init_hook.join('\n')], hook)
  runWell(python, IMPORT, { env })
})

suite('pre-commit', () => {
  const world = withWheels(buildWorld())
  const lacking = missing('git')
  if (typeof world === 'string' || lacking !== false) {
    test('needs PyPI and git', { skip: typeof world === 'string' ? skip(world) : lacking })
    return
  }
  after(() => world.dispose())
  const tools = join(world.root, 'tools')
  const python = world.host.python.executable
  runWell(python, ['-m', 'venv', tools])
  const wheels = process.env['WHEELFIX_TEST_WHEELS']
  const from = wheels === undefined ? [] : ['--no-index', '--find-links', wheels]
  const pip = ['-q', '--disable-pip-version-check', 'install', ...from, 'pre-commit']
  const { status } = run(join(tools, 'bin/pip'), pip, { env: { ...world.env, HOME: process.env['HOME'] } })
  if (status !== 0) {
    test('needs pre-commit', { skip: skip('needs pre-commit of PyPI') })
    return
  }

  test('fails while the venv is unpatched, and passes afterwards', () => {
    const folder = join(world.root, 'project')
    const bin = join(world.root, 'bin')
    for (const path of [folder, bin]) mkdirSync(path)
    symlinkSync(process.execPath, join(bin, 'node'))
    symlinkSync(WHEELFIX, join(bin, 'wheelfix'))
    writeFileSync(join(folder, '.pre-commit-config.yaml'), recipe('.pre-commit-config.yaml'))
    installDemoWheel(world, makeVenv({ ...world, root: folder }, '.venv'))
    const env = { ...world.env, PATH: `${bin}:${tools}/bin:/usr/bin:/bin` }
    const git = (...args: readonly string[]) => runWell('git', args, { cwd: folder, env })
    git('init', '-q')
    git('add', '.pre-commit-config.yaml')
    const commit = () => run(join(tools, 'bin/pre-commit'), ['run', '--all-files'], { cwd: folder, env })
    const before = commit()
    assert.equal(before.status, 1, before.stdout + before.stderr)
    assert.match(before.stdout, /wheelfix-demo +1 to patch/)
    runWell(join(bin, 'wheelfix'), ['venv', '--quiet'], { cwd: folder, env })
    const then = commit()
    assert.equal(then.status, 0, then.stdout + then.stderr)
    assert.match(then.stdout, /^wheelfix\.+Passed$/m)
  })

  test('accepts every YAML recipe with its own parser', () => {
    const blocks = [...README.matchAll(/^```yaml\n([^]*?)^```$/gm)].map(([, text = '']) => text)
    assert.equal(blocks.length, 4)
    const parse = 'import sys, yaml\nfor text in sys.argv[1:]: assert isinstance(yaml.safe_load(text), dict), text'
    runWell(join(tools, 'bin/python'), ['-c', parse, ...blocks])
  })
})

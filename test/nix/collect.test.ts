// The venv's libraries through a real collection: the world's folder becomes a store that a real Nix manages.
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, readdirSync, renameSync, rmSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { missing } from '../support/requires.ts'
import { run, runWell } from '../support/run.ts'
import { PACKAGES, type PackageName } from '../world/packages.ts'
import { installDemoWheel, makeVenv, sitePackages, wheelfix } from '../world/venv.ts'
import { buildWorld, type World } from '../world/world.ts'
import { storeHash } from './stores.ts'

const REFERENCES: Readonly<Partial<Record<PackageName, readonly PackageName[]>>> = {
  libgcc: ['glibc'],
  gcc: ['glibc'],
  zlib: ['glibc'],
  pythonDeps: ['zlib', 'glibc'],
  python: ['pythonDeps', 'zlib', 'glibc', 'libgcc'],
}

interface Managed {
  readonly world: World
  /** The environment of wheelfix: without any nix program. */
  readonly env: NodeJS.ProcessEnv
  /** Collects what nothing keeps. */
  readonly collect: () => void
}

/** What leads to a Python, as a link farm of nixpkgs' buildEnv does. */
const PYTHON_ENV = `${storeHash('env')}-python3-env`

function demoVenv(world: World): string {
  const venv = makeVenv(world, 'venv')
  installDemoWheel(world, venv)
  return venv
}

/**
 * A world whose store Nix manages; a compiler that nothing needs is there, too, and a farm of links to the Python. Where
 * no world can be built the test is skipped, and null comes back.
 */
function managedWorld(t: TestContext): Managed | null {
  const world = buildWorld()
  if (typeof world === 'string') {
    t.skip(world)
    return null
  }
  t.after(() => world.dispose())
  const old = join(world.store, `${storeHash('old')}-gcc-9.5.0-lib`)
  cpSync(world.outputs.gcc, old, { recursive: true })
  const nix = {
    ...world.env,
    PATH: process.env['PATH'],
    NIX_CONF_DIR: world.root,
    NIX_LOCALSTATE_DIR: world.root,
    NIX_LOG_DIR: world.root,
  }
  const registration = (path: string, references: readonly string[]) => [
    path,
    '',
    `${references.length}`,
    ...references,
  ]
  const lines = PACKAGES.flatMap(name =>
    registration(
      world.outputs[name],
      (REFERENCES[name] ?? []).map(reference => world.outputs[reference]),
    ),
  )
  const farm = join(world.store, PYTHON_ENV)
  mkdirSync(join(farm, 'bin'), { recursive: true })
  symlinkSync(world.python, join(farm, 'bin/python3'))
  const others = [...registration(old, [world.outputs.glibc]), ...registration(farm, [world.outputs.python])]
  const input = [...lines, ...others, ''].join('\n')
  const { status, stderr } = spawnSync('nix-store', ['--register-validity'], { env: nix, input, encoding: 'utf8' })
  assert.equal(status, 0, stderr)
  return { world, env: world.env, collect: () => void runWell('nix-collect-garbage', [], { env: nix }) }
}

test(
  'a collection right after wheelfix venv leaves the venv working; without its root the library goes and check notices',
  {
    skip: missing('nix-store', 'nix-collect-garbage'),
  },
  t => {
    const managed = managedWorld(t)
    if (managed === null) return
    const { world, env, collect } = managed
    const venv = demoVenv(world)
    const python = join(venv, 'bin/python')
    const imports = (from = venv) => run(join(from, 'bin/python'), ['-c', 'import wheelfix_demo'], { env }).status === 0
    assert.equal(imports(), false)
    const first = wheelfix(world, ['venv', venv])
    assert.equal(first.status, 0, first.stderr)
    assert.equal(first.stderr, '')

    collect()
    const old = join(world.store, `${storeHash('old')}-gcc-9.5.0-lib`)
    assert.equal(existsSync(old), false, 'the collection collects')
    for (const name of ['glibc', 'gcc', 'zlib', 'python'] as const) assert.ok(existsSync(world.outputs[name]), name)
    assert.ok(existsSync(python) && imports())
    assert.equal(wheelfix(world, ['check', venv]).status, 0)

    // a moved venv keeps working, but Nix does not know its roots
    const moved = join(world.root, 'moved')
    renameSync(venv, moved)
    assert.ok(imports(moved))
    assert.match(wheelfix(world, ['check', moved]).stderr, /not protected from nix-collect-garbage: run wheelfix venv/)
    assert.equal(wheelfix(world, ['venv', moved]).stderr, '')
    collect()
    assert.ok(imports(moved))

    // the root is removed, the library collected
    const roots = join(moved, '.wheelfix/roots')
    cpSync(world.outputs.gcc, join(world.root, 'kept'), { recursive: true })
    rmSync(join(roots, 'gcc-12.2.0-lib'))
    collect()
    assert.equal(existsSync(world.outputs.gcc), false)
    assert.equal(imports(moved), false)
    const checked = wheelfix(world, ['check', moved])
    assert.equal(checked.status, 1)
    assert.match(checked.stdout, /libstdc\+\+\.so\.6/)

    // another compiler comes: venv takes it
    renameSync(join(world.root, 'kept'), join(world.store, `${storeHash('new')}-gcc-12.3.0-lib`))
    const repaired = wheelfix(world, ['venv', moved])
    assert.equal(repaired.status, 0, repaired.stdout)
    assert.ok(imports(moved))
  },
)

for (const [what, make] of [
  [
    'whose bin/python leads there through a farm of links',
    (world: World) => [`${world.store}/${PYTHON_ENV}/bin/python3`],
  ],
  ['whose bin/python is a copy', (world: World) => [world.python, '--copies']],
] as const) {
  test(`a collection leaves the Python of a venv ${what}`, { skip: missing('nix-store', 'nix-collect-garbage') }, t => {
    const managed = managedWorld(t)
    if (managed === null) return
    const { world, env, collect } = managed
    const [python = '', ...options] = make(world)
    const venv = join(world.root, 'venv')
    runWell(python, ['-m', 'venv', '--without-pip', ...options, venv], { env })
    installDemoWheel(world, venv)
    assert.equal(wheelfix(world, ['venv', venv]).status, 0)
    collect()
    runWell(join(venv, 'bin/python'), ['-c', 'import wheelfix_demo, json'], { env })
  })
}

test(
  'a collection leaves what a module that was built here finds in the store by itself',
  {
    skip: missing('nix-store', 'nix-collect-garbage', 'patchelf'),
  },
  t => {
    const managed = managedWorld(t)
    if (managed === null) return
    const { world, env, collect } = managed
    const venv = demoVenv(world)
    const site = sitePackages(world, venv)
    const module = readdirSync(join(site, 'wheelfix_demo')).find(name => name.endsWith('.so')) ?? ''
    const old = join(world.store, `${storeHash('old')}-gcc-9.5.0-lib/lib`)
    runWell('patchelf', ['--set-rpath', `${old}:${world.libs.zlib}`, join(site, 'wheelfix_demo', module)])
    const { status, stdout } = wheelfix(world, ['venv', venv, '--json'])
    assert.equal(status, 0, stdout)
    assert.equal((JSON.parse(stdout) as { summary: { patched: number } }).summary.patched, 0)
    collect()
    runWell(join(venv, 'bin/python'), ['-c', 'import wheelfix_demo'], { env })
  },
)

// A world whose store a real Nix manages, so that it can be asked, signed and collected.
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { cpSync, mkdirSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { runWell } from '../support/run.ts'
import { PACKAGES, type PackageName } from '../world/packages.ts'
import { installDemoWheel, makeVenv } from '../world/venv.ts'
import { buildWorld, type World } from '../world/world.ts'
import { storeHash } from './stores.ts'

const REFERENCES: Readonly<Partial<Record<PackageName, readonly PackageName[]>>> = {
  libgcc: ['glibc'],
  gcc: ['glibc'],
  zlib: ['glibc'],
  pythonDeps: ['zlib', 'glibc'],
  python: ['pythonDeps', 'zlib', 'glibc', 'libgcc'],
}

export interface Managed {
  readonly world: World
  /** The environment of wheelfix: without any nix program. */
  readonly env: NodeJS.ProcessEnv
  /** The environment of Nix's programs. */
  readonly nix: NodeJS.ProcessEnv
  /** Tells Nix of a store path that was made by hand. */
  readonly register: (path: string, references: readonly string[]) => void
  /** Collects what nothing keeps. */
  readonly collect: () => void
}

/** What leads to a Python, as a link farm of nixpkgs' buildEnv does. */
export const PYTHON_ENV = `${storeHash('env')}-python3-env`

export function demoVenv(world: World): string {
  const venv = makeVenv(world, 'venv')
  installDemoWheel(world, venv)
  return venv
}

/**
 * A world whose store Nix manages; a compiler that nothing needs is there, too, and a farm of links to the Python. Where
 * no world can be built the test is skipped, and null comes back.
 */
export function managedWorld(t: TestContext): Managed | null {
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
  const register = (path: string, references: readonly string[]) => {
    const input = [path, '', `${references.length}`, ...references, ''].join('\n')
    const { status, stderr } = spawnSync('nix-store', ['--register-validity'], { env: nix, input, encoding: 'utf8' })
    assert.equal(status, 0, stderr)
  }
  const farm = join(world.store, PYTHON_ENV)
  mkdirSync(join(farm, 'bin'), { recursive: true })
  symlinkSync(world.python, join(farm, 'bin/python3'))
  for (const name of PACKAGES) {
    register(
      world.outputs[name],
      (REFERENCES[name] ?? []).map(reference => world.outputs[reference]),
    )
  }
  register(old, [world.outputs.glibc])
  register(farm, [world.outputs.python])
  const collect = () => void runWell('nix-collect-garbage', [], { env: nix })
  return { world, env: world.env, nix, register, collect }
}

// The same world in a real Nix store, where nix-build is there and may build without its sandbox and its build users:
// the packages are made by the same recipes, run as the builders of derivations.
import { createHash } from 'node:crypto'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import type { TestContext } from 'node:test'
import { skip, which } from '../support/requires.ts'
import { run } from '../support/run.ts'
import { findHost, type Host } from './host.ts'
import { type BuiltinLinks, type Outputs, PACKAGES, type PackageName, RECIPES, type Variant } from './packages.ts'
import { type World, worldEnvironment } from './world.ts'

/** What the builder of a derivation gets, beside the outputs of the packages before it. */
export interface BuilderInput {
  readonly package: PackageName
  readonly host: Host
  readonly links: BuiltinLinks
  readonly variant: Variant
}

const BUILDER = join(import.meta.dirname, 'nix-builder.js')
/** Debian's Nix for root: no build users, no sandbox, and nothing asked of the network. */
const OPTIONS = ['--option', 'substitute', 'false', '--option', 'build-users-group', '', '--option', 'sandbox', 'false']

export interface NixWorld extends World {
  /** The packages as an attribute set of derivations, for a flake. */
  readonly expression: string
}

/** A world whose store is /nix/store, for one test. null: there is none, and the test is skipped. */
export function nixWorldFor(t: TestContext): NixWorld | null {
  const world = nixWorld()
  if (typeof world === 'string') {
    t.skip(skip(world))
    return null
  }
  t.after(() => world.dispose())
  return world
}

/** @returns a world whose store is /nix/store, or the reason why there is none */
export function nixWorld(options: Partial<Variant> = {}): NixWorld | string {
  if (which('nix-build') === undefined) return 'needs nix-build'
  const host = findHost()
  if (typeof host === 'string') return host
  const variant: Variant = { compilerInClosure: false, ...options }
  const root = mkdtempSync(join(tmpdir(), 'wheelfix-nix-'))
  const recipe = fingerprint(host, variant)
  // the same recipe has the same links, so that its outputs stay valid from one run to the next
  const folder = join('/nix/var', `wf${recipe.slice(0, 4)}`)
  const links = { glibc: join(folder, 'g'), libgcc: join(folder, 'c') }
  const expression = packagesExpression(host, links, variant, recipe)
  const outputs = buildAll(expression, root)
  if (typeof outputs === 'string') {
    rmSync(root, { recursive: true })
    return outputs
  }
  const libs = Object.fromEntries(PACKAGES.map(name => [name, join(outputs[name], 'lib')])) as World['libs']
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder)
  symlinkSync(libs.glibc, links.glibc)
  symlinkSync(libs.libgcc, links.libgcc)
  mkdirSync(join(root, 'home'))
  return {
    host,
    root,
    store: '/nix/store',
    expression,
    python: join(outputs.python, 'bin/python3'),
    outputs,
    libs,
    env: worldEnvironment(join(root, 'home'), `${join(outputs.python, 'bin')}:${dirname(which('nix-build') ?? '')}`),
    dispose: () => rmSync(root, { recursive: true }),
  }
}

/** The derivations as one Nix expression: an attribute for each package, each after those that it depends on. */
function packagesExpression(host: Host, links: BuiltinLinks, variant: Variant, recipe: string): string {
  const derivations = PACKAGES.map((name, index) => {
    const input: BuilderInput = { package: name, host, links, variant }
    const before = PACKAGES.slice(0, index).map(other => `${other} = "\${${other}}";`)
    return `${name} = derivation {
      name = ${quote(RECIPES[name].label(host))}; system = builtins.currentSystem; recipe = ${quote(recipe)};
      builder = ${quote(process.execPath)}; args = [ ${quote(BUILDER)} ]; input = ${quote(JSON.stringify(input))};
      ${before.join(' ')}
    };`
  })
  return `rec { ${derivations.join('\n')} }`
}

/** A Nix string. */
function quote(text: string): string {
  return `"${text.replaceAll(/["\\$]/g, '\\$&')}"`
}

/** What the outputs depend on that Nix cannot see. */
function fingerprint(host: Host, variant: Variant): string {
  const hash = createHash('sha256').update(JSON.stringify([host, variant]))
  const build = join(import.meta.dirname, '../..')
  for (const folder of ['test/world', 'src/elf']) {
    for (const name of readdirSync(join(build, folder), { recursive: true, encoding: 'utf8' }).sort()) {
      if (/^(packages|builtin|host|nix-builder)\.js$/.test(name) || (folder === 'src/elf' && name.endsWith('.js')))
        hash.update(readFileSync(join(build, folder, name)))
    }
  }
  return hash.digest('hex')
}

/** The outputs, kept by links below `root`. */
function buildAll(text: string, root: string): Outputs | string {
  const outputs: Partial<Record<PackageName, string>> = {}
  for (const name of PACKAGES) {
    // Nix 2.8 reports a builder as killed once in a while; a second try works
    for (let left = 3; outputs[name] === undefined; left--) {
      const { status, stdout, stderr } = run('nix-build', [...OPTIONS, '-E', text, '-A', name, '-o', join(root, name)])
      if (status === 0) outputs[name] = stdout.trim()
      else if (left === 1) return `nix-build cannot build ${name}: ${stderr.trim().split('\n').slice(-3).join(' ')}`
    }
  }
  return outputs as Outputs
}

// A NixOS-like world in a folder: a store with glibc, the compiler's libraries, zlib and a Python out of the host's own
// files, whose loader finds nothing outside of it. Needs no Nix, no root, no patchelf, no compiler.
import { createHash } from 'node:crypto'
import { accessSync, constants, mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { findHost, type Host } from './host.ts'
import { PACKAGES, RECIPES, type Outputs, type PackageName, type Variant } from './packages.ts'

export interface World {
  /** What it was built from. */
  readonly host: Host
  /** The folder that holds all of it; the owner may put more there. */
  readonly root: string
  /** What plays /nix/store. */
  readonly store: string
  /** The Python of the world, in the store. */
  readonly python: string
  /** The output of each package in the store. */
  readonly outputs: Outputs
  /** The lib folder of each package. */
  readonly libs: Readonly<Record<PackageName, string>>
  /** The whole environment for programs of this world: a clean one, that names the store. */
  readonly env: NodeJS.ProcessEnv
  dispose(): void
}

/**
 * Builds a world, in about two seconds.
 * @returns the world, or the reason why this host cannot have one
 */
export function buildWorld(options: Partial<Variant> & { readonly host?: Host } = {}): World | string {
  const host = options.host ?? findHost()
  if (typeof host === 'string') return host
  const root = makeRoot()
  if (root === undefined) return 'needs a temporary folder with a short name (/tmp) in which programs may run'
  try {
    return fillWorld(root, host, { compilerInClosure: false, ...options })
  } catch (error) {
    rmSync(root, { recursive: true })
    return error instanceof Error ? error.message : String(error)
  }
}

/** `/tmp/wfXXXXXX`: short, for the room in the loader's built-in directories is 21 characters on Debian. */
function makeRoot(): string | undefined {
  for (const folder of [tmpdir(), '/tmp']) {
    try {
      accessSync(folder, constants.W_OK)
      if (folder.length <= 10) return mkdtempSync(join(folder, 'wf'))
    } catch {
      // the next one
    }
  }
  return undefined
}

function fillWorld(root: string, host: Host, variant: Variant): World {
  const store = join(root, 'nix/store')
  const outputs = Object.fromEntries(
    PACKAGES.map(name => [name, join(store, `${storeHash(name)}-${RECIPES[name].label(host)}`)]),
  ) as Record<PackageName, string>
  const libs = Object.fromEntries(PACKAGES.map(name => [name, join(outputs[name], 'lib')])) as World['libs']

  const state = join(root, 'nix/var/nix')
  mkdirSync(join(state, 'gcroots/auto'), { recursive: true })
  mkdirSync(join(root, 'home'))
  const links = { glibc: join(root, 'g'), libgcc: join(root, 'c') }
  symlinkSync(libs.glibc, links.glibc)
  symlinkSync(libs.libgcc, links.libgcc)
  for (const name of PACKAGES) RECIPES[name].install(outputs, host, links, variant)

  return {
    host,
    root,
    store,
    python: join(outputs.python, 'bin/python3'),
    outputs,
    libs,
    env: {
      ...worldEnvironment(join(root, 'home'), join(outputs.python, 'bin')),
      NIX_STORE_DIR: store,
      NIX_STATE_DIR: state,
    },
    dispose: () => rmSync(root, { recursive: true }),
  }
}

/** An environment with nothing of the host's in it, but what a download needs. */
export function worldEnvironment(home: string, path: string): NodeJS.ProcessEnv {
  const network = Object.entries(process.env).filter(([name]) =>
    /^(https?_proxy|no_proxy|all_proxy|ssl_cert_.*|requests_ca_bundle|pip_.*)$/i.test(name),
  )
  return {
    ...Object.fromEntries(network),
    PATH: path,
    HOME: home,
    LANG: 'C.UTF-8',
    PYTHONNOUSERSITE: '1',
    PYTHONDONTWRITEBYTECODE: '1',
  }
}

/** A store path's hash part: 160 bits in Nix's base 32, here of the name alone. */
function storeHash(name: string): string {
  const alphabet = '0123456789abcdfghijklmnpqrsvwxyz'
  return [...createHash('sha256').update(`wheelfix test world: ${name}`).digest()]
    .map(byte => alphabet[byte % 32] ?? '')
    .join('')
}

// Which nixpkgs a project pins. Libraries must come from the same nixpkgs as the project's shell and Python. This file reads
// lock files, turns them into a Nix expression, and evaluates nothing. Everything in the expression has a hash, so Nix does
// not fetch what is already in the store.
import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { readRegular } from '../../io/beneath.ts'
import { WheelfixError } from '../../io/error.ts'
import { dirname, isAbsolute, join } from 'node:path'
import { fsPath } from '../../io/path.ts'
import { projectFiles } from '../../io/project-files.ts'
import { nixBase32 } from '../daemon/base32.ts'

/** A nixpkgs, for Nix and for the user. */
export interface Nixpkgs {
  /** A Nix expression that gives its packages. */
  readonly packages: string
  /** The place of the pin: a file, or another source. */
  readonly origin: string
  /** The revision: `github:NixOS/nixpkgs/9f78f44a8794`; empty when the origin says it. */
  readonly revision: string
}

interface Source {
  /** A Nix expression that gives its folder. */
  readonly folder: string
  readonly revision: string
}

/** devenv.lock comes first, because devenv writes its own flake, and the lock of that flake may be beside it. */
const READERS: readonly (readonly [
  name: string,
  read: (lock: unknown, folder: string, store: string) => Source | null,
])[] = [
  ['devenv.lock', ofFlakeLock],
  ['flake.lock', ofFlakeLock],
  ['npins/sources.json', lock => ofNpins(lock)],
  ['nix/sources.json', lock => ofNiv(lock)],
]

/** The size limit in bytes. The lock of a large flake has a few hundred kilobytes. */
const MAX_SIZE = 16 << 20

/**
 * The nixpkgs of the nearest lock that pins one, from the folder of an environment upwards to the end of its project;
 * null when none does.
 * @param store the folder of the store
 * @throws WheelfixError `IO` for a lock that is not JSON
 */
export function pinnedNixpkgs(environmentRoot: string, store: string): Nixpkgs | null {
  const names = READERS.map(([name]) => name)
  for (const path of projectFiles(environmentRoot, names)) {
    const read = READERS.find(([name]) => path.endsWith(`/${name}`))?.[1]
    const source = read?.(jsonOf(path), dirname(path), store) ?? null
    // without the user's settings and overlays: the project's other users must get the same libraries
    if (source !== null)
      return {
        packages: `import ${source.folder} { config = { }; overlays = [ ]; }`,
        origin: path,
        revision: source.revision,
      }
  }
  return null
}

function jsonOf(path: string): unknown {
  const text = readRegular(path, MAX_SIZE)?.toString() ?? ''
  try {
    return JSON.parse(text)
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error
    throw new WheelfixError(
      'IO',
      `${path} is not JSON (${error.message}): make it again with the tool that wrote it`,
      path,
    )
  }
}

/** Reads the lock of a flake, or devenv's, which has the same form (Nix manual, "nix flake", Lock files). */
function ofFlakeLock(lock: unknown, folder: string, store: string): Source | null {
  const nodes = field(lock, 'nodes')
  const inputs = (name: string) => fields(field(field(nodes, name), 'inputs'))
  const root = stringOrNull(field(lock, 'root')) ?? 'root'
  /** The node of an input. An input names its node, or the way from the root to another input (`follows`). */
  const nodeOf = (reference: unknown): string | null => {
    if (typeof reference === 'string') return reference
    if (!Array.isArray(reference)) return null
    return reference.reduce<string | null>(
      (node, step) => (node === null ? null : nodeOf(inputs(node).get(String(step)))),
      root,
    )
  }
  const repository = (reference: unknown) =>
    stringOrNull(field(field(field(nodes, nodeOf(reference) ?? ''), 'locked'), 'repo'))
  let node = nodeOf(nixpkgsAmong(inputs(root), repository))
  // a flake with wheelfix as its only input has the nixpkgs of wheelfix's lock
  node ??= nodeOf(inputs(nodeOf(inputs(root).get('wheelfix')) ?? '').get('nixpkgs'))
  // devenv's nixpkgs is a flake that contains another
  for (let depth = 0; depth < MAX_DEPTH && node !== null; depth += 1) {
    const inner: string | null = nodeOf(nixpkgsAmong(inputs(node), repository))
    if (inner === null) break
    node = inner
  }
  const locked = fields(field(field(nodes, node ?? ''), 'locked'))
  return locked.size === 0 ? null : ofTree(locked, folder, store)
}

const MAX_DEPTH = 8

/**
 * Fetches a tree as Nix fetches a locked input (call-flake.nix). The input's `dir` is a folder in the tree. A tree that is
 * already in the store is taken from the store. `fetchTree` of Nix 2.34 looks in the store only for the inputs of a flake,
 * and downloads other trees.
 */
function ofTree(locked: ReadonlyMap<string, unknown>, folder: string, store: string): Source {
  const { dir, ...tree } = Object.fromEntries(locked)
  const path = stringOrNull(tree['path'])
  if (path !== null && !isAbsolute(path)) tree['path'] = join(folder, path)
  const narHash = stringOrNull(tree['narHash'])
  const inStore = narHash === null ? null : sourcePath(narHash, store)
  const isThere = inStore !== null && existsSync(fsPath(inStore))
  const wanted = isThere ? { type: 'path', path: inStore, narHash } : tree
  const fetched = `(builtins.fetchTree (builtins.fromJSON ${nixString(JSON.stringify(wanted))}))`
  const subfolder = stringOrNull(dir)
  const [type, owner, repo, rev, url] = ['type', 'owner', 'repo', 'rev', 'url'].map(key => stringOrNull(tree[key]))
  const place = repo == null ? (url ?? path ?? '') : `${type ?? ''}:${owner ?? ''}/${repo}`
  return {
    folder: subfolder === null ? fetched : `(${fetched} + ${nixString(`/${subfolder}`)})`,
    revision: `${place}${revisionOf(rev)}`,
  }
}

/**
 * The store path of a fetched tree (Nix manual, "Complete Store Path Calculation": a recursive SHA-256 with the name source).
 * @param narHash as a lock has it: `sha256-` and base 64
 */
function sourcePath(narHash: string, store: string): string | null {
  const bytes = Buffer.from(/^sha256-([A-Za-z0-9+/]{43}=)$/.exec(narHash)?.[1] ?? '', 'base64')
  if (bytes.length !== 32) return null
  const digest = createHash('sha256')
    .update(`source:sha256:${bytes.toString('hex')}:${store}:source`)
    .digest()
  const folded = Buffer.alloc(20)
  for (const [index, byte] of digest.entries()) folded.writeUInt8((folded[index % 20] ?? 0) ^ byte, index % 20)
  return join(store, `${nixBase32(folded)}-source`)
}

/** Reads npins/sources.json. A pin is a tarball with a hash, or a Git repository without an archive. */
function ofNpins(lock: unknown): Source | null {
  const pins = fields(field(lock, 'pins'))
  const pin = nixpkgsAmong(pins, entry => stringOrNull(field(field(entry, 'repository'), 'repo')))
  const [url, hash, rev] = ['url', 'hash', 'revision'].map(key => stringOrNull(field(pin, key)))
  if (url != null && hash != null) return ofTarball(url, hash, rev)
  const repository = stringOrNull(field(field(pin, 'repository'), 'url'))
  if (repository === null || rev == null) return null
  const arguments_ = JSON.stringify({ url: repository, rev })
  return {
    folder: `(builtins.fetchGit (builtins.fromJSON ${nixString(arguments_)}))`,
    revision: `${repository}${revisionOf(rev)}`,
  }
}

/** Reads nix/sources.json of niv. */
function ofNiv(lock: unknown): Source | null {
  const source = nixpkgsAmong(fields(lock), entry => stringOrNull(field(entry, 'repo')))
  const [url, hash, rev] = ['url', 'sha256', 'rev'].map(key => stringOrNull(field(source, key)))
  return url == null || hash == null ? null : ofTarball(url, hash, rev)
}

function ofTarball(url: string, sha256: string, rev: string | null | undefined): Source {
  const arguments_ = JSON.stringify({ url, sha256 })
  const isInUrl = rev != null && url.includes(rev)
  return {
    folder: `(builtins.fetchTarball (builtins.fromJSON ${nixString(arguments_)}))`,
    revision: isInUrl ? url : `${url}${revisionOf(rev)}`,
  }
}

/**
 * The entry with the name nixpkgs. Without it, an entry whose name begins with nixpkgs, then an entry of the nixpkgs
 * repository.
 */
function nixpkgsAmong(entries: ReadonlyMap<string, unknown>, repository: (entry: unknown) => string | null): unknown {
  const names = [...entries.keys()]
  const name =
    names.find(item => item === 'nixpkgs') ??
    names.find(item => item.startsWith('nixpkgs')) ??
    names.find(item => repository(entries.get(item))?.toLowerCase() === 'nixpkgs')
  return name === undefined ? undefined : entries.get(name)
}

function revisionOf(rev: string | null | undefined): string {
  return rev == null ? '' : `/${rev.slice(0, 12)}`
}

/** Quotes a text as a string of Nix. Nix evaluates no part of the text. */
export function nixString(text: string): string {
  return `"${text
    .replaceAll(/["\\$]/g, '\\$&')
    .replaceAll('\n', '\\n')
    .replaceAll('\r', '\\r')}"`
}

function fields(value: unknown): ReadonlyMap<string, unknown> {
  return new Map(typeof value === 'object' && value !== null ? Object.entries(value) : [])
}

function field(value: unknown, name: string): unknown {
  return fields(value).get(name)
}

function stringOrNull(value: unknown): string | null {
  return typeof value === 'string' ? value : null
}

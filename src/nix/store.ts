// The Nix store as folders and names: where it is, which store path holds a file, and what the name of a store path says.
// This file opens no files and does not run Nix.
import { isInside } from '../io/path.ts'

/** The folder of all store paths. It comes from Nix's own variable, read as Nix reads it. */
export function storeDirectory(env: NodeJS.ProcessEnv): string {
  return folder(env['NIX_STORE_DIR'], '/nix/store')
}

/** The folder of Nix's database, daemon socket and GC roots. */
export function stateDirectory(env: NodeJS.ProcessEnv): string {
  return folder(env['NIX_STATE_DIR'], '/nix/var/nix')
}

function folder(named: string | undefined, usual: string): string {
  const path = named === undefined || named === '' ? usual : named
  return path.length > 1 ? path.replace(/\/+$/, '') : path
}

/** A store path's hash part: 160 bits in Nix's base 32, whose digits leave out e, o, t and u. */
const HASH_LENGTH = 32
const STORE_NAME = /^[0-9abcdfghijklmnpqrsvwxyz]{32}-./

/** The store path that holds `path`: `path` itself or a folder above it; null outside all store paths. */
export function storePathOf(path: string, store: string): string | null {
  if (!isInside(path, store)) return null
  const start = store.endsWith('/') ? store.length : store.length + 1
  const end = path.indexOf('/', start)
  const name = path.slice(start, end === -1 ? path.length : end)
  return STORE_NAME.test(name) ? path.slice(0, start) + name : null
}

/** The parts of a store path's name. */
interface StoreName {
  /** The 32 characters before the first dash. */
  readonly hash: string
  /** `gcc` */
  readonly name: string
  /** `14.2.1.20250322`; empty when the name has no version. */
  readonly version: string
  /** `lib`; null for the output `out`, which names leave out. */
  readonly output: string | null
}

/** The outputs of nixpkgs' packages; other words at a version's end (rc1, unstable, p1) belong to the version. */
const OUTPUT =
  /-(lib|dev|bin|out|man|doc|devdoc|devman|info|debug|static|libgcc|checksum|getent|data|dist|lib32|libs|libdev|modules|nativelib|include|stubs|samples|terminfo|tools|client|server|utils|py|python|swrast|drivers|lite|extra|xgcc|login|mount|su|fhs|cc|vim|tk|full)$/

/**
 * The parts of a store path's base name. The version begins after the first dash that no letter follows, as in Nix's
 * `parseDrvName`. The end of the version names the output.
 * @returns null for a name that no store path has
 */
export function parseStoreName(basename: string): StoreName | null {
  if (!STORE_NAME.test(basename)) return null
  const hash = basename.slice(0, HASH_LENGTH)
  const whole = basename.slice(HASH_LENGTH + 1)
  const output = OUTPUT.exec(whole)
  const stem = output === null ? whole : whole.slice(0, output.index)
  const dash = versionDash(stem)
  // in a name without a version (desktop-libs) the last word is not an output
  if (dash === -1) return { hash, name: whole, version: '', output: null }
  return { hash, name: stem.slice(0, dash), version: stem.slice(dash + 1), output: output?.[1] ?? null }
}

/** The index of the dash before the version: the first dash that no letter follows. -1 if there is none. */
export function versionDash(name: string): number {
  for (let at = name.indexOf('-'); at !== -1 && at + 1 < name.length; at = name.indexOf('-', at + 1)) {
    if (!isLetter(name.charCodeAt(at + 1))) return at
  }
  return -1
}

function isLetter(code: number): boolean {
  return (code >= 65 && code <= 90) || (code >= 97 && code <= 122)
}

/**
 * Orders versions as Nix's `compareVersions` does: it compares runs of digits and runs of other characters, one by one.
 * Numbers compare by value, `pre` comes before everything, and nothing comes before a number.
 * @returns negative when `a` is older than `b`
 */
export function compareVersions(a: string, b: string): number {
  const left = components(a)
  const right = components(b)
  for (let i = 0; i < left.length || i < right.length; i++) {
    const order = compareComponents(left[i] ?? '', right[i] ?? '')
    if (order !== 0) return order
  }
  return 0
}

function components(version: string): readonly string[] {
  return version.match(/\d+|[^\d.-]+/g) ?? []
}

function compareComponents(a: string, b: string): number {
  const order = [a, b].map(rank)
  const difference = (order[0] ?? 0) - (order[1] ?? 0)
  if (difference !== 0) return difference
  if (order[0] === NUMBER) {
    const [x, y] = [BigInt(a), BigInt(b)]
    return x < y ? -1 : x > y ? 1 : 0
  }
  return a < b ? -1 : a > b ? 1 : 0
}

const NUMBER = 3

/** The rank of a part: `pre` < nothing < words < numbers, so 2.3pre1 < 2.3, 2.3 < 2.3a, 2.3a < 2.3.1. */
function rank(component: string): number {
  if (component === 'pre') return 0
  if (component === '') return 1
  return /^\d/.test(component) ? NUMBER : 2
}

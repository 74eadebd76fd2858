// What each installed wheel needs from outside itself, for builds that make one derivation for each wheel: packages of
// nixpkgs, folders of other wheels, and sonames that no build may require.
import { directoryOf, relativeTo } from '../io/path.ts'
import { matchesGlob } from '../io/glob.ts'
import { isLibcFamily } from '../ldso/libc.ts'
import type { Examination } from '../environment/examine.ts'
import { isDriverLibrary } from '../resolve/drivers.ts'
import { packageFor } from '../resolve/problems/hint.ts'
import type { PlannedNeeded } from '../resolve/needed.ts'
import type { PlannedObject } from '../resolve/plan.ts'

/** A package of nixpkgs, by its names in different releases. */
export interface NeededPackage {
  readonly names: readonly string[]
  readonly sonames: readonly string[]
}

/** A folder of another wheel that holds libraries which this wheel links to. */
export interface NeededFolder {
  /** The normalised name of the other distribution. */
  readonly distribution: string
  /** Path relative to site-packages; empty for site-packages itself. */
  readonly folder: string
  readonly sonames: readonly string[]
}

export interface WheelNeeds {
  /** The normalised name (PEP 503), as uv2nix names packages. */
  readonly name: string
  readonly packages: readonly NeededPackage[]
  readonly folders: readonly NeededFolder[]
  /** The wheel links to the interpreter's own library. */
  readonly python: boolean
  /** Sonames that the driver brings, that the user ignores, or that only plugins need (nothing links to a plugin). */
  readonly ignored: readonly string[]
  /** Sonames for which no package of nixpkgs is known. */
  readonly unknown: readonly string[]
}

/** The distributions that need something, by name. */
export function wheelNeeds(examined: Examination): WheelNeeds[] {
  const bySoname = new Map<string, Map<string, Need>>()
  for (const object of examined.plan.objects) {
    const { distribution } = object
    if (distribution === null || examined.held.has(object.identity)) continue
    const needs = bySoname.get(distribution) ?? new Map<string, Need>()
    bySoname.set(distribution, needs)
    for (const needed of object.needed) {
      const need = needOf(object, distribution, needed, examined)
      const known = needs.get(needed.soname)
      // one object may work without a library that another object needs
      if (need !== null && (known === undefined || known.kind === 'ignored')) needs.set(needed.soname, need)
    }
  }
  const names = [...bySoname.keys()].sort()
  const isBuilt = withoutCircles(names, bySoname)
  return names.flatMap(name => {
    const needs = [...(bySoname.get(name) ?? [])].sort(([a], [b]) => (a < b ? -1 : 1))
    return needs.length === 0 ? [] : [gathered(name, needs, isBuilt)]
  })
}

type Need =
  | { readonly kind: 'package'; readonly names: readonly string[] }
  | { readonly kind: 'folder'; readonly distribution: string; readonly folder: string }
  | { readonly kind: 'python' | 'ignored' | 'unknown' }

/** null when the wheel has the library itself, or when the interpreter's libc does. */
function needOf(
  object: PlannedObject,
  distribution: string,
  { soname, how, provider, resolution }: PlannedNeeded,
  { objects, distributions, python, ignored }: Examination,
): Need | null {
  if (how === 'foreign' || isLibcFamily(soname, python.libc.kind)) return null
  if (/^libpython\d/.test(soname)) return { kind: 'python' }
  if (isDriverLibrary(soname)) return { kind: 'ignored' }
  const inside =
    how === 'run-time'
      ? [...objects.values()].find(({ path }) => path === provider)
      : objects.get(resolution?.provider?.identity ?? '')
  if (how !== 'missing' && inside !== undefined) {
    const owner = distributions.ownerOf(inside.path)?.distribution
    if (owner === undefined || owner.name === distribution) return null
    const folder = relativeTo(owner.folder, directoryOf(inside.path))
    return { kind: 'folder', distribution: owner.name, folder: folder === '.' ? '' : folder }
  }
  if (how === 'missing' && (!object.counts || ignored.some(glob => matchesGlob(soname, glob))))
    return { kind: 'ignored' }
  const found = packageFor(soname, python.libc)
  return found === null ? { kind: 'unknown' } : { kind: 'package', names: found.names }
}

/**
 * Breaks circles, because derivations cannot need each other. If two wheels need each other, the later one is built
 * without the earlier one. It finds the earlier one once both are in one environment.
 */
function withoutCircles(
  names: readonly string[],
  needs: ReadonlyMap<string, ReadonlyMap<string, Need>>,
): (from: string, to: string) => boolean {
  const edges = new Map<string, Set<string>>(names.map(name => [name, new Set()]))
  const reaches = (from: string, to: string, seen = new Set<string>()): boolean => {
    if (from === to) return true
    if (seen.has(from)) return false
    seen.add(from)
    return [...(edges.get(from) ?? [])].some(next => reaches(next, to, seen))
  }
  for (const name of names) {
    for (const need of needs.get(name)?.values() ?? []) {
      if (need.kind === 'folder' && !reaches(need.distribution, name)) edges.get(name)?.add(need.distribution)
    }
  }
  return (from, to) => edges.get(from)?.has(to) === true
}

function gathered(
  name: string,
  needs: readonly (readonly [soname: string, need: Need])[],
  isBuilt: (from: string, to: string) => boolean,
): WheelNeeds {
  const packages = new Map<string, NeededPackage>()
  const folders = new Map<string, NeededFolder>()
  const of = (wanted: Need['kind']) => needs.filter(([, { kind }]) => kind === wanted).map(([soname]) => soname)
  const ignored = of('ignored')
  for (const [soname, need] of needs) {
    if (need.kind === 'package') {
      const key = need.names.join(' ')
      packages.set(key, { names: need.names, sonames: [...(packages.get(key)?.sonames ?? []), soname] })
    }
    if (need.kind !== 'folder') continue
    const { distribution, folder } = need
    const key = `${distribution} ${folder}`
    if (!isBuilt(name, distribution)) ignored.push(soname)
    else folders.set(key, { distribution, folder, sonames: [...(folders.get(key)?.sonames ?? []), soname] })
  }
  return {
    name,
    packages: [...packages.values()],
    folders: [...folders.values()],
    python: of('python').length > 0,
    ignored: ignored.sort(),
    unknown: of('unknown'),
  }
}

// What is not found, gathered from all objects: by soname, with who wants it and what to do about it.
import type { Libc } from '../loader/libc.ts'
import type { Distributions } from '../python/distributions.ts'
import { platformPolicy } from '../python/tags.ts'
import { matchesGlob } from './glob.ts'
import { attributeOf, hintOf } from './hint.ts'
import type { Plan } from './plan.ts'

/** A soname that is not found. */
export interface MissingLibrary {
  readonly soname: string
  /** Relative paths of the objects that need it. */
  readonly neededBy: readonly string[]
  /** The distributions of those objects. */
  readonly packages: readonly string[]
  /** Only plugins need it that nothing imported or run links to. */
  readonly optional: boolean
  /** What to do about it, in a sentence. */
  readonly hint: string | null
  /** The attribute of nixpkgs that would bring it, where adding a package is the answer. */
  readonly attribute: string | null
}

/** The platforms that the wheel of an installed distribution names: `manylinux_2_39`. */
export function platformsOf(distributions: Distributions): (distribution: string) => readonly string[] {
  return name => {
    const tags = distributions.get(name)?.tags() ?? []
    return [...new Set(tags.flatMap(({ platform }) => platformPolicy(platform)?.name ?? []))]
  }
}

/** What is missing, by soname, without what the user asks to ignore. `platforms` gives those that a wheel is tagged with. */
export function missingLibraries(
  plan: Pick<Plan, 'objects' | 'clashes'>,
  ignored: readonly string[],
  libc: Libc,
  platforms: (distribution: string) => readonly string[] = () => [],
): MissingLibrary[] {
  const bySoname = new Map<
    string,
    { neededBy: string[]; packages: Set<string>; optional: boolean; lacking: Set<string> }
  >()
  for (const { object, needed, counts, distribution } of plan.objects) {
    for (const { soname, how, resolution } of needed) {
      if (how !== 'missing' || ignored.some(glob => matchesGlob(soname, glob))) continue
      const entry = bySoname.get(soname) ?? { neededBy: [], packages: new Set(), optional: true, lacking: new Set() }
      entry.neededBy.push(object.relative)
      if (distribution !== null) entry.packages.add(distribution)
      entry.optional &&= !counts
      for (const version of resolution?.lackingVersions ?? []) entry.lacking.add(version)
      bySoname.set(soname, entry)
    }
  }
  return [...bySoname]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([soname, { neededBy, packages, optional, lacking }]) => ({
      soname,
      neededBy,
      packages: [...packages].sort(),
      optional,
      hint: hintOf(soname, [...lacking], plan.clashes.get(soname) ?? [], libc, taggedAs([...packages], platforms)),
      attribute: lacking.size === 0 ? attributeOf(soname, libc) : null,
    }))
}

function taggedAs(packages: readonly string[], platforms: (distribution: string) => readonly string[]): string[] {
  return packages.flatMap(name => {
    const tags = platforms(name)
    return tags.length === 0 ? [] : [`${name} is tagged ${tags.join(', ')}`]
  })
}

// The missing libraries of all objects, by soname, with the objects that want them and what to do.
import type { Libc } from '../../ldso/libc.ts'
import type { Distributions } from '../../python/distributions.ts'
import { matchesGlob } from '../../io/glob.ts'
import { attributeOf, hintOf } from './hint.ts'
import type { Plan, PlannedObject } from '../plan.ts'
import { newest } from '../providers.ts'
import type { Resolved } from '../simulate.ts'

/** A soname that the loader does not find. */
export interface MissingLibrary {
  readonly soname: string
  /** Relative paths of the objects that need it. */
  readonly neededBy: readonly string[]
  /** Paths of the libraries outside the venv through which the objects need it. */
  readonly through: readonly string[]
  /** The distributions of these objects. */
  readonly packages: readonly string[]
  /** The newest version that the found library of this name lacks; null when no library was found. */
  readonly lacks: string | null
  /** Only plugins need it, and nothing imported or run links to these plugins. */
  readonly optional: boolean
  /** What to do, in a sentence. */
  readonly hint: string | null
  /** The attribute of nixpkgs that would bring it, when a further package is the answer. */
  readonly attribute: string | null
}

/**
 * The missing libraries by soname, without those that the user asks to ignore.
 * @param distributions what is installed; null for wheels
 */
export function missingLibraries(
  plan: Pick<Plan, 'objects' | 'clashes'>,
  ignored: readonly string[],
  libc: Libc,
  distributions: Distributions | null,
): MissingLibrary[] {
  const bySoname = new Map<string, Gathered>()
  const entryOf = (soname: string): Gathered => {
    const known = bySoname.get(soname)
    if (known !== undefined) return known
    const entry = {
      neededBy: new Set<string>(),
      through: new Set<string>(),
      packages: new Set<string>(),
      optional: true,
      lacking: new Set<string>(),
      unfit: null,
    }
    bySoname.set(soname, entry)
    return entry
  }
  const isIgnored = (soname: string): boolean => ignored.some(glob => matchesGlob(soname, glob))
  const clashes = new Map(plan.clashes.map(({ soname, reasons }) => [soname, reasons]))
  for (const { relative, needed, below, counts, distribution } of plan.objects) {
    const own = needed.filter(({ how }) => how === 'missing')
    const lost = [
      ...own.map(({ soname, resolution }) => ({ soname, resolution, counts, through: null })),
      ...below.map(({ outcome, neededBy, counts }) => ({
        soname: outcome.soname,
        resolution: outcome,
        counts,
        through: neededBy,
      })),
    ]
    for (const { soname, resolution, counts, through } of lost) {
      if (isIgnored(soname)) continue
      const entry = entryOf(soname)
      entry.neededBy.add(relative)
      if (through !== null) entry.through.add(through)
      if (distribution !== null) entry.packages.add(distribution)
      entry.optional &&= !counts
      for (const version of resolution?.lackingVersions ?? []) entry.lacking.add(version)
      if (resolution?.lackingVersions.length !== 0) entry.unfit ??= resolution?.provider ?? null
    }
  }
  return [...bySoname]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([soname, { neededBy, through, packages, optional, lacking, unfit }]) => ({
      soname,
      neededBy: [...neededBy],
      through: [...through],
      packages: [...packages].sort(),
      lacks: lacking.size === 0 ? null : newest([...lacking]),
      optional,
      hint: hintOf(
        soname,
        unfit === null
          ? null
          : {
              versions: [...lacking],
              path: unfit.path,
              owner: plan.objects.find(({ identity }) => identity === unfit.identity)?.distribution ?? null,
              users: [...packages].sort(),
            },
        clashes.get(soname) ?? [],
        libc,
        distributions,
      ),
      attribute: lacking.size === 0 ? attributeOf(soname, libc) : null,
    }))
}

interface Gathered {
  readonly neededBy: Set<string>
  readonly through: Set<string>
  readonly packages: Set<string>
  optional: boolean
  readonly lacking: Set<string>
  /** The first file that lacks versions. */
  unfit: Resolved['provider']
}

/** The sonames for which the object or what is below it finds no file. A further package can bring only these. */
export function absentSonames({ needed, below }: PlannedObject): string[] {
  const lost = needed.filter(({ how }) => how === 'missing').map(({ soname, resolution }) => ({ soname, resolution }))
  const lostBelow = below.map(({ outcome }) => ({ soname: outcome.soname, resolution: outcome }))
  const absent = [...lost, ...lostBelow].filter(({ resolution }) => resolution?.provider == null)
  return [...new Set(absent.map(({ soname }) => soname))]
}

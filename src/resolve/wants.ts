// The libraries that each object wants and does not find by itself, and the file that serves each soname.
import { isLibcFamily } from '../ldso/libc.ts'
import type { UsedLibrary } from '../nix/libset.ts'
import { isDriverLibrary } from './drivers.ts'
import { isInherited, isServed, siblingDirectory } from './needed.ts'
import type { ScannedObject } from './objects.ts'
import { chooseProvider, type Choice, type ProviderSources } from './providers.ts'
import type { Resolution } from './resolution.ts'
import { findsByName, type Simulation } from './simulate.ts'

/** The sonames that an object needs, and that neither the object nor all its loaders find. */
export function wantsOf(object: ScannedObject, simulation: Simulation): string[] {
  const alone = simulation.alone.get(object.identity)
  if (alone === undefined) return []
  return alone.needed
    .filter((resolution, index) => !isServed(resolution) && !isInherited(object, index, simulation))
    .map(({ soname }) => soname)
}

/**
 * Sonames that the object declares to open by name, does not find, and that a file can serve: the first one of each feature.
 * Libraries that the object only suggests (`suggested`) are left to the user. A library of the graphics driver is wanted in
 * any case: it may come later, with the driver.
 */
export function wantsByName(
  object: ScannedObject,
  { input, simulated }: Resolution,
  sources: ProviderSources,
): string[] {
  const features = object.opens.filter(({ priority }) => priority !== 'suggested')
  // the driver's folder comes last, so any other file is found before it
  const driver =
    object.opensDriver === null || object.original.needed.includes(object.opensDriver) ? [] : [object.opensDriver]
  const served = features.flatMap(({ sonames }) => {
    if (sonames.some(soname => findsByName(object, soname, simulated))) return []
    const served = sonames.find(
      soname =>
        siblingDirectory(object, soname, input) !== null ||
        isDriverLibrary(soname) ||
        (!isLibcFamily(soname, input.python.libc.kind) &&
          chooseProvider(soname, [object.original], input.python, sources).provider !== null),
    )
    return served === undefined || object.original.needed.includes(served) ? [] : [served]
  })
  return [...served, ...driver]
}

/** How a soname is served for the objects that want it. */
export interface Serving {
  /** null: the library set was not asked (a driver's library, or libc's own). */
  readonly choice: Choice | null
  readonly users: readonly ScannedObject[]
}

/** Chooses a provider for each wanted soname. The sonames that the distribution itself brings are left out. */
export function providersFor(
  { input }: Resolution,
  sources: ProviderSources,
  wants: ReadonlyMap<ScannedObject, readonly string[]>,
): Map<string, Serving> {
  const users = new Map<string, ScannedObject[]>()
  for (const [object, sonames] of wants) {
    for (const soname of sonames) {
      if (siblingDirectory(object, soname, input) !== null) continue
      const list = users.get(soname)
      if (list === undefined) users.set(soname, [object])
      else list.push(object)
    }
  }
  const serving = new Map<string, Serving>()
  for (const [soname, list] of [...users].sort(([a], [b]) => (a < b ? -1 : 1))) {
    const own = isLibcFamily(soname, input.python.libc.kind) || isDriverLibrary(soname)
    const originals = list.map(object => object.original)
    const choice = own ? null : chooseProvider(soname, originals, input.python, sources)
    serving.set(soname, { choice, users: list })
  }
  return serving
}

/** The library that was chosen for each soname, and where its folder was named. */
export function usedLibraries(serving: ReadonlyMap<string, Serving>): UsedLibrary[] {
  const used: UsedLibrary[] = []
  for (const [soname, { choice }] of serving) {
    if (choice?.provider != null) used.push({ soname, path: choice.provider.path, source: choice.provider.source })
  }
  return used
}

/** The files that the user named and that cannot be used. */
export function refusals(serving: ReadonlyMap<string, Serving>): string[] {
  return [...serving.values()].flatMap(({ choice }) => choice?.refused.map(why => `${why}: skipped`) ?? [])
}

// Compares what a wheel needs from its system with the promise of its platform tag, as `auditwheel show` does. A wheel
// needs the libraries that it does not bring, and from each of them the newest symbol versions that it wants.
import type { ResolvedObject } from '../resolve/needed.ts'
import { isInside } from '../io/path.ts'
import { POLICIES, type Policy } from '../nix/policies.ts'
import { platformPolicy, type WheelTag } from '../python/wheel-tags.ts'

export interface PolicyReport {
  /** The platform tags of the file name that make a promise, oldest first: `manylinux_2_17_x86_64`. */
  readonly claims: readonly string[]
  /** The oldest policy that the wheel complies with; null for none. */
  readonly keeps: string | null
  /** False if the wheel needs something that one of its tags does not promise. */
  readonly holds: boolean
  /** Sonames that the wheel does not bring, with the objects that need them. */
  readonly external: readonly ExternalLibrary[]
  /** The newest symbol version wanted from the system, for each family: `{ GLIBC: '2.28' }`. */
  readonly versions: Readonly<Record<string, string>>
  /**
   * The families for which the wheel wants a newer version than the oldest claimed policy has. The value is the version
   * of the policy.
   */
  readonly tooNew: Readonly<Record<string, string>>
}

interface ExternalLibrary {
  readonly soname: string
  readonly neededBy: readonly string[]
  /** True if the oldest claimed policy does not have the library. For a wheel that claims none: if no policy has it. */
  readonly outside: boolean
}

/** @param root the pretended place of the installation; a library found below it is the wheel's own */
export function comparePolicies(
  tags: readonly WheelTag[],
  planned: readonly ResolvedObject[],
  root: string,
): PolicyReport {
  const external = new Map<string, string[]>()
  const versions = new Map<string, string>()
  for (const { object, needed } of planned) {
    for (const { soname, provider } of needed) {
      if ((provider !== null && isInside(provider, root)) || isLoader(soname)) continue
      external.set(soname, [...(external.get(soname) ?? []), object.relative])
      const need = object.original.versionNeeds.find(({ file }) => file === soname)
      for (const { name } of need?.versions ?? []) {
        const [, family = '', version = ''] = /^([A-Z][A-Z0-9_]*?)_(\d[\d.]*)$/.exec(name) ?? []
        if (version !== '' && isNewer(version, versions.get(family) ?? '')) versions.set(family, version)
      }
    }
  }
  const claimed = claimsOf(tags)
  const machine = claimed[0]?.machine ?? machineOf(tags)
  const wanted = { external, versions, machine }
  const kept = POLICIES.filter(policy => machine in policy.newest).filter(policy => keeps(policy, wanted))
  const oldest = claimed[0]?.policy
  const allowed = new Set(oldest?.libraries ?? POLICIES.flatMap(({ libraries }) => libraries))
  const newest = oldest?.newest[machine] ?? {}
  const tooNew = [...versions].filter(([family, version]) => isNewer(version, newest[family] ?? version))
  const [best] = kept.toSorted(byAge)
  return {
    claims: claimed.map(({ policy }) => `${policy.name}_${machine}`),
    keeps: best === undefined ? null : `${best.name}_${machine}`,
    holds: claimed.every(({ policy }) => keeps(policy, wanted)),
    external: [...external]
      .map(([soname, neededBy]) => ({ soname, neededBy, outside: !allowed.has(soname) }))
      .toSorted((a, b) => (a.soname < b.soname ? -1 : 1)),
    versions: Object.fromEntries([...versions].toSorted(([a], [b]) => (a < b ? -1 : 1))),
    tooNew: Object.fromEntries(tooNew.map(([family]) => [family, newest[family] ?? ''])),
  }
}

/** Is this the loader? It exists wherever its libc does, and the policies leave it out. */
function isLoader(soname: string): boolean {
  return /^ld(?:64)?[-.]/.test(soname)
}

interface Wanted {
  readonly external: ReadonlyMap<string, unknown>
  readonly versions: ReadonlyMap<string, string>
  readonly machine: string
}

function keeps(policy: Policy, { external, versions, machine }: Wanted): boolean {
  const newest = policy.newest[machine]
  if (newest === undefined) return false
  if ([...external.keys()].some(soname => !policy.libraries.includes(soname))) return false
  return [...versions].every(([family, version]) => !isNewer(version, newest[family] ?? version))
}

/** The policies that the tags name, oldest first. */
function claimsOf(tags: readonly WheelTag[]): { readonly policy: Policy; readonly machine: string }[] {
  const claims = new Map<string, { policy: Policy; machine: string }>()
  for (const { platform } of tags) {
    const promise = platformPolicy(platform)
    const policy = POLICIES.find(({ name }) => name === promise?.name)
    if (promise !== null && policy !== undefined) claims.set(policy.name, { policy, machine: promise.machine })
  }
  return [...claims.values()].toSorted((a, b) => byAge(a.policy, b.policy))
}

/** The machine of a platform tag without a promise: `x86_64` for `linux_x86_64`. */
function machineOf(tags: readonly WheelTag[]): string {
  for (const { platform } of tags) {
    const machine = /^linux_(\w+)$/.exec(platform)?.[1]
    if (machine !== undefined) return machine
  }
  return 'x86_64'
}

function byAge(a: Policy, b: Policy): number {
  return a.name.localeCompare(b.name, 'en', { numeric: true })
}

function isNewer(a: string, b: string): boolean {
  return a.localeCompare(b, 'en', { numeric: true }) > 0
}

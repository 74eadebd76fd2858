// What the platform tags of wheels allow: the libraries that a wheel may expect of the system, and up to which symbol
// versions. The data is in policies-data.ts; knows no file and no store.
import { POLICIES, POLICY_SOURCE } from './policies-data.ts'

export { POLICIES, POLICY_SOURCE }

/** One platform tag (PEP 600, PEP 656). */
export interface Policy {
  /** `manylinux_2_28`: the tag without the machine. */
  readonly name: string
  /** Its names of before PEP 600: `manylinux2014`. */
  readonly aliases: readonly string[]
  readonly libc: 'glibc' | 'musl'
  /** The sonames that a wheel need not bring along. */
  readonly libraries: readonly string[]
  /** By machine (`x86_64`), the newest version of each family of symbols: `{ GLIBC: '2.28' }`. */
  readonly newest: Readonly<Record<string, Readonly<Record<string, string>>>>
}

/** The policy of that name or alias, with or without a machine behind it (`manylinux_2_28_x86_64`); null if unknown. */
export function findPolicy(name: string): Policy | null {
  const matches = (tag: string, policy: Policy) =>
    name === tag || Object.keys(policy.newest).some(machine => name === `${tag}_${machine}`)
  return POLICIES.find(policy => [policy.name, ...policy.aliases].some(tag => matches(tag, policy))) ?? null
}

/** What any policy allows: the manylinux set, glibc's and musl's own libraries among it. */
export function manylinuxSonames(): ReadonlySet<string> {
  return new Set(POLICIES.flatMap(policy => policy.libraries))
}

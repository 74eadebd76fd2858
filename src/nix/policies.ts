// What the platform tags of wheels allow: the libraries that a wheel may expect of the system, and up to which symbol
// versions. The data is in policies-data.ts; knows no file and no store.
import { POLICIES, type Policy, POLICY_SOURCE } from './policies-data.ts'

export { POLICIES, type Policy, POLICY_SOURCE }

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

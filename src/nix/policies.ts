// What the platform tags of wheels allow: the libraries that a wheel may expect from the system, and their newest symbol
// versions. The data is in policies-data.ts. This file knows no files and no store.
import { POLICIES, type Policy, POLICY_SOURCE } from './policies-data.ts'

export { POLICIES, type Policy, POLICY_SOURCE }

/** The policy of this name or alias, also when a machine follows the name (`manylinux_2_28_x86_64`); null if unknown. */
export function findPolicy(name: string): Policy | null {
  const matches = (tag: string, policy: Policy) =>
    name === tag || Object.keys(policy.newest).some(machine => name === `${tag}_${machine}`)
  return POLICIES.find(policy => [policy.name, ...policy.aliases].some(tag => matches(tag, policy))) ?? null
}

/** The sonames that any policy allows: the manylinux set, which includes the own libraries of glibc and musl. */
export function manylinuxSonames(): ReadonlySet<string> {
  return new Set(POLICIES.flatMap(policy => policy.libraries))
}

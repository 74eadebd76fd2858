// What the platform tags of wheels allow: the libraries that a wheel may expect from the system, and their newest symbol
// versions. The data is in policies-data.ts. This file reads nothing from the disk.
import { POLICIES, type Policy, POLICY_SOURCE } from './policies-data.ts'

export { POLICIES, type Policy, POLICY_SOURCE }

/** The policy of this name or alias. A machine may follow the name (`manylinux_2_28_x86_64`). null if unknown. */
export function findPolicy(name: string): Policy | null {
  const matches = (tag: string, policy: Policy) =>
    name === tag || Object.keys(policy.newest).some(machine => name === `${tag}_${machine}`)
  return POLICIES.find(policy => [policy.name, ...policy.aliases].some(tag => matches(tag, policy))) ?? null
}

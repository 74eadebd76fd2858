// Which objects ask for a stack that is executable, where their loader does not make it so any more.
import { wantsExecutableStack } from '../../elf/kind.ts'
import type { ScannedObject } from '../objects.ts'
import type { PythonProcess } from '../python-process.ts'
import type { Resolution } from '../resolution.ts'

/** From this glibc on dlopen fails instead (NEWS for 2.41). What a program links to still gets such a stack at its start. */
const FIRST_GLIBC = [2, 41] as const

/** The objects with which an import fails for that: modules, and what they bring. */
export function refusedStacks({ input, simulation }: Resolution): ScannedObject[] {
  if (!refusesStacks(input.python)) return []
  const asking = new Map(
    input.objects.filter(({ executableStack }) => executableStack).map(object => [object.identity, object]),
  )
  const refused = new Set<ScannedObject>()
  if (asking.size === 0) return []
  for (const { kind, identity } of input.objects) {
    if (kind === 'executable' || !simulation.counted.has(identity)) continue
    for (const map of simulation.processes.get(identity)?.maps ?? []) {
      const object = asking.get(map.identity)
      if (object !== undefined) refused.add(object)
    }
  }
  return [...refused]
}

function refusesStacks({ libc, interpreter }: PythonProcess): boolean {
  if (libc.kind !== 'glibc' || libc.version === null) return false
  const [major = 0, minor = 0] = libc.version.split('.').map(Number)
  if (major < FIRST_GLIBC[0] || (major === FIRST_GLIBC[0] && minor < FIRST_GLIBC[1])) return false
  // where Python's own stack is executable, nothing has to be changed for anybody
  const { object } = interpreter
  return object.programHeaders.length === 0 || !wantsExecutableStack(object)
}

/** What to say of one of them. */
export function stackReason(path: string): string {
  return (
    'it asks for an executable stack, which glibc 2.41 and later refuse to a module: ' +
    `wheelfix elf --clear-execstack ${path}`
  )
}

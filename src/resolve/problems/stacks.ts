// The objects that ask for an executable stack when their loader no longer makes the stack executable.
import { wantsExecutableStack } from '../../elf/kind.ts'
import { shellWord } from '../../io/words.ts'
import type { ScannedObject } from '../objects.ts'
import type { PythonProcess } from '../python-process.ts'
import type { Resolution } from '../resolution.ts'

/**
 * From this glibc on dlopen fails instead (NEWS for 2.41). A library that a program links to still gets such a stack at the
 * program's start.
 */
const FIRST_GLIBC = [2, 41] as const

/** The objects that make an import fail for this reason: modules, and the libraries that they bring. */
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
  // when Python's own stack is executable, no object has to change
  const { object } = interpreter
  return object.programHeaders.length === 0 || !wantsExecutableStack(object)
}

/** The message about one of these objects. */
export function stackReason(path: string): string {
  return (
    'it asks for an executable stack, which glibc 2.41 and later do not give to a module: ' +
    `wheelfix elf --clear-execstack ${shellWord(path)}`
  )
}

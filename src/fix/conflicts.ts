// What the simulation of the patched venv shows that no plan can settle: it depends on who is loaded first, or comes from
// somewhere else than before. Sentences for the report.
import { realPath } from '../io/path.ts'
import { isLibcFamily } from '../loader/libc.ts'
import type { PlanInput, PlannedObject } from './plan.ts'
import type { ScannedObject } from './scan.ts'
import type { Outcome, Simulation } from './simulate.ts'

/** The sentences, in the order of the objects. */
export function conflictsOf(
  planned: readonly PlannedObject[],
  before: Simulation,
  after: Simulation,
  input: PlanInput,
): string[] {
  return [
    ...orderDependent(planned, after, input),
    ...movedAway(planned, before, after, input),
    ...foreignLibc(planned, input),
    ...broughtTwice(planned, input),
    ...searchingHere(planned),
  ]
}

/** A needed that one chain of loaders resolves to another file than the next. */
function orderDependent(planned: readonly PlannedObject[], after: Simulation, { python }: PlanInput): string[] {
  const { tree } = python.loader
  const said: string[] = []
  for (const { object, needed } of planned) {
    const chains = after.inRoots.get(object.identity) ?? []
    for (const [index, { soname, resolution }] of needed.entries()) {
      const first = resolution?.provider
      if (first == null) continue
      const other = chains.map(chain => chain.needed[index]?.provider).find(other => other?.identity !== first.identity)
      // two files of the store for one soname are the same library; two of the venv are not
      if (other != null && (after.alone.has(other.identity) || after.alone.has(first.identity))) {
        const files = `${tree.canonical(first.path)} or ${tree.canonical(other.path)}`
        said.push(`${object.relative} gets ${soname} from ${files}, whichever is loaded first`)
      }
    }
  }
  return said
}

/** A needed that a file of the venv served, and that a directory which was added for another one now serves. */
function movedAway(
  planned: readonly PlannedObject[],
  before: Simulation,
  after: Simulation,
  input: PlanInput,
): string[] {
  if (before === after) return []
  const { tree } = input.python.loader
  const said: string[] = []
  for (const { object } of planned) {
    const then = before.alone.get(object.identity)?.needed ?? []
    const now = after.alone.get(object.identity)?.needed ?? []
    for (const [index, { soname, provider }] of then.entries()) {
      const other = now[index]?.provider
      if (provider === null || other == null || provider.identity === other.identity) continue
      if (!before.alone.has(provider.identity)) continue
      const files = `${tree.canonical(other.path)}, and no more from ${tree.canonical(provider.path)}`
      said.push(`${object.relative} gets ${soname} from ${files}`)
    }
  }
  return said
}

/** A library of the C library itself that comes from elsewhere: two of them in one process do not go together. */
function foreignLibc(planned: readonly PlannedObject[], { python }: PlanInput): string[] {
  const { tree } = python.loader
  const said: string[] = []
  for (const { object, needed } of planned) {
    if (object.kind === 'executable') continue
    for (const { soname, resolution } of needed) {
      if (!isLibcFamily(soname, python.libc.kind) || !isElsewhere(resolution, python.libcDirectories)) continue
      const path = tree.canonical(resolution?.provider?.path ?? '')
      said.push(`${object.relative} gets ${soname} from ${path}, which is not the C library of this Python`)
    }
  }
  return said
}

function isElsewhere(resolution: Outcome | null, own: ReadonlySet<string>): boolean {
  const path = resolution?.provider?.path
  if (path === undefined || resolution?.because.by === 'loaded') return false
  return !own.has(realPath(path.slice(0, path.lastIndexOf('/'))))
}

/** auditwheel puts a hash of the file into the name (patcher.py, `get_new_soname`): the same name is the same file. */
const NAMED_BY_CONTENT = /-[0-9a-f]{8}\./

/** How many sonames are named. */
const NAMED = 2

/** The same soname from files of different distributions: in one process, the first that is loaded serves both. */
function broughtTwice(planned: readonly PlannedObject[], input: PlanInput): string[] {
  const byIdentity = new Map<string, ScannedObject>(input.objects.map(object => [object.identity, object]))
  const owners = new Map<string, Set<string>>()
  for (const { object, needed } of planned) {
    if (object.kind === 'executable') continue
    for (const { soname, resolution } of needed) {
      if (NAMED_BY_CONTENT.test(soname)) continue
      const provider = byIdentity.get(resolution?.provider?.identity ?? '')
      const owner = provider === undefined ? null : input.ownership.owner(provider.path)
      if (owner === null) continue
      const known = owners.get(soname)
      if (known === undefined) owners.set(soname, new Set([owner]))
      else known.add(owner)
    }
  }
  const groups = new Map<string, string[]>()
  for (const [soname, names] of owners) {
    if (names.size < 2) continue
    const group = [...names].sort().join(' and ')
    groups.set(group, [...(groups.get(group) ?? []), soname])
  }
  return [...groups].map(([group, sonames]) => {
    const named = sonames.toSorted().slice(0, NAMED).join(', ')
    const more = sonames.length > NAMED ? ` and ${sonames.length - NAMED} more` : ''
    return `${group} bring ${named}${more} each: a process that imports both gets those of the first for both`
  })
}

function searchingHere(planned: readonly PlannedObject[]): string[] {
  const names = planned
    .filter(({ object }) => {
      const entries = (object.original.runpath ?? object.original.rpath ?? '').split(':')
      return entries.length > 1 && entries.includes('')
    })
    .map(({ object }) => object.relative)
  if (names.length === 0) return []
  const who = names.length === 1 ? names.join('') : `${names.length} objects (${names.join(', ')})`
  return [`by an empty entry in its search path the current directory is searched too: ${who}`]
}

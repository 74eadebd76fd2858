// Conflicts that the simulation of the patched venv shows and no plan can settle: the file depends on which object is loaded
// first, or it comes from another place than before.
import { directoryOf } from '../../io/path.ts'
import { count, listed } from '../../io/words.ts'
import { isLibcFamily } from '../../ldso/libc.ts'
import type { ResolvedObject } from '../needed.ts'
import type { ScannedObject } from '../objects.ts'
import type { PythonProcess } from '../python-process.ts'
import type { Resolution, ResolveInput } from '../resolution.ts'
import type { Chain, Resolved, Simulation } from '../simulate.ts'

/**
 * The kind of a conflict:
 * - `order-dependent`: the file that serves a soname depends on which object was loaded first
 * - `moved-away`: another file than before serves it
 * - `foreign-libc`: a library of the C library comes from another C library
 * - `brought-twice`: several distributions bring a soname, and a process has only one of them
 * - `current-directory`: an empty entry of a search path makes the loader search the current directory
 */
type ConflictKind = 'order-dependent' | 'moved-away' | 'foreign-libc' | 'brought-twice' | 'current-directory'

export interface Conflict {
  readonly kind: ConflictKind
  /** The objects with the conflict, relative to the venv. */
  readonly objects: readonly string[]
  readonly sonames: readonly string[]
  /** The files that serve the soname, or may serve it. The first is the one that the report names as the provider. */
  readonly providers: readonly string[]
  /** The whole conflict in one sentence. */
  readonly message: string
}

/** The conflicts, in the order of the objects. */
export function conflictsOf(resolved: readonly ResolvedObject[], before: Resolution, after: Resolution): Conflict[] {
  return [
    ...orderDependent(resolved, after),
    ...movedAway(resolved, before, after),
    ...foreignLibc(resolved, after.input),
    ...broughtTwice(resolved, after.input),
    ...searchingHere(resolved),
  ]
}

/** A DT_NEEDED entry for which one chain of loaders finds another file than the next chain. */
function orderDependent(resolved: readonly ResolvedObject[], { input, simulation }: Resolution): Conflict[] {
  const { tree } = input.python.loader
  const said: Conflict[] = []
  for (const { object, needed } of resolved) {
    const chains = simulation.inRoots.get(object.identity) ?? []
    for (const [index, { soname, resolution }] of needed.entries()) {
      const first = resolution?.provider
      if (first == null) continue
      const others = chains.map(chain => chain.needed[index]?.provider).filter(other => other != null)
      const other = others.find(({ identity }) => identity !== first.identity)
      // two files of the store for one soname are the same library; two of the venv are not
      if (other !== undefined && (simulation.alone.has(other.identity) || simulation.alone.has(first.identity))) {
        const providers = [...new Set([first, other, ...others].map(({ path }) => tree.canonical(path)))]
        said.push({
          kind: 'order-dependent',
          objects: [object.relative],
          sonames: [soname],
          providers,
          message: `${object.relative} gets ${soname} from ${providers.join(' or ')}, whichever is loaded first`,
        })
      }
    }
  }
  return said
}

/** A DT_NEEDED entry that a file of the venv served, and that a directory added for another entry now serves. */
function movedAway(
  resolved: readonly ResolvedObject[],
  { simulation: before }: Resolution,
  { input, simulation: after }: Resolution,
): Conflict[] {
  if (before === after) return []
  const { tree } = input.python.loader
  const said: Conflict[] = []
  for (const { object } of resolved) {
    for (const [index, { soname }] of (before.alone.get(object.identity)?.needed ?? []).entries()) {
      const moved =
        otherFile([before.alone.get(object.identity)], [after.alone.get(object.identity)], index, before) ??
        otherFile(before.inRoots.get(object.identity), after.inRoots.get(object.identity), index, before)
      if (moved === null) continue
      const [path, old] = [tree.canonical(moved.now.path), tree.canonical(moved.old.path)]
      said.push({
        kind: 'moved-away',
        objects: [object.relative],
        sonames: [soname],
        providers: [path, old],
        message: `${object.relative} gets ${soname} from ${path}, and no longer from ${old}`,
      })
    }
  }
  return said
}

type Ways = readonly (Chain | undefined)[]
type Provider = NonNullable<Resolved['provider']>

/** A file of the venv that served a DT_NEEDED entry, which other files now serve in every way of loading the object. */
function otherFile(
  before: Ways = [],
  after: Ways = [],
  index: number,
  { alone }: Simulation,
): { readonly old: Provider; readonly now: Provider } | null {
  for (const chain of before) {
    const old = chain?.needed[index]?.provider
    if (old == null || !alone.has(old.identity)) continue
    const files = after.map(way => way?.needed[index]?.provider).filter(file => file != null)
    const [now] = files
    if (now !== undefined && files.every(({ identity }) => identity !== old.identity)) return { old, now }
  }
  return null
}

/** A library of the C library itself that comes from another place. Two C libraries in one process do not work together. */
function foreignLibc(resolved: readonly ResolvedObject[], { python }: ResolveInput): Conflict[] {
  const { tree } = python.loader
  const said: Conflict[] = []
  for (const { object, needed } of resolved) {
    if (object.kind === 'executable') continue
    for (const { soname, resolution } of needed) {
      if (!isLibcFamily(soname, python.libc.kind) || !isElsewhere(resolution, python)) continue
      const path = tree.canonical(resolution?.provider?.path ?? '')
      said.push({
        kind: 'foreign-libc',
        objects: [object.relative],
        sonames: [soname],
        providers: [path],
        message: `${object.relative} gets ${soname} from ${path}, which is not the C library of this Python`,
      })
    }
  }
  return said
}

function isElsewhere(resolution: Resolved | null, { loader, libcDirectories }: PythonProcess): boolean {
  const path = resolution?.provider?.path
  if (path === undefined || resolution?.because.by === 'loaded') return false
  return !libcDirectories.has(directoryOf(loader.tree.canonical(path)))
}

/** auditwheel puts a hash of the file into the name (patcher.py, `get_new_soname`), so the same name is the same file. */
const NAMED_BY_CONTENT = /-[0-9a-f]{8}\./

/** How many objects a message names. */
const NAMED = 3

/** The same soname in files of different distributions. In one process the file that is loaded first serves both. */
function broughtTwice(resolved: readonly ResolvedObject[], input: ResolveInput): Conflict[] {
  const byIdentity = new Map<string, ScannedObject>(input.objects.map(object => [object.identity, object]))
  /** Soname → distribution → the file that it brings. */
  const owners = new Map<string, Map<string, string>>()
  for (const { object, needed } of resolved) {
    if (object.kind === 'executable') continue
    for (const { soname, resolution } of needed) {
      if (NAMED_BY_CONTENT.test(soname)) continue
      const provider = byIdentity.get(resolution?.provider?.identity ?? '')
      const owner = provider === undefined ? null : input.ownership.owner(provider.path)
      if (provider === undefined || owner === null) continue
      const known = owners.get(soname)
      if (known === undefined) owners.set(soname, new Map([[owner, provider.path]]))
      else if (!known.has(owner)) known.set(owner, provider.path)
    }
  }
  const groups = new Map<string, { sonames: string[]; providers: string[] }>()
  for (const [soname, files] of owners) {
    if (files.size < 2) continue
    const group = [...files.keys()].sort().join(' and ')
    const known = groups.get(group) ?? { sonames: [], providers: [] }
    known.sonames.push(soname)
    known.providers.push(...files.values())
    groups.set(group, known)
  }
  return [...groups].map(([group, { sonames, providers }]) => {
    const [first = '', ...others] = sonames.sort()
    const libraries = others.length === 0 ? first : `${first} and ${count(others.length, 'other library')}`
    const message = `${group} each bring ${libraries}; a process loads only one copy`
    return { kind: 'brought-twice', objects: [], sonames, providers: providers.sort(), message }
  })
}

function searchingHere(resolved: readonly ResolvedObject[]): Conflict[] {
  const objects = resolved
    .filter(({ object }) => {
      const entries = (object.original.runpath ?? object.original.rpath ?? '').split(':')
      return entries.length > 1 && entries.includes('')
    })
    .map(({ object }) => object.relative)
  if (objects.length === 0) return []
  const message = `an empty entry in the search path of ${listed(objects, NAMED)} makes the loader search the current directory`
  return [{ kind: 'current-directory', objects, sonames: [], providers: [], message }]
}

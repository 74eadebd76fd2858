// Why the objects of a venv get their libraries. Each object is loaded into its own process, as it will be after the plan,
// with the searched places for every DT_NEEDED entry. The result is plain data. This file does not know how it is shown.
import { isInside, realPathOrNull } from '../io/path.ts'
import { isLibcFamily } from '../ldso/libc.ts'
import { fateOf } from '../ldso/candidate.ts'
import { openStep, pathIn, searchParts } from '../ldso/process.ts'
import type { Because, LinkMap, Process, SearchDirectory } from '../ldso/search.ts'
import type { Environment } from '../python/environment.ts'
import type { Change } from '../resolve/change.ts'
import { hintOf, type UnfitFile } from '../resolve/problems/hint.ts'
import type { NeededHow } from '../resolve/needed.ts'
import type { ScannedObject } from '../resolve/objects.ts'
import { type NamedObjects, namedObjects } from './named-objects.ts'
import type { Subject } from './subject.ts'

export interface WhyReport {
  /** The meaning of the name that the user gave. */
  readonly kind: NamedObjects['kind']
  /** The objects with this name, each with its process. For a soname: the objects that need it or have it. */
  readonly processes: readonly WhyProcess[]
  /** The soname, if the name is one. Then only DT_NEEDED entries of that name matter. */
  readonly soname: string | null
}

/** One object, loaded alone. */
export interface WhyProcess {
  readonly root: WhyObject
  /** The root and everything that it needs, directly or not. Each object comes once, breadth first. */
  readonly objects: readonly WhyObject[]
}

export interface WhyObject {
  readonly path: string
  readonly distribution: string | null
  /** The planned change; null for none, or for an object outside the venv. */
  readonly change: Change | null
  readonly needed: readonly WhyNeeded[]
  /** This interpreter cannot load the object, because the object is for another machine or has no loader. */
  readonly foreign: boolean
}

export interface WhyNeeded {
  readonly soname: string
  /** The path by which the file was opened; null when none was found. */
  readonly provider: string | null
  readonly because: Because
  /**
   * The result as in the plan. `inherited`: this process does not find the library. Every process in which another object
   * links to this object finds it.
   */
  readonly how: NeededHow | 'inherited'
  /** The object that loaded the file first, if it was another object. */
  readonly loadedBy: string | null
  /** The places that were tried before, in order; all places when nothing was found. */
  readonly tried: readonly Tried[]
  readonly lackingVersions: readonly string[]
  /** Does the library belong to the C library? */
  readonly libc: boolean
  /** What to do when the library is missing. */
  readonly hint: string | null
}

interface Tried {
  readonly path: string
  readonly by: SearchDirectory['by']
  readonly entry: string | null
  readonly owner: string | null
  /** Why the place was not taken. */
  readonly outcome: 'no folder' | 'no file' | 'another machine' | 'cannot be opened'
}

/** @throws WheelfixError `USAGE` when the name means nothing in this venv */
export function whyOf(name: string, subject: Subject, cwd: string): WhyReport {
  const { kind, objects } = namedObjects(name, subject, cwd)
  const processes = objects.map(object => {
    const process = subject.load(object)
    const [map] = process?.maps ?? []
    return process === null || map === undefined ? foreignProcess(object, subject) : whyProcess(process, map, subject)
  })
  return { kind, processes, soname: kind === 'soname' ? name : null }
}

function whyProcess(process: Process, root: LinkMap, subject: Subject): WhyProcess {
  const seen = new Set([root])
  const objects: WhyObject[] = []
  for (const map of seen) {
    objects.push(objectOf(process, map, subject))
    for (const { provider } of map.needed) if (provider !== null) seen.add(provider)
  }
  const [first] = objects
  if (first === undefined) throw new Error('a process without its root')
  return { root: first, objects }
}

function objectOf(process: Process, map: LinkMap, subject: Subject): WhyObject {
  const { python, venv } = subject
  const planned = subject.planned(map)
  const name = namer(process, venv)
  const needed = map.needed.map(({ soname, provider, because, lackingVersions }): WhyNeeded => {
    const served = provider !== null && lackingVersions.length === 0
    const how = served ? 'found' : (planned?.how(soname) ?? 'missing')
    return {
      soname,
      provider: provider === null ? null : name(provider.path),
      because: withNames(because, name),
      how: how === 'found' && !served ? 'inherited' : how,
      loadedBy: because.by === 'loaded' && provider?.openedBy != null ? name(provider.openedBy.path) : null,
      tried: because.by === 'loaded' || because.by === 'path' ? [] : triedFor(process, map, soname, name),
      lackingVersions,
      libc: isLibcFamily(soname, python.libc.kind),
      hint:
        how === 'missing'
          ? hintOf(
              soname,
              provider === null || served ? null : unfitFile(provider, map, lackingVersions, subject),
              subject.clashes(soname),
              python.libc,
              subject.distributions,
            )
          : null,
    }
  })
  return {
    path: name(map.path),
    distribution: planned?.distribution ?? null,
    change: planned?.change ?? null,
    needed,
    foreign: false,
  }
}

function unfitFile(provider: LinkMap, user: LinkMap, versions: readonly string[], subject: Subject): UnfitFile {
  const ownerOf = (map: LinkMap) => subject.planned(map)?.distribution ?? null
  return { versions, path: provider.path, owner: ownerOf(provider), users: [ownerOf(user) ?? []].flat() }
}

/**
 * Gives paths as people read them. The loader opens `a/b/../c`, and a person reads `a/c`. The venv keeps the name that the
 * user gave: its links are not resolved.
 */
function namer(process: Process, venv: Environment): (path: string) => string {
  const real = realPathOrNull(venv.root) ?? venv.root
  return path => {
    const canonical = process.loader.tree.canonical(path)
    return isInside(canonical, real) ? venv.root + canonical.slice(real.length) : canonical
  }
}

function withNames({ by, entry, owner, fault }: Because, name: (path: string) => string): Because {
  return { by, entry, owner: owner === null ? null : name(owner), ...(fault === undefined ? {} : { fault }) }
}

function triedFor(process: Process, map: LinkMap, soname: string, name: (path: string) => string): Tried[] {
  const tried: Tried[] = []
  for (const part of searchParts(process, map, soname)) {
    for (const step of part) {
      const { directory, by, entry, owner } = step
      const path = by === 'cache' ? directory : pathIn(directory, soname)
      const there = openStep(process.loader, step, soname)
      const fate = there === null ? null : fateOf(there.file, process)
      if (fate !== null && fate !== 'passed-over' && fate !== 'list-ends') return tried
      const outcome =
        fate === null ? absence(process, step) : fate === 'list-ends' ? 'cannot be opened' : 'another machine'
      tried.push({ path: name(path), by, entry, owner: owner === null ? null : name(owner), outcome })
      if (fate === 'list-ends') break
    }
  }
  return tried
}

function absence({ loader }: Process, { by, directory }: SearchDirectory): Tried['outcome'] {
  return by !== 'cache' && loader.tree.names(directory).size === 0 ? 'no folder' : 'no file'
}

function foreignProcess(object: ScannedObject, subject: Subject): WhyProcess {
  const planned = subject.planned(object)
  const needed = object.original.needed.map((soname): WhyNeeded => ({
    soname,
    provider: null,
    because: { by: 'not-found', entry: null, owner: null },
    how: 'foreign',
    loadedBy: null,
    tried: [],
    lackingVersions: [],
    libc: false,
    hint: null,
  }))
  const root: WhyObject = {
    path: object.path,
    distribution: planned?.distribution ?? null,
    change: planned?.change ?? null,
    needed,
    foreign: true,
  }
  return { root, objects: [root] }
}

// What `why` needs to know of an environment. An examination knows it for all objects. An environment in which nothing is
// left to do can tell it for single objects (settled.ts).
import type { Examination } from '../environment/examine.ts'
import type { LinkMap, Process } from '../ldso/search.ts'
import type { Distributions } from '../python/distributions.ts'
import type { Environment } from '../python/environment.ts'
import type { Belonging } from '../python/belonging.ts'
import type { Change } from '../resolve/change.ts'
import type { NeededHow } from '../resolve/needed.ts'
import type { ScannedObject } from '../resolve/objects.ts'
import type { PythonProcess } from '../resolve/python-process.ts'
import { processOf } from '../resolve/resolution.ts'

/** An object of the environment that may not have been read yet. */
export interface ListedObject {
  /** Absolute, as `ScannedObject` has it. */
  readonly path: string
  /** Reads the object; null for a file that no loader loads. */
  read(): ScannedObject | null
}

export interface Subject {
  readonly venv: Environment
  readonly python: PythonProcess
  readonly distributions: Distributions
  readonly importRoots: Belonging['importRoots']
  readonly objects: readonly ListedObject[]
  /** The process that loads an object alone, after the plan; null when this interpreter cannot load the object. */
  load(object: ScannedObject): Process | null
  /** What the plan says of a mapped object; undefined for an object outside the environment. */
  planned(map: Pick<LinkMap, 'path' | 'identity'>): Planned | undefined
  /** Why files of this name were rejected. */
  clashes(soname: string): readonly string[]
}

/** What the plan says of one object. */
interface Planned {
  readonly distribution: string | null
  readonly change: Change | null
  /** The result for a DT_NEEDED entry that the object's own process does not find. */
  how(soname: string): NeededHow | undefined
}

/** The subject of a whole examination. */
export function subjectOf({ venv, python, distributions, scan, plan, resolution }: Examination): Subject {
  const planned = new Map(plan.objects.map(item => [item.identity, item]))
  return {
    venv,
    python,
    distributions,
    importRoots: scan.belonging.importRoots,
    objects: scan.objects.map(object => ({ path: object.path, read: () => object })),
    load: object => processOf(object, resolution),
    planned({ identity }) {
      const item = planned.get(identity)
      if (item === undefined) return undefined
      const { distribution, change, needed } = item
      return { distribution, change, how: soname => needed.findLast(entry => entry.soname === soname)?.how }
    },
    clashes: soname => plan.clashes.find(clash => clash.soname === soname)?.reasons ?? [],
  }
}

// An environment in which nothing is left to do, as the last run left it. A question about some of its objects only has to
// read these objects and what they load. The plan would change nothing. What it says of libraries that are not found is kept
// with the answer of the last run.
import { ownershipOf, programLoaderOf, chosenSettings } from '../environment/examine.ts'
import type { VenvOptions } from '../environment/run-options.ts'
import type { VenvReport } from '../environment/venv-report.ts'
import { objectReader } from '../environment/scan.ts'
import { realPathOrNull, relativeTo } from '../io/path.ts'
import { diskTree } from '../ldso/file-tree.ts'
import { storeDirectory } from '../nix/store.ts'
import { belongingOf } from '../python/belonging.ts'
import { type Distributions, readDistributions } from '../python/distributions.ts'
import { type Environment, hasPython } from '../python/environment.ts'
import { findInterpreter } from '../python/interpreter.ts'
import type { NeededHow } from '../resolve/needed.ts'
import { startPython } from '../resolve/python-process.ts'
import { type ResolveInput, simulationInput } from '../resolve/resolution.ts'
import { load } from '../resolve/simulate.ts'
import { recallSettled } from '../state/answers.ts'
import type { ListedObject, Subject } from './subject.ts'

/** What a plan says of libraries that are not found. Kept with an answer, as plain data. */
interface Details {
  /** By the relative path of an object: the result for each DT_NEEDED entry that is not simply found. */
  readonly hows: Readonly<Record<string, Readonly<Record<string, NeededHow>>>>
  /** By soname: why files of this name were rejected. */
  readonly clashes: Readonly<Record<string, readonly string[]>>
}

/** The details of a report's plan; null if some object is not in the state that the plan wants. */
export function settledDetails({ plan, outcomes, held, interrupted, loader }: VenvReport): Details | null {
  const isSettled = outcomes.every(({ status }) => status === 'fine' || status === 'patched')
  if (!isSettled || held.length > 0 || interrupted || loader !== null) return null
  const hows = plan.objects.map(({ relative, needed }) => {
    const lost = needed.filter(({ how }) => how !== 'found' && how !== 'foreign')
    return [relative, Object.fromEntries(lost.map(({ soname, how }) => [soname, how]))] as const
  })
  const clashes = plan.clashes.filter(({ reasons }) => reasons.length > 0)
  return {
    hows: Object.fromEntries(hows.filter(([, lost]) => Object.keys(lost).length > 0)),
    clashes: Object.fromEntries(clashes.map(({ soname, reasons }) => [soname, reasons])),
  }
}

function isDetails(value: unknown): value is Details {
  if (typeof value !== 'object' || value === null || !('hows' in value) || !('clashes' in value)) return false
  return [value.hows, value.clashes].every(part => typeof part === 'object' && part !== null && !Array.isArray(part))
}

/**
 * The environment as the last run left it; null if anything has changed since, or if something is left to do.
 * @throws WheelfixError when its Python cannot be found
 */
export function settledSubject(venv: Environment, options: VenvOptions, version: string): Subject | null {
  if (venv.kind !== 'venv' || !hasPython(venv)) return null
  const known = recallSettled(venv, options, version)
  const details = known?.answer.details
  if (known === null || !isDetails(details)) return null
  const settings = chosenSettings(venv, options)
  if (settings.strategy !== 'rpath' || settings.hasLoader) return null

  const store = storeDirectory(options.env)
  const interpreter = findInterpreter(venv)
  const tree = diskTree()
  const python = startPython(interpreter, tree, store, options.env)
  const distributions = readDistributions(venv.sitePackages, new Set(known.files))
  const readFrom = objectReader(venv, interpreter.extensionSuffixes)
  const input: ResolveInput = {
    objects: [],
    python,
    ownership: ownershipOf(distributions),
    bin: venv.bin,
    everythingCounts: false,
    sharesFolder: false,
    store,
    ...programLoaderOf(interpreter, settings.programs, null, options.env),
  }
  const simulated = simulationInput(input, new Map())
  const objects = known.files.map((path): ListedObject => {
    let object: ReturnType<typeof readFrom> | undefined
    return { path, read: () => (object ??= readFrom(path)) }
  })
  let byPath: ReadonlyMap<string, string> | null = null
  return {
    venv,
    python,
    distributions,
    importRoots: belongingOf(venv, store).importRoots,
    objects,
    load: object => load(object, { ...simulated, states: new Map([[object.identity, object.current]]) }),
    planned({ path }) {
      byPath ??= new Map(known.files.map(file => [tree.canonical(file), file]))
      const file = byPath.get(tree.canonical(path)) ?? byPath.get(realPathOrNull(path) ?? '')
      if (file === undefined) return undefined
      const hows = details.hows[relativeTo(venv.root, file)] ?? {}
      return { distribution: distributionOf(distributions, file), change: null, how: soname => hows[soname] ?? 'found' }
    },
    clashes: soname => details.clashes[soname] ?? [],
  }
}

function distributionOf(distributions: Distributions, path: string): string | null {
  return distributions.ownerOf(path)?.distribution.name ?? null
}

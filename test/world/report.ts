// The document that `--json` prints, as far as the end-to-end tests read it, and its comparison with the real loader.
import { realpathSync } from 'node:fs'
import { basename, join } from 'node:path'
import { judgeExecutable, judgeLibraries, type Verdict } from './oracle.ts'

export interface Report {
  readonly schema: 'wheelfix/1'
  readonly venv: string
  readonly python: { readonly executable: string; readonly libc: { readonly dir: string } }
  readonly libs: readonly { readonly soname: string; readonly path: string; readonly source: string }[]
  readonly objects: readonly ReportedObject[]
  readonly missing: readonly {
    readonly soname: string
    readonly neededBy: readonly string[]
    readonly optional: boolean
  }[]
  readonly conflicts: readonly {
    readonly kind: string
    readonly objects: readonly string[]
    readonly sonames: readonly string[]
    readonly providers: readonly string[]
    readonly message: string
  }[]
  readonly summary: Readonly<Record<'objects' | 'patched' | 'fine' | 'missing' | 'optional' | 'refused', number>>
}

export interface ReportedObject {
  readonly path: string
  readonly distribution: string | null
  readonly kind: 'extension' | 'library' | 'executable'
  readonly needed: readonly { readonly soname: string; readonly provider: string | null; readonly because: unknown }[]
  readonly change: {
    readonly rpath?: { readonly tag: string; readonly before: readonly string[]; readonly after: readonly string[] }
    readonly interpreter?: { readonly before: string; readonly after: string }
  } | null
  readonly missing: readonly string[]
  readonly status: 'fine' | 'patch' | 'patched' | 'refused'
}

export function parseReport(stdout: string): Report {
  return JSON.parse(stdout) as Report
}

/**
 * What the report says otherwise than the real loader does, as one sentence each; nothing when they agree. Judged strictly
 * are the roots: what Python or the user loads directly (extension modules, executables, libraries that no other object
 * links to). The other libraries come in through those, and where different ones bring different files in, the report has
 * to name one of them.
 */
export function disagreements(report: Report, python: string, env: NodeJS.ProcessEnv): string[] {
  const venv = realpathSync(report.venv)
  const byPath = new Map(report.objects.map(object => [realpathSync(join(venv, object.path)), object]))
  const linked = new Set(report.objects.flatMap(({ needed }) => needed.map(({ soname }) => basename(soname))))
  const isRoot = ([path, { kind }]: readonly [string, ReportedObject]): boolean =>
    kind !== 'library' || !linked.has(basename(path))
  const isExecutable = (path: string): boolean => byPath.get(path)?.kind === 'executable'

  const verdicts = [
    ...judgeLibraries(
      python,
      [...byPath.keys()].filter(path => !isExecutable(path)),
      env,
    ),
    ...[...byPath.keys()].filter(isExecutable).map(path => judgeExecutable(path, env)),
  ]
  const roots = new Set([...byPath].filter(isRoot).map(([path]) => path))
  return [
    ...verdicts.filter(({ path }) => roots.has(path)).flatMap(verdict => missingDifferences(verdict, byPath)),
    ...[...byPath].flatMap(([path, object]) =>
      providerDifferences(
        object,
        verdicts.filter(verdict => verdict.providers.has(path) && (!roots.has(path) || verdict.path === path)),
        path,
      ),
    ),
  ]
}

/** Each needed of an object, against the processes in which it was loaded. */
function providerDifferences({ needed }: ReportedObject, verdicts: readonly Verdict[], path: string): string[] {
  return needed.flatMap(({ soname, provider }) => {
    const said = provider === null ? null : realpathSync(provider)
    const real = new Set(verdicts.map(verdict => verdict.providers.get(path)?.get(soname) ?? null))
    return real.size === 0 || real.has(said)
      ? []
      : [`${path}: ${soname} is ${[...real].join(' or ')} and reported as ${said}`]
  })
}

/** The sonames that a process lacks: those that the report gives to the root and to all that it brings along. */
function missingDifferences(verdict: Verdict, byPath: ReadonlyMap<string, ReportedObject>): string[] {
  const reported = new Set<string>()
  const seen = new Set<string>()
  const visit = (path: string): void => {
    const object = byPath.get(path)
    if (object === undefined || seen.has(path)) return
    seen.add(path)
    for (const soname of object.missing) reported.add(soname)
    for (const { provider } of object.needed) if (provider !== null) visit(realpathSync(provider))
  }
  visit(verdict.path)
  if (verdict.error !== null && verdict.missing.length === 0) return [`${verdict.path}: ${verdict.error}`]
  const real = [...verdict.missing].sort().join(' ')
  const said = [...reported].sort().join(' ')
  return real === said ? [] : [`${verdict.path} lacks “${real}”, reported is “${said}”`]
}

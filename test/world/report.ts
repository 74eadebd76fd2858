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
 * What the report says otherwise than the real loader does, as one sentence each; nothing when they agree. Judged are the
 * objects that Python or the user loads directly: extension modules, executables, and libraries that no other object
 * links to (the others are loaded through those, and are judged with them).
 */
export function disagreements(report: Report, python: string, env: NodeJS.ProcessEnv): string[] {
  const venv = realpathSync(report.venv)
  const byPath = new Map(report.objects.map(object => [realpathSync(join(venv, object.path)), object]))
  const linked = new Set(report.objects.flatMap(({ needed }) => needed.map(({ soname }) => basename(soname))))
  const roots = [...byPath].filter(([path, { kind }]) => kind !== 'library' || !linked.has(basename(path)))
  const executables = roots.filter(([, { kind }]) => kind === 'executable').map(([path]) => path)
  const libraries = roots.filter(([, { kind }]) => kind !== 'executable').map(([path]) => path)
  const verdicts = [...judgeLibraries(python, libraries, env), ...executables.map(path => judgeExecutable(path, env))]
  return [
    ...new Set(verdicts.flatMap(verdict => differences(verdict, byPath).concat(missingDifferences(verdict, byPath)))),
  ]
}

/** Each needed of each object in that process: the same file? */
function differences(verdict: Verdict, byPath: ReadonlyMap<string, ReportedObject>): string[] {
  const faults = verdict.error !== null && verdict.missing.length === 0 ? [`${verdict.path}: ${verdict.error}`] : []
  for (const [path, providers] of verdict.providers) {
    for (const { soname, provider } of byPath.get(path)?.needed ?? []) {
      const real = providers.get(soname) ?? null
      const said = provider === null ? null : realpathSync(provider)
      // what is missing is compared below, for the whole process
      if (real !== said && (real !== null || !verdict.missing.includes(soname))) {
        faults.push(`${path}: ${soname} is ${real} and reported as ${said} (loading ${verdict.path})`)
      }
    }
  }
  return faults
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
  const real = [...verdict.missing].sort().join(' ')
  const said = [...reported].sort().join(' ')
  return real === said ? [] : [`${verdict.path} lacks “${real}”, reported is “${said}”`]
}

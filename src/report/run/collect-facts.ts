// Makes the content of a run's report.
import type { VenvReport } from '../../environment/venv-report.ts'
import { directoryOf, relativeTo } from '../../io/path.ts'
import type { LibrarySource } from '../../nix/libset.ts'
import type { Applied } from '../../resolve/plan.ts'
import { attributeOf, shortHint } from '../../resolve/problems/hint.ts'
import type { MissingLibrary } from '../../resolve/problems/missing.ts'
import { stackReason } from '../../resolve/problems/stacks.ts'
import type { ChangedPackage, Lack, LoaderFacts, RefusedFile, RunFacts, RunSummary } from './run-facts.ts'

/** The content of the report of a run. */
export function runFacts(report: VenvReport): RunFacts {
  const { venv, interpreter, libc, nixLd, missing, windows } = report
  const windowless = windows.filter(({ opensSomewhere }) => !opensSomewhere).flatMap(({ failing }) => failing)
  // no further package replaces a library that lacks a version
  const unfit = new Set(missing.filter(({ lacks }) => lacks !== null).map(({ soname }) => soname))
  const wanted = windowless
    .flatMap(({ lacks }) => lacks.filter(soname => !unfit.has(soname)))
    .flatMap(soname => attributeOf(soname, libc) ?? [])
  return {
    root: venv.root,
    python:
      venv.python === null && venv.program === null
        ? null
        : { version: interpreter.version, program: interpreter.program },
    nested: report.nested,
    libc: { name: libc.version === null ? libc.kind : `${libc.kind} ${libc.version}`, dir: libc.dir },
    nixLd: nixLd?.nixLd == null ? null : { shim: nixLd.nixLd.shim, loader: nixLd.ldso },
    loader: loaderFacts(report),
    packages: changedPackages(report.outcomes),
    libraries: librariesBySource(report),
    refused: refusedFiles(report),
    broken: report.unreadable
      .filter(({ broken }) => broken)
      .map(({ relative, reason }) => ({ path: relative, reason })),
    lacking: lacksOf(missing.filter(({ optional }) => !optional)),
    optional: lacksOf(missing.filter(({ optional }) => optional)),
    windows,
    windowAttributes: [...new Set(wanted)].sort(),
    held: report.held.map(({ folder, by, objects }) => ({ folder, by, objects: objects.length })),
    interrupted: report.interrupted,
    incomplete: report.incomplete,
    summary: summaryOf(report),
  }
}

function loaderFacts({ loader, venv }: VenvReport): LoaderFacts | null {
  if (loader === null) return null
  const { plan, status } = loader
  return {
    status,
    path: relativeTo(venv.root, plan.loader),
    pythons: plan.copies.flatMap(({ paths, source }) =>
      paths.map(path => ({ path: relativeTo(venv.root, path), source: path === source ? null : source })),
    ),
    names: plan.content.libraries.length,
    folders: new Set(plan.content.libraries.map(({ path }) => directoryOf(path))).size,
  }
}

/** The changed objects by package, in the order of their names. */
export function changedByPackage(outcomes: readonly Applied[]): [name: string, items: Applied[]][] {
  const packages = new Map<string, Applied[]>()
  for (const outcome of outcomes) {
    if (outcome.status !== 'patch' && outcome.status !== 'patched') continue
    const name = outcome.planned.distribution ?? NO_PACKAGE
    packages.set(name, [...(packages.get(name) ?? []), outcome])
  }
  return [...packages].sort(([a], [b]) => (a < b ? -1 : 1))
}

const NO_PACKAGE = '(no package)'

function changedPackages(outcomes: readonly Applied[]): ChangedPackage[] {
  return changedByPackage(outcomes).map(([name, items]) => ({
    name,
    objects: items.length,
    restored: items.filter(isRestored).length,
    gains: [...new Set(items.flatMap(item => servedSonames(item)))].sort(),
    programs: items.filter(item => item.planned.change?.interpreter !== undefined && !isRestored(item)).length,
    again: items.some(({ planned }) => planned.change?.regraft === true),
  }))
}

/** Does the change give the object its original bytes back? */
function isRestored({ planned }: Applied): boolean {
  return planned.change?.restores === true
}

/** The sonames that the object now finds through its new entries. */
export function servedSonames({ planned }: Applied): string[] {
  const { change } = planned
  const added = new Set(change?.rpath?.after)
  for (const entry of change?.rpath?.before ?? []) added.delete(entry)
  return planned.needed
    .filter(({ how, resolution }) => how === 'found' && added.has(resolution?.because.entry ?? ''))
    .map(({ soname }) => soname)
}

function librariesBySource({ plan }: VenvReport): RunFacts['libraries'] {
  const sources = new Map<LibrarySource, Set<string>>()
  for (const { path, source } of plan.libraries) {
    sources.set(source, (sources.get(source) ?? new Set()).add(directoryOf(path)))
  }
  return [...sources].map(([source, folders]) => ({ source, folders: [...folders].sort() }))
}

function refusedFiles({ outcomes, unreadable, stacks }: VenvReport): RefusedFile[] {
  const refused = outcomes
    .filter(({ status }) => status === 'refused')
    .map(({ planned, reason, unrecorded }) => {
      return { path: planned.relative, reason: reason ?? '', unrecorded: unrecorded === true }
    })
  const other = [
    ...unreadable.filter(({ broken }) => !broken),
    ...stacks.map(({ relative, path }) => ({ relative, reason: stackReason(path) })),
  ]
  return [...refused, ...other.map(({ relative, reason }) => ({ path: relative, reason, unrecorded: false }))]
}

/** The missing libraries: one entry for everything that the same packages miss. */
function lacksOf(missing: readonly MissingLibrary[]): Lack[] {
  const groups = new Map<string, MissingLibrary[]>()
  for (const library of missing) {
    const key = library.packages.length === 0 ? (library.neededBy[0] ?? '') : library.packages.join(', ')
    groups.set(key, [...(groups.get(key) ?? []), library])
  }
  return [...groups].map(([key, libraries]): Lack => {
    const files = [...new Set(libraries.flatMap(({ neededBy }) => neededBy))]
    return {
      packages: libraries[0]?.packages.length === 0 ? [key] : (libraries[0]?.packages ?? []),
      names: libraries.map(({ soname, lacks }) => (lacks === null ? soname : `${lacks} of ${soname}`)),
      files,
      through: [...new Set(libraries.flatMap(({ through }) => through))],
      attributes: libraries.flatMap(({ attribute }) => attribute ?? []),
      hints: libraries.flatMap(({ soname, hint, attribute }) =>
        hint === null || attribute !== null ? [] : [`${soname}: ${shortHint(hint)}`],
      ),
    }
  })
}

/** The numbers of a run. A dry run counts pending changes as patched. */
export function summaryOf({ outcomes, unreadable, missing, held, stacks }: VenvReport): RunSummary {
  const number = (status: Applied['status']) => outcomes.filter(outcome => outcome.status === status).length
  return {
    objects: outcomes.length + unreadable.length,
    patched: number('patched') + number('patch'),
    restored: outcomes.filter(item => (item.status === 'patched' || item.status === 'patch') && isRestored(item))
      .length,
    fine: number('fine'),
    missing: missing.filter(({ optional }) => !optional).length,
    optional: missing.filter(({ optional }) => optional).length,
    refused: number('refused') + unreadable.filter(({ broken }) => !broken).length + stacks.length,
    broken: unreadable.filter(({ broken }) => broken).length,
    held: held.reduce((sum, { objects }) => sum + objects.length, 0),
  }
}

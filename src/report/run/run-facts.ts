// The content of a run's report, as plain data. It is kept for the next run, which may have another width and other colours.
// It is small because a shell hook reads it on every entry.
import type { VenvReport } from '../../environment/report.ts'
import { directoryOf, relativeTo } from '../../io/path.ts'
import type { LibrarySource } from '../../nix/libset.ts'
import type { MissingLibrary } from '../../resolve/problems/missing.ts'
import { attributeOf } from '../../resolve/problems/hint.ts'
import type { Applied } from '../../resolve/plan.ts'
import { stackReason } from '../../resolve/problems/stacks.ts'
import type { WindowProblem } from '../../resolve/problems/windows.ts'

export interface RunFacts {
  readonly root: string
  /** The Python or the program that loads the objects; null when they are loaded alone. */
  readonly python: { readonly version: string; readonly program: string } | null
  readonly libc: { readonly name: string; readonly dir: string }
  /** What starts the programs, when that is nix-ld. */
  readonly nixLd: { readonly shim: string; readonly loader: string } | null
  readonly loader: LoaderFacts | null
  /** The packages that were changed or will be, by name. */
  readonly packages: readonly ChangedPackage[]
  /** What the environment takes from the library set: the folders, by the source that named them. */
  readonly libraries: readonly { readonly source: LibrarySource; readonly folders: readonly string[] }[]
  readonly refused: readonly RefusedFile[]
  /** Files that the loader would refuse. */
  readonly broken: readonly BrokenFile[]
  /** Missing libraries that count, by the packages that need them. */
  readonly lacking: readonly Lack[]
  /** Missing libraries of plugins. Nothing links to these plugins. */
  readonly optional: readonly Lack[]
  readonly windows: readonly WindowProblem[]
  /** The packages of nixpkgs with the missing libraries of plugins, for toolkits that open no window. */
  readonly windowAttributes: readonly string[]
  /** Folders outside the environment that need a patch, and the number of their objects that do. */
  readonly held: readonly { readonly folder: string; readonly by: string; readonly objects: number }[]
  /** Environments inside this one. Each has its own run. */
  readonly nested: readonly string[]
  readonly interrupted: boolean
  /** A file that is written after the objects could not be written. The warnings say which one. */
  readonly incomplete: boolean
  readonly summary: RunSummary
}

interface LoaderFacts {
  readonly status: 'fine' | 'patch' | 'patched'
  readonly path: string
  readonly pythons: readonly { readonly path: string; readonly source: string | null }[]
  readonly names: number
  readonly folders: number
}

export interface ChangedPackage {
  readonly name: string
  readonly objects: number
  /** How many of the objects get their original bytes back. */
  readonly restored: number
  /** The sonames that the package finds now. */
  readonly gains: readonly string[]
  /** The number of its programs that get another loader. */
  readonly programs: number
  /** An earlier version grafted the package, and this run makes the graft again. */
  readonly again: boolean
}

interface RefusedFile {
  readonly path: string
  readonly reason: string
  /** The file is patched, but its RECORD is not up to date. */
  readonly unrecorded: boolean
}

interface BrokenFile {
  readonly path: string
  readonly reason: string
}

/** The libraries that some packages miss. */
export interface Lack {
  readonly packages: readonly string[]
  /** Sonames, or versions that a library lacks: `GLIBC_2.38 of libc.so.6`. */
  readonly names: readonly string[]
  /** The files that need them, relative to the environment. */
  readonly files: readonly string[]
  readonly through: readonly string[]
  /** The packages of nixpkgs that hold the libraries. */
  readonly attributes: readonly string[]
  /** What to do about libraries that no package of nixpkgs holds: one sentence each. */
  readonly hints: readonly string[]
}

/** The numbers of a run. The JSON document has the same ones. */
interface RunSummary {
  readonly objects: number
  /** The objects that were changed or will be. */
  readonly patched: number
  /** How many of those get their original bytes back. */
  readonly restored: number
  readonly fine: number
  readonly missing: number
  readonly optional: number
  readonly refused: number
  readonly broken: number
  /** Objects outside the environment that were left alone. */
  readonly held: number
}

/** The content of the report of a run. */
export function factsOf(report: VenvReport): RunFacts {
  const { venv, interpreter, libc, nixLd, missing, windows } = report
  const windowless = windows.filter(({ opensSomewhere }) => !opensSomewhere).flatMap(({ failing }) => failing)
  const wanted = windowless.flatMap(({ lacks }) => lacks.flatMap(soname => attributeOf(soname, libc) ?? []))
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
        hint === null || attribute !== null ? [] : [`${soname}: ${hint}`],
      ),
    }
  })
}

/**
 * The packages of nixpkgs that hold the missing libraries that count.
 * @param strict libraries that only plugins miss count too
 */
export function attributesOf({ lacking, optional, windowAttributes }: RunFacts, strict: boolean): string[] {
  const lacks = strict ? [...lacking, ...optional] : lacking
  return [...new Set([...lacks.flatMap(({ attributes }) => attributes), ...windowAttributes])].sort()
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

/** Did `factsOf` make this value? The same version of the program wrote it, so a look at its parts is enough. */
export function isRunFacts(value: unknown): value is RunFacts {
  if (typeof value !== 'object' || value === null) return false
  const lists = [
    'packages',
    'libraries',
    'refused',
    'broken',
    'lacking',
    'optional',
    'windows',
    'windowAttributes',
    'held',
    'nested',
  ]
  const fields = new Map<string, unknown>(Object.entries(value))
  return (
    lists.every(name => Array.isArray(fields.get(name))) &&
    ['libc', 'summary'].every(name => typeof fields.get(name) === 'object' && fields.get(name) !== null) &&
    typeof fields.get('root') === 'string'
  )
}

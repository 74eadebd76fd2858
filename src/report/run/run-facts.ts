// The content of a run's report, as plain data. It is kept for the next run, which may have another width and other colours.
// It is small because a shell hook reads it on every entry. collect-facts.ts makes it.
import type { LibrarySource } from '../../nix/libset.ts'
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

export interface LoaderFacts {
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

export interface RefusedFile {
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
export interface RunSummary {
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

/**
 * The packages of nixpkgs that hold the missing libraries that count.
 * @param strict libraries that only plugins miss count too
 */
export function attributesOf({ lacking, optional, windowAttributes }: RunFacts, strict: boolean): string[] {
  const lacks = strict ? [...lacking, ...optional] : lacking
  return [...new Set([...lacks.flatMap(({ attributes }) => attributes), ...windowAttributes])].sort()
}

/** The missing libraries that count, as sonames. @param strict libraries that only plugins miss count too */
export function sonamesOf({ lacking, optional, windows }: RunFacts, strict: boolean): string[] {
  const lacks = strict ? [...lacking, ...optional] : lacking
  const failing = windows.filter(({ opensSomewhere }) => !opensSomewhere).flatMap(({ failing }) => failing)
  const names = [...lacks.flatMap(({ names }) => names), ...failing.flatMap(({ lacks }) => lacks)]
  // a name with a blank is a version that a library lacks
  return [...new Set(names.filter(name => !name.includes(' ')))].sort()
}

/** Did `runFacts` make this value? The same version of the program wrote it, so a look at its parts is enough. */
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

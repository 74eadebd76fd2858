// `wheelfix libs build`: lets Nix build libraries, by name or because they are missing, and patches the environment to use
// them.
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { lookingOnly } from '../../environment/run-options.ts'
import { WheelfixError } from '../../io/error.ts'
import { fsPath } from '../../io/path.ts'
import {
  type BuildContext,
  buildLibraries,
  buildPackages,
  findPackages,
  type FoundPackage,
  usualNixpkgs,
  type WantedPackage,
} from '../../nix/build/build.ts'
import { likelyPackage, packageNamed } from '../../nix/hints.ts'
import { type Nixpkgs, pinnedNixpkgs } from '../../nix/build/pin.ts'
import { findProjectFile } from '../../nix/build/project-file.ts'
import { storeDirectory } from '../../nix/store.ts'
import { type Environment, isVenv } from '../../python/environment.ts'
import { colours } from '../../report/colour.ts'
import { absentWords, foundLines, lackingLine } from '../../report/libs-build-text.ts'
import { writeLines } from '../../report/print.ts'
import { standardError } from '../../report/terminal/output.ts'
import { keepRemedy } from '../../report/run/remedies.ts'
import { remedyLines } from '../../report/run/run-text.ts'
import { screenOf } from '../../report/screen.ts'
import { packageFor } from '../../resolve/problems/hint.ts'
import { findVenvOrFolder } from '../../state/folders.ts'
import { builtSetLink } from '../../state/lock.ts'
import { workAsOwner } from '../shared/as-owner.ts'
import { writeDocument } from '../shared/documents.ts'
import { reportFailure } from '../shared/failure.ts'
import type { LibraryOptions, OwnerOutputOptions } from '../shared/command-options.ts'
import type { ExitStatus } from '../shared/status.ts'
import { pathCommand, venvCommand } from '../venv.ts'

export interface LibsBuildOptions extends LibraryOptions, OwnerOutputOptions {
  readonly flake?: string | undefined
  /** Build the libraries that the environment misses. */
  readonly missing?: boolean | undefined
  readonly dryRun?: boolean | undefined
}

/** The result of a build. */
interface Built {
  /** The store path; null when nothing was built. */
  readonly path: string | null
  /** Where the packages come from; null for a whole set, and where there was nothing to look for. */
  readonly nixpkgs: Nixpkgs | null
  /** The packages that were looked for, each with the wanted sonames that it does not have. */
  readonly packages: readonly BuiltPackage[]
  /** The missing sonames for which no package is known. */
  readonly unknown: readonly string[]
  readonly status: ExitStatus
}

interface BuiltPackage extends FoundPackage {
  readonly lacks: readonly string[]
}

/**
 * Builds a library set. From then on the environment takes its libraries from this set.
 * @param words packages of nixpkgs, and the folder of the environment
 */
export async function libsBuildCommand(
  words: readonly string[],
  options: LibsBuildOptions,
  version: string,
): Promise<ExitStatus> {
  const { env } = process
  const cwd = process.cwd()
  try {
    const folders = words.filter(word => meansFolder(word, cwd))
    if (folders.length > 1) throw new WheelfixError('USAGE', `name one environment, not ${folders.join(' and ')}`)
    const names = words.filter(word => !folders.includes(word))
    const venv = findVenvOrFolder(folders[0], env, cwd, 'wheelfix libs build NAME DIR')
    workAsOwner(venv, options.asRoot)
    const context: BuildContext = {
      env,
      link: builtSetLink(venv),
      dryRun: options.dryRun === true,
      // Nix shows its own progress on a terminal
      progress: line => writeLines(standardError, standardError.isTTY ? [] : [line]),
    }
    const built = await buildFor(venv, names, options, context)
    if (built.path !== null) writeLines(standardError, [`${built.path}/lib`])
    // without a build, too: an earlier command may have built the set, and may have been interrupted before it patched
    const { status, document } = context.dryRun ? NO_RUN : await patch(venv, options, version)
    if (options.json === true) writeDocument('libs build', { ...documentOf(venv, built), run: document })
    else if (!context.dryRun) sayHowToKeep(venv, built, options, cwd)
    return built.status > status ? built.status : status
  } catch (error) {
    return reportFailure(error, options)
  }
}

const NO_RUN = { status: 0, document: null } as const

/** Patches the environment. With --json, the document of this run is returned instead of printed. */
async function patch(
  venv: Environment,
  { libs, scan, trust, quiet, verbose, color, json }: LibsBuildOptions,
  version: string,
): Promise<{ readonly status: ExitStatus; readonly document: object | null }> {
  let document: object | null = null
  const keepDocument = (whole: object): void => {
    document = whole
  }
  // the run finds the set by its link, as every later run does
  const options = { libs, scan, trust, ignoreMissing: [], ignore: [], quiet, verbose, color, json, keep: false }
  const status = await (venv.kind === 'venv'
    ? venvCommand('venv', [venv.root], options, version, keepDocument)
    : pathCommand([venv.files[0] ?? venv.root], options, version, keepDocument))
  return { status, document }
}

function sayHowToKeep(venv: Environment, { packages }: Built, { color }: LibsBuildOptions, cwd: string): void {
  const names = packages.filter(isThere).map(({ name }) => name)
  const project = names.length === 0 ? null : findProjectFile(venv.root)
  if (project === null) return
  const { env } = process
  const { columns } = screenOf(standardError, env)
  writeLines(standardError, remedyLines(keepRemedy(names, project, cwd), colours(color, env).stderr, columns))
}

function isThere({ status }: FoundPackage): boolean {
  return status === 'there'
}

function documentOf(venv: Environment, { path, nixpkgs, packages, unknown }: Built) {
  return {
    venv: venv.root,
    path,
    nixpkgs: nixpkgs === null ? null : { origin: nixpkgs.origin, revision: nixpkgs.revision },
    packages: packages.map(found => ({
      name: found.name,
      status: found.status,
      path: found.path,
      sonames: found.sonames,
      lacks: found.lacks,
    })),
    unknown,
  }
}

/** Does the word mean an environment, and not a package of nixpkgs? */
function meansFolder(word: string, cwd: string): boolean {
  return word.includes('/') || /^\.\.?$/.test(word) || isVenv(join(cwd, word))
}

async function buildFor(
  venv: Environment,
  names: readonly string[],
  options: LibsBuildOptions,
  context: BuildContext,
): Promise<Built> {
  const { flake, missing = false } = options
  const { env } = context
  if (names.length === 0 && !missing) {
    const path = await buildLibraries(flake ?? ownSet(env), context)
    return { path, nixpkgs: null, packages: [], unknown: [], status: 0 }
  }
  if (flake !== undefined) {
    throw new WheelfixError('USAGE', '--flake names a whole set: leave out --missing and the names of packages')
  }
  const { wanted, unknown } = missing ? await missingPackages(venv, options) : { wanted: [], unknown: [] }
  const all = [...names.map((name): WantedPackage => ({ ...packageNamed(name), sonames: [] })), ...wanted]
  writeLines(standardError, unknown.map(lackingLine))
  if (all.length === 0) {
    writeLines(standardError, ['nothing to build: no known package of nixpkgs has a library that is missing here'])
    return { path: null, nixpkgs: null, packages: [], unknown, status: unknown.length === 0 ? 0 : 1 }
  }
  const nixpkgs = pinnedNixpkgs(venv.root, storeDirectory(env)) ?? usualNixpkgs(env['WHEELFIX_FLAKE'] ?? null, env)
  const found = await findPackages(all, nixpkgs, context)
  return buildFound(found, unknown, nixpkgs, context)
}

async function buildFound(
  found: readonly FoundPackage[],
  unknown: readonly string[],
  nixpkgs: Nixpkgs,
  context: BuildContext,
): Promise<Built> {
  const chalk = colours('auto', context.env).stderr
  writeLines(
    standardError,
    foundLines(found, nixpkgs, process.cwd(), path => existsSync(fsPath(path)), chalk),
  )
  const absent = found.find(({ status, sonames }) => status !== 'there' && sonames.length === 0)
  if (absent !== undefined) {
    const likely = absent.status === 'missing' ? likelyPackage(absent.name) : null
    const advice = likely === null ? '' : `: did you mean ${likely}?`
    throw new WheelfixError('USAGE', `the nixpkgs of ${nixpkgs.origin} ${absentWords(absent)}${advice}`)
  }
  const there = found.filter(isThere)
  const path = there.length === 0 ? null : await buildPackages(there, nixpkgs, context)
  // the name was checked with the nixpkgs of the hints; an older or newer nixpkgs may have another version of the library
  const packages = found.map(item => ({ ...item, lacks: isThere(item) ? lacking(item, path) : item.sonames }))
  writeLines(
    standardError,
    packages
      .filter(isThere)
      .flatMap(({ name, lacks }) =>
        lacks.map(soname => `${name} of this nixpkgs does not have ${soname}: it may have another version of it`),
      ),
  )
  const isWhole = unknown.length === 0 && packages.every(item => isThere(item) && item.lacks.length === 0)
  return { path, nixpkgs, packages, unknown, status: isWhole ? 0 : 1 }
}

/** The wanted sonames that are not in the built set; none where nothing was built. */
function lacking({ sonames }: FoundPackage, path: string | null): readonly string[] {
  return path === null ? [] : sonames.filter(soname => !existsSync(fsPath(`${path}/lib/${soname}`)))
}

/** The packages that hold the needed missing libraries of the environment, and the sonames for which no package is known. */
async function missingPackages(
  venv: Environment,
  { libs, scan, trust }: LibsBuildOptions,
): Promise<{ wanted: WantedPackage[]; unknown: string[] }> {
  const { runVenv } = await import('../../environment/run-environment.ts')
  const look = lookingOnly({ libs, noScan: !scan, trust, env: process.env, cwd: process.cwd() })
  const { missing, windows, libc } = runVenv(venv, look)
  // another library of the same name does not replace one that is too old
  const unfit = new Set(missing.filter(({ lacks }) => lacks !== null).map(({ soname }) => soname))
  const sonames = new Set(
    [
      ...missing.filter(({ optional }) => !optional).map(({ soname }) => soname),
      ...windows
        .filter(({ opensSomewhere }) => !opensSomewhere)
        .flatMap(({ failing }) => failing.flatMap(({ lacks }) => lacks)),
    ].filter(soname => !unfit.has(soname)),
  )
  const wanted = new Map<string, WantedPackage>()
  const unknown: string[] = []
  for (const soname of [...sonames].sort()) {
    const names = packageFor(soname, libc)
    const key = names?.names[0]
    if (names === null || key === undefined) unknown.push(soname)
    else wanted.set(key, { ...names, sonames: [...(wanted.get(key)?.sonames ?? []), soname] })
  }
  return { wanted: [...wanted.values()], unknown }
}

/** The library set of the flake that built this program. The program's wrapper names it in a variable. */
function ownSet(env: NodeJS.ProcessEnv): string {
  const flake = env['WHEELFIX_FLAKE'] ?? ''
  if (flake === '') {
    throw new WheelfixError(
      'USAGE',
      'name what to build: packages from nixpkgs (wheelfix libs build libGL), --missing, or a library set (--flake REF, a ' +
        'flake output that has lib/)',
    )
  }
  return `${flake}#libs`
}

// The main job, from a folder to a report: scan → resolve → plan → apply. A check and a dry run go the same way and write
// nothing.
import { existsSync, lstatSync, rmSync } from 'node:fs'
import { dirname } from 'node:path'
import type { ElfObject } from '../elf/types.ts'
import { fsPath, isInside, realPath } from '../io/path.ts'
import { diskTree } from '../ldso/file-tree.ts'
import { isFhsLoader, type Libc, nixLdLibc } from '../ldso/libc.ts'
import { fits } from '../ldso/process.ts'
import { knownSonames } from '../nix/hints.ts'
import { namedDirectories } from '../nix/libset.ts'
import { addRoots, checkRoots, prepareRoots, type RootsReport } from '../nix/roots.ts'
import { storeScanner } from '../nix/scan.ts'
import { storeDirectory, storePathOf } from '../nix/store.ts'
import { type Distributions, readDistributions } from '../python/distributions.ts'
import { findInterpreter, type Interpreter } from '../python/interpreter.ts'
import type { Venv } from '../python/pyvenv.ts'
import { applyPlan, changeOf, type Outcome, recordsAreStale } from './apply.ts'
import { type Config, type ProgramInterpreter, readConfig, type Strategy } from '../config/config.ts'
import { DRIVER_DIRECTORIES, driverDirectory, isDriverLibrary } from '../resolve/drivers.ts'
import { type MissingLibrary, missingLibraries, platformsOf } from '../resolve/missing.ts'
import { hasJournal, recover } from '../state/journal.ts'
import {
  isLoaderPending,
  type LoaderPlan,
  loaderFaults,
  loaderFolders,
  planLoader,
  removeLoader,
  writeLoader,
} from '../private-loader/private-loader.ts'
import { servedLibraries } from '../private-loader/library-cache.ts'
import { plainInterpreter, type PythonName, pythonNames, restoreName } from '../private-loader/python-copy.ts'
import { builtSetLink, lockVenv } from '../state/lock.ts'
import { makePlan, type Ownership, type Plan, type PlanInput, type UsedLibrary } from '../resolve/plan.ts'
import { pinsDiffer, readPins, writePins } from '../state/pins.ts'
import { programInterpreterPath, readProgramInterpreter, writeProgramInterpreter } from '../state/program-loader.ts'
import type { ProviderSources } from '../resolve/providers.ts'
import { type PythonProcess, startPython } from '../resolve/python-process.ts'
import { type Scan, scanVenv } from './scan.ts'

export interface VenvOptions {
  readonly libs: readonly string[]
  readonly noScan: boolean
  readonly ignoreMissing: readonly string[]
  /** Resolve anew what an earlier run pinned. */
  readonly update: boolean
  readonly rehash: boolean
  /** null: what the configuration says, else what the venv has, else `rpath`. */
  readonly strategy: Strategy | null
  /** null: what the configuration says, else what an earlier run was told, else `python`. */
  readonly interpreter: ProgramInterpreter | null
  /** `plan`: change nothing, but find out what a run would do. */
  readonly mode: 'apply' | 'plan'
  readonly env: NodeJS.ProcessEnv
  readonly cwd: string
  /** Called while files are written. */
  readonly progress: (done: number, total: number) => void
}

export interface VenvReport {
  readonly venv: Venv
  readonly interpreter: Interpreter
  readonly libc: Libc
  readonly outcomes: readonly Outcome[]
  readonly unreadable: Scan['unreadable']
  readonly plan: Plan
  readonly missing: readonly MissingLibrary[]
  readonly roots: RootsReport | null
  readonly warnings: readonly string[]
  /** The private loader, where there is one or is to be one. */
  readonly loader: LoaderReport | null
  /** What stands behind nix-ld, where programs get that; else null. */
  readonly nixLd: Libc | null
  /** An earlier run ended before it was done, and this one only looks. */
  readonly unfinished: boolean
  /** The folders of the venv that were walked, absolute. */
  readonly directories: readonly string[]
  /** Files and folders besides the objects that the answer depends on, absolute; some of them may not exist. */
  readonly dependencies: readonly string[]
}

export interface LoaderReport {
  readonly plan: LoaderPlan
  /** `patch`: something is to be written (a dry run, a check); `patched`: it was. */
  readonly status: 'fine' | 'patch' | 'patched'
  /** What was wrong with the one that the venv had. */
  readonly faults: readonly string[]
}

/** @throws WheelfixError when nothing could be done */
export function runVenv(venv: Venv, options: VenvOptions): VenvReport {
  const first = examine(venv, options)
  if (options.mode === 'plan')
    return report(
      first,
      applyPlan(first.plan.objects, applyInput(first, options, false)),
      rootsOf(first, options),
      options,
    )
  if (!needsWriting(first, options))
    return report(
      first,
      applyPlan(first.plan.objects, applyInput(first, options, options.rehash)),
      rootsOf(first, options),
      options,
    )

  const lock = lockVenv(venv.root)
  try {
    const recovered = hasJournal(venv.root) && recover(venv.root).length > 0
    const now = lock.waited || recovered || isOutdated(first) ? examine(venv, options) : first
    for (const path of now.scan.leftovers) rmSync(fsPath(path), { force: true })
    // the loader first: what names it must never find it missing
    const warnings = now.loader === null ? [] : writeLoader(now.loader).warnings
    const outcomes = applyPlan(now.plan.objects, applyInput(now, options, true))
    if (now.leftLoader) {
      const folders = loaderFolders(venv, now.names, options.env)
      for (const name of now.names) restoreName(name)
      removeLoader(venv, folders)
    }
    writePins(venv.root, now.libraries)
    if (options.interpreter !== null) writeProgramInterpreter(venv.root, options.interpreter)
    const done = { ...now, warnings: [...now.warnings, ...warnings] }
    return report(done, outcomes, rootsOf(now, options), options)
  } finally {
    lock.release()
  }
}

/** Did another run end between the look at the venv and the lock? Then its files are others, or longer. */
function isOutdated({ plan, scan }: Examination): boolean {
  const pending = plan.objects.filter(item => changeOf(item) !== null)
  return (
    scan.leftovers.length > 0 ||
    pending.some(({ object: { path, status } }) => {
      const now = lstatSync(fsPath(path), { bigint: true, throwIfNoEntry: false })
      return now === undefined || now.ino !== status.ino || now.size !== BigInt(status.size)
    })
  )
}

/** Everything that is known before a byte is written. */
export interface Examination {
  readonly venv: Venv
  readonly interpreter: Interpreter
  readonly python: PythonProcess
  readonly distributions: Distributions
  readonly scan: Scan
  readonly planInput: PlanInput
  readonly plan: Plan
  readonly ignored: readonly string[]
  readonly config: Config
  readonly warnings: readonly string[]
  readonly store: string
  /** The library directories that were named, those that are not there too. */
  readonly asked: readonly string[]
  /** The names of bin/ that start Python. */
  readonly names: readonly PythonName[]
  /** The private loader that is to be; null with the strategy `rpath`. */
  readonly loader: LoaderPlan | null
  readonly loaderPending: boolean
  readonly faults: readonly string[]
  /** The venv has a private loader and is to have none any more. */
  readonly leftLoader: boolean
  /** What the venv takes from the library set. */
  readonly libraries: readonly UsedLibrary[]
}

/** What a command that only looks at a venv lets its user choose. */
export type LookOptions = Pick<VenvOptions, 'libs' | 'noScan' | 'env' | 'cwd'> &
  Partial<Pick<VenvOptions, 'ignoreMissing'>>

/** The options of a run that writes nothing and takes the venv as it is. */
export function lookingOnly({ libs, noScan, ignoreMissing = [], env, cwd }: LookOptions): VenvOptions {
  return {
    libs,
    noScan,
    ignoreMissing,
    update: false,
    rehash: false,
    strategy: null,
    interpreter: null,
    mode: 'plan',
    env,
    cwd,
    progress: () => {},
  }
}

/** Looks at everything and makes the plan; writes nothing. @throws WheelfixError when nothing could be done */
export function examine(venv: Venv, options: VenvOptions): Examination {
  const { env } = options
  const store = storeDirectory(env)
  const config = readConfig(venv.root)
  const names = pythonNames(venv)
  const hasLoader = names.some(({ kind }) => kind === 'copy')
  const strategy = options.strategy ?? config.strategy ?? (hasLoader ? 'loader' : 'rpath')
  const interpreter = hasLoader ? plainInterpreter(venv, names) : findInterpreter(venv)
  if (options.mode === 'apply' && isInside(interpreter.program, store)) prepareRoots(venv.root, env)
  const tree = diskTree()
  const python = startPython(interpreter, tree, store, env)
  const named = namedDirectories({
    flags: [...options.libs, ...builtSet(venv.root).map(path => `${path}/lib`)],
    config: config.libs,
    closure: python.closure,
    env,
    cwd: options.cwd,
    store,
  })
  const scan = scanVenv(venv, interpreter.extensionSuffixes)
  for (const { path, identity, current } of scan.objects) tree.adopt(path, { identity, object: current })
  const distributions = readDistributions(venv.sitePackages, new Set(scan.objects.map(({ path }) => path)))
  // a private loader also serves what is asked for by name alone, and what is installed later
  const wanted = wantedBy(scan, interpreter, strategy === 'rpath' ? [] : knownSonames())
  const sources: ProviderSources = {
    directories: named.directories,
    pins: options.update ? new Map() : readPins(venv.root),
    scan: options.noScan ? () => [] : storeScanner({ store, env }, wanted.keys()),
    store,
  }
  const loader = strategy === 'rpath' ? null : planLoader({ venv, names, python, sources, wanted, env })
  const programs = options.interpreter ?? config.interpreter ?? readProgramInterpreter(venv.root)
  const nixLd = programs === 'nix-ld' ? nixLdLibc(interpreter.object, env) : null
  const fhs = interpreter.interp === null || isFhsLoader(interpreter.interp)
  const planInput: PlanInput = {
    objects: scan.objects,
    python: loader?.python ?? python,
    ownership: ownershipOf(distributions),
    sources: strategy === 'loader' ? { directories: [], pins: new Map(), scan: () => [], store } : sources,
    bin: venv.bin,
    programInterpreter: nixLd?.nixLd?.shim ?? loader?.loader ?? (fhs ? null : interpreter.interp),
    nixLd,
    searchPaths: strategy !== 'loader',
    driver: driverDirectory(),
  }
  const plan = makePlan(planInput)
  const faults = loader === null ? [] : loaderFaults(loader, names)
  return {
    venv,
    interpreter,
    python,
    distributions,
    scan,
    planInput,
    plan,
    ignored: [...options.ignoreMissing, ...config.ignoreMissing],
    config,
    warnings: [
      ...environmentWarnings(env),
      ...venvWarnings(venv, scan),
      ...named.warnings,
      ...(loader?.warnings ?? []),
      ...faults.map(fault => `${fault}; ${options.mode === 'plan' ? 'run wheelfix loader' : 'it is made anew'}`),
      ...plan.warnings,
    ],
    store,
    asked: named.asked,
    names,
    loader,
    loaderPending: loader !== null && isLoaderPending(loader),
    faults,
    leftLoader: hasLoader && loader === null,
    libraries: [...plan.libraries, ...(loader === null ? [] : servedLibraries(loader.content))],
  }
}

/** The library set that Nix built for this venv (`libs build`), for what is installed later, too; none once it is gone. */
function builtSet(venvRoot: string): string[] {
  const link = builtSetLink(venvRoot)
  return existsSync(fsPath(`${link}/lib`)) ? [link] : []
}

/** The sonames that the objects of the venv need, each with those that this interpreter can load, and `known` ones. */
function wantedBy({ objects }: Scan, interpreter: Interpreter, known: readonly string[]): Map<string, ElfObject[]> {
  const wanted = new Map(known.map((soname): [string, ElfObject[]] => [soname, []]))
  for (const { original } of objects) {
    if (!fits(original, interpreter.object)) continue
    for (const soname of original.needed) {
      const users = wanted.get(soname)
      if (users === undefined) wanted.set(soname, [original])
      else users.push(original)
    }
  }
  return wanted
}

function ownershipOf(distributions: Distributions): Ownership {
  const required = new Map<string, ReadonlySet<string>>()
  return {
    owner: path => distributions.ownerOf(path)?.distribution.name ?? null,
    requires(distribution) {
      let names = required.get(distribution)
      if (names === undefined) {
        names = new Set(distributions.get(distribution)?.requires() ?? [])
        required.set(distribution, names)
      }
      return names
    },
  }
}

function environmentWarnings(env: NodeJS.ProcessEnv): string[] {
  const path = env['LD_LIBRARY_PATH'] ?? ''
  if (path === '') return []
  return [
    'LD_LIBRARY_PATH is set, and every program started from here inherits it; the venv is resolved without it. ' +
      'To make it permanent for this venv alone: wheelfix venv --libs "$LD_LIBRARY_PATH"; then unset it',
  ]
}

function venvWarnings(venv: Venv, scan: Scan): string[] {
  const warnings: string[] = []
  if (venv.systemSitePackages) {
    warnings.push('this venv also imports from the site-packages of its base Python, which are not looked at')
  }
  if (scan.foreignLinks > 0) {
    warnings.push(
      `${scan.foreignLinks} shared objects are links to files outside the venv and stay as they are ` +
        '(uv: install with UV_LINK_MODE=copy or hardlink)',
    )
  }
  return warnings
}

function needsWriting(examination: Examination, options: VenvOptions): boolean {
  const { plan, venv, loaderPending, leftLoader, libraries } = examination
  return (
    isUnfinished(examination) ||
    plan.objects.some(item => changeOf(item) !== null) ||
    leftLoader ||
    loaderPending ||
    (libraries.length > 0 && pinsDiffer(venv.root, libraries)) ||
    (options.interpreter !== null && readProgramInterpreter(venv.root) !== options.interpreter)
  )
}

/** Did an earlier run end before it was done, with its files patched and something else not? */
function isUnfinished({ plan, venv, scan, distributions }: Examination): boolean {
  return scan.leftovers.length > 0 || hasJournal(venv.root) || recordsAreStale(plan.objects, distributions)
}

function applyInput({ venv, distributions }: Examination, options: VenvOptions, write: boolean) {
  return { venvRoot: venv.root, distributions, write, rehash: options.rehash, progress: options.progress }
}

/** Keeps everything in the store that the venv depends on from being collected; a dry run looks whether it is kept. */
function rootsOf(examination: Examination, { env, mode }: VenvOptions): RootsReport | null {
  const storePaths = neededStorePaths(examination)
  if (storePaths.length === 0) return null
  const ensure = mode === 'plan' ? checkRoots : addRoots
  return ensure(examination.venv.root, storePaths, env)
}

/**
 * The store paths that the venv needs: of its Python with all that leads there, of its libc, of what it takes from the
 * library set, and of what objects that were built here find in the store by themselves.
 */
export function neededStorePaths({ venv, interpreter, python, plan, libraries, store }: Examination): string[] {
  const paths = new Set([
    // modules of the standard library, also where bin/python is a copy
    venv.home,
    ...interpreter.chain.map(({ path }) => path),
    interpreter.program,
    python.libc.loader,
    python.libc.dir,
    ...libraries.map(({ path }) => path),
    ...builtSet(venv.root).map(path => realPath(path)),
  ])
  for (const { needed } of plan.objects) for (const { provider } of needed) if (provider !== null) paths.add(provider)
  return [...new Set([...paths].map(path => storePathOf(path, store)).filter(path => path !== null))]
}

function report(
  examination: Examination,
  outcomes: readonly Outcome[],
  roots: RootsReport | null,
  options: VenvOptions,
): VenvReport {
  const { venv, interpreter, python, scan, plan, ignored, loader, loaderPending, faults } = examination
  const clashes = new Map([...(loader?.content.clashes ?? []), ...plan.clashes])
  const status = !loaderPending ? 'fine' : options.mode === 'plan' ? 'patch' : 'patched'
  return {
    venv,
    interpreter,
    libc: python.libc,
    outcomes,
    unreadable: scan.unreadable,
    plan,
    missing: missingLibraries({ ...plan, clashes }, ignored, python.libc, platformsOf(examination.distributions)),
    roots,
    warnings: [...examination.warnings, ...(roots?.hasNix === true && roots.problem !== null ? [roots.problem] : [])],
    loader: loader === null ? null : { plan: loader, status, faults },
    nixLd: examination.planInput.nixLd,
    directories: scan.directories,
    unfinished: options.mode === 'plan' && isUnfinished(examination),
    dependencies: dependenciesOf(examination, roots, options),
  }
}

function dependenciesOf(
  { venv, interpreter, python, plan, planInput, libraries, config, loader, store, asked }: Examination,
  roots: RootsReport | null,
  { noScan }: VenvOptions,
): string[] {
  const isMissing = plan.objects.some(({ missing }) => missing.length > 0)
  const wantsDriver = plan.objects.some(({ needed }) => needed.some(({ soname }) => isDriverLibrary(soname)))
  const paths = [
    ...interpreter.chain.map(({ path }) => path),
    interpreter.program,
    python.libc.loader,
    python.libc.cache,
    config.path,
    programInterpreterPath(venv.root),
    ...nixLdPaths(planInput.nixLd),
    ...libraries.map(({ path }) => path),
    ...python.closure,
    ...(roots?.roots.flatMap(({ link, registration }) => [link, registration]) ?? []),
    // what is named may come, go or lead elsewhere, and what is missing may be installed
    ...asked.flatMap(directory => [directory, `${directory}/lib`]),
    ...(isMissing && !noScan ? [store] : []),
    ...outsidePaths(plan, venv.root, store),
    ...(wantsDriver ? DRIVER_DIRECTORIES : []),
    ...(loader?.files.map(({ path }) => path) ?? []),
    ...(loader?.copies.flatMap(({ paths }) => paths) ?? []),
  ]
  return [...new Set(paths.filter(path => path !== null))].sort()
}

/** What the answer depends on outside of the venv and of the store, where files do not change: /opt, /usr/local … */
function outsidePaths(plan: Plan, root: string, store: string): string[] {
  const paths = plan.objects.flatMap(({ object, needed, below, missing }) => [
    ...needed.flatMap(({ provider }) => provider ?? []),
    ...below.flatMap(({ neededBy }) => [neededBy, dirname(neededBy)]),
    // where what is missing may be put
    ...(missing.length === 0 ? [] : (object.current.runpath ?? object.current.rpath ?? '').split(':')),
  ])
  return paths.filter(path => path.startsWith('/') && !isInside(path, store) && !isInside(path, root))
}

function nixLdPaths(nixLd: Libc | null): (string | null)[] {
  if (nixLd?.nixLd == null) return []
  return [nixLd.nixLd.shim, nixLd.loader, nixLd.cache, ...nixLd.nixLd.directories]
}

// What a run found and did, as data. Other rooms render it for people and for programs.
import { searchPathEntries } from '../elf/edit/edit.ts'
import { matchesGlob } from '../io/glob.ts'
import { directoryOf, isInside, realPath, realPathOrNull } from '../io/path.ts'
import type { Libc } from '../ldso/libc.ts'
import type { RootsReport } from '../nix/roots.ts'
import { storePathOf } from '../nix/store.ts'
import type { LoaderPlan } from '../private-loader/loader-plan.ts'
import type { OutsideFolder } from '../python/belonging.ts'
import type { Interpreter } from '../python/interpreter.ts'
import type { Environment } from '../python/environment.ts'
import { DRIVER_DIRECTORIES } from '../resolve/drivers.ts'
import { type MissingLibrary, missingLibraries } from '../resolve/problems/missing.ts'
import type { ScannedObject, UnreadableObject } from '../resolve/objects.ts'
import type { Applied, Plan, PlannedObject } from '../resolve/plan.ts'
import { refusedStacks } from '../resolve/problems/stacks.ts'
import { type WindowProblem, windowProblems } from '../resolve/problems/windows.ts'
import type { AnswerSubject } from '../state/answers.ts'
import type { ScannedStore } from '../state/kept-answers.ts'
import { programInterpreterPath } from '../state/program-loader.ts'
import { builtSet, type Examination } from './examine.ts'
import { builtSetLink } from '../state/lock.ts'
import type { VenvOptions } from './run-options.ts'

export interface VenvReport {
  readonly venv: Environment
  readonly interpreter: Interpreter
  readonly libc: Libc
  readonly outcomes: readonly Applied[]
  readonly unreadable: readonly UnreadableObject[]
  /** The objects that ask for an executable stack and do not get one. */
  readonly stacks: readonly ScannedObject[]
  readonly plan: Plan
  readonly missing: readonly MissingLibrary[]
  /** The configuration has `strict`: libraries that only plugins miss count, too. */
  readonly strict: boolean
  /** GUI toolkits that cannot open a window on every desktop. */
  readonly windows: readonly WindowProblem[]
  /** Changes that wait in objects outside the environment: editable installations, folders of .pth files. */
  readonly held: readonly HeldBack[]
  readonly roots: RootsReport | null
  readonly warnings: readonly string[]
  /** The private loader, when the venv has one or will get one. */
  readonly loader: LoaderReport | null
  /** The libc behind nix-ld when programs get nix-ld; else null. */
  readonly nixLd: Libc | null
  /** An earlier run was interrupted, and this run only looks. */
  readonly interrupted: boolean
  /** The objects are done, but a later file could not be written. The warnings say which. */
  readonly incomplete: boolean
  /** When the examination of the environment began, in milliseconds. */
  readonly began: number
  /** The folders that the run wrote to, each with the names that the run had seen in it. */
  readonly written: AnswerSubject['written']
  /** The folders of the venv that were walked, absolute. */
  readonly directories: readonly string[]
  /** Environments inside this one. Each needs a run of its own. */
  readonly nested: readonly string[]
  /** Absolute paths of other files and folders that the answer depends on. Some of them may not exist. */
  readonly dependencies: readonly string[]
  /** What a scan of the store gives for the missing libraries, when the answer depends on nothing else there. */
  readonly scanned: ScannedStore | null
}

/** A folder outside the environment whose objects the environment imports. A run changes it only when the user asks. */
export interface HeldBack extends OutsideFolder {
  readonly objects: readonly PlannedObject[]
}

export interface LoaderReport {
  readonly plan: LoaderPlan
  /** `patch`: a change is pending (dry run or check). `patched`: the change was written. */
  readonly status: 'fine' | 'patch' | 'patched'
  /** The faults of the private loader that the venv had. */
  readonly faults: readonly string[]
}

/** How the last run ended, and how this run ended. */
type RunEnding = Pick<VenvReport, 'interrupted' | 'incomplete' | 'written'>

/** The result of a run as data, for the text, the JSON document and the kept answer. */
export function reportOf(
  examination: Examination,
  outcomes: readonly Applied[],
  roots: RootsReport | null,
  { interrupted, incomplete, written }: RunEnding,
  options: VenvOptions,
): VenvReport {
  const { venv, interpreter, python, scan, plan, ignored, loader, loaderPending, faults } = examination
  const clashes = [...(loader?.content.clashes ?? []), ...plan.clashes]
  const status = !loaderPending ? 'fine' : options.mode === 'plan' ? 'patch' : 'patched'
  return {
    venv,
    interpreter,
    libc: python.libc,
    outcomes,
    unreadable: scan.unreadable,
    stacks: refusedStacks(examination.resolution),
    plan,
    missing: missingLibraries({ ...plan, clashes }, ignored, python.libc, examination.distributions),
    strict: examination.config.strict,
    windows: windowProblems(plan.objects, examination.resolution.simulation, soname =>
      ignored.some(glob => matchesGlob(soname, glob)),
    ),
    held: foldersHeldBack(examination),
    roots,
    warnings: [...examination.warnings, ...(roots?.hasNix === true && roots.problem !== null ? [roots.problem] : [])],
    loader: loader === null ? null : { plan: loader, status, faults },
    nixLd: examination.resolution.input.nixLd,
    directories: scan.directories,
    interrupted,
    incomplete,
    began: examination.began,
    written,
    nested: scan.nested,
    dependencies: dependenciesOf(examination, roots, options),
    scanned: scannedStore(examination, options),
  }
}

function foldersHeldBack({ plan, scan, held }: Pick<Examination, 'plan' | 'scan' | 'held'>): HeldBack[] {
  const waiting = plan.objects.filter(({ identity, change }) => change !== null && held.has(identity))
  return scan.belonging.outside
    .map(outside => ({ ...outside, objects: waiting.filter(({ path }) => isInside(path, outside.folder)) }))
    .filter(({ objects }) => objects.length > 0)
}

/**
 * The store paths that the venv needs: those of its Python with everything on the way there, of its libc, of the libraries
 * from the library set, and of the store libraries that objects built here find by themselves.
 */
export function neededStorePaths({ venv, interpreter, python, plan, libraries, store }: Examination): string[] {
  const paths = new Set([
    // the modules of the standard library, also when bin/python is a copy
    venv.home,
    ...interpreter.chain.map(({ path }) => path),
    interpreter.program,
    python.libc.ldso,
    python.libc.dir,
    ...libraries.map(({ path }) => path),
    ...builtSet(venv).map(path => realPath(path)),
  ])
  for (const { needed } of plan.objects) for (const { provider } of needed) if (provider !== null) paths.add(provider)
  return [...new Set([...paths].map(path => storePathOf(path, store)).filter(path => path !== null))]
}

function dependenciesOf(
  {
    venv,
    interpreter,
    python,
    plan,
    scan,
    distributions,
    resolution,
    objects,
    libraries,
    config,
    loader,
    store,
    asked,
    sources,
  }: Examination,
  roots: RootsReport | null,
  options: VenvOptions,
): string[] {
  const paths = [
    ...interpreter.chain.map(({ path }) => path),
    interpreter.program,
    python.libc.ldso,
    python.libc.cache,
    config.path,
    programInterpreterPath(venv),
    ...nixLdPaths(resolution.input.nixLd),
    ...libraries.map(({ path }) => path),
    ...python.closure,
    ...(roots?.roots.flatMap(({ link, registration }) => [link, registration]) ?? []),
    // `libs build` may make the set, and nothing else may have changed
    builtSetLink(venv),
    // a named directory may come, go or lead elsewhere, and missing libraries may be installed
    ...asked.flatMap(directory => [directory, `${directory}/lib`]),
    ...(loader !== null && dependsOnStore(plan, config, options) ? [store] : []),
    // a new link to a package that was not taken lets us take it
    ...(sources.trust.passedOver().length > 0 ? sources.trust.folders : []),
    // once other users may add packages, an unsigned one is not taken any more
    sources.trust.absentSocket,
    ...outsidePaths(plan, objects, venv.root, store),
    // an installer's cache may be cleaned or filled again
    ...[...scan.linked].flatMap(path => realPathOrNull(path) ?? []),
    // without the folder nobody looked for objects that open the driver's libraries by name
    ...DRIVER_DIRECTORIES,
    ...scan.belonging.sources,
    ...distributions.consulted,
    ...(loader?.files.map(({ path }) => path) ?? []),
    ...(loader?.copies.flatMap(({ paths }) => paths) ?? []),
  ]
  return [...new Set(paths.filter(path => path !== null))].sort()
}

/** May libraries that come into the store serve what is missing? */
function dependsOnStore(plan: Plan, config: Examination['config'], options: VenvOptions): boolean {
  return !options.noScan && !config.noScan && plan.objects.some(({ missing }) => missing.length > 0)
}

/** A private loader also takes libraries that nothing misses, so its answer depends on all of the store. */
function scannedStore(
  { plan, config, loader, store, sources }: Examination,
  options: VenvOptions,
): ScannedStore | null {
  if (loader !== null || !dependsOnStore(plan, config, options)) return null
  const missing = new Set(plan.objects.flatMap(object => object.missing))
  const candidates = [...missing].sort().map(soname => [soname, sources.scan(soname).map(({ path }) => path)])
  return { store, candidates: Object.fromEntries(candidates) }
}

/** What the answer depends on outside the venv and outside the store, whose files do not change: /opt, /usr/local … */
function outsidePaths(plan: Plan, objects: Examination['objects'], root: string, store: string): string[] {
  const entriesNow = (identity: string): string[] => {
    const object = objects.get(identity)
    return object === undefined ? [] : searchPathEntries(object.current)
  }
  const paths = plan.objects.flatMap(({ identity, needed, below, missing }) => [
    ...needed.flatMap(({ provider }) => provider ?? []),
    ...below.flatMap(({ neededBy }) => [neededBy, directoryOf(neededBy)]),
    // the folders in which a missing library may appear
    ...(missing.length === 0 ? [] : entriesNow(identity)),
  ])
  return paths.filter(path => path.startsWith('/') && !isInside(path, store) && !isInside(path, root))
}

function nixLdPaths(nixLd: Libc | null): (string | null)[] {
  if (nixLd?.nixLd == null) return []
  return [nixLd.nixLd.shim, nixLd.ldso, nixLd.cache, ...nixLd.nixLd.directories]
}

/** The subject of an answer that is kept; null when the next run has to do the work again. */
export function answerable({
  venv,
  incomplete,
  outcomes,
  unreadable,
  roots,
  directories,
  dependencies,
  scanned,
  loader,
  began,
  written,
}: VenvReport): AnswerSubject | null {
  if (incomplete || unreadable.some(({ broken }) => !broken)) return null
  if (outcomes.some(({ passing }) => passing === true)) return null
  // the next run tries again to protect these paths from garbage collection
  if (roots?.hasNix === true && roots.problem !== null) return null
  const made = [
    ...(roots?.roots.flatMap(({ link, registration }) => [link, registration]) ?? []),
    ...(loader?.plan.files.map(({ path }) => path) ?? []),
    ...(loader?.plan.copies.flatMap(({ paths }) => paths) ?? []),
  ]
  return {
    root: venv.root,
    stateFolder: venv.stateFolder,
    directories,
    began,
    written,
    objects: [
      ...outcomes.map(({ planned, status, size = null }) => ({
        path: planned.relative,
        size: status === 'patched' ? size : null,
      })),
      ...unreadable.map(({ relative }) => ({ path: relative, size: null })),
    ],
    dependencies,
    scanned,
    made: new Set(made.filter(path => path !== null)),
  }
}

// Everything that wheelfix knows before it writes a byte: what the environment holds, how its Python loads it, and the plan.
import { agree, count, listed } from '../io/words.ts'
import { existsSync } from 'node:fs'
import { type Config, type ProgramInterpreter, readConfig, type Strategy } from '../config/config.ts'
import type { ElfObject } from '../elf/types.ts'
import { fileNameOf, fsPath, isInside, relativeTo } from '../io/path.ts'
import { diskTree } from '../ldso/file-tree.ts'
import { isFhsLoader, nixLdLibc } from '../ldso/libc.ts'
import { fits } from '../ldso/fits.ts'
import { knownSonames } from '../nix/hints.ts'
import type { UsedLibrary } from '../nix/libset.ts'
import { prepareRoots } from '../nix/roots.ts'
import { storeDirectory } from '../nix/store.ts'
import { servedLibraries } from '../private-loader/library-cache.ts'
import { hasLoaderFiles, isLoaderPending, loaderFaults } from '../private-loader/private-loader.ts'
import { loaderFolders, type LoaderPlan, planLoader } from '../private-loader/loader-plan.ts'
import { type PythonName, pythonNames } from '../private-loader/python-names.ts'
import { type Distributions, readDistributions } from '../python/distributions.ts'
import type { Interpreter } from '../python/interpreter.ts'
import type { Environment, Place } from '../python/environment.ts'
import { driverDirectory } from '../resolve/drivers.ts'
import type { ScannedObject } from '../resolve/objects.ts'
import { makePlan, type Plan, type PlanOptions } from '../resolve/plan.ts'
import type { ProviderSources } from '../resolve/providers.ts'
import { type PythonProcess, startPython } from '../resolve/python-process.ts'
import { librarySources } from '../resolve/library-sources.ts'
import { trustWarnings } from '../resolve/trust-warnings.ts'
import { type Ownership, resolve, type Resolution, type ResolveInput } from '../resolve/resolution.ts'
import { builtSetLink } from '../state/lock.ts'
import { readPins } from '../state/pins.ts'
import { readProgramInterpreter } from '../state/program-loader.ts'
import type { VenvOptions } from './run-options.ts'
import type { Scan } from './scan.ts'
import { whoLoads } from './who-loads.ts'

/** Everything that wheelfix knows before it writes a byte. */
export interface Examination {
  readonly venv: Environment
  /** When the examination began, in milliseconds. */
  readonly began: number
  readonly interpreter: Interpreter
  readonly python: PythonProcess
  readonly distributions: Distributions
  readonly scan: Scan
  /** The objects of the scan, by identity. Of two names of one file it holds one. */
  readonly objects: ReadonlyMap<string, ScannedObject>
  /** The objects of the scan, by path: each name of a file is changed by itself. */
  readonly byPath: ReadonlyMap<string, ScannedObject>
  readonly sources: ProviderSources
  readonly plan: Plan
  /** How the objects are loaded after the plan is applied. */
  readonly resolution: Resolution
  readonly ignored: readonly string[]
  readonly config: Config
  readonly warnings: readonly string[]
  readonly store: string
  /** The library directories that were named, also those that do not exist. */
  readonly asked: readonly string[]
  /** The names of bin/ that start Python. */
  readonly names: readonly PythonName[]
  /** The private loader that the plan wants; null with the strategy `rpath`. */
  readonly loader: LoaderPlan | null
  readonly loaderPending: boolean
  readonly faults: readonly string[]
  /** The venv has a private loader that it must lose. */
  readonly leftLoader: boolean
  /** The identities of the objects outside the environment. They stay as they are unless the user asks for a change. */
  readonly held: ReadonlySet<string>
  /** The libraries that the venv takes from the library set. */
  readonly libraries: readonly UsedLibrary[]
}

/**
 * Examines everything and makes the plan. Writes nothing but the folder of the roots. Each step needs the steps before it:
 * the settings; the Python and what it maps at its start; the named library directories; the objects; their owners; the
 * libraries that they want; the private loader; the loader of the programs; the resolution and the plan.
 * @throws WheelfixError when nothing could be done
 */
export function examine(venv: Environment, options: VenvOptions): Examination {
  const began = Date.now()
  const { env } = options
  const store = storeDirectory(env)
  const settings = chosenSettings(venv, options)
  const { config, names, strategy, hasLoader } = settings

  const loaded = whoLoads(venv, names, store, [...options.ignore, ...config.ignore], options)
  const { interpreter } = loaded
  if (options.mode === 'apply' && isInside(interpreter.program, store)) prepareRoots(venv.stateFolder, env)
  const tree = diskTree()
  const python = startPython(interpreter, tree, store, env)

  // the scan of the store asks for all of them together
  const sonames = new Set<string>()
  const flags = { ...options, built: builtSet(venv).map(path => `${path}/lib`) }
  const pins = options.update ? new Map<string, never>() : readPins(venv)
  const { named, sources } = librarySources(python, flags, sonames, config, pins)
  const scan = loaded.scan()
  for (const { path, identity, current } of scan.objects) tree.adopt(path, { identity, object: current })
  const distributions = readDistributions(venv.sitePackages, new Set(scan.objects.map(({ path }) => path)))

  // a private loader also serves libraries that are opened by name or installed later
  const wanted = wantedBy(scan, interpreter, strategy === 'rpath' ? [] : knownSonames())
  for (const soname of wanted.keys()) sonames.add(soname)
  const loader = strategy === 'rpath' ? null : planLoader({ venv, names, python, sources, wanted, env })
  const faults = loader === null ? [] : loaderFaults(loader, names)

  const input: ResolveInput = {
    objects: scan.objects,
    python: loader?.python ?? python,
    ownership: ownershipOf(distributions),
    bin: venv.bin,
    sharesFolder: true,
    everythingCounts: venv.kind === 'folder' && venv.python === null,
    store,
    ...programLoaderOf(interpreter, settings.programs, loader, env),
  }
  const { plan, after } = makePlan(resolve(input), planOptions(strategy, sources))
  return {
    venv,
    began,
    interpreter,
    python,
    distributions,
    scan,
    objects: new Map(scan.objects.map(object => [object.identity, object])),
    byPath: new Map(scan.objects.map(object => [object.path, object])),
    sources,
    plan,
    resolution: after,
    ignored: [...options.ignoreMissing, ...config.ignoreMissing],
    config,
    warnings: [
      // faults that stop everything come first, because the report shows only a few warnings
      ...faults.map(
        fault =>
          `${fault}; ${options.mode === 'plan' ? 'run wheelfix loader' : 'this run makes the private loader again'}`,
      ),
      ...environmentWarnings(env),
      ...venvWarnings(venv, scan),
      ...named.warnings,
      ...(loader?.warnings ?? []),
      ...trustWarnings(sources.trust),
      ...distributions.warnings,
      ...plan.warnings,
    ],
    store,
    asked: named.asked,
    names,
    loader,
    loaderPending: loader !== null && isLoaderPending(loader),
    faults,
    leftLoader: loader === null && (hasLoader || hasLoaderFiles(venv, loaderFolders(venv, names, env))),
    held: options.editable ? new Set() : scan.outside,
    libraries: [...plan.libraries, ...(loader === null ? [] : servedLibraries(loader.content))],
  }
}

/** Is there a private loader that no name of bin/ asks for? Then a run that removes it was interrupted. */
export function isRemovalInterrupted({ leftLoader, names }: Examination): boolean {
  return leftLoader && !names.some(({ kind }) => kind === 'copy')
}

interface ChosenSettings {
  readonly config: Config
  readonly names: readonly PythonName[]
  readonly hasLoader: boolean
  readonly strategy: Strategy
  readonly programs: ProgramInterpreter | null
}

/** The settings of the command line, else of the configuration, else of an earlier run. */
export function chosenSettings(venv: Environment, options: VenvOptions): ChosenSettings {
  const config = readConfig(venv.root)
  const names = venv.kind === 'venv' ? pythonNames(venv) : []
  const hasLoader = names.some(({ kind }) => kind === 'copy')
  // a private loader starts the Python of a venv, so other folders cannot have one
  const asked = venv.kind === 'venv' ? (options.strategy ?? config.strategy) : 'rpath'
  const strategy = asked ?? (hasLoader ? 'loader' : 'rpath')
  const programs = options.interpreter ?? config.interpreter ?? readProgramInterpreter(venv)
  return { config, names, hasLoader, strategy, programs }
}

/** The loader for programs of wheels that ask for the loader of another system. */
export function programLoaderOf(
  interpreter: Interpreter,
  programs: ProgramInterpreter | null,
  loader: LoaderPlan | null,
  env: NodeJS.ProcessEnv,
): Pick<ResolveInput, 'programInterpreter' | 'nixLd'> {
  const nixLd = programs === 'nix-ld' ? nixLdLibc(interpreter.object, env) : null
  const fhs = interpreter.interp === null || isFhsLoader(interpreter.interp)
  return { programInterpreter: nixLd?.nixLd?.shim ?? loader?.loader ?? (fhs ? null : interpreter.interp), nixLd }
}

function planOptions(strategy: Strategy, sources: ProviderSources): PlanOptions {
  // the private loader finds the libraries through its cache, so no search path must name them
  const none = { ...sources, directories: [], pins: new Map(), scan: () => [] }
  return {
    sources: strategy === 'loader' ? none : sources,
    searchPaths: strategy !== 'loader',
    driver: driverDirectory(),
  }
}

/**
 * The library set that Nix built for this venv (`libs build`). It also serves wheels that are installed later. Empty when
 * the set is gone.
 */
export function builtSet(place: Place): string[] {
  const link = builtSetLink(place)
  return existsSync(fsPath(`${link}/lib`)) ? [link] : []
}

/**
 * The sonames that the objects of the venv need, each with the objects that this interpreter can load, and the sonames in
 * `known`.
 */
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

/**
 * What the metadata of the distributions says of owners, requirements and platform tags. Each file is read once, when it is
 * first asked for.
 */
export function ownershipOf(distributions: Distributions): Ownership {
  const required = new Map<string, ReadonlySet<string>>()
  return {
    platforms: name => (distributions.get(name)?.tags() ?? []).map(({ platform }) => platform),
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
    'LD_LIBRARY_PATH is set, and every program started from here inherits it; wheelfix ignores it. ' +
      'To give these libraries to this environment alone: wheelfix venv --libs "$LD_LIBRARY_PATH"; unset LD_LIBRARY_PATH',
  ]
}

function venvWarnings(venv: Environment, scan: Scan): string[] {
  const warnings: string[] = []
  if (venv.systemSitePackages) {
    warnings.push(
      'this environment also imports from the site-packages of its base Python, which wheelfix does not look at',
    )
  }
  if (scan.foreignLinks > 0) {
    warnings.push(
      `${count(scan.foreignLinks, 'shared object')} ${agree(scan.foreignLinks, 'is a link', 'are links')} to ` +
        `${agree(scan.foreignLinks, 'a file', 'files')} outside the environment, and ` +
        `${agree(scan.foreignLinks, 'was', 'were')} not changed; to patch one: wheelfix path FILE`,
    )
  }
  const computing = scan.belonging.code.filter(({ computes }) => computes).map(({ path }) => fileNameOf(path))
  if (computing.length > 0) {
    warnings.push(
      `code in ${listed(computing, 3)} adds computed folders to sys.path. wheelfix does not run that code, so it does not look ` +
        `into these folders; wheelfix doctor does`,
    )
  }
  const [folder] = scan.foreignFolders
  if (folder !== undefined) {
    const more = scan.foreignFolders.length - 1
    warnings.push(
      `${relativeTo(venv.root, folder)}${more > 0 ? ` and ${count(more, 'other link')}` : ''} ` +
        `${more > 0 ? 'lead to folders' : 'leads to a folder'} outside the environment, which wheelfix does not look at; ` +
        `to patch one: wheelfix path FOLDER`,
    )
  }
  return warnings
}

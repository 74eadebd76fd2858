// `wheelfix wheel` from file names to reports: which wheels, which Python, which libraries; then each wheel by itself, some
// at a time. A bad wheel never stops the others.
import { accessSync, constants, existsSync, statSync } from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import { basename, delimiter, dirname, join, resolve } from 'node:path'
import { type ProgramInterpreter, readConfig } from '../config/config.ts'
import type { ProviderSources } from '../resolve/providers.ts'
import { type PythonProcess, startPython } from '../resolve/python-process.ts'
import { type MissingLibrary, missingLibraries } from '../resolve/missing.ts'
import { errnoOf, WheelfixError } from '../io/error.ts'
import { fsPath, listDirectory, realPath } from '../io/path.ts'
import { isFhsLoader, nixLdLibc } from '../ldso/libc.ts'
import { diskTree } from '../ldso/file-tree.ts'
import { namedDirectories } from '../nix/libset.ts'
import { scanSources, trustWarnings } from '../resolve/scan-sources.ts'
import { storeDirectory } from '../nix/store.ts'
import { findInterpreter } from '../python/interpreter.ts'
import { type PythonEnvironment, stateFolderIn } from '../python/environment.ts'
import { findVenv } from '../python/pyvenv.ts'
import { copyWheel, outputPath, type Tag, writeWheel } from './write-wheel.ts'
import {
  type NewContent,
  openWheel,
  planWheel,
  type Wheel,
  type WheelContext,
  type WheelOutcome,
  type WheelPlan,
  resolvedOf,
} from './fix-wheel.ts'
import type { WheelDistribution } from './distribution.ts'
import type { WheelEntry } from '../zip/read.ts'
import { comparePolicies, type PolicyReport } from './policy.ts'
import { type Restored, restoreWheel, writeRestored } from './restore-wheel.ts'

export interface WheelOptions {
  /** Wheels, or folders of them. */
  readonly files: readonly string[]
  /** Wheels, or folders of them, that are installed together with these. */
  readonly with: readonly string[]
  /** The folder of the results; null: each wheel is replaced where it is. */
  readonly output: string | null
  readonly mode: 'patch' | 'restore'
  /** False: write nothing, but find out what a run would do. */
  readonly write: boolean
  /** Compare each wheel with the policies of its tags. */
  readonly check: boolean
  /** The Python that the wheels are for: a venv, a program, or its name. */
  readonly python: string | undefined
  readonly libs: readonly string[]
  readonly noScan: boolean
  readonly trust: readonly string[]
  readonly ignoreMissing: readonly string[]
  /** null: what the configuration says, else `python`. */
  readonly interpreter: ProgramInterpreter | null
  readonly tag: Tag | null
  readonly env: NodeJS.ProcessEnv
  readonly cwd: string
  /** Called with bytes read and written, of all wheels. */
  readonly progress: (done: number, total: number) => void
}

/** A soname that a wheel does not find. `expected`: another package is to bring it. */
export interface MissingOfWheel extends MissingLibrary {
  readonly expected: boolean
}

/** What became of one wheel. */
export interface WheelReport {
  readonly path: string
  /** Where the result is (or would be); null where there is none. */
  readonly output: string | null
  readonly status: 'patched' | 'patch' | 'fine' | 'restored' | 'restore'
  /** False where the output is only where it would be. */
  readonly written: boolean
  readonly outcomes: readonly WheelOutcome[]
  readonly refused: readonly { readonly path: string; readonly reason: string }[]
  /** Null when the wheel is being restored. */
  readonly plan: WheelPlan['plan'] | null
  readonly missing: readonly MissingOfWheel[]
  /** With `check` alone. */
  readonly policy: PolicyReport | null
  /** Number of objects given back. */
  readonly restored: number
  /** How much of the original a written one is; null where none was restored and written. */
  readonly original: Restored | null
  /** Sentences about what else is to be known. */
  readonly notes: readonly string[]
  readonly distribution: WheelDistribution
  /** The site-packages that the wheel is pretended to be in: providers below it are its own. */
  readonly sitePackages: string
}

/** A wheel that nothing could be done with. */
export interface WheelFailure {
  readonly path: string
  readonly error: WheelfixError
}

export interface WheelRun<T> {
  readonly python: PythonProcess
  /** What was made of each report, in the order of the wheels. */
  readonly results: readonly T[]
  readonly warnings: readonly string[]
}

/** What is the same for all wheels of a run. */
interface Preparation {
  readonly context: WheelContext
  /** Globs of sonames that are not reported. */
  readonly ignored: readonly string[]
  /** The sonames that the store may be asked for: it answers several at once faster. */
  readonly wanted: Set<string>
  readonly warnings: string[]
}

/**
 * Works on the wheels, some at a time.
 * @param summarise makes of a report what is to be kept: the report itself holds the simulated processes of its wheel
 * @throws WheelfixError when nothing could be done: no wheel, no Python, no library directory of that name
 */
export async function runWheels<T>(
  options: WheelOptions,
  summarise: (report: WheelReport | WheelFailure) => T,
): Promise<WheelRun<T>> {
  const { cwd } = options
  const files = findWheels(options.files, cwd)
  assertOutputs(files, options)
  const prepared = prepare(options)
  const { python } = prepared.context
  const siblingFiles = findWheels(options.with, cwd)

  const sizes = (wheels: Iterable<string>): number =>
    [...wheels].reduce((sum, file) => sum + (statSync(fsPath(file), { throwIfNoEntry: false })?.size ?? 0), 0)
  // each is read, and those that are named are written
  const total = sizes(files) + sizes(new Set([...files, ...siblingFiles]))
  let done = 0
  const progress = (count: number): void => {
    done += count
    options.progress(done, total)
  }
  const siblings = new Map<string, Wheel>()
  try {
    for (const file of siblingFiles) {
      try {
        const wheel = await openWheel(file, python, scratchFolder(options, file), progress)
        siblings.set(realPath(file), wheel)
      } catch (error) {
        if (!(error instanceof WheelfixError)) throw error
        // what it would bring is missing then, and said to be
        prepared.warnings.push(`--with ${error.message}`)
      }
    }
    const results: T[] = []
    const queue = files.entries()
    const claims: Claims = {
      inputs: new Map(files.filter(exists).map(file => [realPath(file), file])),
      outputs: new Map(),
    }
    const work = async (): Promise<void> => {
      for (const [index, file] of queue) {
        results[index] = summarise(await runWheel(file, siblings, prepared, claims, options, progress))
      }
    }
    await Promise.all(Array.from({ length: Math.min(files.length, availableParallelism()) }, work))
    const warnings = [...prepared.warnings, ...trustWarnings(prepared.context.sources.trust)]
    return { python, results, warnings }
  } finally {
    for (const wheel of siblings.values()) wheel.close()
  }
}

async function runWheel(
  path: string,
  siblings: ReadonlyMap<string, Wheel>,
  prepared: Preparation,
  claims: Claims,
  options: WheelOptions,
  progress: (bytes: number) => void,
): Promise<WheelReport | WheelFailure> {
  const same = exists(path) ? siblings.get(realPath(path)) : undefined
  let own: Wheel | undefined
  try {
    // a wheel of a folder that is named by --with, too, has been read already
    if (same?.archive.path !== path)
      own = await openWheel(path, prepared.context.python, scratchFolder(options, path), progress)
    const wheel = own ?? same
    if (wheel === undefined) throw new Error(`${path} was not opened`)
    return options.mode === 'restore'
      ? await restore(wheel, claims, options, progress)
      : await patch(
          wheel,
          [...siblings.values()].filter(other => other !== same),
          prepared,
          claims,
          options,
          progress,
        )
  } catch (error) {
    if (error instanceof WheelfixError) return { path, error }
    throw error
  } finally {
    own?.close()
  }
}

async function patch(
  wheel: Wheel,
  siblings: readonly Wheel[],
  prepared: Preparation,
  claims: Claims,
  options: WheelOptions,
  progress: (bytes: number) => void,
): Promise<WheelReport> {
  const { context, ignored, wanted } = prepared
  for (const { object } of wheel.objects) for (const soname of object.original.needed) wanted.add(soname)
  const { plan, outcomes, expected } = planWheel(wheel, requiredOf(wheel, siblings), context)
  const contents = new Map<WheelEntry, NewContent>()
  for (const { entry, content } of outcomes) if (content !== null) contents.set(entry, content)
  const own = { ...plan, objects: outcomes.map(({ planned }) => planned) }
  const missing = missingLibraries(own, ignored, context.python.libc).map((library): MissingOfWheel => ({
    ...library,
    expected: expected.has(library.soname),
  }))
  const changed = contents.size > 0
  const { write } = options
  const written = await output(wheel, contents, changed ? options.tag : null, claims, options, progress)
  const refused = [
    ...outcomes
      .filter(({ status }) => status === 'refused')
      .map(({ entry, reason }) => ({ path: entry.name, reason: reason ?? '' })),
    ...wheel.unreadable.map(({ relative, reason }) => ({ path: relative, reason })),
  ]
  return {
    path: wheel.archive.path,
    output: written,
    status: changed ? (write ? 'patched' : 'patch') : 'fine',
    written: write && written !== null,
    outcomes: write
      ? outcomes.map(outcome => (outcome.status === 'patch' ? { ...outcome, status: 'patched' } : outcome))
      : outcomes,
    refused,
    plan,
    missing,
    policy: options.check
      ? comparePolicies(wheel.distribution.tags, resolvedOf(wheel, own.objects), wheel.installation.root)
      : null,
    restored: 0,
    original: null,
    notes: changed ? signatureNotes(wheel) : [],
    distribution: wheel.distribution,
    sitePackages: wheel.installation.sitePackages,
  }
}

/** Those of the wheels that this one requires, directly or not: no other is loaded before it for certain. */
function requiredOf(wheel: Wheel, wheels: readonly Wheel[]): Wheel[] {
  const found = new Set<Wheel>()
  const queue = [wheel]
  for (const { distribution } of queue) {
    for (const other of wheels) {
      if (found.has(other) || !distribution.requires.has(other.distribution.name)) continue
      found.add(other)
      queue.push(other)
    }
  }
  found.delete(wheel)
  return wheels.filter(other => found.has(other))
}

async function restore(
  wheel: Wheel,
  claims: Claims,
  options: WheelOptions,
  progress: (bytes: number) => void,
): Promise<WheelReport> {
  const restoration = restoreWheel(wheel)
  const { contents, refused, name } = restoration
  const changed = contents.size > 0
  const { path } = wheel.archive
  if (changed && options.output === null && name !== null && name !== basename(path))
    throw new WheelfixError('USAGE', `${path}: its name was ${name}: use -o DIR, not --in-place`, path)
  const folder = outputFolder(path, options)
  const to = changed && name !== null && options.output !== null ? join(folder, name) : outputOf(wheel, null, options)
  let original: Restored | null = null
  let written: string | null = to
  if (!changed) written = await output(wheel, contents, null, claims, options, progress)
  else {
    claim(to, path, claims)
    if (options.write) original = await writeRestored(wheel, restoration, to, progress)
  }
  return {
    path: wheel.archive.path,
    output: written,
    status: changed ? (options.write ? 'restored' : 'restore') : 'fine',
    written: options.write && written !== null,
    outcomes: [],
    refused: [...refused, ...wheel.unreadable.map(({ relative, reason }) => ({ path: relative, reason }))],
    plan: null,
    missing: [],
    policy: null,
    restored: contents.size,
    original,
    notes: originalNotes(original, restoration.lost),
    distribution: wheel.distribution,
    sitePackages: wheel.installation.sitePackages,
  }
}

/** Writes the result, or says where it would be; null where there is none: a wheel that stays where and as it is. */
async function output(
  wheel: Wheel,
  contents: ReadonlyMap<WheelEntry, NewContent>,
  tag: Tag | null,
  claims: Claims,
  options: WheelOptions,
  progress: (bytes: number) => void,
): Promise<string | null> {
  const { path } = wheel.archive
  if (contents.size === 0 && options.output === null) return null
  const to = outputOf(wheel, tag, options)
  claim(to, path, claims)
  if (!options.write) return to
  if (contents.size === 0) await copyWheel(path, to)
  else await writeWheel(wheel, contents, tag, to, progress)
  return to
}

function outputOf(wheel: Wheel, tag: Tag | null, options: WheelOptions): string {
  const { path } = wheel.archive
  return options.output === null ? realPath(path) : outputPath(wheel, outputFolder(path, options), tag)
}

/** Which paths are taken: real paths of the wheels, and results with the wheels that they are of. */
interface Claims {
  readonly inputs: ReadonlyMap<string, string>
  readonly outputs: Map<string, string>
}

/** A tag, or its removal, may give a result the name of another wheel. @throws WheelfixError `USAGE` */
function claim(output: string, path: string, { inputs, outputs }: Claims): void {
  const other = outputs.get(output) ?? (exists(output) ? inputs.get(realPath(output)) : undefined)
  if (other !== undefined && other !== path)
    throw new WheelfixError('USAGE', `${path}: its result would have the name of ${other}, or of its result`, path)
  outputs.set(output, path)
}

/** What the bytes of a restored wheel are. */
function originalNotes(original: Restored | null, lost: boolean): string[] {
  const signature = lost ? ['its signature is not given back: it was too large to be kept'] : []
  switch (original) {
    case 'contents':
      return [
        'the contents are those of the original, with RECORD, but not its bytes: not zlib compressed it, or it was changed since',
        ...signature,
      ]
    case 'changed':
      return ['this is not the original: the wheel was changed after it was patched', ...signature]
    case 'unknown':
      return ['the wheel does not tell what the original was: its objects and their rows of RECORD are given back']
    case 'archive':
    case null:
      return []
  }
}

function outputFolder(path: string, { output, cwd }: WheelOptions): string {
  // where a link is named, the wheel that it leads to is the one to be replaced
  return output === null ? dirname(exists(path) ? realPath(path) : path) : resolve(cwd, output)
}

function signatureNotes({ distribution }: Wheel): string[] {
  return distribution.signatures.map(
    ({ name }) => `${name} is left out: the signature does not hold for the patched wheel`,
  )
}

/** The wheels that are named, those of a named folder in byte order; each once. @throws WheelfixError */
function findWheels(named: readonly string[], cwd: string): string[] {
  const found = new Map<string, string>()
  for (const name of named) {
    const path = resolve(cwd, name)
    try {
      const folder = statSync(fsPath(path)).isDirectory()
      const files = folder
        ? listDirectory(path)
            .filter(entry => entry.name.endsWith('.whl') && !entry.name.startsWith('.') && entry.kind !== 'directory')
            .map(entry => join(path, entry.name))
        : [path]
      if (files.length === 0)
        throw new WheelfixError('WHEEL_INVALID', `${path}: there is no wheel in this folder`, path)
      // a link that leads nowhere is one bad wheel among others
      for (const file of files) found.set(exists(file) ? realPath(file) : file, file)
    } catch (error) {
      const errno = errnoOf(error)
      if (errno === undefined || error instanceof WheelfixError) throw error
      const what = errno === 'ENOENT' ? 'there is no such wheel' : `cannot be read (${errno})`
      throw new WheelfixError('IO', `${path}: ${what}`, path)
    }
  }
  return [...found.values()]
}

/** Nothing is replaced by accident: not the wheel itself, and not the result of another one. */
function assertOutputs(files: readonly string[], options: WheelOptions): void {
  if (options.output === null) {
    if (options.tag !== null)
      throw new WheelfixError('USAGE', '--tag gives the wheel another name: use it with -o DIR, not with --in-place')
    return
  }
  const folder = resolve(options.cwd, options.output)
  if (statSync(fsPath(folder), { throwIfNoEntry: false })?.isDirectory() === false)
    throw new WheelfixError('USAGE', `${folder} is no folder: give -o a folder for the results`, folder)
  const seen = new Map<string, string>()
  for (const file of files) {
    const output = join(outputFolder(file, options), basename(file))
    const other = seen.get(output)
    if (other !== undefined) throw new WheelfixError('USAGE', `${other} and ${file} would both become ${output}`, file)
    seen.set(output, file)
    if (existsSync(fsPath(output)) && realPath(output) === realPath(file))
      throw new WheelfixError(
        'USAGE',
        `${file} would be replaced by its own result: give --in-place if that is meant`,
        file,
      )
  }
}

/** Where the unpacked objects are kept while a wheel is worked on: beside the result, or where large temporary files go. */
function scratchFolder(options: WheelOptions, path: string): string {
  if (!options.write) {
    const temporary = options.env['TMPDIR'] ?? ''
    return temporary === '' && isWritable('/var/tmp') ? '/var/tmp' : tmpdir()
  }
  let folder = outputFolder(path, options)
  while (!existsSync(fsPath(folder))) folder = dirname(folder)
  return folder
}

function exists(path: string): boolean {
  return existsSync(fsPath(path))
}

function isWritable(path: string): boolean {
  try {
    accessSync(path, constants.W_OK)
    return true
  } catch {
    return false
  }
}

function prepare(options: WheelOptions): Preparation {
  const { env, cwd } = options
  const store = storeDirectory(env)
  // those of the wheels that are open when the store is first asked
  const wanted = new Set<string>()
  const interpreter = findInterpreter(targetPython(options.python, env, cwd))
  const python = startPython(interpreter, diskTree(), store, env)
  const config = readConfig(join(resolve(cwd), '.venv'))
  const named = namedDirectories({ flags: options.libs, config: config.libs, closure: python.closure, env, cwd, store })
  const sources: ProviderSources = {
    directories: named.directories,
    pins: new Map(),
    ...scanSources(python, { ...options, noScan: options.noScan || config.noScan }, wanted),
    store,
  }
  const programs = options.interpreter ?? config.interpreter
  const nixLd = programs === 'nix-ld' ? nixLdLibc(interpreter.object, env) : null
  const programInterpreter = nixLd?.nixLd?.shim ?? (isFhsLoader(interpreter.interp) ? null : interpreter.interp)
  return {
    context: { python, sources, programInterpreter, nixLd },
    wanted,
    ignored: [...options.ignoreMissing, ...config.ignoreMissing],
    warnings: [...named.warnings],
  }
}

/** The Python that is named; without a name that of the venv, as for the other commands, else `python3` on PATH. */
export function targetPython(named: string | undefined, env: NodeJS.ProcessEnv, cwd: string): PythonEnvironment {
  if (named === undefined) {
    try {
      return findVenv({ env, cwd })
    } catch (error) {
      if (!(error instanceof WheelfixError) || error.code !== 'VENV_NOT_FOUND') throw error
      return targetPython('python3', env, cwd)
    }
  }
  // a name without a slash is a program of PATH, unless it is a folder: --python .venv
  const folder = statSync(fsPath(resolve(cwd, named)), { throwIfNoEntry: false })?.isDirectory() === true
  const path = folder || named.includes('/') ? resolve(cwd, named) : onPath(named, env)
  if (path === null || !existsSync(fsPath(path))) {
    throw new WheelfixError(
      'PYTHON_NOT_FOUND',
      `there is no Python ${named}: name the one that the wheel is for (--python .venv, --python /nix/store/…/bin/python3)`,
      named,
    )
  }
  if (statSync(fsPath(path)).isDirectory()) {
    if (existsSync(fsPath(join(path, 'pyvenv.cfg')))) return findVenv({ argument: path, env, cwd })
    return bare(join(path, 'bin/python3'))
  }
  const root = dirname(dirname(path))
  return existsSync(fsPath(join(root, 'pyvenv.cfg')))
    ? { ...findVenv({ argument: root, env, cwd }), python: path }
    : bare(path)
}

function onPath(program: string, env: NodeJS.ProcessEnv): string | null {
  for (const folder of (env['PATH'] ?? '').split(delimiter)) {
    const path = join(folder, program)
    if (folder !== '' && existsSync(fsPath(path))) return path
  }
  return null
}

/** An interpreter without a venv, as a venv of nothing else. */
function bare(python: string): PythonEnvironment {
  const bin = dirname(python)
  const root = dirname(bin)
  return {
    kind: 'python',
    root,
    stateFolder: stateFolderIn(root),
    config: new Map(),
    home: bin,
    python,
    systemSitePackages: false,
    sitePackages: [],
    bin,
    walk: [],
  }
}

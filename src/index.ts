// The public face of the library. The program's commands use the same functions. Everything that is not exported here may
// change with every version. Only this file reads the process's own environment and working directory.
import { readConfig } from './config/config.ts'
import { readElf as readSource } from './elf/read.ts'
import type { ElfEdit } from './elf/edit/edit.ts'
import { type ByteSource, bytesSource } from './elf/source.ts'
import { applyEdit } from './elf/edit/state.ts'
import { verifyElf as verifySource, type Violation } from './elf/rules/verify.ts'
import type { ElfObject } from './elf/types.ts'
import { examine } from './environment/examine.ts'
import { lookingOnly, type VenvOptions } from './environment/run-options.ts'
import { restoreVenv, type RestoreReport } from './environment/restore-environment.ts'
import { runVenv } from './environment/run-environment.ts'
import { whoLoads } from './environment/who-loads.ts'
import { withSource } from './io/source.ts'
import { storeDirectory } from './nix/store.ts'
import { type Rewrite, rewriteObject } from './patchelf/rewrite.ts'
import { pythonNames } from './private-loader/python-names.ts'
import type { Environment } from './python/environment.ts'
import type { MissingLibrary } from './resolve/problems/missing.ts'
import { neededOf, type NeededHow } from './resolve/needed.ts'
import type { ObjectKind, UnreadableObject } from './resolve/objects.ts'
import type { Applied, Plan } from './resolve/plan.ts'
import { resolve as resolveObjects } from './resolve/resolution.ts'
import type { Because } from './ldso/search.ts'
import { findKnownEnvironment as findKnown, findFolder } from './state/folders.ts'

export { ElfError, type ElfErrorCode } from './elf/error.ts'
export { WheelfixError, type WheelfixErrorCode } from './io/error.ts'
export type {
  Applied,
  Because,
  ByteSource,
  ElfEdit,
  ElfObject,
  Environment,
  MissingLibrary,
  NeededHow,
  ObjectKind,
  Plan,
  RestoreReport,
  Rewrite,
  UnreadableObject,
  Violation,
}

/** The surroundings of a call. The default is those of the process. */
export interface Surroundings {
  /** Environment variables: VIRTUAL_ENV, PATH, NIX_STORE_DIR … */
  readonly env?: NodeJS.ProcessEnv
  /** The base of relative paths. */
  readonly cwd?: string
}

export interface FindOptions extends Surroundings {
  /** The Python that loads the modules of a folder that is not a virtual environment. */
  readonly python?: string
  /** A program other than Python that loads the objects of such a folder. */
  readonly program?: string
}

/**
 * Finds an environment: files that are patched together.
 * @param folder a virtual environment, or a folder that wheelfix has patched; with `python` or `program` any folder or file.
 * The default is the environment that `wheelfix venv` finds: VIRTUAL_ENV, UV_PROJECT_ENVIRONMENT, else `.venv`, `venv` or
 * `env` in the working directory or above
 * @throws WheelfixError `VENV_NOT_FOUND`, `VENV_INVALID`, `PATH_REFUSED`, `PYTHON_NOT_FOUND`
 */
export function findEnvironment(folder?: string, options: FindOptions = {}): Environment {
  const { python = null, program = null } = options
  const { env, cwd } = surroundings(options)
  if (python === null && program === null) return findKnown(folder, env, cwd)
  return findFolder({ argument: folder ?? '.', python, program, stateHere: false, env, cwd })
}

/** The options of calls that write nothing. */
export interface LookOptions extends Surroundings {
  /** Library folders, as for `--libs`. */
  readonly libs?: readonly string[]
  /** Do not look for libraries in the local Nix store. */
  readonly noScan?: boolean
  /** Packages of the store that may be taken, no matter who put them there. */
  readonly trust?: readonly string[]
  /** Globs of sonames that are not reported as missing. */
  readonly ignoreMissing?: readonly string[]
  /** Globs of paths that wheelfix does not examine. */
  readonly ignore?: readonly string[]
}

/** An ELF object of an environment. */
export interface FoundObject {
  /** The absolute path. */
  readonly path: string
  /** The path relative to the environment's root. */
  readonly relative: string
  readonly kind: ObjectKind
  /** The object as the file is now. */
  readonly elf: ElfObject
  /** Has wheelfix changed the object? */
  readonly patched: boolean
}

export interface Scan {
  readonly objects: readonly FoundObject[]
  /** Files with the ELF magic that cannot be read, with the reason. */
  readonly unreadable: readonly UnreadableObject[]
}

/**
 * Finds the ELF objects of an environment by their first bytes. Their `elf` has no program headers, because a large
 * environment has thousands of objects. (`readElf` reads the program headers of one object.)
 * @throws WheelfixError when the environment's Python is broken
 */
export function scan(environment: Environment, options: LookOptions = {}): Scan {
  const look = lookOptions(options)
  const ignored = [...look.ignore, ...readConfig(environment.root).ignore]
  const names = environment.kind === 'venv' ? pythonNames(environment) : []
  const found = whoLoads(environment, names, storeDirectory(look.env), ignored, look).scan()
  return {
    objects: found.objects.map(({ path, relative, kind, current, undo }) => {
      return { path, relative, kind, elf: current, patched: undo !== null }
    }),
    unreadable: found.unreadable,
  }
}

/** What the dynamic loader finds for one DT_NEEDED entry. */
export interface ResolvedNeeded {
  readonly soname: string
  /** The path of the file; null when none is found. */
  readonly provider: string | null
  readonly how: NeededHow
  /** The rule of the loader that decided; null if the object is not resolved. */
  readonly because: Because | null
}

export interface ResolvedFile {
  readonly path: string
  readonly relative: string
  readonly needed: readonly ResolvedNeeded[]
}

/**
 * Finds what the dynamic loader finds for the objects of an environment on disk. It knows the rules of glibc and musl, and
 * runs nothing.
 * @throws WheelfixError when the environment's Python is broken
 */
export function resolve(environment: Environment, options: LookOptions = {}): ResolvedFile[] {
  const examination = examine(environment, lookOptions(options))
  const { objects } = examination.scan
  const { input } = examination.resolution
  // a private loader that does not exist yet serves nothing
  const python = examination.loaderPending ? examination.python : input.python
  const states = new Map(objects.map(object => [object.identity, object.current]))
  const now = resolveObjects({ ...input, python }, states)
  return objects.map(object => ({
    path: object.path,
    relative: object.relative,
    needed: neededOf(object, now).map(({ soname, provider, how, resolution }) => {
      return { soname, provider, how, because: resolution?.because ?? null }
    }),
  }))
}

/**
 * Makes the plan for each object. The plan is plain data. This function changes nothing.
 * @throws WheelfixError when the environment's Python is broken, or a named library folder does not exist
 */
export function plan(environment: Environment, options: ApplyOptions = {}): Plan {
  return runVenv(environment, applyOptions(options, 'plan')).plan
}

/** The options of calls that write files. The configuration (`wheelfix.toml`) decides everything that is left out. */
export interface ApplyOptions extends LookOptions {
  /** Choose again the libraries that an earlier run chose. */
  readonly update?: boolean
  /** Write true hashes into RECORD instead of emptying them. */
  readonly rehash?: boolean
  /** Also patch the objects of editable installations outside the environment. */
  readonly editable?: boolean
  readonly strategy?: 'rpath' | 'loader' | 'both'
  /** Called while files are written. */
  readonly progress?: (done: number, total: number) => void
}

export interface ApplyReport {
  /** Each object and its result: `fine`, `patched`, or `refused` with the reason. */
  readonly objects: readonly Applied[]
  readonly unreadable: readonly UnreadableObject[]
  readonly missing: readonly MissingLibrary[]
  /** The warnings, as sentences. */
  readonly warnings: readonly string[]
}

/**
 * Patches an environment as `wheelfix venv` does. It takes the lock of the environment, completes an interrupted run, and
 * makes the plan again under the lock. So it never applies a plan that is out of date.
 * @throws WheelfixError when nothing could be done; an object that cannot be changed is reported instead
 */
export function apply(environment: Environment, options: ApplyOptions = {}): ApplyReport {
  const { outcomes, unreadable, missing, warnings } = runVenv(environment, applyOptions(options, 'apply'))
  return { objects: outcomes, unreadable, missing, warnings }
}

export interface RestoreOptions extends Surroundings {
  /** Only find out what a restore would do. */
  readonly dryRun?: boolean
  /** Also undo changes in the source trees of editable installations. */
  readonly editable?: boolean
}

/** Restores every file of an environment, byte for byte, and removes wheelfix's own files. @throws WheelfixError */
export function restore(environment: Environment, options: RestoreOptions = {}): RestoreReport {
  const { dryRun = false, editable = false } = options
  return restoreVenv(environment, { dryRun, editable, env: surroundings(options).env })
}

/** An ELF file: its path, its bytes, or anything that reads ranges of them. */
export type ElfFile = string | Uint8Array | ByteSource

/** Reads an ELF file as the loader sees it. @throws ElfError, and the errors of node:fs for a path */
export function readElf(file: ElfFile): ElfObject {
  return withElf(file, readSource)
}

/** The rules of the ELF specification and of the loaders that a file breaks; empty for a sound file. */
export function verifyElf(file: ElfFile): Violation[] {
  return withElf(file, verifySource)
}

export interface EditOptions {
  /** The path of the result. The default is the file itself. */
  readonly output?: string
  /** Only find out what would change. */
  readonly dryRun?: boolean
}

/**
 * Edits an ELF file as `wheelfix elf` does. Afterwards the file is either unchanged, or changed as asked and verified.
 * `wheelfix elf --restore` takes the change back.
 * @throws ElfError `REFUSED` when the edit is not safe; the errors of node:fs
 */
export function editElf(path: string, edit: ElfEdit, { output, dryRun = false }: EditOptions = {}): Rewrite {
  return rewriteObject(path, (_, state) => applyEdit(state, edit), { output: output ?? null, dryRun, env: process.env })
}

function withElf<T>(file: ElfFile, use: (source: ByteSource) => T): T {
  if (typeof file === 'string') return withSource(file, use)
  return use(file instanceof Uint8Array ? bytesSource(file) : file)
}

function surroundings({ env = process.env, cwd = process.cwd() }: Surroundings): Required<Surroundings> {
  return { env, cwd }
}

function lookOptions(options: LookOptions): VenvOptions {
  const { libs = [], noScan = false, trust = [], ignoreMissing = [], ignore = [] } = options
  return lookingOnly({ libs, noScan, trust, ignoreMissing, ignore, ...surroundings(options) })
}

function applyOptions(options: ApplyOptions, mode: VenvOptions['mode']): VenvOptions {
  const { update = false, rehash = false, editable = false, strategy = null, progress = () => {} } = options
  return { ...lookOptions(options), update, rehash, editable, strategy, progress, mode }
}

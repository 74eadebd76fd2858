// The public face of the library. The program's commands do the same work with the same functions; what is not exported
// here may change with every version. Only this file reads the process's own environment and working directory.
import { readConfig } from './config/config.ts'
import { readElf as readSource } from './elf/read.ts'
import type { ElfEdit } from './elf/edit/edit.ts'
import { type ByteSource, bytesSource } from './elf/source.ts'
import { applyEdit } from './elf/edit/state.ts'
import { verifyElf as verifySource, type Violation } from './elf/rules/verify.ts'
import type { ElfObject } from './elf/types.ts'
import { examine } from './environment/examine.ts'
import { lookingOnly, type VenvOptions } from './environment/options.ts'
import { restoreVenv, type RestoreReport } from './environment/restore-environment.ts'
import { runVenv } from './environment/run.ts'
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
import { findEnvironment as findKnown, findFolder } from './state/folders.ts'

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

/** The surroundings of a call; by default those of the process. */
export interface Surroundings {
  /** Environment variables: VIRTUAL_ENV, PATH, NIX_STORE_DIR … */
  readonly env?: NodeJS.ProcessEnv
  /** What relative paths are relative to. */
  readonly cwd?: string
}

export interface FindOptions extends Surroundings {
  /** The Python that loads the modules of a folder that is not a virtual environment. */
  readonly python?: string
  /** The program, not a Python, that loads the objects of such a folder. */
  readonly program?: string
}

/**
 * Finds what is patched as one.
 * @param folder a virtual environment, or a folder that wheelfix has patched; with `python` or `program` any folder or file.
 * Without it the environment that VIRTUAL_ENV names, else `.venv` in the working directory or above
 * @throws WheelfixError `VENV_NOT_FOUND`, `VENV_INVALID`, `PATH_REFUSED`, `PYTHON_NOT_FOUND`
 */
export function findEnvironment(folder?: string, options: FindOptions = {}): Environment {
  const { python = null, program = null } = options
  const { env, cwd } = surroundings(options)
  if (python === null && program === null) return findKnown(folder, env, cwd)
  return findFolder({ argument: folder ?? '.', python, program, stateHere: false, env, cwd })
}

/** What may be chosen where nothing is written. */
export interface LookOptions extends Surroundings {
  /** Library directories, store paths or NAME=DIR as for `--libs`. */
  readonly libs?: readonly string[]
  /** Do not look for libraries in the local Nix store. */
  readonly noScan?: boolean
  /** Packages of the store that are taken whoever put them there. */
  readonly trust?: readonly string[]
  /** Globs over sonames that are not reported as missing. */
  readonly ignoreMissing?: readonly string[]
  /** Globs over paths that are not looked at. */
  readonly ignore?: readonly string[]
}

/** An ELF object of an environment. */
export interface FoundObject {
  /** Absolute. */
  readonly path: string
  /** Relative to the environment's root. */
  readonly relative: string
  readonly kind: ObjectKind
  /** As the file stands. */
  readonly elf: ElfObject
  /** Whether wheelfix has changed it. */
  readonly patched: boolean
}

export interface Scan {
  readonly objects: readonly FoundObject[]
  /** Files with the magic of ELF that cannot be read, with the reason. */
  readonly unreadable: readonly UnreadableObject[]
}

/**
 * Finds the ELF objects of an environment, by their first bytes. The program headers of their `elf` are left out: a large
 * environment has thousands of objects (`readElf` reads those of one).
 * @throws WheelfixError where the environment's Python is broken
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
  /** The path of the file; null: none. */
  readonly provider: string | null
  readonly how: NeededHow
  /** The rule of the loader that decided; null where the object is not resolved at all. */
  readonly because: Because | null
}

export interface ResolvedFile {
  readonly path: string
  readonly relative: string
  readonly needed: readonly ResolvedNeeded[]
}

/**
 * Finds what the dynamic loader finds for the objects of an environment as they are on disk. It knows the rules of glibc and
 * musl, and runs nothing.
 * @throws WheelfixError where the environment's Python is broken
 */
export function resolve(environment: Environment, options: LookOptions = {}): ResolvedFile[] {
  const examination = examine(environment, lookOptions(options))
  const { objects } = examination.scan
  const { input } = examination.resolution
  // a private loader that is still to be made serves nothing yet
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
 * Makes the plan: what is to become of each object. It is plain data and changes nothing.
 * @throws WheelfixError where the environment's Python is broken, or a named library directory does not exist
 */
export function plan(environment: Environment, options: ApplyOptions = {}): Plan {
  return runVenv(environment, applyOptions(options, 'plan')).plan
}

/** What may be chosen where files are written; the configuration (`wheelfix.toml`) holds for what is left out. */
export interface ApplyOptions extends LookOptions {
  /** Choose again the libraries that an earlier run chose. */
  readonly update?: boolean
  /** Write true hashes into RECORD instead of emptying them. */
  readonly rehash?: boolean
  /** Patch also what editable installations have outside of the environment. */
  readonly editable?: boolean
  readonly strategy?: 'rpath' | 'loader' | 'both'
  /** Called while files are written. */
  readonly progress?: (done: number, total: number) => void
}

export interface ApplyReport {
  /** Each object and how it ended: `fine`, `patched`, or `refused` with the reason. */
  readonly objects: readonly Applied[]
  readonly unreadable: readonly UnreadableObject[]
  readonly missing: readonly MissingLibrary[]
  /** Sentences. */
  readonly warnings: readonly string[]
}

/**
 * Patches an environment as `wheelfix venv` does. It takes the environment's lock, completes a run that was interrupted and
 * makes the plan again under the lock, so that it never carries out a plan that is out of date.
 * @throws WheelfixError when nothing could be done; an object that cannot be changed is reported instead
 */
export function apply(environment: Environment, options: ApplyOptions = {}): ApplyReport {
  const { outcomes, unreadable, missing, warnings } = runVenv(environment, applyOptions(options, 'apply'))
  return { objects: outcomes, unreadable, missing, warnings }
}

export interface RestoreOptions extends Surroundings {
  /** Only find out what would be done. */
  readonly dryRun?: boolean
  /** Undo also what was changed in the source trees of editable installations. */
  readonly editable?: boolean
}

/** Gives every file of an environment back, byte for byte, and removes what wheelfix kept. @throws WheelfixError */
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

/** The rules of the ELF specification and of the loaders that a file breaks; none for a sound one. */
export function verifyElf(file: ElfFile): Violation[] {
  return withElf(file, verifySource)
}

export interface EditOptions {
  /** Where the result goes; without it the file itself is changed. */
  readonly output?: string
  /** Only find out what would change. */
  readonly dryRun?: boolean
}

/**
 * Edits an ELF file as `wheelfix elf` does: the file is as before, or as asked and verified. The change can be taken back by
 * `wheelfix elf --restore`.
 * @throws ElfError `REFUSED` where the edit is not safe; the errors of node:fs
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

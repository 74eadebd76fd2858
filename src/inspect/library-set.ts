// The library set in force, soname by soname: the file that serves it, its package and source, and what is missing. The
// choice is the same as in a run for a venv. Nothing is written.
import { existsSync } from 'node:fs'
import { directoryOf, fsPath } from '../io/path.ts'
import { isLibcFamily, type Libc } from '../ldso/libc.ts'
import { diskTree } from '../ldso/file-tree.ts'
import { type LibrarySource, type UsedLibrary } from '../nix/libset.ts'
import { type Policy, POLICIES } from '../nix/policies.ts'
import { parseStoreName, storeDirectory, storePathOf } from '../nix/store.ts'
import { findInterpreter } from '../python/interpreter.ts'
import type { PythonEnvironment } from '../python/environment.ts'
import { readConfig } from '../config/config.ts'
import { hintOf } from '../resolve/problems/hint.ts'
import { type MissingLibrary, missingLibraries } from '../resolve/problems/missing.ts'
import { chooseProvider } from '../resolve/providers.ts'
import { findByName, startPython } from '../resolve/python-process.ts'
import { examine } from '../environment/examine.ts'
import { lookingOnly } from '../environment/run-options.ts'
import { librarySources, type SourceOptions } from '../resolve/library-sources.ts'
import { trustWarnings } from '../resolve/trust-warnings.ts'

interface LibsOptions extends SourceOptions {
  /**
   * List only the sonames of this policy. null: those of all policies for the Python's libc, and those that the venv
   * needs.
   */
  readonly policy: Policy | null
}

/** One soname of the set. */
export interface LibraryRow {
  readonly soname: string
  /** The file that serves the soname; null when it is missing. */
  readonly path: string | null
  /** The name and version of its store path; null outside the store. */
  readonly package: string | null
  readonly version: string | null
  /**
   * `libc`: the interpreter's own C library, which no set may replace. `system`: a file outside the store that the
   * interpreter's loader finds by itself, as on Debian.
   */
  readonly source: LibrarySource | 'libc' | 'system' | null
  /** The venv takes the library from the set or the system, or lacks a library that counts. */
  readonly inUse: boolean
  /** What to do when the library is missing. */
  readonly hint: string | null
  /** Why better files of this name were not taken. */
  readonly passedOver: readonly string[]
}

export interface LibsReport {
  readonly venv: PythonEnvironment
  readonly python: { readonly version: string; readonly program: string; readonly libc: Libc }
  readonly rows: readonly LibraryRow[]
  readonly warnings: readonly string[]
}

/** @throws WheelfixError when nothing could be done: no Python, or a library directory that does not exist */
export function listLibrarySet(venv: PythonEnvironment, options: LibsOptions): LibsReport {
  const set = setOf(venv, options)
  const { python, sources } = set
  const { libc } = python
  const kind = libc.kind === 'musl' ? 'musl' : 'glibc'
  const policies = options.policy === null ? POLICIES.filter(policy => policy.libc === kind) : [options.policy]
  const needed = options.policy === null ? [...set.used.keys(), ...set.missing.keys()] : []
  const sonames = new Set([...policies.flatMap(({ libraries }) => libraries), ...needed])
  const rows = [...sonames].sort().map((soname): LibraryRow => {
    const row = (
      path: string | null,
      source: LibraryRow['source'],
      hint: string | null,
      passedOver: readonly string[] = [],
    ): LibraryRow => {
      const isTaken = source === 'system' ? set.providers.has(path) : set.used.has(soname)
      const inUse = isTaken || set.missing.get(soname)?.optional === false
      return { soname, path, ...packageColumns(path, sources.store), source, inUse, hint, passedOver }
    }
    const used = set.used.get(soname)
    if (used !== undefined) return row(used.path, used.source, null, set.clashes.get(soname))
    const missing = set.missing.get(soname)
    if (missing !== undefined) return row(null, null, missing.hint)
    if (isLibcFamily(soname, kind)) {
      const path = `${libc.dir}/${soname}`
      return existsSync(fsPath(path)) ? row(path, 'libc', null) : row(null, null, hintOf(soname, null, [], libc))
    }
    // wheelfix adds nothing for what the loader finds
    const found = findByName(soname, python)
    const path = found === null ? null : python.loader.tree.canonical(found)
    if (path !== null && storePathOf(path, sources.store) === null) return row(path, 'system', null)
    const { provider, clashes } = chooseProvider(soname, [], python, sources)
    if (provider !== null) return row(provider.path, provider.source, null, clashes)
    return row(null, null, hintOf(soname, null, clashes, libc))
  })
  const { version, program } = python.interpreter
  const warnings = [...new Set([...set.warnings, ...trustWarnings(sources.trust)])]
  return { venv, python: { version, program, libc }, rows, warnings }
}

/** What a venv takes and lacks, and where wheelfix looks for libraries. For a bare Python only the second is known. */
function setOf(venv: PythonEnvironment, options: LibsOptions) {
  const { env, cwd } = options
  if (existsSync(fsPath(`${venv.root}/pyvenv.cfg`))) {
    const examined = examine(venv, lookingOnly(options))
    const { plan, python, libraries, sources, warnings } = examined
    const missing = missingLibraries(plan, examined.ignored, python.libc, examined.distributions)
    return {
      python,
      sources,
      used: new Map(libraries.map(library => [library.soname, library])),
      missing: new Map(missing.map(item => [item.soname, item])),
      providers: new Set(plan.objects.flatMap(({ needed }) => needed.map(({ provider }) => provider))),
      clashes: new Map(plan.clashes.map(({ soname, reasons }) => [soname, reasons])),
      warnings,
    }
  }
  const store = storeDirectory(env)
  const python = startPython(findInterpreter(venv), diskTree(), store, env)
  const config = readConfig(`${cwd}/.venv`)
  const sonames = POLICIES.flatMap(({ libraries }) => libraries)
  const { named, sources } = librarySources(python, options, sonames, config)
  const none = {
    used: new Map<string, UsedLibrary>(),
    missing: new Map<string, MissingLibrary>(),
    providers: new Set<string | null>(),
    clashes: new Map<string, readonly string[]>(),
  }
  return { python, sources, ...none, warnings: named.warnings }
}

function packageColumns(path: string | null, store: string): Pick<LibraryRow, 'package' | 'version'> {
  const storePath = path === null ? null : storePathOf(path, store)
  const name = storePath === null ? null : parseStoreName(storePath.slice(store.length + 1))
  return { package: name?.name ?? null, version: name === null || name.version === '' ? null : name.version }
}

/**
 * The folders of the set, for an environment variable. Each folder comes once. The folders of libc are left out, because
 * nothing may replace libc, and so are those of the system, because the loader finds them by itself.
 */
export function librarySearchPath({ rows }: LibsReport): string[] {
  const served = rows.filter(({ source }) => source !== 'libc' && source !== 'system').flatMap(({ path }) => path ?? [])
  return [...new Set(served.map(path => directoryOf(path)))]
}

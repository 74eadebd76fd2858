// The plan of a venv's private loader, as data: its files, and the copies of Python that it starts. Writes nothing.
//
// musl has no cache. Its loader reads PREFIX/etc/ld-musl-ARCH.path, and takes PREFIX from PT_INTERP. So a link to the loader
// under wheelfix's own prefix is enough.
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { basename, dirname } from 'node:path'
import { ElfError } from '../elf/error.ts'
import { encodeText } from '../elf/text.ts'
import type { ElfObject } from '../elf/types.ts'
import { WheelfixError } from '../io/error.ts'
import { fsPath, realFolder, realPath, realPathOrNull } from '../io/path.ts'
import { readLoaderCache } from '../ldso/cache/cache.ts'
import type { Libc } from '../ldso/libc.ts'
import { makePrivateLoader, type PrivateLoader } from './ldso-copy.ts'
import { startProgram } from '../ldso/process.ts'
import { withLinks } from '../ldso/file-tree.ts'
import type { Interpreter } from '../python/interpreter.ts'
import type { Environment, Place } from '../python/environment.ts'
import { findLibraryTexts } from './find-library.ts'
import { cacheOf, type CacheContent, collectLibraries } from './library-cache.ts'
import { copiesOf, type PythonCopy, tryCopy } from './python-copy.ts'
import { ptInterpOf, type PythonName } from './python-names.ts'
import type { ProviderSources } from '../resolve/providers.ts'
import { onTree, type PythonProcess } from '../resolve/python-process.ts'

/** A file or link that belongs to the private loader. */
export type LoaderFile =
  | { readonly path: string; readonly bytes: Uint8Array; readonly mode: number }
  | { readonly path: string; readonly link: string }

/** The files that the private loader needs, as data. */
export interface LoaderPlan {
  /** The loader that the venv's programs name in PT_INTERP. */
  readonly loader: string
  /** The loader's cache; under musl the file with its search path. */
  readonly cache: string
  /** The loader's own folder: in the venv, or elsewhere when the path must be shorter. */
  readonly folder: string
  /** The venv's root. Files below it are made only while it exists. */
  readonly root: string
  readonly how: PrivateLoader['how'] | 'musl'
  readonly content: CacheContent
  /** The files, in the order of their writes. */
  readonly files: readonly LoaderFile[]
  readonly copies: readonly PythonCopy[]
  /** The interpreter as it will run, with this loader and these libraries. */
  readonly python: PythonProcess
  readonly warnings: readonly string[]
}

/** The folder of the private loader inside a venv. */
function ownFolder({ stateFolder }: Place): string {
  return `${realFolder(stateFolder)}/loader`
}

/**
 * The folder for a venv whose path is too long for the loader. A venv that already has such a folder keeps it, even if
 * XDG_CACHE_HOME has changed since. Otherwise the folder is always the same for this venv. null without a home folder.
 */
function shortFolder(venvRoot: string, names: readonly PythonName[], env: NodeJS.ProcessEnv): string | null {
  // a Python that is only planned has no folder yet
  const root = realPathOrNull(venvRoot) ?? realFolder(venvRoot)
  const place = `/wheelfix/${createHash('sha256').update(root).digest('hex').slice(0, 8)}`
  for (const { path, kind } of names) {
    const folder = kind === 'copy' ? dirname(ptInterpOf(path) ?? '') : ''
    if (folder.endsWith(place)) return folder
  }
  const home = env['HOME'] ?? ''
  const base = env['XDG_CACHE_HOME'] ?? (home === '' ? '' : `${home}/.cache`)
  return base.startsWith('/') ? base + place : null
}

/** All folders that may hold a private loader of this venv. `names` are its names before they are restored. */
export function loaderFolders(venv: Environment, names: readonly PythonName[], env: NodeJS.ProcessEnv): string[] {
  return [ownFolder(venv), shortFolder(venv.root, names, env)].filter(folder => folder !== null)
}

interface LoaderInput {
  readonly venv: Environment
  readonly names: readonly PythonName[]
  /** The base interpreter as it runs without wheelfix. */
  readonly python: PythonProcess
  readonly sources: ProviderSources
  /** Sonames to find by the scan of the store, each with the objects that need it. */
  readonly wanted: ReadonlyMap<string, readonly ElfObject[]>
  readonly env: NodeJS.ProcessEnv
}

/**
 * Decides what the private loader of a venv must be. Writes nothing.
 * @throws WheelfixError `LIBC_UNSUPPORTED` for a libc whose loader cannot be given libraries in this way,
 * `PYTHON_UNSUPPORTED` for an interpreter that cannot be edited
 */
export function planLoader(input: LoaderInput): LoaderPlan {
  const { venv, names, python, sources, wanted, env } = input
  const content = collectLibraries(python, sources, wanted)
  const folders = loaderFolders(venv, names, env)
  const planned =
    python.libc.kind === 'musl' ? planMusl(venv, python, content) : planGlibc(venv, python, content, folders)
  const copies = planCopies(names, python.interpreter, planned, folders)
  const texts = findLibraryTexts(content.libraries, python.interpreter.version)
  const finders = venv.sitePackages.slice(0, 1).flatMap(folder =>
    [...texts].map(([name, text]): LoaderFile => {
      return { path: `${folder}/${name}`, bytes: encodeText(text), mode: 0o644 }
    }),
  )
  return { ...planned, content, files: [...planned.files, ...finders], copies }
}

type Planned = Omit<LoaderPlan, 'content' | 'copies'>

function planCopies(
  names: readonly PythonName[],
  interpreter: Interpreter,
  { loader, folder }: Planned,
  folders: readonly string[],
): readonly PythonCopy[] {
  try {
    const hidden = [...new Set([folder, ...folders])].map(place => `${place}/${basename(interpreter.program)}`)
    const copies = copiesOf(names, interpreter, loader, hidden)
    for (const copy of copies) tryCopy(copy, interpreter.interp)
    return copies
  } catch (error) {
    if (!(error instanceof ElfError)) throw error
    throw new WheelfixError(
      'PYTHON_UNSUPPORTED',
      `${interpreter.program} cannot be given a private loader: ${error.message}; use wheelfix venv, which patches the ` +
        'wheels instead',
      interpreter.program,
    )
  }
}

function planGlibc(
  venv: Environment,
  python: PythonProcess,
  content: CacheContent,
  folders: readonly string[],
): Planned {
  const { libc } = python
  const original = readFileSync(fsPath(libc.ldso))
  const place = placeFor(original, libc, folders)
  const loader = `${place.folder}/${basename(libc.ldso)}`
  const { bytes, unreachable } = cacheOf(content, python)
  const warnings = unreachable.map(
    soname =>
      `${soname} cannot be served: the loader cannot tell its name from another library's, because it compares digits as numbers`,
  )
  if (place.folder !== ownFolder(venv)) {
    warnings.push(
      `the path of this environment is too long for the loader: its cache is in ${place.folder}, outside the environment`,
    )
  }
  return {
    loader,
    cache: place.cache,
    folder: place.folder,
    root: venv.root,
    how: place.made.how,
    files: [
      { path: place.cache, bytes, mode: 0o644 },
      { path: loader, bytes: place.made.bytes, mode: 0o755 },
    ],
    python: runBy(python, loader, place.cache, readLoaderCache(bytes)),
    warnings,
  }
}

/** The first folder whose path fits into the loader: the venv's own, or the short one. */
function placeFor(original: Uint8Array, libc: Libc, folders: readonly string[]) {
  let reason = ''
  for (const folder of folders) {
    const cache = `${folder}/ld.so.cache`
    try {
      return { folder, cache, made: makePrivateLoader(original, libc.version, cache) }
    } catch (error) {
      if (!(error instanceof ElfError)) throw error
      reason = error.message
    }
  }
  throw new WheelfixError(
    'LIBC_UNSUPPORTED',
    `no private loader can be made from ${libc.ldso}: ${reason}; use wheelfix venv, which patches the wheels instead`,
    libc.ldso,
  )
}

/** Plans a folder of links. musl's loader searches this one directory before its usual directories. */
function planMusl(venv: Environment, python: PythonProcess, content: CacheContent): Planned {
  const { libc } = python
  const folder = ownFolder(venv)
  const machine = /^ld-musl-(.+)\.so\.1$/.exec(basename(libc.ldso))?.[1]
  if (machine === undefined) {
    throw new WheelfixError(
      'LIBC_UNSUPPORTED',
      `${libc.ldso} is musl's loader under an unknown name; use wheelfix venv, which patches the wheels instead`,
      libc.ldso,
    )
  }
  const loader = `${folder}/lib/${basename(libc.ldso)}`
  const cache = `${folder}/etc/ld-musl-${machine}.path`
  const libs = `${folder}/libs`
  const directories = [libs, ...libc.builtinDirectories]
  const links = new Map(
    content.libraries.flatMap(({ soname, path, hwcapName }) => (hwcapName == null ? [[soname, path] as const] : [])),
  )
  return {
    loader,
    cache,
    folder,
    root: venv.root,
    how: 'musl',
    files: [
      ...[...links].map(([soname, path]) => ({ path: `${libs}/${soname}`, link: path })),
      { path: cache, bytes: Buffer.from(`${directories.join('\n')}\n`), mode: 0o644 },
      { path: loader, link: realPath(libc.ldso) },
    ],
    python: runBy(onTree(python, withLinks(python.loader.tree, libs, links)), loader, null, [], directories),
    warnings: [],
  }
}

/** The interpreter as the private loader starts it. */
function runBy(
  python: PythonProcess,
  path: string,
  cache: string | null,
  entries: ReturnType<typeof readLoaderCache>,
  builtinDirectories = python.libc.builtinDirectories,
): PythonProcess {
  const base = python.libc
  const libc: Libc = {
    kind: base.kind,
    version: base.version,
    dir: base.dir,
    ldso: base.ldso,
    builtinDirectories,
    cache,
    skipsOtherMachines: base.skipsOtherMachines,
    // reading this property may start a process
    get lib() {
      return base.lib
    },
    get startable() {
      return base.startable
    },
    get platform() {
      return base.platform
    },
    get hwcaps() {
      return base.hwcaps
    },
    get subdirectories() {
      return base.subdirectories
    },
    get legacyHwcaps() {
      return base.legacyHwcaps
    },
    nixLd: null,
  }
  const loader = { ...python.loader, libc, cache: entries, environment: [] }
  const object = { ...python.interpreter.object, ptInterp: path }
  const interpreter = { ...python.interpreter, object, interp: path }
  const process = startProgram(loader, interpreter.program, python.process.main.identity, object)
  const caller = process.maps.find(map => map.identity === python.caller.identity) ?? process.main
  return { ...python, interpreter, libc, loader, process, caller }
}

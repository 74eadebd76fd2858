// The packages of a NixOS-like world: what each one's output holds, made of the host's own files. Knows nothing of where
// the outputs stand: the same recipes fill a folder that plays the store and, run by nix-build, a real one.
import {
  chmodSync,
  constants,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { basename, join, relative } from 'node:path'
import { rebuildElf } from '../support/elf.ts'
import { replaceBuiltinDirectories } from './builtin.ts'
import { GLIBC_SONAME, glibcLibraries, traceLibraries, type Host } from './host.ts'

/** Where the packages' outputs are; those that a recipe depends on are already filled. */
export type Outputs = Readonly<Record<PackageName, string>>

export const PACKAGES = ['glibc', 'libgcc', 'gcc', 'zlib', 'pythonDeps', 'python'] as const
export type PackageName = (typeof PACKAGES)[number]

/** What differs between worlds. */
export interface Variant {
  /** Python's own RUNPATHs hold the compiler's lib folder, as nixpkgs' Python's do. */
  readonly compilerInClosure: boolean
}

/** Two short links that the loader's built-in search path names: to glibc's lib folder and to libgcc's. */
export interface BuiltinLinks {
  readonly glibc: string
  readonly libgcc: string
}

const COMPILER_LIBRARIES = ['libstdc++.so.6', 'libgcc_s.so.1', 'libatomic.so.1', 'libgomp.so.1', 'libquadmath.so.0']
const PROVIDED_ELSEWHERE = new Set([...COMPILER_LIBRARIES, 'libz.so.1'])
/** Modules that a server has no use for, and what only they would pull in. */
const LEFT_OUT_MODULES = /^(_tkinter|_test.*|_ctypes_test|xx.*)\./
const LEFT_OUT_FOLDERS =
  /^(test|tests|site-packages|dist-packages|config-.*|idlelib|tkinter|turtledemo|lib2to3|lib-dynload|sitecustomize\.py|EXTERNALLY-MANAGED)$/

/** How one package is made. */
interface Recipe {
  /** The folder's name in the store, behind the hash. */
  label(host: Host): string
  /** Fills its output. @throws Error with a reason a person can act on */
  install(outputs: Outputs, host: Host, links: BuiltinLinks, variant: Variant): void
}

/** In the order of their dependencies. */
export const RECIPES: Readonly<Record<PackageName, Recipe>> = {
  glibc: { label: host => `glibc-${host.libcVersion}`, install: installGlibc },
  libgcc: {
    label: () => 'xgcc-12.2.0-libgcc',
    install: ({ libgcc, glibc }, host) => installLibraries(libgcc, ['libgcc_s.so.1'], [glibc], host),
  },
  gcc: {
    label: () => 'gcc-12.2.0-lib',
    install: ({ gcc, glibc }, host) => installLibraries(gcc, COMPILER_LIBRARIES, [glibc], host),
  },
  zlib: {
    label: () => 'zlib-1.2.13',
    install: ({ zlib, glibc }, host) => installLibraries(zlib, ['libz.so.1'], [glibc], host),
  },
  pythonDeps: { label: host => `python3-${host.python.version}-deps`, install: installPythonDeps },
  python: { label: host => `python3-${host.python.version}`, install: installPython },
}

function installGlibc({ glibc }: Outputs, host: Host, links: BuiltinLinks): void {
  const lib = join(glibc, 'lib')
  mkdirSync(lib, { recursive: true })
  for (const path of glibcLibraries(host)) copy(path, join(lib, basename(path)))
  const loader = replaceBuiltinDirectories(readFileSync(host.loader), [`${links.glibc}/`, `${links.libgcc}/`])
  if (typeof loader === 'string') throw new Error(loader)
  writeFileSync(join(lib, basename(host.loader)), loader, { mode: 0o755 })
}

/** Copies the host's libraries of these sonames, as far as it has them, with a RUNPATH of their own folder and `needs`. */
function installLibraries(out: string, sonames: readonly string[], needs: readonly string[], host: Host): void {
  const found = traceLibraries(host, sonames)
  installFiles(
    out,
    new Map([...found].filter(([soname]) => sonames.includes(soname))),
    needs.map(need => join(need, 'lib')),
  )
}

function installFiles(out: string, files: ReadonlyMap<string, string>, runpath: readonly string[]): void {
  const lib = join(out, 'lib')
  mkdirSync(lib, { recursive: true })
  for (const [soname, path] of files) {
    const target = join(lib, soname)
    copy(path, target)
    rebuildElf(target, { searchPath: { tag: 'DT_RUNPATH', value: [lib, ...runpath].join(':') } })
  }
}

/** What Python itself links to beyond glibc, the compiler's libraries and zlib: ssl, ffi, sqlite … */
function installPythonDeps({ pythonDeps, zlib, gcc, glibc }: Outputs, host: Host): void {
  const wanted = [...traceLibraries(host, pythonModules(host))].filter(
    ([soname, path]) =>
      !GLIBC_SONAME.test(soname) &&
      !PROVIDED_ELSEWHERE.has(soname) &&
      !soname.startsWith('libpython') &&
      !path.startsWith(host.python.dynload),
  )
  installFiles(
    pythonDeps,
    new Map(wanted),
    [zlib, gcc, glibc].map(need => join(need, 'lib')),
  )
}

function installPython(outputs: Outputs, host: Host, _: BuiltinLinks, { compilerInClosure }: Variant): void {
  const { executable, prefix, stdlib, dynload, version } = host.python
  const out = outputs.python
  const needs = [outputs.pythonDeps, outputs.zlib, ...(compilerInClosure ? [outputs.gcc] : []), outputs.glibc]
  const runpath = [out, ...needs].map(need => join(need, 'lib')).join(':')
  const searchPath = { tag: 'DT_RUNPATH', value: runpath } as const
  const add = (from: string, to: string): void => {
    copy(from, to)
    rebuildElf(to, { searchPath })
  }

  mkdirSync(join(out, 'bin'), { recursive: true })
  mkdirSync(join(out, 'lib'), { recursive: true })
  const name = `python${version.split('.').slice(0, 2).join('.')}`
  copy(executable, join(out, 'bin', name))
  const interpreter = join(outputs.glibc, 'lib', basename(host.loader))
  rebuildElf(join(out, 'bin', name), { searchPath, interpreter })
  for (const link of ['python3', 'python']) symlinkSync(name, join(out, 'bin', link))

  for (const [soname, path] of traceLibraries(host, [])) {
    if (soname.startsWith('libpython')) add(path, join(out, 'lib', soname))
  }
  const library = join(out, relative(prefix, stdlib))
  copyTree(stdlib, library)
  mkdirSync(join(library, 'lib-dynload'))
  mkdirSync(join(library, 'site-packages'))
  for (const path of pythonModules(host)) add(path, join(out, relative(prefix, dynload), basename(path)))
}

/** Its own extension modules. */
export function pythonModules({ python }: Host): string[] {
  return readdirSync(python.dynload)
    .filter(name => name.endsWith('.so') && !LEFT_OUT_MODULES.test(name))
    .map(name => join(python.dynload, name))
}

/** Files and folders with their modes and times (a .pyc names its source's time), without the tests. */
export function copyTree(from: string, to: string): void {
  mkdirSync(to, { recursive: true })
  for (const entry of readdirSync(from, { withFileTypes: true })) {
    if (LEFT_OUT_FOLDERS.test(entry.name) || /\.opt-[12]\.pyc$/.test(entry.name)) continue
    const path = join(from, entry.name)
    if (entry.isDirectory()) copyTree(path, join(to, entry.name))
    else if (existsSync(path)) copy(path, join(to, entry.name))
  }
}

/** A private, writable copy with the times of the original (a link is followed). */
export function copy(from: string, to: string): void {
  copyFileSync(from, to, constants.COPYFILE_FICLONE)
  const { mode, atime, mtime } = statSync(from)
  chmodSync(to, mode | 0o200)
  utimesSync(to, atime, mtime)
}

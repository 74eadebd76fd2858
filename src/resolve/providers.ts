// Which file serves a soname. One file serves the whole venv: the first file of the library set that fits all its users.
import type { ElfObject } from '../elf/types.ts'
import { normalize } from 'node:path'
import { directoryOf, isInside } from '../io/path.ts'
import { isLibcFamily } from '../ldso/libc.ts'
import { fits } from '../ldso/fits.ts'
import { fork, lackingVersions, open } from '../ldso/process.ts'
import {
  candidateOf,
  type LibraryCandidate,
  type LibraryDirectory,
  type LibrarySource,
  type Pin,
} from '../nix/libset.ts'
import type { StoreTrust } from '../nix/trust/trust.ts'
import type { PythonProcess } from './python-process.ts'

/** The file that serves a soname. */
export interface Provider extends LibraryCandidate {
  readonly object: ElfObject
}

/** The answer for a soname. `clashes` gives the reason for each rejected file. */
export interface Choice {
  readonly provider: Provider | null
  readonly clashes: readonly string[]
  /** The entries of `clashes` about a file that the user named for this run. */
  readonly refused: readonly string[]
}

/** Why files of the right name were rejected for a soname. */
export interface Clash {
  readonly soname: string
  readonly reasons: readonly string[]
}

export interface ProviderSources {
  readonly directories: readonly LibraryDirectory[]
  readonly pins: ReadonlyMap<string, Pin>
  /**
   * Candidates of the store for a soname, best first. The scan comes last, and only for sonames that nothing else serves.
   */
  readonly scan: (soname: string) => readonly LibraryCandidate[]
  /** Which packages the scan may take. This also applies to pins that an earlier scan chose. */
  readonly trust: StoreTrust
  readonly store: string
}

/** A library that the user named for this run comes before the choice of an earlier run. All other sources come after it. */
const EXPLICIT: ReadonlySet<LibrarySource> = new Set(['flag', 'build', 'config', 'env'])

/** Chooses the file for a soname. `users` are the objects that need it. */
export function chooseProvider(
  soname: string,
  users: readonly ElfObject[],
  python: PythonProcess,
  sources: ProviderSources,
): Choice {
  const clashes: string[] = []
  const refused: string[] = []
  const passOver = ({ source }: Pick<LibraryCandidate, 'source'>, why: string): void => {
    clashes.push(why)
    if (EXPLICIT.has(source)) refused.push(why)
  }
  for (const directory of sources.directories) {
    if (directory.names.has(soname) && candidateIn(directory, soname, python, sources) === null) {
      passOver(directory, `${directory.given}/${soname} is in a folder that holds another C library`)
    }
  }
  let second: Provider | null = null
  for (const candidate of candidates(soname, python, sources)) {
    const object = python.loader.tree.open(candidate.path)?.object ?? null
    const clash = object === null ? `${candidate.path} is not an ELF file` : clashOf(candidate, object, python)
    if (object === null || clash !== null) {
      passOver(candidate, clash ?? '')
      continue
    }
    const reason = candidate.source === 'scan' ? sources.trust.reasonFor(candidate.path) : 'named'
    if (reason === null) {
      passOver(candidate, `${candidate.path}: ${sources.trust.refusalOf(candidate.path)}`)
      continue
    }
    const source = candidate.source === 'scan' && reason === 'named' ? 'trust' : candidate.source
    const provider: Provider = { ...candidate, source, object }
    const lacking = new Set(users.flatMap(user => lackingVersions(python.libc.kind, user, soname, object)))
    if (lacking.size === 0) return { provider, clashes, refused }
    passOver(candidate, `${candidate.path} lacks ${newest(lacking)}`)
    second ??= provider
  }
  return { provider: second, clashes, refused }
}

function* candidates(soname: string, python: PythonProcess, sources: ProviderSources): Generator<LibraryCandidate> {
  const holdsForeignLibc = (directory: string) => holdsLibcOfOthers(directory, python)
  const inDirectory = (directory: LibraryDirectory) => candidateIn(directory, soname, python, sources)
  for (const directory of sources.directories) {
    const candidate = EXPLICIT.has(directory.source) ? inDirectory(directory) : null
    if (candidate !== null) yield candidate
  }
  const pin = sources.pins.get(soname)
  // whoever can write the pins can write the objects too, so a pin's source is believed; only a plain store path is taken
  if (pin !== undefined && isInside(pin.path, sources.store) && normalize(pin.path) === pin.path) {
    yield { soname, path: pin.path, directory: directoryOf(pin.path), source: pin.source }
  }
  for (const directory of sources.directories) {
    const candidate = EXPLICIT.has(directory.source) ? null : inDirectory(directory)
    if (candidate !== null) yield candidate
  }
  for (const candidate of sources.scan(soname)) if (!holdsForeignLibc(candidate.directory)) yield candidate
}

function candidateIn(directory: LibraryDirectory, soname: string, python: PythonProcess, sources: ProviderSources) {
  return candidateOf(directory, soname, sources.store, folder => holdsLibcOfOthers(folder, python))
}

/**
 * The loader walks a search path before its built-in directories. A directory with the libresolv or libmvec of another libc
 * would put that library beside this libc. Symbol versions do not show the mistake, because every glibc defines
 * GLIBC_PRIVATE.
 */
function holdsLibcOfOthers(directory: string, python: PythonProcess): boolean {
  const names = python.loader.tree.names(directory)
  if (!names.has('libc.so.6') && !LIBC_SAMPLES.some(name => names.has(name))) return false
  return !python.libcDirectories.has(directoryOf(python.loader.tree.canonical(`${directory}/libc.so.6`)))
}

/** Libraries of glibc that a program does not map at its start. The loader would take a copy of them from a search path. */
const LIBC_SAMPLES = [
  'libresolv.so.2',
  'libmvec.so.1',
  'libanl.so.1',
  'libnss_files.so.2',
  'libnss_dns.so.2',
  'libm.so.6',
]

/** The reason why this interpreter cannot load the file; null when it can. */
function clashOf(candidate: LibraryCandidate, object: ElfObject, python: PythonProcess): string | null {
  if (!fits(object, python.interpreter.object)) return `${candidate.path} is for another machine`
  if (/\/stubs(?:\/|$)/.test(candidate.directory)) return `${candidate.path} is a stub for linking, not a library`
  const process = fork(python.process)
  open(process, python.caller, candidate.path, candidate.path, object)
  for (const map of process.maps) {
    for (const { soname, provider, lackingVersions } of map.needed) {
      const who = map.path === candidate.path ? candidate.path : `${candidate.path} (through ${map.path})`
      if (provider === null) return `${who} needs ${soname}, which is not found`
      if (lackingVersions.length > 0) {
        const libc = isLibcFamily(soname, python.libc.kind)
        const offer = libc
          ? `this Python has ${python.libc.kind} ${python.libc.version ?? ''}`.trim()
          : `${provider.path} lacks it`
        return `${who} needs ${newest(lackingVersions)}, but ${offer}`
      }
      if (isLibcFamily(soname, python.libc.kind) && !isOwnLibc(provider.path, python)) {
        return `${who} would load another libc's ${soname} (${provider.path})`
      }
    }
  }
  return null
}

function isOwnLibc(path: string, python: PythonProcess): boolean {
  return python.libcDirectories.has(directoryOf(python.loader.tree.canonical(path)))
}

/** The newest of some symbol versions: the one with the greatest numbers. */
export function newest(versions: Iterable<string>): string {
  const [first, ...rest] = [...versions]
  let best = first ?? ''
  for (const version of rest) if (compareSymbolVersions(version, best) > 0) best = version
  return best
}

function compareSymbolVersions(a: string, b: string): number {
  return a.localeCompare(b, 'en', { numeric: true })
}

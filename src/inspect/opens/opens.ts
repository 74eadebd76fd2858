// Findings about libraries that a package opens by name at run time, and that nothing finds. The names come from the
// package's Python code and from the strings of its objects, so this works for any package. A library that is bundled, found,
// or part of the C library is left out. So is a name that no package of nixpkgs has.
import { resolve } from 'node:path'
import type { Examination } from '../../environment/examine.ts'
import { readElf } from '../../elf/read.ts'
import { ElfError } from '../../elf/error.ts'
import { errnoOf } from '../../io/error.ts'
import { withSource } from '../../io/source.ts'
import { directoryOf, fileNameOf } from '../../io/path.ts'
import { agree, listed, shellWord } from '../../io/words.ts'
import { isLibcFamily } from '../../ldso/libc.ts'
import { isOfThisMachine } from '../../ldso/runnable.ts'
import { attributeFor, isDriverHint, knownSonames } from '../../nix/hints.ts'
import { isWithoutNix } from '../../nix/system-packages.ts'
import { hasPython } from '../../python/environment.ts'
import { isDriverLibrary } from '../../resolve/drivers.ts'
import { chooseProvider } from '../../resolve/providers.ts'
import { isFoundByName } from '../../resolve/python-process.ts'
import { findsByName, type SimulationInput } from '../../resolve/simulate.ts'
import type { ScannedObject } from '../../resolve/objects.ts'
import { pasteFor } from '../by-name.ts'
import type { Finding } from '../findings.ts'
import { type OpenedLibrary, openedBySources } from './sources.ts'
import { namesInStrings } from './strings.ts'

/** A library that is opened and not found. */
interface UnfoundLibrary {
  /** A soname that nixpkgs has: the soname that the package asks for, or another one of the same library. */
  readonly soname: string
  readonly file: string
}

/** @param now the objects as they are on disk */
export function opensByName(examination: Examination, now: SimulationInput, env: NodeJS.ProcessEnv): Finding[] {
  const { interpreter, scan, distributions, venv } = examination
  const isFound = makeIsFound(examination, now)
  const missing = new Map<string, UnfoundLibrary[]>()
  const found = new Map<string, Set<string>>()
  const note = (owner: string, names: readonly string[], file: string, isOpened = false): void => {
    if (isOpened || isFound(owner, names)) {
      found.set(owner, new Set([...(found.get(owner) ?? []), ...names.map(name => stemOf(name))]))
      return
    }
    const soname = names.some(name => OPTIONAL.test(stemOf(name))) ? null : wantedOf(names)
    // another finding is about the libraries that wheels of NVIDIA bring (variables/advice.ts)
    if (soname !== null && !isOfCuda(soname)) missing.set(owner, [...(missing.get(owner) ?? []), { soname, file }])
  }
  const canParse = hasPython(venv) && isOfThisMachine(interpreter.object)
  const sources = canParse ? openedBySources(venv, interpreter.executable, env) : []
  for (const { owner, file, names } of sources) note(owner, names.flatMap(fileNameFor), file)
  for (const object of scan.objects) {
    // Python never loads a program, and some programs are templates for other programs
    if (object.kind === 'executable') continue
    const names = stringsOf(object).filter(
      name => !object.current.needed.includes(name) && name !== object.current.soname && !LINKED_IN.test(stemOf(name)),
    )
    const owner = distributions.ownerOf(object.path)?.distribution.name ?? fileNameOf(object.path)
    for (const same of byStem(names)) {
      const isOpened = same.some(name => findsByName(object, name, now))
      note(owner, same, object.relative, isOpened)
    }
  }
  return [...missing].flatMap(([owner, items]) => {
    const needed = withoutAlternatives(items, found.get(owner) ?? new Set())
    return needed.length === 0 ? [] : [findingOf(owner, needed, examination, env)]
  })
}

/**
 * Packages also work without these libraries. They are other allocators and thread pools, tools that examine crashes, a
 * library for what the package can do by itself (SDL resamples), and an old driver for hardware that has a newer one (mfx).
 */
const OPTIONAL =
  /^(?:samplerate|mfx|numa|iomp5|gomp|omp|tbb|tbbmalloc(?:_proxy)?|tcmalloc|jemalloc|unwind|bfd|dw|elf|gcc_s)$/

function isOfCuda(soname: string): boolean {
  return attributeFor(soname)?.startsWith('cudaPackages') === true
}

/**
 * An object with a copy of this library linked in uses the copy of the process instead, if there is one (AWS's libraries in
 * pyarrow).
 */
const LINKED_IN = /^crypto$/

/**
 * Groups of kinds of libraries. A program needs one kind of a group, and tries the kinds in turn. The likeliest kind comes
 * first.
 */
const ALTERNATIVES: readonly (readonly RegExp[])[] = [
  // a window, on X11 or Wayland
  [/^(?:X|xcb)/, /^(?:wayland|decor)-/],
  // sound
  [/^pulse/, /^asound$/, /^pipewire-/, /^jack$/, /^sndio$/, /^openal$/],
  // USB devices
  [/^usb-1\.0$/, /^usb-0\.1$/],
]

/** The libraries that remain when one kind of each group is enough. */
function withoutAlternatives(items: readonly UnfoundLibrary[], found: ReadonlySet<string>): readonly UnfoundLibrary[] {
  let left = items
  for (const kinds of ALTERNATIVES) {
    const isOf = (kind: RegExp, { soname }: UnfoundLibrary) => kind.test(stemOf(soname))
    const isThere = kinds.some(
      kind => [...found].some(stem => kind.test(stem)) && !items.some(item => isOf(kind, item)),
    )
    const first = isThere ? undefined : kinds.find(kind => left.some(item => isOf(kind, item)))
    left = left.filter(item => !kinds.some(kind => kind !== first && isOf(kind, item)))
  }
  return left
}

/** The file name that a call looks for; empty for a name of another system, or for a path. */
function fileNameFor({ how, name }: OpenedLibrary['names'][number]): string[] {
  if (SONAME.test(name)) return [name]
  const isBare = how === 'find' && /^[A-Za-z][\w+.-]*$/.test(name) && !/\.(?:dll|dylib|framework|so)$/i.test(name)
  return isBare ? [`lib${name}.so`] : []
}

const SONAME = /^lib[\w+-][\w+.-]*\.so(?:\.\d+)*$/

/** `X11` of libX11.so.6. */
function stemOf(soname: string): string {
  return /^lib(.*?)\.so(?:\.|$)/.exec(soname)?.[1] ?? soname
}

/** Groups the names of one library: libX11.so.6 and libX11.so. */
function byStem(names: readonly string[]): string[][] {
  const groups = new Map<string, string[]>()
  for (const name of names) groups.set(stemOf(name), [...(groups.get(stemOf(name)) ?? []), name])
  return [...groups.values()]
}

/** The sonames in the hints, by their stem. */
function knownByStem(): ReadonlyMap<string, readonly string[]> {
  const known = new Map<string, string[]>()
  for (const soname of knownSonames()) known.set(stemOf(soname), [...(known.get(stemOf(soname)) ?? []), soname])
  return known
}

/** The soname to build. Any one of `names` is enough. null when no package of nixpkgs has any of them. */
function wantedOf(names: readonly string[]): string | null {
  const known = knownByStem()
  const all = [...names, ...names.flatMap(name => known.get(stemOf(name)) ?? [])]
  const first = all.find(name => attributeFor(name) !== null)
  if (first === undefined) return null
  // the newest of several versions: Chromium's strings name libudev.so.0 before libudev.so.1
  const same = names.filter(name => stemOf(name) === stemOf(first) && attributeFor(name) !== null)
  return same.toSorted((a, b) => b.localeCompare(a, 'en', { numeric: true }))[0] ?? first
}

/** Is one of these names found, brought by a distribution, or a library that no library set may serve? */
function makeIsFound({ scan, distributions }: Examination, { python }: SimulationInput) {
  const known = knownByStem()
  const cached = new Map<string, string[]>()
  for (const { soname } of python.loader.cache) {
    cached.set(stemOf(soname), [...(cached.get(stemOf(soname)) ?? []), soname])
  }
  const files = scan.objects.map(({ path }) => {
    return { name: fileNameOf(path), owner: distributions.ownerOf(path)?.distribution.name ?? '' }
  })
  const answers = new Map<string, boolean>()
  const isOpened = (name: string): boolean => {
    const answer = answers.get(name) ?? isFoundByName(name, python)
    answers.set(name, answer)
    return answer
  }
  return (owner: string, names: readonly string[]): boolean => {
    const stems = [...new Set(names.map(name => stemOf(name)))]
    const same = stems.flatMap(stem => [...(known.get(stem) ?? []), ...(cached.get(stem) ?? [])])
    const all = [...new Set([...names, ...same])]
    if (all.some(name => isLibcFamily(name, python.libc.kind === 'musl' ? 'musl' : 'glibc'))) return true
    if (all.some(name => isDriverLibrary(name) || isDriverHint(name))) return true
    if (files.some(file => stems.some(stem => isBundled(file, stem, owner)))) return true
    return all.some(name => isOpened(name))
  }
}

/**
 * auditwheel adds a hash to the names of libraries that it puts into a wheel, and only the wheel itself finds such a file.
 * The wheel's code then opens what its folder holds. The name in the code may have another ending (rtree: spatialindex_c for
 * libspatialindex).
 */
function isBundled(file: { readonly name: string; readonly owner: string }, stem: string, owner: string): boolean {
  const { name } = file
  const start = [`lib${stem}`, stem].find(beginning => name.startsWith(beginning))
  const rest = start === undefined ? null : name.slice(start.length)
  if (rest !== null && /^(?:\.|$)/.test(rest)) return true
  if (file.owner !== owner) return false
  const base = /^lib(.+)-[0-9a-f]{8}\.so/.exec(name)?.[1]
  return (rest !== null && /^[-_.\d]/.test(rest)) || (base !== undefined && stem.startsWith(`${base}_`))
}

function stringsOf({ path }: ScannedObject): string[] {
  try {
    return withSource(path, source => namesInStrings(source, readElf(source)))
  } catch (error) {
    if (error instanceof ElfError || errnoOf(error) !== undefined) return []
    throw error
  }
}

function findingOf(
  owner: string,
  items: readonly UnfoundLibrary[],
  { venv, python, sources, loader }: Examination,
  env: NodeJS.ProcessEnv,
): Finding {
  // one name for each package: libGL.so.1 stands for libEGL.so.1 and the other libraries of libGL
  const names = new Map<string, string>()
  for (const { soname } of items.toSorted(
    (a, b) => rank(a.soname) - rank(b.soname) || (a.soname < b.soname ? -1 : 1),
  )) {
    const attribute = attributeFor(soname) ?? soname
    if (!names.has(attribute)) names.set(attribute, soname)
  }
  const providers = [...names.values()].map(soname => {
    return { soname, path: chooseProvider(soname, [], python, sources).provider?.path ?? null }
  })
  const absent = providers.filter(({ path }) => path === null).map(({ soname }) => soname)
  const adding = pasteFor(absent, env)
  const files = [...new Set(items.map(({ file }) => file))]
  // the system's own loader finds its packages by name
  const isEnough = adding !== null && isWithoutNix(env)
  const steps = [
    ...(adding === null ? [] : [adding]),
    ...((loader === null || absent.length > 0) && !isEnough ? ['wheelfix loader'] : []),
  ]
  const [only] = providers
  const [file] = files
  // an object's own dlopen goes through the search path of the object
  const isObject = file !== undefined && files.length === 1 && !/\.pyc?$/.test(file)
  const path = isObject && providers.length === 1 && only?.path != null ? directoryOf(only.path) : null
  return {
    code: 'opens-by-name',
    severity: 'note',
    message: `${owner} opens ${listed([...names.values()], 6)} by name, and nothing finds ${agree(names.size, 'it', 'them')}`,
    remedy: [
      steps.join(' && '),
      ...(path === null
        ? []
        : [`or for this object alone: wheelfix elf --add-rpath ${path} ${shellWord(resolve(venv.root, file ?? ''))}`]),
    ].join('; '),
    paths: files,
  }
}

/** The best known library of a package comes first. */
function rank(soname: string): number {
  return /^lib(?:GL|X11|pulse|cairo|gobject-2\.0)\.so/.test(soname) ? 0 : 1
}

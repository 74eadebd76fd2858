// An environment and a Python that are nothing but objects in memory: for the rules of the resolution and of the plan, which
// ask no disk. What a real loader does with such objects is proven in test/ldso and test/e2e.
import { posix } from 'node:path'
import { EM_X86_64, ET_DYN, PF_X, PT_GNU_STACK } from '../../src/elf/constants.ts'
import type { ElfHeader, ElfObject } from '../../src/elf/types.ts'
import { directoryOf } from '../../src/io/path.ts'
import type { FileTree } from '../../src/ldso/file-tree.ts'
import type { Libc } from '../../src/ldso/libc.ts'
import { startProgram } from '../../src/ldso/process.ts'
import type { LibraryCandidate } from '../../src/nix/libset.ts'
import type { StoreTrust } from '../../src/nix/trust/trust.ts'
import type { ObjectKind, ScannedObject } from '../../src/resolve/objects.ts'
import { makePlan, type Plan, type PlannedObject } from '../../src/resolve/plan.ts'
import type { PythonProcess } from '../../src/resolve/python-process.ts'
import { resolve, type Resolution } from '../../src/resolve/resolution.ts'

const HEADER: ElfHeader = {
  class: 64,
  byteOrder: 'little',
  osabi: 0,
  abiVersion: 0,
  isCurrent: true,
  type: ET_DYN,
  machine: EM_X86_64,
  flags: 0,
  entry: 0n,
  phoff: 64,
  phnum: 0,
  shoff: 0,
  shnum: 0,
  shstrndx: 0,
}

/** A store of which every package may be taken: whom to trust is tested in test/nix. */
export const TRUSTING: StoreTrust = {
  reasonFor: () => 'single-user',
  expect: () => {},
  refusalOf: () => '',
  problem: () => null,
  passedOver: () => [],
  folders: [],
  absentSocket: null,
}

/** What a test says of an object; the rest is as in a library that needs nothing. */
export type Said = Partial<Omit<ElfObject, 'header'>> & { readonly header?: Partial<ElfHeader> }

export function elf({ header, ...said }: Said = {}): ElfObject {
  return {
    header: { ...HEADER, ...header },
    programHeaders: [],
    dynamic: [],
    ptInterp: null,
    soname: null,
    needed: [],
    rpath: null,
    runpath: null,
    flags1: 0n,
    filters: [],
    auxiliaries: [],
    versionNeeds: [],
    versionDefinitions: [],
    isMappable: true,
    baseVersion: null,
    ...said,
  }
}

export const GLIBC = '/nix/store/glibc/lib'
export const SITE = '/venv/site'

export interface MemoryWorld {
  /** Objects of the environment by their path below site-packages. */
  readonly objects: Readonly<Record<string, Said>>
  /** Objects anywhere else, by absolute path. */
  readonly files?: Readonly<Record<string, Said>>
  /** Directories that the loader searches last, besides glibc's. */
  readonly builtin?: readonly string[]
  /** The version of glibc. */
  readonly version?: string
  /** Which file of `files` the library set gives for a soname. */
  readonly set?: Readonly<Record<string, string>>
  /** The driver's library that an object opens by name, by the object's path below site-packages. */
  readonly opensDriver?: Readonly<Record<string, string>>
  /** The folder of the graphics driver. */
  readonly driver?: string
  /** False: wheels stay as they are, as under the private loader. */
  readonly searchPaths?: boolean
  /** What each distribution requires; an object belongs to the one that its first folder names. */
  readonly requires?: Readonly<Record<string, readonly string[]>>
}

export interface MemoryPlan {
  readonly plan: Plan
  readonly before: Resolution
  readonly after: Resolution
  /** The planned object at a path below site-packages. */
  readonly of: (path: string) => PlannedObject
}

/** Resolves and plans. Modules are named `….abi3.so`; everything else is a library. */
export function planOf(world: MemoryWorld): MemoryPlan {
  const tree = treeOf(world)
  const objects = Object.entries(world.objects).map(([path, said]) =>
    scanned(path, elf(said), world.opensDriver?.[path] ?? null),
  )
  const required = world.requires ?? {}
  const before = resolve({
    objects,
    python: pythonOn(tree, world.builtin ?? [], world.version ?? '2.40'),
    ownership: {
      owner: path => path.slice(SITE.length + 1).split('/')[0] ?? null,
      requires: name => new Set(required[name]),
      platforms: () => [],
    },
    everythingCounts: false,
    sharesFolder: true,
    bin: '/venv/bin',
    programInterpreter: null,
    nixLd: null,
    store: '/nix/store',
  })
  const candidates = (soname: string): LibraryCandidate[] => {
    const path = world.set?.[soname]
    return path === undefined ? [] : [{ soname, path, directory: directoryOf(path), source: 'scan' }]
  }
  const sources = { directories: [], pins: new Map(), scan: candidates, store: '/nix/store', trust: TRUSTING }
  const { plan, after } = makePlan(before, {
    sources,
    searchPaths: world.searchPaths ?? true,
    driver: world.driver ?? null,
  })
  return {
    plan,
    before,
    after,
    of(path) {
      const planned = plan.objects.find(({ relative }) => relative === path)
      if (planned === undefined) throw new Error(`no object ${path}`)
      return planned
    },
  }
}

function scanned(relative: string, object: ElfObject, opensDriver: string | null): ScannedObject {
  const kind: ObjectKind = relative.endsWith('.abi3.so') ? 'extension' : 'library'
  const path = `${SITE}/${relative}`
  return {
    path,
    relative,
    kind,
    status: { dev: 0n, ino: 0n, nlink: 1, size: 0, mode: 0o644 },
    identity: path,
    current: object,
    original: object,
    undo: null,
    owner: null,
    losesHeaders: false,
    executableStack: object.programHeaders.some(({ type, flags }) => type === PT_GNU_STACK && (flags & PF_X) !== 0),
    opens: [],
    opensDriver,
  }
}

export function treeOf({ objects, files = {} }: MemoryWorld): FileTree {
  const known = new Map<string, ElfObject>()
  for (const [path, said] of Object.entries(objects)) known.set(`${SITE}/${path}`, elf(said))
  for (const [path, said] of Object.entries(files)) known.set(path, elf(said))
  const libraries = ['libc.so.6', 'libm.so.6', 'libresolv.so.2', 'ld-linux-x86-64.so.2']
  for (const soname of libraries) known.set(`${GLIBC}/${soname}`, elf({ soname }))
  const names = new Map<string, Set<string>>()
  for (const path of known.keys()) {
    const folder = directoryOf(path)
    names.set(folder, (names.get(folder) ?? new Set()).add(posix.basename(path)))
  }
  const canonical = (path: string): string => posix.normalize(path)
  return {
    canonical,
    names: directory => names.get(canonical(directory)) ?? new Set(),
    open(path) {
      const real = canonical(path)
      const object = known.get(real)
      return object === undefined ? null : { identity: real, object }
    },
  }
}

/** A Python whose loader sees this tree. */
export function pythonOn(tree: FileTree, builtin: readonly string[], version = '2.40'): PythonProcess {
  const interp = `${GLIBC}/ld-linux-x86-64.so.2`
  const program = '/nix/store/python/bin/python3.11'
  const object = elf({ ptInterp: interp, needed: ['libc.so.6'] })
  const libc: Libc = {
    kind: 'glibc',
    version,
    dir: GLIBC,
    ldso: interp,
    startable: null,
    builtinDirectories: [GLIBC, ...builtin],
    cache: null,
    lib: 'lib',
    platform: 'x86_64',
    hwcaps: [],
    subdirectories: [],
    legacyHwcaps: null,
    skipsOtherMachines: false,
    nixLd: null,
  }
  const loader = { tree, libc, cache: [], environment: [] }
  const process = startProgram(loader, program, program, object)
  return {
    interpreter: {
      executable: '/venv/bin/python3',
      program,
      chain: [],
      version: '3.11.7',
      interp,
      object,
      extensionSuffixes: ['.abi3.so', '.so'],
    },
    libc,
    loader,
    process,
    caller: process.main,
    closure: [],
    libcDirectories: new Set([GLIBC]),
  }
}

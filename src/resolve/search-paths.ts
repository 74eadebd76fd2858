// The change of one object: its interpreter, and the new entries of its search path, with their tag and order. It
// follows from what the object wants and which files serve that.
import type { ElfEdit, SearchPath } from '../elf/edit/edit.ts'
import { withFields } from '../elf/read.ts'
import type { ElfObject } from '../elf/types.ts'
import { directoryOf } from '../io/path.ts'
import { canonicalDirectory, tagDirectories } from '../ldso/directories.ts'
import type { FileTree } from '../ldso/file-tree.ts'
import type { LibraryCandidate } from '../nix/libset.ts'
import { isDriverLibrary } from './drivers.ts'
import { entryTo, sharedDirectory, siblingDirectory } from './needed.ts'
import type { ScannedObject } from './objects.ts'
import { newPtInterp } from './programs.ts'
import type { Resolution, ResolveInput } from './resolution.ts'
import type { Simulation } from './simulate.ts'
import type { Serving } from './wants.ts'

/** The edit of the original object; null when none is needed. */
export function editOf(
  object: ScannedObject,
  wanted: readonly string[],
  serving: ReadonlyMap<string, Serving>,
  resolution: Resolution,
  driver: string | null,
): ElfEdit | null {
  const { input, simulation } = resolution
  const interpreter = newPtInterp(object, input)
  const additions = additionsFor(object, wanted, serving, input, driver)
  if (additions.length === 0) return interpreter === null ? null : { interpreter }
  const { rpath, runpath } = object.original
  const old = runpath ?? rpath ?? ''
  const inherited = inheritedFolders(object, additions, resolution)
  // an empty string is not a search path; otherwise every old entry stays in place, also the empty ones
  const value = [...(old === '' ? [] : old.split(':')), ...new Set([...inherited, ...additions])].join(':')
  const searchPath: SearchPath = { tag: tagOf(object, simulation), value }
  return interpreter === null ? { searchPath } : { searchPath, interpreter }
}

/**
 * An existing tag keeps its kind. A new tag is DT_RPATH when an object above has DT_RPATH: a DT_RUNPATH would cut the
 * object, and what it opens by dlopen, off from the inherited paths.
 */
function tagOf(object: ScannedObject, simulation: Simulation): SearchPath['tag'] {
  if (object.original.runpath !== null) return 'DT_RUNPATH'
  if (object.original.rpath !== null) return 'DT_RPATH'
  const chains = [simulation.alone.get(object.identity), ...(simulation.inRoots.get(object.identity) ?? [])]
  if (chains.some(chain => chain?.inheritsRpath === true)) return 'DT_RPATH'
  return 'DT_RUNPATH'
}

/**
 * The entries that serve what is wanted: first those within the environment, then those of the store in the order of most
 * use, then the driver's.
 */
function additionsFor(
  object: ScannedObject,
  wanted: readonly string[],
  serving: ReadonlyMap<string, Serving>,
  input: ResolveInput,
  driver: string | null,
): string[] {
  const own = new Set<string>()
  const providers: LibraryCandidate[] = []
  let wantsDriver = false
  for (const soname of wanted) {
    const sibling = siblingDirectory(object, soname, input)
    const provider = serving.get(soname)?.choice?.provider ?? null
    if (sibling !== null) own.add(sibling)
    else if (provider !== null) providers.push(provider)
    else if (isDriverLibrary(soname)) wantsDriver = true
    else {
      const shared = sharedDirectory(object, soname, input)
      if (shared !== null) own.add(shared)
    }
  }
  return [
    ...own,
    ...orderDirectories(providers, input.python.loader.tree),
    ...(wantsDriver && driver !== null ? [driver] : []),
  ]
}

/**
 * The entries that must come before the additions: the folders that the object inherits from the objects above it. The loader
 * searches them after the object's own entries, so an addition would come before them and could hide a library of the
 * wheel. Only folders of the object's own distribution are named, and only those that all objects above it agree on. A last
 * folder is left out if it serves nothing that the object needs and shares no name with an addition, because then its place
 * changes no answer.
 */
function inheritedFolders(
  object: ScannedObject,
  additions: readonly string[],
  { input, simulation }: Resolution,
): readonly string[] {
  const chains = (simulation.inRoots.get(object.identity) ?? []).filter(({ inherited }) => inherited.length > 0)
  const [first] = chains
  if (first === undefined) return NONE
  const { loader } = input.python
  const { path, original } = object
  const owner = input.ownership.owner(path)
  const directoriesOf = (state: ElfObject): string[] =>
    (['DT_RPATH', 'DT_RUNPATH'] as const).flatMap(tag =>
      tagDirectories(loader, { path, object: state }, tag).map(({ directory }) => directory),
    )
  const old = new Set(directoriesOf(original).map(directory => canonicalDirectory(directory, loader.tree)))
  const added = directoriesOf(withFields(original, { rpath: additions.join(':'), runpath: null }))
  const isOfUse = (directory: string): boolean => {
    const names = loader.tree.names(directory)
    if (original.needed.some(soname => names.has(soname))) return true
    return added.some(addition => [...loader.tree.names(addition)].some(name => names.has(name)))
  }
  const entries: string[] = []
  let used = 0
  for (const [index, directory] of first.inherited.entries()) {
    if (chains.some(({ inherited }) => inherited[index] !== directory)) break
    if (old.has(directory) || loader.tree.names(directory).size === 0) continue
    const folder = foldersOf(input).get(directory)
    if (folder?.owners.has(owner) !== true) break
    entries.push(entryTo(folder.path, object))
    if (isOfUse(directory)) used = entries.length
  }
  return entries.slice(0, used)
}

const NONE: readonly string[] = []

/** A folder with objects of the environment, and the distributions that own these. */
interface Folder {
  readonly path: string
  readonly owners: Set<string | null>
}

const folders = new WeakMap<readonly ScannedObject[], ReadonlyMap<string, Folder>>()

/** By canonical path. */
function foldersOf({ objects, ownership, python }: ResolveInput): ReadonlyMap<string, Folder> {
  const known = folders.get(objects)
  if (known !== undefined) return known
  const found = new Map<string, Folder>()
  for (const { path } of objects) {
    const directory = directoryOf(path)
    const real = canonicalDirectory(directory, python.loader.tree)
    const folder = found.get(real) ?? { path: directory, owners: new Set() }
    folder.owners.add(ownership.owner(path))
    found.set(real, folder)
  }
  folders.set(objects, found)
  return found
}

/**
 * The directories of the providers. A directory that serves more sonames comes first, but never before a directory that must
 * serve one of the same sonames.
 */
function orderDirectories(providers: readonly LibraryCandidate[], tree: FileTree): string[] {
  const uses = new Map<string, number>()
  for (const { directory } of providers) uses.set(directory, (uses.get(directory) ?? 0) + 1)
  const order = [...uses].sort(([a, m], [b, n]) => n - m || (a < b ? -1 : 1)).map(([directory]) => directory)
  // a directory that also holds a soname of another provider must come after that provider; each move settles one pair
  for (let moves = 0; moves < providers.length * order.length; moves++) {
    const wrong = providers.find(({ soname, directory, path }) => {
      const first = order.find(candidate => tree.names(candidate).has(soname)) ?? directory
      return first !== directory && tree.open(`${first}/${soname}`)?.identity !== tree.open(path)?.identity
    })
    if (wrong === undefined) break
    const first = order.findIndex(candidate => tree.names(candidate).has(wrong.soname))
    order.splice(order.indexOf(wrong.directory), 1)
    order.splice(first, 0, wrong.directory)
  }
  return order
}

/** The object as the loader will see it after the edit. */
export function edited(object: ElfObject, edit: ElfEdit): ElfObject {
  const { searchPath, interpreter } = edit
  const ptInterp = interpreter ?? object.ptInterp
  if (searchPath == null) return withFields(object, { ptInterp })
  return withFields(object, {
    ptInterp,
    rpath: searchPath.tag === 'DT_RPATH' ? searchPath.value : null,
    runpath: searchPath.tag === 'DT_RUNPATH' ? searchPath.value : null,
  })
}

// The pipeline of a venv over a wheel: scan → resolve → plan → apply, as if the wheel (and those that it is to be
// installed with) were unpacked into a venv of the given Python. The result is a new archive; nothing else is written.
import { posix } from 'node:path'
import { ElfError } from '../elf/error.ts'
import { layersOf } from '../elf/graft/layers.ts'
import { regraft } from '../elf/graft/regraft.ts'
import type { Undo } from '../elf/graft/undo-note.ts'
import type { ByteSource } from '../elf/source.ts'
import { applyEdit, stateOf } from '../elf/edit/state.ts'
import type { ElfObject } from '../elf/types.ts'
import { isPlanned, ownerOf } from '../elf/graft/owners.ts'
import { isDriverLibrary, NIXOS_DRIVER } from '../resolve/drivers.ts'
import { type Applied, makePlan, type Plan, type PlannedObject } from '../resolve/plan.ts'
import { type Ownership, resolve } from '../resolve/resolution.ts'
import type { ProviderSources } from '../resolve/providers.ts'
import type { ResolvedObject } from '../resolve/needed.ts'
import { onTree, type PythonProcess } from '../resolve/python-process.ts'
import { isBroken, readObject, type ScannedObject, type UnreadableObject } from '../resolve/objects.ts'
import { matchesPath } from '../io/glob.ts'
import { directoryOf, fileNameOf, isInside, relativeTo } from '../io/path.ts'
import type { Libc } from '../ldso/libc.ts'
import type { FileTree, OpenedFile } from '../ldso/file-tree.ts'
import { hashHolds, type RecordFields, sizeOf } from '../python/record.ts'
import { type Contents, openContents } from '../zip/content.ts'
import {
  installedPath,
  type Installation,
  pretendInstallation,
  readDistribution,
  type WheelDistribution,
} from './distribution.ts'
import { type Archive, openArchive, refusal, type WheelEntry } from '../zip/read.ts'
import type { Range } from '../zip/splice.ts'
import { installedTree } from './wheel-tree.ts'

/** A wheel whose structure and contents have been checked; the caller closes it. */
export interface Wheel {
  readonly archive: Archive
  readonly distribution: WheelDistribution
  readonly objects: readonly WheelObject[]
  readonly unreadable: readonly UnreadableObject[]
  readonly installation: Installation
  close(): void
}

/** One ELF object of a wheel. */
interface WheelObject {
  readonly entry: WheelEntry
  readonly source: ByteSource
  readonly object: ScannedObject
}

/** What the wheel is for. */
export interface WheelContext {
  /** Started over the disk. */
  readonly python: PythonProcess
  readonly sources: ProviderSources
  /** As in a plan. */
  readonly programInterpreter: string | null
  readonly nixLd: Libc | null
}

/** What a wheel is read for. */
interface WheelReading {
  readonly context: WheelContext
  /** Globs of entries that are not looked at. */
  readonly ignoredPaths: readonly string[]
}

/** The new contents of one entry. */
export interface NewContent {
  readonly source: ByteSource
  /** The fields that its row of RECORD is to have; without them the true ones. */
  readonly fields?: RecordFields
  /** Where the entry's bytes differ, where they are the first ones of the new contents but for that. */
  readonly changes?: readonly Range[]
  /** Where they differ from what the entry's bytes begin with. */
  readonly undone?: readonly Range[]
}

/** One object and what becomes of it: `content` is null where it stays as it is. */
export interface WheelOutcome extends Applied {
  readonly entry: WheelEntry
  readonly content: NewContent | null
  /** The hash of its row in RECORD, where that is of an unknown algorithm. */
  readonly unchecked: string | null
}

export interface WheelPlan {
  readonly plan: Plan
  readonly outcomes: readonly WheelOutcome[]
  /** Sonames that another package (or the graphics driver) is to bring. */
  readonly expected: ReadonlySet<string>
}

let opened = 0

/**
 * Opens a wheel: every entry is read once and checked.
 * @param scratchFolder has room for the unpacked objects
 * @throws WheelfixError `WHEEL_INVALID`, `IO`
 */
export async function openWheel(
  path: string,
  { context: { python }, ignoredPaths }: WheelReading,
  scratchFolder: string,
  onProgress?: (bytes: number) => void,
): Promise<Wheel> {
  const archive = await openArchive(path)
  let contents: Contents | undefined
  const close = (): void => {
    contents?.close()
    archive.close()
  }
  try {
    const distribution = readDistribution(archive)
    contents = await openContents(archive, scratchFolder, onProgress)
    const installation = pretendInstallation(python.interpreter.version)
    const number = (opened += 1)
    const objects: WheelObject[] = []
    const unreadable: UnreadableObject[] = []
    const suffixes = suffixesOf(archive, python)
    for (const [entry, source] of contents.objects) {
      if (ignoredPaths.some(glob => matchesPath(entry.name, glob))) continue
      const at = installedPath(entry.name, distribution.dataFolder, installation)
      try {
        const isRecorded = (): boolean => distribution.record.rows.has(entry.name)
        const read = readObject(source, fileNameOf(entry.name), suffixes, isRecorded)
        if (read === null) continue
        const ino = objects.length
        const status = { dev: 0n, ino: BigInt(ino), nlink: 1, size: source.size, mode: entry.mode }
        const identity = `wheel:${number}:${ino}`
        objects.push({ entry, source, object: { path: at, relative: entry.name, ...read, status, identity } })
      } catch (error) {
        if (!(error instanceof ElfError)) throw error
        unreadable.push({ path: at, relative: entry.name, reason: error.message, broken: isBroken(error) })
      }
    }
    return { archive, distribution, objects, unreadable, installation, close }
  } catch (error) {
    close()
    throw error
  }
}

/** The interpreter's endings of extension modules, and those of the Python that the wheel is for, if that is another. */
function suffixesOf(archive: Archive, python: PythonProcess): readonly string[] {
  const own = new Set<string>()
  for (const { name } of archive.entries) {
    const suffix = /\.(?:cpython-[\w-]+|pypy[\w-]+|abi3t?(?:-[\w-]+)?)\.so$/.exec(name)?.[0]
    if (suffix !== undefined) own.add(suffix)
  }
  return [...new Set([...own, ...python.interpreter.extensionSuffixes])]
}

/** Makes the plan for a wheel that is to be installed together with `siblings`, which are planned alike but not written. */
export function planWheel(wheel: Wheel, siblings: readonly Wheel[], context: WheelContext): WheelPlan {
  const together = [wheel, ...siblings]
  const { installation } = wheel
  const tree = treeOf(together, context.python.loader.tree)
  const before = resolve({
    objects: together.flatMap(({ objects }) => objects.map(({ object }) => object)),
    python: onTree(context.python, tree),
    ownership: ownershipOf(together),
    everythingCounts: false,
    bin: installation.bin,
    store: context.sources.store,
    programInterpreter: context.programInterpreter,
    nixLd: context.nixLd,
  })
  const { plan } = makePlan(before, {
    sources: context.sources,
    searchPaths: true,
    // not asked of this machine: a wheel is made for others, and has the same bytes wherever it is made
    driver: NIXOS_DRIVER,
  })
  const byIdentity = new Map(wheel.objects.map(object => [object.object.identity, object]))
  const outcomes: WheelOutcome[] = []
  for (const planned of plan.objects) {
    const own = byIdentity.get(planned.identity)
    if (own !== undefined) outcomes.push(outcomeOf(wheel, own, planned))
  }
  return { plan, outcomes, expected: expectedOf(outcomes, byIdentity, tree, installation) }
}

function treeOf(wheels: readonly Wheel[], disk: FileTree): FileTree {
  const files = new Map<string, OpenedFile>()
  let root = ''
  for (const { archive, distribution, objects, installation } of wheels) {
    root = installation.root
    for (const entry of archive.entries) {
      const path = installedPath(entry.name, distribution.dataFolder, installation)
      if (!entry.directory && !files.has(path)) files.set(path, { identity: `entry:${path}`, object: null })
    }
    for (const { object } of objects) files.set(object.path, { identity: object.identity, object: object.original })
  }
  return installedTree(disk, root, files)
}

function ownershipOf(wheels: readonly Wheel[]): Ownership {
  const owners = new Map<string, string>()
  const requires = new Map<string, ReadonlySet<string>>()
  for (const { distribution, objects } of wheels) {
    for (const { object } of objects) owners.set(object.path, distribution.name)
    requires.set(distribution.name, distribution.requires)
  }
  return { owner: path => owners.get(path) ?? null, requires: name => requires.get(name) ?? new Set() }
}

function outcomeOf(wheel: Wheel, own: WheelObject, planned: PlannedObject): WheelOutcome {
  const { entry } = own
  if (planned.change === null) {
    return { entry, planned, status: 'fine', reason: null, content: null, unchecked: null }
  }
  const unchecked = checkRecord(wheel, own)
  try {
    return { entry, planned, status: 'patch', reason: null, content: edited(wheel, own, planned), unchecked }
  } catch (error) {
    if (!(error instanceof ElfError)) throw error
    return { entry, planned, status: 'refused', reason: error.message, content: null, unchecked }
  }
}

/** The new bytes of an object: a graft onto the original, or the original again. @throws ElfError */
function edited(wheel: Wheel, { entry, source, object }: WheelObject, { edit }: PlannedObject): NewContent {
  const { undo } = object
  const fields = wheel.distribution.record.rows.get(entry.name)
  const record = undo === null ? (fields === undefined ? null : `${fields.hash},${fields.size}`) : undo.record
  const isOwn = (layer: Undo): boolean => isPlanned(ownerOf(layer, () => fields !== undefined))
  const wanted = edit === null ? null : (base: ElfObject) => applyEdit(stateOf(base), edit)
  const options = { owner: 'wheel', ...(record === null ? {} : { record }) } as const
  const { edit: graft, after } = regraft(layersOf(source, isOwn), wanted, options)
  if (undo !== null || graft === null || graft.baseSize !== source.size) return { source: after }
  const patches = graft.patches.map(({ offset, bytes }) => ({ offset, length: bytes.length }))
  return { source: after, changes: [{ offset: 0, length: graft.header.length }, ...patches] }
}

/**
 * New hashes must not hide that the old ones were wrong already.
 * @returns the hash that cannot be checked, if there is one
 * @throws WheelfixError `WHEEL_INVALID`
 */
function checkRecord({ archive, distribution }: Wheel, { entry, source }: WheelObject): string | null {
  const { rows, disagreeing } = distribution.record
  const fields = rows.get(entry.name)
  if (fields === undefined) return null
  const all = disagreeing.get(entry.name) ?? [fields]
  const fault = (what: string) => refusal(archive.path, `the entry ${JSON.stringify(entry.name)} ${what}`)
  const holds = (row: RecordFields): boolean => {
    const size = sizeOf(row)
    return (size === null || size === source.size) && hashHolds(row, source) !== false
  }
  if (!all.every(holds))
    throw fault(all.length === 1 ? 'is not the file that RECORD lists' : 'has several rows in RECORD that disagree')
  return all.find(row => hashHolds(row, source) === null)?.hash ?? null
}

/** Gives a path of the pretended installation as the entry that an installer puts there; other paths stay. */
export function entryNames({ objects, installation }: Wheel): (path: string) => string {
  const { root, sitePackages } = installation
  const names = new Map(objects.map(({ object }) => [object.path, object.relative]))
  return path => names.get(path) ?? relativeTo(root, relativeTo(sitePackages, path))
}

/** The wheel's objects, each with what the plan says of its needed. */
export function resolvedOf({ objects }: Wheel, planned: readonly PlannedObject[]): ResolvedObject[] {
  const known = new Map(planned.map(({ identity, needed }) => [identity, needed]))
  return objects.map(({ object }) => ({ object, needed: known.get(object.identity) ?? [] }))
}

/**
 * Sonames that others bring: those of the driver, and what is missing where each object that misses it searches a folder
 * that the wheels do not have.
 */
function expectedOf(
  outcomes: readonly WheelOutcome[],
  objects: ReadonlyMap<string, WheelObject>,
  tree: FileTree,
  installation: Installation,
): Set<string> {
  const expected = new Set<string>()
  const not = new Set<string>()
  for (const { planned } of outcomes) {
    const original = objects.get(planned.identity)?.object.original
    const folder = directoryOf(planned.path)
    const elsewhere = (original?.runpath ?? original?.rpath ?? '').split(':').some(entry => {
      const match = /^\$(?:ORIGIN|\{ORIGIN\})(\/.*)?$/.exec(entry)
      if (match === null) return false
      const directory = `${folder}${match[1] ?? ''}`
      return tree.names(directory).size === 0 && isInside(posix.normalize(directory), installation.sitePackages)
    })
    for (const soname of planned.missing) (elsewhere || isDriverLibrary(soname) ? expected : not).add(soname)
  }
  for (const soname of not) expected.delete(soname)
  return expected
}

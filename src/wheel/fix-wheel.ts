// Runs the steps for a venv on a wheel: scan → resolve → plan → apply. The wheel, and the wheels installed with it, are
// treated as if they were unpacked into a venv of the given Python. The result is a new archive; nothing else is
// written.
import { posix } from 'node:path'
import { ElfError } from '../elf/error.ts'
import { layersIn } from '../elf/graft/layers.ts'
import { regraft } from '../elf/graft/regraft.ts'
import { originalSource, type Undo } from '../elf/graft/undo-note.ts'
import { readElf, withoutTables } from '../elf/read.ts'
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
import { digestOf } from '../io/hash.ts'
import { parseUndo, undoText } from '../io/program-undo.ts'
import { matchesPath } from '../io/glob.ts'
import { directoryOf, fileNameOf, isInside, relativeTo } from '../io/path.ts'
import type { Libc } from '../ldso/libc.ts'
import type { FileTree, OpenedFile } from '../ldso/file-tree.ts'
import { hashHolds, type RecordFields, sizeOf } from '../python/record.ts'
import { type Contents, openContents } from '../zip/entry-contents.ts'
import {
  installedPath,
  type Installation,
  pretendInstallation,
  readDistribution,
  type WheelDistribution,
} from './distribution.ts'
import { type Archive, openArchive, refusal, type WheelEntry } from '../zip/read.ts'
import type { Range } from '../zip/splice.ts'
import { fitsNote, type ProgramUndo, readArchiveNote } from './archive-note.ts'
import { installedTree } from './wheel-tree.ts'

/** A wheel with checked structure and contents; the caller closes it. */
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

/** The Python and the libraries that wheels are planned for. */
export interface WheelContext {
  /** Simulated with the files of the disk. */
  readonly python: PythonProcess
  readonly sources: ProviderSources
  /** The same value as in a plan. */
  readonly programInterpreter: string | null
  readonly nixLd: Libc | null
}

/** How a wheel is read. */
interface WheelReading {
  readonly context: WheelContext
  /** Globs of entries that are not examined. */
  readonly ignoredPaths: readonly string[]
}

/** The new contents of one entry. */
export interface NewContent {
  readonly source: ByteSource
  /** The fields of its row in RECORD; without them the correct ones are computed. */
  readonly fields?: RecordFields
  /**
   * Where the beginning of the new contents differs from the entry's bytes. Undefined if the new contents are not made
   * from these bytes.
   */
  readonly changes?: readonly Range[]
  /** Where the contents differ from the beginning of the entry's bytes. */
  readonly undone?: readonly Range[]
  /** The undo of a program that was edited in place. */
  readonly program?: ProgramUndo
}

/** One object and its result: `content` is null where the object does not change. */
export interface WheelOutcome extends Applied {
  readonly entry: WheelEntry
  readonly content: NewContent | null
  /** The hash in its row of RECORD, if its algorithm is unknown. */
  readonly unchecked: string | null
}

export interface WheelPlan {
  readonly plan: Plan
  readonly outcomes: readonly WheelOutcome[]
  /** Sonames that another package (or the graphics driver) must bring. */
  readonly expected: ReadonlySet<string>
}

let opened = 0

/**
 * Opens a wheel: reads and checks every entry once.
 * @param scratchFolder must have room for the unpacked objects
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
    const programs = readArchiveNote(archive.ending).note?.programs ?? []
    for (const [entry, source] of contents.objects) {
      if (ignoredPaths.some(glob => matchesPath(entry.name, glob))) continue
      const at = installedPath(entry.name, distribution.dataFolder, installation)
      try {
        const isRecorded = (): boolean => distribution.record.rows.has(entry.name)
        const read = readObject(source, fileNameOf(entry.name), { suffixes, isRecorded, driver: true })
        if (read === null) continue
        const ino = objects.length
        const status = { dev: 0n, ino: BigInt(ino), nlink: 1, size: source.size, mode: entry.mode }
        const identity = `wheel:${number}:${ino}`
        const object = { path: at, relative: entry.name, ...read, status, identity }
        objects.push({ entry, source, object: { ...object, ...keptIn(programs, source, object) } })
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

/** What the archive's note says of a program that was edited in place. @throws ElfError */
function keptIn(
  programs: readonly ProgramUndo[],
  source: ByteSource,
  { kind, owner }: ScannedObject,
): Partial<ScannedObject> {
  if (programs.length === 0 || kind !== 'executable' || owner !== null) return {}
  const digest = digestOf(source, 'sha256', 'hex')
  const known = programs.find(({ sha256 }) => sha256 === digest)
  const undo = known === undefined ? null : parseUndo(known.text, source, 'wheel')
  if (undo === null) return {}
  return { undo, owner: 'wheel', kept: true, original: withoutTables(readElf(originalSource(source, undo))) }
}

/**
 * The suffixes of extension modules for the interpreter, and for the Python that the wheel is built for, if that is
 * another Python.
 */
function suffixesOf(archive: Archive, python: PythonProcess): readonly string[] {
  const own = new Set<string>()
  for (const { name } of archive.entries) {
    const suffix = /\.(?:cpython-[\w-]+|pypy[\w-]+|abi3t?(?:-[\w-]+)?)\.so$/.exec(name)?.[0]
    if (suffix !== undefined) own.add(suffix)
  }
  return [...new Set([...own, ...python.interpreter.extensionSuffixes])]
}

/** Plans a wheel that will be installed together with `siblings`, which are planned in the same way but not written. */
export function planWheel(wheel: Wheel, siblings: readonly Wheel[], context: WheelContext): WheelPlan {
  const together = [wheel, ...siblings]
  const { installation } = wheel
  const tree = treeOf(together, context.python.loader.tree)
  const before = resolve({
    objects: together.flatMap(({ objects }) => objects.map(({ object }) => object)),
    python: onTree(context.python, tree),
    ownership: ownershipIn(together),
    everythingCounts: false,
    sharesFolder: false,
    bin: installation.bin,
    store: context.sources.store,
    programInterpreter: context.programInterpreter,
    nixLd: context.nixLd,
  })
  const { plan } = makePlan(before, {
    sources: context.sources,
    searchPaths: true,
    // not taken from this machine: a wheel is made for other machines, and has the same bytes wherever it is made
    driver: NIXOS_DRIVER,
  })
  const byIdentity = new Map(wheel.objects.map(object => [object.object.identity, object]))
  const outcomes: WheelOutcome[] = []
  const { note, comment } = readArchiveNote(wheel.archive.ending)
  // the undos that the new note holds: those of earlier runs, until their programs change again, and those of this run
  let held = note?.programs ?? []
  for (const planned of plan.objects) {
    const own = byIdentity.get(planned.identity)
    if (own === undefined) continue
    const others = withoutOne(held, own)
    const outcome = wheelOutcome(wheel, own, planned, program => fitsNote([...others, program], comment))
    const made = outcome.content?.program
    if (outcome.content !== null) held = made === undefined ? others : [...others, made]
    outcomes.push(outcome)
  }
  return { plan, outcomes, expected: expectedOf(outcomes, byIdentity, tree, installation) }
}

/** The undos without the undo of this object. A copy of the object has its own. */
function withoutOne(programs: readonly ProgramUndo[], { source, object }: WheelObject): readonly ProgramUndo[] {
  if (object.kept !== true) return programs
  const digest = digestOf(source, 'sha256', 'hex')
  const at = programs.findIndex(({ sha256 }) => sha256 === digest)
  return programs.filter((_, index) => index !== at)
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

function ownershipIn(wheels: readonly Wheel[]): Ownership {
  const owners = new Map<string, string>()
  const requires = new Map<string, ReadonlySet<string>>()
  const platforms = new Map<string, readonly string[]>()
  for (const { distribution, objects } of wheels) {
    for (const { object } of objects) owners.set(object.path, distribution.name)
    requires.set(distribution.name, distribution.requires)
    platforms.set(
      distribution.name,
      distribution.tags.map(({ platform }) => platform),
    )
  }
  return {
    owner: path => owners.get(path) ?? null,
    requires: name => requires.get(name) ?? new Set(),
    platforms: name => platforms.get(name) ?? [],
  }
}

/** Has the archive's note room for this undo? */
type NoteTakes = (program: ProgramUndo) => boolean

function wheelOutcome(wheel: Wheel, own: WheelObject, planned: PlannedObject, takes: NoteTakes): WheelOutcome {
  const { entry } = own
  if (planned.change === null) {
    return { entry, planned, status: 'fine', reason: null, content: null, unchecked: null }
  }
  const unchecked = checkRecord(wheel, own)
  try {
    return { entry, planned, status: 'patch', reason: null, content: newContent(wheel, own, planned, takes), unchecked }
  } catch (error) {
    if (!(error instanceof ElfError)) throw error
    return { entry, planned, status: 'refused', reason: error.message, content: null, unchecked }
  }
}

/**
 * The new bytes of an object: the original with an edit, or the original again. A program is edited in place where the
 * edit fits: other tools use programs as templates, and a payload after a program must not move. The archive's note then
 * holds the undo.
 * @throws ElfError
 */
function newContent(
  wheel: Wheel,
  { entry, source, object }: WheelObject,
  { edit }: PlannedObject,
  takes: NoteTakes,
): NewContent {
  const { undo } = object
  const fields = wheel.distribution.record.rows.get(entry.name)
  const record = undo === null ? (fields === undefined ? null : `${fields.hash},${fields.size}`) : undo.record
  const isOwn = (layer: Undo): boolean => isPlanned(ownerOf(layer, () => fields !== undefined))
  const layers = layersIn(source, isOwn, object.kept === true ? undo : null)
  const wanted = edit === null ? null : (base: ElfObject) => applyEdit(stateOf(base), edit)
  const options = { owner: 'wheel', ...(record === null ? {} : { record }) } as const
  const made = regraft(layers, wanted, { ...options, inPlace: object.kind === 'executable' })
  const [place] = made.inPlace
  const program =
    place === undefined
      ? null
      : { sha256: digestOf(made.after, 'sha256', 'hex'), text: undoText(place.base, place.edit, place.record) }
  const isKept = program !== null && takes(program)
  const { edit: graft, after } = program === null || isKept ? made : regraft(layers, wanted, options)
  if (undo !== null || graft === null || graft.baseSize !== source.size)
    return { source: after, ...(isKept && { program }) }
  const patches = graft.patches.map(({ offset, bytes }) => ({ offset, length: bytes.length }))
  const changes = [{ offset: 0, length: graft.header.length }, ...patches]
  return { source: after, changes, ...(isKept && { program }) }
}

/**
 * Checks the hash of an object in RECORD, because a new hash would hide that the old one was wrong.
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

/** Turns a path of the pretended installation into the name of its entry; other paths do not change. */
export function entryNames({ objects, installation }: Wheel): (path: string) => string {
  const { root, sitePackages } = installation
  const names = new Map(objects.map(({ object }) => [object.path, object.relative]))
  return path => names.get(path) ?? relativeTo(root, relativeTo(sitePackages, path))
}

/** The wheel's objects, each with the plan's results for its needed. */
export function resolvedOf({ objects }: Wheel, planned: readonly PlannedObject[]): ResolvedObject[] {
  const known = new Map(planned.map(({ identity, needed }) => [identity, needed]))
  return objects.map(({ object }) => ({ object, needed: known.get(object.identity) ?? [] }))
}

/**
 * Sonames that other packages must bring. These are the sonames of the driver. A missing soname is one too, if every
 * object that misses it searches a folder that no wheel contains.
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

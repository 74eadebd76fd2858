// One ELF object of an environment: what a loader sees in it now, and what it was before wheelfix changed it.
import { DF_1_PIE, DT_STRTAB, ET_DYN, ET_EXEC, PT_LOAD } from '../elf/constants.ts'
import { ElfError } from '../elf/error.ts'
import { type Headers, readHeaders } from '../elf/headers.ts'
import { SMALLEST_PAGE } from '../elf/machine.ts'
import { isDebugFile } from '../elf/tables/sections.ts'
import { type DlopenFeature, dlopenFeatures, readNotes } from '../elf/tables/notes.ts'
import { readElf, withoutTables } from '../elf/read.ts'
import type { ByteSource } from '../elf/source.ts'
import { definesSymbol } from '../elf/tables/symbols.ts'
import { wantsExecutableStack } from '../elf/kind.ts'
import type { ElfObject } from '../elf/types.ts'
import { joined, layersOf } from '../elf/graft/layers.ts'
import { isPlanned, ownerOf } from '../elf/graft/owners.ts'
import { type Owner, readUndo, type Undo } from '../elf/graft/undo-note.ts'
import { zeroedTable } from '../elf/rules/table-lookup.ts'
import type { FileStatus } from '../io/source.ts'
import { openedDriverLibrary } from './drivers.ts'

/** Python imports an extension module by name. A library is linked to, or something else loads it. */
export type ObjectKind = 'extension' | 'library' | 'executable'

/** One ELF object of the venv. */
export interface ScannedObject {
  readonly path: string
  /** Path relative to the venv's root. */
  readonly relative: string
  readonly kind: ObjectKind
  readonly status: FileStatus
  /** Device and inode. The loader compares files in the same way. */
  readonly identity: string
  /** The object as the file is now, without its tables (elf/read.ts). `original` has no tables either. */
  readonly current: ElfObject
  /**
   * The object before `wheelfix venv` changed it. (A change by `wheelfix elf` counts as the object's own state.) Every plan
   * starts from the original, so that a plan never depends on an earlier plan.
   */
  readonly original: ElfObject
  readonly undo: Undo | null
  /** The undo is in the state folder, not in the file. */
  readonly kept?: true
  /** The owner of the topmost graft; null when the file has no valid graft. */
  readonly owner: Owner | null
  /**
   * Whether the loader zeroes the program headers of the current file. If so, no exception can cross the object
   * (elf/rules/table-lookup.ts).
   */
  readonly losesHeaders: boolean
  /** The object asks the loader for an executable stack. */
  readonly executableStack: boolean
  /** The libraries that the object declares to open by name (.note.dlopen). */
  readonly opens: readonly DlopenFeature[]
  /** A library of the graphics driver that the object opens by name; null without one, and where nobody asked. */
  readonly opensDriver: string | null
}

/** A file that cannot be read, or a file with the ELF magic but invalid tables. */
export interface UnreadableObject {
  readonly path: string
  readonly relative: string
  readonly reason: string
  /** No loader would load the file, or the file is not meant for a loader. Nothing is lost when it stays as it is. */
  readonly broken: boolean
}

/**
 * Would every loader refuse this file too? The ELF core reads what loaders read before they map anything else. So a table
 * that is cut off or holds nonsense fails in a loader as well. A loader may still load a file that is only too large for the
 * core (`UNSUPPORTED`).
 */
export function isBroken({ code }: ElfError): boolean {
  return code === 'NOT_ELF' || code === 'TRUNCATED' || code === 'MALFORMED'
}

/**
 * @throws ElfError `TRUNCATED` when whole pages of a PT_LOAD lie after the end of the file. A process that touches these
 * pages dies of SIGBUS.
 */
function assertWhole({ programHeaders }: ElfObject, size: number): void {
  const end = Math.ceil(size / SMALLEST_PAGE) * SMALLEST_PAGE
  for (const { type, offset, filesz } of programHeaders) {
    if (type !== PT_LOAD || filesz === 0 || offset + filesz <= end) continue
    throw new ElfError(
      'TRUNCATED',
      `the file ends at ${size}, but its segments end at ${offset + filesz}`,
      offset,
      filesz,
    )
  }
}

/** The object; null for the debug information of one. @throws ElfError */
function readLoadable(source: ByteSource, headers: Headers): ElfObject | null {
  try {
    const object = readElf(source, headers)
    const { dynamic, ptInterp } = object
    const isOdd = dynamic?.some(({ tag }) => tag === DT_STRTAB) !== true || ptInterp?.startsWith('/') === false
    if (isOdd && isDebugFile(source, headers)) return null
    assertWhole(object, source.size)
    return object
  } catch (error) {
    if (error instanceof ElfError && isDebugFile(source, headers)) return null
    throw error
  }
}

/** What `readObject` looks for beside the tables. */
export interface ReadOptions {
  /** The suffixes of extension modules, the bare `.so` last. */
  readonly suffixes: readonly string[]
  /** Does a RECORD list the file? Called only when an earlier version changed the file. */
  readonly isRecorded: () => boolean
  /** Search the constants for libraries of the graphics driver. It costs a look at all constants of objects that call dlopen. */
  readonly driver: boolean
}

/**
 * Reads what wheelfix needs to know of an object called `name`; null when no loader loads it (a relocatable or core file, or the
 * debug information of another file).
 * @throws ElfError
 */
export function readObject(
  source: ByteSource,
  name: string,
  { suffixes, isRecorded, driver }: ReadOptions,
): Omit<ScannedObject, 'path' | 'relative' | 'status' | 'identity' | 'kept'> | null {
  const headers = readHeaders(source)
  const { type } = headers.header
  if (type !== ET_DYN && type !== ET_EXEC) return null
  const current = readLoadable(source, headers)
  if (current === null) return null
  const top = current.dynamic === null ? null : readUndo(source, current)
  const owner = top === null ? null : ownerOf(top, isRecorded)
  const isOwn = (layer: Undo): boolean => isPlanned(ownerOf(layer, isRecorded))
  const layers = owner === null || !isPlanned(owner) ? null : layersOf(source, isOwn)
  const undo = layers === null ? null : joined(layers.own)
  const originalBytes = layers?.base ?? source
  const original = layers === null ? current : readElf(originalBytes)
  const kept = withoutTables(current)
  return {
    kind: kindOf(originalBytes, original, name, suffixes),
    current: kept,
    original: original === current ? kept : withoutTables(original),
    undo,
    owner,
    losesHeaders: zeroedTable(current) !== null,
    executableStack: wantsExecutableStack(current),
    opens: dlopenFeatures(readNotes(originalBytes, original)),
    opensDriver: driver ? openedDriverLibrary(originalBytes, original) : null,
  }
}

function kindOf(source: ByteSource, object: ElfObject, name: string, suffixes: readonly string[]): ObjectKind {
  if (object.header.type === ET_EXEC || (object.flags1 & DF_1_PIE) !== 0n) return 'executable'
  // old linkers did not mark programs; a library that also runs (`.interp` in its source) has the name of a library
  if (object.ptInterp !== null && object.soname === null && !/\.so(?:\.\d+)*$/.test(name)) return 'executable'
  const suffix = suffixes.find(suffix => name.endsWith(suffix))
  if (suffix === undefined) return 'library'
  if (suffix !== '.so') return 'extension'
  // a bare name.so is a module only with its init function (CPython Python/importdl.c); names that are not ASCII use
  // punycode
  const stem = name.slice(0, -suffix.length)
  return /^\w+$/.test(stem) && definesSymbol(source, object, `PyInit_${stem}`) ? 'extension' : 'library'
}

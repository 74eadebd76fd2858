// One ELF object of an environment as it was read: what a loader sees of it now, and what it was before wheelfix changed it.
import { DF_1_PIE, ET_DYN, ET_EXEC, PT_LOAD } from '../elf/constants.ts'
import { ElfError } from '../elf/error.ts'
import { readHeaders } from '../elf/headers.ts'
import { SMALLEST_PAGE } from '../elf/machine.ts'
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

/** An extension module can be imported by name; a library is linked to or loaded by something else. */
export type ObjectKind = 'extension' | 'library' | 'executable'

/** One ELF object of the venv. */
export interface ScannedObject {
  readonly path: string
  /** Relative to the venv's root. */
  readonly relative: string
  readonly kind: ObjectKind
  readonly status: FileStatus
  /** Device and inode, as the loader compares files. */
  readonly identity: string
  /** As the file stands, without its tables (elf/read.ts); so is `original`. */
  readonly current: ElfObject
  /**
   * As it was before `wheelfix venv` changed it (what `wheelfix elf` changed is the object's own state): what every plan
   * starts from, so that a plan never depends on an earlier one.
   */
  readonly original: ElfObject
  readonly undo: Undo | null
  /** The undo is kept in the state folder, not in the file. */
  readonly kept?: true
  /** Whose the topmost graft is; null where there is none that holds. */
  readonly owner: Owner | null
  /** Whether the loader zeroes its program headers as it stands, so that no exception can cross it (elf/rules/table-lookup.ts). */
  readonly losesHeaders: boolean
  /** It asks the loader for an executable stack. */
  readonly executableStack: boolean
  /** What it says of itself that it opens by name (.note.dlopen). */
  readonly opens: readonly DlopenFeature[]
}

/** A file that cannot be read, or whose magic says ELF while its tables do not hold. */
export interface UnreadableObject {
  readonly path: string
  readonly relative: string
  readonly reason: string
  /** No loader would load it, or it is for none at all: nothing is lost when it stays as it is. */
  readonly broken: boolean
}

/**
 * Is a file that cannot be read one that no loader would load? What the core reads is what loaders read before they map
 * anything else, so that a table that is cut off or holds nonsense fails there too. What is only too large for the core
 * (`UNSUPPORTED`) may well load.
 */
export function isBroken({ code }: ElfError): boolean {
  return code === 'NOT_ELF' || code === 'TRUNCATED' || code === 'MALFORMED'
}

/**
 * @throws ElfError `TRUNCATED` where whole pages of a PT_LOAD are behind the end of the file: who touches them dies of SIGBUS
 */
function assertWhole({ programHeaders }: ElfObject, size: number): void {
  const end = Math.ceil(size / SMALLEST_PAGE) * SMALLEST_PAGE
  for (const { type, offset, filesz } of programHeaders) {
    if (type !== PT_LOAD || filesz === 0 || offset + filesz <= end) continue
    throw new ElfError('TRUNCATED', `the file ends at ${size}, its segments at ${offset + filesz}`, offset, filesz)
  }
}

/**
 * Reads what is to be known of an object called `name`; null when no loader loads it (a relocatable or core file).
 * @param isRecorded does a RECORD speak of the file? Asked where an earlier version changed it
 * @throws ElfError
 */
export function readObject(
  source: ByteSource,
  name: string,
  suffixes: readonly string[],
  isRecorded: () => boolean,
): Pick<
  ScannedObject,
  'kind' | 'current' | 'original' | 'undo' | 'owner' | 'losesHeaders' | 'executableStack' | 'opens'
> | null {
  const { header } = readHeaders(source)
  if (header.type !== ET_DYN && header.type !== ET_EXEC) return null
  const current = readElf(source)
  assertWhole(current, source.size)
  const top = current.dynamic === null ? null : readUndo(source, current)
  const owner = top === null ? null : ownerOf(top, isRecorded)
  const isOwn = (layer: Undo): boolean => isPlanned(ownerOf(layer, isRecorded))
  const layers = owner === null || !isPlanned(owner) ? null : layersOf(source, isOwn)
  const undo = layers === null ? null : joined(layers.own)
  const originalBytes = layers?.base ?? source
  const original = layers === null ? current : readElf(originalBytes)
  return {
    kind: kindOf(originalBytes, original, name, suffixes),
    current: withoutTables(current),
    original: withoutTables(original),
    undo,
    owner,
    losesHeaders: zeroedTable(current) !== null,
    executableStack: wantsExecutableStack(current),
    opens: dlopenFeatures(readNotes(originalBytes, original)),
  }
}

function kindOf(source: ByteSource, object: ElfObject, name: string, suffixes: readonly string[]): ObjectKind {
  if (object.header.type === ET_EXEC || (object.flags1 & DF_1_PIE) !== 0n) return 'executable'
  if (object.ptInterp !== null && object.soname === null) return 'executable'
  const suffix = suffixes.find(suffix => name.endsWith(suffix))
  if (suffix === undefined) return 'library'
  if (suffix !== '.so') return 'extension'
  // a bare name.so is a module only with its init function (CPython Python/importdl.c); names that are not ASCII are punycoded
  const stem = name.slice(0, -suffix.length)
  return /^\w+$/.test(stem) && definesSymbol(source, object, `PyInit_${stem}`) ? 'extension' : 'library'
}

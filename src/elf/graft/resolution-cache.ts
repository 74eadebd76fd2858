// The resolution cache of patchelf 0.19 (`--build-resolution-cache`): a note that says where the object's needed libraries
// are. A loader with that patch of nixpkgs believes the note before the search path. So an edit of the search path or of
// the needed libraries drops the note, as patchelf does, and overwrites it, because it holds store paths.
import { PT_NOTE, PT_NULL, SHT_NOTE, SHT_PROGBITS } from '../constants.ts'
import { ElfError } from '../error.ts'
import { changedFields, type ElfState, stateOf } from '../edit/state.ts'
import type { Patch } from '../overlay.ts'
import type { ByteSource } from '../source.ts'
import { notePlaces } from '../tables/notes.ts'
import { findSection, growSections, sectionNumber, type SectionTable, setSection } from '../tables/sections.ts'
import type { ElfObject, ProgramHeader } from '../types.ts'

const OWNER = 'NixOS'
const NT_NIXOS_LD_CACHE = 0x63a86cb6
/** The undo note of a graft keeps the bytes. A real cache has some hundred. */
const MOST_BYTES = 1 << 19
/** n_namesz and n_descsz. A reader needs them to find the next note. */
const SIZES_BYTES = 8

export interface DroppedCache {
  /** The zeros that overwrite the notes. */
  readonly patches: readonly Patch[]
  /** The indexes of the PT_NOTEs that held nothing else. */
  readonly segments: ReadonlySet<number>
  /** The sections that held nothing else are plain data now; null where the object has no sections. */
  readonly sections: SectionTable | null
  /** The indexes of those sections. */
  readonly changed: readonly number[]
}

const NOTHING = { patches: [], segments: new Set<number>(), changed: [] } as const

/**
 * What an edit has to drop: nothing where it changes neither search path nor needed libraries.
 * @throws ElfError `REFUSED` for a note that is too large to be kept for the undo
 */
export function droppedCache(
  source: ByteSource,
  object: ElfObject,
  sections: SectionTable | null,
  wanted: ElfState,
): DroppedCache {
  const changes = changedFields(stateOf(object), wanted)
  const isStale = changes.some(field => field === 'rpath' || field === 'runpath' || field === 'needed')
  const notes = isStale ? cachesOf(source, object) : []
  if (notes.length === 0) return { ...NOTHING, sections }
  const patches: Patch[] = []
  const segments = new Set<number>()
  const changed: number[] = []
  const table = sections === null ? null : growSections(sections, 0)
  for (const { segment, offset, length, isAlone } of notes) {
    if (length > MOST_BYTES) throw new ElfError('REFUSED', `cannot be edited: its resolution cache has ${length} bytes`)
    const kept = isAlone ? 0 : SIZES_BYTES
    patches.push({ offset: offset + kept, bytes: new Uint8Array(length - kept) })
    if (!isAlone) continue
    segments.add(segment)
    const section = table === null ? -1 : sectionOf(table, offset, length)
    if (table === null || section < 0) continue
    changed.push(section)
    // without its first letter, patchelf does not take the name for that of a cache
    const name = sectionNumber(table, section, 'name')
    setSection(table, section, { type: SHT_PROGBITS, ...(isNamed(source, table, name) ? { name: name + 1 } : {}) })
  }
  return { patches, segments, sections: table, changed }
}

/** The notes of an object that are such a cache. */
function cachesOf(source: ByteSource, object: ElfObject) {
  const places = [...notePlaces(source, object)]
  return places
    .filter(({ owner, type }) => owner === OWNER && type === NT_NIXOS_LD_CACHE)
    .map(({ segment, offset, length }) => {
      const { filesz = 0 } = object.programHeaders[segment] ?? {}
      return { segment, offset, length, isAlone: length === filesz }
    })
}

function sectionOf(table: SectionTable, offset: number, length: number): number {
  return findSection(
    table,
    index =>
      sectionNumber(table, index, 'type') === SHT_NOTE &&
      sectionNumber(table, index, 'offset') === offset &&
      sectionNumber(table, index, 'size') === length,
  )
}

function isNamed(source: ByteSource, table: SectionTable, name: number): boolean {
  if (table.namesIndex >= table.count) return false
  const at = sectionNumber(table, table.namesIndex, 'offset') + name
  return at < source.size && source.read(at, 1)[0] === '.'.charCodeAt(0)
}

/** The program headers without the dropped ones, each of which becomes a PT_NULL. */
export function withoutCache(programHeaders: readonly ProgramHeader[], { segments }: DroppedCache): ProgramHeader[] {
  return programHeaders.map((header, index) => (segments.has(index) ? UNUSED : header))
}

const UNUSED = {
  type: PT_NULL,
  flags: 0,
  offset: 0,
  vaddr: 0n,
  paddr: 0n,
  filesz: 0,
  memsz: 0n,
  align: 0n,
} as const satisfies ProgramHeader

/** Does the object have such a cache? */
export function hasResolutionCache(source: ByteSource, object: ElfObject): boolean {
  return object.programHeaders.some(({ type }) => type === PT_NOTE) && cachesOf(source, object).length > 0
}

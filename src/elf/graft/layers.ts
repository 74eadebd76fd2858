// The grafts of a file as layers: `wheelfix elf` may have edited it first, `wheelfix venv` afterwards. Each takes back what
// is its own and leaves the rest, byte for byte.
import type { ByteSource } from '../source.ts'
import { originalSource, type Owner, readUndo, type Undo } from './undo-note.ts'
import type { Patch } from '../overlay.ts'

/** A graft on top of a file. */
export interface Layer {
  readonly undo: Undo
  /** The file with this graft. */
  readonly source: ByteSource
}

export interface Layers {
  /** What others put on top of one's own, the topmost first; each names its owner. */
  readonly above: readonly Layer[]
  /** One's own, the topmost first: more than one only where something went wrong. */
  readonly own: readonly Layer[]
  /** The file without either. */
  readonly base: ByteSource
}

/** Each owner has one. */
const MOST_LAYERS = 8

/**
 * Takes a file apart.
 * @param isOwn whose layers are to be found
 * @param lifted the owner of a layer of others which may be taken off and put on again, on top of one's own; else null
 * @param kept the undo of an edit in place, which has left no note in the file
 * @throws ElfError `REFUSED` for a note of a later version
 */
export function layersOf(
  source: ByteSource,
  isOwn: (undo: Undo) => boolean,
  lifted: (undo: Undo) => Owner | null = () => null,
  kept: (source: ByteSource) => Undo | null = () => null,
): Layers {
  const above: Layer[] = []
  const own: Layer[] = []
  let base = source
  const next = (): Undo | null => {
    // what is kept elsewhere may come from somebody else, and lead round in a circle
    return readUndo(base) ?? (above.length + own.length < MOST_LAYERS ? kept(base) : null)
  }
  for (let undo = next(); undo !== null; undo = next()) {
    const owner = isOwn(undo) || own.length > 0 ? null : lifted(undo)
    if (isOwn(undo)) own.push({ undo, source: base })
    else if (owner !== null) above.push({ undo: { ...undo, owner }, source: base })
    else break
    base = originalSource(base, undo)
  }
  return { above, own, base }
}

/** One undo record that takes several layers off, the topmost first; null for none. */
export function joined(layers: readonly Layer[]): Undo | null {
  const [first] = layers
  const last = layers.at(-1)
  if (first === undefined || last === undefined) return null
  const patches = layers.flatMap(({ undo }) => undo.patches)
  return { ...last.undo, patches: clipped(patches, last.undo.originalSize) }
}

/** The parts of the patches that lie below a size. */
export function clipped(patches: readonly Patch[], size: number): Patch[] {
  return patches
    .filter(({ offset }) => offset < size)
    .map(({ offset, bytes }) => ({ offset, bytes: bytes.subarray(0, size - offset) }))
}

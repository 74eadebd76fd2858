// The grafts of a file as layers: `wheelfix elf` may have edited it first and `wheelfix venv` afterwards. Each command
// takes back its own layer and leaves the rest, byte for byte.
import { ElfError } from '../error.ts'
import { type Headers, readHeaders } from '../headers.ts'
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
  /** Layers of other owners on top of the caller's, the topmost first. Each names its owner. */
  readonly above: readonly Layer[]
  /** The caller's layers, the topmost first. More than one only after something went wrong. */
  readonly own: readonly Layer[]
  /** The file without any of these layers. */
  readonly base: ByteSource
  /** The headers of `base`, where they were read already. */
  readonly headers: Headers | null
}

/** More than enough: each owner has one layer. */
const MOST_LAYERS = 8

/**
 * Takes a file apart into its layers.
 * @param isOwn tells the caller's layers from others
 * @param lifted returns the owner of a layer that may be taken off and put on again, on top of the caller's; else null
 * @param kept finds the undo of an edit in place, which leaves no note in the file
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
  let headers: Headers | null = null
  const next = (): Undo | null => {
    headers = headersOf(base)
    // somebody else may have written the kept records, and they may form a circle
    return (
      (headers === null ? null : readUndo(base, headers)) ??
      (above.length + own.length < MOST_LAYERS ? kept(base) : null)
    )
  }
  for (let undo = next(); undo !== null; undo = next()) {
    const owner = isOwn(undo) || own.length > 0 ? null : lifted(undo)
    if (isOwn(undo)) own.push({ undo, source: base })
    else if (owner !== null) above.push({ undo: { ...undo, owner }, source: base })
    else break
    base = originalSource(base, undo)
  }
  return { above, own, base, headers }
}

/** The layers of a file. A file whose undo is kept elsewhere has only that layer. */
export function layersIn(source: ByteSource, isOwn: (undo: Undo) => boolean, kept: Undo | null): Layers {
  if (kept === null) return layersOf(source, isOwn)
  return { above: [], own: [{ undo: kept, source }], base: originalSource(source, kept), headers: null }
}

/** null where they cannot be read. */
function headersOf(source: ByteSource): Headers | null {
  try {
    return readHeaders(source)
  } catch (error) {
    if (error instanceof ElfError) return null
    throw error
  }
}

/** One undo record that takes off several layers, the topmost first; null for no layer. */
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

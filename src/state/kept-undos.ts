// Keeps the undo of an edit that left no room for an undo note in the file. A program is edited in place where the edit
// fits, because nothing may follow a payload and objcopy refuses a grafted program. The undo is in a state folder. Its name
// is the SHA-256 and size of the edited file, so it never applies to another file. Like everything in that folder, it may
// come from somebody else. It is used only when it gives exactly the bytes whose hash it names.
import { formatOf } from '../elf/layout.ts'
import { isElf } from '../elf/read.ts'
import { ElfError } from '../elf/error.ts'
import { readHeaders } from '../elf/headers.ts'
import { originalSource, type Owner, type Undo } from '../elf/graft/undo-note.ts'
import type { ByteSource } from '../elf/source.ts'
import type { FileEdit } from '../elf/edit/file-edit.ts'
import { graftedSource } from '../elf/graft/graft.ts'
import { digestOf } from '../io/hash.ts'
import { removeOldTemporaries } from '../io/leftovers.ts'
import { entriesIn, makeFolders } from '../io/path.ts'
import { replaceContent } from '../io/replace.ts'
import type { Place } from '../python/environment.ts'
import { readState } from '../python/state-folder.ts'

const FOLDER = 'undo'

/** The most patches of an edit in place, which changes only some words and strings. */
const MOST_PATCHES = 256
const MOST_BYTES = 1 << 20

export interface KeptUndos {
  /** The undo of this file's edit; null when none is kept. */
  of(source: ByteSource): Undo | null
}

/** @param owner the owner of the edits in the folder */
export function keptUndos(place: Place, owner: Owner = 'venv'): KeptUndos {
  const names = entriesIn(`${place.stateFolder}/${FOLDER}`).flatMap(({ name, kind }) => (kind === 'file' ? [name] : []))
  const sizes = new Set(names.map(name => /^[0-9a-f]{64}-(\d+)\.json$/.exec(name)?.[1]))
  return {
    of(source) {
      if (!sizes.has(String(source.size))) return null
      const text = readState(place, `${FOLDER}/${nameOf(source)}`)
      return text === null ? null : parse(text, source, owner)
    },
  }
}

/**
 * Keeps the undo of an edit in place.
 * @param source the file on disk, which the edit changes
 * @param base the file without any change of ours
 */
export function keepUndo(
  place: Place,
  source: ByteSource,
  base: ByteSource,
  edit: FileEdit,
  record: string | null,
): void {
  const content = {
    original: digestOf(base, 'sha256', 'hex'),
    header: encode(base.read(0, edit.header.length)),
    patches: edit.patches.map(({ offset, bytes }) => [offset, encode(base.read(offset, bytes.length))]),
    record,
  }
  const folder = `${place.stateFolder}/${FOLDER}`
  makeFolders(folder, place.root)
  const path = `${folder}/${nameOf(graftedSource(source, edit))}`
  removeOldTemporaries(path)
  replaceContent(path, `${JSON.stringify(content)}\n`)
}

function nameOf(source: ByteSource): string {
  return `${digestOf(source, 'sha256', 'hex')}-${source.size}.json`
}

const encode = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64')

function parse(text: string, source: ByteSource, owner: Owner): Undo | null {
  try {
    const kept: unknown = JSON.parse(text)
    if (typeof kept !== 'object' || kept === null) return null
    const { original, header, patches, record } = kept as Partial<Record<string, unknown>>
    if (typeof header !== 'string' || !Array.isArray(patches) || patches.length > MOST_PATCHES) return null
    if (record !== null && typeof record !== 'string') return null
    const undo: Undo = {
      owner,
      originalSize: source.size,
      header: Buffer.from(header, 'base64'),
      patches: patches.map(patch => parsePatch(patch, source.size)),
      record,
    }
    const { bytes } = formatOf(readHeaders(source).header).ehdr
    if (undo.header.length !== bytes || !isElf(undo.header)) return null
    return digestOf(originalSource(source, undo), 'sha256', 'hex') === original ? undo : null
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof RangeError || error instanceof ElfError) return null
    throw error
  }
}

/** @throws RangeError when it does not change a part of the file */
function parsePatch(patch: unknown, size: number): Undo['patches'][number] {
  const [offset, text] = Array.isArray(patch) ? (patch as unknown[]) : []
  const bytes = Buffer.from(typeof text === 'string' ? text : '', 'base64')
  const isInside =
    typeof offset === 'number' && Number.isSafeInteger(offset) && offset >= 0 && bytes.length <= MOST_BYTES
  if (!isInside || offset + bytes.length > size) throw new RangeError('a change outside the file')
  return { offset, bytes }
}

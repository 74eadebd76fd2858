// The undo of an edit in place, as a text. It is kept outside of the edited file, in a state folder or in the record of a
// patched wheel. The text may come from somebody else. So an undo is used only if it gives exactly the bytes whose hash it
// names.
import { formatOf } from '../elf/layout.ts'
import { isElf } from '../elf/read.ts'
import { ElfError } from '../elf/error.ts'
import { readHeaders } from '../elf/headers.ts'
import { originalSource, type Owner, type Undo } from '../elf/graft/undo-note.ts'
import type { ByteSource } from '../elf/source.ts'
import type { FileEdit } from '../elf/edit/file-edit.ts'
import { digestOf } from './hash.ts'

/** The most patches of an edit in place, which changes only some words and strings. */
const MOST_PATCHES = 256
const MOST_BYTES = 1 << 20

/** The undo of an edit in place as a line of JSON. `base` is the file without any change by wheelfix. */
export function undoText(base: ByteSource, edit: FileEdit, record: string | null): string {
  return JSON.stringify({
    original: digestOf(base, 'sha256', 'hex'),
    header: encode(base.read(0, edit.header.length)),
    patches: edit.patches.map(({ offset, bytes }) => [offset, encode(base.read(offset, bytes.length))]),
    record,
  })
}

const encode = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64')

/** The undo in a text of `undoText`; null where it does not give exactly the bytes whose hash it names. */
export function parseUndo(text: string, source: ByteSource, owner: Owner): Undo | null {
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

// Keeps the undo of an edit that left no room for an undo note in the file. A program is edited in place where the edit
// fits, because nothing may follow a payload and objcopy refuses a grafted program. The undo is in a state folder. Its name
// is the SHA-256 and size of the edited file, so it never applies to another file. Like everything in that folder, it may
// come from somebody else. It is used only when it gives exactly the bytes whose hash it names.
import type { Owner, Undo } from '../elf/graft/undo-note.ts'
import type { ByteSource } from '../elf/source.ts'
import type { FileEdit } from '../elf/edit/file-edit.ts'
import { graftedSource } from '../elf/graft/graft.ts'
import { digestOf } from '../io/hash.ts'
import { WheelfixError } from '../io/error.ts'
import { directoryOf, entriesIn, isInside } from '../io/path.ts'
import { parseUndo, undoText } from '../io/program-undo.ts'
import { makeFolders } from '../io/write/folder.ts'
import { removeOldTemporaries } from '../io/write/leftovers.ts'
import { replaceContent } from '../io/write/replace.ts'
import type { Environment, Place } from '../python/environment.ts'
import { checkStateFolder, readState } from '../python/state-folder.ts'

const FOLDER = 'undo'

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
      const text = readState(place, `${FOLDER}/${undoFileName(source)}`)
      return text === null ? null : parseUndo(text, source, owner)
    },
  }
}

/**
 * The undos of an environment. A folder that was moved has a new state folder, and its undos are in that of its old place:
 * the state folders of the user's other folders serve, too, because an undo is named after the bytes that it applies to.
 */
export function undosOf(environment: Environment): KeptUndos {
  const own = keptUndos(environment)
  const { kind, root, stateFolder } = environment
  // the state may be in the folder itself: it moves along
  if (kind !== 'folder' || isInside(stateFolder, root)) return own
  let others: readonly KeptUndos[] | null = null
  return {
    of(source) {
      const found = own.of(source)
      if (found !== null) return found
      others ??= siblings(root, stateFolder).map(place => keptUndos(place))
      for (const other of others) {
        const undo = other.of(source)
        if (undo !== null) return undo
      }
      return null
    },
  }
}

function siblings(root: string, stateFolder: string): Place[] {
  const home = directoryOf(stateFolder)
  return entriesIn(home).flatMap(({ name, kind }): Place[] => {
    const place = { root, stateFolder: `${home}/${name}` }
    if (kind !== 'directory' || place.stateFolder === stateFolder) return []
    try {
      checkStateFolder(place)
      return [place]
    } catch (error) {
      if (error instanceof WheelfixError) return []
      throw error
    }
  })
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
  const folder = `${place.stateFolder}/${FOLDER}`
  makeFolders(folder, place.root)
  const path = `${folder}/${undoFileName(graftedSource(source, edit))}`
  removeOldTemporaries(path)
  replaceContent(path, `${undoText(base, edit, record)}\n`)
}

function undoFileName(source: ByteSource): string {
  return `${digestOf(source, 'sha256', 'hex')}-${source.size}.json`
}

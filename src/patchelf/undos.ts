// The undos of programs that were edited in place, as `wheelfix elf` finds and keeps them. Its own undos are in the user's
// state folder, because a program belongs to no environment. The undos of `wheelfix venv` are in the environment of the
// program. An undo is used only when it gives the bytes whose hash it names, and when nobody else could have put it there.
import { mkdirSync } from 'node:fs'
import type { ByteSource } from '../elf/source.ts'
import type { EditInPlace } from '../elf/graft/regraft.ts'
import type { Undo } from '../elf/graft/undo-note.ts'
import { errnoOf, WheelfixError } from '../io/error.ts'
import { directoryOf, entriesIn, fsPath, realPath } from '../io/path.ts'
import { type Place, stateFolderIn } from '../python/environment.ts'
import { checkStateFolder } from '../python/state-folder.ts'
import { stateHome } from '../state/folders.ts'
import { keepUndo, keptUndos } from '../state/kept-undos.ts'

export interface ProgramUndos {
  /** The undo of the edit in place that made these bytes; null when none is kept. */
  of(this: void, source: ByteSource): Undo | null
  /** @throws the errors of node:fs when the undo of an environment cannot be kept */
  keep(this: void, edits: readonly EditInPlace[]): void
}

/** The undos that may apply to a file. */
export function programUndos(path: string, env: NodeJS.ProcessEnv): ProgramUndos {
  const home = stateHome(env)
  const user = home === null ? null : trusted({ root: home, stateFolder: `${home}/wheelfix` })
  const around = environmentAround(realPath(path))
  const own = user === null ? null : keptUndos(user, 'elf')
  const venvs = around === null ? null : keptUndos(around)
  return {
    // the same edit of the same program elsewhere gives the same bytes, so the undo of the environment comes first
    of: source => venvs?.of(source) ?? own?.of(source) ?? null,
    keep: edits => {
      for (const { owner, base, edit, record } of edits) {
        if (owner === 'elf') keepIfWritable(user, base, edit)
        else if (around !== null) keepUndo(around, base, base, edit, record)
      }
    },
  }
}

/**
 * Keeps the undo when the user has a writable state folder. A build has none (Nix: HOME=/homeless-shelter), so its programs
 * are edited without an undo, as by patchelf.
 */
function keepIfWritable(user: Place | null, base: ByteSource, edit: EditInPlace['edit']): void {
  try {
    if (user === null) return
    mkdirSync(fsPath(user.root), { recursive: true })
    keepUndo(user, base, base, edit, null)
  } catch (error) {
    if (errnoOf(error) === undefined) throw error
  }
}

/** The environment that holds a file, when wheelfix has changed that environment. */
function environmentAround(path: string): Place | null {
  for (let root = directoryOf(path); root !== '/' && root !== ''; root = directoryOf(root)) {
    if (entriesIn(root).some(({ name }) => name === 'pyvenv.cfg'))
      return trusted({ root, stateFolder: stateFolderIn(root) })
  }
  return null
}

function trusted(place: Place): Place | null {
  try {
    checkStateFolder(place)
    return place
  } catch (error) {
    if (error instanceof WheelfixError) return null
    throw error
  }
}

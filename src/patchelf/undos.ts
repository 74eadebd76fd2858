// The undos of programs that were edited in place, as `wheelfix elf` finds and keeps them: its own in the user's state
// folder, as a program belongs to no environment, and those of `wheelfix venv` in the environment that the program is in.
// Both are taken only where they give the bytes whose hash they name, and where nobody else could have put them there.
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
  /** What takes back the edit in place of these bytes; null where nothing is kept. */
  of(this: void, source: ByteSource): Undo | null
  /** @throws the errors of node:fs where the undo of an environment cannot be kept */
  keep(this: void, edits: readonly EditInPlace[]): void
}

/** The undos for a file. */
export function programUndos(path: string, env: NodeJS.ProcessEnv): ProgramUndos {
  const home = stateHome(env)
  const user = home === null ? null : trusted({ root: home, stateFolder: `${home}/wheelfix` })
  const around = environmentAround(realPath(path))
  const own = user === null ? null : keptUndos(user, 'elf')
  const venvs = around === null ? null : keptUndos(around)
  return {
    // the same edit of the same program elsewhere leaves the same bytes: here it is the environment's
    of: source => venvs?.of(source) ?? own?.of(source) ?? null,
    keep: edits => {
      for (const { owner, base, edit, record } of edits) {
        if (owner === 'elf') keepIfWritable(user, base, edit)
        else if (around !== null) keepUndo(around, base, base, edit, record)
      }
    },
  }
}

/** A build has no state to write to (Nix: HOME=/homeless-shelter); its programs are edited as patchelf edits them. */
function keepIfWritable(user: Place | null, base: ByteSource, edit: EditInPlace['edit']): void {
  try {
    if (user === null) return
    mkdirSync(fsPath(user.root), { recursive: true })
    keepUndo(user, base, base, edit, null)
  } catch (error) {
    if (errnoOf(error) === undefined) throw error
  }
}

/** The environment that a file lies in, where wheelfix has changed it. */
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

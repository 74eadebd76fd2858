// Which loader the venv's programs were told to ask for, kept so that the next run, without the flag, says the same.
import { rmSync } from 'node:fs'
import { fsPath, makeFolders } from '../io/path.ts'
import { replaceContent } from '../io/replace.ts'
import type { ProgramInterpreter } from '../config/config.ts'
import type { Place } from '../python/environment.ts'
import { readState } from '../python/state-folder.ts'

const NAME = 'interpreter'

/** The file that holds the choice; there is none for the venv's own loader, which needs no word. */
export function programInterpreterPath({ stateFolder }: Place): string {
  return `${stateFolder}/${NAME}`
}

/** What was chosen for the venv by a flag. */
export function readProgramInterpreter(place: Place): ProgramInterpreter {
  return readState(place, NAME)?.trim() === 'nix-ld' ? 'nix-ld' : 'python'
}

export function writeProgramInterpreter(place: Place, chosen: ProgramInterpreter): void {
  if (readProgramInterpreter(place) === chosen) return
  const path = fsPath(programInterpreterPath(place))
  if (chosen === 'python') {
    rmSync(path, { force: true })
    return
  }
  makeFolders(place.stateFolder, place.root)
  replaceContent(programInterpreterPath(place), `${chosen}\n`)
}

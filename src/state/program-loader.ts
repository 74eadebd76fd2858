// Which loader the venv's programs ask for. The choice is kept so that the next run makes the same one without the flag.
import { makeFolders, removeFile } from '../io/write/folder.ts'
import { replaceContent } from '../io/write/replace.ts'
import type { ProgramInterpreter } from '../config/config.ts'
import type { Place } from '../python/environment.ts'
import { readState } from '../python/state-folder.ts'

const NAME = 'interpreter'

/** The file that holds the choice. Without the file, the venv's own loader is chosen. */
export function programInterpreterPath({ stateFolder }: Place): string {
  return `${stateFolder}/${NAME}`
}

/** The choice that a flag made for the venv. */
export function readProgramInterpreter(place: Place): ProgramInterpreter {
  return readState(place, NAME)?.trim() === 'nix-ld' ? 'nix-ld' : 'python'
}

/** Keeps the choice for the next run. The default, `python`, needs no file. The caller holds the lock. */
export function writeProgramInterpreter(place: Place, chosen: ProgramInterpreter): void {
  if (readProgramInterpreter(place) === chosen) return
  if (chosen === 'python') {
    removeFile(programInterpreterPath(place))
    return
  }
  makeFolders(place.stateFolder, place.root)
  replaceContent(programInterpreterPath(place), `${chosen}\n`)
}

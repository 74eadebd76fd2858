// Which loader the venv's programs were told to ask for, kept so that the next run, without the flag, says the same.
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { errnoOf } from '../io/error.ts'
import { fsPath } from '../io/path.ts'
import type { ProgramInterpreter } from '../config/config.ts'
import type { Place } from '../python/environment.ts'

/** The file that holds the choice; there is none for the venv's own loader, which needs no word. */
export function programInterpreterPath({ stateFolder }: Place): string {
  return `${stateFolder}/interpreter`
}

/** What was chosen for the venv by a flag. */
export function readProgramInterpreter(place: Place): ProgramInterpreter {
  try {
    return readFileSync(fsPath(programInterpreterPath(place)), 'utf8').trim() === 'nix-ld' ? 'nix-ld' : 'python'
  } catch (error) {
    if (errnoOf(error) === undefined) throw error
    return 'python'
  }
}

export function writeProgramInterpreter(place: Place, chosen: ProgramInterpreter): void {
  if (readProgramInterpreter(place) === chosen) return
  const path = fsPath(programInterpreterPath(place))
  if (chosen === 'python') {
    rmSync(path, { force: true })
    return
  }
  mkdirSync(fsPath(place.stateFolder), { recursive: true })
  writeFileSync(path, `${chosen}\n`)
}

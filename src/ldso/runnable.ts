// Which programs can be started on this machine, and which may be. The kernel refuses programs for another machine.
// execvp(3) then hands the file to /bin/sh, which reads the bytes as a script.
import { statSync } from 'node:fs'
import { dirname } from 'node:path'
import { ElfError } from '../elf/error.ts'
import { isElf, readElf } from '../elf/read.ts'
import type { ElfObject } from '../elf/types.ts'
import { errnoOf } from '../io/error.ts'
import { fsPath, isInside, realPath } from '../io/path.ts'
import { withSource } from '../io/source.ts'
import { fits } from './fits.ts'

/** Is the object for the machine that wheelfix runs on? */
export function isOfThisMachine(object: ElfObject): boolean {
  return withSource(process.execPath, source => fits(object, readElf(source)))
}

/** As `isOfThisMachine`, for a file. True for a file that is not an ELF file, false for one that cannot be read. */
function isFileOfThisMachine(path: string): boolean {
  try {
    return withSource(path, source => {
      return !isElf(source.read(0, Math.min(4, source.size))) || isOfThisMachine(readElf(source))
    })
  } catch (error) {
    if (error instanceof ElfError || errnoOf(error) !== undefined) return false
    throw error
  }
}

/** Where distributions have their loader, once every link is resolved. */
const SYSTEM_FOLDER = /^\/(?:usr\/)?lib(?:32|64|x32)?(?:\/[^/]+-linux-[^/]+)?$/

/**
 * The file to start in order to ask a loader something; null for a loader that must not be started. An environment
 * names its own loader, and wheelfix must not run code of an environment that it only looks at. So the loader must be
 * the Nix store's, or the system's own, owned by root and writable by nobody else.
 * @param store the folder of the Nix store
 */
export function loaderToAsk(loader: string, store: string): string | null {
  try {
    const real = realPath(loader)
    const folder = dirname(real)
    const isSystems = SYSTEM_FOLDER.test(folder) && [real, folder].every(isRootsAlone)
    return (isSystems || isInside(real, realPath(store))) && isFileOfThisMachine(real) ? real : null
  } catch (error) {
    if (errnoOf(error) === undefined) throw error
    return null
  }
}

function isRootsAlone(path: string): boolean {
  const { uid, mode } = statSync(fsPath(path))
  return uid === 0 && (mode & 0o022) === 0
}

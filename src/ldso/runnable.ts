// What can be started on this machine, and what may be. Nothing of another machine can: the kernel refuses it, and
// execvp(3) then hands the file to /bin/sh, which takes the bytes for a script.
import { statSync } from 'node:fs'
import { dirname } from 'node:path'
import { ElfError } from '../elf/error.ts'
import { isElf, readElf } from '../elf/read.ts'
import type { ElfObject } from '../elf/types.ts'
import { errnoOf } from '../io/error.ts'
import { fsPath, isInside, realPath } from '../io/path.ts'
import { withSource } from '../io/source.ts'
import { fits } from './fits.ts'

/** Is it for the machine that this very program runs on? */
export function isOfThisMachine(object: ElfObject): boolean {
  return withSource(process.execPath, source => fits(object, readElf(source)))
}

/** As `isOfThisMachine`, for a file: one that is no ELF file is for any, one that cannot be read for none. */
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

/** Where distributions have their loader, with every link resolved. */
const SYSTEM_FOLDER = /^\/(?:usr\/)?lib(?:32|64|x32)?(?:\/[^/]+-linux-[^/]+)?$/

/**
 * The file to start where a loader is to be asked something; null for one that must not be started. An environment names
 * its loader itself, and who only looks at an environment must not run its code: the loader must be the Nix store's, or the
 * system's own, which root owns and nobody else may write to.
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

// What can be started on this machine. Nothing of another one may be: the kernel refuses it, and execvp(3) then hands the
// file to /bin/sh, which takes the bytes for a script.
import { ElfError } from '../elf/error.ts'
import { isElf, readElf } from '../elf/read.ts'
import type { ElfObject } from '../elf/types.ts'
import { errnoOf } from '../io/error.ts'
import { withSource } from '../io/source.ts'
import { fits } from './fits.ts'

/** Is it for the machine that this very program runs on? */
export function isOfThisMachine(object: ElfObject): boolean {
  return withSource(process.execPath, source => fits(object, readElf(source)))
}

/** As `isOfThisMachine`, for a file: one that is no ELF file is for any, one that cannot be read for none. */
export function isFileOfThisMachine(path: string): boolean {
  try {
    return withSource(path, source => {
      return !isElf(source.read(0, Math.min(4, source.size))) || isOfThisMachine(readElf(source))
    })
  } catch (error) {
    if (error instanceof ElfError || errnoOf(error) !== undefined) return false
    throw error
  }
}

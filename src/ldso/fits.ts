// Whether a loader that runs a program takes a library at all.
import type { ElfObject } from '../elf/types.ts'

/** Same class, byte order and machine (elf/dl-load.c, open_verify). */
export function fits(object: ElfObject, program: ElfObject): boolean {
  const a = object.header
  const b = program.header
  return a.machine === b.machine && a.class === b.class && a.byteOrder === b.byteOrder
}

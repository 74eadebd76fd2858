// What kind of object a file is, as far as its layout depends on it.
import {
  DF_1_PIE,
  EM_AARCH64,
  EM_LOONGARCH,
  EM_PPC64,
  EM_RISCV,
  ET_EXEC,
  PF_X,
  PT_GNU_STACK,
  PT_LOAD,
} from './constants.ts'
import { formatOf } from './layout.ts'
import type { ElfObject } from './types.ts'

/** Can the kernel start this object? The kernel then tells the program where its program headers are (AT_PHDR). */
export function isExecutable({ header, ptInterp: interpreter, flags1 }: ElfObject): boolean {
  if (header.type === ET_EXEC || (flags1 & DF_1_PIE) !== 0n) return true
  // gold gives a library an interpreter on request (musl-gcc requests it), but no entry point
  return interpreter !== null && header.entry !== 0n
}

/**
 * Has a packer moved the program headers so that they are still e_phoff bytes behind the start of the object in memory?
 * The code that the packer adds looks for them there, and ends the process if they are missing (Wibu's AxProtector:
 * pypylon's plugins). Linkers put them right behind the ELF header.
 */
export function hasMovedHeaders({ header, programHeaders }: ElfObject): boolean {
  const loads = programHeaders.filter(({ type }) => type === PT_LOAD)
  const holder = loads.find(({ offset, filesz }) => offset <= header.phoff && header.phoff < offset + filesz)
  const [first] = loads
  if (first === undefined || holder === undefined || header.phoff === formatOf(header).ehdr.bytes) return false
  return holder.vaddr - BigInt(holder.offset) === first.vaddr - BigInt(first.offset)
}

/**
 * Is this the soname of musl's libc? musl's own compiler wrapper links to libc.so; distributions name the file after the
 * machine.
 */
export const isMuslSoname = (soname: string): boolean => soname === 'libc.so' || soname.startsWith('libc.musl-')

/** Does the object itself say that musl loads it? */
export function namesMusl(object: ElfObject): boolean {
  return object.ptInterp?.includes('/ld-musl-') === true || object.needed.some(isMuslSoname)
}

/** Machines on which an object without PT_GNU_STACK gets no executable stack (glibc, sysdeps: stackinfo.h). */
const PLAIN_STACKS: ReadonlySet<number> = new Set([EM_AARCH64, EM_LOONGARCH, EM_PPC64, EM_RISCV])

/**
 * Does glibc's loader make the stack executable for this object? PT_GNU_STACK decides. Without one, most machines do.
 */
export function wantsExecutableStack({ header, programHeaders }: ElfObject): boolean {
  const stack = programHeaders.findLast(({ type }) => type === PT_GNU_STACK)
  return stack === undefined ? !PLAIN_STACKS.has(header.machine) : (stack.flags & PF_X) !== 0
}

// What kind of object it is, for those who lay it out.
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

/** Something that the kernel may start: it then tells the program where its program headers are (AT_PHDR). */
export function isExecutable({ header, ptInterp: interpreter, flags1 }: ElfObject): boolean {
  if (header.type === ET_EXEC || (flags1 & DF_1_PIE) !== 0n) return true
  // gold gives libraries an interpreter when it is told one (musl-gcc does), but nowhere to start
  return interpreter !== null && header.entry !== 0n
}

/**
 * Has a packer moved the program headers, so that they are still e_phoff bytes behind the start of the object in memory? The
 * code that it adds finds them there and ends the process where it does not (Wibu's AxProtector: pypylon's plugins).
 * Linkers put them right behind the ELF header.
 */
export function hasMovedHeaders({ header, programHeaders }: ElfObject): boolean {
  const loads = programHeaders.filter(({ type }) => type === PT_LOAD)
  const holder = loads.find(({ offset, filesz }) => offset <= header.phoff && header.phoff < offset + filesz)
  const [first] = loads
  if (first === undefined || holder === undefined || header.phoff === formatOf(header).ehdr.bytes) return false
  return holder.vaddr - BigInt(holder.offset) === first.vaddr - BigInt(first.offset)
}

/** Does the object itself say that musl loads it? */
export function namesMusl(object: ElfObject): boolean {
  // libc.so is what musl's own compiler wrapper links to; distributions name it after the machine
  const isMuslLibc = (name: string): boolean => name === 'libc.so' || name.startsWith('libc.musl-')
  return object.ptInterp?.includes('/ld-musl-') === true || object.needed.some(isMuslLibc)
}

/** Where an object that says nothing of its stack does not get an executable one (glibc, sysdeps: stackinfo.h). */
const PLAIN_STACKS: ReadonlySet<number> = new Set([EM_AARCH64, EM_LOONGARCH, EM_PPC64, EM_RISCV])

/** Does glibc's loader make the stack executable for it? PT_GNU_STACK says so; without one most machines do. */
export function wantsExecutableStack({ header, programHeaders }: ElfObject): boolean {
  const stack = programHeaders.findLast(({ type }) => type === PT_GNU_STACK)
  return stack === undefined ? !PLAIN_STACKS.has(header.machine) : (stack.flags & PF_X) !== 0
}

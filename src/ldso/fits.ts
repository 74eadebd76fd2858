// Whether the loader of a program accepts a library as one for its machine.
import {
  EF_ARM_ABI_FLOAT_HARD,
  EF_ARM_ABI_FLOAT_SOFT,
  EF_ARM_EABI_VER5,
  EF_ARM_EABIMASK,
  EF_MIPS_ABI2,
  EF_MIPS_FP64,
  EF_MIPS_NAN2008,
  EF_PPC64_ABI,
  EF_RISCV_FLOAT_ABI,
  EM_ARM,
  EM_MIPS,
  EM_PPC64,
  EM_RISCV,
} from '../elf/constants.ts'
import type { ElfHeader, ElfObject } from '../elf/types.ts'

/** Do class, byte order, machine and ABI agree (elf/dl-load.c, open_verify)? */
export function fits({ header }: ElfObject, program: ElfObject): boolean {
  const { class: elfClass, byteOrder } = program.header
  return header.class === elfClass && header.byteOrder === byteOrder && isSameMachine(header, program.header)
}

/** Compares e_machine and the bits of e_flags that must agree (sysdeps, dl-machine.h, elf_machine_matches_host). */
export function isSameMachine(a: ElfHeader, b: ElfHeader): boolean {
  if (a.machine !== b.machine) return false
  switch (a.machine) {
    case EM_RISCV:
      return isSameIn(a, b, EF_RISCV_FLOAT_ABI)
    case EM_MIPS:
      return isSameIn(a, b, EF_MIPS_ABI2 | EF_MIPS_NAN2008) && (a.flags & EF_MIPS_FP64) === 0
    case EM_PPC64:
      // an object without a mark fits both ABIs
      return (a.flags & EF_PPC64_ABI) === 0 || (b.flags & EF_PPC64_ABI) === 0 || isSameIn(a, b, EF_PPC64_ABI)
    case EM_ARM:
      return isSameFloatAbi(a, b)
    default:
      return true
  }
}

function isSameIn(a: ElfHeader, b: ElfHeader, mask: number): boolean {
  return (a.flags & mask) === (b.flags & mask)
}

/** The check for ARM (sysdeps/unix/sysv/linux/arm/ldsodefs.h, VALID_FLOAT_ABI). */
export function isSameFloatAbi(a: ElfHeader, b: ElfHeader): boolean {
  const [first, second] = [floatAbi(a), floatAbi(b)]
  return first === 0 || second === 0 || first === second
}

/** The float ABI of an EABI 5 object, where it is marked. */
function floatAbi({ flags }: ElfHeader): number {
  return (flags & EF_ARM_EABIMASK) >>> 0 === EF_ARM_EABI_VER5
    ? flags & (EF_ARM_ABI_FLOAT_SOFT | EF_ARM_ABI_FLOAT_HARD)
    : 0
}

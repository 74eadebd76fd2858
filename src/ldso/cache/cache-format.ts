// The format of glibc's ld.so.cache: its numbers, its flags and the order of its names. Rules from glibc's
// sysdeps/generic/dl-cache.h, elf/dl-cache.c (what the loader does) and elf/cache.c (what ldconfig writes).
//
// The format since glibc 2.2: a header, entries sorted for the loader's binary search, strings. Since glibc 2.33 an extension
// follows them. ldconfig may put a cache in the older format in front (`ldconfig -c compat`, the default up to glibc 2.31).
import {
  EM_AARCH64,
  EM_ARM,
  EM_IA_64,
  EM_LOONGARCH,
  EM_MIPS,
  EM_PPC,
  EM_PPC64,
  EM_RISCV,
  EM_S390,
  EM_SPARCV9,
  EM_X86_64,
} from '../../elf/constants.ts'
import { bits, bytesOf, record, word } from '../../elf/layout.ts'
import { encodeText } from '../../elf/text.ts'
import type { ElfClass } from '../../elf/types.ts'

/** The class and machine that a library must have to be loaded; the header of the main program has them. */
export interface CacheMachine {
  readonly class: ElfClass
  readonly machine: number
}

export const MAGIC_OLD = 'ld.so-1.7.0'
export const MAGIC = 'glibc-ld.so.cache1.1'
/** `struct cache_file_new`; the magic ends with the version. */
export const HEADER = record({
  magic: bytesOf(20),
  count: word,
  /** Of all strings together. */
  stringBytes: word,
  /** The byte order of the cache, in the low two bits; 0: the machine's own. */
  flags: bytesOf(1),
  padding: bytesOf(3),
  /** From the start of the file; 0 without an extension. */
  extension: word,
  unused: bytesOf(12),
})
/** `struct file_entry_new`. The offsets of the strings count from the start of the header. */
export const ENTRY = record({ flags: word, key: word, value: word, osVersion: word, hwcap: bits })
/** `struct cache_file`, padded after its magic. */
export const OLD_HEADER = record({ magic: bytesOf(12), count: word })
/** `struct file_entry`. The offsets of the strings count from the end of the entries. */
export const OLD_ENTRY = record({ flags: word, key: word, value: word })
/** `struct cache_extension` */
export const EXTENSION = record({ magic: word, count: word })
/** `struct cache_extension_section` */
export const SECTION = record({ tag: word, flags: word, offset: word, size: word })
/** The offset of a string from the start of the header. A TAG_HWCAPS section is an array of these. */
export const STRING = record({ offset: word })
export const ENDIAN_LITTLE = 2
export const ENDIAN_BIG = 3
export const EXTENSION_MAGIC = 0xeaa42174
export const TAG_GENERATOR = 0
export const TAG_HWCAPS = 1
/**
 * Bit 62 of an entry's hwcap: the low 32 bits are then an index into the names of the extension, and bits 32…41 an ISA
 * level.
 */
export const HWCAP_EXTENSION = 1n << 62n
export const HWCAP_ISA_LEVEL_MASK = 0x3ffn << 32n
/** Legacy bit “needs TLS”; every loader has it. */
export const HWCAP_TLS = 1n << 63n
/** Legacy bits of the x86 platforms (sysdeps/x86/dl-procinfo.h). An entry has at most one of them. */
export const HWCAP_PLATFORMS = new Map([
  ['i586', 1n << 48n],
  ['i686', 1n << 49n],
  ['haswell', 1n << 50n],
  ['xeon_phi', 1n << 51n],
])
export const HWCAP_PLATFORM_MASK = 0xfn << 48n

const FLAG_ELF = 1
export const FLAG_ELF_LIBC6 = 3

/**
 * The flags of the entries that a loader of this machine takes, the preferred one first (`_dl_cache_check_flags` of
 * each sysdeps/…/dl-cache.h). There are several where the header's class and machine do not determine the ABI.
 */
export function cacheFlags({ class: elfClass, machine }: CacheMachine): readonly number[] {
  switch (machine) {
    case EM_X86_64:
      return elfClass === 64 ? [0x303] : [0x803]
    case EM_AARCH64:
      return [0xa03]
    case EM_ARM:
      return [0x903, 0xb03, FLAG_ELF_LIBC6]
    case EM_PPC64:
      return [0x503]
    case EM_S390:
      return elfClass === 64 ? [0x403] : [FLAG_ELF_LIBC6, FLAG_ELF]
    case EM_RISCV:
      return [0x1003, 0xf03]
    case EM_LOONGARCH:
      return [0x1203, 0x1103]
    case EM_MIPS:
      return elfClass === 64 ? [0x703, 0xe03] : [FLAG_ELF_LIBC6, 0xc03, 0x603, 0xd03]
    case EM_SPARCV9:
      return [0x103]
    case EM_IA_64:
      return [0x203]
    default:
      return [FLAG_ELF_LIBC6, FLAG_ELF]
  }
}

/** Is `char` unsigned on this machine? The loader then compares bytes from 0x80 on as large. */
export function charIsUnsigned(machine: number): boolean {
  return [EM_AARCH64, EM_ARM, EM_PPC, EM_PPC64, EM_S390, EM_RISCV].includes(machine)
}

/**
 * How the loader compares two names (`_dl_cache_libcmp`). It compares runs of digits by their value, as a C int that
 * wraps, and all else by bytes; a digit is greater than any other character. The order is not transitive for numbers
 * further apart than 2^31.
 */
export function compareNames(a: string, b: string, unsigned: boolean): number {
  const byte = (text: string, at: number) => {
    const code = at < text.length ? text.charCodeAt(at) : 0
    return unsigned || code < 0x80 ? code : code - 0x100
  }
  const isDigit = (code: number) => code >= 0x30 && code <= 0x39
  let i = 0
  let j = 0
  while (i < a.length) {
    const x = byte(a, i)
    const y = byte(b, j)
    if (isDigit(x)) {
      if (!isDigit(y)) return 1
      let m = 0
      let n = 0
      for (; isDigit(byte(a, i)); i++) m = (Math.imul(m, 10) + byte(a, i) - 0x30) | 0
      for (; isDigit(byte(b, j)); j++) n = (Math.imul(n, 10) + byte(b, j) - 0x30) | 0
      if (m !== n) return (m - n) | 0
    } else if (isDigit(y)) return -1
    else if (x !== y) return x - y
    else {
      i++
      j++
    }
  }
  return byte(a, i) - byte(b, j)
}

/** A text with one character for each of its bytes. */
export function byteString(text: string): string {
  // oxlint-disable-next-line no-control-regex -- ASCII, which has one byte for each character
  return /^[\u0000-\u007f]*$/.test(text) ? text : encodeText(text).toString('latin1')
}

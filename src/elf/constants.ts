// The numbers of the ELF specification that wheelfix uses: gABI, the GNU extensions of elf.h and the processor
// supplements.

// the bytes of e_ident
export const EI_CLASS = 4
export const EI_DATA = 5
export const EI_VERSION = 6
export const EI_OSABI = 7
export const EI_ABIVERSION = 8
export const EI_PAD = 9
export const EI_NIDENT = 16

export const ELFCLASS32 = 1
export const ELFCLASS64 = 2
export const ELFDATA2LSB = 1
export const ELFDATA2MSB = 2
export const EV_CURRENT = 1

export const ELFOSABI_SYSV = 0
export const ELFOSABI_GNU = 3
export const ELFOSABI_ARM_AEABI = 64

export const ET_REL = 1
export const ET_EXEC = 2
export const ET_DYN = 3
export const ET_CORE = 4

export const EM_SPARC = 2
export const EM_386 = 3
export const EM_68K = 4
export const EM_MIPS = 8
export const EM_PARISC = 15
export const EM_SPARC32PLUS = 18
export const EM_PPC = 20
export const EM_PPC64 = 21
export const EM_S390 = 22
export const EM_ARM = 40
export const EM_SH = 42
export const EM_SPARCV9 = 43
export const EM_IA_64 = 50
export const EM_X86_64 = 62
export const EM_AARCH64 = 183
export const EM_RISCV = 243
export const EM_LOONGARCH = 258
export const EM_ALPHA = 0x9026

export const EF_MIPS_ABI2 = 0x20
export const EF_MIPS_FP64 = 0x200
export const EF_MIPS_NAN2008 = 0x400
export const EF_PPC64_ABI = 3
export const EF_ARM_EABIMASK = 0xff000000
export const EF_ARM_EABI_VER5 = 0x05000000
export const EF_ARM_ABI_FLOAT_SOFT = 0x200
export const EF_ARM_ABI_FLOAT_HARD = 0x400
export const EF_RISCV_FLOAT_ABI = 6

/** The value of e_phnum when sh_info of section 0 holds the true number. */
export const PN_XNUM = 0xffff
export const PT_NULL = 0
export const PT_LOAD = 1
export const PT_DYNAMIC = 2
export const PT_INTERP = 3
export const PT_NOTE = 4
export const PT_PHDR = 6
export const PT_TLS = 7
export const PT_GNU_EH_FRAME = 0x6474e550
export const PT_GNU_STACK = 0x6474e551
export const PT_GNU_RELRO = 0x6474e552
export const PT_GNU_PROPERTY = 0x6474e553

export const PF_X = 1
export const PF_W = 2
export const PF_R = 4

export const SHN_UNDEF = 0
/** Section numbers from here on are reserved. e_shnum and e_shstrndx are then in section 0. */
export const SHN_LORESERVE = 0xff00
export const SHN_XINDEX = 0xffff
export const SHT_NULL = 0
export const SHT_PROGBITS = 1
export const SHT_SYMTAB = 2
export const SHT_STRTAB = 3
export const SHT_DYNAMIC = 6
export const SHT_NOTE = 7
export const SHT_NOBITS = 8
export const SHT_RELR = 19
export const SHT_LOOS = 0x60000000
export const SHT_LOPROC = 0x70000000
export const SHT_LOUSER = 0x80000000
export const SHT_GNU_VERDEF = 0x6ffffffd
export const SHT_GNU_VERNEED = 0x6ffffffe
/** Reserved, without a meaning that any tool knows. */
export const SHT_SHLIB = 10
export const SHT_DYNSYM = 11
export const SHF_WRITE = 1
export const SHF_ALLOC = 2
export const SHF_EXECINSTR = 4

export const DT_NULL = 0
export const DT_NEEDED = 1
export const DT_HASH = 4
export const DT_STRTAB = 5
export const DT_SYMTAB = 6
export const DT_STRSZ = 10
export const DT_SONAME = 14
export const DT_RPATH = 15
export const DT_DEBUG = 21
export const DT_RUNPATH = 29
export const DT_RELA = 7
export const DT_RELASZ = 8
export const DT_REL = 17
export const DT_RELSZ = 18
export const DT_PLTRELSZ = 2
export const DT_JMPREL = 23
export const DT_INIT_ARRAY = 25
export const DT_FINI_ARRAY = 26
export const DT_INIT_ARRAYSZ = 27
export const DT_FINI_ARRAYSZ = 28
export const DT_RELRSZ = 35
export const DT_RELR = 36
export const DT_VERSYM = 0x6ffffff0
export const DT_GNU_HASH = 0x6ffffef5
export const DT_FLAGS_1 = 0x6ffffffb
export const DT_VERDEF = 0x6ffffffc
export const DT_VERDEFNUM = 0x6ffffffd
export const DT_VERNEED = 0x6ffffffe
export const DT_VERNEEDNUM = 0x6fffffff
export const DT_CONFIG = 0x6ffffefa
export const DT_DEPAUDIT = 0x6ffffefb
export const DT_AUDIT = 0x6ffffefc
export const DT_AUXILIARY = 0x7ffffffd
export const DT_FILTER = 0x7fffffff
/** On MIPS: the debugger's hook, as an offset from the address of this entry itself. */
export const DT_MIPS_RLD_MAP_REL = 0x70000035

export const DF_1_NOOPEN = 0x40n
export const DF_1_NODEFLIB = 0x800n
export const DF_1_PIE = 0x8000000n

export const VER_FLG_BASE = 1
export const VER_FLG_WEAK = 2

// The parsed form of an ELF object. It keeps raw numbers; names are only for display. File offsets and sizes in the
// file are `number` (safe integers). Virtual addresses and sizes in memory are `bigint`, so that the compiler never
// lets the two be mixed up. ia64 also has addresses past 2^53.

export type ElfClass = 32 | 64
export type ByteOrder = 'little' | 'big'

/** The ELF header (gABI chapter 4), with the extended numbers (PN_XNUM, e_shnum 0, SHN_XINDEX) already resolved. */
export interface ElfHeader {
  readonly class: ElfClass
  readonly byteOrder: ByteOrder
  readonly osabi: number
  readonly abiVersion: number
  /** e_ident[EI_VERSION] and e_version are EV_CURRENT, and the rest of e_ident is zero. glibc's loader demands this. */
  readonly isCurrent: boolean
  /** e_type: ET_EXEC, ET_DYN … */
  readonly type: number
  /** e_machine: EM_X86_64 … */
  readonly machine: number
  readonly flags: number
  readonly entry: bigint
  readonly phoff: number
  readonly phnum: number
  readonly shoff: number
  readonly shnum: number
  readonly shstrndx: number
}

export interface ProgramHeader {
  /** p_type: PT_LOAD … */
  readonly type: number
  readonly flags: number
  readonly offset: number
  readonly vaddr: bigint
  readonly paddr: bigint
  readonly filesz: number
  readonly memsz: bigint
  readonly align: bigint
}

export interface DynamicEntry {
  /** d_tag, unsigned */
  readonly tag: number
  /** d_val or d_ptr, unsigned */
  readonly value: bigint
}

/** One symbol version that an object needs from a provider (an Elf_Vernaux). */
interface NeededVersion {
  readonly name: string
  /** VER_FLG_WEAK: the loader only warns when it is missing. */
  readonly weak: boolean
}

/** The versions needed from one provider (an Elf_Verneed). */
export interface VersionNeed {
  /** The soname of the object that must define them. */
  readonly file: string
  readonly versions: readonly NeededVersion[]
}

/** What the loader sees of an object. Read through segments alone, because sections may be stripped. */
export interface ElfObject {
  readonly header: ElfHeader
  readonly programHeaders: readonly ProgramHeader[]
  /** The entries before DT_NULL; null without PT_DYNAMIC (a static program, a relocatable or a core file). */
  readonly dynamic: readonly DynamicEntry[] | null
  /** PT_INTERP without its NUL. */
  readonly ptInterp: string | null
  readonly soname: string | null
  readonly needed: readonly string[]
  /** The raw DT_RPATH and DT_RUNPATH, colon-separated; null where the tag is missing. */
  readonly rpath: string | null
  readonly runpath: string | null
  /** DT_FLAGS_1 (0n where absent): DF_1_NODEFLIB, DF_1_PIE … */
  readonly flags1: bigint
  /** DT_FILTER, DT_AUXILIARY */
  readonly filters: readonly string[]
  readonly auxiliaries: readonly string[]
  /** .gnu.version_r: the versions needed from other objects. */
  readonly versionNeeds: readonly VersionNeed[]
  /** .gnu.version_d: the versions defined here, without the one with VER_FLG_BASE. */
  readonly versionDefinitions: readonly string[]
  /** Can every PT_LOAD be mapped in pages (memory.ts)? */
  readonly isMappable: boolean
  /** The version with VER_FLG_BASE, which names the object itself; null without .gnu.version_d. */
  readonly baseVersion: string | null
}

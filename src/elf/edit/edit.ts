// What can be changed about an object, as plain data. The plan is made of these; the writer carries them out.

export type SearchPathTag = 'DT_RPATH' | 'DT_RUNPATH'

/** The search path of an object: its tag and its entries, colon-separated as they stand in the string table. */
export interface SearchPath {
  readonly tag: SearchPathTag
  readonly value: string
}

/** A change of one object. What is left out stays as it is. */
export interface ElfEdit {
  /** Exactly this tag with this value afterwards (the other kind is removed); null: neither of the two. */
  readonly searchPath?: SearchPath | null
  /** PT_INTERP; only for objects that have one. */
  readonly interpreter?: string
  /** DT_SONAME; null removes it. */
  readonly soname?: string | null
  /** DT_NEEDED to rename (verneed's file names follow), old → new. */
  readonly replaceNeeded?: ReadonlyMap<string, string>
  /** DT_NEEDED to remove, after the renaming. */
  readonly removeNeeded?: readonly string[]
  /** DT_NEEDED to put first, after the removal, the last one foremost; those that are there already stay where they are. */
  readonly addNeeded?: readonly string[]
  /** true: DF_1_NODEFLIB set in DT_FLAGS_1. */
  readonly noDefaultLib?: true
  /** EI_OSABI of the ELF header. */
  readonly osabi?: number
  /** true: a DT_DEBUG entry. */
  readonly debugTag?: true
  /** PF_X of PT_GNU_STACK. */
  readonly executableStack?: boolean
}

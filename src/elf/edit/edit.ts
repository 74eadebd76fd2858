// What can be changed in an object, as plain data. A plan consists of these edits; the writer carries them out.

export type SearchPathTag = 'DT_RPATH' | 'DT_RUNPATH'

/** The search path of an object: its tag and its raw, colon-separated entries. */
export interface SearchPath {
  readonly tag: SearchPathTag
  readonly value: string
}

/** The entries of a search path, in order. A missing or empty search path has none. */
export function searchPathEntries({
  runpath,
  rpath,
}: {
  readonly runpath: string | null
  readonly rpath: string | null
}): string[] {
  const value = runpath ?? rpath ?? ''
  return value === '' ? [] : value.split(':')
}

/** A change of one object. A field that is left out changes nothing. */
export interface ElfEdit {
  /** The object gets this tag with this value, and the other tag is removed. null removes both. */
  readonly searchPath?: SearchPath | null
  /** PT_INTERP; only for objects that have one. */
  readonly interpreter?: string
  /** DT_SONAME; null removes it. */
  readonly soname?: string | null
  /** DT_NEEDED entries to rename, old → new. The file names of verneed follow. */
  readonly replaceNeeded?: ReadonlyMap<string, string>
  /** DT_NEEDED entries to remove, after the renaming. */
  readonly removeNeeded?: readonly string[]
  /**
   * DT_NEEDED entries to put in front, one after the other, after the removal: the last one becomes the first entry.
   * Entries that exist already do not move.
   */
  readonly addNeeded?: readonly string[]
  /** true sets DF_1_NODEFLIB in DT_FLAGS_1. */
  readonly noDefaultLib?: true
  /** EI_OSABI of the ELF header. */
  readonly osabi?: number
  /** true adds a DT_DEBUG entry. */
  readonly debugTag?: true
  /** PF_X of PT_GNU_STACK. */
  readonly executableStack?: boolean
}

// The part of elfy that wheelfix uses, with the types it has at run time (elfy ships no types). Two kinds of fields are
// left out: those that elfy reads wrongly (osabi, abiversion) and those that it gives only as names (type,
// machine).
declare module 'elfy' {
  /** Addresses as doubles: exact below 2^53. */
  export interface Header {
    readonly version: number
    readonly entry: number
    readonly flags: number
    readonly phoff: number
    readonly phentsize: number
    readonly phnum: number
    readonly shoff: number
    readonly shnum: number
    readonly shstrndx: number
  }
  class Parser {
    parseHeader(head: Buffer): Header
  }
  const elfy: { readonly Parser: typeof Parser }
  export default elfy
}

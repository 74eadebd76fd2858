// The part of elfy that wheelfix uses, with the types it has at run time (elfy ships no types). Two kinds of fields are
// left out: those that elfy reads wrongly (osabi, abiversion) and those that it gives only as names (type, machine,
// p_type, p_flags).
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
  /** Sizes and addresses as doubles: exact below 2^53. */
  export interface Program {
    readonly offset: number
    readonly vaddr: number
    readonly paddr: number
    readonly filesz: number
    readonly memsz: number
    readonly align: number
  }
  class Parser {
    parseHeader(head: Buffer): Header
    parsePrograms(head: Buffer, header: Header): Program[]
  }
  const elfy: { readonly Parser: typeof Parser }
  export default elfy
}

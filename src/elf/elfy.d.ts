// The part of elfy that wheelfix uses, with the types it has at run time (elfy ships no types). Fields are left out that elfy
// reads wrongly (osabi, abiversion), that it gives only as names (type, machine), and addresses, which it rounds.
declare module 'elfy' {
  export interface Header {
    readonly version: number
    readonly flags: number
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

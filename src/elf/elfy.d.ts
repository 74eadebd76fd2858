// The part of elfy that is used, with the types that it has at run time (it ships none).
declare module 'elfy' {
  export interface Header {
    readonly class: '32' | '64'
    readonly endian: 'lsb' | 'msb'
    readonly phoff: number
    readonly phentsize: number
    readonly phnum: number
    readonly shoff: number
    readonly shentsize: number
    readonly shnum: number
    readonly shstrndx: number
  }
  /** Sizes and addresses as doubles: exact to 2^53. */
  export interface Program {
    readonly offset: number
    readonly filesz: number
  }
  class Parser {
    parseHeader(head: Buffer): Header
    parsePrograms(head: Buffer, header: Header): Program[]
  }
  const elfy: { readonly Parser: typeof Parser }
  export default elfy
}

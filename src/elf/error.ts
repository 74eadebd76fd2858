// The only error of the ELF core. It names what is wrong, where in the file, and the value found there.

/**
 * - `NOT_ELF`: the magic bytes are missing; the file is something else.
 * - `TRUNCATED`: a table or a string lies (partly) past the end of the file.
 * - `MALFORMED`: a field holds a value that no valid file has.
 * - `UNSUPPORTED`: valid, but this core cannot read or edit it (more headers or sections than any real file has).
 * - `REFUSED`: can be read, but cannot be edited safely; the message says why.
 * - `BROKEN`: an edited file fails the verification; it never reaches the disk.
 */
export type ElfErrorCode = 'NOT_ELF' | 'TRUNCATED' | 'MALFORMED' | 'UNSUPPORTED' | 'REFUSED' | 'BROKEN'

/** The only error that a parser, writer or verifier of this folder throws. */
export class ElfError extends Error {
  override readonly name = 'ElfError'
  readonly code: ElfErrorCode
  /** File offset in bytes of the wrong field, where there is one. */
  readonly offset: number | undefined
  /** The value found there, where there is one. */
  readonly value: bigint | number | undefined

  constructor(code: ElfErrorCode, message: string, offset?: number, value?: bigint | number) {
    super(message)
    this.code = code
    this.offset = offset
    this.value = value
  }
}

// The standard streams of the program. Node's own streams take 2 ms to load, and a run with nothing to do has only a line to
// write, or none. So a file or a pipe gets the bytes by write(2), and Node's stream is made for a terminal, and after an
// error: it waits for a pipe that is full and does not block, and it reports the other errors.
import { fstatSync, writeSync } from 'node:fs'
import { errnoOf } from '../../io/error.ts'

/** Standard output or standard error. */
export interface Output {
  readonly isTTY: boolean
  /** The size of the terminal; undefined where the output is not a terminal. */
  readonly columns: number | undefined
  readonly rows: number | undefined
  write(chunk: Uint8Array | string): void
}

interface Chunk {
  readonly output: StandardOutput
  readonly chunk: Uint8Array | string
}

/** What both outputs hold back, in the order of the writes; null when they write at once. */
let held: Chunk[] | null = null
let isIncomplete = false

class StandardOutput implements Output {
  readonly #fd: 1 | 2
  #stream: NodeJS.WriteStream | null = null
  /** null: nobody has asked. */
  #isTerminal: boolean | null = null
  /** The reader closed its end. */
  #isClosed = false

  constructor(fd: 1 | 2) {
    this.#fd = fd
  }

  get isTTY(): boolean {
    this.#isTerminal ??= mayBeTerminal(this.#fd) && this.#nodeStream().isTTY
    return this.#isTerminal
  }

  get columns(): number | undefined {
    return this.isTTY ? this.#nodeStream().columns : undefined
  }

  get rows(): number | undefined {
    return this.isTTY ? this.#nodeStream().rows : undefined
  }

  write(chunk: Uint8Array | string): void {
    if (held !== null) held.push({ output: this, chunk })
    else if (this.#stream !== null) this.#stream.write(chunk)
    else if (this.isTTY) this.#nodeStream().write(chunk)
    else if (!this.#isClosed) this.#writeAll(typeof chunk === 'string' ? Buffer.from(chunk) : chunk)
  }

  #writeAll(bytes: Uint8Array): void {
    let done = 0
    try {
      while (done < bytes.length) done += writeSync(this.#fd, bytes, done)
    } catch (error) {
      const errno = errnoOf(error)
      if (errno === undefined) throw error
      // the work goes on, and the exit status shows its result
      if (errno === 'EPIPE') this.#isClosed = true
      else this.#nodeStream().write(bytes.subarray(done))
    }
  }

  #nodeStream(): NodeJS.WriteStream {
    if (this.#stream !== null) return this.#stream
    const isOutput = this.#fd === 1
    const stream = isOutput ? process.stdout : process.stderr
    stream.on('error', error => {
      if ('code' in error && error.code === 'EPIPE') return
      isIncomplete = true
      process.exitCode = 1
      if (isOutput) standardError.write(`error: the report cannot be written: ${error.message}\n`)
    })
    this.#stream = stream
    return stream
  }
}

/**
 * May this be a terminal? Only a character device can be one. The devices of memory, such as /dev/null, have the major
 * number 1 (Documentation/admin-guide/devices.txt of Linux).
 */
export function mayBeTerminal(fd: number): boolean {
  const status = fstatSync(fd)
  // glibc's gnu_dev_major
  return status.isCharacterDevice() && ((status.rdev >>> 8) & 0xfff) !== 1
}

export const standardOutput: Output = new StandardOutput(1)
export const standardError: Output = new StandardOutput(2)

/** Holds back all output. @returns a function that writes the output or forgets it */
export function holdOutput(): (end: 'write' | 'forget') => void {
  const chunks: Chunk[] = []
  held = chunks
  return end => {
    held = null
    if (end === 'write') for (const { output, chunk } of chunks) output.write(chunk)
  }
}

/** Could something not be written? A reader that closes its end early does not count. */
export function isOutputIncomplete(): boolean {
  return isIncomplete
}

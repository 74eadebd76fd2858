// Memory that is given back at once. V8 keeps the memory of a buffer until it looks for garbage, which a run on few objects
// never does.
import { readSync } from 'node:fs'

/**
 * Lends memory for `size` bytes. Nothing of it may be used afterwards.
 * @param use gets the memory, which holds zeros
 */
export function withMemory<Result>(size: number, use: (bytes: Buffer) => Result): Result {
  const memory = new ArrayBuffer(size, { maxByteLength: size })
  try {
    return use(Buffer.from(memory, 0, size))
  } finally {
    memory.resize(0)
  }
}

/** Reads from the start of an open file until `bytes` is full or the file ends. Returns the part that was read. */
export function filled(fd: number, bytes: Buffer): Buffer {
  let done = 0
  while (done < bytes.length) {
    const count = readSync(fd, bytes, done, bytes.length - done, done)
    if (count === 0) break
    done += count
  }
  return bytes.subarray(0, done)
}

// Memory that is given back at once. V8 keeps the memory of a buffer until it looks for garbage, which a run on few objects
// never does.

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

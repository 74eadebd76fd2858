/** Bytes as they occur: runs, repetitions near and far, and noise. */
export function someContent(size: number, seed: number): Buffer {
  const bytes = Buffer.alloc(size)
  let state = seed | 1
  const next = (limit: number): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return Math.floor((state / 0x1_0000_0000) * limit)
  }
  for (let at = 0; at < size;) {
    const length = Math.min(size - at, 1 + next(400))
    const kind = next(4)
    if (kind === 0) bytes.fill(next(256), at, at + length)
    else if (kind === 1 && at > 0)
      for (let i = 0, from = next(at); i < length; i += 1) bytes[at + i] = bytes[from + i] ?? 0
    else for (let i = 0; i < length; i += 1) bytes[at + i] = kind === 2 ? next(16) : next(256)
    at += length
  }
  return bytes
}

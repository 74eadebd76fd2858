// The standard streams of the program.

/**
 * Lets a reader of the output close its end early.
 * @returns a function that says whether something could not be written
 */
export function watchOutput(): () => boolean {
  let unwritten = false
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', error => {
      // the work goes on, and the exit status shows its result
      if ('code' in error && error.code === 'EPIPE') return
      unwritten = true
      process.exitCode = 1
      if (stream === process.stdout) process.stderr.write(`error: the report cannot be written: ${error.message}\n`)
    })
  }
  return () => unwritten
}

/** Holds back all output. @returns a function that writes the output or forgets it */
export function holdOutput(): (end: 'write' | 'forget') => void {
  const held: { readonly stream: NodeJS.WriteStream; readonly chunk: Uint8Array | string }[] = []
  const streams = [process.stdout, process.stderr].map(stream => ({ stream, write: stream.write.bind(stream) }))
  for (const { stream } of streams) {
    stream.write = (chunk: Uint8Array | string) => {
      held.push({ stream, chunk })
      return true
    }
  }
  return end => {
    for (const { stream, write } of streams) stream.write = write
    if (end === 'write') for (const { stream, chunk } of held) stream.write(chunk)
  }
}

// Work that can be left at some moments: a generator yields at each moment at which nothing is half done.

/** Does all the work at once. */
export function complete<Result>(steps: Generator<undefined, Result>): Result {
  for (;;) {
    const step = steps.next()
    if (step.done === true) return step.value
  }
}

/** Yields when it is asked `every` milliseconds after the last time, so that a signal is noticed soon and costs nothing. */
export function pauses(every: number): () => Generator<undefined, void> {
  let last = Date.now()
  return function* pause() {
    if (Date.now() - last < every) return
    yield
    last = Date.now()
  }
}

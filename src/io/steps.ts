// Work that can be interrupted at safe points: a generator yields at each point where nothing is half done.

/** Does all the work without interruption. */
export function complete<Result>(steps: Generator<undefined, Result>): Result {
  for (;;) {
    const step = steps.next()
    if (step.done === true) return step.value
  }
}

/** Yields at most every `every` milliseconds, so that a signal is noticed soon at no cost. */
export function pauses(every: number): () => Generator<undefined, void> {
  let last = Date.now()
  return function* pause() {
    if (Date.now() - last < every) return
    yield
    last = Date.now()
  }
}

// Handles INT, TERM and HUP while files are written. The run finishes the files that it is writing and prints one line that
// says what is left. Then the signal ends the process.
import { setImmediate } from 'node:timers/promises'
import { WheelfixError } from '../io/error.ts'

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

/**
 * Does work that writes. Before the first step no file is written, so a signal ends the process at once: there is nothing to
 * finish.
 * @param left says what is left to do after a signal, and how to do it
 * @throws WheelfixError `INTERRUPTED` after a signal; the signal ends the process once the error is reported
 */
export async function untilSignal<Result>(steps: Generator<undefined, Result>, left: () => string): Promise<Result> {
  let caught: (typeof SIGNALS)[number] | null = null
  const take = (signal: NodeJS.Signals): void => {
    caught ??= SIGNALS.find(name => name === signal) ?? null
  }
  let isListening = false
  try {
    for (;;) {
      const step = steps.next()
      if (step.done === true) return step.value
      if (!isListening) for (const signal of SIGNALS) process.on(signal, take)
      isListening = true
      // Node reports a signal only between two turns of its event loop
      await setImmediate()
      if (caught !== null) steps.throw(new WheelfixError('INTERRUPTED', `interrupted by ${String(caught)}: ${left()}`))
    }
  } finally {
    if (isListening) await endBySignal(() => caught, take)
  }
}

/**
 * Does work that has its own turns of the event loop, and asks whether a signal came. A second signal ends the process at
 * once.
 * @param work gets a function that returns the name of the signal, or null
 */
export async function withSignals<Result>(
  work: (caught: () => NodeJS.Signals | null) => Promise<Result>,
): Promise<Result> {
  let caught: NodeJS.Signals | null = null
  const take = (signal: NodeJS.Signals): void => {
    caught = signal
    for (const name of SIGNALS) process.off(name, take)
  }
  for (const signal of SIGNALS) process.on(signal, take)
  try {
    return await work(() => caught)
  } finally {
    await endBySignal(() => caught, take)
  }
}

/** Lets the signal end the process. If the last step is done, the report is printed first. */
async function endBySignal(caught: () => NodeJS.Signals | null, take: (signal: NodeJS.Signals) => void): Promise<void> {
  if (caught() === null) await setImmediate()
  for (const signal of SIGNALS) process.off(signal, take)
  const signal = caught()
  // code that waits for this promise runs first
  if (signal !== null) globalThis.setImmediate(() => process.kill(process.pid, signal))
}

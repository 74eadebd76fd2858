// INT, TERM and HUP while files are written: the files in work are finished, one line says what is left, and the process
// ends by the signal.
import { setImmediate } from 'node:timers/promises'
import { WheelfixError } from '../io/error.ts'

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

/**
 * Does work that writes. Its first step is the first moment at which files are about to be written: before that a signal
 * ends the process at once, as there is nothing to finish.
 * @param left what is left to do after a signal, and how it is done
 * @throws WheelfixError `INTERRUPTED` after a signal, by which the process ends once that was said
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
      // Node tells of a signal only between two turns of its loop
      await setImmediate()
      if (caught !== null) steps.throw(new WheelfixError('INTERRUPTED', `interrupted by ${String(caught)}: ${left()}`))
    }
  } finally {
    if (isListening) await endBySignal(() => caught, take)
  }
}

/** After the last step, too, a signal ends the process: when the report is printed. */
async function endBySignal(caught: () => NodeJS.Signals | null, take: (signal: NodeJS.Signals) => void): Promise<void> {
  if (caught() === null) await setImmediate()
  for (const signal of SIGNALS) process.off(signal, take)
  const signal = caught()
  // what waits for this promise goes on first
  if (signal !== null) globalThis.setImmediate(() => process.kill(process.pid, signal))
}

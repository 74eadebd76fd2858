// A progress bar on the terminal for work that takes longer than half a second. Prints nothing if stderr is not a
// terminal.
import type { Output } from './output.ts'

const PATIENCE_MS = 500
const REDRAW_MS = 80
const WIDTH = 28

interface Progress {
  step(done: number, total: number): void
  end(): void
}

/** @param label the text before the bar */
export function progressBar(output: Output, label: string, enabled = true): Progress {
  const start = Date.now()
  let drawn = 0
  return {
    step(done, total) {
      const now = Date.now()
      if (!enabled || !output.isTTY || now - start < PATIENCE_MS || now - drawn < REDRAW_MS) return
      drawn = now
      const full = Math.round((done / Math.max(total, 1)) * WIDTH)
      output.write(`\r${label} ${'█'.repeat(full)}${'░'.repeat(WIDTH - full)} ${done}/${total}\u001B[K`)
    },
    end() {
      if (drawn > 0) output.write('\r\u001B[K')
    },
  }
}

// The first stage of the program: the command line, its help, and answers that an earlier run kept. A shell hook runs at
// every entry of a folder and needs only this. This stage is a fifth of the program, and so starts sooner (launch.ts).
// The bundler leaves out all other code that is loaded on demand, and a request for such code is an error. After this
// error, or any other, the next stage does the work from the start. So this stage changes no files, and prints nothing
// before its end.
import { run } from './run-command-line.ts'
import { holdOutput, isOutputIncomplete } from './report/terminal/output.ts'

/** launch.ts passes this function in. */
declare const startNext: () => void

const endHolding = holdOutput()

void run(process.argv).then(
  status => {
    endHolding('write')
    process.exitCode = isOutputIncomplete() && status === 0 ? 1 : status
  },
  () => {
    endHolding('forget')
    startNext()
  },
)

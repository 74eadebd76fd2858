// The first stage of the program: the command line, its help, and answers that an earlier run kept. A shell hook runs on every
// entry, and for it this is all; it is a quarter of the program, and starts that much sooner (launch.ts). The bundler leaves
// out what is loaded on demand besides that: to ask for it is an error, and then, as after any other error, the whole program
// does the work from the start. So nothing is changed here, and nothing written before the end.
import { run } from './run.ts'
import { holdOutput, watchOutput } from './output.ts'

/** Given by launch.ts. */
declare const startWhole: () => void

const endHolding = holdOutput()

void run(process.argv).then(
  status => {
    const isUnwritten = watchOutput()
    endHolding('write')
    process.exitCode = isUnwritten() && status === 0 ? 1 : status
  },
  () => {
    endHolding('forget')
    startWhole()
  },
)

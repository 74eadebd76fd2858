// The first stage of the program: the command line, its help, and answers that an earlier run kept. A shell hook runs on
// every entry and needs no more. This stage is a quarter of the program, and starts sooner by as much (launch.ts). The
// bundler leaves out everything else that is loaded on demand. A request for it is an error. After this error, as after any
// other, the whole program does the work from the start. So this stage changes nothing, and writes nothing before its end.
import { run } from './run.ts'
import { holdOutput, watchOutput } from './output.ts'

/** launch.ts passes this function in. */
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

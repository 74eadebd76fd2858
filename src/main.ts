// The entry of the bundle.
import { run } from './run.ts'

let unwritten = false

for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', error => {
    // who reads our output may have seen enough: the work goes on, and the status tells how it went
    if ('code' in error && error.code === 'EPIPE') return
    unwritten = true
    process.exitCode = 1
    if (stream === process.stdout) process.stderr.write(`error: the report cannot be written: ${error.message}\n`)
  })
}

void run(process.argv).then(status => {
  process.exitCode = unwritten && status === 0 ? 1 : status
})

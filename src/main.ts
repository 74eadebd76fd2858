// The entry of the bundle.
import { run } from './run.ts'
import { writeLines } from './report/print.ts'
import { SCHEMA } from './report/schema.ts'

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

/** EX_SOFTWARE of sysexits.h: an error of the program itself. */
const BUG = 70

// nothing below expects this error, rejected promises included
process.on('uncaughtException', error => {
  const message = `this is a bug in wheelfix (${error.name}: ${error.message.replaceAll('\n', ' ')})`
  const request = 'Please report it with the file that this writes: wheelfix doctor --bundle wheelfix-bug.zip'
  if (process.argv.includes('--json'))
    process.stdout.write(`${JSON.stringify({ schema: SCHEMA, error: { code: 'BUG', message } })}\n`)
  writeLines(process.stderr, [`error: ${message}. ${request}`])
  if (process.argv.includes('--verbose') || process.argv.includes('-v'))
    writeLines(process.stderr, (error.stack ?? '').split('\n'))
  process.exit(BUG)
})

void run(process.argv).then(status => {
  process.exitCode = unwritten && status === 0 ? 1 : status
})

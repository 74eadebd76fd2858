// The entry of the whole program.
import { run } from './run-command-line.ts'
import { writeLines } from './report/print.ts'
import { SCHEMA } from './report/schema.ts'
import { isOutputIncomplete, standardError, standardOutput } from './report/terminal/output.ts'

/** EX_SOFTWARE of sysexits.h: an error of the program itself. */
const BUG = 70

// no code below expects these errors; rejected promises come here too
process.on('uncaughtException', error => {
  const message = `this is a bug in wheelfix (${error.name}: ${error.message.replaceAll('\n', ' ')})`
  const request =
    'Please report it, and attach the file that this command writes: wheelfix doctor --bundle wheelfix-bug.zip'
  if (process.argv.includes('--json'))
    standardOutput.write(`${JSON.stringify({ schema: SCHEMA, error: { code: 'BUG', message } })}\n`)
  writeLines(standardError, [`error: ${message}. ${request}`])
  if (process.argv.includes('--verbose') || process.argv.includes('-v'))
    writeLines(standardError, (error.stack ?? '').split('\n'))
  process.exit(BUG)
})

void run(process.argv).then(status => {
  process.exitCode = isOutputIncomplete() && status === 0 ? 1 : status
})

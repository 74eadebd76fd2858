// The entry of the bundle.
import { run } from './cli.ts'

// who reads our output may have seen enough
process.stdout.on('error', error => {
  if ('code' in error && error.code === 'EPIPE') process.exit()
  throw error
})

void run(process.argv).then(status => {
  process.exitCode = status
})

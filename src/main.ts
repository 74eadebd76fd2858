// The entry of the bundle.
import { setFlagsFromString } from 'node:v8'
import { run } from './cli.ts'

// V8 lets its nursery grow to 3 x 16 MB before it looks for garbage. What a run leaves behind is little and dies young: on
// a venv of 2,673 objects this keeps 127 MB instead of 167 MB, for 5 % more time.
setFlagsFromString('--semi-space-growth-factor=1')

// who reads our output may have seen enough
process.stdout.on('error', error => {
  if ('code' in error && error.code === 'EPIPE') process.exit()
  throw error
})

void run(process.argv).then(status => {
  process.exitCode = status
})

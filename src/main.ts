// The entry of the bundle.
import { run } from './cli.ts'

void run(process.argv).then(status => {
  process.exitCode = status
})

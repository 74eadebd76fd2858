// The bundler puts this file in the place of node:tty, which chalk loads to ask about the two outputs. It takes 2 ms to load.
// A wrong “yes” does no harm: colour.ts asks again.
import { mayBeTerminal } from './report/terminal/output.ts'

export default { isatty: mayBeTerminal }

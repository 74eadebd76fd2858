// `wheelfix explain`: the meaning of a code.
import { WheelfixError } from '../io/error.ts'
import { nearest } from '../io/words.ts'
import { EXPLANATIONS } from '../inspect/explanations.ts'
import { colours } from '../report/colour.ts'
import { explanationLines, explanationList } from '../report/manual/explain-text.ts'
import { screenOf } from '../report/screen.ts'
import { writeLines } from '../report/print.ts'
import { standardOutput } from '../report/terminal/output.ts'
import { writeDocument } from './shared/documents.ts'
import { reportFailure } from './shared/failure.ts'
import type { OutputOptions } from './shared/command-options.ts'
import type { ExitStatus } from './shared/status.ts'

export type ExplainCommandOptions = OutputOptions

/** `wheelfix explain CODE`. Without a code it lists all codes. An unknown code ends with status 2. */
export function explainCommand(code: string | undefined, options: ExplainCommandOptions): ExitStatus {
  try {
    const found = code === undefined ? EXPLANATIONS : EXPLANATIONS.filter(known => isSame(known.code, code))
    if (found.length === 0) {
      const known = EXPLANATIONS.map(explanation => explanation.code)
      const [first] = nearest(code ?? '', known, 1)
      const advice = first === undefined ? 'wheelfix explain lists all codes' : `did you mean ${first}?`
      throw new WheelfixError('USAGE', `there is no code ${code ?? ''}: ${advice}`)
    }
    const { stdout } = colours(options.color, process.env)
    const { columns } = screenOf(standardOutput, process.env)
    if (options.json === true) writeDocument('explain', { codes: found })
    else if (code === undefined) writeLines(standardOutput, explanationList(found, stdout))
    else
      writeLines(
        standardOutput,
        found.flatMap(item => explanationLines(item, stdout, columns)),
      )
    return 0
  } catch (error) {
    return reportFailure(error, options)
  }
}

function isSame(a: string, b: string): boolean {
  return a.toLowerCase().replaceAll('_', '-') === b.toLowerCase().replaceAll('_', '-')
}

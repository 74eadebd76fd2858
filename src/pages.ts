// The pages of docs/ that are made from the program, so that they always agree with it.
import { makeProgram } from './cli.ts'
import { explanationPage } from './report/manual/explain-text.ts'
import { referencePage } from './report/manual/reference.ts'
import { describe } from './describe.ts'
import { EXPLANATIONS } from './inspect/explanations.ts'

/** Each page by its name. */
export function generatedPages(): [name: string, text: string][] {
  const program = describe(makeProgram('0.0.0', () => {}))
  return [
    ['commands.md', referencePage(program)],
    ['findings.md', explanationPage(EXPLANATIONS)],
  ]
}

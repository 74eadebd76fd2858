// `wheelfix completions`: shell completions and manual pages, made from the program's own definition.
import { WheelfixError } from '../io/error.ts'
import { bashCompletions, fishCompletions, zshCompletions } from '../report/manual/completions.ts'
import { type CommandDescription, manualPage, referencePage } from '../report/manual/reference.ts'
import { reportFailure } from './shared/failure.ts'
import type { ExitStatus } from './shared/status.ts'
import { standardOutput } from '../report/terminal/output.ts'

const FORMS: ReadonlyMap<string, (program: CommandDescription) => string> = new Map([
  ['bash', bashCompletions],
  ['zsh', zshCompletions],
  ['fish', fishCompletions],
  ['man', manualPage],
  ['markdown', referencePage],
])

/** `wheelfix completions SHELL`: prints the script for a shell. An unknown shell ends with status 2. */
export function completionsCommand(what: string, program: CommandDescription): ExitStatus {
  try {
    const form = FORMS.get(what)
    if (form === undefined) {
      throw new WheelfixError('USAGE', `there are no completions for ${what} (known: ${[...FORMS.keys()].join(', ')})`)
    }
    standardOutput.write(form(program))
    return 0
  } catch (error) {
    return reportFailure(error)
  }
}

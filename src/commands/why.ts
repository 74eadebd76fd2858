// `wheelfix why`: parse options → ask the core → render.
import { resolve } from 'node:path'
import { nameIn } from '../inspect/traceback.ts'
import type { WhyObject } from '../inspect/reasons.ts'
import { examine } from '../environment/examine.ts'
import { lookingOnly } from '../environment/run-options.ts'
import { whyOf } from '../inspect/reasons.ts'
import { settledSubject } from '../inspect/settled.ts'
import { subjectOf } from '../inspect/subject.ts'
import { isVenv } from '../python/environment.ts'
import { findKnownEnvironment } from '../state/folders.ts'
import { colours } from '../report/colour.ts'
import { whyLines } from '../report/why-text.ts'
import { writeLines } from '../report/print.ts'
import { screenOf } from '../report/screen.ts'
import { standardOutput } from '../report/terminal/output.ts'
import { foundAsOwner } from './shared/as-owner.ts'
import { whyDocument } from './shared/documents.ts'
import { reportFailure } from './shared/failure.ts'
import { looking, type LibraryOptions, type OwnerOutputOptions } from './shared/command-options.ts'
import { setFlags } from '../environment/engine.ts'
import type { ExitStatus } from './shared/status.ts'
import { targetOf } from './shared/target.ts'

export type WhyCommandOptions = LibraryOptions & OwnerOutputOptions

/**
 * Status 1: a library is missing.
 * @param words the environment, if the user names it, then the name. More words are a traceback line without its
 * quotes
 */
export function whyCommand(words: readonly string[], options: WhyCommandOptions, version: string): ExitStatus {
  const { env } = process
  const cwd = process.cwd()
  try {
    const [first = '', ...rest] = words
    const isNamed = rest.length === 1 || (rest.length > 0 && isVenv(resolve(cwd, first)))
    const venv = foundAsOwner(
      () => findKnownEnvironment(isNamed ? first : undefined, env, cwd, 'wheelfix why DIR NAME'),
      options.asRoot,
    )
    const name = nameIn((isNamed ? rest : words).join(' '))
    const asked = lookingOnly(looking(options))
    setFlags()
    const subject = settledSubject(venv, asked, version) ?? subjectOf(examine(venv, asked))
    const report = whyOf(name, subject, cwd)
    if (options.json === true) standardOutput.write(`${JSON.stringify(whyDocument(name, report, venv))}\n`)
    else if (options.quiet !== true) {
      const style = {
        chalk: colours(options.color, env).stdout,
        verbose: options.verbose === true,
        columns: screenOf(standardOutput, env).columns,
        target: targetOf(venv, env, cwd),
        env,
      }
      writeLines(standardOutput, whyLines(report, venv, style))
    }
    return report.processes.some(({ objects }) => objects.some(isLacking)) ? 1 : 0
  } catch (error) {
    return reportFailure(error, options)
  }
}

function isLacking({ needed }: WhyObject): boolean {
  return needed.some(({ how }) => how === 'missing')
}

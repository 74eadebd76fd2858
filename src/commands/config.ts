// `wheelfix config`: each setting and its source.
import { shownSettings } from '../inspect/settings.ts'
import { findVenv } from '../python/pyvenv.ts'
import { colours } from '../report/colour.ts'
import { settingLines } from '../report/manual/config-text.ts'
import { writeLines } from '../report/print.ts'
import { standardOutput } from '../report/terminal/output.ts'
import { writeDocument } from './shared/documents.ts'
import { reportFailure } from './shared/failure.ts'
import type { OutputOptions } from './shared/command-options.ts'
import type { ExitStatus } from './shared/status.ts'

export type ConfigCommandOptions = OutputOptions

/**
 * `wheelfix config`: prints the settings of an environment and the source of each. `argument`: the environment as the user
 * named it.
 */
export function configCommand(argument: string | undefined, options: ConfigCommandOptions): ExitStatus {
  const { env } = process
  try {
    const venv = findVenv({ argument, env, cwd: process.cwd(), usage: 'wheelfix config DIR' })
    const { file, settings } = shownSettings(venv, env)
    if (options.json === true) writeDocument('config', { venv: venv.root, file, settings })
    else {
      const style = { chalk: colours(options.color, env).stdout, verbose: options.verbose === true }
      writeLines(standardOutput, settingLines(venv.root, file, settings, style))
    }
    return 0
  } catch (error) {
    return reportFailure(error, options)
  }
}

// `wheelfix restore`: every file as it was before.
import { restoreVenv } from '../environment/restore-environment.ts'
import { findVenv } from '../python/pyvenv.ts'
import { type ColourMode, colours } from '../report/colour.ts'
import { writeLines, writeWarnings } from '../report/print.ts'
import { SCHEMA } from '../report/schema.ts'
import { workAsOwner } from './as-owner.ts'
import { reportFailure } from './failure.ts'
import type { ExitStatus } from './status.ts'

export interface RestoreCommandOptions {
  readonly dryRun?: boolean
  readonly editable?: boolean
  readonly json?: boolean
  readonly quiet?: boolean
  readonly verbose?: boolean
  readonly asRoot?: boolean
  readonly color: ColourMode
}

export function restoreCommand(argument: string | undefined, options: RestoreCommandOptions): ExitStatus {
  const colour = colours(options.color, process.env)
  try {
    const venv = findVenv({ argument, env: process.env, cwd: process.cwd() })
    workAsOwner(venv, options.asRoot)
    const { restored, refused, warnings, found } = restoreVenv(venv, {
      dryRun: options.dryRun === true,
      editable: options.editable === true,
    })
    writeWarnings(warnings, colour.stderr, process.env)
    if (options.json === true) {
      const document = { schema: SCHEMA, command: 'restore', venv: venv.root, restored, refused }
      process.stdout.write(`${JSON.stringify(document)}\n`)
      return refused.length > 0 ? 1 : 0
    }
    const lines = refused.map(({ path, reason }) => `${colour.stdout.yellow('!')} ${path}: ${reason}`)
    if (options.quiet !== true) {
      const verb = options.dryRun === true ? 'to restore' : 'restored'
      if (options.verbose === true) lines.unshift(...restored.map(path => colour.stdout.dim(`  ${path}`)))
      lines.unshift(colour.stdout.bold(venv.root))
      lines.push(found ? `${restored.length} objects ${verb}` : 'nothing of wheelfix in this venv: nothing to do')
    }
    writeLines(process.stdout, lines)
    return refused.length > 0 ? 1 : 0
  } catch (error) {
    return reportFailure(error, options.json === true)
  }
}

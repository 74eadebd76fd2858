// `wheelfix restore`: restores every file to what it was before wheelfix.
import { restoreSteps } from '../environment/restore-environment.ts'
import { findVenvOrFolder } from '../state/folders.ts'
import { colours } from '../report/colour.ts'
import { count } from '../io/words.ts'
import { writeLines } from '../report/print.ts'
import { SCHEMA } from '../report/schema.ts'
import { standardOutput } from '../report/terminal/output.ts'
import { foundAsOwner } from './shared/as-owner.ts'
import { reportFailure } from './shared/failure.ts'
import { setFlags } from '../environment/engine.ts'
import { untilSignal } from './interruptible.ts'
import { type FolderResult, overFolders, type PutDocument } from './shared/several.ts'
import type { OwnerOutputOptions } from './shared/command-options.ts'
import type { ExitStatus } from './shared/status.ts'
import { warn } from './shared/warnings.ts'

export interface RestoreCommandOptions extends OwnerOutputOptions {
  readonly dryRun?: boolean | undefined
  readonly editable?: boolean | undefined
}

/** `wheelfix restore DIR…`: gives each environment its original files back. */
export function restoreCommand(folders: readonly string[], options: RestoreCommandOptions): Promise<ExitStatus> {
  return overFolders('restore', folders, options, (folder, put) => restoreOne(folder, options, put))
}

/** The most objects that could not be restored that are named without --verbose. */
const MOST_REFUSED = 10

async function restoreOne(
  argument: string | undefined,
  options: RestoreCommandOptions,
  put: PutDocument,
): Promise<FolderResult> {
  const colour = colours(options.color, process.env)
  try {
    const venv = foundAsOwner(
      () => findVenvOrFolder(argument, process.env, process.cwd(), 'wheelfix restore DIR'),
      options.asRoot,
    )
    setFlags()
    const { restored, refused, warnings, found, nested } = await untilSignal(
      restoreSteps(venv, {
        dryRun: options.dryRun === true,
        editable: options.editable === true,
        env: process.env,
      }),
      () => 'some files are not restored yet; the next `wheelfix restore` completes the work',
    )
    warn(warnings, options)
    if (options.json === true) {
      const document = { schema: SCHEMA, command: 'restore', venv: venv.root, restored, refused }
      put(document)
      return { status: refused.length > 0 ? 1 : 0, next: nested }
    }
    const shown =
      options.verbose === true || refused.length <= MOST_REFUSED + 1 ? refused : refused.slice(0, MOST_REFUSED)
    const lines = shown.map(({ path, reason }) => `${colour.stdout.yellow('!')} ${path}: ${reason}`)
    const more = refused.length - shown.length
    if (more > 0) lines.push(colour.stdout.dim(`  and ${more} more (-v shows all)`))
    if (options.quiet !== true) {
      const verb = options.dryRun === true ? 'to restore' : 'restored'
      if (options.verbose === true) lines.unshift(...restored.map(path => colour.stdout.dim(`  ${path}`)))
      lines.unshift(colour.stdout.bold(venv.root))
      lines.push(
        found && (restored.length > 0 || refused.length > 0)
          ? `${count(restored.length, 'object')} ${verb}`
          : `${warnings.length > 0 ? '' : 'wheelfix has changed nothing here: '}nothing to restore`,
      )
    }
    writeLines(standardOutput, lines)
    return { status: refused.length > 0 ? 1 : 0, next: nested }
  } catch (error) {
    return { status: reportFailure(error, options, put), next: [] }
  }
}

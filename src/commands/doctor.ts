// `wheelfix doctor`: parse options → ask the core → render.
import type { BundleInput } from '../inspect/bundle/bundle.ts'
import { diagnose, type DoctorOptions, type DoctorReport } from '../inspect/diagnose.ts'
import { WheelfixError } from '../io/error.ts'
import { findKnownEnvironment } from '../state/folders.ts'
import type { Finding } from '../inspect/findings.ts'
import { screenOf } from '../report/screen.ts'
import { colours } from '../report/colour.ts'
import { doctorLines } from '../report/doctor-text.ts'
import { writeLines } from '../report/print.ts'
import { standardError, standardOutput } from '../report/terminal/output.ts'
import { foundAsOwner } from './shared/as-owner.ts'
import { type Bundle, bundleLines, writeBundle } from './doctor-bundle.ts'
import { doctorDocument } from './shared/documents.ts'
import { reportFailure } from './shared/failure.ts'
import { setFlags } from '../environment/engine.ts'
import { overFolders, type PutDocument } from './shared/several.ts'
import { looking, type LibrarySetOptions, type OwnerOutputOptions } from './shared/command-options.ts'
import type { ExitStatus } from './shared/status.ts'
import { aimed, targetOf } from './shared/target.ts'

export interface DoctorCommandOptions extends LibrarySetOptions, OwnerOutputOptions {
  readonly import?: boolean | undefined
  /** A file for a bug report. */
  readonly bundle?: string | undefined
}

/** Status 1: one of the environments has an error or a warning. */
export async function doctorCommand(
  folders: readonly string[],
  options: DoctorCommandOptions,
  version: string,
): Promise<ExitStatus> {
  if (options.bundle !== undefined && folders.length > 1)
    return reportFailure(new WheelfixError('USAGE', '--bundle is about one environment: name one folder'), options)
  return overFolders('doctor', folders, options, async (folder, put) => ({
    status: await doctorOne(folder, options, version, put),
    next: [],
  }))
}

async function doctorOne(
  argument: string | undefined,
  options: DoctorCommandOptions,
  version: string,
  put: PutDocument,
): Promise<ExitStatus> {
  const { env } = process
  const cwd = process.cwd()
  try {
    const venv = foundAsOwner(() => findKnownEnvironment(argument, env, cwd, 'wheelfix doctor DIR'), options.asRoot)
    const asked: DoctorOptions = { ...looking(options), imports: options.import === true }
    const write = (result: Pick<BundleInput, 'report' | 'crash'>): Promise<Bundle | null> => {
      if (options.bundle === undefined) return Promise.resolve(null)
      return writeBundle(options.bundle, { venv, options: asked, version, ...result })
    }
    setFlags()
    const target = targetOf(venv, env, cwd)
    let report: DoctorReport
    try {
      const { findings, ...rest } = diagnose(venv, asked)
      report = { ...rest, findings: findings.map(finding => aimed(finding, target)) }
    } catch (error) {
      // a bundle is most useful when doctor itself fails
      const bundle = error instanceof WheelfixError ? null : await write({ report: null, crash: error })
      if (bundle !== null) writeLines(options.json === true ? standardError : standardOutput, bundleLines(bundle))
      throw error
    }
    const bundle = await write({ report, crash: null })
    const status = report.findings.some(isProblem) ? 1 : 0
    if (options.json === true) put({ ...doctorDocument(report), ...(bundle === null ? {} : { bundle }) })
    else if (status !== 0 || options.quiet !== true) {
      const shown = options.quiet === true ? { ...report, findings: report.findings.filter(isProblem) } : report
      const { stdout } = colours(options.color, env)
      writeLines(
        standardOutput,
        doctorLines(shown, {
          chalk: stdout,
          verbose: options.verbose === true,
          columns: screenOf(standardOutput, env).columns,
          target,
        }),
      )
    }
    if (bundle !== null && options.json !== true) writeLines(standardOutput, bundleLines(bundle))
    return status
  } catch (error) {
    return reportFailure(error, options, put)
  }
}

function isProblem({ severity }: Finding): boolean {
  return severity !== 'note'
}

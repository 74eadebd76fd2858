// `wheelfix doctor`: parse options → ask the core → render.
import { diagnose, type DoctorReport } from '../inspect/diagnose.ts'
import { findEnvironment } from '../state/folders.ts'
import type { Finding } from '../inspect/findings.ts'
import { screenOf } from '../report/layout.ts'
import { type ColourMode, colours } from '../report/colour.ts'
import { doctorLines } from '../report/doctor-text.ts'
import { writeLines } from '../report/print.ts'
import { SCHEMA } from '../report/schema.ts'
import { foundAsOwner } from './as-owner.ts'
import { reportFailure } from './failure.ts'
import { overFolders, type PutDocument } from './several.ts'
import type { ExitStatus } from './status.ts'

export interface DoctorCommandOptions {
  readonly import?: boolean | undefined
  readonly json?: boolean | undefined
  readonly libs: readonly string[]
  readonly scan: boolean
  readonly trust: readonly string[]
  readonly ignoreMissing: readonly string[]
  readonly ignore: readonly string[]
  readonly verbose?: boolean | undefined
  readonly asRoot?: boolean | undefined
  readonly quiet?: boolean | undefined
  readonly color: ColourMode
}

/** Status 1: there is an error or a warning in one of them. */
export function doctorCommand(folders: readonly string[], options: DoctorCommandOptions): Promise<ExitStatus> {
  return overFolders('doctor', folders, options, (folder, put) => ({
    status: doctorOne(folder, options, put),
    next: [],
  }))
}

function doctorOne(argument: string | undefined, options: DoctorCommandOptions, put: PutDocument): ExitStatus {
  const { env } = process
  const cwd = process.cwd()
  try {
    const venv = foundAsOwner(() => findEnvironment(argument, env, cwd), options.asRoot)
    const report = diagnose(venv, {
      libs: options.libs,
      noScan: !options.scan,
      trust: options.trust,
      ignoreMissing: options.ignoreMissing,
      ignore: options.ignore,
      imports: options.import === true,
      env,
      cwd,
    })
    const status = report.findings.some(isProblem) ? 1 : 0
    if (options.json === true) put(doctorDocument(report))
    else if (status !== 0 || options.quiet !== true) {
      const shown = options.quiet === true ? { ...report, findings: report.findings.filter(isProblem) } : report
      const { stdout } = colours(options.color, env)
      writeLines(
        process.stdout,
        doctorLines(shown, stdout, options.verbose === true, screenOf(process.stdout, env).columns),
      )
    }
    return status
  } catch (error) {
    return reportFailure(error, options, put)
  }
}

function isProblem({ severity }: Finding): boolean {
  return severity !== 'note'
}

function doctorDocument({ venv, findings, asked, imported }: DoctorReport) {
  return { schema: SCHEMA, command: 'doctor', venv: venv.root, asked, imported, findings }
}

// `wheelfix doctor`: parse options → ask the core → render.
import { diagnose, type DoctorReport } from '../inspect/diagnose.ts'
import { findVenv } from '../python/pyvenv.ts'
import { type ColourMode, colours } from '../report/colour.ts'
import { doctorLines } from '../report/doctor-text.ts'
import { writeLines } from '../report/print.ts'
import { SCHEMA } from '../report/schema.ts'
import { workAsOwner } from './as-owner.ts'
import { reportFailure } from './failure.ts'
import type { ExitStatus } from './status.ts'

export interface DoctorCommandOptions {
  readonly import?: boolean
  readonly json?: boolean
  readonly libs: readonly string[]
  readonly scan: boolean
  readonly trust: readonly string[]
  readonly ignoreMissing: readonly string[]
  readonly ignore: readonly string[]
  readonly verbose?: boolean
  readonly asRoot?: boolean
  readonly color: ColourMode
}

/** Status 1: there is an error or a warning. */
export function doctorCommand(argument: string | undefined, options: DoctorCommandOptions): ExitStatus {
  const { env } = process
  const cwd = process.cwd()
  try {
    const venv = findVenv({ argument, env, cwd })
    workAsOwner(venv, options.asRoot)
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
    if (options.json === true) process.stdout.write(`${JSON.stringify(doctorDocument(report))}\n`)
    else {
      const { stdout } = colours(options.color, env)
      writeLines(process.stdout, doctorLines(report, stdout, options.verbose === true))
    }
    return report.findings.some(({ severity }) => severity !== 'note') ? 1 : 0
  } catch (error) {
    return reportFailure(error, options.json === true)
  }
}

function doctorDocument({ venv, findings, asked, imported }: DoctorReport) {
  return { schema: SCHEMA, command: 'doctor', venv: venv.root, asked, imported, findings }
}

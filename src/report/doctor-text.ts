// The findings of `wheelfix doctor` for a person: the worst first, each with its remedy.
import type { ChalkInstance } from 'chalk'
import { agree, count } from '../io/words.ts'
import { wrap } from './screen.ts'
import type { DoctorReport } from '../inspect/diagnose.ts'
import type { Finding } from '../inspect/findings.ts'

const SHOWN = 3
const RANK = { error: 0, warning: 1, note: 2 } as const

/** The lines of `wheelfix doctor`: the findings, the most severe first. `columns`: the width of the screen in characters. */
export function doctorLines(report: DoctorReport, chalk: ChalkInstance, verbose: boolean, columns: number): string[] {
  const findings = report.findings.toSorted((a, b) => RANK[a.severity] - RANK[b.severity])
  return [
    chalk.bold(report.venv.root),
    askedLine(report, chalk),
    ...findings.flatMap(finding => ['', ...findingLines(finding, chalk, verbose)]),
    '',
    summary(findings, chalk),
    ...(findings.length === 0 ? [] : [chalk.dim('→ to see more: wheelfix explain CODE')]),
  ].flatMap(line => wrap(line, columns, 4))
}

function askedLine({ asked, imported, findings }: DoctorReport, chalk: ChalkInstance): string {
  const wrong = findings.filter(({ code }) => code === 'loader-differs').length
  const agreed = wrong === 0 ? 'all match' : `${wrong} ${agree(wrong, 'differs', 'differ')}`
  const text =
    asked === 0
      ? 'the real loader was not asked'
      : `checked ${count(asked, 'object')} against the real loader: ${agreed}`
  return chalk.dim(imported === null ? text : `${text}; imported ${count(imported, 'module')}`)
}

function findingLines(
  { code, severity, message, remedy, paths }: Finding,
  chalk: ChalkInstance,
  verbose: boolean,
): string[] {
  const mark = { error: chalk.red('✗'), warning: chalk.yellow('!'), note: chalk.dim('-') }[severity]
  const shown = verbose ? paths : paths.slice(0, SHOWN)
  const more = paths.length > shown.length ? [chalk.dim(`    and ${paths.length - shown.length} more`)] : []
  return [
    `${mark} ${message}  ${chalk.dim(code)}`,
    ...shown.map(path => chalk.dim(`    ${path}`)),
    ...more,
    ...(remedy === null ? [] : [`  → ${remedy}`]),
  ]
}

function summary(findings: readonly Finding[], chalk: ChalkInstance): string {
  const of = (severity: Finding['severity']) => findings.filter(finding => finding.severity === severity).length
  const parts = [
    of('error') > 0 ? chalk.red(count(of('error'), 'error')) : '',
    of('warning') > 0 ? chalk.yellow(count(of('warning'), 'warning')) : '',
    of('note') > 0 ? count(of('note'), 'note') : '',
  ].filter(part => part !== '')
  return parts.length === 0 ? `${chalk.green('✓')} no problems found` : parts.join(', ')
}

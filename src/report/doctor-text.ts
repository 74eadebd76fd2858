// The findings of `wheelfix doctor` for a person: the worst first, each with its remedy.
import type { ChalkInstance } from 'chalk'
import { agree, count } from '../io/words.ts'
import { widthOf, wrap } from './screen.ts'
import type { DoctorReport } from '../inspect/diagnose.ts'
import type { Finding } from '../inspect/findings.ts'
import { AFTER_THE_LOADER } from '../inspect/real-loader/compare.ts'

const SHOWN = 3
const RANK = { error: 0, warning: 1, note: 2 } as const

interface DoctorStyle {
  readonly chalk: ChalkInstance
  readonly verbose: boolean
  /** The width of the screen. */
  readonly columns: number
  /** The words that select the environment in a command: empty, or a space and its folder. */
  readonly target: string
}

/** The lines of `wheelfix doctor`: the findings, the most severe first. */
export function doctorLines(report: DoctorReport, style: DoctorStyle): string[] {
  const { chalk, columns, target } = style
  const folded = style.verbose ? 0 : report.findings.filter(isExplained).length
  const findings = report.findings
    .filter(finding => folded === 0 || !isExplained(finding))
    .toSorted((a, b) => RANK[a.severity] - RANK[b.severity])
  const lastFault = findings.findLast(({ code }) => code === 'loader-fault')
  return [
    chalk.bold(report.venv.root),
    ...wrap(askedLine(report, chalk), columns, HANGING),
    ...findings.flatMap(finding => [
      '',
      ...findingLines(finding, style),
      ...(finding === lastFault && folded > 0 ? foldedLines(folded, style) : []),
    ]),
    '',
    ...wrap(summary(findings, chalk), columns, HANGING),
    ...(isManyToBuild(findings) ? [`→ to add all that is missing: wheelfix libs build --missing${target}`] : []),
    ...(findings.length === 0 ? [] : [chalk.dim('→ to see more: wheelfix explain CODE')]),
  ]
}

const HANGING = 4

/** Does a fault of the private loader explain this difference? Then a `loader-fault` is among the findings, too. */
function isExplained({ code, remedy }: Finding): boolean {
  return code === 'loader-differs' && remedy === AFTER_THE_LOADER
}

function foldedLines(folded: number, { chalk, columns }: DoctorStyle): string[] {
  const text = `  this explains ${count(folded, 'difference')} from the real loader, not listed here (-v shows all)`
  return wrap(text, columns, HANGING).map(line => chalk.dim(line))
}

/** Do several errors ask for packages? Then one command builds them all. */
function isManyToBuild(findings: readonly Finding[]): boolean {
  const isToBuild = ({ severity, remedy }: Finding) =>
    severity === 'error' && remedy?.startsWith('wheelfix libs build ')
  return findings.filter(isToBuild).length > 1
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
  { chalk, verbose, columns }: DoctorStyle,
): string[] {
  const mark = { error: chalk.red('✗'), warning: chalk.yellow('!'), note: chalk.dim('-') }[severity]
  const shown = verbose ? paths : paths.slice(0, SHOWN)
  const more = paths.length > shown.length ? [chalk.dim(`    and ${paths.length - shown.length} more`)] : []
  return [
    ...wrap(`${mark} ${message}  ${chalk.dim(code)}`, columns, HANGING),
    ...shown.map(path => chalk.dim(`    ${path}`)),
    ...more,
    ...(remedy === null ? [] : remedyLines(remedy, columns)),
  ]
}

/** A command is never broken into lines, so that users can paste it. */
function remedyLines(remedy: string, columns: number): string[] {
  const line = `  → ${remedy}`
  const at = remedy.search(COMMAND)
  if (at === -1 || widthOf(line) <= columns) return wrap(line, columns, HANGING)
  const before = remedy.slice(0, at).trimEnd()
  return before === '' ? [line] : [...wrap(`  → ${before}`, columns, HANGING), `    ${remedy.slice(at)}`]
}

/** Where a command begins: at the start of a remedy, or after a colon. */
const COMMAND = /(?<=^|: )(?:wheelfix|sudo|export|uv|pip) /

function summary(findings: readonly Finding[], chalk: ChalkInstance): string {
  const of = (severity: Finding['severity']) => findings.filter(finding => finding.severity === severity).length
  const parts = [
    of('error') > 0 ? chalk.red(count(of('error'), 'error')) : '',
    of('warning') > 0 ? chalk.yellow(count(of('warning'), 'warning')) : '',
    of('note') > 0 ? count(of('note'), 'note') : '',
  ].filter(part => part !== '')
  return parts.length === 0 ? `${chalk.green('✓')} no problems found` : parts.join(', ')
}

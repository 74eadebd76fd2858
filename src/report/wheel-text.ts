// The report of `wheelfix wheel` for a person: one block for each wheel.
import { basename, posix } from 'node:path'
import type { ChalkInstance } from 'chalk'
import type { PolicyReport } from '../wheel/policy.ts'
import type { MissingOfWheel, WheelReport } from '../wheel/wheel-report.ts'
import { detailLines } from './run/run-details.ts'
import { servedSonames } from './run/collect-facts.ts'
import { shortPath } from './screen.ts'
import { SOURCE_WORDS } from './source-words.ts'

interface WheelStyle {
  readonly chalk: ChalkInstance
  readonly quiet: boolean
  readonly verbose: boolean
}

/** The lines of one wheel. In quiet mode only problems. */
export function wheelLines(report: WheelReport, style: WheelStyle): string[] {
  const { chalk, quiet } = style
  const trouble = [
    ...report.refused.map(({ path, reason }) => `  ${chalk.yellow('!')} ${path} was not changed: ${reason}`),
    ...missingLines(report.missing, style),
  ]
  if (quiet) return trouble.length === 0 ? [] : [chalk.bold(basename(report.path)), ...trouble]
  return [
    firstLine(report, chalk),
    ...changeLines(report, style),
    ...report.notes.map(note => `  ${chalk.yellow('!')} ${note}`),
    ...policyLines(report.policy, style),
    ...trouble,
  ]
}

function firstLine(report: WheelReport, chalk: ChalkInstance): string {
  const { path, output, status, written, outcomes, restored, original, policy } = report
  const name = chalk.bold(basename(path))
  // the folder shows which of two files with the same name is the result
  const where = output !== null && basename(output) === basename(path) ? `${posix.dirname(output)}/` : output
  const to = where === null || output === path || policy !== null ? '' : ` → ${where}`
  const count = outcomes.filter(({ planned, status }) => planned.change !== null && status !== 'refused').length
  const objects = `${outcomes.length} ${outcomes.length === 1 ? 'object' : 'objects'}`
  switch (status) {
    case 'patched':
      return `${chalk.green('✓')} ${name}: ${count} of ${objects} patched${to}`
    case 'patch':
      return `${chalk.green('•')} ${name}: ${count} of ${objects} to patch${to}`
    case 'restored':
      return `${chalk.green('✓')} ${name}: ${restored} restored${original === 'archive' ? ', the original byte for byte' : ''}${to}`
    case 'restore':
      return `${chalk.green('•')} ${name}: ${restored} to restore${to}`
    case 'fine':
      return `${chalk.green('✓')} ${name}: nothing to do${to === '' ? '' : `, ${written ? 'copied' : 'will be copied'}${to}`}`
  }
}

/** What the wheel finds now that it did not find before, and where. */
function changeLines(report: WheelReport, { chalk, verbose }: WheelStyle): string[] {
  const { outcomes, plan, show } = report
  const changed = outcomes.filter(({ status }) => status === 'patch' || status === 'patched')
  const providers = new Map<string, string>()
  for (const outcome of changed) {
    const gains = servedSonames(outcome)
    for (const { soname, provider } of outcome.planned.needed)
      if (provider !== null && gains.includes(soname) && !providers.has(soname)) providers.set(soname, provider)
  }
  const width = Math.max(0, ...[...providers.keys()].map(soname => soname.length))
  const lines = [...providers]
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([soname, provider]) => {
      const source = plan?.libraries.find(library => library.soname === soname)?.source
      const folder = posix.dirname(show(provider))
      return `  ${soname.padEnd(width)}  ${folder === '.' ? "in the wheel's top folder" : verbose ? folder : shortPath(folder)}${source === undefined ? '' : `  ${chalk.dim(SOURCE_WORDS[source])}`}`
    })
  return verbose ? [...lines, ...changed.flatMap(outcome => detailLines(outcome, chalk, show))] : lines
}

function missingLines(missing: readonly MissingOfWheel[], { chalk, quiet, verbose }: WheelStyle): string[] {
  const counted = missing.filter(({ optional, expected }) => !optional && !expected)
  const optional = missing.filter(({ optional, expected }) => optional && !expected)
  const expected = missing.filter(library => library.expected)
  const lines = counted.flatMap(library => {
    const line = `  ${chalk.red('✗')} missing: ${library.soname}  ${chalk.dim(neededBy(library.neededBy, verbose))}`
    return library.hint === null ? [line] : [line, `      ${library.hint}`]
  })
  if (quiet) return lines
  const rest = (words: string, libraries: readonly MissingOfWheel[]): string[] => {
    if (libraries.length === 0) return []
    if (!verbose) return [`  ${chalk.dim('-')} ${words}: ${libraries.map(({ soname }) => soname).join(' ')}`]
    return libraries.map(
      library => `  ${chalk.dim('-')} ${words}: ${library.soname}  ${chalk.dim(neededBy(library.neededBy, true))}`,
    )
  }
  return [
    ...lines,
    ...rest('optional, needed only by plugins', optional),
    ...rest('expected from other packages (--with) or the graphics driver', expected),
  ]
}

const SHOWN = 3

function neededBy(paths: readonly string[], verbose: boolean): string {
  const shown = verbose ? paths : paths.slice(0, SHOWN)
  const more = paths.length > shown.length ? ` and ${paths.length - shown.length} more` : ''
  return `needed by ${shown.join(', ')}${more}`
}

/** What the wheel needs from the system, next to what its tags promise. */
function policyLines(policy: PolicyReport | null, { chalk, verbose }: WheelStyle): string[] {
  if (policy === null) return []
  const { claims, keeps, external, versions, tooNew } = policy
  const outside = external.filter(library => library.outside)
  const inside = external.filter(library => !library.outside)
  const versionText = Object.entries(versions).map(([family, version]) => {
    const limit = tooNew[family]
    const text = `${family}_${version}`
    return limit === undefined ? text : chalk.red(`${text} (its tag allows ${limit})`)
  })
  const outsideLines = verbose
    ? outside.map(
        library => `  outside  ${chalk.yellow(library.soname)}  ${chalk.dim(neededBy(library.neededBy, true))}`,
      )
    : [`  outside  ${chalk.yellow(outside.map(({ soname }) => soname).join(' '))}`]
  return [
    `  claims   ${claims.length === 0 ? 'no policy' : claims.join(', ')}`,
    `  keeps    ${keeps ?? chalk.yellow('no policy')}`,
    `  wants    ${inside.map(({ soname }) => soname).join(' ') || 'no library of the system'}`,
    ...(versionText.length === 0 ? [] : [`           ${versionText.join(' ')}`]),
    ...(outside.length === 0 ? [] : outsideLines),
  ]
}

// The report of a run for a person: what changed per package, which libraries serve, what is missing and what to do.
import type { ChalkInstance } from 'chalk'
import type { Applied } from '../resolve/plan.ts'
import type { MissingLibrary } from '../resolve/missing.ts'
import type { VenvReport } from '../environment/report.ts'
import { directoryOf, fileNameOf, relativeTo } from '../io/path.ts'

export interface ReportStyle {
  readonly chalk: ChalkInstance
  /** Nothing was written: changes are still to be made. */
  readonly pending: boolean
  readonly quiet: boolean
  /** What only plugins miss counts, too. */
  readonly strict: boolean
  readonly verbose: boolean
}

/** The lines of the report. In quiet mode only what is not well, for a run whose status is not 0. */
export function reportLines(report: VenvReport, style: ReportStyle): string[] {
  const { chalk, quiet } = style
  const blocks: string[][] = []
  if (quiet) blocks.push([chalk.bold(report.venv.root)])
  else blocks.push(headLines(report, chalk), loaderLines(report, style), changeLines(report, style))
  if (!quiet) blocks.push(libraryLines(report, style))
  blocks.push(refusedLines(report, chalk), missingLines(report, style), [summaryLine(report, style)])
  return blocks.filter(block => block.length > 0).flatMap((block, index) => (index === 0 ? block : ['', ...block]))
}

function headLines({ venv, interpreter, libc, nixLd }: VenvReport, chalk: ChalkInstance): string[] {
  const version = libc.version === null ? libc.kind : `${libc.kind} ${libc.version}`
  return [
    chalk.bold(venv.root),
    chalk.dim(`Python ${interpreter.version}  ${interpreter.program}`),
    chalk.dim(`${version}  ${libc.dir}`),
    ...(nixLd?.nixLd == null ? [] : [chalk.dim(`programs  nix-ld ${nixLd.nixLd.shim}, which starts ${nixLd.loader}`)]),
  ]
}

/** The private loader: what starts the venv's Python, and what its cache serves. */
function loaderLines({ loader, venv }: VenvReport, { chalk, verbose }: ReportStyle): string[] {
  if (loader === null) return []
  const { plan, status } = loader
  const verb = { fine: 'is in place', patch: 'is to be made', patched: 'made' }[status]
  const { libraries } = plan.content
  const folders = new Set(libraries.map(({ path }) => directoryOf(path)))
  const mark = status === 'fine' ? chalk.dim('-') : chalk.green(status === 'patch' ? '•' : '✓')
  return [
    `${mark} private loader ${verb}  ${chalk.dim(relativeTo(venv.root, plan.loader))}`,
    ...plan.copies.flatMap(({ paths, source }) =>
      paths.map(path => {
        const origin = path === source ? 'with the private loader' : `copy of ${source}`
        return `    ${relativeTo(venv.root, path)}  ${chalk.dim(origin)}`
      }),
    ),
    `    ${libraries.length} names of ${folders.size} folders are found by it`,
    ...(verbose ? libraries.map(({ soname, path }) => chalk.dim(`      ${soname}  ${path}`)) : []),
  ]
}

/** One line a package. */
function changeLines({ outcomes, venv }: VenvReport, { chalk, verbose, pending }: ReportStyle): string[] {
  const changed = outcomes.filter(({ status }) => status === 'patch' || status === 'patched')
  const packages = new Map<string, Applied[]>()
  for (const outcome of changed) {
    const name = outcome.planned.distribution ?? '(no package)'
    packages.set(name, [...(packages.get(name) ?? []), outcome])
  }
  const width = Math.max(...[...packages.keys()].map(name => name.length), 0)
  const digits = String(Math.max(...[...packages.values()].map(items => items.length), 0)).length
  return [...packages]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .flatMap(([name, items]) => {
      const gains = [...new Set(items.flatMap(item => servedSonames(item)))].sort()
      const programs = items.filter(({ planned: { change } }) => change?.interpreter !== undefined).length
      if (programs > 0) gains.push(programs === 1 ? 'loader of a program' : `loader of ${programs} programs`)
      if (items.some(({ planned }) => planned.change?.regraft === true)) gains.push('C++ exceptions')
      const count = `${String(items.length).padStart(digits)} ${pending ? 'to patch' : 'patched'}`
      const line = `${chalk.green(pending ? '•' : '✓')} ${name.padEnd(width)}  ${count}  ${chalk.dim(gains.join(' '))}`
      return verbose ? [line, ...items.flatMap(item => detailLines(item, chalk, venv.root))] : [line]
    })
}

/** What the object now finds through the entries that it got. */
export function servedSonames({ planned }: Applied): string[] {
  const { change } = planned
  const added = new Set(change?.rpath?.after)
  for (const entry of change?.rpath?.before ?? []) added.delete(entry)
  return planned.needed
    .filter(({ how, resolution }) => how === 'found' && added.has(resolution?.because.entry ?? ''))
    .map(({ soname }) => soname)
}

export function detailLines({ planned }: Applied, chalk: ChalkInstance, root: string): string[] {
  const lines = [chalk.dim(`    ${relativeTo(root, planned.path)}`)]
  const { rpath, interpreter, regraft } = planned.change ?? {}
  if (rpath !== undefined) {
    const gone = rpath.before.filter(entry => !rpath.after.includes(entry))
    lines.push(...gone.map(entry => `      ${chalk.red('-')} ${rpath.tag} ${entry}`))
    for (const entry of rpath.after) {
      const old = rpath.before.includes(entry)
      lines.push(old ? chalk.dim(`        ${rpath.tag} ${entry}`) : `      ${chalk.green('+')} ${rpath.tag} ${entry}`)
    }
  }
  if (interpreter !== undefined) {
    lines.push(`      ${chalk.red('-')} PT_INTERP ${interpreter.before}`)
    lines.push(`      ${chalk.green('+')} PT_INTERP ${interpreter.after}`)
  }
  if (regraft === true) lines.push(`      ${chalk.green('+')} program headers that the loader does not zero`)
  return lines
}

function libraryLines({ plan }: VenvReport, { chalk, verbose }: ReportStyle): string[] {
  if (plan.libraries.length === 0) return []
  const width = Math.max(...plan.libraries.map(({ soname }) => soname.length))
  return [
    'Libraries',
    ...plan.libraries.flatMap(({ soname, path, source }) => {
      const directory = directoryOf(path)
      const line = `  ${soname.padEnd(width)}  ${directory}  ${chalk.dim(SOURCE_WORDS[source])}`
      const others = verbose ? (plan.clashes.find(clash => clash.soname === soname)?.reasons ?? []) : []
      return [line, ...others.map(clash => chalk.dim(`    passed over: ${clash}`))]
    }),
  ]
}

export const SOURCE_WORDS = {
  flag: '--libs',
  config: 'configuration',
  env: 'WHEELFIX_LIBS',
  closure: "the interpreter's own",
  ldflags: 'NIX_LDFLAGS',
  'nix-ld': 'nix-ld',
  default: 'WHEELFIX_DEFAULT_LIBS',
  scan: 'found in the store',
  trust: '--trust',
} as const

function refusedLines({ outcomes, unreadable }: VenvReport, chalk: ChalkInstance): string[] {
  const refused = outcomes
    .filter(({ status }) => status === 'refused')
    .map(({ planned, reason, unrecorded }) => ({ relative: planned.relative, reason: reason ?? '', unrecorded }))
  const block = (heading: string, items: readonly { readonly relative: string; readonly reason: string }[]): string[] =>
    items.length === 0
      ? []
      : [heading, ...items.map(({ relative, reason }) => `  ${chalk.yellow('!')} ${relative}: ${reason}`)]
  return [
    ...block('Left as they are', [...refused.filter(({ unrecorded }) => unrecorded !== true), ...unreadable]),
    ...block(
      'Not done to the end',
      refused.filter(({ unrecorded }) => unrecorded === true),
    ),
  ]
}

/** How many of the files that need a soname are shown without --verbose. */
const SHOWN = 3

function missingLines({ missing }: VenvReport, { chalk, verbose, quiet, strict }: ReportStyle): string[] {
  const counting = missing.filter(({ optional }) => !optional)
  const lines = missingBlock('Missing', counting, chalk, verbose)
  const attributes = new Set(counting.flatMap(({ attribute }) => attribute ?? []))
  if (attributes.size > 0) lines.push(`  to add: libs = with pkgs; [ ${[...attributes].sort().join(' ')} ]`)
  if (quiet && !strict) return lines
  const rest = missing.filter(({ optional }) => optional)
  return [...lines, ...missingBlock('Missing, but only for plugins that nothing links to', rest, chalk, verbose)]
}

function missingBlock(
  title: string,
  libraries: readonly MissingLibrary[],
  chalk: ChalkInstance,
  verbose: boolean,
): string[] {
  if (libraries.length === 0) return []
  const width = Math.max(...libraries.map(({ soname }) => soname.length))
  const lines = libraries.flatMap(({ soname, neededBy, through, packages, hint, optional }) => {
    const mark = optional ? chalk.dim('-') : chalk.red('✗')
    const shown = verbose ? neededBy : neededBy.slice(0, SHOWN).map(path => fileNameOf(path))
    const more = neededBy.length > shown.length ? ` and ${neededBy.length - shown.length} more` : ''
    const who = packages.length === 0 ? '' : `${packages.join(', ')}: `
    const line = `  ${mark} ${soname.padEnd(width)}  ${who}${chalk.dim(shown.join(', ') + more + throughWords(through))}`
    // of an optional one the name is enough, until somebody asks
    return hint === null || (optional && !verbose) ? [line] : [line, `      ${chalk.dim(hint)}`]
  })
  return [title, ...lines]
}

function throughWords(through: readonly string[]): string {
  return through.length === 0 ? '' : `, through ${through.join(', ')}`
}

/** The numbers of a run, as they stand in the JSON document too. */
export function summaryOf({ outcomes, unreadable, missing }: VenvReport) {
  const count = (status: Applied['status']) => outcomes.filter(outcome => outcome.status === status).length
  return {
    objects: outcomes.length + unreadable.length,
    patched: count('patched') + count('patch'),
    fine: count('fine'),
    missing: missing.filter(({ optional }) => !optional).length,
    optional: missing.filter(({ optional }) => optional).length,
    refused: count('refused') + unreadable.length,
  }
}

function summaryLine(report: VenvReport, { chalk, pending }: ReportStyle): string {
  const { objects, patched, missing, optional, refused } = summaryOf(report)
  const loader = report.loader !== null && report.loader.status !== 'fine'
  const nothing = loader ? 'nothing to patch' : 'nothing to do'
  if (objects === 0) return `no ELF object in this venv: ${nothing}`
  const parts: string[] = []
  if (patched > 0) parts.push(`${patched} ${pending ? 'to patch' : 'patched'}`)
  if (report.unfinished) parts.push('an earlier run did not end: wheelfix venv completes it')
  if (missing > 0) parts.push(chalk.red(missing === 1 ? '1 library missing' : `${missing} libraries missing`))
  if (optional > 0) parts.push(`${optional} optional missing`)
  if (refused > 0) parts.push(chalk.yellow(`${refused} left as they are`))
  const all = objects === 1 ? '1 object' : `${objects} objects`
  if (parts.length === 0) return `${chalk.green('✓')} ${all}: ${nothing}`
  const mark = missing + refused === 0 && !pending ? `${chalk.green('✓')} ` : ''
  return `${mark}${all}: ${parts.join(', ')}`
}

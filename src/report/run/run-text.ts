// The report of a run for a person, at most one screen: the environment, the changes, the libraries, the problems, and
// what to do next. The problems are near the end, where a user looks first.
import type { ChalkInstance } from 'chalk'
import { fileNameOf } from '../../io/path.ts'
import { agree, count, listed } from '../../io/words.ts'
import type { WindowProblem } from '../../resolve/problems/windows.ts'
import { fitItems, storeName, type Screen, shortPath, widthOf, wrap } from '../screen.ts'
import type { RunDetails } from './run-details.ts'
import { attributesOf, sonamesOf, type ChangedPackage, type Lack, type RunFacts } from './run-facts.ts'
import { SOURCE_WORDS } from '../source-words.ts'

export interface ReportStyle {
  readonly chalk: ChalkInstance
  readonly screen: Screen
  /** The command that does what is pending. */
  readonly repair: 'venv' | 'loader' | 'path'
  /** Nothing was written, and changes are still pending. */
  readonly pending: boolean
  readonly quiet: boolean
  /** Libraries that only plugins miss count too. */
  readonly strict: boolean
  /** What --verbose adds; null without it. */
  readonly details: RunDetails | null
  /** The words that select this environment in a command: none, or its folder. */
  readonly target: string
  /** What users can paste to add packages of nixpkgs with these sonames: lines of a shell or of the project's own file. */
  readonly remedies: (attributes: readonly string[], sonames: readonly string[]) => readonly Remedy[]
}

/** A text to paste, and the place for it. */
export interface Remedy {
  readonly where: string
  readonly text: string
}

/** The lines of the report. In quiet mode only the problems are shown, and only for a run whose status is not 0. */
export function reportLines(facts: RunFacts, style: ReportStyle): string[] {
  const { chalk, screen, quiet, details } = style
  const problems = problemLines(facts, style)
  const end = [summaryLine(facts, style)]
  const next = nextLines(facts, style)
  if (quiet) return [...joinBlocks([[chalk.bold(facts.root)], problems, end], screen), ...next]
  const head = headLines(facts, style)
  const loader = loaderLines(facts, style)
  const libraries = libraryLines(facts, style)
  const others = joinBlocks([head, loader, libraries, problems, end], screen).length
  const room = screen.rows - others - rowsOf(next, screen) - 1
  const changes = changeLines(facts.packages, style, Math.max(FEWEST_PACKAGES, room))
  const served = details === null ? [[...changes, ...libraries]] : [changes, libraries]
  return [...joinBlocks([head, loader, ...served, problems, end], screen), ...next]
}

/** The number of screen rows that lines take when the terminal itself breaks them. */
function rowsOf(lines: readonly string[], { columns }: Screen): number {
  return lines.reduce((sum, line) => sum + Math.max(1, Math.ceil(widthOf(line) / columns)), 0)
}

/** The number of packages that have their own line on any terminal, even one with few rows. */
const FEWEST_PACKAGES = 3

/** The blocks with an empty line between them, each line as wide as the screen. */
function joinBlocks(blocks: readonly (readonly string[])[], { columns }: Screen): string[] {
  return blocks
    .filter(block => block.length > 0)
    .flatMap((block, index) => (index === 0 ? block : ['', ...block]))
    .flatMap(line => wrap(line, columns, HANGING))
}

/** The indent of a line's later parts: they go below its text, not below its mark. */
const HANGING = 4

function headLines({ root, python, libc, nixLd }: RunFacts, style: ReportStyle): string[] {
  const { chalk } = style
  const show = pathsIn(style)
  return [
    chalk.bold(root),
    ...(python === null ? [] : [chalk.dim(`${loaderWords(python.version)}  ${show(python.program)}`)]),
    chalk.dim(`${libc.name}  ${show(libc.dir)}`),
    ...(nixLd === null ? [] : [chalk.dim(`programs  nix-ld ${nixLd.shim}, which starts ${show(nixLd.loader)}`)]),
  ]
}

function loaderWords(version: string): string {
  return version === '' ? 'loaded by' : `Python ${version}`
}

/** The form of paths. With --verbose they are whole, so that users can copy them. */
function pathsIn({ details }: ReportStyle): (path: string) => string {
  return details === null ? shortPath : path => path
}

/** The private loader: what starts the venv's Python, and what its cache serves. */
function loaderLines({ loader }: RunFacts, style: ReportStyle): string[] {
  if (loader === null) return []
  const { chalk, details } = style
  const verb = { fine: 'is in place', patch: 'will be made', patched: 'made' }[loader.status]
  const mark = loader.status === 'fine' ? chalk.dim('-') : chalk.green(loader.status === 'patch' ? '•' : '✓')
  return [
    `${mark} private loader ${verb}  ${chalk.dim(loader.path)}`,
    ...[...new Set(loader.pythons.map(({ source }) => source))].map(source => {
      const paths = loader.pythons.filter(python => python.source === source).map(({ path }) => path)
      const copies = agree(paths.length, 'copy', 'copies')
      const origin = source === null ? 'with the private loader' : `${copies} of ${pathsIn(style)(source)}`
      return `    ${paths.join(' ')}  ${chalk.dim(origin)}`
    }),
    `    the loader finds ${count(loader.names, 'library name')} in ${count(loader.folders, 'folder')}`,
    ...(details?.loader ?? []),
  ]
}

/** One line for each package, at most `room` lines. */
function changeLines(packages: readonly ChangedPackage[], style: ReportStyle, room: number): string[] {
  const { chalk, details } = style
  const shown = details !== null || packages.length <= room ? packages : packages.slice(0, room - 1)
  const width = Math.max(0, ...shown.map(({ name }) => name.length))
  const digits = String(Math.max(0, ...shown.map(({ objects }) => objects))).length
  const lines = shown.flatMap(item => [
    changeLine(item, style, width, digits),
    ...(details?.packages.get(item.name) ?? []),
  ])
  const more = packages.length - shown.length
  return more === 0 ? lines : [...lines, chalk.dim(`  and ${count(more, 'more package')} (-v shows all)`)]
}

function changeLine(
  { name, objects, restored, gains, programs, again }: ChangedPackage,
  { chalk, pending, screen, details }: ReportStyle,
  width: number,
  digits: number,
): string {
  const patched = objects - restored
  const work = [
    ...(patched > 0 ? [`${String(patched).padStart(digits)} ${pending ? 'to patch' : 'patched'}`] : []),
    ...(restored > 0 ? [`${String(restored).padStart(digits)} ${pending ? 'to restore' : 'restored'}`] : []),
  ]
  const head = `${chalk.green(pending ? '•' : '✓')} ${name.padEnd(width)}  ${work.join(', ')}`
  const reasons = [
    ...gains,
    ...(programs > 0 ? [programs === 1 ? 'loader of a program' : `loader of ${programs} programs`] : []),
    ...(again ? ['C++ exceptions'] : []),
  ]
  const room = details === null ? screen.columns - widthOf(head) - 2 : Infinity
  return reasons.length === 0 ? head : `${head}  ${chalk.dim(fitItems(reasons, room))}`
}

/** The packages of the libraries, in one line, with their sources when there is room. */
function libraryLines({ libraries }: RunFacts, { chalk, details, screen }: ReportStyle): string[] {
  if (libraries.length === 0) return []
  if (details !== null) return ['Libraries', ...details.libraries]
  const packages = (folders: readonly string[]) => [...new Set(folders.map(folder => storeName(folder)))]
  const parts = libraries.map(({ source, folders }) => {
    return `${packages(folders).join(' ')} ${chalk.dim(`(${SOURCE_WORDS[source]})`)}`
  })
  const line = `libraries: ${parts.join(', ')}`
  if (widthOf(line) <= screen.columns) return [line]
  const names = packages(libraries.flatMap(({ folders }) => folders))
  return [`libraries: ${fitItems(names, screen.columns - 'libraries: '.length)}`]
}

/** The most names of a list that are shown without --verbose. */
const MOST_NAMES = 5

/** The most hints that are shown without --verbose, because each takes two lines. */
const MOST_HINTS = 1

/** The most problems of one kind that have their own line without --verbose. */
const MOST_LINES = 3

function problemLines(facts: RunFacts, style: ReportStyle): string[] {
  const { chalk, details, quiet, strict } = style
  const { windows, refused, broken, summary } = facts
  const one = summary.optional === 1
  const optional = `${count(summary.optional, 'optional library')} ${one ? 'is' : 'are'} missing (only plugins need ${one ? 'it' : 'them'})`
  const sentences = (opens: boolean) =>
    windowSentences(windows.filter(({ opensSomewhere }) => opensSomewhere === opens))
  return [
    ...(summary.optional === 0 || strict || quiet ? [] : [`${chalk.dim('-')} ${optional}`]),
    ...(quiet
      ? []
      : folded(
          broken.map(
            ({ path, reason }) => `${chalk.dim('-')} ${path} is broken, so no loader would load it: ${reason}`,
          ),
          style,
        )),
    ...folded(
      refused.map(({ path, reason, unrecorded }) => {
        return `${chalk.yellow('!')} ${path} ${unrecorded ? 'needs another run' : 'was not changed'}: ${reason}`
      }),
      style,
    ),
    ...heldLines(facts, style),
    ...(quiet ? [] : sentences(true).map(sentence => `${chalk.yellow('!')} ${sentence}`)),
    ...lackLines(countingOf(facts, style), style),
    ...sentences(false).map(sentence => `${chalk.red('✗')} ${sentence}`),
    ...(details === null || quiet ? [] : details.missing),
  ]
}

/** Objects that are left alone because they are outside the environment. */
function heldLines({ held }: RunFacts, style: ReportStyle): string[] {
  const mark = style.chalk.yellow('!')
  const lines = held.map(({ folder, by, objects }) => {
    const needs = `${count(objects, 'object')} there ${agree(objects, 'needs', 'need')} a patch`
    return `${mark} ${folder} is outside the environment, which imports from it (${by}): ${needs}`
  })
  return folded(lines, style)
}

/** The missing libraries that count. */
function countingOf({ lacking, optional }: RunFacts, { strict }: ReportStyle): readonly Lack[] {
  return strict ? [...lacking, ...optional] : lacking
}

/** The first lines, and the number of the others. */
function folded(lines: readonly string[], { chalk, details }: ReportStyle, most = MOST_LINES): string[] {
  if (details !== null || lines.length <= most + 1) return [...lines]
  return [...lines.slice(0, most), chalk.dim(`  and ${lines.length - most} more (-v shows all)`)]
}

/**
 * Which packages miss which libraries: a line for each group of packages, or one line for all if the groups would fill
 * the screen.
 */
function lackLines(lacks: readonly Lack[], style: ReportStyle): string[] {
  const { chalk } = style
  const mark = chalk.red('✗')
  const hints = folded(
    lacks.flatMap(lack => lack.hints.map(hint => chalk.dim(`    ${hint}`))),
    style,
    MOST_HINTS,
  )
  if (lacks.length <= MOST_LINES) return [...lacks.map(lack => `${mark} ${lackSentence(lack)}`), ...hints]
  const packages = [...new Set(lacks.flatMap(lack => lack.packages))].sort()
  const names = [...new Set(lacks.flatMap(lack => lack.names))].sort()
  const sentence =
    `${listed(packages, MOST_LINES)} ${agree(packages.length, 'needs', 'need')} ${listed(names, MOST_LINES)}, which ` +
    `${agree(names.length, 'is', 'are')} missing: ` +
    `${count(new Set(lacks.flatMap(({ files }) => files)).size, 'file')} cannot load`
  return [`${mark} ${sentence}`, ...hints]
}

function lackSentence({ packages, names, files, through }: Lack): string {
  const [file = ''] = files
  const who = files.length > 1 ? count(files.length, 'file') : packages.includes(file) ? 'it' : fileNameOf(file)
  const way = through.length === 0 ? '' : ` (through ${listed(through, MOST_LINES)})`
  return (
    `${listed(packages, MOST_LINES)} ${agree(packages.length, 'needs', 'need')} ${listed(names, MOST_NAMES)}, which ` +
    `${agree(names.length, 'is', 'are')} missing${way}: ${who} cannot load`
  )
}

/** What the toolkits cannot do. Toolkits that miss the same libraries share a sentence. */
function windowSentences(problems: readonly WindowProblem[]): string[] {
  const groups = new Map<string, string[]>()
  for (const { toolkit, failing, opensSomewhere } of problems) {
    // the plugin for X11 works everywhere once it has its libraries
    const first = failing.find(({ platform }) => platform === 'X11') ?? failing[0]
    if (first === undefined) continue
    const where = opensSomewhere ? ` under ${first.platform}` : ''
    const rest = `cannot open a window${where}: the ${first.platform} plugin lacks ${listed(first.lacks, MOST_LINES)}`
    groups.set(rest, [...(groups.get(rest) ?? []), toolkit])
  }
  return [...groups].map(([rest, toolkits]) => `${listed(toolkits)} ${rest}`)
}

function summaryLine({ summary, loader, windows, interrupted }: RunFacts, style: ReportStyle): string {
  const { chalk, pending, strict } = style
  const { objects, restored, missing, optional, refused, held } = summary
  const patched = summary.patched - restored
  const nothing = loader !== null && loader.status !== 'fine' ? 'nothing to patch' : 'nothing to do'
  if (objects + held === 0) return `no ELF object here: ${nothing}`
  const lost = strict ? missing + optional : missing
  const windowless = windows.filter(({ opensSomewhere }) => !opensSomewhere).length
  const parts = [
    ...(patched > 0 ? [`${patched} ${pending ? 'to patch' : 'patched'}`] : []),
    ...(restored > 0 ? [`${restored} ${pending ? 'to restore' : 'restored'}`] : []),
    ...(interrupted ? ['the last run was interrupted'] : []),
    ...(lost > 0 ? [chalk.red(`${count(lost, 'library')} missing`)] : []),
    ...(windowless > 0 ? [chalk.red(`${count(windowless, 'toolkit')} without a window`)] : []),
    ...(refused > 0 ? [chalk.yellow(`${refused} not changed`)] : []),
    ...(held > 0 ? [chalk.yellow(`${held} outside not changed`)] : []),
  ]
  if (parts.length === 0) return `${chalk.green('✓')} ${count(objects, 'object')}: ${nothing}`
  const isWell = lost + windowless + refused + held === 0 && !pending && !interrupted
  return `${isWell ? `${chalk.green('✓')} ` : ''}${count(objects, 'object')}: ${parts.join(', ')}`
}

/**
 * What to do next; empty if nothing is left to do. A command is never broken into lines, so that users can paste it.
 */
function nextLines(facts: RunFacts, style: ReportStyle): string[] {
  const { chalk, repair, pending, target } = style
  const { summary, loader, windows, interrupted } = facts
  const next: Remedy[] = []
  if (pending && (summary.patched > 0 || interrupted || loader?.status === 'patch')) {
    next.push({ where: 'to patch', text: `wheelfix ${repair}${target}` })
  }
  if (summary.held > 0) next.push({ where: 'to patch what lies outside', text: `wheelfix venv --editable${target}` })
  const attributes = attributesOf(facts, style.strict)
  if (attributes.length > 0) next.push(...style.remedies(attributes, sonamesOf(facts, style.strict)))
  const knowsMore = summary.missing + summary.refused + summary.optional + windows.length > 0
  if (knowsMore && !style.quiet) next.push({ where: 'to see more', text: `wheelfix doctor${target}` })
  return next.flatMap(remedy => remedyLines(remedy, chalk, style.screen.columns))
}

/** A text to paste and its place, in one line or in two. The text is never broken. */
export function remedyLines({ where, text }: Remedy, chalk: ChalkInstance, columns: number): string[] {
  const line = `${chalk.bold('→')} ${where}: ${text}`
  return widthOf(line) <= columns ? [line] : [`${chalk.bold('→')} ${where}:`, text]
}

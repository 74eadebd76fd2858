// The answer of `wheelfix why` as trees: each DT_NEEDED entry below the object that needs it, the file that serves it, and
// the reason.
import type { ChalkInstance } from 'chalk'
import { relativeTo } from '../io/path.ts'
import { agree, count } from '../io/words.ts'
import { pasteFor } from '../inspect/by-name.ts'
import type { WhyNeeded, WhyObject, WhyProcess, WhyReport } from '../inspect/reasons.ts'
import type { Environment } from '../python/environment.ts'
import { isWithoutNix } from '../nix/system-packages.ts'
import { shortHint } from '../resolve/problems/hint.ts'
import { givesUp, ruleOf } from './because.ts'
import { shortPath, wrap } from './screen.ts'

interface WhyStyle {
  readonly chalk: ChalkInstance
  /** Also show the C library's own libraries, the places that were tried for each entry, and whole store paths in reasons. */
  readonly verbose: boolean
  /** The width of the screen. Sentences are broken to fit it; trees and paths are not. */
  readonly columns: number
  /** The words that select the environment in a command: empty, or a space and its folder. */
  readonly target: string
  readonly env: NodeJS.ProcessEnv
}

/** The lines of the answer, and the command that makes it true where files are not patched yet. */
export function whyLines(report: WhyReport, venv: Environment, style: WhyStyle): string[] {
  const isPending = report.processes.some(({ objects }) => objects.some(({ change }) => change !== null))
  const command = `wheelfix ${venv.kind === 'folder' ? 'path' : 'venv'}${style.target}`
  return [
    ...answerLines(report, venv, style),
    ...(isPending
      ? [
          ...wrap('files here are not patched yet; this is the answer after patching', style.columns),
          `→ to patch: ${command}`,
        ]
      : []),
  ]
}

function answerLines(report: WhyReport, venv: Environment, style: WhyStyle): string[] {
  const painter: Painter = { ...style, venv, shown: new Set(), only: null }
  if (report.soname !== null) return sonameLines(report, report.soname, painter)
  const plain = report.processes.filter(({ root }) => isPlain(root, painter))
  // an answer about one object names it; among many, the objects without an answer would hide the others
  const folded = style.verbose || report.processes.length === 1 ? [] : plain
  const trees = boundedTrees(
    report.processes.filter(process => !folded.includes(process)),
    painter,
  )
  if (folded.length === 0) return trees
  const isOnly = folded.length === report.processes.length
  const objects = count(folded.length, isOnly ? 'object' : 'more object')
  const needs = agree(folded.length, 'needs', 'need')
  const text = `${objects} ${needs} nothing but the C library (-v shows ${folded.length === 1 ? 'it' : 'them'})`
  return [...trees, ...(isOnly ? [] : ['']), ...wrap(text, style.columns).map(line => style.chalk.dim(line))]
}

/** Does the object need nothing but the C library, and does wheelfix leave it unchanged? */
function isPlain(root: WhyObject, painter: Painter): boolean {
  return (
    !root.foreign &&
    changeLines(root, '', painter).length === 0 &&
    !root.needed.some(needed => isShown(needed, painter))
  )
}

interface Painter extends WhyStyle {
  readonly venv: Environment
  /** Objects whose own entries were shown already, in this tree or in an earlier one. */
  readonly shown: Set<string>
  /**
   * Of the entries that are found, show only those with these files, and leave out the places that were tried for the
   * others. null for all.
   */
  readonly only: ReadonlySet<string> | null
}

/** The most lines of an answer about several objects. */
const MOST_LINES = 60

/**
 * All trees if they are few lines. Otherwise the most important ones: first the objects that lack something, each with only
 * the entries that lead to it, and then the objects that wheelfix still changes.
 */
function boundedTrees(processes: readonly WhyProcess[], painter: Painter): string[] {
  const all = joined(processes.map(process => processLines(process, painter)))
  if (painter.verbose || processes.length === 1 || all.length <= MOST_LINES) return all
  const { chalk, columns } = painter
  const lacking = processes.filter(process => pathsToMissing(process).size > 0)
  const others = processes.filter(process => !lacking.includes(process))
  const changing = others.filter(({ objects }) => objects.some(({ change }) => change !== null))
  const rest = others.filter(process => !changing.includes(process))
  // what is pruned in a tree of the first kind is whole in one of the others
  const [narrow, whole] = [
    { ...painter, shown: new Set<string>() },
    { ...painter, shown: new Set<string>() },
  ]
  const trees: string[][] = []
  for (const process of [...newestFirst(lacking), ...changing, ...rest]) {
    const tree = lacking.includes(process)
      ? processLines(process, { ...narrow, only: pathsToMissing(process) })
      : processLines(process, whole)
    if (trees.length > 0 && joined([...trees, tree]).length > MOST_LINES) break
    trees.push(tree)
  }
  const shown = joined(trees).slice(0, MOST_LINES)
  const left = processes.length - trees.length
  const note = (text: string) => wrap(text, columns).map(line => chalk.dim(line))
  const of = `${lacking.length} of ${count(processes.length, 'object')}`
  return [
    ...(lacking.length === 0 ? [] : [...note(`${of} lack something; their trees show only what leads to it`), '']),
    ...shown,
    '',
    ...note(
      `${left === 0 ? '' : `${count(left, 'more object')}, `}${count(all.length - shown.length, 'more line')} (-v shows all; name one object to see it whole)`,
    ),
  ]
}

function joined(trees: readonly (readonly string[])[]): string[] {
  return trees.flatMap((tree, index) => (index === 0 ? tree : ['', ...tree]))
}

/** First the objects that lack something which no object before them lacks. */
function newestFirst(lacking: readonly WhyProcess[]): WhyProcess[] {
  const seen = new Set<string>()
  const isNew = lacking.map(({ objects }) => {
    const before = seen.size
    const sonames = objects.flatMap(({ needed }) => needed.filter(isMissing).map(({ soname }) => soname))
    for (const soname of sonames) seen.add(soname)
    return seen.size > before
  })
  return [...lacking.filter((_, index) => isNew[index]), ...lacking.filter((_, index) => isNew[index] !== true)]
}

/** The objects of a process that lack something, or load an object that does. */
function pathsToMissing({ objects }: WhyProcess): ReadonlySet<string> {
  const paths = new Set(objects.filter(({ needed }) => needed.some(isMissing)).map(({ path }) => path))
  // objects come breadth first, but a library may also need one that came before it
  for (let before = -1; before < paths.size;) {
    before = paths.size
    for (const { path, needed } of objects) {
      if (needed.some(({ provider }) => provider !== null && paths.has(provider))) paths.add(path)
    }
  }
  return paths
}

function isMissing({ how }: WhyNeeded): boolean {
  return how === 'missing'
}

function processLines({ root, objects }: WhyProcess, painter: Painter): string[] {
  const { chalk } = painter
  const owner = root.distribution === null ? '' : `  ${chalk.dim(root.distribution)}`
  const byPath = new Map(objects.map(object => [object.path, object]))
  return [
    `${chalk.bold(show(root.path, painter))}${owner}`,
    ...changeLines(root, '', painter),
    ...(root.foreign
      ? [chalk.yellow('not resolved: it is for another machine or C library, or its loader is not here')]
      : []),
    ...(root.needed.some(needed => isShown(needed, painter)) || root.foreign
      ? neededLines(root, '', byPath, painter)
      : [chalk.dim('needs nothing but the C library')]),
  ]
}

function neededLines(
  object: WhyObject,
  indent: string,
  objects: ReadonlyMap<string, WhyObject>,
  painter: Painter,
): string[] {
  const { chalk, shown, only } = painter
  shown.add(object.path)
  const leads = ({ how, provider }: WhyNeeded) => only === null || how === 'missing' || only.has(provider ?? '')
  const visible = object.needed.filter(needed => isShown(needed, painter) && leads(needed))
  return visible.flatMap((needed, index) => {
    const last = index === visible.length - 1
    const below = `${indent}${last ? '   ' : '│  '}`
    const head = `${indent}${last ? '└─ ' : '├─ '}${headOf(needed, painter)}`
    const details = reasonLines(needed, object, painter).map(line => `${below}  ${line}`)
    const provider = needed.provider === null ? undefined : objects.get(needed.provider)
    if (provider === undefined) return [head, ...details]
    const more = provider.needed.some(needed => isShown(needed, painter))
    if (shown.has(provider.path)) return [more ? `${head} ${chalk.dim('(shown above)')}` : head, ...details]
    return [
      head,
      ...details,
      ...changeLines(provider, below, painter),
      ...neededLines(provider, below, objects, painter),
    ]
  })
}

/** Is the entry shown? The C library's own libraries are found everywhere, so they get a line only with --verbose. */
function isShown({ how, libc }: WhyNeeded, { verbose }: Painter): boolean {
  return verbose || how !== 'found' || !libc
}

function headOf(needed: WhyNeeded, painter: Painter): string {
  const { chalk } = painter
  const { soname, provider, how } = needed
  if (how === 'found') return `${soname}  ${chalk.dim(show(provider ?? '', painter))}`
  if (how === 'missing')
    return `${chalk.red('✗')} ${soname}  ${chalk.red(provider === null ? 'not found' : 'not usable')}`
  return `${chalk.yellow('-')} ${soname}  ${chalk.dim('not found by itself')}`
}

/** The reason for the result, and the places that were tried before when they help. */
function reasonLines(needed: WhyNeeded, object: WhyObject, painter: Painter): string[] {
  const { chalk, verbose, only } = painter
  const { how, tried, provider, lackingVersions, hint } = needed
  const lines: string[] = []
  if (lackingVersions.length > 0) {
    lines.push(`${show(provider ?? '', painter)} does not define ${lackingVersions.join(', ')}`)
  }
  if (how === 'run-time') lines.push('Python loads it first, from this distribution or one that it requires')
  if (how === 'inherited') lines.push('found in every process in which something links to this object')
  if (how === 'found') lines.push(chalk.dim(brief(reasonOf(needed, painter), painter)))
  if (verbose || (how === 'missing' && only === null)) lines.push(...triedLines(needed, object, painter))
  if (how === 'missing' && tried.length === 0 && provider === null && !givesUp(needed.because)) {
    lines.push(chalk.dim('nowhere to look: no search path, no cache'))
  }
  if (givesUp(needed.because)) lines.push(ruleOf(needed.because, needed.soname, path => show(path, painter)))
  if (hint !== null) lines.push(hintFor(needed, hint, painter))
  return lines
}

function reasonOf({ because, soname, loadedBy }: WhyNeeded, painter: Painter, object?: WhyObject): string {
  if (because.owner !== null && because.owner === object?.path) return `its own ${because.by}: ${because.entry ?? ''}`
  if (because.by !== 'loaded') return ruleOf(because, soname, path => show(path, painter))
  return loadedBy === null
    ? 'loaded already: it is the program itself'
    : `loaded already, by ${show(loadedBy, painter)}`
}

function triedLines({ tried }: WhyNeeded, object: WhyObject, painter: Painter): string[] {
  return tried.map(({ path, by, entry, owner, outcome }, index) => {
    const whose = owner === null || owner === object.path ? '' : ` of ${show(owner, painter)}`
    const rule = entry === null ? (by === 'cache' ? 'ld.so.cache' : by) : `${by}${whose} ${entry}`
    const file = entry !== null && path.startsWith(entry) ? '' : `  ${show(path, painter)}`
    return painter.chalk.dim(brief(`${index + 1}. ${rule}${file}: ${outcome}`, painter))
  })
}

/** Store paths without the hash, except with --verbose: the line of the library itself has the whole path. */
function brief(text: string, { verbose }: Painter): string {
  return verbose ? text : shortPath(text)
}

/** The hint, without the reasons why files were skipped, except with --verbose. A machine without Nix has a command instead. */
function hintFor({ soname, provider }: WhyNeeded, hint: string, { verbose, env }: Painter): string {
  const command = isWithoutNix(env) && provider === null ? pasteFor([soname], env) : null
  if (command !== null) return `to add it: ${command}`
  return verbose ? hint : shortHint(hint)
}

function changeLines({ change }: WhyObject, indent: string, painter: Painter): string[] {
  const { chalk } = painter
  if (change === null) return []
  const { rpath, interpreter } = change
  const lines: string[] = []
  if (rpath !== undefined) {
    for (const entry of rpath.before.filter(entry => !rpath.after.includes(entry))) {
      lines.push(`${indent}${chalk.red('-')} ${rpath.tag} ${brief(entry, painter)}`)
    }
    for (const entry of rpath.after.filter(entry => !rpath.before.includes(entry))) {
      lines.push(`${indent}${chalk.green('+')} ${rpath.tag} ${brief(entry, painter)}`)
    }
  }
  if (interpreter !== undefined) {
    lines.push(`${indent}${chalk.red('-')} PT_INTERP ${brief(interpreter.before, painter)}`)
    lines.push(`${indent}${chalk.green('+')} PT_INTERP ${brief(interpreter.after, painter)}`)
  }
  return lines
}

/**
 * The most objects for which the report shows where they looked for a missing library. The others looked in the same kinds
 * of places.
 */
const MOST_LACKING = 3

/** The most objects that are shown below the file that serves them. */
const MOST_SERVED = 20

/** The objects that need a soname, grouped by the file that serves it. */
function sonameLines({ processes }: WhyReport, soname: string, painter: Painter): string[] {
  const { chalk } = painter
  const groups = new Map<string, string[][]>()
  const hints = new Set<string>()
  let isMissing = false
  for (const { root } of processes) {
    const needed = root.needed.find(needed => needed.soname === soname)
    if (needed === undefined) {
      groups.set(root.path, groups.get(root.path) ?? [])
      continue
    }
    const key = needed.provider ?? ''
    groups.set(key, [...(groups.get(key) ?? []), needingLines(needed, root, painter)])
    if (needed.hint !== null) hints.add(hintFor(needed, needed.hint, painter))
    isMissing ||= needed.how === 'missing' && needed.provider === null
  }
  const command = isMissing ? pasteFor([soname], painter.env, painter.target) : null
  if (command !== null && isWithoutNix(painter.env)) hints.clear()
  return [
    chalk.bold(soname),
    ...[...groups]
      .sort(([a], [b]) => Number(b === '') - Number(a === ''))
      .flatMap(([path, objects]) => [
        path === '' ? chalk.red('✗ not found') : show(path, painter),
        ...(objects.length === 0 ? [chalk.dim('  nothing links to it')] : shownObjects(objects, path === '', painter)),
      ]),
    ...[...hints].flatMap(hint => wrap(hint, painter.columns, 4)),
    ...(command === null ? [] : [`→ to add it: ${command}`]),
  ]
}

/** One object that needs the soname: the file that it gets, or the places where it did not find one. */
function needingLines(needed: WhyNeeded, root: WhyObject, painter: Painter): string[] {
  const file = `  ${show(root.path, painter)}`
  if (needed.how === 'found') return [`${file}  ${painter.chalk.dim(brief(reasonOf(needed, painter, root), painter))}`]
  return [file, ...reasonLines({ ...needed, hint: null }, root, painter).map(line => `      ${line}`)]
}

function shownObjects(objects: readonly string[][], isLacking: boolean, { verbose, chalk }: Painter): string[] {
  const most = isLacking ? MOST_LACKING : MOST_SERVED
  const left = objects.length - most
  if (verbose || left < 1) return objects.flat()
  return [...objects.slice(0, most).flat(), chalk.dim(`  and ${left} more (-v shows ${left === 1 ? 'it' : 'them'})`)]
}

/** The shortest clear form of a path: below site-packages, else below the venv, else whole. */
function show(path: string, { venv }: Painter): string {
  const folder = venv.sitePackages.find(folder => path.startsWith(`${folder}/`))
  return relativeTo(folder ?? venv.root, path)
}

// What --verbose adds to the report of a run: every file, every entry of a search path, every library with its source.
import type { ChalkInstance } from 'chalk'
import type { VenvReport } from '../../environment/venv-report.ts'
import { directoryOf, relativeTo } from '../../io/path.ts'
import type { MissingLibrary } from '../../resolve/problems/missing.ts'
import type { Applied } from '../../resolve/plan.ts'
import { changedByPackage } from './collect-facts.ts'
import { SOURCE_WORDS } from '../source-words.ts'

/** Lines to add below those of the short report, by subject. */
export interface RunDetails {
  /** The lines by the name of the package. */
  readonly packages: ReadonlyMap<string, readonly string[]>
  readonly loader: readonly string[]
  readonly libraries: readonly string[]
  readonly missing: readonly string[]
}

/** The lines that `--verbose` adds to the report of a run. */
export function runDetails(report: VenvReport, chalk: ChalkInstance): RunDetails {
  const { venv, loader, missing } = report
  return {
    packages: new Map(
      changedByPackage(report.outcomes).map(([name, items]) => [
        name,
        items.flatMap(item => detailLines(item, chalk, path => relativeTo(venv.root, path))),
      ]),
    ),
    loader: (loader?.plan.content.libraries ?? []).map(({ soname, path }) => chalk.dim(`      ${soname}  ${path}`)),
    libraries: libraryLines(report, chalk),
    missing: [
      ...missingLines(
        'Missing',
        chalk,
        missing.filter(({ optional }) => !optional),
      ),
      ...missingLines(
        'Missing, needed only by plugins that nothing links to',
        chalk,
        missing.filter(({ optional }) => optional),
      ),
    ],
  }
}

/** The changes of one object: entries of its search path, and its interpreter. `show` shortens the path. */
export function detailLines({ planned }: Applied, chalk: ChalkInstance, show: (path: string) => string): string[] {
  const lines = [chalk.dim(`    ${show(planned.path)}`)]
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

function libraryLines({ plan }: VenvReport, chalk: ChalkInstance): string[] {
  const width = Math.max(0, ...plan.libraries.map(({ soname }) => soname.length))
  return plan.libraries.flatMap(({ soname, path, source }) => {
    const others = plan.clashes.find(clash => clash.soname === soname)?.reasons ?? []
    return [
      `  ${soname.padEnd(width)}  ${directoryOf(path)}  ${chalk.dim(SOURCE_WORDS[source])}`,
      ...others.map(clash => chalk.dim(`    skipped: ${clash}`)),
    ]
  })
}

function missingLines(title: string, chalk: ChalkInstance, libraries: readonly MissingLibrary[]): string[] {
  if (libraries.length === 0) return []
  const width = Math.max(...libraries.map(({ soname }) => soname.length))
  return [
    title,
    ...libraries.flatMap(({ soname, neededBy, through, packages, hint }) => {
      const who = packages.length === 0 ? '' : `${packages.join(', ')}: `
      const way = through.length === 0 ? '' : `, through ${through.join(', ')}`
      return [
        `  ${soname.padEnd(width)}  ${who}${chalk.dim(neededBy.join(', ') + way)}`,
        ...(hint === null ? [] : [`      ${chalk.dim(hint)}`]),
      ]
    }),
  ]
}

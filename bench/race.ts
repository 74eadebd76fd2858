// wheelfix and its peers, each on fresh copies of the same environment: what patching costs, and what an import costs after.
import type { World } from '../test/world/world.ts'
import { totalSize, withCopy } from './copies.ts'
import { type Load, loadOf } from './load.ts'
import { measure, type Measure, median } from './measure.ts'
import type { Contender } from './peers.ts'
import { mega, milliseconds, printTable, processorTime } from './table.ts'

interface Result {
  readonly name: string
  /** null if this way changes no file. */
  readonly measure: Measure | null
  readonly grown: number
  readonly load: Load | null
}

/**
 * @param contenders the first is wheelfix
 * @param modules the modules to import after the last round; null for none
 * @param env the environment variables of the contenders
 */
export function race(
  world: World,
  original: string,
  contenders: readonly Contender[],
  rounds: number,
  modules: string | null,
  env: NodeJS.ProcessEnv,
): Result[] {
  const size = totalSize(original)
  const runs = contenders.map(contender => ({
    contender,
    measures: [] as Measure[],
    grown: 0,
    load: null as Load | null,
  }))
  // round by round, so that other work on the machine affects all ways alike
  for (let round = 1; round <= rounds; round++) {
    for (const run of runs) {
      const { name, command, env: own } = run.contender
      if (command === undefined && modules === null) continue
      const load = (venv: string): void => {
        if (modules !== null && round === rounds)
          run.load = loadOf(world, venv, modules, { ...world.env, ...own?.(world) })
      }
      console.error(`round ${round} of ${rounds}: ${name}`)
      if (command === undefined) load(original)
      else {
        withCopy(world, original, size, copy => {
          run.measures.push(measure(world.host.python.executable, command(world, copy), env))
          run.grown = totalSize(copy) - size
          load(copy)
        })
      }
    }
  }
  return runs.map(({ contender, measures, grown, load }) => ({
    name: contender.name,
    measure: measures.length === 0 ? null : median(measures),
    grown,
    load,
  }))
}

/** Prints what patching costs. */
export function printRace(results: readonly Result[]): void {
  const own = results[0]?.measure?.processorSeconds ?? 1
  printTable(
    ['', 'processor time', 'times wheelfix', 'time', 'memory', 'grown by', 'status'],
    results.flatMap(({ name, measure, grown }) =>
      measure === null
        ? []
        : [
            [
              name,
              processorTime(measure),
              (measure.processorSeconds / own).toFixed(1),
              milliseconds(measure),
              mega(measure.peakBytes),
              mega(grown),
              String(measure.status),
            ],
          ],
    ),
  )
}

/** Prints what the import costs afterwards. */
export function printLoads(results: readonly Result[]): void {
  const own = results[0]?.load?.measure?.processorSeconds ?? 1
  printTable(
    ['', 'processor time', 'times wheelfix', 'failed opens'],
    results.flatMap(({ name, load }) => {
      if (load === null) return []
      if (load.measure === null) return [[name, 'the import fails', '', '']]
      const ratio = (load.measure.processorSeconds / own).toFixed(2)
      return [[name, processorTime(load.measure), ratio, String(load.failedOpens ?? 'needs strace')]]
    }),
  )
}

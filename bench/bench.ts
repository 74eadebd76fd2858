// `npm run bench`: compares wheelfix with its peers on copies of the same venv, in one run on the same machine. The figures
// are medians. The ratios compare processor time, which other work on the machine hardly changes. CONTRIBUTING.md says how
// to get the peers.
//   npm run bench -- [--rounds N] [--packages NAME,NAME…] [--import MODULE,MODULE…] [--large BYTES]
import { cpSync, lstatSync, rmSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { parseArgs } from 'node:util'
import { runWell } from '../test/support/run.ts'
import { TESTED_PACKAGES } from '../test/e2e/packages.ts'
import { makeVenv, pipInstall, wheelfix, withWheels } from '../test/world/venv.ts'
import { parseReport } from '../test/world/report.ts'
import { buildWorld, type World } from '../test/world/world.ts'
import { enlarge } from './large.ts'
import { raceCommands } from './commands.ts'
import { type Load, loadOf } from './load.ts'
import { measure, type Measure, median } from './measure.ts'
import { contenders, dynamicObjects, files, JOBS, makeBintools } from './peers.ts'
import { mega, milliseconds, printTable, processorTime } from './table.ts'

interface Result {
  readonly name: string
  /** null if this way changes no file. */
  readonly measure: Measure | null
  readonly grown: number
  readonly load: Load | null
}

function totalSize(folder: string): number {
  return files(folder).reduce((sum, path) => sum + lstatSync(path).size, 0)
}

/** @param modules the modules to import from each patched copy; null for none */
function race(world: World, original: string, rounds: number, modules: string | null): Result[] {
  const size = totalSize(original)
  const env = benchEnvironment(world)
  const runs = contenders().map(contender => ({
    contender,
    measures: [] as Measure[],
    grown: 0,
    load: null as Load | null,
  }))
  // round by round, so that other work on the machine affects all ways alike
  for (let round = 0; round < rounds; round++) {
    for (const run of runs) {
      const { command, env: own } = run.contender
      if (command === undefined && (modules === null || round + 1 < rounds)) continue
      const copy = join(world.root, 'copy')
      cpSync(original, copy, { recursive: true, preserveTimestamps: true, verbatimSymlinks: true })
      runWell('/bin/sync', [])
      if (command !== undefined) {
        run.measures.push(measure(world.host.python.executable, command(world, copy), env))
        run.grown = totalSize(copy) - size
      }
      if (modules !== null && round + 1 === rounds) {
        run.load = loadOf(world, copy, modules, { ...world.env, ...own?.(world) })
      }
      rmSync(copy, { recursive: true })
    }
  }
  return runs.map(({ contender, measures, grown, load }) => ({
    name: contender.name,
    measure: measures.length === 0 ? null : median(measures),
    grown,
    load,
  }))
}

function printRace(results: readonly Result[]): void {
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

function printLoads(results: readonly Result[]): void {
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

/** The environment variables of the world, with the programs of the host on PATH. */
function benchEnvironment(world: World): NodeJS.ProcessEnv {
  return { ...world.env, PATH: `${world.env['PATH']}:${process.env['PATH']}`, NIX_BINTOOLS: bintools }
}

/** A file of the venv that wheelfix will change. */
function patchedLibrary(world: World, venv: string): string {
  const { objects } = parseReport(wheelfix(world, ['venv', venv, '--dry-run', '--json']).stdout)
  const changed = objects.find(({ kind, status }) => kind === 'extension' && status === 'patch')
  if (changed === undefined) throw new Error('nothing is to be patched')
  return join(venv, changed.path)
}

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '3' },
    packages: { type: 'string', default: TESTED_PACKAGES.map(({ name }) => name).join(',') },
    import: { type: 'string', default: 'scipy.stats,pandas' },
    large: { type: 'string', default: '500e6' },
  },
})
const world = withWheels(buildWorld())
if (typeof world === 'string') throw new Error(world)
const bintools = makeBintools(world)
try {
  const venv = makeVenv(world, 'venv')
  pipInstall(world, venv, values.packages.split(','))
  console.log(`${dynamicObjects(venv).length} objects, ${mega(totalSize(venv))}, ${JOBS} processors\n`)

  const results = race(world, venv, Number(values.rounds), values.import)
  printRace(results)
  console.log(`\nimport ${values.import}, in the patched environment\n`)
  printLoads(results)

  const changed = patchedLibrary(world, venv)
  const large = join(dirname(changed), `large_${basename(changed)}`)
  enlarge(changed, large, Number(values.large))
  console.log(`\nThe same with a library of ${mega(Number(values.large))} more\n`)
  printRace(race(world, venv, Number(values.rounds), null))
  rmSync(large)

  console.log('\nThe commands of wheelfix\n')
  const libs = ['--libs', world.libs.gcc, '--libs', world.libs.zlib]
  const name = values.packages.split(',')[0] ?? ''
  raceCommands(world, venv, libs, name, benchEnvironment(world), Number(values.rounds))
} finally {
  world.dispose()
}

// `npm run bench`: wheelfix beside its peers, on copies of the same venv, in one run on the same machine.
// Medians; ratios are of processor time, which other work on the machine hardly changes. Peers are those on PATH; a newer
// patchelf is one under the name patchelf-newest.
//   npm run bench -- [--rounds N] [--packages NAME,NAME…]
import { cpSync, lstatSync, readdirSync, rmSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { parseArgs } from 'node:util'
import { isElf, readElf } from '../src/elf/read.ts'
import { withSource } from '../src/io/source.ts'
import { which } from '../test/support/requires.ts'
import { runWell } from '../test/support/run.ts'
import { TESTED_PACKAGES } from '../test/e2e/packages.ts'
import { makeVenv, pipInstall, WHEELFIX, wheelfix, withWheels } from '../test/world/venv.ts'
import { parseReport } from '../test/world/report.ts'
import { buildWorld, type World } from '../test/world/world.ts'
import { blowUp } from './large.ts'
import { raceCommands } from './commands.ts'
import { measure, type Measure, median } from './measure.ts'
import { mega, milliseconds, printTable, processorTime } from './table.ts'

/** A way to make a venv work, as a command line; undefined where the tool is not there. */
interface Contender {
  readonly name: string
  command(world: World, venv: string): readonly string[]
}

const LARGE = 500e6
const JOBS = String(availableParallelism())

const WHEELFIX_VENV: Contender = {
  name: 'wheelfix venv',
  command: (world, venv) => [
    process.execPath,
    WHEELFIX,
    'venv',
    venv,
    '--libs',
    world.libs.gcc,
    '--libs',
    world.libs.zlib,
  ],
}

/** The loop that people write: every object, one process each, all processors. */
function patchelfLoop(title: string, patchelf: string): Contender {
  return {
    name: `${title} --force-rpath --set-rpath, ${JOBS} at a time`,
    command: (world, venv) => [
      '/bin/sh',
      '-c',
      `printf '%s\\0' "$@" | xargs -0 -P ${JOBS} -n 1 ${patchelf} --force-rpath --set-rpath ${world.libs.gcc}:${world.libs.zlib}`,
      'sh',
      ...dynamicObjects(venv),
    ],
  }
}

function peers(): Contender[] {
  const like = (program: string): Contender[] => {
    const path = which(program)
    if (path === undefined) return []
    const libs = (world: World): string[] => ['--libs', world.libs.gcc, world.libs.zlib]
    return [{ name: program, command: (world, venv) => [path, '--paths', venv, ...libs(world), '--ignore-missing=*'] }]
  }
  return [
    ...['patchelf', 'patchelf-newest'].flatMap(name => {
      const path = which(name)
      return path === undefined ? [] : [patchelfLoop(name, path)]
    }),
    ...like('auto-patchelf'),
    ...like('auto-formatelf'),
  ]
}

/** The dynamic objects of a venv: what both wheelfix and a loop over `find` look at. */
function dynamicObjects(venv: string): string[] {
  return files(venv).filter(path =>
    withSource(path, source => source.size >= 64 && isElf(source.read(0, 4)) && readElf(source).dynamic !== null),
  )
}

function files(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter(entry => entry.isFile())
    .map(entry => join(entry.parentPath, entry.name))
}

function totalSize(folder: string): number {
  return files(folder).reduce((sum, path) => sum + lstatSync(path).size, 0)
}

interface Result {
  readonly name: string
  readonly measure: Measure
  readonly grown: number
}

function race(world: World, original: string, rounds: number): Result[] {
  const size = totalSize(original)
  const runs = [WHEELFIX_VENV, ...peers()].map(contender => ({ contender, measures: [] as Measure[], grown: 0 }))
  // round by round, so that what else the machine does hits all of them alike
  for (let round = 0; round < rounds; round++) {
    for (const run of runs) {
      const copy = join(world.root, 'copy')
      cpSync(original, copy, { recursive: true, preserveTimestamps: true, verbatimSymlinks: true })
      runWell('/bin/sync', [])
      run.measures.push(
        measure(world.host.python.executable, run.contender.command(world, copy), benchEnvironment(world)),
      )
      run.grown = totalSize(copy) - size
      rmSync(copy, { recursive: true })
    }
  }
  return runs.map(({ contender, measures, grown }) => ({ name: contender.name, measure: median(measures), grown }))
}

function printRace(results: readonly Result[]): void {
  const own = results[0]?.measure.processorSeconds ?? 1
  printTable(
    ['', 'processor time', 'times wheelfix', 'time', 'memory', 'grown by', 'status'],
    results.map(({ name, measure, grown }) => [
      name,
      processorTime(measure),
      (measure.processorSeconds / own).toFixed(1),
      milliseconds(measure),
      mega(measure.peakBytes),
      mega(grown),
      String(measure.status),
    ]),
  )
}

/** The world's, with the programs of the host. */
function benchEnvironment(world: World): NodeJS.ProcessEnv {
  return { ...world.env, PATH: `${world.env['PATH']}:${process.env['PATH']}` }
}

/** A file of the venv that wheelfix is about to change. */
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
  },
})
const world = withWheels(buildWorld())
if (typeof world === 'string') throw new Error(world)
try {
  const venv = makeVenv(world, 'venv')
  pipInstall(world, venv, values.packages.split(','))
  console.log(`${dynamicObjects(venv).length} objects, ${mega(totalSize(venv))}, ${JOBS} processors\n`)

  printRace(race(world, venv, Number(values.rounds)))

  const changed = patchedLibrary(world, venv)
  const large = join(dirname(changed), `large_${basename(changed)}`)
  blowUp(changed, large, LARGE)
  console.log('\nThe same with a library of 500 MB more\n')
  printRace(race(world, venv, Number(values.rounds)))
  rmSync(large)

  console.log('\nThe commands of wheelfix\n')
  const libs = ['--libs', world.libs.gcc, '--libs', world.libs.zlib]
  const name = values.packages.split(',')[0] ?? ''
  raceCommands(world, venv, libs, name, benchEnvironment(world), Number(values.rounds))
} finally {
  world.dispose()
}

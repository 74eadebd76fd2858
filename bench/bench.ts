// `npm run bench`: compares wheelfix with its peers on copies of the same venv, in one run on the same machine. The figures
// are medians. The ratios compare processor time, which other work on the machine hardly changes. CONTRIBUTING.md says how
// to get the peers.
//   npm run bench -- [--size small|mid|large] [--rounds N] [--peers NAME,NAME…] [--packages NAME,NAME…]
//     [--import MODULE,MODULE…] [--library BYTES]
// `--packages` replaces the distributions of the size. `--rounds 0` only installs and counts. `--peers=` measures wheelfix
// alone. `--library` repeats the comparison with one more library, of so many bytes (0 for not).
import { readdirSync, rmSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { parseArgs } from 'node:util'
import { makeVenv, pipInstall, sitePackages, wheelfix, withWheels } from '../test/world/venv.ts'
import { parseReport } from '../test/world/report.ts'
import { buildWorld, type World } from '../test/world/world.ts'
import { raceCommands } from './commands.ts'
import { totalSize } from './copies.ts'
import { enlarge } from './large.ts'
import { contenders, dynamicObjects, JOBS, makeBintools } from './peers.ts'
import { printLoads, printRace, race } from './race.ts'
import { SIZES, type Size } from './sizes.ts'
import { mega, whole } from './table.ts'

interface Options extends Size {
  /** null for all peers on PATH. */
  readonly peers: readonly string[] | null
}

/** @throws Error if there is no such size, or a number is none */
function optionsOf(args: readonly string[]): Options {
  const text = { type: 'string' } as const
  const options = { size: text, rounds: text, peers: text, packages: text, import: text, library: text }
  const { values } = parseArgs({ args: [...args], options })
  const size = SIZES[values.size ?? 'small']
  if (size === undefined) throw new Error(`no size ${values.size}: the sizes are ${Object.keys(SIZES).join(', ')}`)
  return {
    distributions: values.packages === undefined ? size.distributions : list(values.packages),
    requirements: size.requirements || values.packages !== undefined,
    modules: values.import ?? size.modules,
    rounds: numberOf('--rounds', values.rounds) ?? size.rounds,
    library: numberOf('--library', values.library) ?? size.library,
    peers: values.peers === undefined ? null : list(values.peers),
  }
}

function list(value: string): string[] {
  return value.split(',').filter(name => name !== '')
}

function numberOf(option: string, value: string | undefined): number | undefined {
  if (value === undefined) return undefined
  if (!Number.isInteger(Number(value)) || Number(value) < 0)
    throw new Error(`${option} needs a whole number, not ${value}`)
  return Number(value)
}

/** Installs the wheels into a new venv. One by one, so that only one wheel is on the disk besides what it installs. */
function install(world: World, { distributions, requirements }: Size): string {
  const venv = makeVenv(world, 'venv')
  if (requirements) pipInstall(world, venv, distributions)
  else for (const name of distributions) pipInstall(world, venv, [name], ['--no-deps'])
  const installed = readdirSync(sitePackages(world, venv)).filter(name => name.endsWith('.dist-info'))
  const counts = `${installed.length} distributions, ${whole(dynamicObjects(venv).length)} objects`
  console.log(`${counts}, ${mega(totalSize(venv))}; ${JOBS} processors`)
  return venv
}

/** A file of the venv that wheelfix will change. */
function patchedLibrary(world: World, venv: string): string {
  const { objects } = parseReport(wheelfix(world, ['venv', venv, '--dry-run', '--json']).stdout)
  const changed = objects.find(({ kind, status }) => kind === 'extension' && status === 'patch')
  if (changed === undefined) throw new Error('nothing is to be patched')
  return join(venv, changed.path)
}

/** Prints all tables of one environment. */
function bench(world: World, { peers, ...size }: Options): void {
  const ways = contenders(peers)
  const venv = install(world, size)
  const { rounds, modules, library } = size
  if (rounds === 0) return
  // the programs of the host come last on PATH
  const path = `${world.env['PATH']}:${process.env['PATH']}`
  const env = { ...world.env, PATH: path, NIX_BINTOOLS: makeBintools(world) }

  const results = race(world, venv, ways, rounds, modules, env)
  console.log()
  printRace(results)
  console.log(`\nimport ${modules}, in the patched environment\n`)
  printLoads(results)

  const libs = ['--libs', world.libs.gcc, '--libs', world.libs.zlib]
  raceCommands(world, venv, libs, size.distributions[0] ?? '', env, rounds)

  if (library === 0) return
  const changed = patchedLibrary(world, venv)
  const large = join(dirname(changed), `large_${basename(changed)}`)
  enlarge(changed, large, library)
  const again = race(world, venv, ways, rounds, null, env)
  console.log(`\nThe same with a library of ${mega(library)} more\n`)
  printRace(again)
  rmSync(large)
}

// Ctrl-C ends the program that is measured; then the world, which may have gigabytes, is removed
process.on('SIGINT', () => {})
let world: World | string | null = null
try {
  const options = optionsOf(process.argv.slice(2))
  world = withWheels(buildWorld())
  if (typeof world === 'string') throw new Error(world)
  bench(world, options)
} catch (error) {
  console.error(error instanceof Error ? error.message : error)
  process.exitCode = 1
} finally {
  if (world !== null && typeof world !== 'string') world.dispose()
}

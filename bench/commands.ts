// The cost of each command of wheelfix on one environment, next to the cost of an empty Node script.
import { cpSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { WHEELFIX } from '../test/world/venv.ts'
import type { World } from '../test/world/world.ts'
import { measure, type Measure, median } from './measure.ts'
import { mega, milliseconds, printTable, processorTime } from './table.ts'

/** The commands in this order. Each finds the environment in the state that the one before left. */
function commandsOf(venv: string, libs: readonly string[], name: string): readonly (readonly [string, ...string[]])[] {
  return [
    ['an empty Node script', '-e', '0'],
    ['--help', WHEELFIX, '--help'],
    ['venv --dry-run', WHEELFIX, 'venv', venv, '--dry-run', ...libs],
    ['venv, first run', WHEELFIX, 'venv', venv, ...libs],
    ['venv, nothing to do', WHEELFIX, 'venv', venv, ...libs],
    ['check, nothing to do', WHEELFIX, 'check', venv, ...libs],
    [`why ${name}`, WHEELFIX, 'why', venv, name],
    ['doctor', WHEELFIX, 'doctor', venv],
    ['restore', WHEELFIX, 'restore', venv],
  ]
}

/** Prints the median of each command over `rounds` copies of the environment, and its ratio to the first run. */
export function raceCommands(
  world: World,
  original: string,
  libs: readonly string[],
  name: string,
  env: NodeJS.ProcessEnv,
  rounds: number,
): void {
  const copy = join(world.root, 'commands')
  const commands = commandsOf(copy, libs, name)
  const measures = commands.map((): Measure[] => [])
  for (let round = 0; round < rounds; round++) {
    cpSync(original, copy, { recursive: true, preserveTimestamps: true, verbatimSymlinks: true })
    for (const [index, [, ...args]] of commands.entries()) {
      measures[index]?.push(measure(world.host.python.executable, [process.execPath, ...args], env))
    }
    rmSync(copy, { recursive: true })
  }
  const medians = measures.map(median)
  const first = medians[commands.findIndex(([title]) => title === 'venv, first run')]?.processorSeconds ?? 1
  printTable(
    ['', 'processor time', 'of the first run', 'time', 'memory'],
    medians.map((result, index) => [
      commands[index]?.[0] ?? '',
      processorTime(result),
      (result.processorSeconds / first).toFixed(2),
      milliseconds(result),
      mega(result.peakBytes),
    ]),
  )
}

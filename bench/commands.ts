// The cost of each command of wheelfix on one environment, next to the cost of an empty Node script.
import { lstatSync } from 'node:fs'
import { WHEELFIX } from '../test/world/venv.ts'
import type { World } from '../test/world/world.ts'
import { totalSize, withCopy } from './copies.ts'
import { measure, type Measure, median } from './measure.ts'
import { dynamicObjects } from './peers.ts'
import { mega, milliseconds, printTable, processorTime, whole } from './table.ts'

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
  const size = totalSize(original)
  const titles = commandsOf('', [], name).map(([title]) => title)
  const measures = titles.map((): Measure[] => [])
  let ways = ''
  for (let round = 1; round <= rounds; round++) {
    console.error(`round ${round} of ${rounds}: the commands of wheelfix`)
    withCopy(world, original, size, copy => {
      for (const [index, [title, ...args]] of commandsOf(copy, libs, name).entries()) {
        const run = (): void => {
          measures[index]?.push(measure(world.host.python.executable, [process.execPath, ...args], env))
        }
        if (title === 'restore') ways = waysOfRestore(copy, run)
        else run()
      }
    })
  }
  const medians = measures.map(median)
  const first = medians[titles.indexOf('venv, first run')]?.processorSeconds ?? 1
  console.log('\nThe commands of wheelfix\n')
  printTable(
    ['', 'processor time', 'of the first run', 'time', 'memory', 'status'],
    medians.map((result, index) => [
      titles[index] ?? '',
      processorTime(result),
      (result.processorSeconds / first).toFixed(2),
      milliseconds(result),
      mega(result.peakBytes),
      String(result.status),
    ]),
  )
  console.log(`\nThe restore: ${ways}`)
}

/** Runs a restore, and says how many objects it wrote in place: a copy has another inode than the object that it replaces. */
function waysOfRestore(venv: string, restore: () => void): string {
  const before = new Map(dynamicObjects(venv).map(path => [path, lstatSync(path)]))
  restore()
  let inPlace = 0
  let copied = 0
  for (const [path, { ino, ctimeMs }] of before) {
    const now = lstatSync(path)
    if (now.ino !== ino) copied += 1
    else if (now.ctimeMs !== ctimeMs) inPlace += 1
  }
  return `${whole(inPlace)} objects in place, ${whole(copied)} by copies`
}

// A suite in a world of its own. Where the world or a tool is missing, the suite is one skipped test with the reason.
import { after, suite, test } from 'node:test'
import { missing, skip } from '../support/requires.ts'
import { buildWorld, type World } from './world.ts'

/** @param tools programs that the tests start, such as gcc */
export function worldSuite(
  name: string,
  tools: readonly string[],
  tests: (world: World) => void | Promise<void>,
): void {
  suite(name, () => {
    const lacking = missing(...tools)
    const world = lacking === false ? buildWorld() : null
    if (world === null || typeof world === 'string') {
      test(`needs a world and ${tools.join(', ')}`, { skip: typeof world === 'string' ? skip(world) : lacking })
      return undefined
    }
    after(() => world.dispose())
    return tests(world)
  })
}

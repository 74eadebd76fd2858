// The installers that put the demo wheel into a venv again: pip, and uv with copies and with hard links.
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { skip } from '../support/requires.ts'
import { run } from '../support/run.ts'
import { lacksWheels } from '../world/venv.ts'
import type { World } from '../world/world.ts'

const DEMO_WHEEL = join(import.meta.dirname, '../../../fixtures/demo-wheel')

interface Installer {
  readonly name: string
  readonly command: readonly [string, ...string[]]
  /** The reason to skip its test; false where the installer is there. */
  readonly lacks: string | false
}

/** The installers, the environment that they run in, and the cache of uv. Installs uv from PyPI. */
export function installersFor(world: World, venv: string) {
  const reason = lacksWheels(world)
  const wheel = join(DEMO_WHEEL, readdirSync(DEMO_WHEEL).find(name => name.endsWith('.whl')) ?? '')
  const python = world.host.python.executable
  const cache = join(world.root, 'uv-cache')
  const env = { ...world.env, HOME: process.env['HOME'], UV_NO_CONFIG: '1', UV_CACHE_DIR: cache }
  const target = join(world.root, 'tools')
  const hasUv =
    reason === false && run(python, ['-m', 'pip', 'install', '-q', '--target', target, 'uv'], { env }).status === 0
  const into = ['--python', join(venv, 'bin/python')]
  const asPip = ['-m', 'pip', '-q', '--disable-pip-version-check', ...into, 'install', '--no-compile']
  const uv = (name: string, mode: string): Installer => ({
    name,
    command: [
      join(target, 'bin/uv'),
      ...'-q pip install --no-index --no-deps --reinstall --link-mode'.split(' '),
      mode,
      ...into,
      wheel,
    ],
    lacks: reason !== false ? skip(reason) : hasUv ? false : skip('needs uv from PyPI'),
  })
  const installers: readonly Installer[] = [
    {
      name: 'pip',
      command: [python, ...asPip, '--no-index', '--no-deps', '--force-reinstall', wheel],
      lacks: reason !== false && skip(reason),
    },
    uv('uv, which copies', 'copy'),
    uv('uv, which links', 'hardlink'),
  ]
  return { installers, env, cache }
}

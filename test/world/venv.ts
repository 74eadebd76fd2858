// Venvs of a world, wheels in them, and wheelfix run over them, as a user would.
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { run, runWell, type RunResult } from '../support/run.ts'
import type { World } from './world.ts'

/** The bundle as npm would install it. */
export const WHEELFIX = join(import.meta.dirname, '../../../dist/wheelfix.cjs')

/** Runs wheelfix in a clean environment of the world. */
export function wheelfix(world: World, args: readonly string[], env: NodeJS.ProcessEnv = {}): RunResult {
  return run(process.execPath, [WHEELFIX, ...args], { env: { ...world.env, ...env }, cwd: world.root })
}

/** Makes an empty venv below the world's root and gives its path. */
export function makeVenv(world: World, name: string): string {
  const venv = join(world.root, name)
  runWell(world.python, ['-m', 'venv', '--without-pip', venv], { env: world.env })
  return venv
}

/** A new world, if wheels can be installed in it. Else the reason why not, and the world is gone. */
export function withWheels(world: World | string): World | string {
  if (typeof world === 'string') return world
  const reason = lacksWheels(world)
  if (reason === false) return world
  world.dispose()
  return reason
}

/**
 * Why wheels cannot be installed in a world, else false. The world stays, so other tests may go on using it. Asks PyPI
 * only where WHEELFIX_TEST_WHEELS names no folder of wheels.
 */
export function lacksWheels({ host }: World): string | false {
  const python = host.python.executable
  if (run(python, ['-m', 'pip', '--version']).status !== 0) return `needs pip for ${python}`
  if (process.env['WHEELFIX_TEST_WHEELS'] !== undefined) return false
  const folder = mkdtempSync(join(tmpdir(), 'wheelfix-pypi-'))
  try {
    const { status } = run(python, ['-m', 'pip', 'download', ...PATIENCE, '--no-deps', '--dest', folder, 'six'])
    return status !== 0 && 'needs PyPI'
  } finally {
    rmSync(folder, { recursive: true })
  }
}

/** A folder of the venv where wheels go. */
export function sitePackages(world: World, venv: string): string {
  return join(venv, `lib/python${world.host.python.version.split('.').slice(0, 2).join('.')}/site-packages`)
}

const PATIENCE = ['-q', '--disable-pip-version-check', '--retries', '1', '--timeout', '20']

/**
 * Installs wheels with the host's pip, run by the world's own Python.
 * @param options further options of pip
 */
export function pipInstall(
  world: World,
  venv: string,
  packages: readonly string[],
  options: readonly string[] = [],
): void {
  const wheels = process.env['WHEELFIX_TEST_WHEELS']
  const from = wheels === undefined ? [] : ['--no-index', '--find-links', wheels]
  const target = ['--python', join(venv, 'bin/python'), 'install', '--only-binary', ':all:', '--no-compile']
  // the home of the user, for pip's cache
  const env = { ...world.env, HOME: process.env['HOME'] }
  runWell(world.host.python.executable, ['-m', 'pip', ...PATIENCE, ...target, ...from, ...options, ...packages], {
    env,
  })
}

const DEMO_WHEEL = join(import.meta.dirname, '../../../fixtures/demo-wheel')

/** Unpacks the wheel of fixtures/, which lacks libstdc++ and zlib: `wheelfix_demo`. */
export function installDemoWheel(world: World, venv: string): void {
  const wheel = readdirSync(DEMO_WHEEL).find(name => name.endsWith('.whl')) ?? ''
  const unpack = ['-m', 'zipfile', '-e', join(DEMO_WHEEL, wheel), sitePackages(world, venv)]
  runWell(world.host.python.executable, unpack)
}

// Venvs of a world, wheels in them, and wheelfix run over them, as a user would.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { which } from '../support/requires.ts'
import { run, runWell, type RunResult } from '../support/run.ts'
import type { World } from './world.ts'

/** The bundle as npm would install it. */
const WHEELFIX = join(import.meta.dirname, '../../../dist/wheelfix.cjs')

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

/**
 * Why wheels cannot be installed here, else false. Asks PyPI only where no folder of wheels is named by
 * WHEELFIX_TEST_WHEELS.
 */
export function lacksWheels(): string | false {
  const python = which('python3')
  if (python === undefined || run(python, ['-m', 'pip', '--version']).status !== 0) return 'needs pip'
  if (process.env['WHEELFIX_TEST_WHEELS'] !== undefined) return false
  const folder = mkdtempSync(join(tmpdir(), 'wheelfix-pypi-'))
  try {
    const { status } = run(python, ['-m', 'pip', 'download', ...QUIET, '--no-deps', '--dest', folder, 'six'])
    return status !== 0 && 'needs PyPI'
  } finally {
    rmSync(folder, { recursive: true })
  }
}

const QUIET = ['-q', '--disable-pip-version-check', '--retries', '1']

/** Installs wheels with the host's pip, run by the world's own Python. */
export function pipInstall(world: World, venv: string, packages: readonly string[]): void {
  const wheels = process.env['WHEELFIX_TEST_WHEELS']
  const from = wheels === undefined ? [] : ['--no-index', '--find-links', wheels]
  const target = ['--python', join(venv, 'bin/python'), 'install', '--only-binary', ':all:', '--no-compile']
  // the home of the user, for pip's cache
  const env = { ...world.env, HOME: process.env['HOME'] }
  runWell(which('python3') ?? 'python3', ['-m', 'pip', ...QUIET, ...target, ...from, ...packages], { env })
}

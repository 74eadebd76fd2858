// Real Python tools, installed for a world: uv, pipx, pre-commit …, and each run as its user would run it.
import { join } from 'node:path'
import { type RunResult, run, runWell } from '../support/run.ts'
import type { World } from './world.ts'

export interface Tools {
  readonly env: NodeJS.ProcessEnv
  /** Runs a tool, whatever its status. */
  run(tool: string, args: readonly string[], options?: { env?: NodeJS.ProcessEnv; cwd?: string }): RunResult
  well(tool: string, args: readonly string[], options?: { env?: NodeJS.ProcessEnv; cwd?: string }): string
}

/** Installs them with the host's pip; they take their packages from PyPI, or from the folder of WHEELFIX_TEST_WHEELS. */
export function installTools(world: World, names: readonly string[]): Tools {
  const folder = join(world.root, 'tools')
  const wheels = process.env['WHEELFIX_TEST_WHEELS']
  const from = wheels === undefined ? [] : ['--no-index', '--find-links', wheels]
  const host = world.host.python.executable
  const pip = { ...world.env, HOME: process.env['HOME'] }
  runWell(host, ['-m', 'pip', 'install', '-q', '--target', folder, ...from, ...names], { env: pip })
  const offline = wheels === undefined ? {} : { PIP_NO_INDEX: '1', PIP_FIND_LINKS: wheels }
  const uv = wheels === undefined ? {} : { UV_NO_INDEX: '1', UV_FIND_LINKS: wheels }
  const env = {
    ...world.env,
    ...offline,
    ...uv,
    PATH: `${world.env['PATH'] ?? ''}:/usr/bin:/bin`,
    UV_PYTHON: world.python,
    UV_PYTHON_DOWNLOADS: 'never',
    UV_NO_CONFIG: '1',
    UV_SYSTEM_CERTS: '1',
    PIPX_DEFAULT_PYTHON: world.python,
    PIP_DISABLE_PIP_VERSION_CHECK: '1',
  }
  const start: Tools['run'] = (tool, args, options = {}) => {
    const asked = { ...options, env: { ...env, ...options.env } }
    if (tool === 'uv') return run(join(folder, 'bin/uv'), ['-q', ...args], asked)
    // the host's Python runs the others: their own scripts name it
    return run(host, ['-m', tool.replaceAll('-', '_'), ...args], {
      ...asked,
      env: { ...asked.env, PYTHONPATH: folder },
    })
  }
  return {
    env,
    run: start,
    well(tool, args, options) {
      const { status, stdout, stderr } = start(tool, args, options)
      if (status !== 0) throw new Error(`${tool} ${args.join(' ')} ended with ${status}\n${stdout}${stderr}`)
      return stdout
    },
  }
}

// `npm run demo`: a failing import in a NixOS-like world, one run of wheelfix, the working import. Needs Node and Python 3,
// and leaves nothing behind.
import { join } from 'node:path'
import chalk from 'chalk'
import { run, type RunResult } from '../support/run.ts'
import { findHost } from './host.ts'
import { installDemoWheel, makeVenv, pipInstall, wheelfix } from './venv.ts'
import { buildWorld, type World } from './world.ts'

/** What is imported: a package from PyPI, or the small wheel that comes with the sources. */
interface Show {
  readonly install: string
  readonly code: string
}

const NUMPY: Show = {
  install: 'pip install numpy',
  code: 'import numpy; print(numpy.linalg.norm([3, 4]))',
}
const OWN_WHEEL: Show = {
  install: 'unzip fixtures/demo-wheel/*.whl  # pip or PyPI is out of reach',
  code: 'import wheelfix_demo; print(hex(wheelfix_demo.checksum(b"works")))',
}

/** Says what it does and what comes of it. Resolves to true when the import failed before and works afterwards. */
function demo(world: World): boolean {
  say(`A world like NixOS in ${world.root}: Python ${world.host.python.version}, whose loader looks into no /usr/lib.`)
  command('python -m venv .venv')
  const venv = makeVenv(world, '.venv')
  const { install, code } = fill(world, venv)
  command(install)

  const before = showImport(world, venv, code)
  command('wheelfix venv')
  const fix = wheelfix(world, ['venv', '--color', chalk.level > 0 ? 'always' : 'never'])
  process.stdout.write(indent(fix.stdout + fix.stderr))
  const after = showImport(world, venv, code)
  return before.status !== 0 && fix.status === 0 && after.status === 0
}

function fill(world: World, venv: string): Show {
  try {
    pipInstall(world, venv, ['numpy'])
    return NUMPY
  } catch {
    installDemoWheel(world, venv)
    return OWN_WHEEL
  }
}

function showImport(world: World, venv: string, code: string): RunResult {
  command(`.venv/bin/python -c '${code}'`)
  const result = run(join(venv, 'bin/python'), ['-c', code], { env: world.env })
  const reason = /[^\n]*cannot open shared object file[^\n]*/.exec(result.stderr)?.[0] ?? result.stderr.trim()
  process.stdout.write(indent(result.status === 0 ? chalk.green(result.stdout.trim()) : chalk.red(reason)))
  return result
}

function say(text: string): void {
  process.stdout.write(`${text}\n`)
}

function command(text: string): void {
  say(`\n${chalk.bold(`$ ${text}`)}`)
}

function indent(text: string): string {
  return text.trimEnd().replaceAll(/^/gm, '  ') + '\n'
}

const host = findHost()
const world =
  typeof host !== 'string' && host.loader.startsWith('/nix/store/')
    ? "python3 is Nix's own, so this machine shows the real thing: follow the quick start of the README"
    : buildWorld()
if (typeof world === 'string') {
  console.error(`wheelfix demo: cannot build its world here: ${world}`)
  process.exitCode = 2
} else {
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => {
      world.dispose()
      process.exit(1)
    })
  }
  try {
    process.exitCode = demo(world) ? 0 : 1
  } finally {
    world.dispose()
  }
}

// `wheelfix run`: runs a command that installs, and then patches what it installed. A command that installs and starts in
// one go (`uv run`, `uvx`) is made to install first.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { readRegular } from '../io/beneath.ts'
import { errnoOf, WheelfixError } from '../io/error.ts'
import { fsPath } from '../io/path.ts'
import { onPath } from '../python/named.ts'
import { findVenv } from '../python/pyvenv.ts'
import type { AllRow } from '../report/all-text.ts'
import { writeLines } from '../report/print.ts'
import { placesOf, type ToolName, type ToolPlace } from '../tools/places.ts'
import { planCommand } from '../tools/command-line.ts'
import { patchPlaces } from './all.ts'
import { reportFailure } from './shared/failure.ts'

/**
 * The exit status of the command, or 2 when the command could not be started. A signal that ended the command ends this
 * process too.
 */
export async function runCommand(words: readonly string[], version: string): Promise<number> {
  try {
    const { prepare, tools } = planCommand(words, { help, isScript })
    const patch = async (): Promise<AllRow[]> => await patchPlaces(placesFor(words, tools), version)
    let early: AllRow[] = []
    if (prepare !== null) {
      let end = await start(prepare, 'prepare')
      early = await patch()
      // the command may have failed because uv had just installed a Python, which starts only now that it is patched
      if (end.status !== 0 && early.some(isDone)) {
        end = await start(prepare, 'prepare')
        early = [...early, ...(await patch())]
      }
      if (end.signal !== null) return endBy(end.signal)
      say(early)
    }
    const { status, signal } = await start(words, 'command')
    if (signal !== null) return endBy(signal)
    const late = await patch()
    say(late)
    if (status !== 0 && late.some(isDone)) writeLines(process.stderr, [AGAIN])
    return status
  } catch (error) {
    return reportFailure(error)
  }
}

const AGAIN =
  'wheelfix: the command had started before its files were patched: run it again. A Python with a private loader ' +
  '(wheelfix python --loader, wheelfix loader) needs no patching'

function isDone({ status }: AllRow): boolean {
  return status === 'patched'
}

/**
 * Prints one line for each environment that was patched or still needs something. Prints nothing when there was nothing to
 * do.
 */
function say(rows: readonly AllRow[]): void {
  const lines = rows
    .filter(({ status }) => status === 'patched' || status === 'needs' || status === 'failed')
    .map(({ root, detail }) => `wheelfix: ${root}: ${detail}`)
  writeLines(process.stderr, [...new Set(lines)])
}

interface End {
  readonly status: number
  readonly signal: NodeJS.Signals | null
}

/** @throws WheelfixError `USAGE` for a program that cannot be started */
function start(words: readonly string[], purpose: 'prepare' | 'command'): Promise<End> {
  const [program = '', ...args] = words
  return new Promise((settle, fail) => {
    // set before the child exists: from its first moment on the child decides
    let child: ChildProcess | null = null
    const release = passSignals(signal => child?.kill(signal))
    child = spawn(program, args, { stdio: purpose === 'command' ? 'inherit' : ['ignore', 'ignore', 'inherit'] })
    child.once('error', error => {
      release()
      const errno = errnoOf(error)
      const why = errno === 'ENOENT' ? 'there is no such program' : `it cannot be started (${errno ?? error.message})`
      fail(new WheelfixError('USAGE', `${program}: ${why}`, program))
    })
    child.once('close', (status, signal) => {
      release()
      settle({ status: status ?? 0, signal })
    })
  })
}

const PASSED: readonly NodeJS.Signals[] = ['SIGTERM', 'SIGHUP', 'SIGUSR1', 'SIGUSR2', 'SIGCONT', 'SIGWINCH']

/** The terminal sends these signals to every process in its foreground, so the child has them already. */
const OF_THE_TERMINAL: readonly NodeJS.Signals[] = ['SIGINT', 'SIGQUIT']

/** Passes signals on to the child, so that the child and not this process decides. */
function passSignals(take: (signal: NodeJS.Signals) => void): () => void {
  const pass = (signal: NodeJS.Signals): void => {
    if (!OF_THE_TERMINAL.includes(signal) || !process.stdin.isTTY) take(signal)
  }
  const signals = [...PASSED, ...OF_THE_TERMINAL]
  for (const signal of signals) process.on(signal, pass)
  return () => {
    for (const signal of signals) process.off(signal, pass)
  }
}

/**
 * Ends this process as the command ended, so that a shell sees the same. @returns the status that a shell reports, if the
 * process survives
 */
function endBy(signal: NodeJS.Signals): number {
  process.kill(process.pid, signal)
  // a signal like SIGTERM arrives at once; a signal that is ignored here leaves the status
  return 128 + (SIGNAL_NUMBERS[signal] ?? 0)
}

const SIGNAL_NUMBERS: Partial<Record<NodeJS.Signals, number>> = {
  SIGHUP: 1,
  SIGINT: 2,
  SIGQUIT: 3,
  SIGABRT: 6,
  SIGKILL: 9,
  SIGSEGV: 11,
  SIGPIPE: 13,
  SIGTERM: 15,
}

function help(words: readonly string[]): string {
  const [program = '', ...args] = words
  const { stdout } = spawnSync(program, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })
  return stdout ?? ''
}

/** The size limit of a script. Its needs are in a comment near its top. */
const LARGEST_SCRIPT = 1 << 20

function isScript(path: string): boolean {
  if (!path.endsWith('.py')) return false
  return readRegular(resolve(path), LARGEST_SCRIPT)?.includes('# /// script') ?? false
}

/** The project's environment, the environment of the program itself (`.venv/bin/pip`), and those of the tool. */
function placesFor(words: readonly string[], tools: readonly ToolName[]): ToolPlace[] {
  const { env } = process
  const cwd = process.cwd()
  const own = [projectVenv(words, env, cwd), programVenv(words, env, cwd)].flatMap(root => root ?? [])
  const project = [...new Set(own)].map((root): ToolPlace => ({ tool: 'project', kind: 'venv', root, locks: [] }))
  return [...project, ...placesOf(tools, { env, cwd })]
}

function projectVenv(words: readonly string[], env: NodeJS.ProcessEnv, cwd: string): string | null {
  const at = words.findIndex(word => word === '--project' || word === '--directory')
  const folder = at === -1 ? cwd : resolve(cwd, words[at + 1] ?? '.')
  const named = env['UV_PROJECT_ENVIRONMENT']
  try {
    if (named !== undefined) return findVenv({ argument: resolve(folder, named), env, cwd }).root
    // a uv project has its own environment, whatever is active
    const isUv = /(?:^|\/)uvx?$/.test(words[0] ?? '')
    return findVenv({ env: isUv ? { ...env, VIRTUAL_ENV: '' } : env, cwd: folder }).root
  } catch (error) {
    if (error instanceof WheelfixError) return null
    throw error
  }
}

/** The venv that holds the program. */
function programVenv([program = '']: readonly string[], env: NodeJS.ProcessEnv, cwd: string): string | null {
  const path = program.includes('/') ? resolve(cwd, program) : onPath(program, env)
  const root = path === null ? null : dirname(dirname(path))
  return root !== null && existsSync(fsPath(join(root, 'pyvenv.cfg'))) ? root : null
}

// `wheelfix run`: runs a command that installs, and then patches what it installed. A command that installs and starts in
// one step (`uv run`, `uvx`) is split, so that it installs first.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { readRegularText } from '../../io/beneath.ts'
import { errnoOf, WheelfixError } from '../../io/error.ts'
import { fsPath, realPath } from '../../io/path.ts'
import { findOnPath } from '../../python/named.ts'
import type { AllRow } from '../../report/all-text.ts'
import { writeLines } from '../../report/print.ts'
import { standardError } from '../../report/terminal/output.ts'
import { placesChanged } from '../../tools/changed.ts'
import { type CommandPlan, planCommand } from '../../tools/command-line.ts'
import type { ToolPlace } from '../../tools/places.ts'
import { patchPlaces } from '../all.ts'
import { placesFor, surroundingsOf } from './changed-environments.ts'
import { reportFailure, writeError } from '../shared/failure.ts'

/**
 * The exit status of the command; 127 when there is no such program, 126 when it cannot be started, as shells count. A
 * signal that ended the command ends this process too.
 */
export async function runCommand(words: readonly string[], version: string): Promise<number> {
  try {
    if (words[0] === '')
      throw new WheelfixError('USAGE', 'the command is an empty word: check the variable that it comes from')
    const plan = planCommand(words, process.env, { help, textOf: scriptText })
    const patch = async (): Promise<AllRow[]> => await patchPlaces(await placesFor(plan), version)
    const begun = Date.now()
    if (plan.prepare !== null) {
      const { signal, interrupt, status } = await prepareEnvironment(plan.prepare, patch)
      if (signal !== null) return endBy(signal)
      // an installer that handles Ctrl-C ends with a status; the signal was for the whole command
      if (interrupt !== null) return status === 0 ? endBy(interrupt) : status
    } else if (plan.starts && pathOf(words) !== null) {
      say(await patch())
    }
    let end = await startChild(words, 'command')
    if (end.errno === 'ENOENT' && pathOf(words) !== null) {
      // its loader or its Python does not exist; a patch may provide it
      const early = await patch()
      say(early)
      if (early.some(isDone)) end = await startChild(words, 'command')
    }
    if (end.errno !== null) return sayUnstarted(words, end.errno)
    if (end.signal !== null) return endBy(end.signal)
    const { env, project } = surroundingsOf(plan)
    const changed = plan.isUnknown ? await placesChanged({ env, cwd: project }, begun) : []
    const late = await patchPlaces(firstOfEachRoot([...(await placesFor(plan)), ...changed]), version)
    say(late)
    if (end.status !== 0) sayLate(plan, late.some(isDone))
    return end.status
  } catch (error) {
    return reportFailure(error)
  }
}

function firstOfEachRoot(places: readonly ToolPlace[]): ToolPlace[] {
  return [...new Map(places.toReversed().map(place => [realPath(place.root), place])).values()].toReversed()
}

/**
 * Makes and patches the environment of the command. A failure here is not reported, because the command itself will report
 * it.
 */
async function prepareEnvironment(words: readonly string[], patch: () => Promise<AllRow[]>): Promise<ChildEnd> {
  let end = await startChild(words, 'prepare')
  let rows = await patch()
  // the command may have failed because uv had just installed a Python; this Python starts only after the patch
  if (end.status !== 0 && end.interrupt === null && rows.some(isDone)) {
    end = await startChild(words, 'prepare')
    rows = [...rows, ...(await patch())]
  }
  if (end.signal === null) say(rows)
  return end
}

const AGAIN =
  'the command had started before its files were patched: run it again, or use a Python whose ' +
  'environments need no patch (wheelfix python --make DIR)'

/** Says what helps after a failed command that started programs of an environment which was patched too late. */
function sayLate({ late, prepare, starts }: CommandPlan, isPatched: boolean): void {
  const text = late === null ? AGAIN : late.text
  const isLate = late === null ? isPatched && (starts || prepare !== null) : isPatched || !late.isKept
  if (isLate) writeLines(standardError, [`wheelfix: ${text}`])
}

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
  writeLines(standardError, [...new Set(lines)])
}

interface ChildEnd {
  readonly status: number
  readonly signal: NodeJS.Signals | null
  /** The last signal meanwhile that asks a program to end. */
  readonly interrupt: NodeJS.Signals | null
  /** Why the program could not be started; null when it was. */
  readonly errno: string | null
}

function startChild(words: readonly string[], purpose: 'prepare' | 'command'): Promise<ChildEnd> {
  const [program = '', ...args] = words
  return new Promise(settle => {
    // signals are passed on before the child exists, so the child decides about them from the start
    let child: ChildProcess | null = null
    let interrupt: NodeJS.Signals | null = null
    const release = passSignals((signal, isOurs) => {
      if (ENDING.has(signal)) interrupt = signal
      if (isOurs) child?.kill(signal)
    })
    child = spawn(program, args, { stdio: purpose === 'command' ? 'inherit' : ['ignore', 'ignore', 'inherit'] })
    child.once('error', error => {
      release()
      settle({ status: 1, signal: null, interrupt, errno: errnoOf(error) ?? error.message })
    })
    child.once('close', (status, signal) => {
      release()
      settle({ status: status ?? 0, signal, interrupt, errno: null })
    })
  })
}

/** The file of the command, as a shell would find it; null where there is none. */
function pathOf([program = '']: readonly string[]): string | null {
  const path = program.includes('/') ? resolve(program) : findOnPath(program, process.env)
  return path !== null && existsSync(fsPath(path)) ? path : null
}

/** Says why the program could not be started. @returns the status that a shell would give */
function sayUnstarted(words: readonly string[], errno: string): number {
  const [program = ''] = words
  const path = pathOf(words)
  const why =
    errno === 'ENOENT'
      ? path === null
        ? 'there is no such program'
        : 'it exists, but the loader or interpreter that it asks for does not. wheelfix path FILE gives a program a loader'
      : errno === 'EACCES'
        ? 'it cannot be executed: it is a folder, or chmod +x is missing'
        : `it cannot be started (${errno})`
  writeError(`${program}: ${why}`)
  return errno === 'ENOENT' ? 127 : 126
}

const PASSED: readonly NodeJS.Signals[] = ['SIGTERM', 'SIGHUP', 'SIGUSR1', 'SIGUSR2', 'SIGCONT', 'SIGWINCH']

/** The terminal sends these signals to every process in its foreground, so the child has them already. */
const OF_THE_TERMINAL: readonly NodeJS.Signals[] = ['SIGINT', 'SIGQUIT']

const ENDING: ReadonlySet<NodeJS.Signals> = new Set(['SIGINT', 'SIGQUIT', 'SIGTERM', 'SIGHUP'])

/**
 * Takes signals, so that the child and not this process decides.
 * @param take is told whether the child still has to get the signal
 */
function passSignals(take: (signal: NodeJS.Signals, isOurs: boolean) => void): () => void {
  const pass = (signal: NodeJS.Signals): void => {
    take(signal, !OF_THE_TERMINAL.includes(signal) || !isInForeground())
  }
  const signals = [...PASSED, ...OF_THE_TERMINAL]
  for (const signal of signals) process.on(signal, pass)
  return () => {
    for (const signal of signals) process.off(signal, pass)
  }
}

/**
 * Is this process in the foreground of a terminal? Standard input does not tell: it may be a pipe. In /proc/self/stat the
 * process group (field 5) is then the foreground group of the terminal (field 8, proc_pid_stat(5)).
 */
function isInForeground(): boolean {
  try {
    const stat = readFileSync('/proc/self/stat', 'utf8')
    // the name in field 2 may have spaces and parentheses
    const [, , group, , , foreground] = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return group === foreground
  } catch (error) {
    if (errnoOf(error) === undefined) throw error
    return process.stdin.isTTY
  }
}

/**
 * Ends this process as the command ended, so that a shell sees the same.
 * @returns the status that a shell reports, if the process survives
 */
function endBy(signal: NodeJS.Signals): number {
  process.kill(process.pid, signal)
  // a signal like SIGTERM ends the process at once; if the signal is ignored here, the status is returned
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

/** The size limit in bytes of a file that is searched. The requirements of a script are in a comment near its top. */
const LARGEST_TEXT = 1 << 20

function scriptText(path: string): string {
  return readRegularText(path, LARGEST_TEXT)
}

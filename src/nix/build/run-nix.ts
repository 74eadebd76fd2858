// Runs the program `nix` to evaluate and to build. Only this file may use the network, and only when the user asks for it.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { errnoOf, WheelfixError } from '../../io/error.ts'
import { isWithoutNix } from '../system-packages.ts'

interface NixRun {
  readonly env: NodeJS.ProcessEnv
  /** The name of the action, for messages: `nix build libGL`. */
  readonly name: string
  /** The time limit. null: only Nix's own limits apply. */
  readonly limitMs: number | null
  /** Called from time to time while Nix still works. Not called when Nix shows its own progress. */
  readonly progress: (line: string) => void
  /** The time between two calls of `progress`. */
  readonly silenceMs?: number
}

const SILENCE_MS = 30_000
/** The longest timer of Node: 25 days. */
const LONGEST_TIMER_MS = 2 ** 31 - 1

/**
 * Nix's own limits. Nix gives up on a server that does not answer, and on a builder that prints nothing for half an hour.
 * A stalled download ends by itself after five minutes (nix.conf, stalled-download-timeout).
 */
const OPTIONS = [
  '--extra-experimental-features nix-command --extra-experimental-features flakes',
  '--option connect-timeout 15 --option max-silent-time 1800',
].flatMap(line => line.split(' '))

/**
 * Runs Nix. Its messages go to stderr.
 * @returns its standard output
 * @throws WheelfixError `IO` when Nix is missing, fails (it has then printed the reason) or takes too long
 */
export async function runNix(
  args: readonly string[],
  { env, name, limitMs, progress, silenceMs = SILENCE_MS }: NixRun,
): Promise<string> {
  const child = spawn('nix', [...OPTIONS, ...args], { env, stdio: ['ignore', 'pipe', 'inherit'] })
  const start = Date.now()
  const told = setInterval(() => progress(`${name}: still running after ${secondsSince(start)} s`), silenceMs)
  const output: Buffer[] = []
  child.stdout.on('data', (chunk: Buffer) => output.push(chunk))
  const late = new AbortController()
  const limit = setTimeout(() => late.abort(), limitMs ?? LONGEST_TIMER_MS)
  try {
    await once(child, 'close', { signal: late.signal })
  } catch (error) {
    if (late.signal.aborted) {
      // ends Nix at once, and does not wait for processes that Nix may have started
      child.kill('SIGKILL')
      child.stdout.destroy()
      throw new WheelfixError('IO', `${name} was stopped after ${secondsSince(start)} s: run the command again`, name)
    }
    if (errnoOf(error) !== 'ENOENT') throw error
    throw new WheelfixError(
      'IO',
      isWithoutNix(env)
        ? "libs build needs Nix, which this machine does not have. wheelfix venv prints the command for this system's own " +
            'package manager'
        : 'nix is not on PATH, and libs build needs it to build or download libraries. Where Nix is installed, open a new ' +
            'shell, or add /nix/var/nix/profiles/default/bin to PATH',
    )
  } finally {
    clearInterval(told)
    clearTimeout(limit)
  }
  if (child.exitCode !== 0) throw new WheelfixError('IO', `${name} failed (see above)`, name)
  return Buffer.concat(output).toString()
}

function secondsSince(start: number): number {
  return Math.round((Date.now() - start) / 1000)
}

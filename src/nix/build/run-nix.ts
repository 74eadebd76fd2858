// The program `nix`, for evaluating and building: the one thing here that may ask the network, and only when the user says so.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { errnoOf, WheelfixError } from '../../io/error.ts'

interface NixRun {
  readonly env: NodeJS.ProcessEnv
  /** What is done, for messages: `nix build libGL`. */
  readonly name: string
  /** Null: as long as it takes; what Nix does then has limits of its own. */
  readonly limitMs: number | null
  /** Told from time to time that it is still at work; not called where Nix shows its own progress. */
  readonly progress: (line: string) => void
  /** How long nothing is said. */
  readonly silenceMs?: number
}

const SILENCE_MS = 30_000
/** Of Node: 25 days. */
const LONGEST_TIMER_MS = 2 ** 31 - 1

/**
 * Limits of Nix's own: a server that is not there is given up, and so is a builder that says nothing for half an hour. A
 * download that stands still ends after five minutes by itself (nix.conf, stalled-download-timeout).
 */
const OPTIONS = [
  '--extra-experimental-features nix-command --extra-experimental-features flakes',
  '--option connect-timeout 15 --option max-silent-time 1800',
].flatMap(line => line.split(' '))

/**
 * Runs Nix; what it has to say goes to stderr.
 * @returns its standard output
 * @throws WheelfixError `IO` where Nix is missing, fails (it has then said why) or takes too long
 */
export async function runNix(
  args: readonly string[],
  { env, name, limitMs, progress, silenceMs = SILENCE_MS }: NixRun,
): Promise<string> {
  const child = spawn('nix', [...OPTIONS, ...args], { env, stdio: ['ignore', 'pipe', 'inherit'] })
  const start = Date.now()
  const told = setInterval(() => progress(`${name}: still at work after ${secondsSince(start)} s`), silenceMs)
  const output: Buffer[] = []
  child.stdout.on('data', (chunk: Buffer) => output.push(chunk))
  const late = new AbortController()
  const limit = setTimeout(() => late.abort(), limitMs ?? LONGEST_TIMER_MS)
  try {
    await once(child, 'close', { signal: late.signal })
  } catch (error) {
    if (late.signal.aborted) {
      // for good, and without waiting for what it may have started
      child.kill('SIGKILL')
      child.stdout.destroy()
      throw new WheelfixError('IO', `${name} was ended after ${secondsSince(start)} s`, name)
    }
    if (errnoOf(error) !== 'ENOENT') throw error
    throw new WheelfixError('IO', 'nix is not on PATH, and libs build needs it to build or download libraries')
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

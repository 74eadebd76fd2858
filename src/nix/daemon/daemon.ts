// A conversation with the Nix daemon over its socket, so that no nix program is needed; it takes about as long as starting
// nix-store once, for any number of questions. Synchronous: a thread of its own (daemon-thread.ts) does the input and
// output while this one waits, and stays for the next questions. Knows the protocol, not what the answers are for.
import { existsSync } from 'node:fs'
import { MessageChannel, receiveMessageOnPort, type MessagePort, Worker } from 'node:worker_threads'
import { decodeBytes, encodeText } from '../../elf/text.ts'
import { fsPath } from '../../io/path.ts'
import { type ThreadAnswers, type ThreadInput, threadProgram, type ThreadQuestions } from './daemon-thread.ts'
import { stateDirectory } from '../store.ts'

/** What may be asked at once; the order of the fields is the order in which it is asked. */
export interface DaemonQuestions {
  /** Which of these store paths are valid? */
  readonly valid?: readonly string[]
  /** What is known of these store paths? */
  readonly describe?: readonly string[]
  /** What do these store paths lead to by their references? */
  readonly closureOf?: readonly string[]
  /** Links to register as indirect roots. */
  readonly addRoots?: readonly string[]
}

/** What Nix knows of a valid store path. */
export interface PathInfo {
  readonly path: string
  /** SHA-256 of the path's archive, as the daemon says it: 64 hexadecimal digits. */
  readonly narHash: string
  /** Bytes of the archive. */
  readonly narSize: number
  readonly references: readonly string[]
  /** `name:base64`, as they were stored: nobody has checked them. */
  readonly signatures: readonly string[]
}

export interface DaemonAnswers {
  readonly valid: ReadonlySet<string>
  /** By path; those that are not valid are left out. */
  readonly described: ReadonlyMap<string, PathInfo>
  readonly closure: ReadonlySet<string>
  /** How many of the links, from the first on, are registered now. */
  readonly rootsAdded: number
  /** What the daemon said no with, if it did; what came before it holds. */
  readonly refusal: string | null
}

/** The daemon's socket; null where there is none, or where NIX_REMOTE names something else than a local daemon. */
export function daemonSocket(env: NodeJS.ProcessEnv): string | null {
  const remote = env['NIX_REMOTE'] ?? ''
  return remote.startsWith('unix:///') || ['', 'auto', 'daemon'].includes(remote) ? sharedSocket(env) : null
}

/**
 * The socket by which other users may add to the store, whether NIX_REMOTE has us talk to it or not; null on a
 * single-user installation.
 */
export function sharedSocket(env: NodeJS.ProcessEnv): string | null {
  const named = /^unix:\/\/(\/[^?]*)/.exec(env['NIX_REMOTE'] ?? '')?.[1]
  const usual = `${stateDirectory(env)}/daemon-socket/socket`
  const socket = named ?? (env['NIX_DAEMON_SOCKET_PATH'] || usual)
  return existsSync(fsPath(socket)) ? socket : null
}

/** No daemon takes that long for a few questions; one that hangs must not hang us. */
const TIMEOUT_MS = 5000

/** A thread that talks with the daemon behind a socket; both its start and the daemon's take longer than a question. */
interface Line {
  readonly worker: Worker
  readonly port: MessagePort
  /** How many times it has answered. */
  readonly answered: Int32Array
}

const lines = new Map<string, Line>()
/** Sockets behind which somebody let us wait: nobody waits there twice. */
const silent = new Set<string>()

/** Did nobody answer behind this socket? */
export function isSilent(socket: string): boolean {
  return silent.has(socket)
}

/** Starts the thread for a daemon that is going to be asked: 40 to 120 ms, which other work need not wait for. */
export function callDaemon(socket: string): void {
  if (!silent.has(socket)) lineTo(socket)
}

/** Asks the daemon behind a socket. @returns null when nobody answers there in time, or not in this protocol */
export function askDaemon(socket: string, questions: DaemonQuestions, timeout = TIMEOUT_MS): DaemonAnswers | null {
  if (silent.has(socket)) return null
  const { worker, port, answered } = lineTo(socket)
  const before = Atomics.load(answered, 0)
  const bytes = (paths: readonly string[] = []) => paths.map(path => encodeText(path))
  port.postMessage({
    valid: bytes(questions.valid),
    describe: bytes(questions.describe),
    closureOf: bytes(questions.closureOf),
    addRoots: bytes(questions.addRoots),
  } satisfies ThreadQuestions)
  if (Atomics.wait(answered, 0, before, timeout) === 'timed-out') {
    lines.delete(socket)
    silent.add(socket)
    void worker.terminate()
    port.close()
    return null
  }
  // the one seam: what the thread posts is what `serve` posts
  const output = (receiveMessageOnPort(port)?.message ?? null) as ThreadAnswers | null
  return output === null ? null : decode(output)
}

function decode({ valid, described, closure, ...rest }: ThreadAnswers): DaemonAnswers {
  const text = (path: Uint8Array) => decodeBytes(path)
  const infos = described.map(({ path, references, ...info }): PathInfo => {
    return { ...info, path: text(path), references: references.map(text) }
  })
  return {
    ...rest,
    valid: new Set(valid.map(text)),
    described: new Map(infos.map(info => [info.path, info])),
    closure: new Set(closure.map(text)),
  }
}

function lineTo(socket: string): Line {
  const known = lines.get(socket)
  if (known !== undefined) return known
  const { port1, port2 } = new MessageChannel()
  const answered = new Int32Array(new SharedArrayBuffer(4))
  const input: ThreadInput = { port: port2, answered, socket: fsPath(socket).toString() }
  const worker = new Worker(threadProgram(), { eval: true, workerData: input, transferList: [port2], env: {} })
  worker.unref()
  // a failure of the thread itself: who asks is told by the time limit, and nobody is told twice
  worker.on('error', () => {})
  const line = { worker, port: port1, answered }
  lines.set(socket, line)
  return line
}

// A conversation with the Nix daemon over its socket, so that no nix program is needed. Any number of questions takes about
// as long as one start of nix-store. The calls are synchronous: a thread (daemon-thread.ts) does the input and output while
// this thread waits, and stays for the next questions. This file knows the protocol, not the use of the answers.
import { existsSync } from 'node:fs'
import { MessageChannel, receiveMessageOnPort, type MessagePort, Worker } from 'node:worker_threads'
import { decodeBytes, encodeText } from '../../elf/text.ts'
import { fsPath } from '../../io/path.ts'
import { type ThreadAnswers, type ThreadInput, threadProgram, type ThreadQuestions } from './daemon-thread.ts'
import { stateDirectory } from '../store.ts'

/** The questions of one call. They are asked in the order of the fields. */
export interface DaemonQuestions {
  /** Which of these store paths are valid? */
  readonly valid?: readonly string[]
  /** What does Nix know of these store paths? */
  readonly describe?: readonly string[]
  /** Which paths do these store paths reference, directly or not? */
  readonly closureOf?: readonly string[]
  /** The closure may end once it has all of these. */
  readonly until?: readonly string[]
  /** Links to register as indirect roots. */
  readonly addRoots?: readonly string[]
}

/** What Nix knows of a valid store path. */
export interface PathInfo {
  readonly path: string
  /** SHA-256 of the path's archive, as the daemon gives it: 64 hexadecimal digits. */
  readonly narHash: string
  /** Size of the archive in bytes. */
  readonly narSize: number
  readonly references: readonly string[]
  /** The stored signatures, `name:base64`. Nobody has checked them. */
  readonly signatures: readonly string[]
}

export interface DaemonAnswers {
  readonly valid: ReadonlySet<string>
  /** By path. Invalid paths are left out. */
  readonly described: ReadonlyMap<string, PathInfo>
  readonly closure: ReadonlySet<string>
  /** False when the closure ended early. */
  readonly isWholeClosure: boolean
  /** How many of the links are now registered, counted from the first. */
  readonly rootsAdded: number
  /** The daemon's message when it refused a question. The answers before that are valid. */
  readonly refusal: string | null
}

/** The daemon's socket; null when there is none, or when NIX_REMOTE names something other than a local daemon. */
export function daemonSocket(env: NodeJS.ProcessEnv): string | null {
  const remote = env['NIX_REMOTE'] ?? ''
  return remote.startsWith('unix:///') || ['', 'auto', 'daemon'].includes(remote) ? sharedSocket(env) : null
}

/**
 * The socket through which other users may add to the store, even when NIX_REMOTE names something else; null in a
 * single-user installation.
 */
export function sharedSocket(env: NodeJS.ProcessEnv): string | null {
  const socket = socketPlace(env)
  return existsSync(fsPath(socket)) ? socket : null
}

/** Where the socket of `sharedSocket` is, or would be. */
export function socketPlace(env: NodeJS.ProcessEnv): string {
  const named = /^unix:\/\/(\/[^?]*)/.exec(env['NIX_REMOTE'] ?? '')?.[1]
  const usual = `${stateDirectory(env)}/daemon-socket/socket`
  return named ?? (env['NIX_DAEMON_SOCKET_PATH'] || usual)
}

/** The time limit. No daemon takes this long for a few questions, and a daemon that hangs must not make wheelfix hang. */
const TIMEOUT_MS = 5000

/** A thread that talks with the daemon of a socket. Its start and the daemon's start take longer than a question. */
interface Connection {
  readonly worker: Worker
  readonly port: MessagePort
  /** How many times the thread has answered. */
  readonly answered: Int32Array
}

const connections = new Map<string, Connection>()
/** Sockets that did not answer in time. No call waits for them a second time. */
const silent = new Set<string>()

/** Did this socket not answer in time? */
export function isSilent(socket: string): boolean {
  return silent.has(socket)
}

/** Starts the thread for a daemon that will be asked later. This takes 40 to 120 ms, and other work can go on meanwhile. */
export function startDaemonThread(socket: string): void {
  if (!silent.has(socket)) connectionTo(socket)
}

/** Asks the daemon of a socket. @returns null when nothing there answers in time, or in this protocol */
export function askDaemon(socket: string, questions: DaemonQuestions, timeout = TIMEOUT_MS): DaemonAnswers | null {
  if (silent.has(socket)) return null
  const { worker, port, answered } = connectionTo(socket)
  const before = Atomics.load(answered, 0)
  const bytes = (paths: readonly string[] = []) => paths.map(path => encodeText(path))
  port.postMessage({
    valid: bytes(questions.valid),
    describe: bytes(questions.describe),
    closureOf: bytes(questions.closureOf),
    until: bytes(questions.until),
    addRoots: bytes(questions.addRoots),
  } satisfies ThreadQuestions)
  if (Atomics.wait(answered, 0, before, timeout) === 'timed-out') {
    connections.delete(socket)
    silent.add(socket)
    void worker.terminate()
    port.close()
    return null
  }
  // the only cast: the thread posts what `serve` posts
  const output = (receiveMessageOnPort(port)?.message ?? null) as ThreadAnswers | null
  return output === null ? null : decodeAnswers(output)
}

function decodeAnswers({ valid, described, closure, ...rest }: ThreadAnswers): DaemonAnswers {
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

function connectionTo(socket: string): Connection {
  const known = connections.get(socket)
  if (known !== undefined) return known
  const { port1, port2 } = new MessageChannel()
  const answered = new Int32Array(new SharedArrayBuffer(4))
  const input: ThreadInput = { port: port2, answered, socket: fsPath(socket).toString() }
  const worker = new Worker(threadProgram(), { eval: true, workerData: input, transferList: [port2], env: {} })
  worker.unref()
  // if the thread itself fails, the caller notices it by the time limit, and one report is enough
  worker.on('error', () => {})
  const connection = { worker, port: port1, answered }
  connections.set(socket, connection)
  return connection
}

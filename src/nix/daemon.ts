// A conversation with the Nix daemon over its socket (the worker protocol of Nix's worker-protocol.hh), so that no nix
// program is needed; it takes about as long as starting nix-store once, for any number of questions. Synchronous: a
// thread of its own does the input and output while this one waits, and stays for the next questions. Knows the protocol,
// not what the answers are for.
import { existsSync } from 'node:fs'
import { MessageChannel, receiveMessageOnPort, type MessagePort, Worker } from 'node:worker_threads'
import { decodeBytes, encodeText } from '../elf/text.ts'
import { fsPath } from '../io/path.ts'
import { stateDirectory } from './store.ts'

/** Which store paths are valid, and which links are to be registered as indirect roots. */
export interface DaemonQuestions {
  readonly valid: readonly string[]
  readonly addRoots: readonly string[]
}

export interface DaemonAnswers {
  readonly valid: ReadonlySet<string>
  /** How many of the links, from the first on, are registered now. */
  readonly rootsAdded: number
  /** What the daemon said no with, if it did; what came before it holds. */
  readonly refusal: string | null
}

/** The daemon's socket; null where there is none, or where NIX_REMOTE names something else than a local daemon. */
export function daemonSocket(env: NodeJS.ProcessEnv): string | null {
  const remote = env['NIX_REMOTE'] ?? ''
  const named = /^unix:\/\/(\/[^?]*)/.exec(remote)?.[1]
  if (named === undefined && !['', 'auto', 'daemon'].includes(remote)) return null
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

/** Starts the thread for a daemon that is going to be asked: 40 to 120 ms, which other work need not wait for. */
export function callDaemon(socket: string): void {
  lineTo(socket)
}

/** Asks the daemon behind a socket. @returns null when nobody answers there, or not in this protocol */
export function askDaemon(socket: string, questions: DaemonQuestions): DaemonAnswers | null {
  const { worker, port, answered } = lineTo(socket)
  const before = Atomics.load(answered, 0)
  port.postMessage({
    valid: questions.valid.map(path => encodeText(path)),
    addRoots: questions.addRoots.map(path => encodeText(path)),
  } satisfies SessionQuestions)
  if (Atomics.wait(answered, 0, before, TIMEOUT_MS) === 'timed-out') {
    lines.delete(socket)
    void worker.terminate()
    port.close()
    return null
  }
  // the one seam: what the thread posts is what `sessions` below posts
  const output = (receiveMessageOnPort(port)?.message ?? null) as SessionOutput | null
  return output === null ? null : { ...output, valid: new Set(output.valid.map(path => decodeBytes(path))) }
}

function lineTo(socket: string): Line {
  const known = lines.get(socket)
  if (known !== undefined) return known
  const { port1, port2 } = new MessageChannel()
  const answered = new Int32Array(new SharedArrayBuffer(4))
  const input: SessionInput = { port: port2, answered, socket: fsPath(socket).toString() }
  const worker = new Worker(`(${sessions.toString()})()`, {
    eval: true,
    workerData: input,
    transferList: [port2],
    env: {},
  })
  worker.unref()
  // a failure of the thread itself: who asks is told by the time limit, and nobody is told twice
  worker.on('error', () => {})
  const line = { worker, port: port1, answered }
  lines.set(socket, line)
  return line
}

interface SessionInput {
  readonly port: MessagePort
  readonly answered: Int32Array
  readonly socket: string
}

interface SessionQuestions {
  readonly valid: readonly Uint8Array[]
  readonly addRoots: readonly Uint8Array[]
}

interface SessionOutput {
  readonly valid: readonly Uint8Array[]
  readonly rootsAdded: number
  readonly refusal: string | null
}

/**
 * The thread's whole program: its text is what the thread gets, so that it uses nothing from outside of itself.
 * Integers are 64 bits, little-endian; strings have their length first and are padded to 8 bytes.
 */
function sessions(): void {
  const { createConnection } = process.getBuiltinModule('node:net')
  const { workerData } = process.getBuiltinModule('node:worker_threads')
  const { port, answered, socket } = workerData as SessionInput

  // 1.35 is the oldest version that all of Nix and Lix of today accept; an older daemon answers with its own
  const OUR_VERSION = 0x123
  const OP_ADD_INDIRECT_ROOT = 12
  const OP_QUERY_VALID_PATHS = 31
  // longer than any message about paths; a length beyond it is not this protocol
  const MAX_STRING = 1 << 20
  const HUNG_UP = 'the daemon hung up'

  const integer = (value: number): Buffer => {
    const bytes = Buffer.alloc(8)
    bytes.writeBigUInt64LE(BigInt(value))
    return bytes
  }
  const string = (bytes: Uint8Array): Buffer =>
    Buffer.concat([integer(bytes.length), bytes, Buffer.alloc((8 - (bytes.length % 8)) % 8)])

  /** Lets the daemon greet us; gives what answers questions from then on: with null where nobody speaks the protocol. */
  const open = async (): Promise<(questions: SessionQuestions) => Promise<SessionOutput | null>> => {
    const connection = createConnection(socket)
    const chunks: AsyncIterator<Buffer, undefined> = connection[Symbol.asyncIterator]()
    let buffer = Buffer.alloc(0)
    const take = async (length: number): Promise<Buffer> => {
      while (buffer.length < length) {
        const next = await chunks.next()
        if (next.done === true) throw new Error(HUNG_UP)
        buffer = Buffer.concat([buffer, next.value])
      }
      const taken = buffer.subarray(0, length)
      buffer = buffer.subarray(length)
      return taken
    }
    const readInteger = async (): Promise<number> => Number((await take(8)).readBigUInt64LE())
    const readString = async (): Promise<Buffer> => {
      const length = await readInteger()
      if (length > MAX_STRING) throw new Error('not the protocol')
      return (await take(length + ((8 - (length % 8)) % 8))).subarray(0, length)
    }
    let version = OUR_VERSION
    const skipFields = async (): Promise<void> => {
      for (let left = await readInteger(); left > 0; left--)
        await ((await readInteger()) === 0 ? readInteger() : readString())
    }
    /** What comes before an answer: log messages, then either the end or an error. @returns the error's words */
    const finish = async (): Promise<string | null> => {
      for (;;) {
        const kind = await readInteger()
        if (kind === 0x616c7473) return null // STDERR_LAST
        if (kind === 0x6f6c6d67) await readString() // STDERR_NEXT
        else if (kind === 0x53545254) {
          // STDERR_START_ACTIVITY: id, level, type, text, fields, parent
          for (let i = 0; i < 3; i++) await readInteger()
          await readString()
          await skipFields()
          await readInteger()
        } else if (kind === 0x53544f50) await readInteger() // STDERR_STOP_ACTIVITY
        else if (kind === 0x52534c54) {
          // STDERR_RESULT: id, type, fields
          await readInteger()
          await readInteger()
          await skipFields()
        } else if (kind === 0x63787470) {
          // STDERR_ERROR: before 1.26 a text and a status, since then a structure
          if (version < 0x11a) return (await readString()).toString()
          await readString()
          await readInteger()
          await readString()
          return (await readString()).toString()
        } else throw new Error('not the protocol')
      }
    }

    const answer = async ({ valid, addRoots }: SessionQuestions): Promise<SessionOutput> => {
      const answers: { valid: Uint8Array[]; rootsAdded: number; refusal: string | null } = {
        valid: [],
        rootsAdded: 0,
        refusal: null,
      }
      try {
        if (valid.length > 0) {
          const request = [integer(OP_QUERY_VALID_PATHS), integer(valid.length), ...valid.map(string)]
          if (version >= 0x11b) request.push(integer(0)) // do not substitute
          connection.write(Buffer.concat(request))
          answers.refusal = await finish()
          if (answers.refusal === null) {
            for (let left = await readInteger(); left > 0; left--) {
              answers.valid.push(Uint8Array.from(await readString()))
            }
          }
        }
        for (const link of addRoots) {
          if (answers.refusal !== null) break
          connection.write(Buffer.concat([integer(OP_ADD_INDIRECT_ROOT), string(link)]))
          answers.refusal = await finish()
          if (answers.refusal === null) {
            await readInteger()
            answers.rootsAdded++
          }
        }
      } catch {
        // who hangs up in the middle has still answered what came before
        connection.destroy()
        answers.refusal = HUNG_UP
      }
      return answers
    }

    try {
      connection.write(Buffer.concat([integer(0x6e697863), integer(OUR_VERSION)]))
      if ((await readInteger()) !== 0x6478696f) throw new Error('not the protocol')
      version = Math.min(OUR_VERSION, await readInteger())
      connection.write(Buffer.concat([integer(0), integer(0)])) // no CPU affinity, no reserved space
      if (version >= 0x121) await readString() // the daemon's own version
      if (version >= 0x123) await readInteger() // whether it trusts us
      const refusal = await finish()
      return refusal === null ? answer : () => Promise.resolve({ valid: [], rootsAdded: 0, refusal })
    } catch {
      connection.destroy()
      return () => Promise.resolve(null)
    }
  }

  // it is greeted at once; the questions may come later
  let session = open()
  const answerTo = async (questions: SessionQuestions): Promise<void> => {
    let output = await (await session)(questions)
    if (output === null || output.refusal === HUNG_UP) {
      // it may have been started anew meanwhile; what was answered already may be asked again
      session = open()
      output = await (await session)(questions)
    }
    port.postMessage(output)
    Atomics.add(answered, 0, 1)
    Atomics.notify(answered, 0)
  }
  port.on('message', (questions: SessionQuestions) => void answerTo(questions))
}

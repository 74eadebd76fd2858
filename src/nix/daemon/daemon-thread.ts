// The thread that talks with the Nix daemon (the worker protocol of Nix's worker-protocol.cc). The functions below are
// passed to the thread as text, so they use nothing from outside except each other. Other files use daemon.ts. Everything
// that the daemon sends is bounded: the length of a string, the number of items of a list, the size of an answer.
import type { MessagePort } from 'node:worker_threads'

/** The input of the thread. */
export interface ThreadInput {
  readonly port: MessagePort
  /** How many times the thread has answered. */
  readonly answered: Int32Array
  readonly socket: string
}

/** The questions of daemon.ts, with paths as bytes. */
export interface ThreadQuestions {
  readonly valid: readonly Uint8Array[]
  readonly describe: readonly Uint8Array[]
  readonly closureOf: readonly Uint8Array[]
  readonly until: readonly Uint8Array[]
  readonly addRoots: readonly Uint8Array[]
}

/** A valid path as the daemon describes it. Bytes are unchanged. */
interface ThreadPathInfo {
  readonly path: Uint8Array
  /** SHA-256 of the path's archive, 64 hexadecimal digits. */
  readonly narHash: string
  readonly narSize: number
  readonly references: readonly Uint8Array[]
  readonly signatures: readonly string[]
}

export interface ThreadAnswers {
  readonly valid: readonly Uint8Array[]
  readonly described: readonly ThreadPathInfo[]
  readonly closure: readonly Uint8Array[]
  readonly isWholeClosure: boolean
  readonly rootsAdded: number
  readonly refusal: string | null
}

/** The thread's program. */
export function threadProgram(): string {
  return `${[integer, string, openWire, finish, openSession, askSession, closureOver, serve].map(String).join('\n')}\nserve()`
}

/** An unsigned 64-bit integer, little-endian. */
function integer(value: number): Buffer {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64LE(BigInt(value))
  return bytes
}

/** A string: its length, its bytes, and zeros up to a multiple of 8. */
function string(bytes: Uint8Array): Buffer {
  return Buffer.concat([integer(bytes.length), bytes, Buffer.alloc((8 - (bytes.length % 8)) % 8)])
}

/** The connection as integers, strings and lists. */
interface Wire {
  readonly write: (...parts: readonly Uint8Array[]) => void
  readonly readInteger: () => Promise<number>
  readonly readString: () => Promise<Buffer>
  /** The number of items of a list, or of fields of a message. */
  readonly readCount: () => Promise<number>
  readonly readStrings: () => Promise<Buffer[]>
  readonly close: () => void
}

function openWire(socket: string): Wire {
  const { createConnection } = process.getBuiltinModule('node:net')
  // longer than any message about paths; a greater length belongs to another protocol
  const MAX_STRING = 1 << 20
  // no path has this many references, and no message has this many fields
  const MAX_ITEMS = 1 << 17
  // the closure of a large system has about 10,000 paths with a few KB each
  const MAX_BYTES = 1 << 29

  const connection = createConnection(socket)
  const chunks: AsyncIterator<Buffer, undefined> = connection[Symbol.asyncIterator]()
  let buffer: Buffer = Buffer.alloc(0)
  let received = 0
  const take = async (length: number): Promise<Buffer> => {
    if (buffer.length < length) {
      const pieces: Buffer[] = [buffer]
      let have = buffer.length
      while (have < length) {
        const next = await chunks.next()
        if (next.done === true) throw new Error('the daemon closed the connection')
        pieces.push(next.value)
        have += next.value.length
        received += next.value.length
        if (received > MAX_BYTES) throw new Error('the daemon says too much')
      }
      buffer = Buffer.concat(pieces)
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
  const readCount = async (): Promise<number> => {
    const count = await readInteger()
    if (count > MAX_ITEMS) throw new Error('not the protocol')
    return count
  }
  const readStrings = async (): Promise<Buffer[]> => {
    const strings: Buffer[] = []
    for (let left = await readCount(); left > 0; left--) strings.push(await readString())
    return strings
  }
  return {
    write: (...parts) => void connection.write(Buffer.concat(parts)),
    readInteger,
    readString,
    readCount,
    readStrings,
    close: () => void connection.destroy(),
  }
}

/** Reads what comes before an answer: log messages, then the end or an error. Resolves to the error's message. */
async function finish({ readInteger, readString, readCount }: Wire, version: number): Promise<string | null> {
  const skipFields = async (): Promise<void> => {
    for (let left = await readCount(); left > 0; left--)
      await ((await readInteger()) === 0 ? readInteger() : readString())
  }
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

/** A greeted connection. */
interface Session {
  readonly wire: Wire
  readonly version: number
  /** The daemon's message when it refused the connection. */
  readonly refusal: string | null
}

/** Opens a session with the daemon; null when nothing there speaks the protocol. */
async function openSession(socket: string): Promise<Session | null> {
  // 1.35 is the oldest version that all present versions of Nix and Lix accept; an older daemon answers with its own
  const OUR_VERSION = 0x123
  const wire = openWire(socket)
  try {
    wire.write(integer(0x6e697863), integer(OUR_VERSION))
    if ((await wire.readInteger()) !== 0x6478696f) throw new Error('not the protocol')
    const version = Math.min(OUR_VERSION, await wire.readInteger())
    wire.write(integer(0), integer(0)) // no CPU affinity, no reserved space
    if (version >= 0x121) await wire.readString() // the daemon's own version
    if (version >= 0x123) await wire.readInteger() // whether it trusts us
    return { wire, version, refusal: await finish(wire, version) }
  } catch {
    wire.close()
    return null
  }
}

/**
 * The closure of `paths`: the paths and everything that they lead to by their references. The daemon is asked in waves, and
 * answers in order. If `until` names paths, the search ends after the wave in which the last of them was found.
 */
async function closureOver(
  paths: readonly Uint8Array[],
  until: readonly Uint8Array[],
  describe: (paths: readonly Uint8Array[]) => Promise<readonly ThreadPathInfo[]>,
): Promise<Pick<ThreadAnswers, 'closure' | 'isWholeClosure'>> {
  // more paths than the store of any machine of today holds
  const MAX_PATHS = 200_000
  const key = (path: Uint8Array) => Buffer.from(path).toString('latin1')
  const asked = new Set(paths.map(key))
  const closure: Uint8Array[] = []
  const missing = new Set(until.map(key))
  for (let wave = paths; wave.length > 0 && asked.size < MAX_PATHS;) {
    const next: Uint8Array[] = []
    for (const { path, references } of await describe(wave)) {
      closure.push(path)
      missing.delete(key(path))
      for (const reference of references) {
        if (asked.has(key(reference))) continue
        asked.add(key(reference))
        next.push(reference)
      }
    }
    wave = next
    if (until.length > 0 && missing.size === 0) return { closure, isWholeClosure: wave.length === 0 }
  }
  return { closure, isWholeClosure: true }
}

/** Asks all questions in order, until the daemon refuses one or closes the connection. The answers before that are valid. */
async function askSession({ wire, version, refusal }: Session, questions: ThreadQuestions): Promise<ThreadAnswers> {
  const OP_ADD_INDIRECT_ROOT = 12
  const OP_QUERY_PATH_INFO = 26
  const OP_QUERY_VALID_PATHS = 31
  const answers = {
    valid: [] as Uint8Array[],
    described: [] as readonly ThreadPathInfo[],
    closure: [] as readonly Uint8Array[],
    isWholeClosure: true,
    rootsAdded: 0,
    refusal,
  }
  /** Describes paths. Before 1.17 the daemon answered an invalid path with an error. */
  const describe = async (paths: readonly Uint8Array[]): Promise<ThreadPathInfo[]> => {
    const described: ThreadPathInfo[] = []
    if (version < 0x111) throw new Error('the daemon is too old')
    for (const path of paths) wire.write(integer(OP_QUERY_PATH_INFO), string(path))
    for (const path of paths) {
      const problem = await finish(wire, version)
      if (problem !== null) {
        answers.refusal = problem
        break
      }
      if ((await wire.readInteger()) === 0) continue
      await wire.readString() // the deriver
      const narHash = (await wire.readString()).toString('latin1')
      const references = (await wire.readStrings()).map(bytes => Uint8Array.from(bytes))
      await wire.readInteger() // when it was registered
      const narSize = await wire.readInteger()
      // whether this machine built the path: it proves nothing, because any user may have had it built
      await wire.readInteger()
      const signatures = (await wire.readStrings()).map(bytes => bytes.toString('latin1'))
      await wire.readString() // the content address
      described.push({ path, narHash, narSize, references, signatures })
    }
    return described
  }
  try {
    if (answers.refusal === null && questions.valid.length > 0) {
      const request = [integer(OP_QUERY_VALID_PATHS), integer(questions.valid.length), ...questions.valid.map(string)]
      if (version >= 0x11b) request.push(integer(0)) // do not substitute
      wire.write(...request)
      answers.refusal = await finish(wire, version)
      if (answers.refusal === null) answers.valid = (await wire.readStrings()).map(bytes => Uint8Array.from(bytes))
    }
    if (answers.refusal === null) answers.described = await describe(questions.describe)
    if (answers.refusal === null) {
      Object.assign(answers, await closureOver(questions.closureOf, questions.until, describe))
    }
    for (const link of questions.addRoots) {
      if (answers.refusal !== null) break
      wire.write(integer(OP_ADD_INDIRECT_ROOT), string(link))
      answers.refusal = await finish(wire, version)
      if (answers.refusal === null) {
        await wire.readInteger()
        answers.rootsAdded++
      }
    }
  } catch (error) {
    wire.close()
    answers.refusal = error instanceof Error ? error.message : String(error)
  }
  return answers
}

/**
 * Answers the questions that come through the port. The session with the daemon opens at once, even if the questions come
 * later.
 */
function serve(): void {
  const { workerData } = process.getBuiltinModule('node:worker_threads')
  const { port, answered, socket } = workerData as ThreadInput
  let session = openSession(socket)
  const ask = async (questions: ThreadQuestions): Promise<ThreadAnswers | null> => {
    const open = await session
    return open === null ? null : askSession(open, questions)
  }
  const answerTo = async (questions: ThreadQuestions): Promise<void> => {
    let answers = await ask(questions)
    if (answers === null || answers.refusal === 'the daemon closed the connection') {
      // the daemon may have restarted meanwhile; a question that it has answered may be repeated
      session = openSession(socket)
      answers = await ask(questions)
    }
    port.postMessage(answers)
    Atomics.add(answered, 0, 1)
    Atomics.notify(answered, 0)
  }
  port.on('message', (questions: ThreadQuestions) => void answerTo(questions))
}

// A Nix daemon that misbehaves, as a program: SOCKET MODE. It speaks as much of the worker protocol (1.35) as our questions
// need, and tells its parent of each connection.
import { createServer, type Socket } from 'node:net'

const [socket = '', mode = ''] = process.argv.slice(2)

const HELLO = 0x6478696f
const LAST = 0x616c7473
const NEXT = 0x6f6c6d67
const ERROR = 0x63787470
const ADD_INDIRECT_ROOT = 12n
const QUERY_VALID_PATHS = 31n

const integers = (...numbers: readonly number[]): Buffer => {
  const bytes = Buffer.alloc(8 * numbers.length)
  for (const [index, number] of numbers.entries()) bytes.writeBigUInt64LE(BigInt(number), 8 * index)
  return bytes
}
const text = (value: string): Buffer =>
  Buffer.concat([integers(value.length), Buffer.from(value.padEnd(Math.ceil(value.length / 8) * 8, '\0'))])

/** Log messages without an end. */
function talk(connection: Socket): void {
  const line = Buffer.concat([integers(NEXT), text('x'.repeat(1 << 16))])
  while (!connection.destroyed && connection.write(line));
  connection.once('drain', () => talk(connection))
}

let connections = 0
createServer(connection => {
  process.send?.(++connections)
  connection.on('error', () => {})
  if (mode === 'silent') return
  if (mode === 'garbage') {
    connection.end('HTTP/1.1 400 Bad Request\r\n\r\n')
    return
  }
  let step: 'hello' | 'features' | 'questions' = 'hello'
  connection.on('data', data => {
    // our questions are short: each comes as one piece
    if (step === 'hello') {
      step = 'features'
      connection.write(integers(HELLO, 0x123))
    } else if (step === 'features') {
      step = 'questions'
      const greeting = [text('2.18'), integers(1)]
      if (mode === 'refuse') {
        connection.end(Buffer.concat([...greeting, integers(ERROR), text('Error'), integers(0), text(''), text('no')]))
        return
      }
      connection.write(Buffer.concat([...greeting, integers(LAST)]))
      if (mode === 'idle' && connections === 1) setTimeout(() => connection.destroy(), 30)
    } else {
      const operation = data.readBigUInt64LE(0)
      if (mode === 'long') connection.write(Buffer.concat([integers(LAST), integers(1, 2 ** 40)]))
      else if (mode === 'many') connection.write(Buffer.concat([integers(LAST), integers(2 ** 40)]))
      else if (mode === 'talk') talk(connection)
      else if (mode === 'middle' && connections === 1) connection.destroy()
      else if (operation === ADD_INDIRECT_ROOT) connection.write(integers(LAST, 1))
      // all paths are valid: the same list, without the operation before it and the flag behind it
      else if (operation === QUERY_VALID_PATHS) connection.write(Buffer.concat([integers(LAST), data.subarray(8, -8)]))
    }
  })
}).listen(socket, () => process.send?.(0))

// A wheel of any size with two libraries of real machine code. To a reader of archives it looks like a wheel of torch.
import { createHash } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { constants, crc32, deflateRawSync } from 'node:zlib'
import { runWell } from '../test/support/run.ts'
import { makeZip, type Part } from '../test/wheel/archives.ts'
import { enlargedParts } from './large.ts'

const DEMO = join(import.meta.dirname, '../../fixtures/demo-wheel')
/** The library of the wheel in a folder, as base64. */
const READ = `
import base64, glob, sys, zipfile
wheel = zipfile.ZipFile(glob.glob(sys.argv[1] + '/*.whl')[0])
print(base64.b64encode(wheel.read('wheelfix_demo/_demo.abi3.so')).decode())`
const LIBRARIES = ['_demo.abi3.so', '_other.abi3.so']

/**
 * Writes a wheel `large_demo` of about `size` bytes. Its libraries are copies of the demo wheel's library. The code of
 * the running Node follows in each, many times over. This code is compressed once, and its stream is repeated.
 */
export function largeWheel(path: string, size: number): void {
  const program = readFileSync(process.execPath)
  // so that the table after it is aligned
  const code = program.subarray(0, program.length - (program.length % 16))
  const stream = deflateRawSync(code, { finishFlush: constants.Z_FULL_FLUSH })
  const times = Math.max(1, Math.round(size / LIBRARIES.length / stream.length))
  const library = Buffer.from(runWell('python3', ['-c', READ, DEMO]), 'base64')
  const { head, table } = enlargedParts(library, library.length + times * code.length)

  const repeated = Array.from({ length: times }, () => stream)
  const compressed = Buffer.concat([
    deflateRawSync(head, { finishFlush: constants.Z_FULL_FLUSH }),
    ...repeated,
    deflateRawSync(table),
  ])
  const hash = createHash('sha256').update(head)
  let crc = crc32(head)
  for (let count = 0; count < times; count += 1) {
    hash.update(code)
    crc = crc32(code, crc)
  }
  const sums = { crc: crc32(table, crc), size: head.length + times * code.length + table.length }
  const digest = hash.update(table).digest('base64url')

  const info = 'large_demo-1.0.dist-info'
  const rows = LIBRARIES.map(name => `large_demo/${name},sha256=${digest},${sums.size}\n`)
  const parts: Part[] = [
    ...LIBRARIES.map(name => ({ name: `large_demo/${name}`, compressed, ...sums, mode: 0o100755 })),
    { name: `${info}/METADATA`, data: 'Metadata-Version: 2.1\nName: large_demo\nVersion: 1.0\n' },
    {
      name: `${info}/WHEEL`,
      data: 'Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: cp37-abi3-manylinux_2_17_x86_64\n',
    },
    { name: `${info}/RECORD`, data: `${rows.join('')}${info}/METADATA,,\n${info}/WHEEL,,\n${info}/RECORD,,\n` },
  ]
  writeFileSync(path, makeZip(parts))
}

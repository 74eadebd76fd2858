// `wheelfix wheel --restore` gives back the bytes of archives of every form: a changed entry keeps the form that it had.
import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { after, describe, suite, test } from 'node:test'
import { crc32 } from 'node:zlib'
import { deflateLikeZlib } from '../../src/zip/deflate.ts'
import { skip } from '../support/requires.ts'
import { runWell } from '../support/run.ts'
import { makeZip, type Part } from '../wheel/archives.ts'
import { partsOf } from '../wheel/parts.ts'
import { wheelfix } from '../world/venv.ts'
import { buildWorld } from '../world/world.ts'

const FIXTURES = join(import.meta.dirname, '../../../fixtures/demo-wheel')
const DEMO = readdirSync(FIXTURES).find(name => name.endsWith('.whl')) ?? ''

/** Python packs into a stream that it cannot go back in, as it does for a pipe. */
const STREAM = `
import sys, zipfile
class Stream:
    def __init__(self, path): self.file = open(path, 'wb')
    def write(self, data): return self.file.write(data)
    def flush(self): self.file.flush()
old = zipfile.ZipFile(sys.argv[1])
with zipfile.ZipFile(Stream(sys.argv[2]), 'w', zipfile.ZIP_DEFLATED) as new:
    for i in old.infolist():
        j = zipfile.ZipInfo(i.filename, i.date_time)
        j.external_attr, j.compress_type = i.external_attr, zipfile.ZIP_DEFLATED
        with new.open(j, 'w', force_zip64=sys.argv[3] == 'zip64') as entry: entry.write(old.read(i))
`

const TEST = 'import sys, zipfile; assert zipfile.ZipFile(sys.argv[1]).testzip() is None'

/** The zip64 field of a local header, and what may stand behind its two sizes. */
function zip64Field(rest: string): (data: Uint8Array, compressed: Uint8Array) => Buffer {
  return (data, compressed) => {
    const field = Buffer.alloc(20 + rest.length / 2)
    field.writeUInt16LE(1, 0)
    field.writeUInt16LE(field.length - 4, 2)
    field.writeBigUInt64LE(BigInt(data.length), 4)
    field.writeBigUInt64LE(BigInt(compressed.length), 12)
    field.set(Buffer.from(rest, 'hex'), 20)
    return field
  }
}

suite('wheelfix wheel --restore', () => {
  const world = buildWorld()
  if (typeof world === 'string') {
    test('gives back archives of every form', { skip: skip(world) })
    return
  }
  after(() => world.dispose())
  const python = world.host.python.executable
  const wheel = (...args: string[]) => wheelfix(world, ['wheel', ...args, '--python', world.python, '--no-scan'])
  const libs = ['--libs', `${world.libs.gcc}:${world.libs.zlib}`]
  const otherLibs = ['--libs', `${world.libs.zlib}:${world.libs.gcc}`, '--ignore-missing', '*']
  const demo = partsOf(python, join(FIXTURES, DEMO))
  const stamp = Buffer.from('5554050001aabbccdd', 'hex')

  const comesBack = (path: string, ...tags: string[]): void => {
    const folder = join(path, '..')
    let from = path
    for (const [step, tag] of [[], ...tags.map(tag => ['--tag', tag])].entries()) {
      const set = step % 2 === 0 ? libs : otherLibs
      const to = join(folder, `step-${step}`)
      const { status, stdout, stderr } = wheel(from, '-o', to, ...set, ...tag)
      assert.equal(status, 0, stdout + stderr)
      from = join(to, readdirSync(to)[0] ?? '')
      runWell(python, ['-c', TEST, from])
    }
    const restored = join(folder, 'restored')
    assert.match(wheel(from, '-o', restored, '--restore').stdout, /the original byte for byte/)
    assert.ok(readFileSync(join(restored, basename(path))).equals(readFileSync(path)))
    rmSync(folder, { recursive: true })
  }

  describe('gives back archives whose entries have', () => {
    const forms: [string, Partial<Part> | ((data: Uint8Array, compressed: Uint8Array) => Partial<Part>)][] = [
      ['a data descriptor', { descriptor: 'signed' }],
      ['a data descriptor without its signature', { descriptor: 'short' }],
      ['a data descriptor of 64 bits', { descriptor: 'zip64' }],
      ['a data descriptor of 64 bits and zip64 fields', { descriptor: 'zip64', zip64: true }],
      ['a data descriptor besides a checksum', data => ({ descriptor: 'signed', local: { crc: crc32(data) } })],
      ['zip64 fields', { zip64: true }],
      ['an extra field in the local header', { localExtra: stamp }],
      ['an extra field in both headers, and a descriptor', { extra: stamp, localExtra: stamp, descriptor: 'signed' }],
      ['padding that is no extra field', { localExtra: Buffer.alloc(3) }],
      ['a zip64 field beside the sizes', (...sizes) => ({ localExtra: zip64Field('')(...sizes) })],
      ['a zip64 field with an offset', (...sizes) => ({ localExtra: zip64Field('1122334455667788')(...sizes) })],
      [
        'a zip64 field with an offset and a disk, between others',
        (...sizes) => ({ localExtra: Buffer.concat([stamp, zip64Field('112233445566778800000000')(...sizes), stamp]) }),
      ],
      ['a zip64 field that is too short to hold sizes', { localExtra: Buffer.from('010004000a0b0c0d', 'hex') }],
      ['another method', { method: 0 }],
      ['another method and a descriptor', { method: 0, descriptor: 'signed' }],
    ]
    for (const [name, form] of forms) {
      test(name, () => {
        const folder = mkdtempSync(join(world.root, 'form-'))
        const parts = demo.map((part): Part => {
          const data = Buffer.from(part.data ?? '')
          const compressed = Buffer.from(deflateLikeZlib(data, 6))
          const extra = typeof form === 'function' ? form(data, compressed) : form
          return { ...part, ...(extra.method === 0 ? {} : { compressed }), ...extra }
        })
        writeFileSync(join(folder, DEMO), makeZip(parts))
        comesBack(join(folder, DEMO))
      })
    }
  })

  for (const level of [1, 2, 3, 4, 5, 7, 8, 9]) {
    test(`gives back what zlib compressed at level ${level}`, () => {
      const folder = mkdtempSync(join(world.root, 'level-'))
      const parts = demo.map(part => ({
        ...part,
        compressed: Buffer.from(deflateLikeZlib(Buffer.from(part.data ?? ''), level)),
      }))
      writeFileSync(join(folder, DEMO), makeZip(parts))
      comesBack(join(folder, DEMO))
    })
  }

  for (const fields of [1, 2]) {
    test(`gives back a RECORD whose rows have ${fields === 1 ? 'no fields' : 'a hash alone'}`, () => {
      const folder = mkdtempSync(join(world.root, 'short-'))
      const parts = demo.map(part => {
        const short = Buffer.from(part.data ?? '')
          .toString()
          .replaceAll(/^(.*\.so),(.*),.*$/gm, fields === 1 ? '$1' : '$1,$2')
        const data = String(part.name).endsWith('RECORD') ? Buffer.from(short) : Buffer.from(part.data ?? '')
        return { ...part, data, compressed: Buffer.from(deflateLikeZlib(data, 6)) }
      })
      writeFileSync(join(folder, DEMO), makeZip(parts))
      comesBack(join(folder, DEMO))
    })
  }

  for (const zip64 of ['plain', 'zip64']) {
    test(`gives back what Python writes to a pipe, ${zip64}`, () => {
      const folder = mkdtempSync(join(world.root, 'stream-'))
      runWell(python, ['-c', STREAM, join(FIXTURES, DEMO), join(folder, DEMO), zip64])
      comesBack(join(folder, DEMO))
    })
  }

  test('a local tag of several parts is added once', () => {
    const folder = mkdtempSync(join(world.root, 'dotted-'))
    const [first, second] = [join(folder, 'first'), join(folder, 'second')]
    for (const [version, tag, expected] of [
      ['1.0', '+nixos.1', '1.0+nixos.1'],
      ['1.0+cu128', '+nixos.1', '1.0+cu128.nixos.1'],
      ['1.0+cu128', '+1', '1.0+cu128.1'],
      ['1.0+a', '+a.a', '1.0+a.a.a'],
    ] as const) {
      const path = join(folder, DEMO.replace('-1.0-', `-${version}-`))
      const parts = demo.map(part => ({ ...part, name: String(part.name).replace('-1.0.', `-${version}.`) }))
      const record = (text: string): string => text.replaceAll('-1.0.', `-${version}.`)
      const renamed = parts.map(part =>
        part.name.endsWith('/RECORD') ? { ...part, data: record(String(part.data)) } : part,
      )
      writeFileSync(path, makeZip(renamed))
      const name = basename(path).replace(`-${version}-`, `-${expected}-`)
      assert.equal(wheel(path, '-o', first, '--tag', tag, ...libs).status, 0)
      assert.deepEqual(readdirSync(first), [name])
      // libraries in another order make another patch
      assert.equal(wheel(join(first, name), '-o', second, '--tag', tag, ...otherLibs).status, 0)
      assert.deepEqual(readdirSync(second), [name])
      for (const done of [first, second]) rmSync(done, { recursive: true })
    }
  })

  test('takes no name of a folder from the wheel that leads elsewhere', () => {
    const folder = mkdtempSync(join(world.root, 'stem-'))
    const path = join(folder, DEMO)
    writeFileSync(path, readFileSync(join(FIXTURES, DEMO)))
    assert.equal(wheel(path, '-o', join(folder, 'out'), ...libs).status, 0)
    const patched = readFileSync(join(folder, 'out', DEMO))
    const at = patched.lastIndexOf('wheelfix-undo ') + 'wheelfix-undo '.length
    const undo = JSON.parse(patched.subarray(at).toString()) as Record<string, unknown>
    for (const stem of [
      '../../x-1',
      '/etc/x-1',
      'a\\b-1',
      '..',
      '',
      'other-1.0',
      'wheelfix_demo',
      'wheelfix_demo/../x-1',
    ]) {
      const comment = Buffer.from(JSON.stringify({ ...undo, stem }))
      const bytes = Buffer.concat([patched.subarray(0, at), comment])
      const length = patched.length - at - comment.length
      const record = bytes.lastIndexOf(Buffer.from('504b0506', 'hex'))
      bytes.writeUInt16LE(patched.readUInt16LE(record + 20) - length, record + 20)
      mkdirSync(join(folder, 'bad'), { recursive: true })
      writeFileSync(join(folder, 'bad', DEMO), bytes)
      const { status, stderr } = wheel(join(folder, 'bad', DEMO), '-o', join(folder, 'back'), '--restore')
      assert.deepEqual([status, /its note about the original is damaged/.test(stderr)], [2, true], stem + stderr)
    }
    assert.deepEqual(readdirSync(folder).sort(), ['bad', 'out', DEMO].sort())
  })

  test('blames another compressor only where that made the archive', () => {
    const folder = mkdtempSync(join(world.root, 'blame-'))
    const restoredOf = (parts: readonly Part[], change: (bytes: Buffer) => Buffer): string => {
      const path = join(folder, DEMO)
      writeFileSync(path, makeZip(parts))
      assert.equal(wheel(path, '-o', join(folder, 'out'), ...libs).status, 0)
      const patched = join(folder, 'out', DEMO)
      writeFileSync(`${patched}.new`, change(readFileSync(patched)))
      renameSync(`${patched}.new`, patched)
      return wheel(patched, '-o', join(folder, 'back'), '--restore').stdout
    }
    const byZlib = demo.map(part => ({
      ...part,
      compressed: Buffer.from(deflateLikeZlib(Buffer.from(part.data ?? ''), 6)),
    }))
    // the first entry's time: an archive that somebody changed
    const changed = restoredOf(byZlib, bytes => {
      const at = bytes.indexOf(Buffer.from('504b0102', 'hex'))
      bytes.writeUInt16LE(bytes.readUInt16LE(10) ^ 1, 10)
      bytes.writeUInt16LE(bytes.readUInt16LE(at + 12) ^ 1, at + 12)
      return bytes
    })
    assert.match(changed, /the bytes of the archive are not: the archive was changed after it was patched/)
    assert.match(
      restoredOf(
        demo.map(part => ({ ...part, level: 1 })),
        bytes => bytes,
      ),
      /a compressor other than zlib/,
    )
  })
})

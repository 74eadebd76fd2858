import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'
import { inflateRawSync } from 'node:zlib'
import yazl from 'yazl'
import { bytesSource } from '../../src/elf/source.ts'
import { readEntry } from '../../src/zip/entry-contents.ts'
import { encodeJobs, levelOf } from '../../src/zip/encode.ts'
import { type Archive, openArchive, type WheelEntry } from '../../src/zip/read.ts'
import { type EntryChange, writeArchive } from '../../src/zip/write.ts'
import { buffer, patchCentral, patchEnding, patchLocal, readEnding } from '../../src/zip/records.ts'
import { missing } from '../support/requires.ts'
import { makeZip, type Part } from './archives.ts'

const folder = mkdtempSync(join(tmpdir(), 'wheelfix-write-'))
after(() => rmSync(folder, { recursive: true }))

let files = 0
const newPath = (): string => join(folder, `w${(files += 1)}.whl`)

async function rewrite(
  bytes: Uint8Array,
  change: (archive: Archive) => Map<WheelEntry, EntryChange | 'drop'>,
): Promise<string> {
  const [from, to] = [newPath(), newPath()]
  writeFileSync(from, bytes)
  const archive = await openArchive(from)
  const fd = openSync(to, 'w+')
  await writeArchive(archive, fd, change(archive))
  closeSync(fd)
  archive.close()
  return to
}

function entry(archive: Archive, name: string): WheelEntry {
  const found = archive.entries.find(entry => entry.name === name)
  assert.ok(found, name)
  return found
}

const becomes = (content: Uint8Array): EntryChange => ({ content: () => bytesSource(content) })

/** Every kind of entry, in a directory whose order is not the file's. */
const varied: readonly Part[] = [
  { name: 'pkg/', mode: 0o040755, method: 0 },
  {
    name: 'pkg/a.so',
    data: 'first '.repeat(1000),
    mode: 0o100755,
    time: 0x58215a3c,
    extra: Buffer.from('7875040001020304', 'hex'),
  },
  { name: 'pkg/b.py', data: 'print()\n', method: 0, comment: 'a comment' },
  { name: 'pkg/c.so', data: 'third '.repeat(9000), descriptor: 'signed', level: 9, flags: 2 },
  { name: 'pkg/d.so', data: 'fourth'.repeat(20), zip64: true, localExtra: Buffer.from('5554050001aabbccdd', 'hex') },
  { name: 'pkg/ä.py', data: 'pass\n', flags: 0x800, descriptor: 'short' },
  { name: 'e', data: '' },
]
const archiveComment = Buffer.from('made by hand')

/** One entry as its bytes stand: the local record without what must change when its data changes. */
function recordOf(archive: Archive, entry: WheelEntry): Buffer {
  return Buffer.from(archive.source.read(entry.headerOffset, entry.end - entry.headerOffset))
}

function centralOf(entry: WheelEntry): Buffer {
  const bytes = Buffer.from(entry.central)
  return buffer(patchCentral(bytes, { offset: 0 }))
}

describe('a rewritten archive', () => {
  test('is the same file, byte for byte, when nothing changes', async () => {
    for (const whole of [{}, { comment: archiveComment }, { zip64: true }]) {
      const bytes = makeZip(varied, whole)
      assert.deepEqual(readFileSync(await rewrite(bytes, () => new Map())), bytes)
    }
  })

  test('carries every other entry byte for byte: data, times, modes, extra fields, comments, order', async () => {
    const bytes = makeZip(varied, { comment: archiveComment })
    const contents = Buffer.alloc(3_300_000, 'new contents ')
    for (const changed of ['pkg/a.so', 'pkg/b.py', 'pkg/c.so', 'pkg/d.so', 'pkg/ä.py', 'e']) {
      const path = await rewrite(bytes, archive => new Map([[entry(archive, changed), becomes(contents)]]))
      const before = newPath()
      writeFileSync(before, bytes)
      const [old, now] = [await openArchive(before), await openArchive(path)]
      assert.deepEqual(
        now.entries.map(entry => entry.name),
        old.entries.map(entry => entry.name),
      )
      assert.deepEqual(Buffer.from(now.ending.records).subarray(22), archiveComment)
      for (const [index, was] of old.entries.entries()) {
        const is = now.entries[index]
        assert.ok(is)
        if (is.name === changed) {
          assert.deepEqual(buffer(readEntry(now, is)), contents)
          assert.equal(is.mode, was.mode)
          assert.equal(is.method, was.method)
          // time and date, attributes
          assert.deepEqual(buffer(is.central).subarray(12, 16), buffer(was.central).subarray(12, 16))
          assert.deepEqual(buffer(is.central).subarray(36, 42), buffer(was.central).subarray(36, 42))
        } else {
          assert.deepEqual(recordOf(now, is), recordOf(old, was), is.name)
          assert.deepEqual(centralOf(is), centralOf(was), is.name)
        }
      }
      old.close()
      now.close()
    }
  })

  test('has the same bytes when it is made twice, however long each piece took', async () => {
    const contents = Buffer.alloc(5_000_000, 'again and again ')
    const make = async (): Promise<Buffer> =>
      readFileSync(
        await rewrite(
          makeZip(varied),
          archive => new Map(archive.entries.slice(1).map(entry => [entry, becomes(contents)])),
        ),
      )
    assert.deepEqual(await make(), await make())
  })

  test('can leave entries out and rename them', async () => {
    const path = await rewrite(
      makeZip(varied),
      archive =>
        new Map<WheelEntry, EntryChange | 'drop'>([
          [entry(archive, 'pkg/a.so'), 'drop'],
          [entry(archive, 'pkg/b.py'), { name: 'package/longer.py' }],
          [entry(archive, 'pkg/ä.py'), { name: 'b.py', ...becomes(Buffer.from('x = 1\n')) }],
          [entry(archive, 'e'), 'drop'],
        ]),
    )
    const archive = await openArchive(path)
    assert.deepEqual(
      archive.entries.map(entry => entry.name),
      ['pkg/', 'package/longer.py', 'pkg/c.so', 'pkg/d.so', 'b.py'],
    )
    assert.equal(Buffer.from(readEntry(archive, entry(archive, 'package/longer.py'))).toString(), 'print()\n')
    archive.close()
  })

  test('keeps the encoding of a name that is changed: code page 437 without the flag of UTF-8', async () => {
    const named = { name: Buffer.from([0x64, 0x2f, 0x82]), data: 'x' }
    const path = await rewrite(makeZip([named]), archive => new Map([[entry(archive, 'd/é'), { name: 'longer/é' }]]))
    assert.deepEqual(readFileSync(path), makeZip([{ ...named, name: Buffer.from([...Buffer.from('longer/'), 0x82]) }]))
    const impossible = rewrite(makeZip([named]), archive => new Map([[entry(archive, 'd/é'), { name: '日/é' }]]))
    await assert.rejects(impossible, { code: 'WHEEL_INVALID' })
  })

  test('is accepted by Python, checksums and all', { skip: missing('python3') }, async () => {
    const contents = Buffer.alloc(2_500_000, 'python ')
    const path = await rewrite(
      makeZip(varied, { zip64: true }),
      archive => new Map(archive.entries.slice(1).map(entry => [entry, becomes(contents)])),
    )
    const script =
      'import sys, zipfile\nz = zipfile.ZipFile(sys.argv[1])\nprint(z.testzip(), [(i.filename, i.file_size) for i in z.infolist()])'
    const { stdout, stderr } = spawnSync('python3', ['-c', script, path], { encoding: 'utf8' })
    assert.match(stdout, /^None \[\('pkg\/', 0\), \('pkg\/a.so', 2500000\)/, stderr)
  })

  test('comes from archives that yazl made, too', async () => {
    const zip = new yazl.ZipFile()
    zip.addBuffer(Buffer.from('one'), 'one.txt', { mtime: new Date(0), mode: 0o100600 })
    zip.addReadStreamLazy('two.txt', done => {
      void import('node:stream').then(({ Readable }) => done(null, Readable.from([Buffer.from('two')])))
    })
    zip.end()
    const chunks: Buffer[] = []
    for await (const chunk of zip.outputStream) chunks.push(Buffer.from(chunk as Uint8Array))
    const path = await rewrite(
      Buffer.concat(chunks),
      archive => new Map([[entry(archive, 'two.txt'), becomes(Buffer.from('zwei'))]]),
    )
    const archive = await openArchive(path)
    assert.deepEqual(
      archive.entries.map(entry => buffer(readEntry(archive, entry)).toString()),
      ['one', 'zwei'],
    )
    archive.close()
  })
})

describe('numbers past 32 bits', () => {
  test('get zip64 end records, which are found again', () => {
    const bytes = makeZip([{ name: 'a', data: 'x' }], { comment: archiveComment })
    const ending = readEnding(bytesSource(bytes))
    const far = { directoryOffset: 5e9, directorySize: 100, entryCount: 70_000 }
    const records = patchEnding(ending, far)
    const size = far.directoryOffset + far.directorySize + records.length
    const found = readEnding({
      size,
      read(offset, length) {
        const bytes = Buffer.alloc(length)
        records.copy(bytes, Math.max(0, size - records.length - offset), Math.max(0, offset - (size - records.length)))
        return bytes
      },
    })
    assert.deepEqual({ ...found, records: undefined }, { ...far, zip64: true, records: undefined, endRecord: 76 })
    assert.deepEqual(patchEnding(found, far), records)
  })

  const [part] = makeRecords()

  test('go into a zip64 field of the directory, and old ones stay in theirs', () => {
    const far = patchCentral(part.central, { offset: 5e9 })
    assert.equal(far.readUInt32LE(42), 0xffffffff)
    assert.equal(far.readUInt16LE(6), 45)
    assert.equal(far.readUInt16LE(46 + 1 + 2), 8)
    assert.equal(far.readBigUInt64LE(46 + 1 + 4), 5_000_000_000n)
    const back = patchCentral(far, { content: { crc32: 1, size: 6e9, compressedSize: 7 } })
    assert.deepEqual([back.readBigUInt64LE(51), back.readBigUInt64LE(59)], [6_000_000_000n, 5_000_000_000n])
    assert.equal(back.readUInt32LE(20), 7)
  })

  test('go into a zip64 field of the local header, whose length depends on the size alone', () => {
    const zeros = patchLocal(part.local, { content: { crc32: 0, size: 0, compressedSize: 0 } }, true)
    const full = patchLocal(part.local, { content: { crc32: 1, size: 5e9, compressedSize: 4.5e9 } }, true)
    assert.equal(zeros.length, full.length)
    assert.deepEqual([full.readUInt32LE(18), full.readUInt32LE(22)], [0xffffffff, 0xffffffff])
    assert.deepEqual([full.readBigUInt64LE(35), full.readBigUInt64LE(43)], [5_000_000_000n, 4_500_000_000n])
  })

  test('stay where they were, also in both the local header and its zip64 field, as Python writes them', () => {
    const field = (size: bigint, compressedSize: bigint): Buffer => {
      const bytes = Buffer.from('0100100000000000000000000000000000000000', 'hex')
      bytes.writeBigUInt64LE(size, 4)
      bytes.writeBigUInt64LE(compressedSize, 12)
      return bytes
    }
    const local = makeZip([{ name: 'a', data: 'x', method: 0, localExtra: field(1n, 1n) }]).subarray(0, 51)
    const now = patchLocal(local, { content: { crc32: 7, size: 300, compressedSize: 200 } }, false)
    assert.deepEqual([now.readUInt32LE(18), now.readUInt32LE(22)], [200, 300])
    assert.deepEqual(now.subarray(31), field(300n, 200n))
    const content = { crc32: local.readUInt32LE(14), size: 1, compressedSize: 1 }
    assert.deepEqual(patchLocal(now, { content }, false), local)
    const large = patchLocal(local, { content: { crc32: 7, size: 5e9, compressedSize: 4.5e9 } }, true)
    assert.deepEqual([large.readUInt32LE(18), large.readUInt32LE(22)], [0xffffffff, 0xffffffff])
  })

  function makeRecords(): [{ central: Uint8Array; local: Uint8Array }] {
    const bytes = makeZip([{ name: 'a', data: 'x' }])
    const { directoryOffset, directorySize } = readEnding(bytesSource(bytes))
    return [{ central: bytes.subarray(directoryOffset, directoryOffset + directorySize), local: bytes.subarray(0, 31) }]
  }
})

describe('encoding', () => {
  test('gives one deflate stream whose pieces come in order, with the sums of the whole', async () => {
    const content = Buffer.from(Array.from({ length: 4_500_000 }, (_, at) => (at * at) >> 7))
    const job = { method: 8 as const, level: 6, content: () => bytesSource(content) }
    const pieces: Buffer[] = []
    let crc: number | undefined
    for await (const piece of encodeJobs([job])) {
      pieces.push(buffer(piece.bytes))
      crc = piece.crc32 ?? crc
    }
    assert.equal(pieces.length, 5)
    assert.deepEqual(inflateRawSync(Buffer.concat(pieces)), content)
    const { crc32 } = await import('node:zlib')
    assert.equal(crc, crc32(content))
  })

  test('takes the level from the flags that the entry was made with', () => {
    assert.deepEqual([0, 2, 4, 6, 8, 10].map(levelOf), [6, 9, 2, 1, 6, 9])
  })
})

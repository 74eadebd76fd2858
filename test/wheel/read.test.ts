import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'
import { deflateRawSync } from 'node:zlib'
import { WheelfixError } from '../../src/io/error.ts'
import { openContents, readEntry } from '../../src/zip/entry-contents.ts'
import { openArchive } from '../../src/zip/read.ts'
import { makeZip, type Part, type Whole } from './archives.ts'

const folder = mkdtempSync(join(tmpdir(), 'wheelfix-read-'))
after(() => rmSync(folder, { recursive: true }))

let files = 0
function write(bytes: Uint8Array): string {
  const path = join(folder, `w${(files += 1)}-1-py3-none-any.whl`)
  writeFileSync(path, bytes)
  return path
}

/** Opens and checks everything; gives the names. */
async function readAll(bytes: Uint8Array): Promise<string[]> {
  const archive = await openArchive(write(bytes))
  try {
    const contents = await openContents(archive, folder)
    contents.close()
    return archive.entries.map(entry => entry.name)
  } finally {
    archive.close()
  }
}

const plain: Part = { name: 'a.py', data: 'x = 1\n'.repeat(50) }
const other: Part = { name: 'b.py', data: 'y = 2\n'.repeat(50) }
const large = Buffer.alloc(700_000, 'wheel')
const random = Buffer.from(Array.from({ length: 600_000 }, (_, at) => Math.floor(Math.sin(at * at) * 1e6) & 0xff))

describe('an archive is refused, with the reason, when', () => {
  const cases: [string, RegExp, readonly Part[], Whole?][] = [
    ['a name leaves the folder', /leaves the folder/, [{ name: '../evil.py', data: 'x' }]],
    ['a name leaves the folder further in', /leaves the folder/, [{ name: 'a/../../evil.py', data: 'x' }]],
    ['a name is absolute', /absolute name/, [{ name: '/etc/passwd', data: 'x' }]],
    ['a name has a drive letter', /absolute name/, [{ name: 'C:evil.py', data: 'x' }]],
    ['a name has a backslash', /backslash/, [{ name: 'a\\..\\evil.py', data: 'x' }]],
    ['a name has a NUL', /NUL/, [{ name: 'a.py\0.txt', data: 'x' }]],
    ['a name has a control character', /control character/, [{ name: 'a\n.py', data: 'x' }]],
    ['a name has an empty step', /empty or "\." step/, [{ name: 'a//b.py', data: 'x' }]],
    ['a name has a “.” step', /empty or "\." step/, [{ name: './b.py', data: 'x' }]],
    ['a name is empty', /has no name/, [{ name: '', data: 'x' }]],
    ['a name is no UTF-8', /not UTF-8/, [{ name: Buffer.from([0x61, 0xff]), data: 'x', flags: 0x800 }]],
    ['two entries have one name', /appears twice/, [plain, { ...other, name: 'a.py' }]],
    ['a file is also a directory', /also a directory/, [plain, { ...other, name: 'a.py/b.py' }]],
    ['an entry is a symbolic link', /symbolic link/, [{ name: 'a', data: '/etc/passwd', mode: 0o120777 }]],
    ['an entry is a device', /file type that does not match/, [{ name: 'a', mode: 0o020666 }]],
    ['a directory has contents', /directory with contents/, [{ name: 'a/', data: 'x', mode: 0o040755 }]],
    ['an entry is encrypted', /encrypted/, [{ ...plain, flags: 1 }]],
    ['an entry is strongly encrypted', /encrypt/, [{ ...plain, flags: 0x41 }]],
    ['an entry is compressed by another method', /method 12/, [{ ...plain, method: 12 }]],
    [
      'an entry lies inside another',
      /overlaps/,
      [
        { ...plain, data: makeZip([other]), method: 0 },
        { ...other, offset: 34 },
      ],
    ],
    ['an entry reaches into the next', /overlaps/, [{ ...plain, compressedSize: 60 }, other]],
    ['an entry claims more than deflate can hold', /cannot hold/, [{ ...plain, size: 1e8 }]],
    ['an entry claims less than it holds', /does not hold/, [{ ...plain, size: 10 }]],
    ['an entry claims more than it holds', /does not hold/, [{ ...plain, size: 1000 }]],
    ['a large entry claims less than it holds', /does not hold/, [{ name: 'a', data: large, size: 600_000 }]],
    ['a large entry claims more than it holds', /does not hold/, [{ name: 'a', data: large, size: 800_000 }]],
    ['a stored entry has two sizes', /mismatch|two sizes/, [{ ...plain, method: 0, size: 299 }]],
    ['a checksum is wrong', /checksum is wrong/, [{ ...plain, crc: 1 }]],
    ['a stored checksum is wrong', /checksum is wrong/, [{ ...plain, method: 0, crc: 1 }]],
    ['a large checksum is wrong', /checksum is wrong/, [{ name: 'a', data: large, crc: 1 }]],
    ['a large stored checksum is wrong', /checksum is wrong/, [{ name: 'a', data: large, method: 0, crc: 1 }]],
    [
      'compressed data ends too soon',
      /damaged/,
      [{ ...plain, compressed: deflateRawSync(plain.data ?? '').subarray(0, 9) }],
    ],
    [
      'large compressed data ends too soon',
      /damaged/,
      [{ name: 'a', data: random, compressed: deflateRawSync(random).subarray(0, 200_000) }],
    ],
    [
      'something follows the compressed data',
      /does not hold/,
      [{ ...plain, compressed: Buffer.concat([deflateRawSync(plain.data ?? ''), Buffer.from('hidden')]) }],
    ],
    [
      'something follows large compressed data',
      /does not hold/,
      [{ name: 'a', data: random, compressed: Buffer.concat([deflateRawSync(random), Buffer.alloc(2_100_000)]) }],
    ],
    ['the headers disagree on the name', /own header/, [{ ...plain, local: { name: 'b.py' } }]],
    ['the headers disagree on the checksum', /a different checksum/, [{ ...plain, local: { crc: 5 } }]],
    ['the headers disagree on the size', /a different size/, [{ ...plain, local: { size: 5 } }]],
    [
      'the headers disagree on the compressed size',
      /a different compressed size/,
      [{ ...plain, local: { compressedSize: 5 } }],
    ],
    ['the headers disagree on the method', /a different compression method/, [{ ...plain, local: { method: 0 } }]],
    ['the headers disagree on the flags', /a different set of flags/, [{ ...plain, local: { flags: 0x800 } }]],
    ['a descriptor disagrees', /no data descriptor/, [{ ...plain, flags: 8 }]],
    ['bytes stand before the archive', /come before the archive/, [plain], { prefix: 100 }],
    ['bytes stand between two entries', /belong to no entry/, [plain, { ...other, gap: 30 }]],
    ['bytes follow the archive', /follow the end record/, [plain], { trailing: 10 }],
    ['the comment holds another end record', /come before the archive/, [plain], { comment: makeZip([other]) }],
    ['the directory holds fewer entries than counted', /cannot hold|end record says|signature/, [plain], { count: 2 }],
    ['the directory holds more entries than counted', /shorter than its end record/, [plain, other], { count: 1 }],
    ['the directory is longer than told', /before the archive|end record/, [plain], { directorySize: 40 }],
  ]
  for (const [name, reason, parts, whole] of cases) {
    test(name, async () => {
      const before = readdirSync(folder).length
      await assert.rejects(readAll(makeZip(parts, whole)), (error: unknown) => {
        assert.ok(error instanceof WheelfixError, String(error))
        assert.equal(error.code, 'WHEEL_INVALID')
        assert.match(error.message, reason)
        return true
      })
      assert.equal(readdirSync(folder).length, before + 1, 'no file is left behind')
    })
  }

  test('it is not a zip file, is empty, or is cut off anywhere', async () => {
    const whole = makeZip([plain, other])
    for (const bytes of [Buffer.from('hello'), Buffer.alloc(0), Buffer.alloc(70_000)])
      await assert.rejects(readAll(bytes), { code: 'WHEEL_INVALID' })
    for (let length = 0; length < whole.length; length += 7)
      await assert.rejects(readAll(whole.subarray(0, length)), { code: 'WHEEL_INVALID' })
  })

  test('it is a zip bomb: it unpacks to far more than any real wheel', async () => {
    const compressed = deflateRawSync(Buffer.alloc(300 << 20))
    const parts = ['a', 'b', 'c', 'd'].map(name => ({ name, compressed, size: 300 << 20 }))
    await assert.rejects(readAll(makeZip(parts)), { code: 'WHEEL_INVALID', message: /zip bomb/ })
  })
})

describe('an archive is read when', () => {
  const cases: [string, readonly Part[], Whole?][] = [
    [
      'entries are stored or deflated, at once or in pieces',
      [plain, { ...other, method: 0 }, { name: 'c', data: large }],
    ],
    [
      'there are directories, and empty files',
      [{ name: 'a/', mode: 0o040755, method: 0 }, { name: 'a/b', method: 0 }, { name: 'c' }],
    ],
    [
      'sizes stand in data descriptors',
      [
        { ...plain, descriptor: 'short' },
        { ...other, descriptor: 'signed' },
      ],
    ],
    ['sizes stand in zip64 descriptors', [{ ...plain, descriptor: 'zip64', zip64: false }, other]],
    ['numbers stand in zip64 fields', [{ ...plain, zip64: true }, other], { zip64: true }],
    [
      'it has comments and extra fields',
      [{ ...plain, comment: 'c', extra: Buffer.from('7875040001020304', 'hex') }],
      { comment: Buffer.from('hello') },
    ],
    ['names are UTF-8', [{ name: 'ä/µ.py', data: 'x', flags: 0x800 }]],
    ['it has no entries', []],
  ]
  for (const [name, parts, whole] of cases) {
    test(name, async () => {
      assert.deepEqual(
        await readAll(makeZip(parts, whole)),
        parts.map(part => String(part.name)),
      )
    })
  }

  test('objects are opened to random reads, stored, small and large', async () => {
    const elf = (size: number): Buffer => Buffer.concat([Buffer.from('\x7fELF'), random.subarray(0, size)])
    const parts: Part[] = [
      { name: 'small', data: elf(1000) },
      { name: 'text', data: 'no object' },
      { name: 'stored', data: elf(300_000), method: 0 },
      { name: 'large', data: elf(500_000) },
    ]
    const archive = await openArchive(write(makeZip(parts)))
    const contents = await openContents(archive, folder)
    const seen = [...contents.objects].map(([entry, source]) => [entry.name, source.size] as const)
    assert.deepEqual(seen, [
      ['small', 1004],
      ['stored', 300_004],
      ['large', 500_004],
    ])
    for (const [entry, source] of contents.objects) {
      const data = Buffer.from(parts.find(part => part.name === entry.name)?.data ?? '')
      for (const [offset, length] of [
        [0, 4],
        [900, 104],
        [0, source.size],
        [source.size - 3, 3],
      ] as const)
        assert.deepEqual(Buffer.from(source.read(offset, length)), data.subarray(offset, offset + length))
      assert.throws(() => source.read(source.size - 3, 4), { code: 'TRUNCATED' })
    }
    const [small] = archive.entries
    assert.ok(small)
    assert.deepEqual(Buffer.from(readEntry(archive, small)), elf(1000))
    contents.close()
    archive.close()
  })
})

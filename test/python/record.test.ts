import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { test } from 'node:test'
import fc from 'fast-check'
import { bytesSource } from '../../src/elf/source.ts'
import {
  disagreeingRows,
  EMPTY_FIELDS,
  hashHolds,
  recordedPaths,
  recordRows,
  rewriteRecord,
  trueFields,
} from '../../src/python/record.ts'
import { missing } from '../support/requires.ts'

const RECORD = [
  'numpy/__init__.py,sha256=aa,10',
  'numpy/_core/_multiarray_umath.cpython-311-x86_64-linux-gnu.so,sha256=bb,20',
  '../../../bin/f2py,sha256=cc,30',
  '"odd, name/""x"".so",sha256=dd,40',
  'numpy-2.0.dist-info/RECORD,,',
  '',
]

for (const [name, end] of [
  ['LF', '\n'],
  ['CRLF', '\r\n'],
] as const) {
  test(`emptied fields change only their own row, with ${name} line ends`, () => {
    const path = 'numpy/_core/_multiarray_umath.cpython-311-x86_64-linux-gnu.so'
    const text = RECORD.join(end)
    const emptied = rewriteRecord(text, new Map([[path, EMPTY_FIELDS]]))
    assert.equal(emptied, text.replace(`${path},sha256=bb,20`, `${path},,`))
    const fields = recordRows(text).get(path)
    assert.ok(fields)
    assert.deepEqual(fields, { hash: 'sha256=bb', size: '20' })
    assert.equal(rewriteRecord(emptied, new Map([[path, fields]])), text)
  })
}

test('a quoted path is named unquoted and stays quoted', () => {
  const text = RECORD.join('\n')
  assert.deepEqual(recordRows(text).get('odd, name/"x".so'), { hash: 'sha256=dd', size: '40' })
  const changed = rewriteRecord(text, new Map([['odd, name/"x".so', EMPTY_FIELDS]]))
  assert.equal(changed, text.replace('sha256=dd,40', ','))
})

test('quoted fields come back as they were', () => {
  const text = 'a.so,"sha256=x","1"\nb.so,"",""\n'
  const fields = recordRows(text).get('a.so')
  assert.ok(fields)
  const changed = rewriteRecord(text, new Map([['a.so', EMPTY_FIELDS]]))
  assert.equal(changed, 'a.so,,\nb.so,"",""\n')
  assert.equal(rewriteRecord(changed, new Map([['a.so', fields]])), text)
})

test('a short row keeps its number of fields, so that the way back is exact', () => {
  const fields = { hash: 'sha256=x', size: '1' }
  for (const [text, changed] of [
    ['a.so', 'a.so'],
    ['a.so\r\nb', 'a.so\r\nb'],
    ['"a.so"\nb,,', '"a.so"\nb,,'],
    ['a.so,', 'a.so,sha256=x'],
    ['a.so,sha256=old\nb,,', 'a.so,sha256=x\nb,,'],
    ['"a.so",md5=old', '"a.so",sha256=x'],
  ] as const) {
    const before = recordRows(text).get('a.so')
    assert.ok(before)
    assert.equal(rewriteRecord(text, new Map([['a.so', fields]])), changed)
    assert.equal(rewriteRecord(changed, new Map([['a.so', before]])), text)
    const emptied = rewriteRecord(text, new Map([['a.so', EMPTY_FIELDS]]))
    assert.equal(recordRows(emptied).get('a.so')?.hash, '')
    assert.equal(rewriteRecord(emptied, new Map([['a.so', before]])), text)
  }
})

test('a fourth field stays, and the last line needs no end', () => {
  const changes = new Map([['a.so', { hash: 'sha256=x', size: '1' }]])
  assert.equal(rewriteRecord('a.so,,0', changes), 'a.so,sha256=x,1')
  assert.equal(rewriteRecord('a.so,,0,extra\r\nb', changes), 'a.so,sha256=x,1,extra\r\nb')
})

test('a row of a source is treated like any other', () => {
  const changes = new Map([['a.py', { hash: 'sha256=x', size: '1' }]])
  assert.equal(rewriteRecord('a.py,,\nb.pyi,,\nc.so,,\n', changes), 'a.py,sha256=x,1\nb.pyi,,\nc.so,,\n')
})

test('a path without a row changes nothing', () => {
  const text = RECORD.join('\n')
  assert.equal(rewriteRecord(text, new Map([['numpy', EMPTY_FIELDS]])), text)
  assert.equal(recordRows(text).get('numpy'), undefined)
})

test('any text stays as it is without changes, and its rows cost no more than its length', () => {
  fc.assert(
    fc.property(fc.string({ unit: fc.constantFrom('a', ',', '"', '\r', '\n', 'é') }), text => {
      assert.equal(rewriteRecord(text, new Map()), text)
      assert.ok([...recordedPaths(text)].length <= text.length)
    }),
  )
})

test('rows without a quote are read in the same way when a quoted row follows', () => {
  fc.assert(
    fc.property(fc.array(fc.constantFrom('a', 'b', ',', '\n', '\r\n', '\r')), parts => {
      const text = parts.join('')
      const rows = recordRows(text)
      assert.deepEqual([...recordRows(`${text}\n"q",,\n`)].slice(0, rows.size), [...rows])
    }),
  )
})

test('rows with an unwanted suffix are left out, in plain text and in CSV', () => {
  for (const text of ['a.py,,\nb.so,,\nc/.py\npy,,\n', 'a.py,,\r\nb.so,,\r\n"c/.py"\r\npy,,\r\n']) {
    assert.deepEqual([...recordedPaths(text, ['.py', '.pyc'])], ['b.so', 'py'])
  }
})

test('rows are what the csv module of Python reads', { skip: missing('python3') }, () => {
  const script =
    'import csv,io,json,sys;t=json.load(sys.stdin);json.dump([[r for r in csv.reader(io.StringIO(x,newline="")) if r and r[0]] for x in t],sys.stdout)'
  // a quote inside an unquoted field, or text behind a quoted one, is not CSV, and the csv module reads it in its own way
  const field = fc.oneof(
    fc.string({ unit: fc.constantFrom('a', '/', '.', 'é') }),
    fc.string({ unit: fc.constantFrom('a', ',', '"', '\n', '/') }).map(value => `"${value.replaceAll('"', '""')}"`),
  )
  const row = fc.array(field, { minLength: 1, maxLength: 4 }).map(fields => fields.join(','))
  const texts = fc.sample(
    fc.tuple(fc.array(row), fc.constantFrom('\n', '\r\n')).map(([lines, end]) => lines.join(end)),
    300,
  )
  const { stdout } = spawnSync('python3', ['-c', script], { input: JSON.stringify(texts), encoding: 'utf8' })
  const expected: unknown = JSON.parse(stdout)
  assert.ok(Array.isArray(expected))
  const paths: unknown[] = expected.map((rows: string[][]) => rows.map(([path]) => path))
  assert.deepEqual(
    texts.map(text => [...recordedPaths(text)]),
    paths,
  )
})

test('the true fields are the urlsafe sha256 without padding, and the size', () => {
  assert.deepEqual(trueFields(bytesSource(Buffer.from('hello\n'))), {
    hash: 'sha256=WJG1tSLV3whtD_CxEPvZ0hu0_HFjrzTQgoai6Eb2vgM',
    size: '6',
  })
})

const content = Buffer.from('hello\n')
const holds = (hash: string): boolean | null => hashHolds({ hash, size: '' }, bytesSource(content))

test('a digest of every algorithm of hashlib holds in every spelling', { skip: missing('python3') }, () => {
  const names = 'md5 sha1 sha224 sha256 sha384 sha512 sha3_224 sha3_256 sha3_384 sha3_512 blake2b blake2s'.split(' ')
  const script =
    'import hashlib,json,sys;print(json.dumps({n:hashlib.new(n,sys.stdin.buffer.peek()).hexdigest() for n in sys.argv[1:]}))'
  const { stdout } = spawnSync('python3', ['-c', script, ...names], { input: content, encoding: 'utf8' })
  const digests = new Map(Object.entries(JSON.parse(stdout) as Record<string, string>))
  assert.deepEqual([...digests.keys()], names)
  for (const [name, hex] of digests) {
    const digest = Buffer.from(hex, 'hex')
    const spellings = [hex, hex.toUpperCase(), digest.toString('base64'), digest.toString('base64url')]
    for (const algorithm of [name, name.toUpperCase(), name.replace('_', '-'), ` ${name}`]) {
      for (const spelling of [...spellings, digest.toString('base64').replace(/=*$/, ''), `${spellings[3]}=`]) {
        const field = `${algorithm}=${spelling}`
        assert.equal(holds(field), true, field)
        assert.equal(holds(`"${field}"`), true, field)
        const other = spelling.startsWith('0') ? `1${spelling.slice(1)}` : `0${spelling.slice(1)}`
        assert.equal(holds(`${algorithm}=${other}`), false, other)
        assert.equal(holds(`${algorithm}=${spelling.slice(0, -4)}`), false, 'cut off')
      }
    }
  }
})

test('an empty hash fits any file, and a hash of an unknown algorithm cannot be checked', () => {
  for (const hash of ['', '""', ' ']) assert.equal(holds(hash), true)
  for (const hash of ['crc32=363a3020', 'sha257=aa', 'aa', '=aa', 'constructor=aa']) assert.equal(holds(hash), null)
  for (const hash of ['sha256=', 'sha256=!', 'md5=aa']) assert.equal(holds(hash), false)
})

test('rows of one path that differ are found with their fields, quoted or not', () => {
  const text = 'a.so,x,1\nb.so,x,1\n"a.so","x","1"\na.so,y,1\nb.so,x,1\n'
  assert.deepEqual(
    [...disagreeingRows(text)],
    [
      [
        'a.so',
        [
          { hash: 'x', size: '1' },
          { hash: 'y', size: '1' },
        ],
      ],
    ],
  )
})

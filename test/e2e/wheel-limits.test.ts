// Wheels made to use up memory and time: each is refused with one sentence, and the sound wheel beside it is patched all the
// same. The process gets little memory, so that it would end where a bound is missing.
import assert from 'node:assert/strict'
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, suite, test } from 'node:test'
import { LARGEST_RECORD, recordRows } from '../../src/python/record.ts'
import { run } from '../support/run.ts'
import { skip } from '../support/requires.ts'
import { makeZip, type Part } from '../wheel/archives.ts'
import { sitePackages, makeVenv, WHEELFIX, wheelfix } from '../world/venv.ts'
import { buildWorld } from '../world/world.ts'

const FIXTURES = join(import.meta.dirname, '../../../fixtures/demo-wheel')
const DEMO = readdirSync(FIXTURES).find(name => name.endsWith('.whl')) ?? ''

/** In KiB. An ordinary run needs 1 GiB of addresses, most of which Node only reserves. */
const MEMORY = 2_500_000
/** In MiB, of V8's heap. */
const HEAP = 300
const SECONDS = 40

const INFO = 'hostile-1.dist-info'
const HOSTILE = 'hostile-1-cp311-cp311-linux_x86_64.whl'

/** The files that every wheel has, with these instead or besides. */
function wheelOf(parts: readonly Part[]): Buffer {
  const plain: Part[] = [
    { name: `${INFO}/METADATA`, data: 'Metadata-Version: 2.1\nName: hostile\nVersion: 1\n' },
    { name: `${INFO}/WHEEL`, data: 'Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: cp311-cp311-linux_x86_64\n' },
    { name: `${INFO}/RECORD`, data: '' },
  ]
  const names = new Set(parts.map(({ name }) => name))
  const all = [...plain.filter(({ name }) => !names.has(name)), ...parts]
  return makeZip(all, { zip64: all.length > 0xffff })
}

const record = (data: Buffer): Buffer => wheelOf([{ name: `${INFO}/RECORD`, data, level: 1 }])

/** Rows of a few bytes, each with another path. */
function shortRows(size: number, row: (index: number) => string): Buffer {
  const text = Buffer.alloc(size, '\n')
  for (let at = 0, index = 0; ; index += 1) {
    const bytes = row(index)
    if (at + bytes.length > size) return text
    at += text.write(bytes, at, 'latin1')
  }
}

const many = (count: number, name: (index: number) => string): Part[] =>
  Array.from({ length: count }, (_, index) => ({ name: name(index), data: '', method: 0 }))

const kinds: [string, () => Buffer, RegExp][] = [
  ['a RECORD of 250 MB', () => record(Buffer.alloc(250 << 20, 'a,,\n')), /RECORD has 262144000 bytes, and at most/],
  ['rows without a comma', () => record(Buffer.alloc(LARGEST_RECORD, 'a\n')), /RECORD has more than 500000 rows/],
  ['short rows', () => record(shortRows(LARGEST_RECORD, index => `${index}\n`)), /more than 500000 rows/],
  ['short rows in quotes', () => record(shortRows(LARGEST_RECORD, index => `"${index}",,\n`)), /more than 500000 rows/],
  [
    'a METADATA of 200 MB',
    () => wheelOf([{ name: `${INFO}/METADATA`, data: Buffer.alloc(200 << 20, 'Requires-Dist: a\n'), level: 1 }]),
    /METADATA has 209715200 bytes, and at most/,
  ],
  ['names of 8,000 steps', () => wheelOf(many(100, index => `${index}/`.repeat(8000) + 'x')), /a name of \d+ bytes/],
  [
    'more folders than any wheel has',
    () => wheelOf(many(100, index => `${index}/`.padStart(8, '0') + 'a/'.repeat(2000) + 'x')),
    /more than 100000 folders/,
  ],
  ['300,000 entries', () => wheelOf(many(300_000, index => `f${index}`)), /300003 entries; at most/],
  [
    'a directory of 80 MB',
    () => wheelOf(many(2000, index => `f${index}`).map(part => ({ ...part, extra: Buffer.alloc(40_000) }))),
    /its directory has \d+ bytes; at most/,
  ],
]

suite('wheels that are made to use up memory or time', () => {
  const world = buildWorld()
  if (typeof world === 'string') {
    test('are refused', { skip: skip(world) })
    return
  }
  after(() => world.dispose())
  const libs = ['--libs', `${world.libs.gcc}:${world.libs.zlib}`, '--no-scan']
  /** wheelfix with little memory; the shell's limit holds for the process that takes its place. */
  const bounded = (args: readonly string[]): { status: number; stderr: string; stdout: string; seconds: number } => {
    const start = performance.now()
    const limited = `ulimit -v ${MEMORY}; exec "$@"`
    const node = [process.execPath, `--max-old-space-size=${HEAP}`, WHEELFIX]
    const result = run('/bin/sh', ['-c', limited, 'sh', ...node, ...args, ...libs], { env: world.env, cwd: world.root })
    return { ...result, seconds: (performance.now() - start) / 1000 }
  }

  describe('are refused, and the one beside them is patched', () => {
    for (const [name, make, reason] of kinds) {
      test(name, () => {
        const folder = mkdtempSync(join(world.root, 'limits-'))
        copyFileSync(join(FIXTURES, DEMO), join(folder, DEMO))
        writeFileSync(join(folder, HOSTILE), make())
        const out = join(folder, 'out')
        const { status, stdout, stderr, seconds } = bounded(['wheel', folder, '-o', out, '--python', world.python])
        assert.match(stderr, reason)
        assert.equal(stderr.trim().split('\n').length, 1, stderr)
        assert.equal(status, 1)
        assert.match(stdout, /1 of 1 object patched/)
        assert.ok(existsSync(join(out, DEMO)) && !existsSync(join(out, HOSTILE)))
        assert.ok(seconds < SECONDS, `${seconds} s`)
        rmSync(folder, { recursive: true })
      })
    }
  })

  test('large ones within the bounds are read', () => {
    const folder = mkdtempSync(join(world.root, 'limits-'))
    const rows = shortRows(
      LARGEST_RECORD - 1,
      index => `${'pkg/module'.repeat(8)}/${index}.txt,sha256=${'A'.repeat(43)},1\n`,
    )
    const parts = many(20_000, index => `pkg/${'sub/'.repeat(index % 50)}${index}.txt`)
    writeFileSync(join(folder, HOSTILE), wheelOf([...parts, { name: `${INFO}/RECORD`, data: rows, level: 1 }]))
    const { status, stdout, stderr, seconds } = bounded([
      'wheel',
      folder,
      '-o',
      join(folder, 'out'),
      '--python',
      world.python,
    ])
    assert.deepEqual([status, stderr], [0, ''])
    assert.match(stdout, /nothing to do/)
    assert.ok(seconds < SECONDS, `${seconds} s`)
    rmSync(folder, { recursive: true })
  })

  test('a RECORD of a venv that is too large is named, and its files are patched', () => {
    const venv = makeVenv(world, 'large')
    const site = sitePackages(world, venv)
    const python = world.host.python.executable
    run(python, ['-m', 'zipfile', '-e', join(FIXTURES, DEMO), site])
    for (const [name, data] of [
      ['large-1', Buffer.alloc(100 << 20, 'a,,\n')],
      ['short-1', shortRows(LARGEST_RECORD, index => `${index}\n`)],
    ] as const) {
      mkdirSync(join(site, `${name}.dist-info`))
      writeFileSync(join(site, `${name}.dist-info/RECORD`), data)
    }
    const { status, stderr, seconds } = bounded(['venv', venv])
    assert.equal(status, 0)
    assert.match(stderr, /large-1\.dist-info\/RECORD is too large \(104857600 bytes\): wheelfix does not read it/)
    assert.match(stderr, /short-1\.dist-info\/RECORD has more than 500000 rows: wheelfix does not read it/)
    assert.ok(seconds < SECONDS, `${seconds} s`)
    assert.equal(run(join(venv, 'bin/python'), ['-c', 'import wheelfix_demo'], { env: world.env }).status, 0)
    assert.equal(wheelfix(world, ['restore', venv]).status, 0)
  })
})

test('a RECORD of rows without commas is read in linear time', () => {
  const folder = mkdtempSync(join(tmpdir(), 'wheelfix-limits-'))
  after(() => rmSync(folder, { recursive: true }))
  const start = performance.now()
  assert.equal(recordRows('a\n'.repeat(400_000)).size, 1)
  assert.ok(performance.now() - start < 5000)
})

// Archives with random damage: each is refused with a reason, or read exactly as Python reads it; what is written from an
// accepted one holds the same contents. WHEELFIX_FUZZ_RUNS sets the number of archives, WHEELFIX_FUZZ_SEED
// which ones.
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { closeSync, mkdirSync, mkdtempSync, openSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { crc32 } from 'node:zlib'
import { bytesSource } from '../../src/elf/source.ts'
import { WheelfixError } from '../../src/io/error.ts'
import { openContents, readEntry } from '../../src/zip/entry-contents.ts'
import { openArchive } from '../../src/zip/read.ts'
import { writeArchive } from '../../src/zip/write.ts'
import { missing } from '../support/requires.ts'
import { makeZip, type Part } from './archives.ts'

const RUNS = Number(process.env['WHEELFIX_FUZZ_RUNS'] ?? 1500)
const folder = mkdtempSync(join(tmpdir(), 'wheelfix-fuzz-'))
after(() => rmSync(folder, { recursive: true }))

const text = 'lorem ipsum dolor sit amet '
const parts: readonly Part[] = [
  { name: 'p/', mode: 0o040755, method: 0 },
  { name: 'p/a.so', data: `\x7fELF${text.repeat(40)}`, mode: 0o100755 },
  { name: 'p/b.py', data: text, method: 0, comment: 'note' },
  { name: 'p/c.py', data: text.repeat(3), descriptor: 'signed' },
  { name: 'p/d.py', data: text.repeat(2), zip64: true },
]
const seeds = [
  makeZip(parts),
  makeZip(parts, { zip64: true, comment: Buffer.from('hello') }),
  makeZip(parts.map((part, at) => (at === 3 ? { ...part, descriptor: 'zip64' as const } : part))),
]

/** A linear congruential generator: the same archives on every machine. */
function* numbers(seed: number): Generator<number> {
  let state = seed
  for (;;) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    yield state
  }
}

const random = numbers(Number(process.env['WHEELFIX_FUZZ_SEED'] ?? 20_231))
const below = (limit: number): number => Math.floor(((random.next().value ?? 0) / 0x1_0000_0000) * limit)

/** Values that size fields are most likely to be mistaken with. */
const VALUES = [0, 1, 7, 8, 0x7f, 0x80, 0xff, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff]

function mutate(seed: Buffer): Buffer {
  let bytes = Buffer.from(seed)
  for (let times = 1 + below(3); times > 0; times -= 1) {
    const at = below(bytes.length)
    switch (below(6)) {
      case 0:
        bytes.writeUInt8(below(256), at)
        break
      case 1:
        bytes.writeUInt8((bytes.readUInt8(at) ^ (1 << below(8))) & 0xff, at)
        break
      case 2:
        if (at + 4 <= bytes.length) bytes.writeUInt32LE(VALUES[below(VALUES.length)] ?? 0, at)
        break
      case 3:
        bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + 1 + below(20))])
        break
      case 4:
        bytes = Buffer.concat([bytes.subarray(0, at), Buffer.alloc(1 + below(20), below(256)), bytes.subarray(at)])
        break
      default: {
        const from = below(bytes.length)
        bytes.copy(bytes, at, from, Math.min(bytes.length, from + 1 + below(40)))
      }
    }
    if (bytes.length === 0) return bytes
  }
  return bytes
}

test(
  'a damaged archive is refused, or read as Python reads it and never made whole',
  { skip: missing('python3') },
  async () => {
    const accepted = join(folder, 'accepted')
    mkdirSync(accepted)
    const expected: Record<string, [string, number][]> = {}
    let refused = 0
    for (let run = 0; run < RUNS; run += 1) {
      const path = join(folder, 'w.zip')
      const bytes = mutate(seeds[run % seeds.length] ?? Buffer.alloc(0))
      writeFileSync(path, bytes)
      const archive = await openArchive(path).catch((error: unknown) => {
        assert.ok(error instanceof WheelfixError && error.code === 'WHEEL_INVALID', `run ${run}: ${String(error)}`)
      })
      if (archive === undefined) {
        refused += 1
        continue
      }
      try {
        const contents = await openContents(archive, folder)
        contents.close()
        const changed = archive.entries.find(entry => entry.name === 'p/a.so')
        const output = join(accepted, `${run}.zip`)
        const fd = openSync(output, 'wx+')
        await writeArchive(archive, fd, new Map())
        closeSync(fd)
        assert.deepEqual(readFileSync(output), bytes, `run ${run}: carried as it stands`)
        const list = archive.entries.map((entry): [string, number] => [entry.name, crc32(readEntry(archive, entry))])
        expected[`${run}.zip`] = list
        if (changed !== undefined) {
          const again = openSync(join(accepted, `${run}c.zip`), 'wx+')
          await writeArchive(archive, again, new Map([[changed, { content: () => bytesSource(Buffer.from('new')) }]]))
          closeSync(again)
          expected[`${run}c.zip`] = list.map(([name, crc]) => [name, name === 'p/a.so' ? crc32('new') : crc])
        }
      } catch (error) {
        assert.ok(error instanceof WheelfixError && error.code === 'WHEEL_INVALID', `run ${run}: ${String(error)}`)
        refused += 1
      } finally {
        archive.close()
      }
    }
    assert.ok(refused > RUNS / 2 && refused < RUNS, `${refused} of ${RUNS} refused`)
    assert.deepEqual(
      readdirSync(folder).filter(name => name !== 'w.zip' && name !== 'accepted'),
      [],
      'nothing is left behind',
    )

    const script = `
import json, os, sys, zipfile, zlib
out = {}
for name in os.listdir(sys.argv[1]):
    try:
        with zipfile.ZipFile(os.path.join(sys.argv[1], name)) as z:
            out[name] = [[i.filename, zlib.crc32(z.read(i))] for i in z.infolist()]
    except Exception as e:
        out[name] = repr(e)
print(json.dumps(out))`
    const { stdout, stderr } = spawnSync('python3', ['-c', script, accepted], { encoding: 'utf8', maxBuffer: 1 << 28 })
    assert.equal(stderr, '')
    const seen = JSON.parse(stdout) as Record<string, unknown>
    for (const [name, list] of Object.entries(expected)) assert.deepEqual(seen[name], list, name)
  },
)

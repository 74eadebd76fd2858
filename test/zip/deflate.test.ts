// `deflateLikeZlib` beside zlib itself: Python's, which wheels are made with. Node's is Chromium's, and makes other bytes.
import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { inflateRawSync } from 'node:zlib'
import { deflateLikeZlib, ZLIB_LEVELS } from '../../src/zip/deflate.ts'
import { missing } from '../support/requires.ts'
import { runWell } from '../support/run.ts'
import { someContent } from '../wheel/contents.ts'

const folder = mkdtempSync(join(tmpdir(), 'wheelfix-deflate-'))
after(() => rmSync(folder, { recursive: true }))

/** Compresses each file of a folder at each level, as zipfile does; zlib-ng, which some Pythons have, gives other bytes. */
const COMPRESS = `
import os, sys, zlib
if 'zlib-ng' in zlib.ZLIB_RUNTIME_VERSION: print('zlib-ng'); sys.exit()
for name in os.listdir(sys.argv[1]):
    data = open(os.path.join(sys.argv[1], name), 'rb').read()
    for level in sys.argv[2].split(','):
        c = zlib.compressobj(int(level), zlib.DEFLATED, -15)
        open(os.path.join(sys.argv[1], name + '.' + level), 'wb').write(c.compress(data) + c.flush())`

/** Up to this size, zlib's level 0 makes one stored block. */
const LARGEST_STORED = 32_768

/** What compressors decide differently on: nothing, little, runs, noise, far and near repetitions, text, machine code. */
const contents: readonly Uint8Array[] = [
  ...[0, 1, 2, 3, 4, 5, 258, 259, 262, 263, 300].map(size => Buffer.alloc(size, 'ab')),
  Buffer.alloc(1_000_000),
  Buffer.alloc(200_000, 'a long run of text that is repeated '),
  ...[1, 2, 3, 4, 5, 6].map(seed => someContent(50_000 * seed * seed, seed)),
  Buffer.from(Array.from({ length: 70_000 }, (_, at) => Math.floor(Math.sin(at * at) * 1e6) & 0xff)),
  Buffer.from(Array.from({ length: 40_000 }, (_, at) => (at % 4097 < 3 ? 7 : (at * 7919) >> 5) & 0xff)),
  readFileSync(import.meta.filename),
  readFileSync(process.execPath).subarray(0x200000, 0x500000),
]

test('each level makes the bytes that zlib makes', { skip: missing('python3') }, () => {
  for (const [index, content] of contents.entries()) writeFileSync(join(folder, String(index)), content)
  const said = runWell('python3', ['-c', COMPRESS, folder, ZLIB_LEVELS.join(',')])
  for (const [index, content] of contents.entries()) {
    for (const level of ZLIB_LEVELS) {
      const made = deflateLikeZlib(content, level)
      assert.ok(Buffer.from(content).equals(inflateRawSync(made)), `content ${index}, level ${level}: inflates`)
      // the stored blocks of level 0 also depend on the buffers that Python gives to zlib
      if (said !== '' || (level === 0 && content.length > LARGEST_STORED)) continue
      const expected = readFileSync(join(folder, `${index}.${level}`))
      assert.ok(expected.equals(made), `content ${index} of ${content.length} bytes, level ${level}`)
    }
  }
})

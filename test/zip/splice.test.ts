import assert from 'node:assert/strict'
import { test } from 'node:test'
import { constants, deflateRawSync, inflateRawSync } from 'node:zlib'
import fc from 'fast-check'
import { bytesSource } from '../../src/elf/source.ts'
import { findBlocks } from '../../src/zip/blocks.ts'
import { deflateLikeZlib } from '../../src/zip/deflate.ts'
import { type Range, spliceStream, type StreamPiece, unspliceStream } from '../../src/zip/splice.ts'
import { someContent } from '../wheel/contents.ts'

const reader = (stream: Buffer) => (offset: number, length: number) => stream.subarray(offset, offset + length)

async function splice(old: Buffer, stream: Buffer, now: Buffer, changes: readonly Range[]): Promise<Buffer | null> {
  const pieces = await spliceStream(reader(stream), old.length, bytesSource(now), changes, 6)
  return pieces && joined(pieces, stream)
}

function joined(pieces: readonly StreamPiece[], stream: Buffer): Buffer {
  return Buffer.concat(
    pieces.map(piece =>
      piece instanceof Uint8Array ? piece : stream.subarray(piece.offset, piece.offset + piece.length),
    ),
  )
}

test('the blocks of a stream are found as zlib made them: their sizes and bits add up', () => {
  for (const options of [
    { level: 0 },
    { level: 1 },
    { level: 6 },
    { level: 9 },
    { strategy: constants.Z_FIXED },
    { strategy: constants.Z_HUFFMAN_ONLY },
    { memLevel: 1 },
  ]) {
    const content = someContent(3_000_000, 7)
    const stream = deflateRawSync(content, options)
    const { bits, outputs } = findBlocks(reader(stream))
    assert.equal(outputs.at(-1), content.length)
    assert.equal(Math.ceil((bits.at(-1) ?? 0) / 8), stream.length)
    // each block's start is one: the stream from there on, after empty blocks up to its bit, inflates to the rest
    assert.ok(bits.every((bit, index) => index === 0 || bit > (bits[index - 1] ?? 0)))
  }
})

test('only the bytes near a change are compressed again', async () => {
  const old = someContent(4_000_000, 3)
  const stream = deflateRawSync(old)
  const now = Buffer.concat([old, Buffer.from('appended')])
  now.fill(0x2a, 0, 64)
  const pieces = await spliceStream(reader(stream), old.length, bytesSource(now), [{ offset: 0, length: 64 }], 6)
  assert.ok(pieces)
  const anew = pieces.reduce((sum, piece) => sum + (piece instanceof Uint8Array ? piece.length : 0), 0)
  assert.ok(anew < stream.length / 10, `${anew} of ${stream.length}`)
})

test('a spliced stream inflates to the new content, whatever changed and whichever program made the old one', async () => {
  let spliced = 0
  await fc.assert(
    fc.asyncProperty(
      fc.record({
        size: fc.integer({ min: 0, max: 300_000 }),
        seed: fc.nat(),
        level: fc.integer({ min: 0, max: 9 }),
        memLevel: fc.integer({ min: 1, max: 9 }),
        strategy: fc.constantFrom(
          constants.Z_DEFAULT_STRATEGY,
          constants.Z_FIXED,
          constants.Z_HUFFMAN_ONLY,
          constants.Z_RLE,
        ),
        changes: fc.array(
          fc.record({ at: fc.double({ min: 0, max: 1, noNaN: true }), length: fc.integer({ min: 1, max: 300 }) }),
          { maxLength: 4 },
        ),
        tail: fc.integer({ min: 0, max: 5000 }),
      }),
      async ({ size, seed, changes, tail, ...options }) => {
        const old = someContent(size, seed)
        const stream = deflateRawSync(old, options)
        const now = Buffer.concat([old, someContent(tail, seed + 1)])
        const ranges: Range[] = []
        for (const { at, length } of changes) {
          const offset = Math.floor(at * size)
          const fitting = Math.min(length, size - offset)
          for (let i = 0; i < fitting; i += 1) now[offset + i] = ((now[offset + i] ?? 0) + 1) & 0xff
          if (fitting > 0) ranges.push({ offset, length: fitting })
        }
        const result = await splice(old, stream, now, ranges)
        if (result === null) return
        spliced += 1
        assert.deepEqual(inflateRawSync(result), now)
        const { outputs } = findBlocks(reader(result))
        assert.equal(outputs.at(-1), now.length)
      },
    ),
    { numRuns: Number(process.env['WHEELFIX_FUZZ_RUNS'] ?? 100), seed: 8 },
  )
  assert.ok(spliced > 10, `${spliced} were spliced`)
})

test('a stream of zlib that is spliced back is the old stream again, with the copied blocks', async () => {
  let copied = 0
  await fc.assert(
    fc.asyncProperty(
      fc.record({
        size: fc.integer({ min: 0, max: 1_500_000 }),
        seed: fc.nat(),
        level: fc.constantFrom(4, 6, 9),
        header: fc.integer({ min: 1, max: 64 }),
        tail: fc.integer({ min: 0, max: 5000 }),
      }),
      async ({ size, seed, level, header, tail }) => {
        const old = someContent(size, seed)
        const stream = Buffer.from(deflateLikeZlib(old, level))
        const now = Buffer.concat([old, someContent(tail, seed + 1)])
        now.fill(0x2a, 0, Math.min(header, size))
        const changes = [{ offset: 0, length: Math.min(header, size) }]
        const spliced = await splice(old, stream, now, changes)
        // where too little would be copied, the new content is compressed as a whole
        const present = spliced ?? deflateRawSync(now)
        const pieces = unspliceStream(reader(present), bytesSource(old), changes, level)
        assert.ok(pieces)
        assert.ok(joined(pieces, present).equals(stream))
        if (pieces.some(piece => !(piece instanceof Uint8Array))) copied += 1
      },
    ),
    { numRuns: Number(process.env['WHEELFIX_FUZZ_RUNS'] ?? 30), seed: 5 },
  )
  assert.ok(copied > 5, `${copied} had copied blocks`)
})

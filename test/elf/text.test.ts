import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { decodeBytes, encodeText } from '../../src/elf/text.ts'

test('any bytes decode to a string that encodes to the same bytes', () => {
  fc.assert(fc.property(fc.uint8Array(), bytes => assert.deepEqual(encodeText(decodeBytes(bytes)), Buffer.from(bytes))))
})

test('a byte that is not UTF-8 becomes the lone surrogate of PEP 383', () => {
  assert.equal(decodeBytes(Uint8Array.from([0x61, 0xff, 0xc3, 0xa9])), 'a\uDCFFé')
})

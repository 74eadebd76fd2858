import assert from 'node:assert/strict'
import { test } from 'node:test'
import { PT_NOTE } from '../../src/elf/constants.ts'
import { dlopenFeatures, readNotes } from '../../src/elf/tables/notes.ts'
import { bytesSource } from '../../src/elf/source.ts'
import type { ElfObject } from '../../src/elf/types.ts'

const FDO = 0x407c0c0a

function note(owner: string, type: number, desc: string, little: boolean, align = 4): Buffer {
  const name = Buffer.from(`${owner}\0`)
  const pad = (bytes: Buffer) => Buffer.concat([bytes, Buffer.alloc((align - (bytes.length % align)) % align)])
  const header = Buffer.alloc(12)
  for (const [index, value] of [name.length, Buffer.byteLength(desc), type].entries()) {
    if (little) header.writeUInt32LE(value, 4 * index)
    else header.writeUInt32BE(value, 4 * index)
  }
  return Buffer.concat([pad(Buffer.concat([header, name])), pad(Buffer.from(desc))])
}

function notesOf(bytes: Buffer, byteOrder: 'little' | 'big' = 'little', align = 4n) {
  const segment = { type: PT_NOTE, flags: 4, offset: 0, vaddr: 0n, paddr: 0n, filesz: bytes.length, memsz: 0n, align }
  return readNotes(bytesSource(bytes), {
    header: { class: 64, byteOrder },
    programHeaders: [segment],
  } as unknown as ElfObject)
}

test('notes follow each other, in both byte orders and both alignments', () => {
  for (const byteOrder of ['little', 'big'] as const) {
    for (const align of [4, 8]) {
      const little = byteOrder === 'little'
      const bytes = Buffer.concat([note('GNU', 3, 'abcde', little, align), note('FDO', FDO, 'x', little, align)])
      const found = notesOf(bytes, byteOrder, BigInt(align))
      const plain = found.map(({ owner, type, desc }) => [owner, type, Buffer.from(desc).toString()])
      assert.deepEqual(plain, [
        ['GNU', 3, 'abcde'],
        ['FDO', FDO, 'x'],
      ])
    }
  }
})

test('a note that is cut off ends the notes', () => {
  const bytes = Buffer.concat([note('GNU', 3, 'abcd', true), note('FDO', FDO, 'text of 16 bytes', true)])
  for (let length = 0; length < bytes.length; length++) assert.ok(notesOf(bytes.subarray(0, length)).length <= 1)
  assert.deepEqual(notesOf(Buffer.alloc(64, 0xff)), [])
})

test('features are read, with the priority recommended where none is named; a note with other content has no features', () => {
  const features = (text: string) => dlopenFeatures(notesOf(note('FDO', FDO, text, true)))
  assert.deepEqual(
    features('[{"soname":["liba.so.1","libb.so"]},{"feature":"f","priority":"required","soname":["c"]}]\0'),
    [
      { feature: '', description: '', priority: 'recommended', sonames: ['liba.so.1', 'libb.so'] },
      { feature: 'f', description: '', priority: 'required', sonames: ['c'] },
    ],
  )
  for (const text of ['', '{}', '[1, null, {"soname": "x"}, {"soname": [1]}]', '[[['])
    assert.deepEqual(features(text), [])
})

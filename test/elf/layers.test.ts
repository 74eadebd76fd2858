// Grafts on top of each other: `wheelfix elf` and `wheelfix venv` each take back their own, in every order, byte for byte.
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { gunzipSync } from 'node:zlib'
import type { ElfEdit } from '../../src/elf/edit/edit.ts'
import { ElfError } from '../../src/elf/error.ts'
import { graftedSource } from '../../src/elf/graft/graft.ts'
import { layersOf } from '../../src/elf/graft/layers.ts'
import { readElf } from '../../src/elf/read.ts'
import { regraft } from '../../src/elf/graft/regraft.ts'
import { bytesSource } from '../../src/elf/source.ts'
import { applyEdit, stateOf } from '../../src/elf/edit/state.ts'
import { readUndo } from '../../src/elf/graft/undo-note.ts'
import { verifyElf } from '../../src/elf/rules/verify.ts'
import { ownerOf } from '../../src/elf/graft/owners.ts'
import { bytesOf, edited, objectBytes, objectNames } from './objects.ts'

const STORE = '/nix/store/00000000000000000000000000000000-gcc-14.3.0-lib/lib'
const RECORD = 'sha256=abc,123'

/** The file after a change by one's owner; null: after one's change is taken back. */
function changed(bytes: Buffer, owner: 'elf' | 'venv', edit: ElfEdit | null): Buffer {
  const isOwn = ({ owner: other }: { readonly owner: string | null }): boolean => other === owner
  const layers = layersOf(bytesSource(bytes), isOwn, undo => (owner === 'elf' ? undo.owner : null))
  // an edit is of what the file is without what others put on top
  const below = layers.own[0]?.source ?? layers.base
  const from = owner === 'elf' ? below : layers.base
  const wanted = edit === null ? null : () => applyEdit(stateOf(readElf(from)), edit)
  const result = regraft(layers, wanted, { owner, ...(owner === 'venv' ? { record: RECORD } : {}) })
  if (result.edit === null) return bytes
  const now = bytesOf(graftedSource(bytesSource(bytes), result.edit))
  assert.ok(now.equals(bytesOf(result.after)), 'what is written is what was verified')
  return now
}

const isEditable = (bytes: Buffer): boolean => {
  try {
    return !edited(bytes, { searchPath: { tag: 'DT_RUNPATH', value: STORE } }).equals(bytes)
  } catch (error) {
    if (error instanceof ElfError) return false
    throw error
  }
}

const NEEDED = { addNeeded: ['libextra.so.1'] }
const PATH = { searchPath: { tag: 'DT_RPATH', value: '$ORIGIN/../x.libs' } } as const

describe('layers of grafts', () => {
  for (const name of objectNames) {
    const original = objectBytes(name)
    if (!isEditable(original)) continue
    const { rpath, runpath } = readElf(bytesSource(original))
    const old = (runpath ?? rpath ?? '').split(':').filter(entry => entry !== '')
    /** As a plan does it: behind the entries that are there, under their tag. */
    const venvEdit = (bytes: Buffer): ElfEdit => {
      const object = readElf(bytesSource(bytes))
      const entries = (object.runpath ?? object.rpath ?? '').split(':').filter(entry => entry !== '')
      return {
        searchPath: {
          tag: object.rpath !== null && object.runpath === null ? 'DT_RPATH' : 'DT_RUNPATH',
          value: [...entries, STORE].join(':'),
        },
      }
    }
    const venv = (bytes: Buffer): Buffer => changed(bytes, 'venv', venvEdit(changed(bytes, 'venv', null)))
    const elf = (bytes: Buffer, edit: ElfEdit | null): Buffer => changed(bytes, 'elf', edit)
    const restore = (bytes: Buffer): Buffer => changed(bytes, 'venv', null)

    test(`${name}: elf, then venv`, () => {
      const first = elf(original, { ...NEEDED, ...PATH })
      const both = venv(first)
      const { needed, rpath, runpath } = readElf(bytesSource(both))
      assert.ok(needed.includes('libextra.so.1'))
      assert.equal(rpath ?? runpath, `${PATH.searchPath.value}:${STORE}`)
      assert.deepEqual(verifyElf(bytesSource(both)), verifyElf(bytesSource(original)))
      assert.ok(venv(both).equals(both), 'a second run changes nothing')
      assert.ok(restore(both).equals(first))
      assert.ok(elf(restore(both), null).equals(original))
    })

    test(`${name}: venv, then elf, which goes underneath`, () => {
      const first = venv(original)
      const both = elf(first, NEEDED)
      assert.deepEqual(verifyElf(bytesSource(both)), verifyElf(bytesSource(original)))
      const { needed, rpath, runpath } = readElf(bytesSource(both))
      assert.ok(needed.includes('libextra.so.1'))
      assert.equal(runpath ?? rpath, [...old, STORE].join(':'), 'what venv added is still there')
      assert.ok(both.equals(venv(elf(original, NEEDED))), 'as if the edit had been there first')
      assert.equal(readUndo(bytesSource(both))?.record, RECORD)
      assert.ok(restore(both).equals(elf(original, NEEDED)))
      assert.ok(elf(restore(both), null).equals(original))
      assert.ok(elf(both, null).equals(first), 'elf --restore leaves what venv did')
    })

    test(`${name}: grafts do not pile up, and both orders end with the same state`, () => {
      let bytes = original
      for (const value of ['$ORIGIN', '$ORIGIN/lib', '$ORIGIN/../lib']) {
        bytes = elf(bytes, { searchPath: { tag: 'DT_RPATH', value } })
        bytes = venv(bytes)
        bytes = elf(bytes, NEEDED)
        bytes = venv(bytes)
      }
      const wanted = { ...NEEDED, searchPath: { tag: 'DT_RPATH', value: '$ORIGIN/../lib' } } as const
      assert.ok(bytes.equals(venv(elf(original, wanted))))
      assert.ok(elf(elf(restore(bytes), { soname: 'libother.so' }), null).equals(original))
    })
  }
})

const fixture = (name: string): Buffer =>
  gunzipSync(readFileSync(join(import.meta.dirname, `../../../fixtures/grafted/${name}.so.gz`)))

test('notes of version 1 are read, also where strings were copied by reference', () => {
  for (const [name, owner] of [
    ['zeroed-headers', 'venv'],
    ['version-1-elf', 'elf'],
    ['version-1-many', 'elf'],
  ] as const) {
    const bytes = fixture(name)
    const undo = readUndo(bytesSource(bytes))
    assert.ok(undo !== null, name)
    assert.equal(undo.owner, null)
    assert.equal(
      ownerOf(undo, () => true),
      owner,
    )
    assert.equal(
      ownerOf(undo, () => false),
      'venv',
    )
    bytes.writeUInt8(bytes.readUInt8(bytes.length - 1) ^ 1, bytes.length - 1)
    assert.equal(readUndo(bytesSource(bytes)), null, 'a byte has changed')
  }
})

test('kept undos that form a circle come to an end', () => {
  const original = bytesSource(Buffer.from(fixture('version-1-many')))
  const plain = layersOf(original, () => true).base
  const undo = {
    owner: 'venv',
    originalSize: plain.size,
    header: plain.read(0, 64),
    patches: [],
    record: null,
  } as const
  let asked = 0
  const { own } = layersOf(
    plain,
    () => true,
    () => null,
    () => ((asked += 1) < 100 ? undo : null),
  )
  assert.equal(own.length, 8)
})

test('the checksum covers every byte that a graft writes', () => {
  const original = Buffer.from(fixture('version-1-many'))
  const plain = bytesOf(layersOf(bytesSource(original), () => true).base)
  const bytes = edited(plain, { searchPath: { tag: 'DT_RUNPATH', value: STORE } })
  assert.ok(readUndo(bytesSource(bytes)) !== null)
  // 60,000 bytes of strings that are copied by reference are among them
  for (let at = plain.length; at < bytes.length; at += 97) {
    bytes.writeUInt8(bytes.readUInt8(at) ^ 1, at)
    let undo
    try {
      undo = readUndo(bytesSource(bytes))
    } catch (error) {
      assert.ok(error instanceof ElfError && error.code === 'REFUSED')
      undo = null
    }
    assert.equal(undo, null, `byte ${at}`)
    bytes.writeUInt8(bytes.readUInt8(at) ^ 1, at)
  }
})

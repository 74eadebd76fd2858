import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { ElfEdit } from '../../src/elf/edit.ts'
import { ElfError } from '../../src/elf/error.ts'
import { graftedSource, graftTo, makeGraft } from '../../src/elf/graft.ts'
import { readElf } from '../../src/elf/read.ts'
import { bytesSource } from '../../src/elf/source.ts'
import { applyEdit, stateOf } from '../../src/elf/state.ts'
import { originalSource, readUndo } from '../../src/elf/undo.ts'
import { verifyElf, verifyGraft } from '../../src/elf/verify.ts'
import { bytesOf, edited, objectBytes, objectNames, restored } from './objects.ts'

const objects = new Map(objectNames.map(name => [name, objectBytes(name)]))
const anyObject = fc.constantFrom(...objectNames).map(name => objects.get(name) ?? Buffer.alloc(0))
const text = fc.string({ unit: fc.constantFrom('a', 'b', '/', '.', ':', '$', '-', 'é', '\uDCFF'), maxLength: 300 })
const needed = fc.constantFrom('libzero.so.1', 'libone.so.1', 'liba.so.1', 'libb.so.2', 'libnew.so', '/abs/lib.so')
const anyEdit: fc.Arbitrary<ElfEdit> = fc.record(
  {
    searchPath: fc.option(fc.record({ tag: fc.constantFrom('DT_RPATH', 'DT_RUNPATH'), value: text })),
    soname: fc.option(text),
    replaceNeeded: fc.array(fc.tuple(needed, needed), { maxLength: 3 }).map(pairs => new Map(pairs)),
    removeNeeded: fc.array(needed, { maxLength: 2 }),
    addNeeded: fc.array(needed, { maxLength: 2 }),
    noDefaultLib: fc.constant(true as const),
    debugTag: fc.constant(true as const),
    osabi: fc.constantFrom(0, 3, 9),
    executableStack: fc.boolean(),
  },
  { requiredKeys: [] },
)

test('any bytes parse or throw an ElfError, in little time', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 4096 }), bytes => {
      for (const head of [[], [0x7f, 0x45, 0x4c, 0x46, 2, 1, 1], [0x7f, 0x45, 0x4c, 0x46, 1, 2, 1]]) {
        try {
          readElf(bytesSource(Uint8Array.from([...head, ...bytes])))
        } catch (error) {
          assert.ok(error instanceof ElfError)
        }
      }
    }),
    { numRuns: 300 },
  )
})

test('an edit gives what verifies and restores to the same bytes', () => {
  fc.assert(
    fc.property(anyObject, anyEdit, fc.boolean(), (bytes, edit, wipes) => {
      const graft = makeGraft(bytesSource(bytes), edit, { wipes: () => wipes })
      if (graft === null) return
      const result = graftedSource(bytesSource(bytes), graft)
      verifyGraft(bytesSource(bytes), result, edit)
      if (graft.tail.length > 0) assert.deepEqual(restored(bytesOf(result)), bytes)
    }),
    { numRuns: 500 },
  )
})

test('an edit after another is the edit of both: a graft is made of the original and the wanted state alone', () => {
  fc.assert(
    fc.property(anyObject, anyEdit, anyEdit, (bytes, first, second) => {
      const original = bytesSource(bytes)
      const object = readElf(original)
      const both = applyEdit(applyEdit(stateOf(object), first), second)
      const atOnce = graftTo(original, object, both)

      // what `wheelfix elf` does when it is called twice
      const once = bytesSource(edited(bytes, first))
      const undo = readUndo(once)
      if (undo === null) return
      const again = applyEdit(stateOf(readElf(once)), second)
      const base = originalSource(once, undo)
      const twice = graftTo(base, readElf(base), again)
      assert.deepEqual(
        twice === null ? null : bytesOf(graftedSource(base, twice)),
        atOnce === null ? null : bytesOf(graftedSource(original, atOnce)),
      )
    }),
    { numRuns: 300 },
  )
})

test('the same edit twice is the same file', () => {
  fc.assert(
    fc.property(anyObject, anyEdit, (bytes, edit) => {
      // a chain of renamings (a to b, b to c) is no fixed point, and is not meant to be one
      const targets = new Set(edit.replaceNeeded?.values())
      fc.pre([...(edit.replaceNeeded?.keys() ?? [])].every(name => !targets.has(name)))
      fc.pre(
        (edit.addNeeded ?? []).every(
          name => edit.removeNeeded?.includes(name) !== true && edit.replaceNeeded?.has(name) !== true,
        ),
      )
      assert.deepEqual(edited(edited(bytes, edit), edit), edited(bytes, edit))
    }),
    { numRuns: 300 },
  )
})

test('verifying never throws, whatever the bytes', () => {
  fc.assert(
    fc.property(
      anyObject,
      fc.array(fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 })), { maxLength: 6 }),
      (bytes, changes) => {
        const copy = Buffer.from(bytes)
        for (const [at, value] of changes) copy[at % Math.min(copy.length, 1024)] = value
        verifyElf(bytesSource(copy))
      },
    ),
    { numRuns: 500 },
  )
})

// What holds for any object and any edit, for each class and byte order.
// `RUNS=… node build/test/elf/property.test.js` tries that many times as much.
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { test } from 'node:test'
import fc from 'fast-check'
import { PT_LOAD } from '../../src/elf/constants.ts'
import type { ElfEdit } from '../../src/elf/edit/edit.ts'
import { ElfError } from '../../src/elf/error.ts'
import { graftedSource, type GraftOptions, makeGraft } from '../../src/elf/graft/graft.ts'
import { type Format, formatOf, put } from '../../src/elf/layout.ts'
import { layersOf } from '../../src/elf/graft/layers.ts'
import { regraft } from '../../src/elf/graft/regraft.ts'
import type { Undo } from '../../src/elf/graft/undo-note.ts'
import { readElf } from '../../src/elf/read.ts'
import { type ByteSource, bytesSource } from '../../src/elf/source.ts'
import { applyEdit, changedFields, type ElfState, stateOf } from '../../src/elf/edit/state.ts'
import { verifyElf, verifyGraft } from '../../src/elf/rules/verify.ts'
import { guarded } from './fuzz.ts'
import { bytesOf, edited, objectBytes, objectNames, restored } from './objects.ts'

const RUNS = Number(process.env['RUNS'] ?? 1)
/** Processor time for one object of some kilobytes, a collection of garbage included. */
const LONGEST_MS = 1000

const text = fc.string({ unit: fc.constantFrom('a', 'b', '/', '.', ':', '$', '-', 'é', '\uDCFF'), maxLength: 300 })
const needed = fc.constantFrom(
  'libzero.so.1',
  'zero.so.1',
  'libone.so.1',
  'one.so.1',
  'liba.so.1',
  'libb.so.2',
  'libnew.so',
  '/abs/lib.so',
)
const anyEdit: fc.Arbitrary<ElfEdit> = fc.record(
  {
    searchPath: fc.option(fc.record({ tag: fc.constantFrom('DT_RPATH', 'DT_RUNPATH'), value: text })),
    // an empty one is what the verification keeps from the disk
    interpreter: text.map(path => `/${path}`),
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
/** Whether old strings are overwritten, as `wheelfix elf` does with store paths. */
const anyWipes = fc.boolean().map(wipes => ({ wipes: () => wipes }))
const anyOptions: fc.Arbitrary<GraftOptions> = fc.record(
  { libc: fc.constantFrom('glibc', 'musl'), pageSize: fc.constantFrom(4096, 16384, 65536), record: text },
  { requiredKeys: [] },
)

const objects = new Map(objectNames.map(name => [name, objectBytes(name)]))
const bytesNamed = (name: string): Buffer => objects.get(name) ?? Buffer.alloc(0)
/** The prebuilt objects of each class and byte order. */
const FORMS = [64, 32].flatMap(elfClass =>
  ['little', 'big'].map(byteOrder => {
    const names = objectNames.filter(name => {
      const { header } = readElf(bytesSource(bytesNamed(name)))
      return header.class === elfClass && header.byteOrder === byteOrder
    })
    return { form: `ELF${elfClass}, ${byteOrder} endian`, names }
  }),
)

test('all four forms have objects: programs, and libraries of more than one machine', () => {
  assert.equal(FORMS.length, 4)
  for (const { form, names } of FORMS) {
    assert.ok(names.some(name => name.endsWith('.exe')) && names.filter(name => name.endsWith('.so')).length > 1, form)
  }
})

for (const { form, names } of FORMS) {
  // by name, so that a counterexample can be read
  const anyObject = fc.constantFrom(...names)

  test(`${form}: any bytes parse or throw an ElfError with a code, in bounded time and memory`, () => {
    const [first = ''] = names
    const head = bytesNamed(first).subarray(0, 24)
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 4096 }), bytes => {
        parses(Buffer.concat([head.subarray(0, 7), bytes]))
        parses(Buffer.concat([head, bytes]))
      }),
      { numRuns: RUNS * 200 },
    )
  })

  test(`${form}: an object with changed fields in its headers and tables is read and verified, or throws an ElfError`, () => {
    const number = fc.oneof(
      fc.bigInt({ min: 0n, max: 0xffffn }),
      fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }),
      fc.constantFrom(0n, 1n, 0xffn, 0x7fffffffn, 0xffffffffn, 1n << 53n, (1n << 63n) - 1n, (1n << 64n) - 1n),
    )
    fc.assert(
      fc.property(anyObject, fc.array(fc.tuple(fc.nat(), number), { minLength: 1, maxLength: 4 }), (name, changes) => {
        const bytes = bytesNamed(name)
        const copy = Buffer.from(bytes)
        const fields = fieldsOf(bytes)
        for (const [choice, value] of changes) {
          const { at, width } = fields[choice % fields.length] ?? { at: 0, width: 4 }
          put(
            formatOf(readElf(bytesSource(bytes)).header),
            copy,
            at,
            { at: 0, width },
            BigInt.asUintN(width * 8, value),
          )
        }
        parses(copy)
        timed(() => verifyElf(guarded(copy)))
      }),
      { numRuns: RUNS * 300 },
    )
  })

  test(`${form}: the result of an edit verifies, breaks no rule, and restores to the same bytes`, () => {
    fc.assert(
      fc.property(anyObject, anyEdit, anyOptions, anyWipes, (name, any, others, wipes) => {
        const options = { ...others, ...wipes }
        const bytes = bytesNamed(name)
        const edit = fitting(bytes, any)
        const graft = makeGraft(bytesSource(bytes), edit, options)
        if (graft === null) return
        const result = graftedSource(bytesSource(bytes), graft)
        verifyGraft(bytesSource(bytes), result, edit, options.pageSize)
        const rules = (source: ByteSource): string[] => verifyElf(source).map(({ rule }) => rule)
        // --page-size may ask for pages that are too small for the machine
        const wanted = rules(bytesSource(bytes))
        assert.deepEqual(
          rules(result).filter(rule => rule !== 'load-page' || wanted.includes(rule)),
          wanted,
        )
        // what appends nothing has no record: the opposite edit takes it back
        const back = graft.tail.length > 0 ? restored(bytesOf(result)) : step(bytesOf(result), () => stateIn(bytes))
        assert.deepEqual(back, bytes)
      }),
      { numRuns: RUNS * 150 },
    )
  })

  test(`${form}: two edits, one after the other, give the same file as one edit with both`, () => {
    fc.assert(
      fc.property(anyObject, anyEdit, anyEdit, anyWipes, (name, a, b, options) => {
        const bytes = bytesNamed(name)
        const [first, second] = [fitting(bytes, a), fitting(bytes, b)]
        const once = step(bytes, state => applyEdit(state, first), options)
        const twice = step(once, state => applyEdit(state, second), options)
        const both = step(bytes, state => applyEdit(applyEdit(state, first), second), options)
        assert.deepEqual(changedFields(stateIn(twice), stateIn(both)), [])
        // single words that were changed in place are in the file that the second edit starts with
        if (once.length > bytes.length || once.equals(bytes)) assert.deepEqual(twice, both)
      }),
      { numRuns: RUNS * 150 },
    )
  })

  test(`${form}: the same edit made twice gives the same file`, () => {
    fc.assert(
      fc.property(anyObject, anyEdit, anyWipes, (name, any, options) => {
        const bytes = bytesNamed(name)
        const edit = fitting(bytes, any)
        // a chain of renamings (a to b, b to c) is not a fixed point, and is not meant to be one
        const targets = new Set(edit.replaceNeeded?.values())
        fc.pre([...(edit.replaceNeeded?.keys() ?? [])].every(name => !targets.has(name)))
        fc.pre(
          (edit.addNeeded ?? []).every(
            name => edit.removeNeeded?.includes(name) !== true && edit.replaceNeeded?.has(name) !== true,
          ),
        )
        assert.deepEqual(edited(edited(bytes, edit), edit), edited(bytes, edit))
        const once = step(bytes, state => applyEdit(state, edit), options)
        assert.deepEqual(
          step(once, state => applyEdit(state, edit), options),
          once,
        )
      }),
      { numRuns: RUNS * 150 },
    )
  })

  test(`${form}: edits that lead back to the original state give the original bytes`, () => {
    fc.assert(
      fc.property(anyObject, fc.array(anyEdit, { minLength: 1, maxLength: 4 }), anyWipes, (name, edits, options) => {
        const bytes = bytesNamed(name)
        let now = bytes
        for (const edit of edits) now = step(now, state => applyEdit(state, fitting(bytes, edit)), options)
        assert.deepEqual(
          step(now, () => stateIn(bytes), options),
          bytes,
        )
      }),
      { numRuns: RUNS * 100 },
    )
  })
}

/** Without an interpreter for what has none. */
function fitting(bytes: Uint8Array, { interpreter, ...edit }: ElfEdit): ElfEdit {
  return interpreter === undefined || stateIn(bytes).interpreter === null ? edit : { ...edit, interpreter }
}

function stateIn(bytes: Uint8Array): ElfState {
  return stateOf(readElf(bytesSource(bytes)))
}

/** What `wheelfix elf` makes of a file (patchelf/rewrite.ts), in memory. */
function step(bytes: Buffer, change: (state: ElfState) => ElfState, options: GraftOptions = {}): Buffer {
  const source = bytesSource(bytes)
  const wanted = change(stateOf(readElf(source)))
  if (changedFields(stateOf(readElf(source)), wanted).length === 0) return bytes
  const { inPlace, after } = regraft(
    layersOf(source, () => true, undefined, undoOf),
    () => wanted,
    { ...options, inPlace: true },
  )
  for (const { owner, base, edit, record } of inPlace) {
    const patches = edit.patches.map(({ offset, bytes }) => ({ offset, bytes: base.read(offset, bytes.length) }))
    const header = base.read(0, edit.header.length)
    kept.set(hashOf(graftedSource(base, edit)), { owner, originalSize: base.size, header, patches, record })
  }
  return bytesOf(after)
}

/** The undos of edits in place, which leave no note in the file (state/kept-undos.ts). */
const kept = new Map<string, Undo>()

function undoOf(source: ByteSource): Undo | null {
  return kept.get(hashOf(source)) ?? null
}

function hashOf(source: ByteSource): string {
  return createHash('sha256').update(bytesOf(source)).digest('hex')
}

function parses(bytes: Uint8Array): void {
  timed(() => {
    try {
      readElf(guarded(bytes))
    } catch (error) {
      assert.ok(error instanceof ElfError, String(error))
      assert.match(error.code, /^(NOT_ELF|TRUNCATED|MALFORMED|UNSUPPORTED)$/)
    }
  })
}

function timed(action: () => void): void {
  const started = process.cpuUsage()
  action()
  const { user, system } = process.cpuUsage(started)
  assert.ok((user + system) / 1000 < LONGEST_MS, `${(user + system) / 1000} ms`)
}

/** Where the fields of the header, the program headers, the section headers and the dynamic table stand. */
function fieldsOf(bytes: Uint8Array): { at: number; width: number }[] {
  const { header, programHeaders } = readElf(bytesSource(bytes))
  const format = formatOf(header)
  const at = (start: number, layout: Format['ehdr' | 'phdr' | 'shdr' | 'dyn']) =>
    layout.fields.flatMap(field => (field.as === 'bytes' ? [] : [{ at: start + field.at, width: field.width }]))
  const dynamic = programHeaders.find(({ type }) => type === 2)
  const entries = dynamic === undefined ? 0 : Math.floor(dynamic.filesz / format.dyn.bytes)
  assert.ok(programHeaders.some(({ type }) => type === PT_LOAD))
  return [
    ...at(0, format.ehdr),
    ...programHeaders.flatMap((_, index) => at(header.phoff + index * format.phdr.bytes, format.phdr)),
    ...Array.from({ length: entries }, (_, index) =>
      at((dynamic?.offset ?? 0) + index * format.dyn.bytes, format.dyn),
    ).flat(),
    ...Array.from({ length: header.shnum }, (_, index) =>
      at(header.shoff + index * format.shdr.bytes, format.shdr),
    ).flat(),
  ]
}

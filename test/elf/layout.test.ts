import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import fc from 'fast-check'
import { ElfError } from '../../src/elf/error.ts'
import {
  bits,
  bytesOf,
  decode,
  encode,
  encodeField,
  formatOf,
  LITTLE,
  long,
  record,
  word,
} from '../../src/elf/layout.ts'
import { missing } from '../support/requires.ts'
import { runWell } from '../support/run.ts'

const FORMATS = ([32, 64] as const).flatMap(elfClass =>
  (['little', 'big'] as const).map(byteOrder => formatOf({ class: elfClass, byteOrder })),
)

/** The struct of <elf.h> for each record, and the prefix of its members. */
const STRUCTS = {
  ehdr: ['Ehdr', 'e_'],
  phdr: ['Phdr', 'p_'],
  shdr: ['Shdr', 'sh_'],
  dyn: ['Dyn', 'd_'],
  sym: ['Sym', 'st_'],
  verneed: ['Verneed', 'vn_'],
  vernaux: ['Vernaux', 'vna_'],
  verdef: ['Verdef', 'vd_'],
  verdaux: ['Verdaux', 'vda_'],
  nhdr: ['Nhdr', 'n_'],
} as const

/** Two members of <elf.h> have another name. */
const MEMBERS: Readonly<Record<string, string>> = { d_value: 'd_un.d_val' }

test('each field is where <elf.h> of the system has it', { skip: missing('cc') }, () => {
  const folder = mkdtempSync(join(tmpdir(), 'wheelfix-layout-'))
  try {
    const ours: string[] = []
    const prints: string[] = []
    for (const { class: elfClass, ...layouts } of FORMATS) {
      if (layouts.byteOrder === 'big') continue
      for (const [name, [struct, prefix]] of Object.entries(STRUCTS)) {
        const layout = layouts[name as keyof typeof STRUCTS]
        const type = `Elf${elfClass}_${struct}`
        ours.push(`${type} ${layout.bytes}`)
        prints.push(`printf("${type} %zu\\n", sizeof(${type}));`)
        for (const { name: field, at, width } of layout.fields) {
          const member = MEMBERS[prefix + field] ?? prefix + field
          // st_info and st_other are one field of ours
          ours.push(`${type} ${member} ${at}${member === 'st_info' ? '' : ` ${width}`}`)
          const size = member === 'st_info' ? '' : `printf(" %zu", sizeof(((${type} *)0)->${member}));`
          prints.push(`printf("${type} ${member} %zu", offsetof(${type}, ${member}));${size}puts("");`)
        }
      }
    }
    const source = `#include <elf.h>\n#include <stddef.h>\n#include <stdio.h>\nint main(void) {\n${prints.join('\n')}\n}\n`
    const program = join(folder, 'offsets')
    runWell('cc', ['-x', 'c', '-', '-o', program], { input: source })
    assert.deepEqual(runWell(program, []).trim().split('\n'), ours)
  } finally {
    rmSync(folder, { recursive: true })
  }
})

test('a record of any bytes is the same after decode and encode, in both classes and byte orders', () => {
  const names = Object.keys(STRUCTS) as (keyof typeof STRUCTS)[]
  fc.assert(
    fc.property(
      fc.constantFrom(...FORMATS),
      fc.constantFrom(...names, 'gnuHash' as const),
      fc.uint8Array({ minLength: 96, maxLength: 96 }),
      fc.nat(16),
      (format, name, bytes, start) => {
        // bytes of 0x80 and more in the upper half of an offset would be past 2^53
        for (const at of bytes.keys()) if ((bytes[at] ?? 0) > 0x0f && at % 2 === 0) bytes[at] = 0
        const layout = format[name] as (typeof format)['phdr']
        let values
        try {
          values = decode(layout, format, bytes, start)
        } catch (error) {
          assert.ok(error instanceof ElfError && error.code === 'TRUNCATED', String(error))
          return
        }
        const copy = Uint8Array.from(bytes)
        copy.fill(0xa5, start, start + layout.bytes)
        encode(layout, format, copy, start, values)
        assert.deepEqual(copy, bytes)
      },
    ),
    { numRuns: 2000 },
  )
})

test('encode writes only the fields that it is given, each cut to its width', () => {
  const layout = record({ name: bytesOf(4), count: word, size: long, mask: bits })
  assert.equal(layout.bytes, 24)
  const bytes = new Uint8Array(26).fill(0xee)
  encode(layout, LITTLE, bytes, 1, { name: Buffer.from('abcdef'), count: 0x1_0000_0002 })
  assert.equal(Buffer.from(bytes).toString('hex'), `ee6162636402000000${'ee'.repeat(17)}`)
  encode(layout, LITTLE, bytes, 1, { size: 2 ** 53 - 1, mask: (1n << 64n) - 1n })
  const { name, ...rest } = decode(layout, LITTLE, bytes, 1)
  assert.equal(Buffer.from(name).toString(), 'abcd')
  assert.deepEqual(rest, { count: 2, size: 2 ** 53 - 1, mask: (1n << 64n) - 1n })
  assert.equal(bytes.at(-1), 0xee)
})

test('a number past 2^53 is refused, and bits of 64 are not', () => {
  const layout = record({ size: long, mask: bits })
  const bytes = new Uint8Array(16)
  encode(layout, LITTLE, bytes, 0, { size: 2n ** 53n, mask: 2n ** 53n })
  assert.throws(() => decode(layout, LITTLE, bytes), { code: 'TRUNCATED' })
  encode(layout, LITTLE, bytes, 0, { size: 0 })
  assert.equal(decode(layout, LITTLE, bytes).mask, 2n ** 53n)
})

test('encodeField gives the bytes of one field for a change in place', () => {
  for (const format of FORMATS) {
    const bytes = encodeField(format, format.phdr.memsz, 0x1122334455667788n)
    const whole = format.class === 64 ? '1122334455667788' : '55667788'
    const order = format.byteOrder === 'big' ? Buffer.from(bytes) : Buffer.from(bytes).reverse()
    assert.equal(order.toString('hex'), whole)
  }
})

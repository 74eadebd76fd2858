// Which objects a loader takes for its own machine: the bits of e_flags that count, for machines that no test here can run.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { EM_ARM, EM_MIPS, EM_PPC64, EM_RISCV, EM_X86_64 } from '../../src/elf/constants.ts'
import { readElf } from '../../src/elf/read.ts'
import { bytesSource } from '../../src/elf/source.ts'
import type { ElfHeader } from '../../src/elf/types.ts'
import { fits } from '../../src/ldso/fits.ts'
import { makeLibrary } from '../support/library.ts'

/** Program's e_flags, library's e_flags, does it fit. */
const CASES: readonly (readonly [machine: number, program: number, library: number, fits: boolean])[] = [
  [EM_RISCV, 0x5, 0x5, true],
  // RVC does not count, the float ABI does: double, single, none
  [EM_RISCV, 0x5, 0x4, true],
  [EM_RISCV, 0x5, 0x3, false],
  [EM_RISCV, 0x4, 0x0, false],
  [EM_MIPS, 0x70001007, 0x70001007, true],
  // n32, 2008-NaN, the old FP64
  [EM_MIPS, 0x70001007, 0x70001027, false],
  [EM_MIPS, 0x70001007, 0x70001407, false],
  [EM_MIPS, 0x70001407, 0x70001407, true],
  [EM_MIPS, 0x70001207, 0x70001207, false],
  [EM_PPC64, 2, 2, true],
  [EM_PPC64, 2, 0, true],
  [EM_PPC64, 2, 1, false],
  // EABI 5, hard and soft; unmarked; EABI 4
  [EM_ARM, 0x05000400, 0x05000400, true],
  [EM_ARM, 0x05000400, 0x05000200, false],
  [EM_ARM, 0x05000200, 0x05000400, false],
  [EM_ARM, 0x05000400, 0x05000000, true],
  [EM_ARM, 0x05000400, 0x04000200, true],
  [EM_X86_64, 0, 7, true],
]

test('the ABI in e_flags has to agree', () => {
  for (const [machine, program, library, expected] of CASES) {
    const [a, b] = [library, program].map(flags => {
      const bytes = makeLibrary({ soname: null, machine })
      bytes.writeUInt32LE(flags, 48)
      return readElf(bytesSource(bytes))
    })
    assert.ok(a !== undefined && b !== undefined)
    assert.equal(fits(a, b), expected, `${machine}: ${program.toString(16)} and ${library.toString(16)}`)
  }
})

test('class, byte order and machine have to agree', () => {
  const object = readElf(bytesSource(makeLibrary({ soname: null, machine: EM_X86_64 })))
  const other = (change: Partial<ElfHeader>): boolean =>
    fits({ ...object, header: { ...object.header, ...change } }, object)
  assert.equal(other({}), true)
  assert.equal(other({ class: 32 }), false)
  assert.equal(other({ byteOrder: 'big' }), false)
  assert.equal(other({ machine: EM_ARM }), false)
})

// Which objects ask for an executable stack that their loader refuses them.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { PF_R, PF_W, PF_X, PT_GNU_STACK } from '../../src/elf/constants.ts'
import { wantsExecutableStack } from '../../src/elf/kind.ts'
import { refusedStacks } from '../../src/resolve/problems/stacks.ts'
import { elf, planOf, type Said } from './memory.ts'

const stack = (flags: number) => [
  { type: PT_GNU_STACK, flags, offset: 0, vaddr: 0n, paddr: 0n, filesz: 0, memsz: 0n, align: 16n },
]
const asking: Said = { programHeaders: stack(PF_R | PF_W | PF_X) }
const objects: Readonly<Record<string, Said>> = {
  'a/core.abi3.so': { needed: ['liba.so'], runpath: '$ORIGIN' },
  'a/liba.so': { ...asking, soname: 'liba.so' },
  'a/own.abi3.so': asking,
  'a/plugins/libplugin.so': asking,
}

const refusedIn = (version: string) =>
  refusedStacks(planOf({ objects, version }).after)
    .map(({ relative }) => relative.replace(/^.*site\//, ''))
    .sort()

test('modules and what they link to are refused an executable stack from glibc 2.41 on; a plugin is not imported', () => {
  for (const version of ['2.17', '2.36', '2.40']) assert.deepEqual(refusedIn(version), [], version)
  for (const version of ['2.41', '2.43', '3.0']) {
    const names = refusedIn(version).map(path => path.split('/').at(-1))
    assert.deepEqual(names, ['liba.so', 'own.abi3.so'], version)
  }
})

test('an object without PT_GNU_STACK asks for an executable stack, but not on every machine', () => {
  assert.equal(wantsExecutableStack(elf()), true)
  assert.equal(wantsExecutableStack(elf({ header: { machine: 183 } })), false)
  assert.equal(wantsExecutableStack(elf({ programHeaders: stack(PF_R | PF_W) })), false)
  assert.equal(wantsExecutableStack(elf(asking)), true)
})

// What loads is read and edited: tables in the rest of a page that is mapped all the same, tables that go on from one PT_LOAD
// to the next, and segments that agree only modulo the page. Each file is built by the compiler, changed by hand as other tools leave them, and run before and after the edit.
import assert from 'node:assert/strict'
import { chmodSync, mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, suite, test } from 'node:test'
import { DT_STRSZ, DT_STRTAB, PT_LOAD } from '../../src/elf/constants.ts'
import { ElfError } from '../../src/elf/error.ts'
import { makeGraft } from '../../src/elf/graft/graft.ts'
import { readHeaders } from '../../src/elf/headers.ts'
import { formatOf, put } from '../../src/elf/layout.ts'
import { extentAt } from '../../src/elf/memory.ts'
import { readElf } from '../../src/elf/read.ts'
import { verifyGraft } from '../../src/elf/rules/verify.ts'
import { bytesSource } from '../../src/elf/source.ts'
import type { ProgramHeader } from '../../src/elf/types.ts'
import { missing } from '../support/requires.ts'
import { run, runWell } from '../support/run.ts'
import { edited, restored } from './objects.ts'

const EDIT = { searchPath: { tag: 'DT_RUNPATH', value: '/nix/store/00000000000000000000000000000000-x/lib' } } as const

/** A field of the number-th PT_LOAD is set. */
function setLoad(bytes: Buffer, number: number, field: 'filesz' | 'memsz' | 'align' | 'vaddr', value: bigint): void {
  const { header, programHeaders } = readHeaders(bytesSource(bytes))
  const loads = programHeaders.flatMap(({ type }, index) => (type === PT_LOAD ? [index] : []))
  const format = formatOf(header)
  put(format, bytes, header.phoff + (loads[number] ?? 0) * format.phdr.bytes, format.phdr[field], value)
}

const readHeadersOf = (bytes: Buffer) => readElf(bytesSource(bytes))

suite('files as the loader maps them', { skip: missing('gcc') }, () => {
  const folder = mkdtempSync(join(realpathSync(tmpdir()), 'wheelfix-mapped-'))
  after(() => rmSync(folder, { recursive: true }))
  const source = join(folder, 'a.c')
  writeFileSync(source, 'int bss[3000]; int main(void) { return 3 + bss[0]; }\n')
  const build = (name: string, ...flags: readonly string[]): Buffer => {
    const path = join(folder, name)
    runWell('gcc', ['-o', path, source, '-Wl,--no-as-needed', ...flags])
    return readFileSync(path)
  }
  const statusOf = (bytes: Buffer): number | null => {
    const path = join(folder, 'run')
    rmSync(path, { force: true })
    writeFileSync(path, bytes)
    chmodSync(path, 0o755)
    return run(path, []).status
  }
  const opens = (bytes: Buffer): boolean => {
    const path = join(folder, 'libopened.so')
    rmSync(path, { force: true })
    writeFileSync(path, bytes)
    return run('python3', ['-c', `import ctypes; ctypes.CDLL(${JSON.stringify(path)})`]).status === 0
  }
  /** Runs before and after the edit, as the edit wants it, and comes back byte for byte. */
  const proveEdit = (bytes: Buffer, works: (bytes: Buffer) => boolean): void => {
    assert.ok(works(bytes), 'the loader takes it')
    assert.deepEqual(readHeadersOf(bytes).needed, ['libc.so.6'])
    const result = edited(bytes, EDIT)
    verifyGraft(bytesSource(bytes), bytesSource(result), EDIT)
    assert.equal(readHeadersOf(result).runpath, EDIT.searchPath.value)
    assert.ok(works(result), 'it works after the edit')
    assert.ok(restored(result).equals(bytes))
  }
  const runs = (bytes: Buffer): boolean => statusOf(bytes) === 3

  /** The PT_LOAD of the strings, cut so that it ends inside them: the page is mapped whole. */
  const cutStrings = (bytes: Buffer): Buffer => {
    const cut = Buffer.from(bytes)
    const { dynamic, programHeaders } = readHeadersOf(bytes)
    const value = (tag: number) => dynamic?.find(entry => entry.tag === tag)?.value ?? 0n
    const loads = programHeaders.filter(({ type }) => type === PT_LOAD)
    const strings = value(DT_STRTAB)
    const number = loads.findIndex(({ vaddr, memsz }) => vaddr <= strings && strings < vaddr + memsz)
    const length = strings + value(DT_STRSZ) / 2n - (loads[number]?.vaddr ?? 0n)
    setLoad(cut, number, 'filesz', length)
    setLoad(cut, number, 'memsz', length)
    return cut
  }

  for (const flags of [['-no-pie'], ['-pie'], ['-no-pie', '-Wl,-z,noseparate-code']]) {
    test(`strings in the rest of a page: ${flags.join(' ')}`, () => proveEdit(cutStrings(build('cut', ...flags)), runs))
  }
  test('strings in the rest of a page of a shared library', () => {
    proveEdit(cutStrings(build('cut.so', '-shared', '-fPIC')), opens)
  })

  test('bytes that the loader zeroes behind p_filesz are not read from the file', () => {
    const bytes = cutStrings(build('zeroed.so', '-shared', '-fPIC'))
    setLoad(bytes, 0, 'memsz', 4096n)
    assert.throws(() => readHeadersOf(bytes), ElfError)
    assert.equal(opens(bytes), false)
  })

  test('address and offset that agree only modulo the page: what patchelf 0.18 leaves', () => {
    for (const [kind, works] of [
      [['-shared', '-fPIC'], opens],
      [['-pie'], runs],
    ] as const) {
      const bytes = build('aligned', ...kind)
      const { programHeaders } = readHeadersOf(bytes)
      const loads = programHeaders.filter(({ type }) => type === PT_LOAD)
      assert.ok(
        loads.some(({ vaddr, offset }) => (vaddr - BigInt(offset)) % 0x200000n !== 0n),
        'a PT_LOAD does not agree modulo 2 MiB',
      )
      for (const number of loads.keys()) setLoad(bytes, number, 'align', 0x200000n)
      proveEdit(bytes, works)
    }
  })

  test('an address and an offset that do not agree modulo the page are refused: no loader maps them', () => {
    const bytes = build('torn', '-shared', '-fPIC')
    const load = readHeadersOf(bytes).programHeaders.findLast(({ type }) => type === PT_LOAD)
    const last = readHeadersOf(bytes).programHeaders.filter(({ type }) => type === PT_LOAD).length - 1
    setLoad(bytes, last, 'vaddr', (load?.vaddr ?? 0n) + 8n)
    assert.throws(() => makeGraft(bytesSource(bytes), EDIT), ElfError)
    assert.equal(opens(bytes), false)
  })

  test('a program whose .bss leaves no place for a graft is edited in place where that fits', () => {
    writeFileSync(join(folder, 'large.c'), 'char bss[100 << 20]; int main(void) { return 3 + bss[5]; }\n')
    const path = join(folder, 'large')
    for (const kind of ['-pie', '-no-pie']) {
      runWell('gcc', ['-o', path, kind, join(folder, 'large.c')])
      const bytes = readFileSync(path)
      assert.throws(() => makeGraft(bytesSource(bytes), EDIT), /larger than its file/)
      const result = edited(bytes, EDIT, { inPlace: true })
      verifyGraft(bytesSource(bytes), bytesSource(result), EDIT)
      assert.equal(result.length, bytes.length)
      assert.ok(runs(result))
    }
  })

  test('a library whose own code looks for its moved program headers in memory', () => {
    const headers = join(folder, 'headers.c')
    writeFileSync(
      headers,
      `#include <link.h>
      #include <unistd.h>
      const char room[2048] __attribute__((aligned(16))) = "ROOM FOR PROGRAM HEADERS";
      char bss[100000];
      extern const ElfW(Ehdr) __ehdr_start __attribute__((visibility("hidden")));
      __attribute__((constructor)) static void look(void) {
        const char *base = (const char *)&__ehdr_start;
        const ElfW(Phdr) *header = (const void *)(base + __ehdr_start.e_phoff);
        for (int left = __ehdr_start.e_phnum; left > 0; left--, header++)
          if (header->p_type == PT_LOAD && (const char *)look - base - header->p_vaddr < header->p_memsz) return;
        _exit(220 - room[100] - bss[0]);
      }`,
    )
    const library = join(folder, 'libheaders.so')
    runWell('gcc', ['-shared', '-fPIC', '-o', library, headers])
    const bytes = readFileSync(library)
    const { header } = readHeadersOf(bytes)
    const format = formatOf(header)
    const room = bytes.indexOf('ROOM FOR PROGRAM HEADERS')
    bytes.copy(bytes, room, header.phoff, header.phoff + header.phnum * format.phdr.bytes)
    bytes.fill(0, header.phoff, header.phoff + header.phnum * format.phdr.bytes)
    put(format, bytes, 0, format.ehdr.phoff, room)
    proveEdit(bytes, opens)
  })
})

test('a PT_LOAD that continues the one before it counts as one range with it; another distance begins a new range', () => {
  const load = (vaddr: bigint, offset: number, filesz: number, memsz = BigInt(filesz)): ProgramHeader => ({
    type: PT_LOAD,
    flags: 4,
    offset,
    vaddr,
    paddr: vaddr,
    filesz,
    memsz,
    align: 0x1000n,
  })
  const along = [load(0x1000n, 0, 0x1000), load(0x2000n, 0x1000, 0x800)]
  assert.deepEqual(extentAt(along, 0x1f00n), { offset: 0xf00, length: 0x1100 })
  const apart = [load(0x1000n, 0, 0x900), load(0x2000n, 0x3000, 0x800)]
  assert.deepEqual(extentAt(apart, 0x1f00n), { offset: 0xf00, length: 0x100 })
  assert.deepEqual(extentAt(apart, 0x2000n), { offset: 0x3000, length: 0x1000 })
  // the page is mapped from its start on, and a later segment over an earlier one
  assert.deepEqual(extentAt([load(0x1810n, 0x810, 0x10)], 0x1000n), { offset: 0, length: 0x1000 })
  assert.equal(extentAt([load(0x1000n, 0, 0x900, 0x1000n)], 0x1900n), null)
  const over = [load(0x1000n, 0, 0x1100), load(0x2800n, 0x5800, 0x100)]
  assert.deepEqual(extentAt(over, 0x2080n), { offset: 0x5080, length: 0xf80 })
  assert.deepEqual(extentAt(over, 0x1f00n), { offset: 0xf00, length: 0x100 })
})

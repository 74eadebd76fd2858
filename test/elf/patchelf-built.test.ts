// The classes of corruption that patchelf and LIEF have had, as files built from C and assembler: edited here, then given
// to the loader of this machine. Those that need no compiler are in patchelf-bugs.test.ts.
import assert from 'node:assert/strict'
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { PT_DYNAMIC, PT_LOAD, PT_NOTE, PT_PHDR, SHT_DYNAMIC, SHT_NOTE } from '../../src/elf/constants.ts'
import { ElfError } from '../../src/elf/error.ts'
import { getNumber, put } from '../../src/elf/layout.ts'
import { readElf } from '../../src/elf/read.ts'
import {
  findSection,
  readSectionNames,
  readSections,
  type SectionField,
  sectionNumber,
  type SectionTable,
} from '../../src/elf/tables/sections.ts'
import { type ByteSource, bytesSource } from '../../src/elf/source.ts'
import { verifyElf } from '../../src/elf/rules/verify.ts'
import { withSource } from '../../src/io/source.ts'
import { editElf } from '../support/elf.ts'
import { missing, which } from '../support/requires.ts'
import { run, runWell } from '../support/run.ts'
import { edited, formatOfBytes } from './objects.ts'

const EDIT = { searchPath: { tag: 'DT_RUNPATH', value: `/nix/store/${'x'.repeat(32)}-lib/lib` } } as const
/** Longer than any slack of a file. */
const GROW = { searchPath: { tag: 'DT_RUNPATH', value: `/nix/store/${'long/'.repeat(300)}lib` } } as const

/** A shared object whose .init stands right behind its program headers, where one more header would lie. */
const TIGHT = `SECTIONS {
  . = SIZEOF_HEADERS;
  .init : { KEEP(*(.init)) }
  .fini : { KEEP(*(.fini)) }
  .gnu.hash : { *(.gnu.hash) }
  .dynsym : { *(.dynsym) }
  .dynstr : { *(.dynstr) }
  .rela.plt : { *(.rela.plt) }
  .rela.dyn : { *(.rela.*) }
  .text : { *(.text .text.*) }
  .eh_frame : { *(.eh_frame) }
  . = ALIGN(0x1000);
  .init_array : { KEEP(*(.init_array*)) }
  .fini_array : { KEEP(*(.fini_array*)) }
  .dynamic : { *(.dynamic) }
  .got : { *(.got*) }
  .data : { *(.data*) }
  .bss : { *(.bss*) }
}
`

describe('built from C', { skip: missing('gcc') }, () => {
  let folder = ''
  const at = (name: string): string => join(folder, name)
  const compile = (name: string, source: string, ...flags: readonly string[]): string => {
    writeFileSync(at(`${name}.c`), source)
    runWell('gcc', ['-o', at(name), at(`${name}.c`), ...flags])
    return at(name)
  }
  const library = (name: string, source: string, ...flags: readonly string[]): string =>
    compile(name, source, '-shared', '-fPIC', ...flags)
  const one = (path: string): string => runWell(at('opener'), [path])
  const object = (path: string) => withSource(path, source => readElf(source))
  const loads = (path: string) => object(path).programHeaders.filter(({ type }) => type === PT_LOAD)

  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'wheelfix-bugs-'))
    compile(
      'opener',
      `#include <dlfcn.h>
#include <stdio.h>
int main(int c, char **v) {
  void *l = dlopen(v[1], RTLD_NOW);
  if (!l) { puts(dlerror()); return 1; }
  int (*one)(void) = (int (*)(void))dlsym(l, "one");
  printf("%d\\n", one());
  return dlclose(l);
}
`,
    )
  })
  after(() => rmSync(folder, { recursive: true }))

  test(
    'patchelf#664: versions that a program defines are found after .dynstr has grown',
    { skip: missing('ld.lld') },
    () => {
      // lld puts .dynstr behind .gnu.version_d
      writeFileSync(at('host.map'), 'V1 { global: host; };\n')
      const plugin = ['-Wl,-soname,libplug.so', '-Wl,--unresolved-symbols=ignore-all']
      library('libplug.so', 'int host(void);\nint plug(void) { return host() + 1; }\n', ...plugin)
      const program = compile(
        'host',
        '#include <stdio.h>\nint plug(void);\nint host(void) { return 5; }\nint main(void) { printf("%d\\n", plug()); return 0; }\n',
        '-no-pie',
        '-fuse-ld=lld',
        '-rdynamic',
        `-Wl,--version-script=${at('host.map')}`,
        at('libplug.so'),
        `-Wl,-rpath,${folder}`,
      )
      assert.equal(runWell(program, []), '6\n')
      editElf(program, { searchPath: { tag: 'DT_RUNPATH', value: `${folder}:${GROW.searchPath.value}` } })
      assert.equal(runWell(program, []), '6\n')
      assert.deepEqual(object(program).versionDefinitions, ['V1'])
    },
  )

  test('patchelf#639, LIEF#466: DT_INIT, DT_FINI and the arrays run once each', () => {
    const source =
      '#include <stdio.h>\nvoid start(void) { puts("init"); }\nvoid end(void) { puts("fini"); }\n__attribute__((constructor)) static void a(void) { puts("array"); }\n__attribute__((destructor)) static void z(void) { puts("end of array"); }\n'
    const program = compile('init', `${source}int main(void) { return 0; }\n`, '-Wl,-init,start', '-Wl,-fini,end')
    const before = runWell(program, [])
    editElf(program, EDIT)
    assert.equal(runWell(program, []), before)

    writeFileSync(at('tight.ld'), TIGHT)
    const tight = library('tight.so', `${source}int one(void) { return 1; }\n`, `-Wl,-T,${at('tight.ld')}`)
    const opened = one(tight)
    assert.match(opened, /^array\n1\nend of array\n$/)
    editElf(tight, GROW)
    assert.equal(one(tight), opened)
  })

  test('patchelf#643: the program headers of a library are at the end of its file', () => {
    const path = library('far.so', 'int one(void) { return 1; }\n')
    const bytes = readFileSync(path)
    const { header } = readElf(bytesSource(bytes))
    const format = formatOfBytes(bytes)
    const length = header.phnum * format.phdr.bytes
    const far = Buffer.concat([bytes, bytes.subarray(header.phoff, header.phoff + length)])
    far.fill(0xee, header.phoff, header.phoff + length)
    put(format, far, 0, format.ehdr.phoff, bytes.length)
    writeFileSync(path, far)
    assert.equal(one(path), '1\n')
    editElf(path, GROW)
    assert.equal(one(path), '1\n')
  })

  test('patchelf#403, #426, #446: each section stays in its segment, whatever grows', () => {
    for (const [name, ...flags] of [
      ['bfd', '-no-pie'],
      ['huge', '-no-pie', '-Wl,-z,max-page-size=0x200000'],
      ['together', '-no-pie', '-Wl,-z,noseparate-code'],
      ...(missing('ld.lld') === false ? [['lld', '-no-pie', '-fuse-ld=lld']] : []),
    ]) {
      const program = compile(`straddle-${name}`, 'int main(void) { return 0; }\n', ...flags)
      const before = statSync(program).size
      for (const edit of [GROW, { ...GROW, interpreter: withLong(object(program).ptInterp ?? '') }]) {
        editElf(program, edit)
        assert.deepEqual(withSource(program, verifyElf), [], name)
        assert.equal(run(program, []).status, 0, name)
        assert.ok(statSync(program).size < before + 0x20000, name)
      }
    }
  })

  test('patchelf#47, #92, #117: AT_PHDR, PT_PHDR and the headers that a program sees are the same', () => {
    const source = `#define _GNU_SOURCE
#include <link.h>
#include <stdio.h>
#include <sys/auxv.h>
static int see(struct dl_phdr_info *info, size_t size, void *seen) {
  if (*(int *)seen) return 0;
  *(int *)seen = 1;
  const ElfW(Phdr) *auxiliary = (const void *)getauxval(AT_PHDR);
  int same = auxiliary == info->dlpi_phdr && getauxval(AT_PHNUM) == info->dlpi_phnum, dynamic = 0;
  for (int i = 0; i < info->dlpi_phnum; i++) {
    if (auxiliary[i].p_type == PT_PHDR) same = same && info->dlpi_addr + auxiliary[i].p_vaddr == (ElfW(Addr))auxiliary;
    if (auxiliary[i].p_type == PT_DYNAMIC) dynamic++;
  }
  printf("%s\\n", same && dynamic == 1 ? "same" : "other");
  return 0;
}
int main(void) { int seen = 0; return dl_iterate_phdr(see, &seen); }
`
    // qemu computes AT_PHDR as kernels before 5.18 do
    const starters = [[], ...(which('qemu-x86_64-static') === undefined ? [] : [['qemu-x86_64-static']])]
    for (const pie of ['-pie', '-no-pie']) {
      const program = compile(`phdr${pie}`, source, pie, pie === '-pie' ? '-fPIE' : '-fno-pie')
      const size = statSync(program).size
      editElf(program, GROW)
      assert.ok(statSync(program).size < size + 0x10000, 'no hole is left in the file')
      for (const starter of starters) {
        const [command = program] = starter
        assert.equal(runWell(command, starter.length === 0 ? [] : [program]), 'same\n', `${pie} ${command}`)
      }
    }
  })

  test('patchelf#663: PT_PHDR is in a PT_LOAD, also in one that is aligned to 0x8000', () => {
    for (const pie of ['-pie', '-no-pie']) {
      const program = compile(`aligned${pie}`, 'int main(void) { return 0; }\n', pie, '-Wl,-z,max-page-size=0x8000')
      editElf(program, GROW)
      const { header, programHeaders } = object(program)
      const phdr = programHeaders.find(({ type }) => type === PT_PHDR)
      const load = loads(program).find(({ offset, filesz }) => offset <= header.phoff && header.phoff < offset + filesz)
      assert.ok(phdr !== undefined && load !== undefined)
      assert.equal(phdr.vaddr - load.vaddr, BigInt(phdr.offset - load.offset))
      assert.ok(phdr.vaddr + phdr.memsz <= load.vaddr + load.memsz)
      assert.equal(run(program, []).status, 0)
    }
  })

  test('patchelf#520: a program that looks at _DYNAMIC finds the table it was linked with', () => {
    const program = compile(
      'dynamic',
      '#include <link.h>\nextern ElfW(Dyn) _DYNAMIC[];\nint main(void) { int n = 0; for (ElfW(Dyn) *d = _DYNAMIC; d->d_tag; d++) n += d->d_tag == DT_NEEDED; return n == 1 ? 0 : 1; }\n',
    )
    editElf(program, GROW)
    assert.equal(run(program, []).status, 0)
  })

  test('patchelf#146, #152: .dynamic in segments that are all read-only', { skip: missing('ld.lld') }, () => {
    const path = library('readonly.so', 'int one(void) { return 1; }\n', '-fuse-ld=lld', '-Wl,-z,rodynamic')
    assert.equal(one(path), '1\n')
    editElf(path, GROW)
    assert.equal(one(path), '1\n')
  })

  test('patchelf#217, #230, #255, #275, #400, #546, LIEF#431, #611: notes of all kinds stay as they are', () => {
    // of 4 and of 8 bytes alignment, one with padding behind it, one that is a note for segments but not for sections
    const notes = `
.section .note.one,"a",@note
.balign 4
.long 2,4,1
.asciz "A"
.balign 4
.long 7
.section .note.two,"a",@note
.balign 8
.long 4,8,5
.asciz "GNU"
.quad 9
.balign 64
.section .note.three,"a",@note
.balign 4
.long 2,0,3
.asciz "B"
.balign 4
`
    const asm = `__asm__(${JSON.stringify(notes)} ".text\\n");\n`
    for (const pie of ['-pie', '-no-pie', '-shared']) {
      const source = `${asm}int one(void) { return 1; }\n${pie === '-shared' ? '' : 'int main(void) { return one() - 1; }\n'}`
      const path = compile(`notes${pie}`, source, pie, ...(pie === '-no-pie' ? [] : ['-fPIC']), '-Wl,--build-id')
      asProgbits(path, '.note.two')
      const seen = (): string =>
        JSON.stringify(
          object(path).programHeaders.filter(({ type }) => type === PT_NOTE),
          plain,
        )
      const before = seen()
      editElf(path, GROW)
      editElf(path, { ...GROW, addNeeded: ['libc.so.6'] })
      assert.equal(seen(), before)
      if (pie === '-shared') assert.equal(one(path), '1\n')
      else assert.equal(run(path, []).status, 0)
    }
  })

  test('a program of 64 MB with thousands of notes, as Playwright’s node', () => {
    const asm = `.section .note.many,\\"a\\",@note\\n.rept 5000\\n.balign 4\\n.long 5,12,3\\n.asciz \\"stap\\"\\n.balign 4\\n.quad 1\\n.long 2\\n.endr\\n.section .rodata\\n.skip 0x4000000\\n.text\\n`
    const program = compile(
      'large',
      `__asm__("${asm}");\nint main(void) { return 0; }\n`,
      '-no-pie',
      '-Wl,-z,max-page-size=0x200000',
    )
    const first = loads(program)[0]?.vaddr
    const size = statSync(program).size
    editElf(program, { ...GROW, interpreter: withLong(object(program).ptInterp ?? '') })
    assert.equal(run(program, []).status, 0)
    assert.equal(loads(program)[0]?.vaddr, first)
    assert.ok(statSync(program).size < size + 0x10000)
  })

  test('patchelf#197, #128, #619, #640: two .shstrtab, an empty section in the middle, numbers that name sections', () => {
    const path = library('sections.so', 'int one(void) { return 1; }\n', '-g')
    changeSections(path, (table, find, bytes) => {
      const set = (index: number, field: 'name' | 'type' | 'info', value: number): void =>
        put(table.format, bytes, index * table.format.shdr.bytes, table.format.shdr[field], value)
      set(
        find('.debug_line'),
        'name',
        getNumber(table.format, table.bytes, find('.shstrtab') * table.format.shdr.bytes, table.format.shdr.name),
      )
      bytes.fill(0, find('.comment') * table.format.shdr.bytes, (find('.comment') + 1) * table.format.shdr.bytes)
      // SHT_CREL, which patchelf does not know to hold the number of a section
      set(find('.debug_str'), 'type', 0x40000014)
      set(find('.debug_str'), 'info', find('.text'))
    })
    const before = withSource(path, source => readSections(source, readElf(source).header))
    editElf(path, GROW)
    const now = withSource(path, source => readSections(source, readElf(source).header))
    assert.ok(before !== null && now !== null)
    const names = withSource(path, source => sectionNames(source, now))
    const changed = names.slice(0, before.count).filter((_, index) => !record(before, index).equals(record(now, index)))
    // what the graft replaces, what names its strings, and the names of sections themselves
    assert.deepEqual(changed, ['.dynsym', '.dynstr.old', '.dynamic.old', '.shstrtab'])
    assert.equal(one(path), '1\n')
    // those who look symbols up go by the numbers
    assert.match(runWell('nm', [path]), / T one$/m)
  })

  test('patchelf#250, #368: both kinds of hash table keep working', () => {
    for (const style of ['gnu', 'sysv', 'both']) {
      const path = library(`hash-${style}.so`, 'int one(void) { return 1; }\n', `-Wl,--hash-style=${style}`)
      editElf(path, GROW)
      assert.equal(one(path), '1\n', style)
    }
  })

  test('patchelf’s shared-rpath: a search path that shares its string with a symbol leaves the symbol alone', () => {
    const path = library('shared.so', 'int one(void) { return 1; }\nint a_symbol_name;\n', '-Wl,-rpath,symbol_name')
    editElf(path, { searchPath: { tag: 'DT_RUNPATH', value: '/x' } })
    assert.equal(one(path), '1\n')
    assert.match(runWell('nm', ['-D', path]), / a_symbol_name$/m)
  })

  test('patchelf’s invalid-elf: no loader reads a broken section table, so the edited program runs', () => {
    const bytes = readFileSync(compile('sectioned', 'int main(void) { return 42; }\n'))
    const source = bytesSource(bytes)
    const { header } = readElf(source)
    const table = readSections(source, header)
    assert.ok(table !== null)
    const section = (index: number, field: SectionField): number =>
      header.shoff + index * table.format.shdr.bytes + table.format.shdr[field].at
    const ofType = (type: number): number => findSection(table, index => sectionNumber(table, index, 'type') === type)
    const names = header.shstrndx
    const namesEnd = sectionNumber(table, names, 'offset') + sectionNumber(table, names, 'size') - 1
    const huge = Buffer.from('ffffffffffffff7f', 'hex')
    const broken: Record<string, readonly [at: number, bytes: Buffer]> = {
      'shstrtab-idx': [table.format.ehdr.shstrndx.at, Buffer.from('ffff', 'hex')],
      'shstrtab-size': [section(names, 'size'), huge],
      'shstrtab-zero': [section(names, 'size'), Buffer.alloc(8)],
      'shstrtab-nonterm': [namesEnd, Buffer.from('A')],
      'shdr-name': [section(1, 'name'), huge.subarray(4)],
      'unnamed-section': [section(1, 'name'), Buffer.alloc(4)],
      shentsize: [table.format.ehdr.shentsize.at, Buffer.from('3000', 'hex')],
      'dynamic-offset': [section(ofType(SHT_DYNAMIC), 'offset'), huge],
      'dynamic-unaligned': [section(ofType(SHT_DYNAMIC), 'offset'), Buffer.from('0100000000000000', 'hex')],
      'note-addralign-zero': [section(ofType(SHT_NOTE), 'addralign'), Buffer.alloc(8)],
    }
    for (const [name, [at, value]] of Object.entries(broken)) {
      const file = Buffer.from(bytes)
      value.copy(file, at)
      writeFileSync(join(folder, name), edited(file, EDIT, { wipes: () => true }), { mode: 0o755 })
      assert.equal(run(join(folder, name), []).status, 42, name)
    }
  })

  test('patchelf#287, #303: an object without sections is edited', { skip: missing('llvm-objcopy') }, () => {
    const path = library('sectionless.so', 'int one(void) { return 1; }\n')
    runWell('llvm-objcopy', ['--strip-sections', path])
    editElf(path, GROW)
    assert.equal(one(path), '1\n')
    assert.equal(object(path).runpath, GROW.searchPath.value)
  })

  test(
    'patchelf#131, #66: debugging information alone, where .dynamic has no bytes, is refused',
    { skip: missing('objcopy') },
    () => {
      const path = library('whole.so', 'int one(void) { return 1; }\n', '-g')
      runWell('objcopy', ['--only-keep-debug', path, at('only.debug')])
      refused(at('only.debug'), /./)
    },
  )

  test('patchelf#143, #465: static programs, objects, archives and core files are refused', () => {
    for (const flag of ['-static', '-static-pie']) {
      const path = compile(`program${flag}`, 'int main(void) { return 0; }\n', flag, '-fPIE')
      refused(path, /static/)
      assert.equal(run(path, []).status, 0)
    }
    refused(compile('object.o', 'int one;\n', '-c'), /relocatable/)
    runWell('ar', ['rcs', at('archive.a'), at('object.o')])
    refused(at('archive.a'), /magic/)
  })

  test('a core file is refused', { skip: missing('gdb') }, () => {
    const script = ['-ex', 'start', '-ex', `generate-core-file ${at('core')}`, '-ex', 'kill']
    run('gdb', ['-batch', '-nx', ...script, compile('dumped', 'int main(void) { return 0; }\n', '-g')])
    refused(at('core'), /core file/)
  })

  test('an interpreter and a search path longer than any slack of the file', () => {
    const program = compile('long', 'int main(void) { return 0; }\n')
    editElf(program, { searchPath: { tag: 'DT_RUNPATH', value: `/${'long/'.repeat(4000)}` } })
    editElf(program, { interpreter: withLong(object(program).ptInterp ?? '') })
    assert.equal(run(program, []).status, 0)
  })

  test('patchelf#244, #482, #531: read-only data at the start of the file is not moved', () => {
    const source = 'const int table[1000] = { 7 };\nint one(void) { return table[0]; }\n'
    const linkers = ['bfd', ...(missing('ld.lld') === false ? ['lld'] : [])]
    for (const linker of linkers) {
      const path = library(`rodata-${linker}.so`, source, '-Wl,-z,separate-code', `-fuse-ld=${linker}`)
      const original = readFileSync(path)
      editElf(path, GROW)
      assert.deepEqual(readFileSync(path).subarray(64, original.length), original.subarray(64))
      assert.equal(one(path), '7\n')
    }
  })

  test('LIEF#416, #431, #482, #572: thread-local data, relro and the stack’s flags are as before', () => {
    const path = library('tls.so', 'static __thread int n = 5; int one(void) { return n; }\n', '-Wl,-z,relro,-z,now')
    const others = () => object(path).programHeaders.filter(({ type }) => type !== PT_LOAD && type !== PT_DYNAMIC)
    const before = others()
    editElf(path, GROW)
    assert.deepEqual(others(), before)
    assert.equal(one(path), '5\n')
  })

  test('LIEF#326: a million relocations cost no time and do not change', () => {
    const asm = '.data\\n.balign 8\\n.globl table\\ntable: .rept 1000000\\n.quad table\\n.endr\\n.text\\n'
    const path = library(
      'relocations.so',
      `__asm__("${asm}");\nextern long table[];\nint one(void) { return table[999999] == (long)table; }\n`,
      '-Wl,-Bsymbolic',
    )
    const original = readFileSync(path)
    const started = process.cpuUsage()
    editElf(path, GROW)
    const { user } = process.cpuUsage(started)
    assert.ok(user < 2e6, `${user / 1e6} s`)
    assert.deepEqual(readFileSync(path).subarray(64, original.length), original.subarray(64))
    assert.equal(one(path), '1\n')
  })

  test('formatelf: writable code, in a segment with all three rights', () => {
    const asm = '.section .both,\\"awx\\",@progbits\\n.globl here\\nhere: ret\\n.text\\n'
    const path = library(
      'rwx.so',
      `__asm__("${asm}");\nvoid here(void);\nint one(void) { here(); return 1; }\n`,
      '-Wl,-Bsymbolic',
    )
    editElf(path, GROW)
    assert.equal(one(path), '1\n')
  })

  test('a program finds the payload at its end after a refused edit, and after an edit in place', () => {
    const program = compile(
      'payload',
      `#include <stdio.h>
int main(void) {
  char text[8] = "";
  FILE *self = fopen("/proc/self/exe", "rb");
  fseek(self, -7, SEEK_END);
  return fread(text, 1, 7, self) != 7 || puts(text) < 0;
}
`,
      '-Wl,-rpath,/a/longer/path/than/the/new/one',
    )
    const bytes = Buffer.concat([readFileSync(program), Buffer.from('payload')])
    writeFileSync(program, bytes)
    refused(program, /appended/)
    assert.equal(runWell(program, []), 'payload\n')
    editElf(program, { searchPath: { tag: 'DT_RUNPATH', value: '/short' } }, { inPlace: true })
    assert.equal(object(program).runpath, '/short')
    assert.equal(runWell(program, []), 'payload\n')
  })

  /** An edit that does not fit in place fails for that reason, and the file is as it was. */
  function refused(path: string, reason: RegExp): void {
    const bytes = readFileSync(path)
    assert.throws(
      () => editElf(path, GROW),
      error => error instanceof ElfError && reason.test(error.message),
      path,
    )
    assert.deepEqual(readFileSync(path), bytes)
  }

  /** The same loader under a path of a few hundred bytes. */
  function withLong(interpreter: string): string {
    const long = join(folder, ...Array.from({ length: 30 }, () => 'a-long-name'))
    mkdirSync(long, { recursive: true })
    cpSync(interpreter, join(long, 'ld.so'), { dereference: true })
    return join(long, 'ld.so')
  }
})

const plain = (_: string, value: unknown): unknown => (typeof value === 'bigint' ? value.toString() : value)

function sectionNames(source: ByteSource, table: SectionTable): string[] {
  const names = Buffer.from(readSectionNames(source, table, 1 << 20) ?? [])
  return Array.from({ length: table.count }, (_, index) => {
    const start = getNumber(table.format, table.bytes, index * table.format.shdr.bytes, table.format.shdr.name)
    return names.toString('latin1', start, names.indexOf(0, start))
  })
}

/** A section's header, without what names it. */
function record({ format, bytes }: SectionTable, index: number): Buffer {
  return Buffer.from(bytes.subarray(index * format.shdr.bytes + 4, (index + 1) * format.shdr.bytes))
}

/** Changes the section header table of a file. */
function changeSections(
  path: string,
  change: (table: SectionTable, find: (name: string) => number, bytes: Buffer) => void,
): void {
  const file = readFileSync(path)
  const source = bytesSource(file)
  const { header } = readElf(source)
  const table = readSections(source, header)
  assert.ok(table !== null)
  const names = sectionNames(source, table)
  const find = (name: string): number => {
    const index = names.indexOf(name)
    if (index < 0) throw new Error(`no section ${name} in ${path}`)
    return index
  }
  change(table, find, file.subarray(header.shoff, header.shoff + table.bytes.length))
  writeFileSync(path, file)
}

/** The section becomes plain data; its segment stays a PT_NOTE. */
function asProgbits(path: string, name: string): void {
  changeSections(path, (table, find, bytes) =>
    put(table.format, bytes, find(name) * table.format.shdr.bytes, table.format.shdr.type, 1),
  )
}

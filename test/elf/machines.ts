// `npm run machines`: for every machine whose cross compiler and qemu are installed, a program and its library are built,
// the program fails for want of the library, runs after our edit (search path, interpreter, both PIE and not), and comes
// back byte for byte. Prints the table that src/elf/README.md holds. Debian: gcc-*-linux-gnu, qemu-user-static;
// gcc-multilib-sparc64-linux-gnu for sparc; Debian 13 for loongarch64.
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { readElf } from '../../src/elf/read.ts'
import { verifyElf } from '../../src/elf/verify.ts'
import { restoreObject } from '../../src/fix/rewrite.ts'
import { withSource } from '../../src/io/source.ts'
import { editElf } from '../support/elf.ts'
import { which } from '../support/requires.ts'
import { run, runWell } from '../support/run.ts'

interface Machine {
  readonly name: string
  readonly compiler: string
  /** The program that runs its programs; null: this machine itself. */
  readonly qemu: string | null
  /** Where its libc is. */
  readonly root: string
  /** The compiler's options for this machine. */
  readonly flags: readonly string[]
  /** Where its libraries are, when they are not where its programs look for them. */
  readonly libraries: string | null
}

const machine = (name: string, triple: string, qemu: string): Machine => ({
  name,
  compiler: `${triple}-gcc`,
  // Debian 13 has only static ones, without the suffix
  qemu: which(`qemu-${qemu}-static`) === undefined ? `qemu-${qemu}` : `qemu-${qemu}-static`,
  root: `/usr/${triple}`,
  flags: [],
  libraries: null,
})

const MACHINES: readonly Machine[] = [
  { name: 'x86_64', compiler: 'x86_64-linux-gnu-gcc', qemu: null, root: '/', flags: [], libraries: null },
  machine('i686', 'i686-linux-gnu', 'i386'),
  machine('aarch64', 'aarch64-linux-gnu', 'aarch64'),
  machine('armv7l', 'arm-linux-gnueabihf', 'arm'),
  machine('ppc64le', 'powerpc64le-linux-gnu', 'ppc64le'),
  machine('ppc64', 'powerpc64-linux-gnu', 'ppc64'),
  machine('ppc', 'powerpc-linux-gnu', 'ppc'),
  machine('s390x', 's390x-linux-gnu', 's390x'),
  machine('riscv64', 'riscv64-linux-gnu', 'riscv64'),
  machine('loongarch64', 'loongarch64-linux-gnu', 'loongarch64'),
  machine('mips', 'mips-linux-gnu', 'mips'),
  machine('mips64', 'mips64-linux-gnuabi64', 'mips64'),
  machine('mipsel', 'mipsel-linux-gnu', 'mipsel'),
  machine('mips64el', 'mips64el-linux-gnuabi64', 'mips64el'),
  machine('sparc64', 'sparc64-linux-gnu', 'sparc64'),
  {
    ...machine('sparc', 'sparc64-linux-gnu', 'sparc32plus'),
    flags: ['-m32'],
    libraries: '/usr/sparc64-linux-gnu/lib32',
  },
  machine('alpha', 'alpha-linux-gnu', 'alpha'),
  machine('hppa', 'hppa-linux-gnu', 'hppa'),
  machine('m68k', 'm68k-linux-gnu', 'm68k'),
]

const LIBRARY = 'static __thread int n; int answer(void) { return 41 + ++n; }\n'
const PROGRAM = `#include <stdio.h>
int answer(void);
static char bss[20000];
int main(int argc, char **argv) { printf("%d\\n", answer() + bss[argc]); return 0; }
`

const wanted = process.argv.slice(2)
let failures = 0
const folder = mkdtempSync(join(tmpdir(), 'wheelfix-machines-'))
try {
  for (const one of MACHINES) {
    if (wanted.length > 0 && !wanted.includes(one.name)) continue
    if (which(one.compiler) === undefined || (one.qemu !== null && which(one.qemu) === undefined)) {
      console.log(`${one.name}: left out, needs ${one.compiler}${one.qemu === null ? '' : ` and ${one.qemu}`}`)
      continue
    }
    for (const pie of ['-pie', '-no-pie']) {
      try {
        prove(one, pie)
        console.log(`${one.name} ${pie}: runs edited, comes back`)
      } catch (error) {
        failures++
        console.log(`${one.name} ${pie}: FAILS: ${String(error)}`)
      }
    }
  }
} finally {
  rmSync(folder, { recursive: true })
}
process.exitCode = failures > 0 ? 1 : 0

function prove({ name, compiler, qemu, root: installed, flags: machineFlags, libraries }: Machine, pie: string): void {
  const at = (file: string): string => join(folder, `${name}${pie}`, file)
  const root = libraries === null ? installed : at('root')
  mkdirSync(at('lib'), { recursive: true })
  if (libraries !== null) {
    mkdirSync(root)
    symlinkSync(libraries, join(root, 'lib'))
  }
  writeFileSync(at('library.c'), LIBRARY)
  writeFileSync(at('program.c'), PROGRAM)
  const library = at('lib/libanswer.so.1')
  const program = at('program')
  runWell(compiler, [...machineFlags, '-fPIC', '-shared', '-Wl,-soname,libanswer.so.1', '-o', library, at('library.c')])
  symlinkSync('libanswer.so.1', at('lib/libanswer.so'))
  const flags = [...machineFlags, ...(pie === '-pie' ? ['-fPIE', '-pie'] : ['-fno-pie', '-no-pie'])]
  runWell(compiler, [...flags, '-o', program, at('program.c'), `-L${at('lib')}`, '-lanswer'])
  const originals = [readFileSync(program), readFileSync(library)]
  const start = () => (qemu === null ? run(program, []) : run(qemu, ['-L', root, program]))
  const mustRun = (what: string): void => {
    const { stdout, stderr } = start()
    if (stdout !== '42\n') throw new Error(`${what}: ${stdout}${stderr}`)
    for (const file of [program, library]) {
      const [violation] = withSource(file, verifyElf)
      if (violation !== undefined) throw new Error(`${what}: ${violation.rule}: ${violation.message}`)
    }
  }
  if (start().stdout === '42\n') throw new Error('the library is found without the edit')
  editElf(program, { searchPath: { tag: 'DT_RUNPATH', value: at('lib') } })
  mustRun('search path')
  editElf(library, { searchPath: { tag: 'DT_RPATH', value: '/nix/store/x/lib' }, addNeeded: [] })
  mustRun('library')
  restoreObject(program)

  const interpreter = withSource(program, source => readElf(source).interpreter) ?? ''
  const loader = ['lib', 'lib64', ''].map(part => join(root, part, part === '' ? interpreter : basename(interpreter)))
  cpSync(loader.find(path => existsSync(path)) ?? interpreter, at('ld.so'), { dereference: true })
  editElf(program, { interpreter: at('ld.so'), searchPath: { tag: 'DT_RPATH', value: at('lib') } })
  mustRun('interpreter')
  for (const [index, file] of [program, library].entries()) {
    restoreObject(file)
    if (originals[index]?.equals(readFileSync(file)) !== true) throw new Error(`${file} does not come back`)
  }
}

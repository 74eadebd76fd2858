// `npm run machines`: for every machine whose cross compiler and qemu are installed, a program and its library are built,
// the program fails for want of the library, runs after our edit (search path, interpreter, both PIE and not), and comes
// back byte for byte. Prints the table that src/elf/README.md holds. Debian: gcc-*-linux-gnu, qemu-user-static;
// gcc-multilib-sparc64-linux-gnu for sparc; Debian 13 for loongarch64 and sh4.
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { pageSize } from '../../src/elf/machine.ts'
import { readElf } from '../../src/elf/read.ts'
import { verifyElf } from '../../src/elf/rules/verify.ts'
import { restoreObject } from '../../src/patchelf/rewrite.ts'
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

/** The cross compiler: Debian's gcc-12-aarch64-linux-gnu, unlike gcc-aarch64-linux-gnu, has only a name with the version. */
const compilerOf = (triple: string): string =>
  [`${triple}-gcc`, ...[16, 15, 14, 13, 12, 11].map(version => `${triple}-gcc-${version}`)].find(
    name => which(name) !== undefined,
  ) ?? `${triple}-gcc`

const machine = (name: string, triple: string, qemu: string): Machine => ({
  name,
  compiler: compilerOf(triple),
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
  // DT_MIPS_XHASH instead of DT_HASH (patchelf#368)
  ...[
    machine('mips-xhash', 'mips-linux-gnu', 'mips'),
    machine('mips64el-xhash', 'mips64el-linux-gnuabi64', 'mips64el'),
  ].map(one => ({ ...one, flags: ['-Wl,--hash-style=gnu'] })),
  machine('sparc64', 'sparc64-linux-gnu', 'sparc64'),
  {
    ...machine('sparc', 'sparc64-linux-gnu', 'sparc32plus'),
    flags: ['-m32'],
    libraries: '/usr/sparc64-linux-gnu/lib32',
  },
  machine('alpha', 'alpha-linux-gnu', 'alpha'),
  machine('hppa', 'hppa-linux-gnu', 'hppa'),
  machine('m68k', 'm68k-linux-gnu', 'm68k'),
  machine('sh4', 'sh4-linux-gnu', 'sh4'),
]

const LIBRARY = 'static __thread int n; int answer(void) { return 41 + ++n; }\n'
const PROGRAM = `#include <stdio.h>
int answer(void);
static char bss[20000];
int main(int argc, char **argv) { printf("%d\\n", answer() + bss[argc]); return 0; }
`

const wanted = process.argv.slice(2)
let failures = 0
let leftOut = 0
const folder = mkdtempSync(join(tmpdir(), 'wheelfix-machines-'))
try {
  for (const one of MACHINES) {
    if (wanted.length > 0 && !wanted.includes(one.name)) continue
    const lacking = lackOf(one)
    if (lacking !== null) {
      leftOut++
      console.log(`${one.name}: left out, ${lacking}`)
      continue
    }
    for (const pie of ['-pie', '-no-pie']) {
      try {
        const shown = prove(one, pie)
        if (shown.startsWith('left out')) leftOut++
        console.log(`${one.name} ${pie}: ${shown}`)
      } catch (error) {
        failures++
        console.log(`${one.name} ${pie}: FAILS: ${String(error)}`)
      }
    }
  }
  if (wanted.length === 0 || wanted.includes('go')) {
    for (const mode of ['exe', 'pie']) {
      try {
        const shown = proveGo(mode)
        if (shown.startsWith('left out')) leftOut++
        console.log(`x86_64, Go’s own linker, ${mode}: ${shown}`)
      } catch (error) {
        failures++
        console.log(`x86_64, Go’s own linker, ${mode}: FAILS: ${String(error)}`)
      }
    }
  }
} finally {
  rmSync(folder, { recursive: true })
}
console.log(`${failures} failed, ${leftOut} left out`)
process.exitCode = failures > 0 ? 1 : 0

/** What this computer lacks for a machine, in words: its tools, or the libraries to link a program that does nothing. */
function lackOf({ name, compiler, qemu, flags }: Machine): string | null {
  if (which(compiler) === undefined || (qemu !== null && which(qemu) === undefined))
    return `needs ${compiler}${qemu === null ? '' : ` and ${qemu}`}`
  const source = join(folder, `${name}.c`)
  writeFileSync(source, 'int main(void) { return 0; }\n')
  const { status, stderr } = run(compiler, [...flags, '-o', join(folder, `${name}.out`), source])
  if (status === 0) return null
  return `${[compiler, ...flags].join(' ')} cannot link a program: ${stderr.trim().split('\n')[0] ?? ''}`
}

/** @returns what was shown. @throws Error with what failed */
function prove(
  { name, compiler, qemu, root: installed, flags: machineFlags, libraries }: Machine,
  pie: string,
): string {
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
  const start = (...options: readonly string[]) =>
    qemu === null ? run(program, []) : run(qemu, [...options, '-L', root, program])
  // as a kernel with the machine's largest pages would map it, where the original can be run so
  const largest = withSource(program, source => pageSize(readElf(source).header.machine))
  const large = ['-p', String(largest)]
  const original = ['-E', `LD_LIBRARY_PATH=${at('lib')}`]
  if (qemu !== null && start(...original).stdout !== '42\n') return 'left out, this qemu cannot run the original either'
  const runsLarge = qemu !== null && largest > 4096 && start(...large, ...original).stdout === '42\n'
  const mustRun = (what: string): void => {
    for (const options of runsLarge ? [[], large] : [[]]) {
      const { stdout, stderr } = start(...options)
      if (stdout !== '42\n') throw new Error(`${what} ${options.join(' ')}: ${stdout}${stderr}`)
    }
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

  const interpreter = withSource(program, source => readElf(source).ptInterp) ?? ''
  const loader = ['lib', 'lib64', ''].map(part => join(root, part, part === '' ? interpreter : basename(interpreter)))
  cpSync(loader.find(path => existsSync(path)) ?? interpreter, at('ld.so'), { dereference: true })
  editElf(program, { interpreter: at('ld.so'), searchPath: { tag: 'DT_RPATH', value: at('lib') } })
  mustRun('interpreter')
  for (const [index, file] of [program, library].entries()) {
    restoreObject(file)
    if (originals[index]?.equals(readFileSync(file)) !== true) throw new Error(`${file} does not come back`)
  }
  return `runs edited${runsLarge ? `, with pages of ${largest} bytes too` : ''}; comes back`
}

/** A program that Go links by itself, with its own order of sections and segments (patchelf#66, #146). */
function proveGo(mode: string): string {
  if (which('go') === undefined) return 'left out, needs go'
  const at = (file: string): string => join(folder, `go-${mode}`, file)
  mkdirSync(at(''), { recursive: true })
  writeFileSync(
    at('main.go'),
    'package main\nimport ("fmt"; "os/user")\nfunc main() { u, _ := user.Current(); fmt.Println(u.Uid) }\n',
  )
  const program = at('program')
  runWell('go', ['build', `-buildmode=${mode}`, '-ldflags=-linkmode=internal', '-o', program, at('main.go')], {
    env: { ...process.env, GOCACHE: at('cache'), GOFLAGS: '-mod=mod', GO111MODULE: 'off', CGO_ENABLED: '1' },
  })
  const original = readFileSync(program)
  const printed = runWell(program, [])
  cpSync(withSource(program, source => readElf(source).ptInterp) ?? '', at('ld.so'), { dereference: true })
  editElf(program, {
    interpreter: at('ld.so'),
    searchPath: { tag: 'DT_RUNPATH', value: `/nix/store/${'long/'.repeat(300)}` },
  })
  if (runWell(program, []) !== printed) throw new Error('prints something else')
  const [violation] = withSource(program, verifyElf)
  if (violation !== undefined) throw new Error(`${violation.rule}: ${violation.message}`)
  restoreObject(program)
  if (!readFileSync(program).equals(original)) throw new Error('does not come back')
  return 'runs edited; comes back'
}

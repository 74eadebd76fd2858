// `npm run foreign [-- ARCH…]`: real wheels of other machines in a real Python of that machine, under qemu-user: the import
// fails with a library taken away, works after our edit, and the edit undone gives the same bytes. For i386 and so on
// Debian's packages are downloaded and unpacked, never installed; wheels come from PyPI. `musl` is musllinux wheels in a
// Python built of Debian's source with musl-gcc, and the library of one opened by itself. Needs root once (dpkg
// --add-architecture), apt-get, pip, qemu-user-static; for musl gcc, make and musl-tools.
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import { basename, dirname, join, relative } from 'node:path'
import { isElf, readElf } from '../../src/elf/read.ts'
import { restoreObject } from '../../src/patchelf/rewrite.ts'
import { readLink } from '../../src/io/path.ts'
import { withSource } from '../../src/io/source.ts'
import { editElf } from '../support/elf.ts'
import { which } from '../support/requires.ts'
import { run, runWell } from '../support/run.ts'

interface Foreign {
  /** Debian's name of the machine. */
  readonly deb: string
  readonly wheel: string
  readonly qemu: string
  readonly modules: readonly string[]
}

/** Debian's own Python, which is that of its other machines too: 3.11 in Debian 12, 3.13 in Debian 13. */
const [, VERSION = '3.11'] = /(3\.\d+)/.exec(run('/usr/bin/python3', ['--version']).stdout) ?? []

const FOREIGN: readonly Foreign[] = [
  { deb: 'arm64', wheel: 'aarch64', qemu: 'aarch64', modules: ['numpy', 'shapely'] },
  { deb: 'armhf', wheel: 'armv7l', qemu: 'arm', modules: ['orjson', 'pydantic_core'] },
  { deb: 'ppc64el', wheel: 'ppc64le', qemu: 'ppc64le', modules: ['orjson', 'pydantic_core'] },
  { deb: 's390x', wheel: 's390x', qemu: 's390x', modules: ['orjson', 'pydantic_core'] },
  { deb: 'i386', wheel: 'i686', qemu: 'i386', modules: ['orjson', 'pydantic_core'] },
  // a machine of Debian since 13
  ...(VERSION === '3.11'
    ? []
    : [{ deb: 'riscv64', wheel: 'riscv64', qemu: 'riscv64', modules: ['greenlet', 'pydantic_core'] }]),
]
const PACKAGES = [
  `python${VERSION}-minimal`,
  `libpython${VERSION}-minimal`,
  `libpython${VERSION}-stdlib`,
  'libc6',
  'libstdc++6',
  'libgcc-s1',
  'zlib1g',
  'libexpat1',
  'libffi8',
  VERSION === '3.11' ? 'libssl3' : 'libssl3t64',
  'libbz2-1.0',
  'liblzma5',
  'libcrypt1',
]
const PLATFORMS = [
  'manylinux2014',
  'manylinux_2_17',
  'manylinux_2_24',
  'manylinux_2_27',
  'manylinux_2_28',
  'manylinux_2_31',
  'manylinux_2_39',
]

/** The modules that the wheels need, linked into the program: the others ask for headers that musl has not. */
const MUSL_MODULES = [
  'array arraymodule.c',
  'math mathmodule.c',
  '_datetime _datetimemodule.c',
  '_struct _struct.c',
  '_random _randommodule.c',
  '_bisect _bisectmodule.c',
  '_heapq _heapqmodule.c',
  '_json _json.c',
  '_contextvars _contextvarsmodule.c',
  '_opcode _opcode.c',
  '_typing _typingmodule.c',
  '_sha512 sha512module.c',
]

const wanted = process.argv.slice(2)
const folder = mkdtempSync(join(tmpdir(), 'wheelfix-foreign-'))
let failures = 0
const attempt = (name: string, prove: () => string): void => {
  if (wanted.length > 0 && !wanted.includes(name)) return
  try {
    console.log(`${name}: ${prove()}`)
  } catch (error) {
    failures++
    console.log(`${name}: FAILS: ${String(error)}`)
  }
}
try {
  for (const one of FOREIGN) attempt(one.deb, () => proveWheels(one))
  attempt('musl', () => `${proveMuslPython()}; ${proveMusl()}`)
} finally {
  rmSync(folder, { recursive: true })
}
process.exitCode = failures > 0 ? 1 : 0

function files(below: string): string[] {
  return readdirSync(below, { recursive: true, withFileTypes: true })
    .filter(entry => entry.isFile())
    .map(entry => join(entry.parentPath, entry.name))
}

function objects(below: string): string[] {
  return files(below).filter(path => withSource(path, source => isElf(source.read(0, Math.min(4, source.size)))))
}

/** The search path of an object with one more directory behind it. */
function addDirectory(path: string, directory: string): void {
  const { rpath, runpath } = withSource(path, source => readElf(source))
  const value = [rpath ?? runpath, directory].filter(part => part !== null && part !== '').join(':')
  editElf(path, { searchPath: { tag: runpath === null ? 'DT_RPATH' : 'DT_RUNPATH', value } })
}

function fetchRoot(deb: string): string {
  const root = join(folder, deb, 'root')
  const debs = join(folder, deb, 'debs')
  mkdirSync(root, { recursive: true })
  mkdirSync(debs)
  runWell('dpkg', ['--add-architecture', deb])
  run('apt-get', ['update', '-qq'])
  runWell('apt-get', ['download', '-qq', ...PACKAGES.map(name => `${name}:${deb}`)], { cwd: debs })
  for (const name of readdirSync(debs)) runWell('dpkg', ['-x', join(debs, name), root])
  // since Debian 13 a link that base-files brings
  for (const name of ['lib', 'lib64']) {
    if (existsSync(join(root, 'usr', name)) && !existsSync(join(root, name))) {
      symlinkSync(join('usr', name), join(root, name))
    }
  }
  // absolute links would lead out of the root
  for (const entry of readdirSync(root, { recursive: true, withFileTypes: true })) {
    const link = join(entry.parentPath, entry.name)
    if (!entry.isSymbolicLink() || !readLink(link).startsWith('/')) continue
    const target = join(root, readLink(link))
    unlinkSync(link)
    symlinkSync(relative(dirname(link), target), link)
  }
  return root
}

function fetchWheels(into: string, platforms: readonly string[], packages: readonly string[]): void {
  const wheels = `${into}.wheels`
  mkdirSync(wheels, { recursive: true })
  for (const name of packages) {
    const where = platforms.flatMap(platform => ['--platform', platform])
    runWell('python3', [
      '-m',
      'pip',
      'download',
      '-q',
      '--no-deps',
      '--only-binary',
      ':all:',
      '--python-version',
      VERSION,
      ...where,
      '-d',
      wheels,
      name,
    ])
  }
  for (const name of readdirSync(wheels)) runWell('python3', ['-m', 'zipfile', '-e', join(wheels, name), into])
}

function proveWheels({ deb, wheel, qemu, modules }: Foreign): string {
  const root = fetchRoot(deb)
  const site = join(folder, deb, 'site')
  const packages = [...modules.map(name => name.replace('_', '-')), 'typing-extensions', 'numpy'].filter(
    name => name !== 'numpy' || deb === 'arm64',
  )
  fetchWheels(
    site,
    PLATFORMS.map(name => `${name}_${wheel}`),
    packages,
  )
  const python = join(root, `usr/bin/python${VERSION}`)
  const libraries = readdirSync(root, { recursive: true, withFileTypes: true })
    .filter(({ name }) => /^(libgcc_s|libstdc\+\+)\.so\.\d[\d.]*$/.test(name))
    .map(entry => join(entry.parentPath, entry.name))
  const emulator = [which(`qemu-${qemu}-static`) ?? `qemu-${qemu}`, '-L', root]
  return proveImports({ modules, emulator, python, site, libraries, away: join(folder, deb, 'away') })
}

interface Imports {
  readonly modules: readonly string[]
  /** What starts Python: a program with its arguments; none where this machine can. */
  readonly emulator: readonly string[]
  readonly python: string
  /** The folder of the wheels. */
  readonly site: string
  /** What is taken away, and the folder that it goes to. */
  readonly libraries: readonly string[]
  readonly away: string
}

function proveImports({ modules, emulator, python, site, libraries, away }: Imports): string {
  /** `imported`, or what was said instead. */
  const imports = (module: string): string => {
    const code = `import sys; sys.path[:0] = [${JSON.stringify(site)}]; import ${module}; print("imported")`
    const [program, ...args] = [...emulator, python, '-S', '-c', code]
    const { stdout, stderr } = run(program, args)
    return stdout.trim() === 'imported' ? 'imported' : (stderr.trim().split('\n').at(-1) ?? '')
  }
  for (const module of modules) {
    if (imports(module) !== 'imported') throw new Error(`${module} does not import even before: ${imports(module)}`)
  }
  mkdirSync(away)
  for (const path of libraries) renameSync(path, join(away, basename(path)))
  // where Python itself needs them it is edited as well, with DT_RPATH, which what it loads inherits
  const [own] = modules
  const programs = imports(own ?? '').includes('error while loading shared libraries') ? [python] : []
  const without = modules.map(imports)
  if (without.includes('imported')) throw new Error(`with the library taken away: ${without.join(', ')}`)
  const edited = [...objects(site), ...objects(away), ...programs]
  const originals = edited.map(path => readFileSync(path))
  for (const path of edited) addDirectory(path, away)
  const after = modules.map(imports)
  if (after.some(result => result !== 'imported')) throw new Error(`after the edit: ${after.join(', ')}`)
  for (const [index, path] of edited.entries()) {
    restoreObject(path)
    if (originals[index]?.equals(readFileSync(path)) !== true) throw new Error(`${basename(path)} does not come back`)
  }
  return `${modules.join(', ')}: fail without, import with, ${edited.length} objects come back`
}

/** Builds Debian's Python with musl-gcc; gives the program, which runs where it was built. */
function buildMuslPython(): string {
  const lists = join(folder, 'lists')
  const parts = join(folder, 'parts')
  mkdirSync(join(lists, 'partial'), { recursive: true })
  mkdirSync(parts)
  // sources from where the packages come from
  const format = '$(REPO_URI) $(RELEASE) $(COMPONENT)'
  const targets = runWell('apt-get', ['indextargets', '--format', format, 'Created-By: Packages']).trim().split('\n')
  const lines = [...new Set(targets)].map(line => `deb-src ${line}\n`)
  writeFileSync(join(parts, 'source.list'), lines.join(''))
  const options = [`Dir::Etc::SourceParts=${parts}`, 'Dir::Etc::SourceList=/dev/null', `Dir::State::Lists=${lists}`]
  const apt = (...args: string[]) =>
    runWell('apt-get', ['-q', ...options.flatMap(option => ['-o', option]), ...args], { cwd: folder })
  apt('update')
  apt('source', '--tar-only', `python${VERSION}`)
  const archive = readdirSync(folder).find(name => name.includes('.orig.tar')) ?? ''
  const source = join(folder, 'python')
  mkdirSync(source)
  runWell('tar', ['-xf', join(folder, archive), '-C', source, '--strip-components=1'])

  // configure compares the compiler's triplet with its own
  const compiler = join(folder, 'musl-cc')
  const script = '#!/bin/sh\n[ "$1" = --print-multiarch ] && exec echo x86_64-linux-musl\nexec musl-gcc "$@"\n'
  writeFileSync(compiler, script, { mode: 0o755 })
  runWell('./configure', ['-q', '--without-ensurepip'], { cwd: source, env: { ...process.env, CC: compiler } })
  writeFileSync(join(source, 'Modules/Setup.local'), ['*static*', ...MUSL_MODULES, ''].join('\n'))
  runWell('make', ['-s', `-j${availableParallelism()}`, 'python'], { cwd: source })
  return join(source, 'python')
}

function proveMuslPython(): string {
  const python = buildMuslPython()
  const site = join(folder, 'musl-site')
  const modules = ['greenlet', 'pydantic_core']
  const packages = [...modules.map(name => name.replace('_', '-')), 'typing-extensions']
  fetchWheels(site, ['musllinux_1_1_x86_64'], packages)
  // musllinux wheels bring the compiler's libraries with them
  const libraries = objects(site).filter(path => basename(dirname(path)).endsWith('.libs'))
  return proveImports({ modules, emulator: [], python, site, libraries, away: join(folder, 'musl-away') })
}

function proveMusl(): string {
  const site = join(folder, 'musl')
  // images of musllinux_1_2 have a newer musl than Debian 12
  fetchWheels(site, ['musllinux_1_1_x86_64'], ['numpy==1.25.2'])
  const libs = join(site, 'numpy.libs')
  const find = (start: string): string => join(libs, readdirSync(libs).find(name => name.startsWith(start)) ?? '')
  writeFileSync(
    join(folder, 'open.c'),
    '#include <dlfcn.h>\n#include <stdio.h>\nint main(int c, char **v) { if (!dlopen(v[1], RTLD_NOW)) { puts(dlerror()); return 1; } return 0; }\n',
  )
  runWell('musl-gcc', ['-o', join(folder, 'open'), join(folder, 'open.c')])
  const openblas = find('libopenblas')
  const away = join(folder, 'away')
  mkdirSync(away)
  const fortran = find('libgfortran')
  cpSync(fortran, join(away, basename(fortran)))
  if (existsSync(fortran)) unlinkSync(fortran)
  if (run(join(folder, 'open'), [openblas]).status === 0) throw new Error('opens without libgfortran')
  const original = readFileSync(openblas)
  addDirectory(openblas, away)
  addDirectory(join(away, basename(fortran)), libs)
  const { status, stdout } = run(join(folder, 'open'), [openblas])
  if (status !== 0) throw new Error(stdout)
  restoreObject(openblas)
  if (!readFileSync(openblas).equals(original)) throw new Error('does not come back')
  return 'numpy’s OpenBLAS of a musllinux wheel: fails without libgfortran, opens with it, comes back'
}

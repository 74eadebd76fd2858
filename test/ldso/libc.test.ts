import assert from 'node:assert/strict'
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { after, before, test } from 'node:test'
import { readElf } from '../../src/elf/read.ts'
import type { ElfObject } from '../../src/elf/types.ts'
import { WheelfixError, type WheelfixErrorCode } from '../../src/io/error.ts'
import { withSource } from '../../src/io/source.ts'
import { identifyLibc, isFhsLoader, isLibcFamily, type Libc } from '../../src/ldso/libc.ts'
import { missing, skip } from '../support/requires.ts'
import { run, runWell } from '../support/run.ts'
import { buildWorld, type World } from '../world/world.ts'

const root = realpathSync(mkdtempSync(join(tmpdir(), 'wheelfix-libc-')))
after(() => rmSync(root, { recursive: true }))

const read = (path: string): ElfObject => withSource(path, readElf)
const node = read(process.execPath)
const identify = (path: string, env: NodeJS.ProcessEnv = {}): Libc => identifyLibc(path, read(path), env)
/** As if node asked for another loader. */
const under = (interpreter: string | null, env: NodeJS.ProcessEnv = {}): Libc =>
  identifyLibc(process.execPath, { ...node, ptInterp: interpreter }, env)

const glibcHost = node.ptInterp?.includes('/ld-linux') === true ? false : skip('needs a Node under glibc')

/** What a glibc program's loader itself says that it searches for a library that nobody has. */
function asked(
  program: string,
  args: readonly string[],
): { directories: string[]; cache: string | undefined; environment: string } {
  const { stderr } = run(program, args, {
    env: { LD_DEBUG: 'libs', LD_PRELOAD: 'libwheelfix-none.so.9', LD_LIBRARY_PATH: '/wf/$LIB/$PLATFORM' },
  })
  const line = /search path=(\S*)\s+\(system search path\)/.exec(stderr)?.[1] ?? ''
  // the directories come with the subdirectories for this CPU before them (those outside glibc-hwcaps up to 2.36)
  const plain = line
    .split(':')
    .filter(directory => !/\/glibc-hwcaps\/|\/(?:tls|x86_64|aarch64|avx512_1|haswell)(?:\/|$)/.test(directory))
  return {
    directories: [...new Set(plain.map(directory => directory.replace(/\/+$/, '')))],
    cache: /search cache=(\S+)/.exec(stderr)?.[1],
    environment: /search path=(\S*)\s+\(LD_LIBRARY_PATH\)/.exec(stderr)?.[1] ?? '',
  }
}

test(
  'the directories, the cache and the tokens are those that the loader of this machine uses',
  { skip: glibcHost },
  () => {
    const libc = identify(process.execPath)
    const told = asked(process.execPath, ['--version'])
    assert.ok(told.directories.length > 0)
    assert.equal(libc.kind, 'glibc')
    assert.deepEqual(libc.builtinDirectories, told.directories)
    assert.equal(libc.cache, told.cache)
    assert.ok(told.environment.split(':').includes(`/wf/${libc.lib}/${libc.platform}`), told.environment)
  },
)

test('version, folder and CPU levels are those that the loader of this machine reports', { skip: glibcHost }, () => {
  const libc = identify(process.execPath)
  assert.ok(runWell(libc.ldso, ['--version']).includes(` version ${libc.version}.`))
  const told = runWell(libc.ldso, ['--list', process.execPath])
  assert.equal(libc.dir, realpathSync(dirname(/libc\.so\.6 => (\S+)/.exec(told)?.[1] ?? '')))
  const searched = [...runWell(libc.ldso, ['--help']).matchAll(/^ {2}(\S+) \(supported, searched\)$/gm)].map(
    ([, name]) => name,
  )
  assert.deepEqual(
    libc.hwcaps,
    searched.filter(name => /^(?:x86-64-v|power|z1)/.test(name ?? '')),
  )
})

test('a loader that cannot be asked is judged by its strings', { skip: glibcHost }, () => {
  const libc = identify(process.execPath)
  const path = join(root, 'silent-ld.so')
  writeFileSync(
    path,
    readFileSync(libc.ldso).toString('latin1').replaceAll('--list-diagnostics', '--tsil-diagnostics'),
    'latin1',
  )
  const silent = under(path)
  const said = { ldso: '', startable: null, platform: '', hwcaps: [], subdirectories: [], legacyHwcaps: null }
  assert.deepEqual({ ...silent, ...said }, { ...libc, ...said })
  assert.deepEqual([silent.hwcaps, silent.subdirectories], [[], []])
})

/** The folder of the fake loaders is a store: only then are they started. */
const IN_STORE = { NIX_STORE_DIR: root }

/** A loader that is a shell script: it says what it is told to, and its text holds the strings. */
function fakeLoader(name: string, strings: string, diagnostics: string): string {
  const path = join(root, name, 'ld.so')
  mkdirSync(join(root, name))
  writeFileSync(join(root, name, 'libc.so.6'), 'GNU C Library (GNU libc) stable release version 2.31.\n')
  writeFileSync(path, `#!/bin/sh\ncat <<'EOF'\n${diagnostics}\nEOF\nexit\n--list-diagnostics ${strings}`, {
    encoding: 'latin1',
    mode: 0o755,
  })
  return path
}

test('only the active levels of a CPU count, and a null platform counts as none', () => {
  const said = 'dl_dst_lib="lib64"\ndl_hwcaps_subdirs="z16:z15:z14:z13"\ndl_hwcaps_subdirs_active=0xa\ndl_platform=0x0'
  const { hwcaps, lib, platform } = under(fakeLoader('s390x', '\0/etc/ld.so.cache\0', said), IN_STORE)
  assert.deepEqual({ hwcaps, lib, platform }, { hwcaps: ['z15', 'z13'], lib: 'lib64', platform: '' })
})

test('code in front of the built-in directories is not part of them', () => {
  const strings =
    '\0/proc/self/\0x\0/\xb4\xe2/\0/lib/arm-linux-gnueabi/\0/lib/\0/home/\xc3\xa9/ld.so.cache\0/etc/ld.so.cache)'
  const libc = under(fakeLoader('armel', strings, ''))
  assert.deepEqual(libc.builtinDirectories, ['/lib/arm-linux-gnueabi', '/lib'])
  assert.equal(libc.cache, '/home/é/ld.so.cache')
  assert.equal(libc.version, '2.31')
  assert.equal(libc.lib, 'lib/arm-linux-gnueabi')
})

let world: World | string = 'not built'
before(() => {
  world = buildWorld()
})
after(() => {
  if (typeof world !== 'string') world.dispose()
})

test('a libc in a store looks into its own two folders, and its loader says so', { skip: glibcHost }, context => {
  if (typeof world === 'string') return context.skip(skip(world))
  const libc = identify(realpathSync(world.python), world.env)
  const told = asked(world.python, ['--version'])
  assert.deepEqual(libc.builtinDirectories, told.directories)
  assert.equal(libc.cache, told.cache)
  assert.ok(libc.dir.startsWith(world.store))
  assert.equal(libc.nixLd, null)
})

test('nix-ld leads to the loader of NIX_LD, with the directories of NIX_LD_LIBRARY_PATH', { skip: glibcHost }, () => {
  const shim = join(root, 'nix-ld')
  writeFileSync(shim, '\x7fELF\0Renaming NIX_LD_LIBRARY_PATH to LD_LIBRARY_PATH\0')
  const real = node.ptInterp ?? ''
  const libc = under(shim, { NIX_LD: real, NIX_LD_LIBRARY_PATH: '/a/lib:relative:/b/lib' })
  assert.equal(libc.ldso, real)
  assert.deepEqual(libc.nixLd, { shim, directories: ['/a/lib', '/b/lib'] })
  assert.deepEqual(libc.builtinDirectories, identify(process.execPath).builtinDirectories)
  // the variable for the system wins; without one for the path it is nix-ld's default
  const system = { x64: 'x86_64_linux', arm64: 'aarch64_linux' }[process.arch as 'x64' | 'arm64']
  const own = under(shim, { NIX_LD: '/nowhere', [`NIX_LD_${system}`]: real })
  assert.deepEqual(own.nixLd?.directories, ['/run/current-system/sw/share/nix-ld/lib'])
})

function fails(code: WheelfixErrorCode, message: RegExp, act: () => unknown): void {
  assert.throws(act, (error: unknown) => {
    assert.ok(error instanceof WheelfixError, String(error))
    assert.equal(error.code, code)
    assert.match(error.message, message)
    return true
  })
}

test('nix-ld without a loader behind it is refused', () => {
  const shim = join(root, 'nix-ld-alone')
  writeFileSync(shim, 'NIX_LD_LIBRARY_PATH\0')
  fails('LOADER_NOT_FOUND', /runs through nix-ld .* \/nowhere does not exist; set NIX_LD/, () =>
    under(shim, { NIX_LD: '/nowhere' }),
  )
  fails('LOADER_NOT_FOUND', /is nix-ld itself/, () => under(shim, { NIX_LD: shim }))
})

test("no loader, and NixOS's stub in its place, name the remedies", () => {
  const stub = join(root, 'stub-ld')
  writeFileSync(stub, 'Could not start dynamically linked executable: %s\nhttps://nix.dev/permalink/stub-ld\0')
  const remedies = /run: wheelfix python \/\S+ \(or enable nix-ld .*UV_PYTHON=/
  fails('LOADER_NOT_FOUND', /NixOS's stub, not a loader/, () => under(stub))
  fails('LOADER_NOT_FOUND', remedies, () => under(stub))
  fails('LOADER_NOT_FOUND', remedies, () => under('/lib/ld-linux-none.so.9'))
  fails('LOADER_NOT_FOUND', /no longer exists; make the environment again/, () =>
    under('/nix/store/x-glibc/lib/ld-linux-x86-64.so.2'),
  )
})

test('the message about a missing private loader says how to make it again or remove it', () => {
  fails('LOADER_NOT_FOUND', /run "wheelfix loader" .* or "wheelfix restore"/, () =>
    under('/x/.venv/.wheelfix/loader/ld.so'),
  )
})

test('a file that is not a loader is refused', () => {
  const other = join(root, 'other')
  writeFileSync(other, 'hello')
  symlinkSync('circle', join(root, 'circle'))
  fails('LIBC_UNSUPPORTED', /neither glibc's nor musl's/, () => under(other))
  fails('LIBC_UNSUPPORTED', /linked statically/, () => under(null))
  fails('LOADER_NOT_FOUND', /it is not a regular file/, () => under(root))
  fails('LOADER_NOT_FOUND', /no longer exists/, () => under(join(root, 'circle')))
  const lonely = join(root, 'lonely')
  writeFileSync(lonely, '\0/nix/store/x/etc/ld.so.cache\0/nil/\0/nil/lib/\0')
  fails('LIBC_UNSUPPORTED', /has no libc\.so\.6/, () => under(lonely))
})

test("musl's path is the file of its prefix, else the list in it", { skip: missing('musl-gcc') }, () => {
  const prefix = join(root, 'musl')
  const loader = join(prefix, 'lib/ld-musl-x86_64.so.1')
  const libs = join(prefix, 'own/libs')
  for (const folder of ['lib', 'etc', 'own/libs']) mkdirSync(join(prefix, folder), { recursive: true })
  writeFileSync(join(root, 'x.c'), 'int x(void) { return 7; }')
  writeFileSync(join(root, 'main.c'), 'int x(void); int main(void) { return x(); }')
  runWell('musl-gcc', ['-shared', '-fPIC', '-o', join(libs, 'libx.so'), join(root, 'x.c')])
  const program = join(root, 'musl-main')
  const linked = ['-o', program, join(root, 'main.c'), `-L${libs}`, '-lx']
  runWell('musl-gcc', linked)
  copyFileSync(read(program).ptInterp ?? '', loader)
  runWell('musl-gcc', [`-Wl,--dynamic-linker=${loader}`, ...linked])

  const builtin = identify(program)
  assert.equal(builtin.kind, 'musl')
  assert.equal(builtin.dir, dirname(loader))
  assert.deepEqual(builtin.builtinDirectories, ['/lib', '/usr/local/lib', '/usr/lib'])
  assert.equal(run(program, []).status, 127)
  assert.ok(run(loader, []).stderr.includes(`Version ${builtin.version}\n`))

  writeFileSync(join(prefix, 'etc/ld-musl-x86_64.path'), `/nowhere:${libs}\n/else/\n`)
  assert.deepEqual(identify(program).builtinDirectories, ['/nowhere', libs, '/else'])
  assert.equal(run(program, []).status, 7)
})

test('the loader paths of distributions are known, for all machines', () => {
  for (const path of [
    '/lib64/ld-linux-x86-64.so.2',
    '/lib/ld-linux.so.2',
    '/libx32/ld-linux-x32.so.2',
    '/lib/ld-linux-aarch64.so.1',
    '/lib64/ld-linux-aarch64.so.1',
    '/lib/ld-linux-armhf.so.3',
    '/lib64/ld64.so.2',
    '/lib/ld64.so.1',
    '/lib/ld.so.1',
    '/lib/ld-linux-riscv64-lp64d.so.1',
    '/lib64/ld-linux-loongarch-lp64d.so.1',
    '/lib64/ld-lsb-x86-64.so.3',
    '/lib/ld-musl-x86_64.so.1',
    '/usr/lib/ld-linux-x86-64.so.2',
    '/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2',
    '/lib/x86_64-linux-gnu/ld-2.31.so',
    '/lib64/ld-2.17.so',
    '//lib64/ld-linux-x86-64.so.2',
    '/lib64//ld-linux-x86-64.so.2',
    '/usr/../lib64/./ld-linux-x86-64.so.2',
  ]) {
    assert.ok(isFhsLoader(path), path)
  }
  for (const path of [
    '/nix/store/00000000000000000000000000000000-glibc-2.40/lib/ld-linux-x86-64.so.2',
    '/home/me/lib64/ld-linux-x86-64.so.2',
    '/lib64/libc.so.6',
    'lib64/ld-linux-x86-64.so.2',
    '/system/bin/linker64',
    '/lib64/../opt/ld-linux-x86-64.so.2',
    '/opt/lib64/ld-2.31.so',
    '/lib64/ld-elf-2.31.so',
  ]) {
    assert.ok(!isFhsLoader(path), path)
  }
})

test("a libc's own libraries are told from those of others", () => {
  const glibc = [
    'libc.so.6 libm.so.6 libdl.so.2 libpthread.so.0 librt.so.1 libutil.so.1 libresolv.so.2 libnsl.so.1 libanl.so.1',
    'libmvec.so.1 libBrokenLocale.so.1 libthread_db.so.1 libnss_files.so.2 libnss_dns.so.2 libc_malloc_debug.so.0',
    'ld-linux-x86-64.so.2 ld-linux-aarch64.so.1 ld-linux.so.2 ld64.so.2 libc.so.6.1',
  ].flatMap(line => line.split(' '))
  for (const soname of glibc) assert.ok(isLibcFamily(soname, 'glibc'), soname)
  for (const soname of [
    'libcrypt.so.1',
    'libstdc++.so.6',
    'libgcc_s.so.1',
    'libnss_systemd.so.2',
    'libmagic.so.1',
    'libc.so',
    'libnss3.so',
  ]) {
    assert.ok(!isLibcFamily(soname, 'glibc'), soname)
  }
  for (const soname of ['libc.musl-x86_64.so.1', 'ld-musl-aarch64.so.1', 'libc.so', 'libpthread.so.0', 'libm.so.6']) {
    assert.ok(isLibcFamily(soname, 'musl'), soname)
  }
  for (const soname of ['libmagic.so.1', 'libcurl.so.4', 'librtmp.so.1'])
    assert.ok(!isLibcFamily(soname, 'musl'), soname)
})

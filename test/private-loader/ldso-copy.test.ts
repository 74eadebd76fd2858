import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { ElfError } from '../../src/elf/error.ts'
import { readElf } from '../../src/elf/read.ts'
import { withSource } from '../../src/io/source.ts'
import { lookUpCache, readLoaderCache } from '../../src/ldso/cache/cache.ts'
import { type NewCacheEntry, writeLoaderCache } from '../../src/ldso/cache/cache-writer.ts'
import { identifyLibc, type Libc } from '../../src/ldso/libc.ts'
import { cacheSlot, makePrivateLoader, probeLoader } from '../../src/private-loader/ldso-copy.ts'
import { missing, skip } from '../support/requires.ts'

const target = { class: 64, machine: 62, byteOrder: 'little' } as const
// the slot of an ordinary distribution has 16 bytes: a folder with a short name fits
const folder = mkdtempSync('/tmp/wf-')
const long = mkdtempSync(join(tmpdir(), 'wheelfix-private-loader-'))
after(() => {
  rmSync(folder, { recursive: true })
  rmSync(long, { recursive: true })
})

const host = '/lib64/ld-linux-x86-64.so.2'
const needsHost = !existsSync(host) && skip('needs an x86-64 glibc at /lib64')
const program = realpathSync('/bin/true')
const version = needsHost ? null : identifyHost().version

function identifyHost(): Libc {
  return identifyLibc(program, withSource(program, readElf), {})
}

/** Writes a private loader and its cache. */
function install(cache: string, entries: readonly NewCacheEntry[]): { loader: string; how: string } {
  const { bytes, how } = makePrivateLoader(readFileSync(host), version, cache)
  writeFileSync(cache, writeLoaderCache(entries, target))
  const loader = `${cache}-ld.so`
  writeFileSync(loader, bytes)
  chmodSync(loader, 0o755)
  return { loader, how }
}

/** What the loader finds for a bare name, null where it finds nothing. */
function find(loader: string, soname: string): string | null {
  const { stdout } = spawnSync(loader, ['--list', program], { env: { LD_PRELOAD: soname }, encoding: 'utf8' })
  return (
    stdout
      .split('\n')
      .find(line => line.startsWith(`\t${soname} => `))
      ?.replace(/^.* => (.*) \(.*$/, '$1') ?? null
  )
}

function library(path: string): void {
  execFileSync('gcc', ['-shared', '-nostdlib', '-x', 'c', '/dev/null', '-o', path])
}

const reasonOf = (bytes: Uint8Array, cache = '/c', libcVersion: string | null = '2.36'): string => {
  try {
    makePrivateLoader(bytes, libcVersion, cache)
    return 'accepted'
  } catch (error) {
    assert.ok(error instanceof ElfError, String(error))
    return error.message
  }
}

test(
  'the copy reads our cache and no other, from the slot or from behind the constants',
  { skip: needsHost || missing('gcc') },
  () => {
    const lib = join(long, 'lib')
    mkdirSync(lib)
    const path = join(lib, 'libwheelfix-probe-of-a-name.so.1')
    library(path)
    const soname = 'libwheelfix-probe-of-a-name.so.1'
    assert.equal(find(host, soname), null)
    for (const [cache, how] of [
      [join(folder, 'c'), 'slot'],
      [join(long, 'ld.so.cache'), 'redirected'],
    ] as const) {
      const made = install(cache, [{ soname, path }])
      assert.equal(made.how, how)
      assert.equal(find(made.loader, soname), path)
      assert.deepEqual(probeLoader(made.loader, program, cache, { soname, path }), { failure: null, ran: true })
      assert.match(probeLoader(made.loader, program, '/elsewhere', null).failure ?? '', /does not read \/elsewhere/)
      assert.match(
        probeLoader(made.loader, program, cache, { soname: 'libnothing.so', path: '/x' }).failure ?? '',
        /does not find libnothing\.so/,
      )
      // what is in the cache of the host alone is not found by way of it
      const debug = spawnSync(made.loader, ['--list', program], { env: { LD_DEBUG: 'libs' }, encoding: 'utf8' }).stderr
      assert.ok(!debug.includes('search cache=/etc/ld.so.cache'))
    }
  },
)

test('a private loader can be made from a private loader', { skip: needsHost }, () => {
  const first = makePrivateLoader(readFileSync(host), version, join(long, 'first/ld.so.cache'))
  const second = makePrivateLoader(first.bytes, version, join(long, 'second'))
  assert.equal(second.how, 'slot')
})

test(
  'the loader finds every name that it is asked for, also where digits wrap',
  { skip: needsHost || missing('gcc') },
  () => {
    const lib = join(folder, 'l')
    mkdirSync(lib)
    const names = ['liba-3000000000.so', 'liba-5.so', 'liba-1.so', 'liba.so', 'libb-00012.so', 'libb-9999999999999.so']
    for (const name of names) library(join(lib, name))
    const cache = join(folder, 'd')
    const { loader } = install(
      cache,
      names.map(soname => ({ soname, path: join(lib, soname) })),
    )
    const entries = readLoaderCache(readFileSync(cache))
    for (const name of [...names, 'libb-12.so', 'liba-2.so', 'libc++.so']) {
      assert.equal(find(loader, name), lookUpCache(entries, name, target, []), name)
    }
  },
)

const ldconfig = ['/sbin/ldconfig', '/usr/sbin/ldconfig'].find(path => existsSync(path))

test(
  'of what ldconfig found in subdirectories for some hardware, that is taken which the loader takes',
  { skip: needsHost || missing('gcc') || (ldconfig === undefined && skip('needs ldconfig')) },
  () => {
    const root = join(long, 'hwcaps')
    // glibc 2.37 knows only the first kind; which of the others this processor has is the loader's to say
    const places = ['.', 'glibc-hwcaps/x86-64-v2', 'tls', 'x86_64', 'haswell', 'avx512_1', 'haswell/x86_64']
    const names: string[] = []
    for (const [index, place] of places.entries()) {
      mkdirSync(join(root, place), { recursive: true })
      const [alone, beside] = [`libalone${index}.so.1`, `libbeside${index}.so.1`]
      for (const name of [alone, beside]) library(join(root, place, name))
      library(join(root, beside))
      names.push(alone, beside)
    }
    library(join(root, 'x86_64/libboth.so.1'))
    library(join(root, 'glibc-hwcaps/x86-64-v2/libboth.so.1'))
    names.push('libboth.so.1', 'libnone.so.1')
    const cache = join(folder, 'h')
    const { loader } = install(cache, [])
    writeFileSync(join(root, 'conf'), `${root}\n`)
    execFileSync(ldconfig ?? 'ldconfig', ['-X', '-f', join(root, 'conf'), '-C', cache])
    const entries = readLoaderCache(readFileSync(cache))
    const { hwcaps, legacyHwcaps } = identifyLibc(program, withSource(program, readElf), {})
    for (const name of names) {
      assert.equal(lookUpCache(entries, name, target, hwcaps, legacyHwcaps), find(loader, name), name)
    }
  },
)

test('hardware bits count only where the loader has them, and one platform only', () => {
  const [x86, haswell] = [2n, 1n << 50n]
  const takes = (hwcap: bigint, platform: string | null) => {
    const entry = { soname: 'liba.so', path: '/x', flags: 0x303, hwcapName: null, hwcap }
    return lookUpCache([entry], 'liba.so', target, [], platform === null ? null : { bits: x86, platform }) !== null
  }
  assert.deepEqual(
    [takes(x86, null), takes(x86, 'x86_64'), takes(x86 | 4n, 'x86_64'), takes(1n << 63n, null)],
    [false, true, false, true],
  )
  assert.deepEqual(
    [takes(haswell, 'x86_64'), takes(haswell, 'haswell'), takes(haswell | x86, 'haswell'), takes(haswell, 'xeon_phi')],
    [false, true, true, false],
  )
})

test('a missing, empty or damaged cache does no harm', { skip: needsHost }, () => {
  const cache = join(long, 'damaged')
  const { loader } = install(cache, [{ soname: 'libx.so', path: '/x/libx.so' }])
  const whole = readFileSync(cache)
  const starts = () => assert.equal(spawnSync(loader, [program], { env: {} }).status, 0)
  for (const damaged of [new Uint8Array(0), whole.subarray(0, whole.length / 2), Buffer.alloc(4096, 7)]) {
    writeFileSync(cache, damaged)
    starts()
  }
  rmSync(cache)
  starts()
})

const arm = '/usr/aarch64-linux-gnu/lib/ld-linux-aarch64.so.1'
const needsArm = missing('qemu-aarch64-static') || (!existsSync(arm) && skip('needs libc6-arm64-cross'))

test('in a loader of aarch64 the instructions are changed to point to the path', { skip: needsArm }, () => {
  const cache = join(long, 'arm.cache')
  const { bytes, how } = makePrivateLoader(readFileSync(arm), '2.36', cache)
  assert.equal(how, 'redirected')
  const path = '/usr/aarch64-linux-gnu/lib/libc.so.6'
  writeFileSync(
    cache,
    writeLoaderCache([{ soname: 'libc.so.6', path }], { class: 64, machine: 183, byteOrder: 'little' }),
  )
  const loader = join(long, 'arm-ld.so')
  writeFileSync(loader, bytes, { mode: 0o755 })
  const library = '/usr/aarch64-linux-gnu/lib/libm.so.6'
  const { stdout } = spawnSync('qemu-aarch64-static', [loader, '--list', library], { env: {}, encoding: 'utf8' })
  assert.match(stdout, new RegExp(`libc\\.so\\.6 => ${path.replaceAll('.', '\\.')} `))
})

test('the slot is the only NUL-delimited path of a cache; the usage text does not count', () => {
  const bytes = Buffer.from('x\0/nix/store/abc-glibc-2.40/etc/ld.so.cache\0 Do not use /etc/ld.so.cache\0')
  assert.deepEqual(cacheSlot(bytes), { offset: 2, room: 41 })
})

test('a loader that cannot be steered is refused with the reason', () => {
  assert.match(reasonOf(Buffer.from('musl libc')), /names no ld\.so\.cache/)
  const twice = Buffer.from('\0/etc/ld.so.cache\0/nix/x/ld.so.cache\0')
  assert.match(reasonOf(twice), /names 2 caches/)
})

/** Debian 11's ld-2.31.so names its version nowhere; its libc.so.6 begins its banner like this. */
const OLD_BANNER = 'GNU C Library (Debian GLIBC 2.31-13+deb11u11) stable release version 2.31.\n'

test('a glibc before 2.33 is refused, by the version that its libc names', { skip: needsHost }, () => {
  const old = mkdtempSync(join(long, 'old-'))
  const loader = join(old, 'ld-linux-x86-64.so.2')
  const unnamed = readFileSync(host).toString('latin1').replaceAll(' release version ', ' esaeler version ')
  writeFileSync(loader, unnamed, 'latin1')
  writeFileSync(join(old, 'libc.so.6'), OLD_BANNER)
  const libc = identifyLibc(program, { ...withSource(program, readElf), ptInterp: loader }, {})
  assert.equal(libc.version, '2.31')
  assert.match(reasonOf(readFileSync(loader), '/c', libc.version), /glibc 2\.31 ignores the cache of a private loader/)
  for (const [named, expected] of [
    ['2.32', /glibc 2\.32 ignores the cache of a private loader/],
    ['1.9', /glibc 1\.9 ignores/],
    [null, /version of its libc cannot be read/],
    ['2.33', /^accepted$/],
    ['3.0', /^accepted$/],
  ] as const) {
    assert.match(reasonOf(readFileSync(loader), '/c', named), expected, String(named))
  }
})

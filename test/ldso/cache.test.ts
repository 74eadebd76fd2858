import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import fc from 'fast-check'
import { ElfError } from '../../src/elf/error.ts'
import { type CacheEntry, lookUpCache, readLoaderCache } from '../../src/ldso/cache/cache.ts'
import { writeLoaderCache } from '../../src/ldso/cache/cache-writer.ts'
import { missing, skip } from '../support/requires.ts'

const X86_64 = { class: 64, machine: 62, byteOrder: 'little' } as const
const S390X = { class: 64, machine: 22, byteOrder: 'big' } as const
const AARCH64 = { class: 64, machine: 183, byteOrder: 'little' } as const

const folder = mkdtempSync(join(tmpdir(), 'wheelfix-cache-'))
after(() => rmSync(folder, { recursive: true }))

const ldconfig = ['/sbin/ldconfig', '/usr/sbin/ldconfig'].find(path => existsSync(path))
const needsLdconfig = { skip: ldconfig === undefined && skip('needs ldconfig') }

/** The lines of `ldconfig -p -C FILE`, as entries. */
function ldconfigPrints(file: string): { soname: string; kind: string; path: string }[] {
  const text = execFileSync(ldconfig ?? 'ldconfig', ['-p', '-C', file], { encoding: 'utf8' })
  return [...text.matchAll(/^\t(.*?) \((.*)\) => (.*)$/gm)].map(([, soname = '', kind = '', path = '']) => ({
    soname,
    kind,
    path,
  }))
}

const paths = (entries: readonly { soname: string; path: string }[]) => entries.map(e => `${e.soname} ${e.path}`)
const codeOf = (bytes: Uint8Array): string => {
  try {
    readLoaderCache(bytes)
    return 'read'
  } catch (error) {
    assert.ok(error instanceof ElfError, String(error))
    return error.code
  }
}

test('the cache of this machine reads as ldconfig prints it', needsLdconfig, t => {
  if (!existsSync('/etc/ld.so.cache')) return t.skip(skip('needs /etc/ld.so.cache'))
  const ours = readLoaderCache(readFileSync('/etc/ld.so.cache'))
  assert.deepEqual(paths(ours), paths(ldconfigPrints('/etc/ld.so.cache')))
})

test('ldconfig prints what we wrote, glibc-hwcaps included, for both byte orders of the format', needsLdconfig, () => {
  const entries = [
    { soname: 'libz.so.1', path: '/nix/store/z/lib/libz.so.1' },
    { soname: 'libz.so.1', path: '/nix/store/z/lib/glibc-hwcaps/x86-64-v3/libz.so.1', hwcapName: 'x86-64-v3' },
    { soname: 'libGL.so.1', path: '/nix/store/gl/lib/libGL.so.1' },
  ]
  const file = join(folder, 'ours.cache')
  writeFileSync(file, writeLoaderCache(entries, X86_64))
  assert.deepEqual(ldconfigPrints(file), [
    {
      soname: 'libz.so.1',
      kind: 'libc6,x86-64, hwcap: "x86-64-v3"',
      path: '/nix/store/z/lib/glibc-hwcaps/x86-64-v3/libz.so.1',
    },
    { soname: 'libz.so.1', kind: 'libc6,x86-64', path: '/nix/store/z/lib/libz.so.1' },
    { soname: 'libGL.so.1', kind: 'libc6,x86-64', path: '/nix/store/gl/lib/libGL.so.1' },
  ])
  for (const target of [X86_64, S390X, AARCH64]) {
    const back = readLoaderCache(writeLoaderCache(entries, target))
    assert.equal(back.length, 3)
    assert.equal(lookUpCache(back, 'libz.so.1', target, []), '/nix/store/z/lib/libz.so.1')
    assert.equal(
      lookUpCache(back, 'libz.so.1', target, ['x86-64-v4', 'x86-64-v3']),
      '/nix/store/z/lib/glibc-hwcaps/x86-64-v3/libz.so.1',
    )
    assert.equal(lookUpCache(back, 'libGL.so', target, []), null)
  }
})

test(
  'ldconfig writes the same order and the same names as we do',
  { skip: needsLdconfig.skip || missing('gcc') },
  () => {
    const root = join(folder, 'root')
    const lib = join(root, 'lib')
    mkdirSync(join(root, 'etc'), { recursive: true })
    mkdirSync(join(lib, 'glibc-hwcaps/x86-64-v2'), { recursive: true })
    mkdirSync(join(lib, 'glibc-hwcaps/x86-64-v3'), { recursive: true })
    const names = [
      'libz.so.1',
      'libz.so.10',
      'libz.so.9',
      'liba-3000000000.so',
      'liba-5.so',
      'libb01.so',
      'libc++.so.1',
    ]
    const files = [...names, 'glibc-hwcaps/x86-64-v2/libz.so.1', 'glibc-hwcaps/x86-64-v3/libz.so.1']
    for (const name of files) {
      const soname = `-Wl,-soname,${name.slice(name.lastIndexOf('/') + 1)}`
      execFileSync('gcc', ['-shared', '-nostdlib', '-x', 'c', '/dev/null', soname, '-o', join(lib, name)])
    }
    writeFileSync(join(root, 'etc/ld.so.conf'), '/lib\n')
    const cacheOf = (format: string): Uint8Array => {
      execFileSync(ldconfig ?? 'ldconfig', ['-X', '-c', format, '-r', root, '-C', `/etc/${format}.cache`])
      return readFileSync(join(root, `etc/${format}.cache`))
    }
    const theirs = readLoaderCache(cacheOf('new'))
    assert.equal(theirs.length, files.length)
    const target = { class: 64, machine: process.arch === 'arm64' ? 183 : 62, byteOrder: 'little' } as const
    const ours = readLoaderCache(writeLoaderCache(theirs, target))
    assert.deepEqual(ours, theirs)
    // the old format in front of the new one
    const both = cacheOf('compat')
    assert.equal(Buffer.from(both.subarray(0, 11)).toString(), 'ld.so-1.7.0')
    assert.deepEqual(readLoaderCache(both), theirs)
    // and alone
    const old = readLoaderCache(cacheOf('old'))
    assert.deepEqual(paths(old), paths(ldconfigPrints(join(root, 'etc/old.cache'))))
    assert.ok(old.every(entry => entry.hwcapName === null))
  },
)

test('names are found by the value of their digits, as a C int that wraps', () => {
  const names = ['liba-3000000000.so', 'liba-5.so', 'liba-1.so', 'liba.so', 'libb-00012.so', 'libb-9999999999999.so']
  const entries = readLoaderCache(
    writeLoaderCache(
      names.map(soname => ({ soname, path: `/x/${soname}` })),
      X86_64,
    ),
  )
  assert.deepEqual(
    entries.map(entry => entry.soname),
    // 3000000000 wraps to a negative number, which comes last in the loader's reversed order
    ['libb-9999999999999.so', 'libb-00012.so', 'liba.so', 'liba-5.so', 'liba-1.so', 'liba-3000000000.so'],
  )
  for (const name of names) assert.equal(lookUpCache(entries, name, X86_64, []), `/x/${name}`)
  // to the loader these two are one name
  assert.equal(lookUpCache(entries, 'libb-12.so', X86_64, []), '/x/libb-00012.so')
})

test('an entry of another kind is passed over', () => {
  const entry = (flags: number, path: string): CacheEntry => ({
    soname: 'libz.so.1',
    path,
    flags,
    hwcapName: null,
    hwcap: 0n,
  })
  const entries = [entry(0x803, '/x32'), entry(0x303, '/x86_64'), entry(3, '/i386')]
  assert.equal(lookUpCache(entries, 'libz.so.1', X86_64, []), '/x86_64')
  assert.equal(lookUpCache(entries, 'libz.so.1', { class: 32, machine: 3 }, []), '/i386')
  assert.equal(lookUpCache(entries, 'libz.so.1', { class: 32, machine: 62 }, []), '/x32')
  assert.equal(lookUpCache(entries, 'libz.so.1', AARCH64, []), null)
})

test('the same entries in any order give the same bytes, and every one is found again', () => {
  const name = fc.stringMatching(/^lib[a-c]{0,2}[-.0-9]{0,6}\.so$/)
  fc.assert(
    fc.property(fc.uniqueArray(name, { maxLength: 40 }), fc.constantFrom(X86_64, S390X, AARCH64), (names, target) => {
      const entries = names.map(soname => ({ soname, path: `/x/${soname}` }))
      const bytes = writeLoaderCache(entries, target)
      assert.deepEqual(writeLoaderCache(entries.toReversed(), target), bytes)
      const back = readLoaderCache(bytes)
      assert.deepEqual(new Set(back.map(entry => entry.soname)), new Set(names))
      for (const soname of names) assert.notEqual(lookUpCache(back, soname, target, []), null)
    }),
  )
})

test('an empty, cut or foreign file is an error with a code, and damaged fields do not crash', () => {
  assert.equal(codeOf(new Uint8Array(0)), 'TRUNCATED')
  assert.equal(codeOf(Buffer.from('glibc-ld.so.cache1.1')), 'TRUNCATED')
  assert.equal(codeOf(Buffer.from('this is no cache of libraries')), 'MALFORMED')
  const whole = writeLoaderCache(
    Array.from({ length: 30 }, (_, index) => ({
      soname: `lib${index}.so`,
      path: `/x/lib${index}.so`,
      hwcapName: index % 3 === 0 ? 'x86-64-v2' : null,
    })),
    X86_64,
  )
  // half of it still holds the table of entries, but not all strings: what is left of them is read, as the loader does
  assert.ok(readLoaderCache(whole.subarray(0, 1000)).length < 30)
  assert.equal(codeOf(whole.subarray(0, 700)), 'TRUNCATED')
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.nat(whole.length - 1), fc.nat(255)), { maxLength: 12 }), changes => {
      const bytes = Uint8Array.from(whole)
      for (const [offset, value] of changes) bytes[offset] = value
      codeOf(bytes)
    }),
  )
})

test('the best active subdirectory wins, in whatever order the cache has the entries', () => {
  const others = ['x86-64-v2', 'x86-64-v3', 'x86-64-v4']
  const entryOf = (hwcapName: string | null): CacheEntry => {
    return { soname: 'libz.so.1', path: `/${hwcapName ?? 'plain'}`, flags: 0x0303, hwcapName, hwcap: 0n }
  }
  const active = ['x86-64-v3', 'x86-64-v2']
  for (const order of [others, others.toReversed()]) {
    const entries = [...order, null].map(entryOf)
    assert.equal(lookUpCache(entries, 'libz.so.1', X86_64, active), '/x86-64-v3')
    assert.equal(lookUpCache(entries, 'libz.so.1', X86_64, []), '/plain')
  }
})

// What the real loaders do with files that are not what was looked for: each kind stands in front of a good library in the
// search path of a program. The simulation says the same: passed over, the end of the search, or taken.
import assert from 'node:assert/strict'
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { after, suite, test } from 'node:test'
import { DF_1_NOOPEN } from '../../src/elf/constants.ts'
import { interpreterOf } from '../support/elf.ts'
import { makeLibrary, type LibraryOptions } from '../support/library.ts'
import { missing } from '../support/requires.ts'
import { run } from '../support/run.ts'
import { mutate, type Mutation, MUTATIONS, NOT_FOR_MUSL } from './mutations.ts'
import { answersOf, loaderOf, mapsOf, realMaps, start, startAndOpen, workshop } from './objects.ts'

const skip = missing('gcc', 'ld', 'musl-gcc')
const MACHINE = process.arch === 'arm64' ? 183 : 62

const HOST = loaderOf(process.execPath).libc

type Outcome = 'taken' | 'passed over' | 'fatal'

/** What becomes of a file at which the search arrives: glibc, and musl where it does something else. */
const KINDS: Readonly<Record<Mutation, readonly [glibc: Outcome, musl?: Outcome]>> = {
  text: ['fatal'],
  empty: ['fatal'],
  'cut in its header': ['fatal'],
  'cut behind its header': ['fatal'],
  'a folder': ['fatal'],
  'a link to nowhere': ['passed over'],
  // glibc: since 2.39
  'a link through a file': [Number(HOST.version?.split('.')[1]) < 39 ? 'fatal' : 'passed over', 'passed over'],
  unreadable: ['passed over'],
  'another class': ['passed over'],
  'another machine': ['passed over', 'taken'],
  'another byte order': ['fatal'],
  'another EI_VERSION': ['fatal', 'taken'],
  'another OS ABI': ['fatal', 'taken'],
  'the GNU ABI': ['taken'],
  'an unknown GNU ABI version': ['fatal', 'taken'],
  'an ABI version': ['fatal', 'taken'],
  padding: ['fatal', 'taken'],
  'another e_version': ['fatal', 'taken'],
  ET_REL: ['fatal'],
  ET_CORE: ['fatal'],
  ET_EXEC: ['fatal', 'taken'],
  'a PIE': ['fatal', 'taken'],
  'another e_phentsize': ['fatal'],
  'an address that does not fit its offset': ['fatal'],
  'an alignment of less than a page': ['taken'],
  'no PT_LOAD': ['fatal'],
  'no PT_DYNAMIC': ['fatal'],
  'an empty PT_DYNAMIC': ['fatal'],
}

for (const libc of ['glibc', 'musl'] as const) {
  suite(`what ${libc} does with a file that it finds`, { skip }, () => {
    if (skip !== false) return
    const interpreter =
      libc === 'glibc'
        ? (interpreterOf(process.execPath) ?? '')
        : `/lib/ld-musl-${MACHINE === 62 ? 'x86_64' : 'aarch64'}.so.1`
    const shop = workshop({ compiler: libc === 'glibc' ? 'gcc' : 'musl-gcc', interpreter, openerFlags: [] })
    after(() => shop.dispose())
    let folder = ''
    const at = (path: string) => join(shop.root, folder, path)
    const rule = (name: string, prove: () => void) =>
      test(name, () => {
        folder = name.replaceAll(/\W+/g, '-')
        prove()
      })
    const library = (path: string, options: Partial<LibraryOptions> = {}): string => {
      mkdirSync(dirname(at(path)), { recursive: true })
      writeFileSync(at(path), makeLibrary({ soname: 'liba.so', machine: MACHINE, ...options }))
      return at(path)
    }
    /** A library that needs liba.so, which is in `bad` and in `good`, opened by a program. */
    const outcome = (user: Partial<LibraryOptions> = {}): Outcome => {
      const root = library('root.so', { soname: null, needed: ['liba.so'], rpath: '$ORIGIN/bad:$ORIGIN/good', ...user })
      const opener = shop.opener(join(folder, 'opener'))
      const real = realMaps(opener, [root])
      const ours = startAndOpen(opener, [root])
      const said = (maps: readonly string[]): Outcome =>
        maps.includes(at('bad/liba.so')) ? 'taken' : maps.includes(at('good/liba.so')) ? 'passed over' : 'fatal'
      const expected = real.errors === '' ? said(real.found) : 'fatal'
      assert.equal(answersOf(ours).missing.length === 0 ? said(mapsOf(ours)) : 'fatal', expected, real.errors)
      return expected
    }

    for (const kind of MUTATIONS) {
      const [glibc, musl = glibc] = KINDS[kind]
      if (libc === 'musl' && NOT_FOR_MUSL.has(kind)) continue
      // root reads everything
      if (kind === 'unreadable' && process.getuid?.() === 0) continue
      rule(kind, () => {
        library('good/liba.so')
        library('bad/liba.so')
        mutate(at('bad/liba.so'), kind)
        assert.equal(outcome(), libc === 'glibc' ? glibc : musl)
      })
    }

    if (libc === 'glibc')
      rule('another byte order and another machine', () => {
        library('good/liba.so')
        mutate(mutate(library('bad/liba.so'), 'another byte order'), 'another machine')
        assert.equal(outcome(), HOST.skipsOtherMachines ? 'passed over' : 'fatal')
      })

    rule('a link to itself ends one list of directories, and all of them in musl', () => {
      library('good/liba.so')
      mkdirSync(at('bad'))
      symlinkSync('liba.so', at('bad/liba.so'))
      assert.equal(outcome(), 'fatal', 'one list')
      const middle = { soname: 'libmid.so', needed: ['liba.so'] }
      library('mid/libmid.so', { ...middle, rpath: '$ORIGIN/../bad' })
      const lists = { needed: ['libmid.so'], rpath: '$ORIGIN/mid:$ORIGIN/good' }
      assert.equal(outcome(lists), libc === 'glibc' ? 'passed over' : 'fatal', 'the next list')
    })

    rule('a name that is too long', () => {
      library('good/liba.so')
      mkdirSync(at('bad'))
      symlinkSync('x'.repeat(300), at('bad/liba.so'))
      assert.equal(outcome(), libc === 'glibc' ? 'fatal' : 'passed over')
    })

    rule('DF_1_NOOPEN forbids dlopen, not the start of a program', () => {
      library('good/liba.so')
      library('bad/liba.so', { flags1: Number(DF_1_NOOPEN) })
      assert.equal(outcome(), libc === 'glibc' ? 'fatal' : 'taken')
      const program = shop.program(join(folder, 'program'), { needed: ['liba.so'], rpath: '$ORIGIN/bad' })
      assert.equal(run(program, [], { env: { LD_TRACE_LOADED_OBJECTS: '1' } }).stderr, '')
      assert.deepEqual(answersOf(start(program)).missing, [])
    })
  })
}

// Each rule of musl's search, proven on objects made for it: the simulation and the real loader give the same answer.
import assert from 'node:assert/strict'
import { mkdirSync, readFileSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { after, suite, test } from 'node:test'
import { missing } from '../support/requires.ts'
import { run } from '../support/run.ts'
import {
  answersOf,
  mapsOf,
  type ObjectOptions,
  realAnswers,
  realMaps,
  start,
  startAndOpen,
  workshop,
} from './objects.ts'

const skip = missing('gcc', 'ld', 'musl-gcc')
const MACHINE = process.arch === 'arm64' ? 'aarch64' : 'x86_64'

suite('the search of musl', { skip }, () => {
  if (skip !== false) return
  const interpreter = `/lib/ld-musl-${MACHINE}.so.1`
  const shop = workshop({ compiler: 'musl-gcc', interpreter, openerFlags: [] })
  after(() => shop.dispose())
  let folder = ''
  const at = (path: string) => join(folder, path)
  const absolute = (path: string) => join(shop.root, folder, path)
  const library = (path: string, options: ObjectOptions = {}) => shop.library(at(path), options)
  const program = (options: ObjectOptions) => shop.program(at('program'), options)

  /** Each rule has a folder of its own. */
  const rule = (name: string, prove: () => void) =>
    test(name, () => {
      folder = name.replaceAll(/\W+/g, '-').slice(0, 60)
      prove()
    })
  const finds = (path: string, found: readonly string[], lost: readonly string[] = [], environment: string[] = []) => {
    const env = environment.length === 0 ? {} : { LD_LIBRARY_PATH: environment.join(':') }
    const expected = { found: found.map(absolute).sort(), missing: [...lost].sort() }
    assert.deepEqual(realAnswers(path, env), expected, 'the real loader')
    assert.deepEqual(answersOf(start(path, environment)), expected, 'the simulation')
  }
  const maps = (opener: string, paths: readonly string[], found: readonly string[]) => {
    const expected = found.map(absolute).sort()
    assert.deepEqual(realMaps(opener, paths).found, expected, 'the real loader')
    const ours = mapsOf(startAndOpen(opener, paths)).filter(path => path !== opener)
    assert.deepEqual(ours, expected, 'the simulation')
  }

  for (const tag of ['rpath', 'runpath'] as const) {
    rule(`the search path of an object serves what its needed need, as DT_${tag.toUpperCase()}`, () => {
      library('lib/libb.so')
      library('lib/liba.so', { needed: ['libb.so'] })
      finds(program({ needed: ['liba.so'], [tag]: '$ORIGIN/lib' }), ['lib/liba.so', 'lib/libb.so'])
    })
  }

  rule('an object with DT_RUNPATH still gets what those above it have', () => {
    library('lib/libb.so')
    library('lib/liba.so', { needed: ['libb.so'], runpath: '$ORIGIN/nowhere' })
    finds(program({ needed: ['liba.so'], runpath: '$ORIGIN/lib' }), ['lib/liba.so', 'lib/libb.so'])
  })

  rule('LD_LIBRARY_PATH comes first', () => {
    library('tag/liba.so')
    library('env/liba.so')
    finds(program({ needed: ['liba.so'], rpath: '$ORIGIN/tag' }), ['env/liba.so'], [], [absolute('env')])
  })

  rule('a library is known by the name under which it was found, not by its DT_SONAME', () => {
    library('lib/libb-1.2.so', { soname: 'libb.so' })
    library('lib/liba.so', { needed: ['libb.so'] })
    finds(
      program({ needed: ['libb-1.2.so', 'liba.so'], rpath: '$ORIGIN/lib' }),
      ['lib/libb-1.2.so', 'lib/liba.so'],
      ['libb.so'],
    )
  })

  rule('a library that was opened by its path is not known by its name', () => {
    const first = library('one/libb.so')
    library('two/libb.so')
    const second = library('three/liba.so', { needed: ['libb.so'], runpath: '$ORIGIN/../two' })
    maps(shop.opener(at('program')), [first, second], ['one/libb.so', 'three/liba.so', 'two/libb.so'])
  })

  rule('the same file under two names is mapped once', () => {
    library('lib/libb.so')
    symlinkSync('libb.so', absolute('lib/libb.so.1'))
    const path = program({ needed: ['libb.so', 'libb.so.1'], rpath: '$ORIGIN/lib' })
    finds(path, ['lib/libb.so'])
    assert.equal(mapsOf(start(path)).length, 2)
  })

  rule('names of libc itself are the loader', () => {
    const path = program({ needed: ['libm.so.6', 'libpthread.so.0', 'libc.so', `libc.musl-${MACHINE}.so.1`] })
    finds(path, [])
    assert.deepEqual([...new Set(start(path).main.needed.map(({ provider }) => provider?.path))], [interpreter])
  })

  rule('an entry may end at a newline', () => {
    library('lib/liba.so')
    finds(program({ needed: ['liba.so'], rpath: '/nowhere\n$ORIGIN/lib' }), ['lib/liba.so'])
  })

  rule('with any token but $ORIGIN the whole search path is dropped', () => {
    library('lib/liba.so')
    finds(program({ needed: ['liba.so'], rpath: '$ORIGIN/lib:$ORIGIN/$LIB' }), [], ['liba.so'])
  })

  rule('$ORIGIN ends after its name, whatever follows', () => {
    shop.library(`${folder}/programAL/liba.so`)
    library('AL/liba.so')
    const path = shop.program(at('x/program'), { needed: ['liba.so'], rpath: '$ORIGIN/../AL:${ORIGIN}' })
    finds(path, ['AL/liba.so'])
    shop.library(`${at('xAL')}/libb.so`)
    finds(shop.program(at('x/two'), { needed: ['libb.so'], rpath: '$ORIGINAL' }), ['xAL/libb.so'])
  })

  rule('a needed with a slash is opened as it is, without tokens', () => {
    const file = library('lib/libb.so')
    finds(program({ needed: [file, '$ORIGIN/lib/libb.so'] }), ['lib/libb.so'], ['libb.so'])
  })

  rule('a file of another kind ends the search', () => {
    library('good/liba.so')
    const path = program({ needed: ['liba.so'], rpath: '$ORIGIN/other:$ORIGIN/good' })
    shop.write(at('other/liba.so'), 'INPUT(-lc)'.padEnd(200))
    assert.match(run(path, []).stderr, /Error loading shared library liba\.so: Exec format error/)
    assert.equal(start(path).main.needed[0]?.because.by, 'not-elf')
  })

  rule('an object of another class ends the search', () => {
    library('good/liba.so')
    const copy = readFileSync(library('other/liba.so'))
    copy[4] = 1
    copy.writeUInt16LE(1, 16)
    shop.write(at('other/liba.so'), copy)
    const path = program({ needed: ['liba.so'], rpath: '$ORIGIN/other:$ORIGIN/good' })
    assert.deepEqual(realAnswers(path).missing, ['liba.so'])
    assert.deepEqual(answersOf(start(path)).missing, ['liba.so'])
  })

  rule('what a library opens is searched as if the main program had opened it', () => {
    library('lib/libb.so')
    const plugin = library('plugin/liba.so', { needed: ['libb.so'] })
    maps(shop.opener(at('program'), { runpath: '$ORIGIN/lib' }), [plugin], ['lib/libb.so', 'plugin/liba.so'])
  })

  rule('a filter has no meaning', () => {
    mkdirSync(absolute('lib'), { recursive: true })
    library('lib/libreal.so')
    library('lib/libfilter.so', { link: ['--filter=libreal.so'] })
    finds(program({ needed: ['libfilter.so'], rpath: '$ORIGIN/lib' }), ['lib/libfilter.so'])
  })
})

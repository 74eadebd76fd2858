// Each rule of glibc's search, proven on objects made for it: the simulation and the real loader give the same answer.
import assert from 'node:assert/strict'
import { copyFileSync, linkSync, mkdirSync, readFileSync, symlinkSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { after, suite, test } from 'node:test'
import { DT_RPATH } from '../../src/elf/constants.ts'
import { missing } from '../support/requires.ts'
import { run } from '../support/run.ts'
import { interpreterOf } from '../support/elf.ts'
import {
  answersOf,
  loaderOf,
  mapsOf,
  type ObjectOptions,
  realAnswers,
  realMaps,
  start,
  startAndOpen,
  workshop,
} from './objects.ts'

const skip = missing('gcc', 'ld')

suite('the search of glibc', { skip }, () => {
  if (skip !== false) return
  const shop = workshop({
    compiler: 'gcc',
    interpreter: interpreterOf(process.execPath) ?? '',
    openerFlags: ['-Wl,--no-as-needed', '-ldl'],
  })
  after(() => shop.dispose())
  let folder = ''
  const at = (path: string) => join(folder, path)
  const library = (path: string, options: ObjectOptions = {}) => shop.library(at(path), options)
  const program = (options: ObjectOptions) => shop.program(at('program'), options)

  /** Makes a string of an object empty. */
  const clear = (path: string, text: string) => {
    const bytes = readFileSync(path)
    bytes[bytes.indexOf(`${text}\0`)] = 0
    shop.write(relative(shop.root, path), bytes)
  }
  /** Each rule has a folder of its own. */
  const rule = (name: string, prove: () => void) =>
    test(name, () => {
      folder = name.replaceAll(/\W+/g, '-').slice(0, 60)
      prove()
    })
  /** Real loader and simulation agree, and this is what they say: paths below the rule's folder, and missing names. */
  const finds = (path: string, found: readonly string[], lost: readonly string[] = [], environment: string[] = []) => {
    const env = environment.length === 0 ? {} : { LD_LIBRARY_PATH: environment.join(':') }
    const real = realAnswers(path, env)
    const expected = { found: found.map(name => join(shop.root, folder, name)).sort(), missing: [...lost].sort() }
    assert.deepEqual(real, expected, 'the real loader')
    assert.deepEqual(answersOf(start(path, environment)), expected, 'the simulation')
  }
  /** The same for a process that opens libraries one after the other. */
  const maps = (opener: string, paths: readonly string[], found: readonly string[]) => {
    const expected = found.map(name => join(shop.root, folder, name)).sort()
    assert.deepEqual(realMaps(opener, paths).found, expected, 'the real loader')
    const ours = mapsOf(startAndOpen(opener, paths)).filter(path => path !== opener)
    assert.deepEqual(ours, expected, 'the simulation')
  }

  rule('DT_RPATH of an object serves what its needed need', () => {
    library('lib/libb.so')
    library('lib/liba.so', { needed: ['libb.so'] })
    finds(program({ needed: ['liba.so'], rpath: '$ORIGIN/lib' }), ['lib/liba.so', 'lib/libb.so'])
  })

  rule('DT_RUNPATH of an object does not serve what its needed need', () => {
    library('lib/libb.so')
    library('lib/liba.so', { needed: ['libb.so'] })
    finds(program({ needed: ['liba.so'], runpath: '$ORIGIN/lib' }), ['lib/liba.so'], ['libb.so'])
  })

  rule('an object with DT_RUNPATH uses no DT_RPATH of those above it', () => {
    library('lib/libb.so')
    library('lib/liba.so', { needed: ['libb.so'], runpath: '$ORIGIN/nowhere' })
    finds(program({ needed: ['liba.so'], rpath: '$ORIGIN/lib' }), ['lib/liba.so'], ['libb.so'])
  })

  rule('an empty DT_RUNPATH cuts off DT_RPATH too', () => {
    library('lib/libb.so')
    clear(library('lib/liba.so', { needed: ['libb.so'], runpath: '$ORIGIN' }), '$ORIGIN')
    finds(program({ needed: ['liba.so'], rpath: '$ORIGIN/lib' }), ['lib/liba.so'], ['libb.so'])
  })

  rule('DT_RPATH reaches through an object with DT_RUNPATH to what that one loads', () => {
    library('lib/libc1.so')
    library('lib/libb.so', { needed: ['libc1.so'] })
    library('lib/liba.so', { needed: ['libb.so'], runpath: '$ORIGIN' })
    finds(program({ needed: ['liba.so'], rpath: '$ORIGIN/lib' }), ['lib/liba.so', 'lib/libb.so', 'lib/libc1.so'])
  })

  rule('with both tags DT_RPATH is ignored', () => {
    library('rpath/libb.so')
    library('runpath/libc1.so')
    const path = library('lib/liba.so', {
      needed: ['libb.so', 'libc1.so'],
      runpath: '$ORIGIN/../runpath',
      link: ['--auxiliary=$ORIGIN/../rpath'],
    })
    const bytes = readFileSync(path)
    bytes.writeUInt32LE(DT_RPATH, bytes.indexOf(Uint8Array.of(0xfd, 0xff, 0xff, 0x7f, 0, 0, 0, 0)))
    shop.write(at('lib/liba.so'), bytes)
    finds(program({ needed: ['liba.so'], runpath: '$ORIGIN/lib' }), ['lib/liba.so', 'runpath/libc1.so'], ['libb.so'])
  })

  rule('DT_RPATH of the nearest object comes first', () => {
    library('near/libb.so')
    library('far/libb.so')
    library('far/liba.so', { needed: ['libb.so'], rpath: '$ORIGIN/../near' })
    finds(program({ needed: ['liba.so'], rpath: '$ORIGIN/far' }), ['far/liba.so', 'near/libb.so'])
  })

  rule('DT_RPATH of the main program serves a library that something else opened', () => {
    library('lib/libb.so')
    library('plugin/liba.so', { needed: ['libb.so'] })
    const opener = shop.opener(at('program'), { rpath: '$ORIGIN/lib' })
    maps(opener, [join(shop.root, folder, 'plugin/liba.so')], ['lib/libb.so', 'plugin/liba.so'])
  })

  rule('DT_RUNPATH of the main program does not serve a library that it opens', () => {
    library('lib/libb.so')
    const plugin = library('plugin/liba.so', { needed: ['libb.so'] })
    const opener = shop.opener(at('program'), { runpath: '$ORIGIN/lib' })
    assert.match(realMaps(opener, [plugin]).errors, /libb\.so: cannot open shared object file/)
    assert.deepEqual(answersOf(startAndOpen(opener, [plugin])).missing, ['libb.so'])
  })

  rule('a path of more bytes than the kernel opens finds nothing, however short it could be written', () => {
    library('lib/libb.so')
    // the longest path that is opened has 4095 bytes; $ORIGIN and the name are a part of it
    const folded = (bytes: number) => './'.repeat(bytes / 2)
    const room = 4095 - Buffer.byteLength(join(shop.root, folder, 'lib/libb.so'))
    const even = room - (room % 2)
    finds(program({ needed: ['libb.so'], runpath: `$ORIGIN/${folded(even)}lib` }), ['lib/libb.so'])
    finds(program({ needed: ['libb.so'], runpath: `$ORIGIN/${folded(even + 2)}lib` }), [], ['libb.so'])
    const rest = `$ORIGIN/${folded(even + 2)}nowhere:$ORIGIN/lib`
    finds(program({ needed: ['libb.so'], runpath: rest }), ['lib/libb.so'])
  })

  rule('an empty name is the main program', () => {
    clear(library('libb.so', { needed: ['libc1.so'] }), 'libc1.so')
    const opener = shop.opener(at('program'))
    maps(opener, [join(shop.root, folder, 'libb.so')], ['libb.so'])
    const { missing } = answersOf(startAndOpen(opener, [join(shop.root, folder, 'libb.so')]))
    assert.deepEqual(missing, [])
  })

  rule('a soname that is loaded already is taken, whoever loaded it', () => {
    library('one/libb.so')
    const first = library('one/liba.so', { needed: ['libb.so'], runpath: '$ORIGIN' })
    const second = library('two/libc1.so', { needed: ['libb.so'] })
    maps(shop.opener(at('program')), [first, second], ['one/liba.so', 'one/libb.so', 'two/libc1.so'])
  })

  rule('the DT_SONAME of a library counts, not only the name under which it was opened', () => {
    const first = library('one/libb-1.2.so', { soname: 'libb.so' })
    const second = library('two/liba.so', { needed: ['libb.so'] })
    maps(shop.opener(at('program')), [first, second], ['one/libb-1.2.so', 'two/liba.so'])
  })

  rule('the same file under two names is mapped once', () => {
    library('lib/libb.so', { soname: null })
    symlinkSync('libb.so', join(shop.root, folder, 'lib/libb.so.1'))
    linkSync(join(shop.root, folder, 'lib/libb.so'), join(shop.root, folder, 'lib/libhard.so'))
    const path = program({ needed: ['libb.so', 'libb.so.1', 'libhard.so'], rpath: '$ORIGIN/lib' })
    finds(path, ['lib/libb.so'])
    assert.equal(start(path).maps.filter(map => map.path.startsWith(shop.root)).length, 2)
  })

  rule('a needed with a slash is opened as it is', () => {
    const file = library('lib/libb.so', { soname: null })
    finds(program({ needed: [file, `${file}.gone`] }), ['lib/libb.so'], ['libb.so.gone'])
  })

  rule('tokens are replaced in a needed', () => {
    library('lib/libb.so')
    finds(program({ needed: ['$ORIGIN/lib/libb.so', '${ORIGIN}/gone/libc1.so'] }), ['lib/libb.so'], ['libc1.so'])
  })

  rule('$ORIGIN is the folder of the link by which a library was found, not of the file', () => {
    library('real/libb.so')
    library('real/liba.so', { needed: ['libb.so'], runpath: '$ORIGIN' })
    library('links/libb.so')
    symlinkSync('../real/liba.so', join(shop.root, folder, 'links/liba.so'))
    finds(program({ needed: ['liba.so'], rpath: '$ORIGIN/links' }), ['real/liba.so', 'links/libb.so'])
  })

  rule('$LIB and $PLATFORM are known in both spellings', () => {
    const { lib, platform } = loaderOf(process.execPath).libc
    library(`lib/${lib}/liba.so`)
    library(`braces/${lib}/libb.so`)
    library(`platform/${platform}/libc1.so`)
    library(`platform-braces/${platform}x/libd.so`)
    const path = program({
      needed: ['liba.so', 'libb.so', 'libc1.so', 'libd.so', 'libe.so'],
      rpath: '$ORIGIN/lib/$LIB:${ORIGIN}/braces/${LIB}:$ORIGIN/platform/$PLATFORM:$ORIGIN/platform-braces/${PLATFORM}x',
    })
    finds(
      path,
      [
        `lib/${lib}/liba.so`,
        `braces/${lib}/libb.so`,
        `platform/${platform}/libc1.so`,
        `platform-braces/${platform}x/libd.so`,
      ],
      ['libe.so'],
    )
  })

  rule('a token without braces ends where the name ends', () => {
    library('$ORIGINAL/liba.so')
    const before = process.cwd()
    finds(program({ needed: ['liba.so'], rpath: `${join(shop.root, folder)}/$ORIGINAL` }), ['$ORIGINAL/liba.so'])
    assert.equal(process.cwd(), before)
  })

  rule('the first directory of a search path that has a file wins', () => {
    library('one/liba.so')
    library('two/liba.so')
    finds(program({ needed: ['liba.so'], runpath: '$ORIGIN/none:$ORIGIN/two:$ORIGIN/one' }), ['two/liba.so'])
  })

  rule('LD_LIBRARY_PATH comes after DT_RPATH and before DT_RUNPATH', () => {
    for (const name of ['tag', 'env']) for (const lib of ['liba.so', 'libb.so']) library(`${name}/${lib}`)
    const env = [join(shop.root, folder, 'env')]
    finds(program({ needed: ['liba.so'], rpath: '$ORIGIN/tag' }), ['tag/liba.so'], [], env)
    finds(program({ needed: ['libb.so'], runpath: '$ORIGIN/tag' }), ['env/libb.so'], [], env)
  })

  rule('an object of another class is passed over', () => {
    library('bits/liba.so')
    const copy = readFileSync(library('other/liba.so'))
    copy[4] = 1 // ELFCLASS32
    shop.write(at('other/liba.so'), Buffer.concat([copy, Buffer.alloc(64)]))
    finds(program({ needed: ['liba.so'], runpath: '$ORIGIN/other:$ORIGIN/bits' }), ['bits/liba.so'])
  })

  rule('an object for another machine is passed over', () => {
    library('good/liba.so')
    const copy = readFileSync(library('other/liba.so'))
    copy.writeUInt16LE(copy.readUInt16LE(18) === 183 ? 62 : 183, 18)
    shop.write(at('other/liba.so'), copy)
    finds(program({ needed: ['liba.so'], runpath: '$ORIGIN/other:$ORIGIN/good' }), ['good/liba.so'])
  })

  rule('a file that is not an ELF file ends the search', () => {
    library('good/liba.so')
    shop.write(at('script/liba.so'), 'INPUT(-lc)'.padEnd(200))
    const path = program({ needed: ['liba.so'], runpath: '$ORIGIN/script:$ORIGIN/good' })
    assert.match(run(path, []).stderr, /invalid ELF header/)
    const [needed] = start(path).main.needed
    assert.deepEqual([needed?.provider, needed?.because.by], [null, 'not-elf'])
  })

  rule('an empty file ends the search', () => {
    library('good/liba.so')
    shop.write(at('empty/liba.so'), '')
    const path = program({ needed: ['liba.so'], runpath: '$ORIGIN/empty:$ORIGIN/good' })
    assert.match(run(path, []).stderr, /file too short/)
    assert.equal(start(path).main.needed[0]?.because.by, 'not-elf')
  })

  rule('a folder of the wanted name ends the search', () => {
    library('good/liba.so')
    mkdirSync(join(shop.root, folder, 'folder/liba.so'), { recursive: true })
    const path = program({ needed: ['liba.so'], runpath: '$ORIGIN/folder:$ORIGIN/good' })
    assert.match(run(path, []).stderr, /cannot read file data/)
    assert.equal(start(path).main.needed[0]?.because.by, 'not-elf')
  })

  rule('a link to nowhere is passed over', () => {
    library('good/liba.so')
    mkdirSync(join(shop.root, folder, 'dangling'))
    symlinkSync('gone', join(shop.root, folder, 'dangling/liba.so'))
    finds(program({ needed: ['liba.so'], runpath: '$ORIGIN/dangling:$ORIGIN/good' }), ['good/liba.so'])
  })

  rule('DF_1_NODEFLIB keeps a library from the built-in directories and the cache', () => {
    const link = ['-z', 'nodefaultlib']
    const path = program({ needed: ['libm.so.6'], link })
    finds(path, [], ['libm.so.6'])
  })

  rule('the built-in directories and the cache serve an object without a search path', () => {
    const path = program({ needed: ['libm.so.6'] })
    const [needed] = start(path).main.needed
    assert.ok(needed?.because.by === 'cache' || needed?.because.by === 'built-in')
    finds(path, [])
  })

  rule('breadth first: what the first needed needs comes after the second needed', () => {
    library('one/libx.so')
    library('two/libx.so')
    library('lib/liba.so', { needed: ['libx.so'], rpath: '$ORIGIN/../one' })
    library('lib/libb.so', { needed: ['libc1.so'] })
    library('lib/libc1.so', { needed: ['libx.so'], rpath: '$ORIGIN/../two' })
    finds(program({ needed: ['libb.so', 'liba.so'], rpath: '$ORIGIN/lib' }), [
      'lib/liba.so',
      'lib/libb.so',
      'lib/libc1.so',
      'one/libx.so',
    ])
  })

  rule('libraries that need each other are loaded once each', () => {
    library('lib/liba.so', { needed: ['libb.so'], runpath: '$ORIGIN' })
    library('lib/libb.so', { needed: ['liba.so'], runpath: '$ORIGIN' })
    finds(program({ needed: ['liba.so'], runpath: '$ORIGIN/lib' }), ['lib/liba.so', 'lib/libb.so'])
  })

  rule('the bottom of a diamond is found by the object that comes first', () => {
    library('left/libd.so')
    library('right/libd.so')
    library('lib/libl.so', { needed: ['libd.so'], runpath: '$ORIGIN/../left' })
    library('lib/libr.so', { needed: ['libd.so'], runpath: '$ORIGIN/../right' })
    const both = ['lib/libl.so', 'lib/libr.so']
    finds(program({ needed: ['libl.so', 'libr.so'], runpath: '$ORIGIN/lib' }), [...both, 'left/libd.so'])
    finds(program({ needed: ['libr.so', 'libl.so'], runpath: '$ORIGIN/lib' }), [...both, 'right/libd.so'])
  })

  rule('a filter needs its filtee', () => {
    library('lib/libreal.so')
    library('lib/libfilter.so', { link: ['--filter=libreal.so'], runpath: '$ORIGIN' })
    finds(program({ needed: ['libfilter.so'], runpath: '$ORIGIN/lib' }), ['lib/libfilter.so', 'lib/libreal.so'])
  })

  rule('an auxiliary filtee may be missing', () => {
    library('lib/libreal.so')
    library('lib/liba.so', { link: ['--auxiliary=libreal.so'], runpath: '$ORIGIN' })
    library('lib/libb.so', { link: ['--auxiliary=libnone.so'], runpath: '$ORIGIN' })
    const path = program({ needed: ['liba.so', 'libb.so'], runpath: '$ORIGIN/lib' })
    const mapped = ['lib/liba.so', 'lib/libb.so', 'lib/libreal.so'].map(name => join(shop.root, folder, name))
    assert.deepEqual(realAnswers(path).found, mapped)
    // the list of the real loader has the auxiliary one as not found; a start without it is not an error
    assert.doesNotMatch(run(path, []).stderr, /libnone/)
    assert.deepEqual(mapsOf(start(path)), [...mapped, path])
    assert.deepEqual(answersOf(start(path)).missing, [])
  })

  rule('the subdirectories for this processor come before the directory', () => {
    const { subdirectories } = loaderOf(process.execPath).libc
    const [best] = subdirectories
    if (best === undefined) return
    for (const below of subdirectories) library(`lib/${below}/liba.so`)
    library('lib/liba.so')
    const path = program({ needed: ['liba.so'], runpath: '$ORIGIN/lib' })
    finds(path, [`lib/${best}/liba.so`])
    for (const last of subdirectories.filter(name => !name.includes('glibc-hwcaps'))) {
      folder = `legacy-${last.replaceAll('/', '-')}`
      library(`lib/${last}/liba.so`)
      library('lib/liba.so')
      finds(program({ needed: ['liba.so'], rpath: '$ORIGIN/lib' }), [`lib/${last}/liba.so`])
    }
  })

  rule('levels of glibc-hwcaps that this processor does not have are not searched', () => {
    library('lib/glibc-hwcaps/x86-64-v99/liba.so')
    library('lib/liba.so')
    finds(program({ needed: ['liba.so'], runpath: '$ORIGIN/lib' }), ['lib/liba.so'])
  })

  rule('$ORIGIN of a program that is started through a link is the folder of the file', () => {
    library('real/lib/liba.so')
    shop.program(at('real/program'), { needed: ['liba.so'], runpath: '$ORIGIN/lib' })
    mkdirSync(join(shop.root, folder, 'links'))
    symlinkSync('../real/program', join(shop.root, folder, 'links/program'))
    const link = join(shop.root, folder, 'links/program')
    assert.deepEqual(realAnswers(link).missing, [])
    // the simulation is given real paths
    finds(join(dirname(link), '../real/program'), ['real/lib/liba.so'])
    copyFileSync(join(shop.root, folder, 'real/program'), join(shop.root, folder, 'links/copy'))
    finds(join(shop.root, folder, 'links/copy'), [], ['liba.so'])
  })
})

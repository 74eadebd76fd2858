// In which order and under which names objects come into a process, for what linkers seldom write: libraries made by hand,
// opened one after the other, by the real loaders and in the simulation.
import assert from 'node:assert/strict'
import { copyFileSync, mkdirSync, symlinkSync, unlinkSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { after, suite, test } from 'node:test'
import { interpreterOf } from '../support/elf.ts'
import { type LibraryOptions, makeLibrary } from '../support/library.ts'
import { missing } from '../support/requires.ts'
import { answersOf, mapsOf, realMaps, startAndOpen, workshop } from './objects.ts'

const MACHINE = process.arch === 'arm64' ? 'aarch64' : 'x86_64'
const E_MACHINE = process.arch === 'arm64' ? 183 : 62

for (const libc of ['glibc', 'musl'] as const) {
  const skip = missing('gcc', ...(libc === 'musl' ? ['musl-gcc'] : []))
  suite(`the order and the names of ${libc}`, { skip }, () => {
    if (skip !== false) return
    const interpreter = libc === 'glibc' ? (interpreterOf(process.execPath) ?? '') : `/lib/ld-musl-${MACHINE}.so.1`
    const shop = workshop({ compiler: libc === 'glibc' ? 'gcc' : 'musl-gcc', interpreter, openerFlags: [] })
    after(() => shop.dispose())
    const opener = shop.opener('opener')
    let folder = ''
    const at = (path: string) => join(shop.root, folder, path)
    const rule = (name: string, prove: () => void) =>
      test(name, () => {
        folder = name.replaceAll(/\W+/g, '-').slice(0, 60)
        prove()
      })
    const library = (path: string, options: Partial<LibraryOptions> = {}): string => {
      mkdirSync(dirname(at(path)), { recursive: true })
      const soname = path.slice(path.lastIndexOf('/') + 1)
      writeFileSync(at(path), makeLibrary({ soname, machine: E_MACHINE, ...options }))
      return at(path)
    }
    /** What a process maps that opens these files in order; `error`: what the real loader says, else nothing is lost. */
    const maps = (paths: readonly string[], found: readonly string[], error: RegExp | null = null) => {
      const real = realMaps(opener, paths)
      const ours = startAndOpen(opener, paths)
      const lost = ours.maps
        .flatMap(map => map.needed)
        .filter(({ provider, lackingVersions }) => provider === null || lackingVersions.length > 0)
      if (error === null) {
        assert.equal(real.errors, '')
        assert.deepEqual(
          lost.map(({ soname }) => soname),
          [],
        )
        assert.deepEqual(answersOf(ours).missing, [])
      } else {
        assert.match(real.errors, error)
        assert.ok(lost.length > 0)
        return
      }
      const expected = found.map(at).sort()
      assert.deepEqual(real.found, expected, 'the real loader')
      assert.deepEqual(
        mapsOf(ours).filter(path => path !== opener),
        expected,
        'the simulation',
      )
    }

    if (libc === 'glibc') {
      rule('several auxiliary filtees are walked in their order', () => {
        for (const side of ['left', 'right']) {
          library(`${side}/libx.so`)
          library(`lib/lib${side}.so`, { needed: ['libx.so'], runpath: `$ORIGIN/../${side}` })
        }
        const links = ['left', 'right'].map(side => ({ tag: 'DT_AUXILIARY', name: `lib${side}.so` }) as const)
        const root = library('lib/libroot.so', { links, runpath: '$ORIGIN' })
        maps([root], ['lib/libroot.so', 'lib/libleft.so', 'lib/libright.so', 'left/libx.so'])
      })

      rule('the needed of a filtee come before objects that wait already', () => {
        for (const side of ['left', 'right']) {
          library(`${side}/libx.so`)
          library(`lib/lib${side}.so`, { needed: ['libx.so'], runpath: `$ORIGIN/../${side}` })
        }
        const links = [
          { tag: 'DT_NEEDED', name: 'libleft.so' },
          { tag: 'DT_NEEDED', name: 'libright.so' },
          { tag: 'DT_AUXILIARY', name: 'libright.so' },
        ] as const
        const root = library('lib/libroot.so', { links, runpath: '$ORIGIN' })
        maps([root], ['lib/libroot.so', 'lib/libleft.so', 'lib/libright.so', 'right/libx.so'])
      })

      rule('DT_FILTER may come before DT_NEEDED', () => {
        library('lib/libfiltee.so', { soname: 'libsame.so' })
        library('lib/libsame.so')
        const links = [
          { tag: 'DT_FILTER', name: 'libfiltee.so' },
          { tag: 'DT_NEEDED', name: 'libsame.so' },
        ] as const
        maps([library('lib/libroot.so', { links, runpath: '$ORIGIN' })], ['lib/libroot.so', 'lib/libfiltee.so'])
        const last = library('lib/liblast.so', { links: links.toReversed(), runpath: '$ORIGIN' })
        maps([last], ['lib/liblast.so', 'lib/libfiltee.so', 'lib/libsame.so'])
      })

      rule('a filtee comes before its filter with the same soname, whenever it was loaded', () => {
        library('lib/libfiltee.so', { soname: 'libsame.so' })
        const links = [
          { tag: 'DT_AUXILIARY', name: 'libfiltee.so' },
          { tag: 'DT_NEEDED', name: 'libuser.so' },
        ] as const
        const filter = library('lib/libfilter.so', { soname: 'libsame.so', links, runpath: '$ORIGIN' })
        library('lib/libuser.so', {
          needed: ['libsame.so'],
          wants: [{ file: 'libsame.so', version: 'V_1', weak: false }],
        })
        maps([filter], ['lib/libfilter.so', 'lib/libfiltee.so', 'lib/libuser.so'])
        library('lib/libfiltee.so', { soname: 'libsame.so', defines: ['libsame.so', 'V_2'] })
        maps([filter], [], /libfiltee\.so: version `V_1' not found/)
      })

      rule('a path that equals a loaded soname means that object', () => {
        const path = library('lib/libb.so')
        const first = library('lib/liba.so', { soname: path })
        maps([first, path], ['lib/liba.so'])
        maps([path, first], ['lib/liba.so', 'lib/libb.so'])
      })

      rule('a provider with only its base version lacks all others', () => {
        library('lib/libv.so', { defines: ['libv.so'] })
        const user = (version: string, weak = false) =>
          library('lib/liba.so', {
            needed: ['libv.so'],
            runpath: '$ORIGIN',
            wants: [{ file: 'libv.so', version, weak }],
          })
        maps([user('V_1')], [], /version `V_1' not found/)
        maps([user('V_1', true)], ['lib/liba.so', 'lib/libv.so'])
        maps([user('libv.so')], ['lib/liba.so', 'lib/libv.so'])
        library('lib/libv.so')
        maps([user('V_1')], ['lib/liba.so', 'lib/libv.so'])
      })
    } else {
      rule('a file that is found again is known by the name of its first path', () => {
        const first = library('one/libb.so')
        mkdirSync(at('two'))
        symlinkSync('../one/libb.so', at('two/libother.so'))
        const again = library('two/liba.so', { needed: ['libother.so'], runpath: '$ORIGIN' })
        const byFirst = library('three/libc1.so', { needed: ['libb.so'] })
        const byWanted = library('three/libd.so', { needed: ['libother.so'] })
        maps([first, again, byFirst], ['one/libb.so', 'two/liba.so', 'three/libc1.so'])
        maps([first, again, byWanted], [], /libother\.so: No such file/)
      })

      rule('a directory that is a link to itself ends the search', () => {
        library('lib/libb.so')
        symlinkSync('loop', at('loop'))
        maps(
          [library('lib/liba.so', { needed: ['libb.so'], rpath: '$ORIGIN/../loop:$ORIGIN' })],
          [],
          /Symbolic link loop/,
        )
        const user = { needed: ['libb.so'], rpath: '$ORIGIN/../gone:/proc/version:$ORIGIN' }
        maps([library('lib/libc1.so', user)], ['lib/libb.so', 'lib/libc1.so'])
      })

      rule('the name of the loader itself is searched', () => {
        const name = `ld-musl-${MACHINE}.so.1`
        const user = library('lib/liba.so', { needed: [name], runpath: '$ORIGIN' })
        maps([user], [], /ld-musl-.*: No such file/)
        symlinkSync(interpreter, at(`lib/${name}`))
        maps([user], ['lib/liba.so'])
        // another file of that kind is not mapped: the process has a libc
        unlinkSync(at(`lib/${name}`))
        copyFileSync(interpreter, at(`lib/${name}`))
        maps([user], ['lib/liba.so'])
      })

      rule('versions are not checked', () => {
        library('lib/libv.so', { defines: ['libv.so', 'V_2'] })
        const wants = [{ file: 'libv.so', version: 'V_1', weak: false }]
        maps(
          [library('lib/liba.so', { needed: ['libv.so'], runpath: '$ORIGIN', wants })],
          ['lib/liba.so', 'lib/libv.so'],
        )
      })

      rule('filters have no meaning', () => {
        const links = [{ tag: 'DT_FILTER', name: 'libnone.so' }] as const
        maps([library('lib/liba.so', { links })], ['lib/liba.so'])
      })
    }
  })
}

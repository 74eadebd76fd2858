// A venv that an earlier version of wheelfix patched, where the loader zeroes the program headers of a library.
import assert from 'node:assert/strict'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, suite, test } from 'node:test'
import { gunzipSync } from 'node:zlib'
import { verifyElf } from '../../src/elf/rules/verify.ts'
import { originalSource, readUndo } from '../../src/elf/graft/undo-note.ts'
import { bytesSource } from '../../src/elf/source.ts'
import { withSource } from '../../src/io/source.ts'
import { changeOf } from '../../src/resolve/change.ts'
import { readObject } from '../../src/resolve/objects.ts'
import { bytesOf } from '../elf/objects.ts'
import { missing, skip } from '../support/requires.ts'
import { makeVenv, sitePackages, wheelfix } from '../world/venv.ts'
import { buildWorld, type World } from '../world/world.ts'

const ZEROED = gunzipSync(readFileSync(join(import.meta.dirname, '../../../fixtures/grafted/zeroed-headers.so.gz')))

test('a graft that loses its headers must change, even if nothing else must', () => {
  const source = bytesSource(ZEROED)
  const read = readObject(source, 'libold.so', { suffixes: [], isRecorded: () => true, driver: false })
  assert.ok(read !== null)
  const status = { dev: 0n, ino: 0n, nlink: 1, size: source.size, mode: 0o644 }
  const object = { path: '/v/libold.so', relative: 'libold.so', ...read, status, identity: '0:0' }
  const edit = { searchPath: { tag: 'DT_RUNPATH', value: read.current.runpath ?? '' } } as const
  assert.deepEqual(changeOf(object, edit, read.current), { regraft: true })
  assert.equal(changeOf({ ...object, losesHeaders: false }, edit, read.current), null)
})

const world = missing('g++') === false ? buildWorld() : (missing('g++') as string)
if (typeof world === 'string') test('layout', { skip: skip(world) })
else if (process.arch !== 'x64') test('layout', { skip: skip('the library is one of x86-64') })
else theSuite(world)

function theSuite(world: World): void {
  suite('a library that an earlier version grafted badly', () => {
    after(() => world.dispose())
    const venv = makeVenv(world, 'venv')
    const site = sitePackages(world, venv)
    const library = join(site, 'old/libold.so')
    const info = join(site, 'old-1.0.dist-info')
    mkdirSync(join(site, 'old'))
    mkdirSync(info)
    writeFileSync(library, ZEROED)
    writeFileSync(join(info, 'METADATA'), 'Metadata-Version: 2.1\nName: old\nVersion: 1.0\n')
    writeFileSync(join(info, 'RECORD'), 'old/libold.so,,\nold-1.0.dist-info/METADATA,,\nold-1.0.dist-info/RECORD,,\n')

    test('elf --verify and doctor name it, check says that venv has something to do', () => {
      const verify = wheelfix(world, ['elf', '--verify', library])
      assert.equal(verify.status, 1)
      assert.match(verify.stdout + verify.stderr, /phdr-zeroed/)
      const doctor = wheelfix(world, ['doctor', venv, '--json'])
      assert.match(doctor.stdout, /"zeroed-headers"/)
      const check = wheelfix(world, ['check', venv, '--json'])
      assert.equal(check.status, 1)
      assert.match(check.stdout, /"regraft": ?true/)
    })

    test('venv makes it again, and restore gives the original back', () => {
      assert.equal(wheelfix(world, ['venv', venv]).status, 0)
      assert.deepEqual(withSource(library, verifyElf), [])
      assert.doesNotMatch(wheelfix(world, ['doctor', venv, '--json']).stdout, /zeroed-headers/)
      assert.equal(wheelfix(world, ['check', venv]).status, 0)
      assert.equal(wheelfix(world, ['restore', venv]).status, 0)
      const undo = readUndo(bytesSource(ZEROED))
      assert.ok(undo !== null)
      assert.deepEqual(readFileSync(library), bytesOf(originalSource(bytesSource(ZEROED), undo)))
    })

    test('an answer that an earlier version left does not hold', () => {
      assert.equal(wheelfix(world, ['venv', venv]).status, 0)
      assert.equal(wheelfix(world, ['venv', venv]).status, 0)
      const path = join(venv, '.wheelfix/state.json')
      const stamp: unknown = JSON.parse(readFileSync(path, 'utf8'))
      assert.ok(typeof stamp === 'object' && stamp !== null && 'graft' in stamp && 'answers' in stamp)
      // what it would say if it were taken for an answer of today
      const text = readFileSync(path, 'utf8').replaceAll('"glibc 2.', '"an old answer 2.')
      writeFileSync(path, text)
      assert.match(wheelfix(world, ['venv', venv]).stdout, /an old answer/)
      writeFileSync(path, text.replace(/"graft":\d+,/, ''))
      assert.doesNotMatch(wheelfix(world, ['venv', venv]).stdout, /an old answer/)
    })
  })
}

// How new bytes get into the place of a file, in folders that somebody else may write to.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import fs, {
  chmodSync,
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, mock, suite, test } from 'node:test'
import type { FileEdit } from '../../src/elf/edit/file-edit.ts'
import { errnoOf, WheelfixError } from '../../src/io/error.ts'
import { withFolders } from '../../src/io/write/folder.ts'
import { isTemporary, replaceContent, replaceFile, stageFile, temporaryOf } from '../../src/io/write/replace.ts'
import { withSource } from '../../src/io/source.ts'
import { beforeChange, changeInPlace } from '../../src/state/journal.ts'
import { skip } from '../support/requires.ts'

const EDIT: FileEdit = { baseSize: 4, tail: [Buffer.from('tail')], patches: [], header: Buffer.from('NEW') }
const isRoot = process.getuid?.() === 0

/** Makes ready for an edit in place, and returns what does it. */
function edited(path: string, edit: FileEdit): () => void {
  const [status, found] = withSource(path, source => [source.status, beforeChange(source, edit)] as const)
  return () => changeInPlace(path, status, edit, found)
}

suite('replacing a file', () => {
  let folder = ''
  const at = (name: string): string => join(folder, name)
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'wheelfix-replace-'))
    chmodSync(folder, 0o755)
  })
  after(() => rmSync(folder, { recursive: true }))

  test('uses a temporary name that nobody can predict, whatever the length of the name', () => {
    for (const name of ['lib.so', 'x'.repeat(255), 'ü'.repeat(127)]) {
      const [one, two] = [temporaryOf(at(name)), temporaryOf(at(name))]
      assert.notEqual(one, two)
      assert.ok([one, two].every(path => isTemporary(path.slice(folder.length + 1))))
      assert.ok(Buffer.byteLength(one.slice(folder.length + 1)) <= 255)
    }
  })

  test('keeps mode, times and the set-user-ID bit', () => {
    writeFileSync(at('kept'), 'base')
    chmodSync(at('kept'), 0o4751)
    const old = statSync(at('kept'))
    replaceFile(at('kept'), EDIT)
    const now = statSync(at('kept'))
    assert.equal(readFileSync(at('kept'), 'utf8'), 'NEWetail')
    assert.deepEqual([now.mode, Math.trunc(now.mtimeMs)], [old.mode, Math.trunc(old.mtimeMs)])
    assert.notEqual(now.ino, old.ino)
  })

  test('keeps the microseconds of a time through any number of changes', () => {
    writeFileSync(at('timed'), 'base')
    const mtime = (): bigint => statSync(at('timed'), { bigint: true }).mtimeNs / 1000n
    for (let microseconds = 1_700_000_000_000_001; microseconds < 1_700_000_000_002_000; microseconds += 97) {
      utimesSync(at('timed'), (microseconds + 0.5) / 1e6, (microseconds + 0.5) / 1e6)
      for (let time = 0; time < 3; time++) {
        replaceFile(at('timed'), EDIT)
        assert.equal(mtime(), BigInt(microseconds), 'replaced')
        edited(at('timed'), { ...EDIT, baseSize: 8 })()
        assert.equal(mtime(), BigInt(microseconds), 'in place')
        writeFileSync(at('timed'), 'base')
        utimesSync(at('timed'), (microseconds + 0.5) / 1e6, (microseconds + 0.5) / 1e6)
      }
    }
  })

  test('keeps the owner as root', { skip: isRoot ? false : skip('only root may give files away') }, () => {
    writeFileSync(at('owned'), 'base')
    chownSync(at('owned'), 1234, 1234)
    chmodSync(at('owned'), 0o4755)
    replaceFile(at('owned'), EDIT)
    const { uid, gid, mode } = statSync(at('owned'))
    assert.deepEqual([uid, gid, mode & 0o7777], [1234, 1234, 0o4755])
  })

  test('keeps the set-user-ID bit in place, which the kernel removes at a write', () => {
    writeFileSync(at('setuid'), 'base')
    // root keeps it anyway: an effective user without the capability does not
    if (isRoot) chownSync(at('setuid'), 65534, 65534)
    chmodSync(at('setuid'), 0o4755)
    const edit = edited(at('setuid'), EDIT)
    if (isRoot) process.seteuid?.(65534)
    try {
      edit()
    } finally {
      if (isRoot) process.seteuid?.(0)
    }
    assert.equal(statSync(at('setuid')).mode & 0o7777, 0o4755)
  })

  test('gives a new file the mode of the umask', () => {
    const umask = process.umask(0o027)
    try {
      replaceContent(at('new'), 'text')
    } finally {
      process.umask(umask)
    }
    assert.equal(statSync(at('new')).mode & 0o777, 0o640)
  })

  test('follows no link, and leaves no file behind', () => {
    writeFileSync(at('outside'), 'base')
    symlinkSync(at('outside'), at('link'))
    assert.throws(
      () => replaceFile(at('link'), EDIT),
      error => errnoOf(error) === 'ELOOP',
    )
    assert.equal(readFileSync(at('outside'), 'utf8'), 'base')
    assert.deepEqual(readdirSync(folder).filter(isTemporary), [])
  })

  test('leaves no temporary file behind when the new content cannot be made', () => {
    mkdirSync(at('failing'))
    writeFileSync(at('failing/file'), 'base')
    const edit = {
      ...EDIT,
      get header(): Uint8Array {
        throw new Error('no content')
      },
    }
    assert.throws(() => replaceFile(at('failing/file'), edit), /no content/)
    assert.deepEqual(readdirSync(at('failing')), ['file'])
    assert.equal(readFileSync(at('failing/file'), 'utf8'), 'base')
  })

  test('has the bytes of a new name on the disk before the rename', () => {
    const calls: string[] = []
    for (const name of ['fdatasyncSync', 'renameSync'] as const) {
      const real = fs[name] as (...args: readonly unknown[]) => unknown
      mock.method(fs, name, (...args: readonly unknown[]) => {
        calls.push(name)
        return real(...args)
      })
    }
    syncBuiltinESMExports()
    try {
      replaceContent(at('new-name'), 'content')
    } finally {
      mock.restoreAll()
      syncBuiltinESMExports()
    }
    assert.deepEqual(calls, ['fdatasyncSync', 'renameSync'])
  })

  test('refuses a file that was replaced after it was looked at', () => {
    writeFileSync(at('one'), 'base')
    writeFileSync(at('two'), 'base')
    const status = withSource(at('one'), source => source.status)
    assert.throws(
      () => withFolders(folders => stageFile(folders, at('two'), EDIT, status)),
      error => error instanceof WheelfixError && error.code === 'BUSY',
    )
    assert.deepEqual(readdirSync(folder).filter(isTemporary), [])
  })

  test('writes to no outside file while somebody replaces its temporary files by links', async () => {
    const shared = at('shared')
    const victim = at('victim')
    mkdirSync(shared)
    writeFileSync(victim, 'secret')
    chmodSync(victim, 0o600)
    const attacker = spawn(process.execPath, ['-e', ATTACK, shared, victim], { stdio: ['ignore', 'pipe', 'inherit'] })
    const swaps: Buffer[] = []
    attacker.stdout.on('data', (bytes: Buffer) => swaps.push(bytes))
    try {
      const large = Buffer.alloc(3 << 20, 1)
      // until some links were put in place, for some seconds at most
      for (let round = 0; round < 400 && swaps.length < 10; round++) {
        const path = join(shared, `lib${round}.so`)
        writeFileSync(path, 'base')
        try {
          replaceFile(path, { ...EDIT, tail: [large] })
        } catch (error) {
          if (errnoOf(error) === undefined) throw error
        }
        await new Promise(resolve => setImmediate(resolve))
      }
    } finally {
      attacker.kill()
    }
    assert.ok(swaps.length > 0, 'the attacker was never quick enough')
    assert.deepEqual([readFileSync(victim, 'utf8'), lstatSync(victim).mode & 0o777], ['secret', 0o600])
    assert.ok(existsSync(shared))
  })
})

/** Puts a link to the victim in the place of each temporary file that it sees, and prints a dot for each. */
const ATTACK = `
const fs = require('node:fs')
const [folder, victim] = process.argv.slice(1)
for (let count = 0; ; ) {
  for (const name of fs.readdirSync(folder)) {
    if (!name.endsWith('.wheelfix-tmp')) continue
    try {
      const link = folder + '/link' + count++
      fs.symlinkSync(victim, link)
      fs.renameSync(link, folder + '/' + name)
      fs.writeSync(1, '.')
    } catch {}
  }
}`

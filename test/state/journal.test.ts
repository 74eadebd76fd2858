// When the entries of the journal are on the disk. test/survive/power.test.ts proves what that is good for.
import assert from 'node:assert/strict'
import fs from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { mock, test } from 'node:test'
import { openJournal } from '../../src/state/journal.ts'
import { keptPath, readJournals } from '../../src/state/journal-file.ts'

const FILE = { size: 4, header: Buffer.from('head') }
const entry = (path: string) => ({
  path,
  before: FILE,
  time: null,
  after: FILE,
  end: null,
  patches: [],
  record: null,
  restores: false,
})

test('entries are on the disk before add() returns, and so is the name of a new journal', () => {
  const root = fs.mkdtempSync(join(tmpdir(), 'wheelfix-journal-'))
  const place = { root, stateFolder: join(root, '.wheelfix') }
  fs.mkdirSync(place.stateFolder)
  const calls: string[] = []
  for (const name of ['writeSync', 'fdatasyncSync', 'fsyncSync'] as const) {
    const real = fs[name] as (...args: readonly unknown[]) => unknown
    mock.method(fs, name, (...args: readonly unknown[]) => {
      calls.push(`${name} ${fs.readlinkSync(`/proc/self/fd/${String(args[0])}`).slice(root.length + 1)}`)
      return real(...args)
    })
  }
  syncBuiltinESMExports()
  try {
    const journal = openJournal(place)
    journal.add([entry('a.so'), entry('b.so')])
    const first = calls.splice(0)
    journal.add([entry('c.so')])
    const second = calls.splice(0)
    journal.finish()

    const written = ['writeSync .wheelfix/journal', 'fdatasyncSync .wheelfix/journal']
    assert.deepEqual(first, [...written, 'fsyncSync .wheelfix'])
    assert.deepEqual(second, written)
  } finally {
    mock.restoreAll()
    syncBuiltinESMExports()
    fs.rmSync(root, { recursive: true })
  }
})

test('entries count after an add() that failed because the disk was full, also behind a torn line', () => {
  const root = fs.mkdtempSync(join(tmpdir(), 'wheelfix-journal-'))
  const place = { root, stateFolder: join(root, '.wheelfix') }
  fs.mkdirSync(place.stateFolder)
  fs.writeFileSync(keptPath(place), '{"path": "to')
  const whole = (path: string) => ({ ...entry(path), end: 'digest' })
  let isFull = true
  const real = fs.writeSync as (...args: readonly unknown[]) => number
  mock.method(fs, 'writeSync', (...args: readonly unknown[]) => {
    if (isFull) throw Object.assign(new Error('ENOSPC'), { code: 'ENOSPC', syscall: 'write' })
    return real(...args)
  })
  const synced = mock.method(fs, 'fsyncSync')
  syncBuiltinESMExports()
  try {
    const journal = openJournal(place)
    assert.throws(() => journal.add([whole('a.so')]), /ENOSPC/)
    assert.equal(synced.mock.callCount(), 0)
    isFull = false
    journal.add([whole('b.so')])
    journal.add([whole('c.so')])
    assert.equal(synced.mock.callCount(), 1)
    journal.finish()
    assert.deepEqual(
      readJournals(place).map(({ path }) => path),
      ['b.so', 'c.so'],
    )
  } finally {
    mock.restoreAll()
    syncBuiltinESMExports()
    fs.rmSync(root, { recursive: true })
  }
})

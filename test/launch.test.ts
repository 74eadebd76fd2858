// The program as it is started: from V8's code cache where there is one that this Node can use, else compiled.
import assert from 'node:assert/strict'
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { runWell } from './support/run.ts'

const DIST = join(import.meta.dirname, '../../dist')

/** Tells at the end whether V8 took the cache: `used`, `rejected` or `none`. */
const WATCH = `
const vm = require('node:vm')
vm.Script = class extends vm.Script {
  constructor(text, options) {
    super(text, options)
    const { cachedDataRejected: rejected } = this
    process.on('exit', () => console.log(rejected === undefined ? 'none' : rejected ? 'rejected' : 'used'))
  }
}
`

describe('the code cache', () => {
  let folder = ''
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'wheelfix-launch-'))
    cpSync(DIST, folder, { recursive: true })
    writeFileSync(join(folder, 'watch.cjs'), WATCH)
  })
  after(() => rmSync(folder, { recursive: true, force: true }))

  const cache = (): string => {
    const name = readdirSync(folder).find(entry => entry.endsWith('.cache'))
    assert.ok(name, 'no cache was built')
    return join(folder, name)
  }
  /** The last line: whether V8 took the cache; the first one: the version, by the program itself. */
  const start = (...flags: readonly string[]): string[] =>
    runWell(process.execPath, [
      ...flags,
      '--require',
      join(folder, 'watch.cjs'),
      join(folder, 'wheelfix.cjs'),
      '--version',
    ])
      .trim()
      .split('\n')

  test('is used as it was built', () => {
    const { version } = JSON.parse(readFileSync(join(import.meta.dirname, '../../package.json'), 'utf8'))
    assert.deepEqual(start(), [version, 'used'])
  })

  test('is the same for the same program', () => {
    const built = readFileSync(cache())
    runWell(process.execPath, [
      '--random-seed=1',
      '--eval',
      'require(process.argv[1]).writeCache()',
      join(folder, 'wheelfix.cjs'),
    ])
    assert.ok(readFileSync(cache()).equals(built))
  })

  test('of other flags, cut or empty is rejected, and the program runs', () => {
    assert.equal(start('--no-flush-bytecode').at(-1), 'rejected')
    const built = readFileSync(cache())
    for (const length of [built.length - 1, 100, 0]) {
      writeFileSync(cache(), built.subarray(0, length))
      assert.match(start().join(' '), /^\d+\.\d+\.\d+ rejected$/)
    }
  })

  test('that is not there is not missed', () => {
    rmSync(cache())
    assert.match(start().join(' '), /^\d+\.\d+\.\d+ none$/)
  })
})

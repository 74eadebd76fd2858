// The program as it is started: from V8's code cache where there is one that this Node can use, else compiled.
import assert from 'node:assert/strict'
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { run, runWell } from './support/run.ts'

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
    const name = readdirSync(folder).find(entry => /^wheelfix-front-.*\.cache$/.test(entry))
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

  test('of the whole program is used where the first stage is not enough', () => {
    const lines = (...args: readonly string[]) =>
      run(process.execPath, ['--require', join(folder, 'watch.cjs'), join(folder, 'wheelfix.cjs'), ...args])
    assert.match(lines('restore', '--help').stdout, /^Usage: wheelfix restore [^]*\nused\n$/)
    assert.match(lines('restore', folder).stdout, /^used\n$/)
    // the first stage fails, says nothing, and leaves all to the whole program
    const { stdout, stderr, status } = lines('check', '--ignore', 'x', folder)
    assert.deepEqual([status, stdout], [2, 'used\n'])
    assert.match(stderr, /^error: [^\n]*\n$/)
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

  test('of other flags is rejected, and the program runs', () => {
    assert.deepEqual(start('--no-flush-bytecode').at(-1), 'rejected')
  })

  test('that is cut or damaged is left alone, and the program runs', () => {
    const built = readFileSync(cache())
    const flipped = Buffer.from(built)
    flipped[built.length >> 1] = ~(built[built.length >> 1] ?? 0)
    const zeroed = Buffer.from(built).fill(0, 1 << 16, (1 << 16) + 4096)
    for (const damaged of [flipped, zeroed, built.subarray(0, -1), built.subarray(0, 100), Buffer.alloc(0)]) {
      writeFileSync(cache(), damaged)
      assert.match(start().join(' '), /^\d+\.\d+\.\d+ none$/)
    }
    writeFileSync(cache(), built)
  })

  test('of another program with the same length is left alone', () => {
    const program = join(folder, 'wheelfix.cjs')
    const text = readFileSync(program, 'latin1')
    const shouted = text.replace('Makes PyPI wheels work', 'MAKES PYPI WHEELS WORK')
    assert.equal(shouted.length, text.length)
    writeFileSync(program, shouted, 'latin1')
    assert.match(runWell(process.execPath, [program, '--help']), /MAKES PYPI WHEELS WORK/)
    writeFileSync(program, text, 'latin1')
    assert.equal(start().at(-1), 'used')
  })

  test('can be absent', () => {
    rmSync(cache())
    assert.match(start().join(' '), /^\d+\.\d+\.\d+ none$/)
  })
})

test('an installation without the whole program says so', () => {
  const folder = mkdtempSync(join(tmpdir(), 'wheelfix-half-'))
  try {
    cpSync(join(DIST, 'wheelfix.cjs'), join(folder, 'wheelfix.cjs'))
    const { status, stderr } = run(process.execPath, [join(folder, 'wheelfix.cjs'), 'doctor', folder])
    assert.equal(status, 2)
    assert.match(
      stderr,
      /^error: this installation is not complete: \S+program\.txt is missing\. Install wheelfix again\n$/,
    )
  } finally {
    rmSync(folder, { recursive: true })
  }
})

test('the program imports nothing while it runs, because its text is run without a loader of modules', () => {
  for (const name of ['wheelfix.cjs', 'program.txt'])
    assert.doesNotMatch(readFileSync(join(DIST, name), 'latin1'), /(?<![\w.$])import\(/)
})

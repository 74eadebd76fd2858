// The program as it is started: from V8's code cache where there is one that this Node can use, else compiled.
import assert from 'node:assert/strict'
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
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

  test('of a later stage is used where the first stage is not enough', () => {
    const lines = (...args: readonly string[]) =>
      run(process.execPath, ['--require', join(folder, 'watch.cjs'), join(folder, 'wheelfix.cjs'), ...args])
    assert.match(lines('restore', '--help').stdout, /^Usage: wheelfix restore [^]*\nused\n$/)
    assert.match(lines('restore', join(folder, 'absent')).stdout, /^used\n$/)
    // the first stage fails, says nothing, and leaves all to the next
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
    const front = join(folder, 'front.txt')
    const text = readFileSync(front, 'latin1')
    const shouted = text.replace('Makes PyPI wheels work', 'MAKES PYPI WHEELS WORK')
    assert.equal(shouted.length, text.length)
    writeFileSync(front, shouted, 'latin1')
    assert.match(runWell(process.execPath, [join(folder, 'wheelfix.cjs'), '--help']), /MAKES PYPI WHEELS WORK/)
    writeFileSync(front, text, 'latin1')
    assert.equal(start().at(-1), 'used')
  })

  test('can be absent', () => {
    rmSync(cache())
    assert.match(start().join(' '), /^\d+\.\d+\.\d+ none$/)
  })
})

test('the stage for environments does their commands, and the whole program the others', () => {
  const folder = mkdtempSync(join(tmpdir(), 'wheelfix-stages-'))
  try {
    cpSync(DIST, folder, { recursive: true })
    const at = (name: string) => join(folder, name)
    const help = (...args: readonly string[]) => run(process.execPath, [at('wheelfix.cjs'), ...args, '--help']).stdout
    const mark = (stage: string) => {
      const text = readFileSync(join(DIST, `${stage}.txt`), 'latin1')
      const says = `{require('node:fs').writeSync(1, ${JSON.stringify(`${stage}\n`)});`
      writeFileSync(
        at(`${stage}.txt`),
        text.replace('{', () => says),
      )
    }
    for (const stage of ['front', 'environments', 'program']) mark(stage)
    assert.match(help('restore'), /^environments\nUsage: wheelfix restore /)
    assert.match(help('doctor'), /^program\nUsage: wheelfix doctor /)
    assert.match(help('-q', 'restore'), /^program\nUsage: wheelfix restore /)
    assert.match(help('venv'), /^front\nUsage: wheelfix venv /)
    // there is no answer of an earlier run
    mkdirSync(at('venv'))
    writeFileSync(at('venv/pyvenv.cfg'), 'home = /absent\n')
    for (const command of ['venv', 'check', 'loader', 'restore']) {
      const { stdout, stderr, status } = run(process.execPath, [at('wheelfix.cjs'), command, at('venv')])
      assert.deepEqual([stdout.split('\n')[0], status === 70], ['environments', false], stderr)
    }
    // without its file a stage is left to the whole program
    rmSync(at('environments.txt'))
    assert.match(help('restore'), /^program\nUsage: wheelfix restore /)
    rmSync(at('front.txt'))
    assert.match(help('venv'), /^program\nUsage: wheelfix venv /)
    // the name patchelf means patchelf's command line, whatever its first word is
    symlinkSync(at('wheelfix.cjs'), at('patchelf'))
    mark('environments')
    const { stdout } = run(process.execPath, ['--preserve-symlinks-main', at('patchelf'), 'restore'])
    assert.match(stdout, /^program\n/)
  } finally {
    rmSync(folder, { recursive: true })
  }
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
  for (const name of ['wheelfix.cjs', 'front.txt', 'environments.txt', 'program.txt'])
    assert.doesNotMatch(readFileSync(join(DIST, name), 'latin1'), /(?<![\w.$])import\(/)
})

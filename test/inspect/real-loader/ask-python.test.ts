// What doctor says of objects that end the process that loads them.
import assert from 'node:assert/strict'
import { mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, suite, test } from 'node:test'
import { askPython } from '../../../src/inspect/real-loader/ask-python.ts'
import { missing } from '../../support/requires.ts'
import { runWell } from '../../support/run.ts'

suite('an object that ends its process', { skip: missing('gcc', 'python3') }, () => {
  const folder = mkdtempSync(join(realpathSync(tmpdir()), 'wheelfix-ends-'))
  after(() => rmSync(folder, { recursive: true }))

  /** What is said of a library whose constructor does that. */
  const saidOf = (statement: string): string | null | undefined => {
    const source = join(folder, 'ends.c')
    const library = join(folder, 'libends.so')
    writeFileSync(
      source,
      `#include <signal.h>\n#include <unistd.h>\n__attribute__((constructor)) static void end(void) { ${statement}; }\n`,
    )
    runWell('gcc', ['-shared', '-fPIC', '-o', library, source])
    const verdicts = askPython('python3', [library], process.env)
    assert.ok(typeof verdicts !== 'string')
    return verdicts.get(library)?.error
  }

  test('with a status', () => assert.equal(saidOf('_exit(220)'), 'the process ended with status 220'))
  test('by a signal', () => assert.equal(saidOf('raise(SIGKILL)'), 'the process ended with signal 9'))
  test('or does not', () => assert.equal(saidOf(''), null))
})

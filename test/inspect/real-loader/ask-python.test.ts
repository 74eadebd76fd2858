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

test('a Python that does not start is told by its error, not by the last line that it prints', t => {
  // what CPython 3.11 prints without its standard library
  const folder = mkdtempSync(join(realpathSync(tmpdir()), 'wheelfix-bare-'))
  t.after(() => rmSync(folder, { recursive: true }))
  const python = join(folder, 'python3')
  const saidOf = (...lines: readonly string[]) => {
    const body = lines.map(line => `echo "${line}" >&2`).join('\n')
    writeFileSync(python, `#!/bin/sh\ncat >/dev/null\n${body}\nexit 1\n`, { mode: 0o755 })
    return askPython(python, [], process.env)
  }
  const said = saidOf(
    'Could not find platform independent libraries <prefix>',
    'Fatal Python error: init_fs_encoding: failed to get the Python codec of the filesystem encoding',
    'Python runtime state: core initialized',
    "ModuleNotFoundError: No module named 'encodings'",
    '',
    'Current thread 0x00007fe2aa9e9740 (most recent call first):',
    '  <no Python frame>',
  )
  assert.equal(said, "ModuleNotFoundError: No module named 'encodings'")
  assert.equal(saidOf('python3: something else', ''), 'python3: something else')
  assert.equal(saidOf(), 'it ended with status 1 and printed nothing')
})

// What doctor says of objects that end the process that loads them.
import assert from 'node:assert/strict'
import { mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, suite, test } from 'node:test'
import { askPython, importModules } from '../../../src/inspect/real-loader/ask-python.ts'
import { missing } from '../../support/requires.ts'
import { runWell } from '../../support/run.ts'

suite('an object that ends its process', { skip: missing('gcc', 'python3') }, () => {
  const folder = mkdtempSync(join(realpathSync(tmpdir()), 'wheelfix-ends-'))
  after(() => rmSync(folder, { recursive: true }))

  const said = (library: string, isModule = false): string | null | undefined => {
    const verdicts = askPython('python3', [{ path: library, isModule }], process.env)
    assert.ok(typeof verdicts !== 'string')
    return verdicts.get(library)?.error
  }

  /** What is said of a library whose constructor does that. */
  const saidOf = (statement: string): string | null | undefined => {
    const source = join(folder, 'ends.c')
    const library = join(folder, 'libends.so')
    writeFileSync(
      source,
      `#include <signal.h>\n#include <unistd.h>\n__attribute__((constructor)) static void end(void) { ${statement}; }\n`,
    )
    runWell('gcc', ['-shared', '-fPIC', '-o', library, source])
    return said(library)
  }

  test('with a status', () => assert.equal(saidOf('_exit(220)'), 'the process ended with status 220'))
  test('by a signal', () => assert.equal(saidOf('raise(SIGKILL)'), 'the process ended with signal 9'))
  test('or does not', () => assert.equal(saidOf(''), null))

  test('with the status of success', () => assert.equal(saidOf('_exit(0)'), 'the process ended with status 0'))
  test('in the middle of a line of its own', () => {
    assert.equal(saidOf('write(1, "abc", 3)'), null)
    assert.equal(saidOf('write(1, "abc", 3); _exit(3)'), 'the process ended with status 3')
  })
  test('with its last words', () => {
    const words = 'write(2, "one\\n two \\n\\n", 10); raise(SIGABRT)'
    assert.equal(saidOf(words), 'the process ended with signal 6: two')
  })
  test('or hangs: the others are loaded in the time that is left, each with a shorter limit', () => {
    const source = join(folder, 'hangs.c')
    // it ignores signals, and has a clock of its own
    const hang = 'signal(SIGALRM, SIG_IGN); alarm(1); for (;;) pause();'
    writeFileSync(
      source,
      `#include <signal.h>\n#include <unistd.h>\n__attribute__((constructor)) static void end(void) { ${hang} }\n`,
    )
    const libraries = ['a', 'b', 'c', 'd'].map(name => join(folder, `lib${name}.so`))
    for (const [index, library] of libraries.entries()) {
      runWell('gcc', [
        '-shared',
        '-fPIC',
        '-o',
        library,
        index === 2 ? '-xc' : source,
        ...(index === 2 ? ['/dev/null'] : []),
      ])
    }
    const ask = (limits: { readonly each: number; readonly afterHang: number; readonly all: number }) => {
      const asked = libraries.map(path => ({ path, isModule: false }))
      const verdicts = askPython('python3', asked, process.env, limits)
      assert.ok(typeof verdicts !== 'string')
      return libraries.map(library => verdicts.get(library)?.error)
    }
    const late = (seconds: number) => `it did not end within ${seconds} seconds`
    assert.deepEqual(ask({ each: 3, afterHang: 2, all: 60 }), [late(3), late(2), null, late(2)])
    const over = 'it was not loaded: others hung for 4 seconds'
    assert.deepEqual(ask({ each: 20, afterHang: 20, all: 4 }), [late(4), over, over, over])
  })
  test('or is slow: what ends by itself takes no time from the others', () => {
    const source = join(folder, 'slow.c')
    writeFileSync(source, '#include <unistd.h>\n__attribute__((constructor)) static void slow(void) { sleep(3); }\n')
    const libraries = ['a', 'b', 'c', 'd', 'e'].map(name => join(folder, `libslow-${name}.so`))
    for (const library of libraries) runWell('gcc', ['-shared', '-fPIC', '-o', library, source])
    const asked = libraries.map(path => ({ path, isModule: false }))
    const verdicts = askPython('python3', asked, process.env, { each: 60, afterHang: 60, all: 10 })
    assert.ok(typeof verdicts !== 'string')
    assert.deepEqual(
      libraries.map(library => verdicts.get(library)?.error),
      [null, null, null, null, null],
    )
  })
  test('or closes what the answer goes through', () => {
    assert.match(saidOf('for (int i = 0; i < 99; i++) close(i)') ?? '', /^the process ended with status \d+/)
  })
  test('or reads what is left of the questions', () => {
    assert.equal(saidOf('char text[9]; while (read(0, text, 9) > 0) {}'), null)
  })

  test('a function that nobody defines ends an import at once, and a library only when it is called', () => {
    const library = join(folder, 'libcalls.so')
    writeFileSync(join(folder, 'calls.c'), 'int nowhere(void); int calls(void) { return nowhere(); }\n')
    runWell('gcc', ['-shared', '-fPIC', '-o', library, join(folder, 'calls.c')])
    assert.match(said(library, true) ?? '', /undefined symbol: nowhere$/)
    assert.equal(said(library, false), null)
  })

  test('a search path that begins in the current folder finds nothing there', t => {
    const below = join(folder, 'libbelow.so')
    writeFileSync(join(folder, 'below.c'), 'int below(void) { return 1; }\n')
    runWell('gcc', ['-shared', '-fPIC', '-Wl,-soname,libbelow.so', '-o', below, join(folder, 'below.c')])
    const library = join(folder, 'librelative.so')
    const path = ['-Wl,--no-as-needed', below, '-Wl,-rpath,.:']
    runWell('gcc', ['-shared', '-fPIC', '-o', library, join(folder, 'below.c'), ...path])
    const before = process.cwd()
    process.chdir(folder)
    t.after(() => process.chdir(before))
    assert.match(said(library) ?? '', /^libbelow\.so: cannot open shared object/)
  })

  test('a module of the current folder is not taken for one of the environment', t => {
    const modules = mkdtempSync(join(folder, 'modules-'))
    writeFileSync(join(modules, 'wheelfix_here.py'), '')
    writeFileSync(join(modules, 'signal.py'), 'raise SystemExit\n')
    const before = process.cwd()
    process.chdir(modules)
    t.after(() => process.chdir(before))
    const errors = importModules('python3', ['wheelfix_here', 'json'], process.env)
    assert.deepEqual([...errors], [['wheelfix_here', "ModuleNotFoundError: No module named 'wheelfix_here'"]])
  })

  test('a module that ends its process does not count as imported, also with the status of success', () => {
    runWell('python3', ['-m', 'venv', '--without-pip', join(folder, 'venv')])
    const python = join(folder, 'venv/bin/python')
    const site = runWell(python, ['-c', 'import site; print(site.getsitepackages()[0])']).trim()
    writeFileSync(join(site, 'wheelfix_leaves.py'), 'import os\nos.write(1, b"wheelfix 00")\nos._exit(0)\n')
    assert.deepEqual(
      [...importModules(python, ['wheelfix_leaves', 'json'], process.env)],
      [['wheelfix_leaves', 'the process ended with status 0']],
    )
  })
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

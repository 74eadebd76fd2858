import assert from 'node:assert/strict'
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  realpathSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { WheelfixError, type WheelfixErrorCode } from '../../src/io/error.ts'
import { extensionSuffixes, findInterpreter, type Interpreter, scriptTarget } from '../../src/python/interpreter.ts'
import { findVenv } from '../../src/python/pyvenv.ts'
import { missing } from '../support/requires.ts'
import { runWell } from '../support/run.ts'

const root = realpathSync(mkdtempSync(join(tmpdir(), 'wheelfix-python-')))
after(() => rmSync(root, { recursive: true }))

const needsPython = missing('python3')
/** What python3 itself says: where it really is, and what it is. */
const host: { exe: string; version: string; suffixes: string[]; home: string } = needsPython
  ? { exe: '', version: '3.11.0', suffixes: [], home: '' }
  : JSON.parse(
      runWell('python3', [
        '-c',
        'import os,sys,json,platform,_imp;' +
          'print(json.dumps({"exe":os.readlink("/proc/self/exe"),"version":platform.python_version(),"suffixes":_imp.extension_suffixes(),"home":os.path.dirname(os.path.realpath(sys.executable))}))',
      ]),
    )

/** A venv folder made by hand whose bin/python is what `make` puts there. */
function venv(name: string, make: (python: string) => void, config = ''): string {
  const path = join(root, name)
  const [major, minor] = host.version.split('.')
  mkdirSync(join(path, 'bin'), { recursive: true })
  mkdirSync(join(path, `lib/python${major}.${minor}/site-packages`), { recursive: true })
  writeFileSync(join(path, 'pyvenv.cfg'), `home = ${host.home}\nversion = ${host.version}\n${config}`)
  make(join(path, 'bin/python'))
  return path
}

const find = (path: string): Interpreter => findInterpreter(findVenv({ argument: path, env: {}, cwd: root }))

function script(path: string, text: string): string {
  writeFileSync(path, text)
  chmodSync(path, 0o755)
  return path
}

/** The Python that is found is the one that runs: /proc/self/exe of a started bin/python. */
function agrees(path: string, how?: readonly string[]): void {
  const found = find(path)
  const exe = runWell(join(path, 'bin/python'), ['-c', 'import os; print(os.readlink("/proc/self/exe"))']).trim()
  assert.equal(found.program, exe)
  const steps = found.chain.map(step => step.how)
  assert.deepEqual(steps, how ?? steps)
}

function fails(code: WheelfixErrorCode, message: RegExp, path: string): void {
  assert.throws(
    () => find(path),
    (error: unknown) => {
      assert.ok(error instanceof WheelfixError, String(error))
      assert.equal(error.code, code)
      assert.match(error.message, message)
      return true
    },
  )
}

test('a relative link is followed from the folder that it is really in', { skip: needsPython }, () => {
  // bin/python -> alias/python, alias -> far/away, far/away/python -> ../up: below far, not below root
  mkdirSync(join(root, 'far/away'), { recursive: true })
  symlinkSync('far/away', join(root, 'alias'))
  symlinkSync('../up', join(root, 'far/away/python'))
  symlinkSync(host.exe, join(root, 'far/up'))
  agrees(
    venv('links', python => symlinkSync('../../alias/python', python)),
    ['link', 'link', 'link'],
  )
})

test(
  'a script that execs Python is followed, as makeWrapper and nix-shell users write it',
  { skip: needsPython },
  () => {
    const wrap = (name: string, text: string) => venv(name, python => script(python, text))
    const exe = host.exe
    agrees(wrap('plain', `#!/bin/sh\nexec ${exe} "$@"\n`), ['script'])
    agrees(wrap('make', `#! /bin/bash -e\nexport PATH='/x:'"$PATH"\nexec -a "$0" "${exe}"  "$@" \n`), ['script'])
    agrees(wrap('env', `#!/bin/sh\n# exec /nowhere "$@"\nexec /usr/bin/env A=1 '${exe}' \\\n  "$@"\n`), ['script'])
    agrees(wrap('call', `#!/bin/sh\n${exe} "$@"\n`), ['script'])
    const inner = script(join(root, 'inner'), `#!/bin/sh\nexec "${exe}" "$@"\n`)
    agrees(wrap('two', `#!/bin/sh\nif [ -n "$X" ]; then\n  exec "${inner}" "$@"\nfi\nexec "${inner}" "$@"\n`), [
      'script',
      'script',
    ])
  },
)

test('a script that computes what it runs counts as the home of pyvenv.cfg', { skip: needsPython }, () => {
  const path = venv('shim', python => script(python, '#!/bin/sh\nexec "$(command -v python3)" "$@"\n'))
  const found = find(path)
  assert.equal(found.program, host.exe)
  assert.equal(found.chain[0]?.how, 'home')
})

test('a script without a Python behind it is refused', () => {
  const path = venv('blind', python => script(python, '#!/bin/sh\nexec "$PYTHON" "$@"\n'))
  writeFileSync(join(path, 'pyvenv.cfg'), 'home = /nowhere\nversion = 3.11.1\n')
  fails('PYTHON_UNSUPPORTED', /is a script that does not say which Python it starts/, path)
})

test('a script execs the last of its commands that passes on the arguments', () => {
  assert.equal(scriptTarget('#!/bin/sh\nexec /a/b "$@"\n'), '/a/b')
  assert.equal(scriptTarget('exec -a "$0" \'/with space/b\' "$@"'), '/with space/b')
  assert.equal(scriptTarget('exec -l -a x /a\\ b "$@"'), '/a b')
  assert.equal(scriptTarget('if test -n "$X"; then\n  exec /first "$@"\nfi\nexec /last "$@"\n'), '/last')
  assert.equal(scriptTarget('exec "/a/$X/b" "$@"'), null)
  assert.equal(scriptTarget('exec /a/b\n'), null)
  assert.equal(scriptTarget('echo "$@"'), null)
  assert.equal(scriptTarget(''), null)
})

const WRAPPER = (python: string, documented: boolean) => `
#include <unistd.h>
#include <stdlib.h>
${documented ? `const char * DOCSTRING = "\\n\\n\\n# ---\\n# The C-code for this binary wrapper has been generated using the following command:\\n\\n\\nmakeCWrapper '${python}' \\\\\\n    --inherit-argv0 \\\\\\n    --set 'PYTHONNOUSERSITE' 'true'\\n\\n\\n";` : ''}
int main(int argc, char **argv) {
  setenv("NIX_PYTHONEXECUTABLE", "${root}/env/bin/python3", 1);
  setenv("PYTHONNOUSERSITE", "true", 1);
  return execv("${python}", argv);
}`

for (const documented of [true, false]) {
  test(
    `a compiled wrapper is followed ${documented ? 'by the command that made it' : 'by the Python among its strings'}`,
    { skip: needsPython || missing('gcc') },
    () => {
      const wrapper = join(root, 'env/bin/python3')
      mkdirSync(join(root, 'env/bin'), { recursive: true })
      writeFileSync(join(root, 'wrapper.c'), WRAPPER(host.exe, documented))
      runWell('gcc', ['-O2', '-o', wrapper, join(root, 'wrapper.c')])
      agrees(
        venv(`wrapped-${documented}`, python => symlinkSync(wrapper, python)),
        ['link', 'wrapper'],
      )
      // the strings of a copy may name the wrapper that it is a copy of first: two steps then
      agrees(venv(`copied-${documented}`, python => copyFileSync(wrapper, python)))
    },
  )
}

test('an ELF program that is not Python and names no Python is refused', { skip: missing('gcc') }, () => {
  writeFileSync(join(root, 'other.c'), 'int main(void) { return 0; }')
  const path = venv('other', python => runWell('gcc', ['-o', python, join(root, 'other.c')]))
  fails('PYTHON_UNSUPPORTED', /not Python, and names no Python/, path)
})

test('a static interpreter is refused', { skip: missing('gcc') }, () => {
  writeFileSync(join(root, 'static.c'), 'void _start(void) { for (;;); }')
  const path = venv('static', python => runWell('gcc', ['-static', '-nostdlib', '-o', python, join(root, 'static.c')]))
  fails('PYTHON_UNSUPPORTED', /linked statically/, path)
})

test('the message about a missing Python names it and says how to make the venv again', () => {
  const gone = '/nix/store/00000000000000000000000000000000-python3-3.11.9/bin/python3.11'
  fails(
    'PYTHON_NOT_FOUND',
    /bin\/python leads to \/nix\/store\/0+-python3-3\.11\.9\/bin\/python3\.11, which does not exist: .*garbage-collected; make it again: python3 -m venv --upgrade/,
    venv('gone', python => symlinkSync(gone, python)),
  )
  fails(
    'PYTHON_NOT_FOUND',
    /make it again: uv venv --clear/,
    venv('gone-uv', python => symlinkSync(gone, python), 'uv = 0.9\n'),
  )
  fails(
    'PYTHON_NOT_FOUND',
    /bin\/python does not exist; make it again/,
    venv('none', () => undefined),
  )
  fails(
    'PYTHON_NOT_FOUND',
    /which does not exist/,
    venv('script-gone', python => script(python, `#!/bin/sh\nexec ${gone} "$@"\n`)),
  )
})

test('links and scripts that form a circle are refused', () => {
  fails(
    'PYTHON_NOT_FOUND',
    /leads back to itself/,
    venv('loop', python => symlinkSync('python', python)),
  )
  fails(
    'PYTHON_NOT_FOUND',
    /leads back to itself/,
    venv('self', python => script(python, `#!/bin/sh\nexec ${python} "$@"\n`)),
  )
})

test('a file that cannot be an interpreter is refused with its path', () => {
  fails(
    'PYTHON_UNSUPPORTED',
    /bin\/python is not a file/,
    venv('folder', python => mkdirSync(python)),
  )
  fails(
    'PYTHON_NOT_FOUND',
    /cannot be read and run \(EACCES\): give yourself permission/,
    venv('no-x', python => writeFileSync(python, 'x')),
  )
  fails(
    'PYTHON_UNSUPPORTED',
    /neither an ELF program nor a script/,
    venv('text', python => script(python, 'hello')),
  )
  fails(
    'PYTHON_UNSUPPORTED',
    /neither an ELF program nor a script/,
    venv('empty', python => script(python, '')),
  )
})

test('a damaged interpreter is refused', { skip: needsPython }, () => {
  const path = venv('cut', python => {
    copyFileSync(host.exe, python)
    truncateSync(python, 100)
  })
  fails('PYTHON_UNSUPPORTED', /is a damaged ELF file/, path)
})

test('the program wins over an old pyvenv.cfg', { skip: needsPython }, () => {
  const path = venv('stale', python => symlinkSync(host.exe, python))
  writeFileSync(join(path, 'pyvenv.cfg'), `home = ${host.home}\nversion = 3.2.1\n`)
  assert.equal(find(path).version, host.version.split('.').slice(0, 2).join('.'))
})

test('the suffixes of extension modules, for Pythons that are not installed here', { skip: needsPython }, () => {
  const { object } = find(venv('suffixes', python => symlinkSync(host.exe, python)))
  const on = (machine: number, more: object = {}, interpreter = '/lib/ld-linux.so.2') => ({
    ...object,
    ptInterp: interpreter,
    header: { ...object.header, class: 64 as const, byteOrder: 'little' as const, flags: 0, machine, ...more },
  })
  const first = (version: string, of: ReturnType<typeof on>) => extensionSuffixes(version, false, of)[0]
  assert.deepEqual(extensionSuffixes('3.13.1', true, on(62)), ['.cpython-313t-x86_64-linux-gnu.so', '.abi3.so', '.so'])
  assert.ok(extensionSuffixes('3.14.10', false, on(62)).includes('.abi3-x86_64-linux-gnu.so'))
  assert.deepEqual(extensionSuffixes('3.15.0', false, on(62)), [
    '.cpython-315-x86_64-linux-gnu.so',
    '.abi3-x86_64-linux-gnu.so',
    '.abi3.so',
    '.abi3t-x86_64-linux-gnu.so',
    '.abi3t.so',
    '.so',
  ])
  assert.deepEqual(extensionSuffixes('3.15.0', true, on(62)), [
    '.cpython-315t-x86_64-linux-gnu.so',
    '.abi3t-x86_64-linux-gnu.so',
    '.abi3t.so',
    '.so',
  ])
  assert.deepEqual(extensionSuffixes('3.12', false, on(183, {}, '/nix/store/x-musl/lib/ld-musl-aarch64.so.1')), [
    '.cpython-312-aarch64-linux-musl.so',
    '.cpython-312-aarch64-linux-gnu.so',
    '.abi3.so',
    '.so',
  ])
  assert.equal(first('3.7.16', on(3, { class: 32 })), '.cpython-37m-i386-linux-gnu.so')
  assert.equal(first('3.11', on(40, { class: 32, flags: 0x5000400 })), '.cpython-311-arm-linux-gnueabihf.so')
  assert.equal(first('3.11', on(21)), '.cpython-311-powerpc64le-linux-gnu.so')
  assert.equal(first('3.11', on(22, { byteOrder: 'big' })), '.cpython-311-s390x-linux-gnu.so')
  assert.equal(first('3.11', on(243)), '.cpython-311-riscv64-linux-gnu.so')
  assert.deepEqual(extensionSuffixes('3.11', false, on(0x9999)), ['.abi3.so', '.so'])
})

test('every Python of this machine is read as it is', { skip: needsPython }, () => {
  const versions = join(process.env['PYENV_ROOT'] ?? '/nowhere', 'versions')
  const pyenv = existsSync(versions) ? readdirSync(versions).map(version => join(versions, version, 'bin/python3')) : []
  for (const path of [host.exe, '/usr/bin/python3', ...pyenv]) {
    if (!existsSync(path)) continue
    const told = JSON.parse(
      runWell(path, [
        '-c',
        'import json,os,_imp;print(json.dumps([os.readlink("/proc/self/exe"),_imp.extension_suffixes()]))',
      ]),
    ) as [string, string[]]
    const made = venv(`of ${path.replaceAll('/', '_')}`, python => symlinkSync(path, python), 'version_info = \n')
    const found = find(made)
    // only Debian's 3.14 has the suffix with the platform
    const suffixes = found.extensionSuffixes.filter(name => told[1].includes(name) || !name.startsWith('.abi3-'))
    assert.deepEqual([found.program, suffixes], told)
  }
})

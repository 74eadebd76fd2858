import assert from 'node:assert/strict'
import { after, suite, test } from 'node:test'
import { skip } from '../support/requires.ts'
import { run, runWell } from '../support/run.ts'
import { replaceBuiltinDirectories } from './builtin.ts'
import { buildWorld } from './world.ts'

const LOAD_CXX = 'import ctypes; ctypes.CDLL("libstdc++.so.6")'
const MAPPED_OUTSIDE = `
import ctypes, sqlite3, ssl, sys, zlib, bz2, lzma
print([line for line in open("/proc/self/maps") if ".so" in line and sys.argv[1] not in line])`

suite('the world', () => {
  const world = buildWorld()
  if (typeof world === 'string') {
    test('can be built', { skip: skip(world) })
    return
  }
  after(() => world.dispose())

  test('Python loads no library from outside of the store', () => {
    assert.equal(runWell(world.python, ['-c', MAPPED_OUTSIDE, world.store], { env: world.env }).trim(), '[]')
  })

  test('a library that the host has is not found by its soname', () => {
    const { status, stderr } = run(world.python, ['-c', LOAD_CXX], { env: world.env })
    assert.equal(status, 1)
    assert.match(stderr, /libstdc\+\+\.so\.6: cannot open shared object file: No such file or directory/)
  })

  test('that library loads by its path in the store', () => {
    const code = `import ctypes; ctypes.CDLL("${world.libs.gcc}/libstdc++.so.6")`
    runWell(world.python, ['-c', code], { env: world.env })
  })

  test('its Python makes a venv', () => {
    const venv = `${world.root}/venv`
    runWell(world.python, ['-m', 'venv', '--without-pip', venv], { env: world.env })
    const prefixes = runWell(`${venv}/bin/python`, ['-c', 'import sys; print(sys.prefix, sys.base_prefix)'], {
      env: world.env,
    })
    assert.equal(prefixes.trim(), `${venv} ${world.outputs.python}`)
  })
})

suite('the edit of the loader', () => {
  const loader = Buffer.from(
    '\x01/lib/x86_64-linux-gnu/\0/usr/lib/x86_64-linux-gnu/\0/lib/\0/usr/lib/\0\0/etc/ld.so.cache\0',
  )

  test('keeps every length and pads with slashes', () => {
    const edited = replaceBuiltinDirectories(loader, ['/tmp/wf123456/g/', '/tmp/wf123456/c/'])
    assert.equal(
      edited.toString(),
      '\x01/tmp/wf123456/g///////\0/tmp/wf123456/c///////////\0/nil/\0/nil/////\0\0/nil/ld.so.cache\0',
    )
  })

  test('says why where the directories do not fit', () => {
    const short = Buffer.from('\0/lib64/\0/usr/lib64/\0\0/etc/ld.so.cache\0')
    assert.match(String(replaceBuiltinDirectories(short, ['/tmp/wf123456/g/'])), /leave no room for \/tmp/)
  })
})

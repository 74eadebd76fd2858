// Programs with a payload behind them (bun, PyInstaller, a zip) in an environment: edited in place where the change fits in,
// with the undo in the state folder, which is taken for what it is only where it gives the very bytes that it names.
import assert from 'node:assert/strict'
import { appendFileSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { testVenv, type TestVenv } from '../resolve/venv.ts'
import { interpreterOf } from '../support/elf.ts'
import { run, runWell } from '../support/run.ts'
import { worldSuite } from '../world/suite.ts'

worldSuite('programs with a payload', ['gcc'], world => {
  const source = join(world.root, 'payload.c')
  // it finds its payload from its own end, as such programs do
  writeFileSync(
    source,
    `#include <stdio.h>
int main(void) { char last[8] = ""; FILE *own = fopen("/proc/self/exe", "rb");
  fseek(own, -7, SEEK_END); fread(last, 1, 7, own); puts(last); return 0; }\n`,
  )

  let count = 0
  const rule = (name: string, prove: (venv: TestVenv, tool: string) => void) =>
    test(name, () => {
      const venv = testVenv(world, `payload${count++}`)
      mkdirSync(join(venv.site, 'pack'))
      venv.install('pack', { 'pack/data.txt': 'x' })
      const tool = join(venv.site, 'pack/tool')
      runWell('gcc', ['-o', tool, source])
      appendFileSync(tool, `${'data '.repeat(500)}PAYLOAD`)
      prove(venv, tool)
      rmSync(venv.root, { recursive: true })
    })
  const own = interpreterOf(world.python)
  const undoFolder = (venv: TestVenv) => join(venv.root, '.wheelfix/undo')

  rule('venv gives it the loader, it runs and finds its payload, restore gives it back', (venv, tool) => {
    const before = readFileSync(tool)
    const first = venv.run('venv', '--no-scan')
    assert.equal(first.status, 0, first.stdout)
    assert.equal(interpreterOf(tool), own)
    assert.equal(run(tool, []).stdout, 'PAYLOAD\n')
    assert.equal(readFileSync(tool).length, before.length)
    assert.equal(venv.run('check', '--no-scan').status, 0)
    const edited = readFileSync(tool)
    rmSync(join(venv.root, '.wheelfix/state.json'), { force: true })
    assert.equal(venv.run('venv', '--no-scan').status, 0)
    assert.ok(edited.equals(readFileSync(tool)), 'a second run changes nothing')
    assert.equal(venv.run('doctor', '--no-scan').status, 0)
    assert.equal(venv.run('restore').status, 0)
    assert.ok(before.equals(readFileSync(tool)))
  })

  rule(
    'another loader is put in the place of the first one, and the undo still leads to the original',
    (venv, tool) => {
      const before = readFileSync(tool)
      venv.run('venv', '--no-scan')
      const { status } = venv.run('loader', '--no-scan')
      if (status === 0) {
        assert.match(interpreterOf(tool) ?? '', /\.wheelfix\/loader\//)
        assert.equal(run(tool, []).stdout, 'PAYLOAD\n')
      }
      assert.equal(venv.run('restore').status, 0)
      assert.ok(before.equals(readFileSync(tool)))
    },
  )

  rule('a program that another tool has changed since is left to that tool', (venv, tool) => {
    venv.run('venv', '--no-scan')
    const changed = readFileSync(tool)
    changed.write('CHANGED', changed.length - 7)
    writeFileSync(tool, changed)
    assert.equal(venv.run('restore').status, 0)
    assert.ok(changed.equals(readFileSync(tool)))
  })

  rule('an undo that does not give the bytes it names is not taken', (venv, tool) => {
    venv.run('venv', '--no-scan')
    const edited = readFileSync(tool)
    const [name = ''] = readdirSync(undoFolder(venv))
    const path = join(undoFolder(venv), name)
    const kept = JSON.parse(readFileSync(path, 'utf8')) as Record<string, unknown>
    const hostile = [
      { ...kept, patches: [[0, Buffer.from('#!/bin/sh\n').toString('base64')]] },
      { ...kept, patches: [[edited.length, 'AAAA']] },
      { ...kept, patches: [[-4, 'AAAA']] },
      { ...kept, header: Buffer.from('#!/bin/sh\n').toString('base64') },
      { ...kept, patches: Array.from({ length: 100_000 }, () => [0, 'AA==']) },
      { ...kept, original: 'no hash' },
      [],
      null,
    ]
    for (const content of hostile) {
      writeFileSync(path, JSON.stringify(content))
      assert.ok([0, 1].includes(venv.run('restore', '--dry-run').status ?? 2))
      assert.equal(venv.run('venv', '--no-scan').status, 0)
      assert.ok(edited.equals(readFileSync(tool)))
    }
    rmSync(path)
    symlinkSync('/etc/passwd', path)
    assert.equal(venv.run('venv', '--no-scan').status, 2, 'a link in the state folder is refused')
  })
})

// Programs that other tools build on: PyInstaller puts its archive into a copy of its bootloader by objcopy, which refuses a
// grafted file. They are edited in place where that fits, with the undo in a state folder.
import assert from 'node:assert/strict'
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { testVenv, type TestVenv } from '../resolve/venv.ts'
import { interpreterOf } from '../support/elf.ts'
import { run, runWell } from '../support/run.ts'
import { wheelfix } from '../world/venv.ts'
import { worldSuite } from '../world/suite.ts'

worldSuite('programs as templates', ['gcc', 'objcopy', 'strip'], world => {
  const source = join(world.root, 'template.c')
  writeFileSync(source, '#include <stdio.h>\nint main(void) { puts("runs"); return 0; }\n')
  const own = interpreterOf(world.python) ?? ''
  const elf = (...args: string[]) => {
    const result = wheelfix(world, ['elf', ...args])
    assert.equal(result.status, 0, result.stderr)
    return result.stdout
  }
  const build = (tool: string, flags: readonly string[] = []) => runWell('gcc', ['-o', tool, source, ...flags])

  /** objcopy and strip take it without a word, and what they write runs. */
  const isTemplate = (tool: string): void => {
    writeFileSync(join(world.root, 'data'), 'data')
    const made = `${tool}.made`
    const copied = run('objcopy', ['--add-section', `pydata=${join(world.root, 'data')}`, tool, made])
    assert.deepEqual([copied.status, copied.stderr], [0, ''])
    assert.equal(runWell(made, []), 'runs\n')
    const stripped = run('strip', ['-o', made, tool])
    assert.deepEqual([stripped.status, stripped.stderr], [0, ''])
    assert.equal(runWell(made, []), 'runs\n')
    rmSync(made)
  }

  const layouts = {
    pie: [],
    'no-pie': ['-no-pie'],
    'one segment': ['-Wl,-z,noseparate-code'],
    rpath: ['-Wl,-rpath,/x'],
  }
  for (const [layout, flags] of Object.entries(layouts)) {
    test(`elf edits a program (${layout}) so that objcopy and strip take it, and gives it back`, () => {
      const tool = join(world.root, 'tool')
      build(tool, flags)
      const before = readFileSync(tool)
      elf('--set-interpreter', own, tool)
      isTemplate(tool)
      elf('--set-rpath', `/nix/store/${'0'.repeat(32)}-libraries/lib:/another`, tool)
      isTemplate(tool)
      assert.equal(elf('--verify', tool), '')
      elf('--restore', tool)
      assert.ok(before.equals(readFileSync(tool)))
    })
  }

  test('an edit that does not fit in place is a graft, which objcopy refuses and leaves whole', () => {
    const tool = join(world.root, 'tool')
    build(tool)
    const before = readFileSync(tool)
    elf('--set-rpath', `/${'long/'.repeat(2000)}`, tool)
    assert.ok(readFileSync(tool).length > before.length)
    assert.notEqual(run('objcopy', [tool, `${tool}.made`]).status, 0)
    elf('--restore', tool)
    assert.ok(before.equals(readFileSync(tool)))
  })

  let count = 0
  const rule = (name: string, prove: (venv: TestVenv, tool: string) => void) =>
    test(name, () => {
      const venv = testVenv(world, `template${count++}`)
      mkdirSync(join(venv.site, 'pack'))
      venv.install('pack', { 'pack/data.txt': 'x' })
      const tool = join(venv.site, 'pack/tool')
      build(tool)
      prove(venv, tool)
      rmSync(venv.root, { recursive: true })
    })
  const well = (venv: TestVenv, command: string, ...rest: string[]) => {
    const result = venv.run(command, ...rest)
    assert.equal(result.status, 0, result.stdout)
  }

  rule('venv edits a program so that objcopy takes it, and restore gives it back', (venv, tool) => {
    const before = readFileSync(tool)
    well(venv, 'venv', '--no-scan')
    assert.equal(interpreterOf(tool), own)
    isTemplate(tool)
    well(venv, 'doctor', '--no-scan')
    well(venv, 'restore')
    assert.ok(before.equals(readFileSync(tool)))
  })

  rule(
    'elf after venv goes underneath: restore leaves what elf set, and elf --restore leaves what venv set',
    (venv, tool) => {
      const before = readFileSync(tool)
      const reference = join(world.root, 'reference')
      cpSync(tool, reference)
      elf('--set-rpath', '/from/elf', reference)
      well(venv, 'venv', '--no-scan')
      const patched = readFileSync(tool)
      elf('--set-rpath', '/from/elf', tool)
      assert.equal(interpreterOf(tool), own)
      assert.equal(elf('--print-rpath', tool), '/from/elf\n')
      assert.equal(run(tool, []).stdout, 'runs\n')
      const both = readFileSync(tool)
      elf('--restore', tool)
      assert.ok(patched.equals(readFileSync(tool)))
      elf('--set-rpath', '/from/elf', tool)
      assert.ok(both.equals(readFileSync(tool)))
      well(venv, 'restore')
      assert.ok(readFileSync(reference).equals(readFileSync(tool)))
      elf('--restore', tool)
      assert.ok(before.equals(readFileSync(tool)))
    },
  )

  rule('venv after elf stacks on it: restore leaves what elf set', (venv, tool) => {
    const before = readFileSync(tool)
    elf('--set-rpath', '/from/elf', tool)
    const edited = readFileSync(tool)
    well(venv, 'venv', '--no-scan')
    assert.equal(interpreterOf(tool), own)
    well(venv, 'restore')
    assert.ok(edited.equals(readFileSync(tool)))
    elf('--restore', tool)
    assert.ok(before.equals(readFileSync(tool)))
  })

  test('undos that lead round in a circle, or to other bytes, end', () => {
    const tool = join(world.root, 'tool')
    build(tool)
    const folder = join(world.env['HOME'] ?? '', '.local/state/wheelfix/undo')
    rmSync(folder, { recursive: true, force: true })
    const before = readFileSync(tool)
    elf('--set-rpath', '/a', tool)
    const edited = readFileSync(tool)
    const [name = ''] = readdirSync(folder)
    const kept = JSON.parse(readFileSync(join(folder, name), 'utf8')) as Record<string, unknown>
    const hostile = [
      { ...kept, original: name.slice(0, 64), patches: [] },
      { ...kept, patches: [[0, Buffer.from('#!/bin/sh\n').toString('base64')]] },
      null,
    ]
    for (const content of hostile) {
      writeFileSync(join(folder, name), JSON.stringify(content))
      wheelfix(world, ['elf', '--restore', tool])
      assert.ok(edited.equals(readFileSync(tool)))
    }
    writeFileSync(join(folder, name), JSON.stringify(kept))
    elf('--restore', tool)
    assert.ok(before.equals(readFileSync(tool)))
  })
})

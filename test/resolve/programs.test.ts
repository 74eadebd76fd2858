// Which programs count, and which of them get another loader: each rule on a venv with a real program for it.
import assert from 'node:assert/strict'
import { chmodSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { interpreterOf } from '../support/elf.ts'
import { missing } from '../support/requires.ts'
import { runWell } from '../support/run.ts'
import { MODULE, testVenv, type TestVenv } from './venv.ts'
import { worldSuite } from '../world/suite.ts'

interface Finding {
  readonly code: string
  readonly severity: string
  readonly message: string
  readonly paths: readonly string[]
}

worldSuite('programs of wheels', ['gcc', 'ld'], world => {
  const source = join(world.root, 'program.c')
  writeFileSync(source, 'int lost(void) __attribute__((weak)); int main(void) { return lost ? lost() : 0; }\n')
  const lost = join(world.root, 'liblost.so.1')
  writeFileSync(join(world.root, 'lost.c'), 'int lost(void) { return 0; }\n')
  runWell('gcc', ['-shared', '-fPIC', '-Wl,-soname,liblost.so.1', '-o', lost, join(world.root, 'lost.c')])

  let count = 0
  const rule = (name: string, prove: (venv: TestVenv) => void) =>
    test(name, () => {
      const venv = testVenv(world, `programs${count++}`)
      mkdirSync(join(venv.site, 'pack'))
      prove(venv)
      rmSync(venv.root, { recursive: true })
    })
  const build = (path: string, ...flags: readonly string[]): string => {
    runWell('gcc', ['-o', path, source, '-Wl,--no-as-needed', ...flags])
    return path
  }
  const findings = (venv: TestVenv, code: string): Finding[] => {
    const document = JSON.parse(venv.run('doctor', '--json', '--no-scan').stdout) as { findings: Finding[] }
    return document.findings.filter(finding => finding.code === code)
  }

  /** How a command ends, and what it says is missing. */
  const missingOf = (venv: TestVenv, command: string) => {
    const { status, stdout } = venv.run(command, '--no-scan', '--json')
    const { missing: lacks } = JSON.parse(stdout) as { missing: { soname: string; optional: boolean }[] }
    return { status, missing: lacks.map(({ soname, optional }) => ({ soname, optional })) }
  }

  const started: readonly (readonly [string, readonly string[]])[] = [
    ['position-independent', ['-pie']],
    ['at a fixed address', ['-no-pie']],
  ]
  for (const [what, flags] of started) {
    rule(`a program in a package that is ${what} counts: what it misses fails check and venv`, venv => {
      build(join(venv.site, 'pack/tool'), ...flags, lost)
      for (const command of ['check', 'venv']) {
        assert.deepEqual(missingOf(venv, command), {
          status: 1,
          missing: [{ soname: 'liblost.so.1', optional: false }],
        })
      }
    })
  }

  rule('what a library of the same package lacks counts where a program links to it', venv => {
    const library = join(venv.site, 'pack/libmid.so')
    runWell('gcc', ['-shared', '-fPIC', '-o', library, join(world.root, 'lost.c'), '-Wl,--no-as-needed', lost])
    assert.equal(venv.run('venv', '--no-scan').status, 0, 'nothing starts the library')
    build(join(venv.site, 'pack/tool'), library, '-Wl,-rpath,$ORIGIN', `-Wl,-rpath-link,${world.root}`)
    assert.equal(venv.run('venv', '--no-scan').status, 1)
  })

  rule('a program that nobody may execute as it was installed does not count', venv => {
    chmodSync(build(join(venv.site, 'pack/tool'), lost), 0o644)
    assert.deepEqual(missingOf(venv, 'venv'), { status: 0, missing: [{ soname: 'liblost.so.1', optional: true }] })
  })

  const machine = process.arch === 'x64' ? 'x86-64' : 'aarch64'
  const gone = `${world.store}/${'0'.repeat(32)}-glibc-2.30/lib`
  const foreign = [
    '/system/bin/linker64',
    '/lib64/ld64-uClibc.so.1',
    '/libexec/ld-elf.so.1',
    '/lib/ld-musl-i386.so.1',
    '/lib/ld-linux.so.2',
    '/lib/ld.so.1',
    '/opt/conda/lib/ld-linux-x86-64.so.2',
    `${gone}/ld-musl-x86_64.so.1`,
  ]
  for (const loader of foreign) {
    rule(`a program that asks for ${loader.replace(world.store, 'the store')} keeps it, byte for byte`, venv => {
      const tool = build(join(venv.site, 'pack/tool'), `-Wl,--dynamic-linker,${loader}`)
      const before = readFileSync(tool)
      assert.equal(venv.run('venv', '--no-scan').status, 0)
      assert.ok(before.equals(readFileSync(tool)))
      const [finding] = findings(venv, 'foreign-program')
      assert.equal(
        finding?.message,
        `a program asks for ${loader}, the loader of another system, which does not exist here`,
      )
      assert.equal(finding.severity, 'note')
    })
  }

  rule('a module that names a loader, so that it also runs, is a module', venv => {
    const code = join(world.root, 'runs.c')
    const interp = '__attribute__((section(".interp"))) const char interp[] = "/lib64/ld-linux-x86-64.so.2";'
    writeFileSync(code, `${interp}\nint lost(void); int PyInit_runs(void) { return lost(); }\n`)
    for (const name of [`runs${MODULE}`, 'libruns.so.1', 'libruns.so']) {
      runWell('gcc', ['-shared', '-fPIC', '-o', join(venv.site, 'pack', name), code, '-Wl,--no-as-needed', lost])
    }
    // modules seldom have the execute permission, and count all the same
    chmodSync(join(venv.site, `pack/runs${MODULE}`), 0o644)
    const { status, stdout } = venv.run('venv', '--no-scan', '--json')
    const { objects } = JSON.parse(stdout) as { objects: { path: string; kind: string }[] }
    assert.deepEqual(
      objects.map(({ path, kind }) => [path.slice(path.lastIndexOf('/') + 1), kind]),
      [
        ['libruns.so', 'library'],
        ['libruns.so.1', 'library'],
        [`runs${MODULE}`, 'extension'],
      ],
    )
    assert.equal(status, 1)
    assert.equal(venv.run('why', 'pack.runs', '--no-scan').status, 1)
    assert.deepEqual(
      findings(venv, 'library-missing').map(({ severity }) => severity),
      ['error'],
    )
    assert.deepEqual(findings(venv, 'loader-refuses'), [])
  })

  rule('a program that asks for a folder as its loader cannot start, and doctor says so', venv => {
    build(join(venv.site, 'pack/tool'), '-Wl,--dynamic-linker,/')
    assert.equal(venv.run('venv', '--no-scan').status, 0)
    assert.deepEqual(
      findings(venv, 'foreign-program').map(({ message }) => message),
      ['a program asks for /, the loader of another system, which is not a program here'],
    )
  })

  const withoutMusl = missing('musl-gcc')
  test('a program of another libc that is here is resolved by the rules of that libc', { skip: withoutMusl }, () => {
    const venv = testVenv(world, 'programs-musl')
    const tool = join(venv.site, 'tool')
    runWell('musl-gcc', ['-o', tool, source])
    const before = readFileSync(tool)
    const { status, stdout } = venv.run('venv', '--no-scan')
    assert.equal(status, 0, stdout)
    assert.ok(before.equals(readFileSync(tool)))
    runWell('musl-gcc', ['-o', tool, source, '-Wl,--no-as-needed', lost])
    assert.deepEqual(missingOf(venv, 'venv'), { status: 1, missing: [{ soname: 'liblost.so.1', optional: false }] })
  })

  const own = interpreterOf(world.python)
  const replaced = [
    `/lib64/ld-linux-${machine}.so.2`,
    `/lib/ld-linux-${machine}.so.2`,
    `/lib64/ld-lsb-${machine}.so.3`,
    '/lib/x86_64-linux-gnu/ld-2.31.so',
    '/lib64/ld-2.17.so',
    `//lib64/ld-linux-${machine}.so.2`,
    `/usr/../lib64/./ld-linux-${machine}.so.2`,
    `${gone}/ld-2.30.so`,
    `${gone}/ld-linux-${machine}.so.2`,
  ]
  // the loader's name and its version are of this machine: on aarch64 it is ld-linux-aarch64.so.1
  for (const loader of process.arch === 'x64' ? replaced : []) {
    rule(`a program that asks for ${loader.replace(world.store, 'the store')} gets Python's`, venv => {
      const tool = build(join(venv.site, 'pack/tool'), `-Wl,--dynamic-linker,${loader}`)
      assert.equal(venv.run('venv', '--no-scan').status, 0)
      assert.equal(interpreterOf(tool), own)
      runWell(tool, [])
      assert.deepEqual(findings(venv, 'foreign-program'), [])
    })
  }

  rule('doctor notes executable scripts whose interpreter NixOS does not have', venv => {
    const write = (name: string, line: string, mode = 0o755) =>
      writeFileSync(join(venv.site, 'pack', name), `${line}\n`, { mode })
    write('launch', '#!/bin/bash -e')
    write('launch2', '#! /bin/bash')
    write('gone', '#!/nowhere/perl')
    write('plain', '#!/bin/sh')
    write('env', '#!/usr/bin/env bash')
    write('data', '#!/bin/bash', 0o644)
    write('module.py', '#!/usr/bin/python')
    const found = findings(venv, 'script-interpreter')
    assert.deepEqual(
      found.map(({ severity, message, paths }) => [severity, message, paths.length]),
      [
        ['note', '/nowhere/perl', 1],
        ['note', '/bin/bash', 2],
      ].map(([severity, name, number]) => [
        severity,
        `${number === 1 ? 'a script starts' : '2 scripts start'} ${name}, which NixOS does not have`,
        number,
      ]),
    )
    assert.equal(venv.run('doctor', '--no-scan').status, 0)
  })
})

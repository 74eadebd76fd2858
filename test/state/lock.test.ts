// The lock of a venv: one run at a time, and a killed one holds nobody up.
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { lockVenv } from '../../src/state/lock.ts'

function withVenv(use: (venv: string, lock: string) => void): void {
  const venv = mkdtempSync(join(tmpdir(), 'wheelfix-lock-'))
  try {
    mkdirSync(join(venv, '.wheelfix'))
    use(venv, join(venv, '.wheelfix/lock'))
  } finally {
    rmSync(venv, { recursive: true })
  }
}

test('the lock of a process that is gone is taken over, and nothing of it stays', () => {
  withVenv((venv, path) => {
    const { pid } = spawnSync(process.execPath, ['-e', '0'])
    writeFileSync(path, `${pid}\n`)
    const lock = lockVenv({ root: venv, stateFolder: join(venv, '.wheelfix') })
    assert.ok(lock.waited, 'what was read before may have changed')
    assert.equal(readFileSync(path, 'utf8'), `${process.pid}\n`)
    assert.deepEqual(readdirSync(join(venv, '.wheelfix')), ['lock'])
    lock.release()
    assert.ok(!existsSync(path))
  })
})

test('a lock without a number is not taken for a killed run’s while it is new', () => {
  withVenv((venv, path) => {
    writeFileSync(path, '')
    const began = Date.now()
    lockVenv({ root: venv, stateFolder: join(venv, '.wheelfix') }).release()
    assert.ok(Date.now() - began > 1000)
  })
})

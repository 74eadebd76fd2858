// Which files of a private loader a venv still has, wherever the user may not look.
import assert from 'node:assert/strict'
import { chmodSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { hasLoaderFiles } from '../../src/private-loader/private-loader.ts'

test('a cache folder that may not be looked at holds nothing of the venv', () => {
  const root = mkdtempSync(join(tmpdir(), 'wheelfix-loader-files-'))
  const closed = join(root, 'cache')
  const venv = { sitePackages: [] } as unknown as Parameters<typeof hasLoaderFiles>[0]
  const isRoot = process.getuid?.() === 0
  try {
    mkdirSync(join(closed, 'wheelfix/12345678'), { recursive: true })
    assert.equal(hasLoaderFiles(venv, [join(closed, 'wheelfix/12345678')]), true)
    assert.equal(hasLoaderFiles(venv, [join(closed, 'wheelfix/87654321')]), false)
    chmodSync(root, 0o755)
    chmodSync(closed, 0)
    if (isRoot) process.seteuid?.(65534)
    assert.equal(hasLoaderFiles(venv, [join(closed, 'wheelfix/12345678')]), false)
  } finally {
    if (isRoot) process.seteuid?.(0)
    chmodSync(closed, 0o755)
    rmSync(root, { recursive: true })
  }
})

// The demo as a newcomer runs it: with Node and Python on PATH and nothing else.
import assert from 'node:assert/strict'
import { existsSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { skip } from '../support/requires.ts'
import { run } from '../support/run.ts'
import { findHost } from '../world/host.ts'

const DEMO = join(import.meta.dirname, '../world/demo.js')
const host = findHost()
const noHost = typeof host === 'string' ? skip(host) : false

// pip's own variable takes PyPI away: the wheel of fixtures/ has to do
for (const [title, env, shown] of [
  ['without PyPI, with the wheel of fixtures/', { PIP_NO_INDEX: '1', PIP_FIND_LINKS: '' }, /0xf6e50243\n$/],
  ['with what pip gets from where it is set up to', process.env, /(0xf6e50243|5\.0)\n$/],
] as const) {
  test(`the demo shows a failing and a working import ${title}`, { skip: noHost }, () => {
    if (typeof host === 'string') return
    const folder = mkdtempSync(join(tmpdir(), 'wheelfix-demo-test-'))
    try {
      symlinkSync(process.execPath, join(folder, 'node'))
      symlinkSync(host.python.executable, join(folder, 'python3'))
      const { status, stdout, stderr } = run(join(folder, 'node'), [DEMO], {
        env: { ...env, PATH: folder, HOME: folder },
      })
      assert.equal(status, 0, stdout + stderr)
      assert.equal(stderr, '')
      assert.match(stdout, /: cannot open shared object file[^]*wheelfix venv/)
      assert.match(stdout, shown)
      const root = /\/\S*\/wf\w{6}/.exec(stdout)?.[0]
      assert.ok(root !== undefined && !existsSync(root), `${root} is left behind`)
    } finally {
      rmSync(folder, { recursive: true })
    }
  })
}

// Nix as a program that is started: what it says, that it is told to be at work, and that it ends.
import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { runNix } from '../../src/nix/build/run-nix.ts'
import { missing } from '../support/requires.ts'
import { scratch } from './stores.ts'

test(
  'a Nix that takes long is told of, and ended once its limit is over, with what it started',
  { skip: missing('bash') },
  async t => {
    const folder = scratch(t)
    // what it starts keeps its output open
    writeFileSync(
      join(folder, 'nix'),
      '#!/bin/bash\nif [[ " $* " = *" quick "* ]]; then echo done; else sleep 20; fi\n',
      { mode: 0o755 },
    )
    const told: string[] = []
    const run = {
      env: { PATH: `${folder}:/usr/bin:/bin` },
      name: 'nix build x',
      limitMs: 700,
      silenceMs: 100,
      progress: (line: string) => void told.push(line),
    }
    assert.equal(await runNix(['quick'], run), 'done\n')
    told.length = 0
    const start = Date.now()
    await assert.rejects(runNix(['slow'], run), {
      code: 'IO',
      message: /^nix build x was stopped after 1 s: run the command again$/,
    })
    assert.ok(Date.now() - start < 10_000)
    assert.ok(told.length > 1)
    assert.match(told[0] ?? '', /^nix build x: still running after 0 s$/)
    const pathless = (store: string) => ({ PATH: '/nonexistent', NIX_STORE_DIR: store })
    await assert.rejects(runNix([], { ...run, env: pathless('/usr') }), /nix is not on PATH/)
    await assert.rejects(
      runNix([], { ...run, env: pathless('/nonexistent') }),
      /needs Nix, which this machine does not/,
    )
  },
)

// A disk that cannot answer is not a disk that holds nothing: no run may take a failed read for a missing library, write a
// plan for it and keep the answer for the next runs.
import assert from 'node:assert/strict'
import { appendFileSync, cpSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { after, suite, test } from 'node:test'
import { MODULE, testVenv } from '../resolve/venv.ts'
import { missing, skip } from '../support/requires.ts'
import { treeContent } from '../support/tree.ts'
import { buildModule } from '../world/module.ts'
import { recordRow } from '../world/throwing-module.ts'
import { wheelfix } from '../world/venv.ts'
import { buildWorld } from '../world/world.ts'

const MISREAD = join(import.meta.dirname, '../../../test/support/misread.cjs')

suite('what cannot be read for a moment', () => {
  const world = buildWorld()
  const lacking = missing('gcc', 'ld')
  if (typeof world === 'string' || lacking !== false) {
    test('needs a world and a linker', { skip: typeof world === 'string' ? skip(world) : lacking })
    return
  }
  after(() => world.dispose())
  const libs = ['--libs', `${world.libs.gcc}:${world.libs.zlib}`, '--no-scan']
  const made = testVenv(world, 'made')
  made.install('some', {})
  const module = join(made.site, `some/core${MODULE}`)
  buildModule(module)
  appendFileSync(join(made.site, 'some-1.0.dist-info/RECORD'), `${recordRow(module, `some/core${MODULE}`)}\n`)
  made.program('tool', { needed: ['libz.so.1'] })
  // a copy of its own place, because a venv holds its path
  const venv = join(world.root, 'venv')
  const fresh = () => {
    rmSync(venv, { recursive: true, force: true })
    cpSync(made.root, venv, { recursive: true, verbatimSymlinks: true, preserveTimestamps: true })
  }
  const run = (command: string, env: NodeJS.ProcessEnv = {}) =>
    wheelfix(world, [command, venv, ...(command === 'restore' ? [] : libs)], env)
  const content = () => [...treeContent(venv)].filter(([path]) => !path.startsWith('.wheelfix'))

  fresh()
  const original = content()
  assert.equal(run('venv').status, 0)
  const patched = content()

  const faults: readonly (readonly [what: string, call: string, path: string])[] = [
    ['a library of the set', 'read', 'libstdc++.so.6'],
    ['a library of the set that cannot be opened', 'open', 'libstdc++.so.6'],
    ['a library of the libc', 'read', 'libm.so.6'],
    ['the libc', 'read', 'libc.so.6'],
    ['a folder of the set', 'list', world.libs.zlib],
    ['METADATA', 'read', 'some-1.0.dist-info/METADATA'],
    ['RECORD', 'read', 'some-1.0.dist-info/RECORD'],
    ['RECORD, read as a whole', 'whole', 'some-1.0.dist-info/RECORD'],
    ['pyvenv.cfg', 'read', 'pyvenv.cfg'],
  ]
  for (const errno of ['EIO', 'ESTALE', 'EMFILE']) {
    for (const [what, call, path] of errno === 'EIO' ? faults : faults.slice(2, 3)) {
      test(`${errno}: ${what}`, () => {
        for (const command of ['venv', 'check']) {
          fresh()
          const env = {
            MISREAD_PATH: path,
            MISREAD_BY: errno,
            MISREAD_CALL: call,
            NODE_OPTIONS: `--require ${MISREAD}`,
          }
          const { status, stdout, stderr } = run(command, env)
          // where the file did not matter, the result is the usual one
          const isUsual = JSON.stringify(content()) === JSON.stringify(patched)
          assert.ok(status !== 0 || (command === 'venv' && isUsual), `${command}: ${status} ${stdout}${stderr}`)
          assert.doesNotMatch(stdout + stderr, /node:|\n {4}at |is missing|does not have this library|not found/)
          assert.ok(isUsual || JSON.stringify(content()) === JSON.stringify(original), 'half done')
          assert.equal(run('venv').status, 0, 'the next run')
          assert.deepEqual(content(), patched)
          assert.equal(run('restore').status, 0)
          assert.deepEqual(content(), original)
        }
      })
    }
  }
})

// Runs every compiled *.test.js below build/test with node's own test runner. Arguments select the tests whose path contains
// one of them.
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const root = join(import.meta.dirname, '../build/test')
const wanted = process.argv.slice(2)
const files = readdirSync(root, { recursive: true })
  .filter(
    name => name.endsWith('.test.js') && existsSync(join(import.meta.dirname, '../test', name.replace(/js$/, 'ts'))),
  )
  .filter(name => wanted.length === 0 || wanted.some(part => name.includes(part)))
  .sort()
if (files.length === 0) {
  console.error('no test file matches')
  process.exit(1)
}

// tests write one line for each thing that they had to skip; the lines are printed and counted here
const notes = mkdtempSync(join(tmpdir(), 'wheelfix-test-'))
const skipped = join(notes, 'skipped')
// when root runs a Python of /nix/store, Python would write bytecode there, and the store path would no longer match Nix's
// hash
const state = join(notes, 'state')
const env = {
  ...process.env,
  XDG_STATE_HOME: state,
  WHEELFIX_TEST_SKIPS: skipped,
  PYTHONDONTWRITEBYTECODE: '1',
}
delete env.NODE_EXTRA_CA_CERTS
const { status } = spawnSync(
  process.execPath,
  ['--test', '--test-reporter=spec', '--test-timeout=1200000', ...files.map(name => join(root, name))],
  { stdio: 'inherit', env },
)
if (existsSync(skipped)) {
  const lines = readFileSync(skipped, 'utf8').trim().split('\n')
  console.log(`skipped for want of something (${lines.length}):\n${lines.map(line => `  ${line}`).join('\n')}`)
}
rmSync(notes, { recursive: true })
process.exit(status ?? 1)

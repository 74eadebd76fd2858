// What the program writes arrives, whatever the two outputs are. A real process writes to each kind.
import assert from 'node:assert/strict'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { run } from '../../support/run.ts'
import { missing } from '../../support/requires.ts'
import { WHEELFIX } from '../../world/venv.ts'

const MANUAL = [process.execPath, WHEELFIX, 'completions', 'man']
const expected = run(MANUAL[0] ?? '', MANUAL.slice(1)).stdout

/** Starts a command whose output is a pipe of one page that does not block, and reads it slowly. */
const SLOW_READER = `
import fcntl, os, subprocess, sys, time
reader, writer = os.pipe()
fcntl.fcntl(writer, 1031, 4096)  # F_SETPIPE_SZ
os.set_blocking(writer, False)
process = subprocess.Popen(sys.argv[1:], stdout=writer)
os.close(writer)
while True:
    part = os.read(reader, 1024)
    if part == b'': break
    os.write(1, part)
    time.sleep(0.001)
sys.exit(process.wait())
`

test('a pipe that does not block gets all of the output', () => {
  assert.ok(expected.length > 3 * 4096, 'the pipe is full before the end')
  const { stdout, stderr, status } = run('python3', ['-c', SLOW_READER, ...MANUAL])
  assert.deepEqual([status, stderr], [0, ''])
  assert.equal(stdout, expected)
})

test('a file gets all of the output, and so does a terminal', { skip: missing('script') }, t => {
  const folder = mkdtempSync(join(tmpdir(), 'wheelfix-output-'))
  t.after(() => rmSync(folder, { recursive: true }))
  const file = join(folder, 'manual')
  assert.equal(run('sh', ['-c', `"$@" > ${file}`, 'sh', ...MANUAL]).status, 0)
  assert.equal(readFileSync(file, 'utf8'), expected)
  const typed = run('script', ['-qc', MANUAL.join(' '), '/dev/null'])
  assert.equal(typed.stdout.replaceAll('\r\n', '\n'), expected)
})

test('a reader that ends early is not an error', () => {
  const { stdout, stderr, status } = run('bash', ['-c', '"$@" | head -c 10; exit ${PIPESTATUS[0]}', 'bash', ...MANUAL])
  assert.deepEqual([stdout, stderr, status], [expected.slice(0, 10), '', 0])
})

test(
  'a report that cannot be written is an error',
  { skip: existsSync('/dev/full') ? false : 'there is no /dev/full' },
  () => {
    for (const args of [['--help'], ['completions', 'man'], ['restore', '--help']]) {
      const { stderr, status } = run('sh', ['-c', '"$@" > /dev/full', 'sh', process.execPath, WHEELFIX, ...args])
      assert.equal(status, 1, args.join(' '))
      assert.equal(stderr, 'error: the report cannot be written: ENOSPC: no space left on device, write\n')
    }
  },
)

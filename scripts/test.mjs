// Runs every compiled *.test.js below build/test with node's own test runner, as many files at a time as there are
// processors. Arguments select the tests whose path contains one of them.
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { run } from 'node:test'
import { spec } from 'node:test/reporters'

const build = join(import.meta.dirname, '../build')
const root = join(build, 'test')
const wanted = process.argv.slice(2)
const names = readdirSync(root, { recursive: true })
  .filter(
    name => name.endsWith('.test.js') && existsSync(join(import.meta.dirname, '../test', name.replace(/js$/, 'ts'))),
  )
  .filter(name => wanted.length === 0 || wanted.some(part => name.includes(part)))
  .sort()
if (names.length === 0) {
  console.error('no test file matches')
  process.exit(1)
}

// The longest file goes first, so that no processor waits at the end for one that started late. The times of the last run
// decide (file → milliseconds). A file without a time counts as one millisecond for each byte.
const timesPath = join(build, 'test-times.json')
const times = existsSync(timesPath) ? JSON.parse(readFileSync(timesPath, 'utf8')) : {}
const expected = Object.fromEntries(names.map(name => [name, times[name] ?? statSync(join(root, name)).size]))
names.sort((a, b) => expected[b] - expected[a])

// tests write one line for each reason to skip, if the reason is accepted in CI too
const notes = mkdtempSync(join(tmpdir(), 'wheelfix-test-'))
const accepted = join(notes, 'accepted')
process.env.WHEELFIX_ACCEPTED_SKIPS = accepted
process.env.XDG_STATE_HOME = join(notes, 'state')
// a Python of /nix/store that root runs would write bytecode there, and the store path would no longer match Nix's hash
process.env.PYTHONDONTWRITEBYTECODE = '1'
delete process.env.NODE_EXTRA_CA_CERTS

// node's own default is one file less
const concurrency = availableParallelism()
// on a busy machine one part of `npm run survive`, or all the tools of `npm run tools`, may take longer
const isLong = process.env.WHEELFIX_SURVIVE === 'all' || process.env.WHEELFIX_TOOLS_TESTED !== undefined
const timeout = isLong ? 7_200_000 : 1_200_000
const stream = run({ files: names.map(name => join(root, name)), concurrency, timeout })
const spent = {}
/** Reason → number of tests that were skipped for this reason. */
const skips = new Map()
function add({ file, nesting, details, skip }) {
  if (skip !== undefined && skip !== false) skips.set(String(skip), (skips.get(String(skip)) ?? 0) + 1)
  if (nesting > 0 || file === undefined) return
  const name = relative(root, file)
  spent[name] = (spent[name] ?? 0) + details.duration_ms
}
stream.on('test:pass', add)
stream.on('test:fail', failed => {
  add(failed)
  process.exitCode = 1
})
stream.compose(spec).pipe(process.stdout)

process.on('exit', () => {
  const slowest = Object.entries(spent).sort(([, a], [, b]) => b - a)
  writeFileSync(timesPath, JSON.stringify({ ...times, ...spent }))
  const lines = slowest.slice(0, 10).map(([name, time]) => `  ${(time / 1000).toFixed(1)} s  ${name}`)
  console.log(`the slowest files:\n${lines.join('\n')}`)
  if (skips.size > 0) {
    const allowed = new Set(existsSync(accepted) ? readFileSync(accepted, 'utf8').split('\n') : [])
    const count = [...skips.values()].reduce((sum, times) => sum + times, 0)
    console.log(`skipped tests: ${count}`)
    for (const [reason, times] of skips) {
      const fails = process.env.CI === 'true' && !allowed.has(reason)
      console.log(`  ${times} × ${reason}${fails ? ' (a failure in CI)' : ''}`)
      if (fails) process.exitCode = 1
    }
  }
  rmSync(notes, { recursive: true })
})

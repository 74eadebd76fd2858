// Damaged wheels through the whole of `wheelfix wheel`: damage to the archive, to an object inside it, to RECORD, METADATA
// and WHEEL, and to what a patched wheel tells of its original. Each is refused with a reason, or Python reads the result
// as it read the wheel. WHEELFIX_FUZZ_RUNS sets the number of wheels.
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, suite, test } from 'node:test'
import { skip } from '../support/requires.ts'
import { runWell } from '../support/run.ts'
import { treeState } from '../support/tree.ts'
import { makeZip, type Part } from '../wheel/archives.ts'
import { wheelfix } from '../world/venv.ts'
import { buildWorld } from '../world/world.ts'

const RUNS = Number(process.env['WHEELFIX_FUZZ_RUNS'] ?? 400)
const FIXTURES = join(import.meta.dirname, '../../../fixtures/demo-wheel')
const DEMO = readdirSync(FIXTURES).find(name => name.endsWith('.whl')) ?? ''

/** The entries of a wheel: name and base64. */
const ENTRIES = `
import base64, json, sys, zipfile
z = zipfile.ZipFile(sys.argv[1])
print(json.dumps([[i.filename, base64.b64encode(z.read(i)).decode()] for i in z.infolist()]))`

/**
 * What is wrong with the results, as Python sees it: a wheel that cannot be read became one that can, an entry changed that
 * is no object, the row of a changed one was false before or is false now, another row changed.
 */
const JUDGE = `
import base64, csv, hashlib, io, json, os, sys, zipfile
def contents(path):
    with zipfile.ZipFile(path) as z: return {i.filename: z.read(i) for i in z.infolist()}
def rows(files):
    [record] = [n for n in files if n.endswith('.dist-info/RECORD')]
    return record, {r[0]: (r[1:] + ['', ''])[:2] for r in csv.reader(io.StringIO(files[record].decode(errors='surrogateescape'))) if r}
def true(row, data):
    if not row or row == ['', '']: return True
    return row[0].rstrip('=') == 'sha256=' + base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip('=')
faults = []
for name in sorted(os.listdir(sys.argv[2])):
    try: old = contents(os.path.join(sys.argv[1], name))
    except Exception as e: faults.append([name, 'was no wheel: ' + repr(e)]); continue
    new = contents(os.path.join(sys.argv[2], name))
    signatures = {n for n in old if n.endswith(('RECORD.jws', 'RECORD.p7s'))}
    if set(old) - signatures != set(new) - signatures: faults.append([name, 'other entries'])
    if old == new: continue
    record, before = rows(old)
    after = rows(new)[1]
    for n in new:
        if n == record or old.get(n) == new[n]: continue
        if sys.argv[3] == 'restored' : faults.append([name, 'not what it was: ' + n])
        elif not old[n].startswith(b'\\x7fELF'): faults.append([name, 'changed: ' + n])
        elif not true(before.get(n), old[n]): faults.append([name, 'was false: ' + n])
        elif not true(after.get(n), new[n]): faults.append([name, 'is false: ' + n])
        before.pop(n, None); after.pop(n, None)
    for n in signatures: before.pop(n, None); after.pop(n, None)
    if before != after: faults.append([name, 'rows'])
print(json.dumps(faults))`

suite('damaged wheels', () => {
  const world = buildWorld()
  if (typeof world === 'string') {
    test('are refused or carried as they are', { skip: skip(world) })
    return
  }
  after(() => world.dispose())
  const python = world.host.python.executable
  const entries = JSON.parse(runWell(python, ['-c', ENTRIES, join(FIXTURES, DEMO)])) as [string, string][]
  const folder = (name: string): string => join(world.root, name)
  const wheel = (from: string, to: string, ...args: string[]) => {
    const options = ['--python', world.python, '--no-scan', '--libs', `${world.libs.gcc}:${world.libs.zlib}`, '--json']
    const { status, stdout, stderr } = wheelfix(world, ['wheel', folder(from), '-o', folder(to), ...options, ...args])
    assert.ok(status <= 2 && stdout !== '', `${status} ${stderr}`)
    return (
      JSON.parse(stdout) as { wheels: { path: string; status: string; error?: { code: string; message: string } }[] }
    ).wheels
  }
  const judge = (before: string, after: string, how: string): unknown =>
    JSON.parse(runWell(python, ['-c', JUDGE, folder(before), folder(after), how]))
  /** None is refused otherwise than by a sentence; gives how many are. */
  const refused = (wheels: ReturnType<typeof wheel>): number => {
    for (const { path, error } of wheels) {
      if (error === undefined) continue
      assert.ok(['WHEEL_INVALID', 'IO'].includes(error.code), `${path}: ${error.message}`)
      assert.doesNotMatch(error.message, /\n/)
    }
    return wheels.filter(({ status }) => status === 'failed').length
  }

  let state = 7
  const below = (limit: number): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return Math.floor((state / 0x1_0000_0000) * limit)
  }
  const damaged = (bytes: Buffer): Buffer => {
    const copy = Buffer.from(bytes)
    for (let times = 1 + below(4); times > 0 && copy.length > 0; times -= 1) {
      // headers are at the beginning, and small numbers are what most of their fields hold
      const at = below(2) === 0 ? below(copy.length) : below(Math.min(copy.length, 1200))
      copy.writeUInt8(below(2) === 0 ? below(256) : ([0, 1, 2, 0x7f, 0x80, 0xff][below(6)] ?? 0), at)
    }
    return below(8) === 0 ? copy.subarray(0, below(copy.length)) : copy
  }
  /** A sound archive with one damaged entry, or several; RECORD is right again, or not. */
  const makeWheel = (): Buffer => {
    const chosen = below(entries.length)
    const isTrue = below(3) > 0
    const rows: string[] = []
    const parts: Part[] = entries.map(([name, base64], index) => {
      const data = Buffer.from(base64, 'base64')
      if (name.endsWith('/RECORD') && isTrue && index !== chosen) return { name, data: `${rows.join('')}${name},,\n` }
      const now = index === chosen ? damaged(data) : data
      rows.push(`${name},sha256=${createHash('sha256').update(now).digest('base64url')},${now.length}\n`)
      return { name, data: now, mode: 0o100644, ...(below(4) === 0 ? { descriptor: 'signed' as const } : {}) }
    })
    return makeZip(parts, below(4) === 0 ? { zip64: true } : {})
  }

  test(`${RUNS} are refused with a reason, or come out as Python read them, and nothing else is written`, () => {
    mkdirSync(folder('in'))
    for (let run = 0; run < RUNS; run += 1) {
      const bytes = run % 4 === 0 ? damaged(readFileSync(join(FIXTURES, DEMO))) : makeWheel()
      writeFileSync(join(folder('in'), DEMO.replace('-1.0-', `-1.0-${run}-`)), bytes)
    }
    mkdirSync(folder('out'))
    const before = treeState(world.root)
    const wheels = wheel('in', 'out')
    const count = refused(wheels)
    assert.ok(count > RUNS / 10 && count < RUNS, `${count} of ${RUNS} refused`)
    assert.ok(wheels.filter(({ status }) => status === 'patched').length > RUNS / 10)
    assert.deepEqual(judge('in', 'out', 'patched'), [])
    const written = (path: string): boolean => path.startsWith('out/') || path === 'out'
    const others = (state: ReturnType<typeof treeState>) => [...state].filter(([path]) => !written(path))
    assert.deepEqual(others(treeState(world.root)), others(before))
    assert.equal(readdirSync(folder('out')).length, RUNS - count)
  })

  test('the patched ones are restored to what they were', () => {
    assert.equal(refused(wheel('out', 'restored', '--restore')), 0)
    assert.deepEqual(judge('in', 'restored', 'restored'), [])
    assert.deepEqual(readdirSync(folder('restored')), readdirSync(folder('out')))
  })

  test('a damaged record of the original is refused or found out, and leads nowhere else', () => {
    mkdirSync(folder('told'))
    const names = readdirSync(folder('out'))
    for (let run = 0; run < Math.min(RUNS, 100); run += 1) {
      const name = names[run % names.length] ?? ''
      const bytes = readFileSync(join(folder('out'), name))
      const at = bytes.lastIndexOf('wheelfix-undo ')
      if (at < 0) continue
      for (let times = 1 + below(3); times > 0; times -= 1)
        bytes.writeUInt8(32 + below(95), at + below(bytes.length - at))
      writeFileSync(join(folder('told'), name), bytes)
    }
    mkdirSync(folder('told-out'))
    const before = treeState(world.root)
    refused(wheel('told', 'told-out', '--restore'))
    const others = (state: ReturnType<typeof treeState>) => [...state].filter(([path]) => !path.startsWith('told-out'))
    assert.deepEqual(others(treeState(world.root)), others(before))
    for (const name of readdirSync(folder('told-out'))) assert.match(name, /^wheelfix_demo-[^/]*\.whl$/)
  })
})

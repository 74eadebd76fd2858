// Damaged wheels through the whole of `wheelfix wheel`: damage to the archive, to an object inside it, to RECORD, METADATA
// and WHEEL, and to what a patched wheel tells of its original. Each is refused with a reason, or Python reads the result
// as it read the wheel. WHEELFIX_FUZZ_RUNS sets the number of wheels, WHEELFIX_FUZZ_SEED which ones.
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
const SEED = Number(process.env['WHEELFIX_FUZZ_SEED'] ?? 7)
const FIXTURES = join(import.meta.dirname, '../../../fixtures/demo-wheel')
const DEMO = readdirSync(FIXTURES).find(name => name.endsWith('.whl')) ?? ''

/** The entries of a wheel: name and base64. */
const ENTRIES = `
import base64, json, sys, zipfile
z = zipfile.ZipFile(sys.argv[1])
print(json.dumps([[i.filename, base64.b64encode(z.read(i)).decode()] for i in z.infolist()]))`

/**
 * What is wrong with the results, as Python sees it: a wheel that cannot be read became one that can, an entry changed that
 * is not an object, a row of a changed one was false before or is false now, another row changed. A damaged RECORD need not be
 * CSV for Python; its lines are then compared one by one. One that was CSV has to stay so.
 */
const JUDGE = `
import base64, csv, hashlib, io, json, os, re, sys, zipfile
def contents(path):
    with zipfile.ZipFile(path) as z: return {i.filename: z.read(i) for i in z.infolist()}
def by_lines(text):
    for line in re.split('\\r\\n|\\r|\\n', text):
        try: yield from csv.reader([line])
        except csv.Error: yield [line]
def rows(text, read): return [(r[0], (r[1:] + ['', ''])[:2], r[3:]) for r in read(text) if r]
def true(row, data):
    hash, size = row
    if size not in ('', str(len(data))): return False
    name, _, digest = hash.strip().partition('=')
    name = re.sub('[-_]', '', name.strip().lower())
    known = {re.sub('[-_]', '', n): n for n in hashlib.algorithms_guaranteed if not n.startswith('shake')}
    # what nothing can check is neither true nor false
    if name not in known: return True
    now = hashlib.new(known[name], data).digest()
    return digest.lower() == now.hex() or digest.rstrip('=').replace('+', '-').replace('/', '_') == base64.urlsafe_b64encode(now).decode().rstrip('=')
def judge(name, old, new):
    signatures = {n for n in old if n.endswith(('RECORD.jws', 'RECORD.p7s'))}
    if set(old) - signatures != set(new) - signatures: yield 'other entries'; return
    if old == new: return
    [record] = [n for n in old if n.endswith('.dist-info/RECORD')]
    changed = {n for n in new if n != record and old[n] != new[n]}
    texts = [files[record].decode(errors='surrogateescape') for files in (old, new)]
    read = lambda text: csv.reader(io.StringIO(text, newline=''))
    try: before = rows(texts[0], read)
    except csv.Error: read = by_lines; before = rows(texts[0], read)
    try: after = rows(texts[1], read)
    except csv.Error as e: yield 'RECORD was CSV: ' + repr(e); return
    for n in changed:
        if sys.argv[3] == 'restored': yield 'not what it was: ' + n
        elif not old[n].startswith(b'\\x7fELF'): yield 'changed: ' + n
        elif not all(true(fields, old[n]) for path, fields, _ in before if path == n): yield 'was false: ' + n
        elif not all(true(fields, new[n]) for path, fields, _ in after if path == n): yield 'is false: ' + n
    others = [[row for row in of if row[0] not in changed | signatures] for of in (before, after)]
    if others[0] != others[1]: yield 'rows'
    if [row[0] for row in before if row[0] not in signatures] != [row[0] for row in after]: yield 'paths of rows'
faults = []
for name in sorted(os.listdir(sys.argv[2])):
    try: old = contents(os.path.join(sys.argv[1], name))
    except Exception as e: faults.append([name, 'was no wheel: ' + repr(e)]); continue
    faults += [[name, fault] for fault in judge(name, old, contents(os.path.join(sys.argv[2], name)))]
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
  const refused = (wheels: ReturnType<typeof wheel>, renamed = false): number => {
    for (const { path, error } of wheels) {
      if (error === undefined) continue
      // a record that gives a wheel the name of another one is as good as any
      const collides = renamed && error.code === 'USAGE' && /its result would overwrite/.test(error.message)
      assert.ok(collides || ['WHEEL_INVALID', 'IO'].includes(error.code), `${path}: ${error.message}`)
      assert.doesNotMatch(error.message, /\n/)
    }
    return wheels.filter(({ status }) => status === 'failed').length
  }

  let state = SEED
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

  test(`${RUNS} are refused with a reason, or come out as Python reads them, and nothing else is written`, () => {
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

  test('a damaged record of the original is refused or noticed, and never leads elsewhere', () => {
    mkdirSync(folder('told'))
    const names = readdirSync(folder('out'))
    for (let run = 0; run < Math.min(RUNS, Math.max(100, RUNS / 4)); run += 1) {
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
    refused(wheel('told', 'told-out', '--restore'), true)
    const others = (state: ReturnType<typeof treeState>) => [...state].filter(([path]) => !path.startsWith('told-out'))
    assert.deepEqual(others(treeState(world.root)), others(before))
    // any spelling of the distribution's name
    for (const name of readdirSync(folder('told-out'))) assert.match(name, /^wheelfix[_.]+demo-[^/]*\.whl$/i)
  })
})

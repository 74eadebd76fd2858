// `wheelfix all` over environments that it must leave alone or cannot change: one clear line each, and the others are done.
import assert from 'node:assert/strict'
import {
  chmodSync,
  chownSync,
  existsSync,
  lchownSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { after, suite, test } from 'node:test'
import { missing, skip, which } from '../support/requires.ts'
import { run, runWell } from '../support/run.ts'
import { treeContent, treeState } from '../support/tree.ts'
import { installDemoWheel, makeVenv, sitePackages, WHEELFIX } from '../world/venv.ts'
import { buildWorld } from '../world/world.ts'

interface Row {
  readonly name: string
  readonly status: string
  readonly detail: string
}

suite('wheelfix all, where something is in the way', () => {
  const world = buildWorld()
  if (typeof world === 'string') {
    test('says so and goes on', { skip: skip(world) })
    return
  }
  after(() => {
    runWell('chmod', ['-R', 'u+w', world.root])
    world.dispose()
  })
  const tools = join(world.root, 'tools')
  mkdirSync(tools)
  const env = { ...world.env, UV_TOOL_DIR: tools, WHEELFIX_LIBS: `${world.libs.gcc}:${world.libs.zlib}` }
  const tool = (name: string): string => {
    const venv = makeVenv(world, `tools/${name}`)
    installDemoWheel(world, venv)
    return venv
  }
  const all = (...args: string[]) => allAs({}, ...args)
  const allAs = (who: { uid?: number; gid?: number }, ...args: string[]): { status: number; rows: Row[] } => {
    const words = [WHEELFIX, 'all', '--only', 'uv', '--json', ...args]
    const { status, stdout, stderr } = run(process.execPath, words, { env, cwd: world.root, ...who })
    assert.doesNotMatch(stdout + stderr, /^\s+at |node:/m)
    return { status, rows: (JSON.parse(stdout) as { environments: Row[] }).environments }
  }
  const rowOf = ({ rows }: { rows: readonly Row[] }, name: string): Row => {
    const row = rows.find(one => one.name === name)
    assert.ok(row !== undefined, `${name} is not in ${JSON.stringify(rows)}`)
    return row
  }
  const works = (venv: string): boolean =>
    run(join(venv, 'bin/python'), ['-c', 'import wheelfix_demo'], { env: world.env }).status === 0
  const good = tool('good')

  test('no tool, no environment: status 0 and one sentence', () => {
    const words = [WHEELFIX, 'all', '--only', 'poetry,pdm,tox']
    const { status, stdout, stderr } = run(process.execPath, words, { env, cwd: world.root })
    assert.deepEqual([status, stderr], [0, ''])
    assert.match(stdout, /no tool environments found/)
  })

  test('an environment in which its tool holds a lock, until it is free', { skip: missing('flock') }, () => {
    const busy = tool('busy')
    const before = treeState(busy)
    writeFileSync(join(busy, '.lock'), '')
    const held = treeState(busy)
    assert.ok(before.size < held.size)
    const words = [process.execPath, WHEELFIX, 'all', '--only', 'uv', '--json']
    const { status, stdout } = run(which('flock') ?? '', [join(busy, '.lock'), ...words], { env, cwd: world.root })
    const rows = (JSON.parse(stdout) as { environments: Row[] }).environments
    assert.equal(status, 0)
    assert.match(rowOf({ rows }, 'busy').detail, /is being written: uv holds/)
    assert.equal(rowOf({ rows }, 'good').status, 'patched')
    assert.deepEqual(treeState(busy), held)
    assert.equal(rowOf(all(), 'busy').status, 'patched')
    assert.ok(works(busy) && works(good))
  })

  test('a folder that is not an environment any more, or a broken one, does not stop the others', () => {
    for (const [name, text] of [
      ['empty', ''],
      ['no-home', 'version = 3.11\n'],
      ['binary', '\0\0'],
    ] as const) {
      mkdirSync(join(tools, name))
      writeFileSync(join(tools, name, 'pyvenv.cfg'), text)
    }
    const lost = tool('lost-python')
    for (const name of readdirSync(join(lost, 'bin'))) if (name.startsWith('python')) rmSync(join(lost, 'bin', name))
    symlinkSync('/no/such/python', join(lost, 'bin/python'))
    const result = all()
    assert.equal(result.status, 1)
    for (const name of ['empty', 'no-home', 'binary', 'lost-python']) {
      const { status, detail } = rowOf(result, name)
      assert.equal(status, 'failed', name)
      assert.match(detail, /\w/)
    }
    assert.equal(rowOf(result, 'good').status, 'fine')
    for (const name of ['empty', 'no-home', 'binary', 'lost-python']) rmSync(join(tools, name), { recursive: true })
  })

  test('links out of the folder are not followed', () => {
    const outside = makeVenv(world, 'outside')
    installDemoWheel(world, outside)
    const before = treeContent(outside)
    symlinkSync(outside, join(tools, 'linked'))
    const inner = tool('inner')
    rmSync(sitePackages(world, inner), { recursive: true })
    symlinkSync(sitePackages(world, outside), sitePackages(world, inner))
    const result = all()
    assert.ok(result.rows.every(({ name }) => name !== 'linked'))
    assert.match(rowOf(result, 'inner').detail, /is a link that leaves the environment/)
    assert.deepEqual(treeContent(outside), before)
    rmSync(join(tools, 'linked'))
    rmSync(inner, { recursive: true })
  })

  test('a state folder that is lost, or not wheelfix’s: patched files are known by their notes', () => {
    const state = join(good, '.wheelfix')
    rmSync(state, { recursive: true })
    assert.equal(rowOf(all(), 'good').status, 'fine')
    rmSync(state, { recursive: true, force: true })
    assert.match(rowOf(all('--restore'), 'good').status, /restored/)
    assert.ok(!works(good) && !existsSync(state))
    symlinkSync(world.root, state)
    assert.match(rowOf(all(), 'good').detail, /is a link/)
    rmSync(state)
    assert.equal(rowOf(all(), 'good').status, 'patched')
  })

  const other = 65_533
  test('another user’s environment, and a read-only one of one’s own', t => {
    if (process.getuid?.() !== 0) return t.skip('needs root, who may give files away')
    const theirs = tool('theirs')
    const own = (path: string): void => {
      lchownSync(path, other, other)
      if (lstatSync(path).isDirectory()) for (const name of readdirSync(path)) own(join(path, name))
    }
    own(theirs)
    const before = treeState(theirs)
    assert.match(rowOf(all(), 'theirs').detail, /belongs to another user \(65533\)/)
    assert.deepEqual(treeState(theirs), before)
    // to the other user it is their own: but its folders may not be written to
    chmodSync(world.root, 0o755)
    chownSync(join(world.root, 'home'), other, other)
    runWell('chmod', ['-R', 'a-w', theirs])
    const closed = treeState(theirs)
    const { status, rows } = allAs({ uid: other, gid: other })
    assert.equal(status, 1)
    const row = rowOf({ rows }, 'theirs')
    assert.match(`${row.status} ${row.detail}`, /^(?:failed|needs) .*cannot be written .*nothing was changed/)
    assert.match(rowOf({ rows }, 'good').detail, /belongs to another user \(0\)/)
    assert.deepEqual(treeState(theirs), closed)
  })
})

// The environments of real tools: made, failing, one `wheelfix all`, working, a second one that changes nothing, and back.
import assert from 'node:assert/strict'
import { existsSync, mkdirSync, readdirSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, suite, test } from 'node:test'
import { rebuildElf } from '../support/elf.ts'
import { missing, skip } from '../support/requires.ts'
import { run, runWell } from '../support/run.ts'
import { treeContent, treeDifferences, treeState } from '../support/tree.ts'
import { makeStandalonePython } from '../world/standalone.ts'
import { installTools } from '../world/tools.ts'
import { wheelfix, withWheels } from '../world/venv.ts'
import { buildWorld } from '../world/world.ts'

interface Row {
  readonly tool: string
  readonly kind: string
  readonly root: string
  readonly name: string
  readonly status: string
  readonly detail: string
}

/** The hook, run by this Python. */
const hookFor = (python: string) => `repos:
  - repo: local
    hooks:
      - id: numbers
        name: numbers
        language: python
        language_version: ${python}
        entry: python -c "import numpy"
        additional_dependencies: [numpy]
        pass_filenames: false
        always_run: true
        verbose: true
`

suite('wheelfix all', () => {
  const world = withWheels(buildWorld())
  const lacking = missing('git')
  if (typeof world === 'string' || lacking !== false) {
    test('patches the environments of tools', { skip: typeof world === 'string' ? skip(world) : lacking })
    return
  }
  after(() => world.dispose())
  const tools = installTools(world, ['uv', 'pipx', 'pre-commit', 'virtualenv'])
  const home = join(world.root, 'home')
  const data = join(home, '.local/share')
  const cache = join(home, '.cache')

  // a tool, a script and a program of uv's, each with numpy, which lacks libraries in the world
  tools.well('uv', ['tool', 'install', 'ruff', '--with', 'numpy'])
  const script = join(world.root, 'script.py')
  writeFileSync(script, '# /// script\n# dependencies = ["numpy"]\n# ///\nimport numpy\nprint("script works")\n')
  const uvRun = (args: string[]) => tools.run('uv', args, { cwd: world.root })
  const runScript = () => uvRun(['run', '--script', script])
  const uvx = () => uvRun(['tool', 'run', '--with', 'numpy', 'python', '-c', 'import numpy; print("uvx works")'])
  const first = [runScript(), uvx()]
  tools.well('pipx', ['install', 'pycowsay'])
  tools.well('pipx', ['inject', 'pycowsay', 'numpy'])
  // a hook that needs numpy
  const project = join(world.root, 'project')
  mkdirSync(project)
  const git = (...args: string[]) =>
    runWell('git', ['-c', 'user.name=x', '-c', 'user.email=x@example.org', ...args], { cwd: project, env: tools.env })
  git('init', '-q')
  writeFileSync(join(project, '.pre-commit-config.yaml'), hookFor(world.python))
  git('add', '.')
  const hook = () => tools.run('pre-commit', ['run', '--all-files'], { cwd: project })
  const before = hook()
  // a Python like those that uv manages, whose loader is not there
  const pythons = join(data, 'uv/python')
  mkdirSync(pythons, { recursive: true })
  const managed = makeStandalonePython(world.host, join(pythons, 'cpython-3.99.0-linux-x86_64-gnu'))
  rebuildElf(managed, { interpreter: world.host.loader.replace(/^.*\//, '/lib64/absent-linux-here/') })

  const all = (...args: string[]): { status: number; rows: Row[] } => {
    const { status, stdout, stderr } = wheelfix(world, ['all', '--json', ...args], tools.env)
    assert.equal(stderr, '')
    return { status, rows: (JSON.parse(stdout) as { environments: Row[] }).environments }
  }
  const asMade = { data: treeContent(data), cache: treeContent(cache) }
  /** The wheels that uv unpacked: what is in its archive and no environment. */
  const unpacked = (): Map<string, string>[] => {
    const archive = join(cache, 'uv/archive-v0')
    const folders = readdirSync(archive).map(name => join(archive, name))
    return folders.filter(path => !existsSync(join(path, 'pyvenv.cfg'))).map(path => treeContent(path))
  }
  const wheels = unpacked()

  test('they fail before', () => {
    for (const { status, stderr } of first) {
      assert.notEqual(status, 0)
      assert.match(stderr, /libstdc\+\+\.so\.6/)
    }
    assert.match(before.stdout, /libstdc\+\+\.so\.6/)
    assert.throws(() => run(managed, ['-V']), /ENOENT/)
    assert.ok(readdirSync(join(cache, 'uv')).length > 0 && wheels.length > 0)
  })

  test('--list and --dry-run name each, and change nothing', () => {
    const kinds = (rows: readonly Row[]) => rows.map(({ tool, kind }) => `${tool} ${kind}`).sort()
    const listed = kinds(all('--list').rows)
    assert.deepEqual([...new Set(listed)], ['pipx venv', 'pre-commit folder', 'uv python', 'uv venv'])
    const { status, rows } = all('--dry-run')
    assert.equal(status, 0)
    // the environment of the hook lies in a folder that is named after its Python
    assert.deepEqual(kinds(rows), [...listed, 'pre-commit venv'].sort())
    assert.ok(rows.filter(row => row.status === 'patch').length >= 5, JSON.stringify(rows, null, 1))
    assert.deepEqual(treeDifferences(treeContent(data), asMade.data), [])
    assert.deepEqual(treeDifferences(treeContent(cache), asMade.cache), [])
    assert.deepEqual(kinds(all('--dry-run', '--only', 'pipx,tox').rows), ['pipx venv'])
    assert.equal(wheelfix(world, ['all', '--only', 'nonsense'], tools.env).status, 2)
  })

  test('one run, and all of them work; what uv unpacked is as it was', () => {
    const { status, rows } = all()
    assert.equal(status, 0, JSON.stringify(rows, null, 1))
    assert.match(runScript().stdout, /script works/)
    assert.match(uvx().stdout, /uvx works/)
    const imports = ['-c', 'import numpy']
    runWell(join(data, 'uv/tools/ruff/bin/python'), imports, { env: world.env })
    runWell(join(data, 'pipx/venvs/pycowsay/bin/python'), imports, { env: world.env })
    assert.equal(hook().status, 0)
    runWell(managed, ['-c', 'import ssl, zlib'], { env: world.env })
    assert.deepEqual(
      unpacked().flatMap((tree, index) => treeDifferences(tree, wheels[index] ?? new Map())),
      [],
    )
  })

  test('a second run changes nothing', () => {
    const now = [treeState(data), treeState(cache)]
    const { rows } = all()
    assert.deepEqual([...new Set(rows.map(({ status }) => status))], ['fine'])
    const then = [treeState(data), treeState(cache)]
    assert.deepEqual(
      now.flatMap((tree, index) => treeDifferences(tree, then[index] ?? new Map())),
      [],
    )
  })

  test('a running tool is left alone, and so is a folder of another user', t => {
    const lock = join(data, 'uv/tools/.lock')
    if (run('sh', ['-c', 'command -v flock']).status !== 0) return t.skip(skip('needs flock'))
    const command = `exec 9>>"${lock}"; flock 9; "${process.execPath}" "$@"`
    const args = ['-c', command, 'sh', join(import.meta.dirname, '../../../dist/wheelfix.cjs'), 'all', '--json']
    const { environments } = JSON.parse(runWell('sh', args, { env: { ...tools.env }, cwd: world.root })) as {
      environments: Row[]
    }
    const row = environments.find(({ name }) => name === 'ruff')
    assert.equal(row?.status, 'skipped')
    assert.match(row?.detail ?? '', /is being written: uv holds/)
  })

  test('--restore --dry-run names what would be restored, and changes nothing', () => {
    const now = [treeState(data), treeState(cache)]
    const { status, rows } = all('--restore', '--dry-run')
    assert.equal(status, 0, JSON.stringify(rows, null, 1))
    const pending = rows.filter(row => row.status === 'restore').map(({ kind }) => kind)
    assert.deepEqual([...new Set(pending)].sort(), ['folder', 'python', 'venv'])
    assert.ok(rows.every(row => row.status !== 'restored'))
    const then = [treeState(data), treeState(cache)]
    assert.deepEqual(
      now.flatMap((tree, index) => treeDifferences(tree, then[index] ?? new Map())),
      [],
    )
  })

  test('--restore gives every byte back', () => {
    const { status, rows } = all('--restore')
    assert.equal(status, 0, JSON.stringify(rows, null, 1))
    const isKept = ([name]: [string, string]) => !/__pycache__|\.pyc$|pre-commit.*db\.db|\.(?:msgpack|rkyv)$/.test(name)
    const kept = (tree: Map<string, string>) => new Map([...tree].filter(isKept))
    assert.deepEqual(treeDifferences(kept(treeContent(data)), kept(asMade.data)), [])
    assert.deepEqual(treeDifferences(kept(treeContent(cache)), kept(asMade.cache)), [])
    assert.notEqual(runScript().status, 0)
    assert.ok(statSync(join(data, 'uv/tools/ruff')).isDirectory())
  })
})

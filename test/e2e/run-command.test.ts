// Commands that install, and what they installed works: one command each from failing to working, with its own status.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, suite, test } from 'node:test'
import { skip } from '../support/requires.ts'
import { run, type RunResult } from '../support/run.ts'
import { installTools } from '../world/tools.ts'
import { WHEELFIX, withWheels } from '../world/venv.ts'
import { buildWorld } from '../world/world.ts'

suite('wheelfix run', () => {
  const world = withWheels(buildWorld())
  if (typeof world === 'string') {
    test('patches what a command installed', { skip: skip(world) })
    return
  }
  after(() => world.dispose())
  const tools = installTools(world, ['uv'])
  const uv = join(world.root, 'tools/bin/uv')
  const env = { ...tools.env, PATH: `${join(world.root, 'tools/bin')}:${tools.env['PATH'] ?? ''}` }
  const project = join(world.root, 'project')
  mkdirSync(project)
  writeFileSync(
    join(project, 'pyproject.toml'),
    '[project]\nname = "p"\nversion = "1"\nrequires-python = ">=3.9"\ndependencies = ["numpy"]\n',
  )
  const wheelfixRun = (...words: string[]): RunResult =>
    run(process.execPath, [WHEELFIX, 'run', '--', ...words], { env, cwd: project })
  const python = join(project, '.venv/bin/python')
  const imports = () => run(python, ['-c', 'import numpy'], { env }).status === 0

  test('uv sync: the project imports at once, and a second time nothing is said', () => {
    const first = wheelfixRun('uv', 'sync', '-q')
    assert.equal(first.status, 0, first.stderr)
    assert.match(first.stderr, /wheelfix: .*\.venv: \d+ patched/)
    assert.ok(imports())
    assert.deepEqual(wheelfixRun('uv', 'sync', '-q'), { status: 0, stdout: '', stderr: '' })
  })

  test('uv run of a project, of a script with its own environment, and uvx start with what they need', () => {
    run('rm', ['-rf', join(project, '.venv')])
    const inline = join(project, 'inline.py')
    writeFileSync(
      inline,
      '# /// script\n# dependencies = ["numpy"]\n# ///\nimport numpy, sys\nsys.exit(len(sys.argv))\n',
    )
    for (const [words, status] of [
      [['uv', 'run', '-q', 'python', '-c', 'import numpy; raise SystemExit(5)'], 5],
      [['uv', 'run', '-q', 'inline.py', 'one', 'two'], 3],
      [['uv', 'run', '-q', '--no-project', '--with', 'numpy', 'python', '-c', 'import numpy'], 0],
      [['uv', 'tool', 'run', '-q', '--with', 'numpy', 'python', '-c', 'import numpy'], 0],
    ] as const) {
      const { status: ended, stderr } = wheelfixRun(...words)
      assert.equal(ended, status, `${words.join(' ')}\n${stderr}`)
      assert.doesNotMatch(stderr, /ImportError/)
    }
  })

  test('uv tool install: the tool gets a loader that is here', () => {
    const { status, stderr } = wheelfixRun('uv', 'tool', 'install', '-q', 'ruff')
    assert.equal(status, 0)
    assert.match(stderr, /uv\/tools\/ruff: 1 patched/)
    assert.equal(run(join(world.root, 'home/.local/bin/ruff'), ['--version'], { env }).status, 0)
  })

  test('pip of a venv: the environment that the program belongs to, wherever one is', () => {
    const venv = join(world.root, 'other')
    for (const args of [['venv', '-q', '--seed', venv]]) run(uv, args, { env })
    const pip = ['-m', 'pip', 'install', '-q', '--disable-pip-version-check', 'numpy']
    const { status, stderr } = wheelfixRun(join(venv, 'bin/python'), ...pip)
    assert.equal(status, 0, stderr)
    assert.equal(run(join(venv, 'bin/python'), ['-c', 'import numpy'], { env }).status, 0)
  })

  test('a command that fails or does not exist keeps its status and its message', () => {
    const { status, stdout, stderr } = wheelfixRun('sh', '-c', 'echo out; echo err >&2; exit 7')
    assert.deepEqual([status, stdout, stderr], [7, 'out\n', 'err\n'])
    const absent = wheelfixRun('no-such-program')
    assert.equal(absent.status, 2)
    assert.match(absent.stderr, /there is no such program/)
  })

  for (const [signal, code] of [
    ['SIGTERM', null],
    ['SIGINT', null],
    ['SIGTERM', 9],
  ] as const) {
    test(`${signal} reaches the command, which ${code === null ? 'ends by it' : 'handles it'}`, async () => {
      const ready = join(world.root, `ready-${signal}-${code ?? 'none'}`)
      const trap = code === null ? '' : `trap "exit ${code}" TERM; `
      const script = `${trap}: > "${ready}"; while :; do sleep 0.05; done`
      const child = spawn(process.execPath, [WHEELFIX, 'run', '--', 'sh', '-c', script], { env, stdio: 'ignore' })
      while (!existsSync(ready)) await new Promise(settle => setTimeout(settle, 20))
      child.kill(signal)
      const ended = await new Promise<(number | string | null)[]>(settle => {
        child.once('close', (...end) => {
          settle(end)
        })
      })
      assert.deepEqual(ended, code === null ? [null, signal] : [code, null])
    })
  }
})

// Commands that install, and what they installed works: one command each from failing to working, with its own status.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, suite, test } from 'node:test'
import { rebuildElf } from '../support/elf.ts'
import { skip } from '../support/requires.ts'
import { run, type RunResult, runWell } from '../support/run.ts'
import { signalled } from '../support/signal.ts'
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
  })

  test('a command that cannot be started has the status that a shell gives it, and a reason', () => {
    const plain = join(project, 'plain')
    writeFileSync(plain, 'echo x\n')
    const lost = join(project, 'lost')
    writeFileSync(lost, '#!/no/such/python\n', { mode: 0o755 })
    for (const [word, wanted, why] of [
      ['no-such-program', 127, /there is no such program/],
      ['./no-such-program', 127, /there is no such program/],
      [lost, 127, /the loader or interpreter that it asks for does not/],
      [plain, 126, /cannot be executed/],
      [project, 126, /cannot be executed/],
    ] as const) {
      const { status, stdout, stderr } = wheelfixRun(word)
      assert.deepEqual([status, stdout], [wanted, ''], word)
      assert.match(stderr.replaceAll(/\s+/g, ' '), why)
    }
  })

  test('a program whose loader is not there is patched, and then started', () => {
    const venv = join(world.root, 'with-ruff')
    for (const args of [
      ['venv', '-q', venv],
      ['pip', 'install', '-q', '-p', venv, 'ruff'],
    ])
      assert.equal(run(uv, args, { env }).status, 0)
    const ruff = join(venv, 'bin/ruff')
    rebuildElf(ruff, { interpreter: world.host.loader.replace(/^.*\//, '/lib64/absent-linux-here/') })
    const { status, stdout, stderr } = wheelfixRun(ruff, '--version')
    assert.equal(status, 0, stderr)
    assert.match(stdout, /^ruff /)
    assert.match(stderr, /with-ruff: 1 patched/)
  })

  test('pip --target, --user and --python, and uv pip in the active environment', () => {
    const venv = join(world.root, 'seeded')
    assert.equal(run(uv, ['venv', '-q', '--seed', '--system-site-packages', venv], { env }).status, 0)
    const pip = join(venv, 'bin/pip')
    const python = join(venv, 'bin/python')
    const home = join(world.root, 'home')
    const target = join(project, 'vendor')
    const other = join(world.root, 'active')
    assert.equal(run(uv, ['venv', '-q', other], { env }).status, 0)
    for (const [words, starts, more] of [
      [[pip, 'install', '-q', '--target', 'vendor', 'numpy'], world.python, { PYTHONPATH: target }],
      [[python, '-m', 'pip', '-q', '--python', other, 'install', 'numpy'], join(other, 'bin/python'), {}],
      [[uv, 'pip', 'install', '-q', 'numpy', '--reinstall'], join(other, 'bin/python'), { VIRTUAL_ENV: other }],
      [
        [python, '-m', 'pip', 'install', '-q', 'numpy', '--user', '--force-reinstall'],
        python,
        { PYTHONNOUSERSITE: undefined, PYTHONUSERBASE: join(home, 'user') },
      ],
    ] as const) {
      const asked = { ...env, ...more }
      const what = words.join(' ')
      const { status, stderr } = run(process.execPath, [WHEELFIX, 'run', '--', ...words], { env: asked, cwd: project })
      assert.equal(status, 0, `${what}\n${stderr}`)
      const { status: ended, stderr: said } = run(starts, ['-c', 'import numpy'], { env: { ...world.env, ...more } })
      assert.equal(ended, 0, `${what}\n${stderr}${said}`)
    }
  })

  test('uv --directory: targets, environments and projects are relative to that folder', () => {
    const below = join(world.root, 'below')
    mkdirSync(join(below, 'project'), { recursive: true })
    run('cp', [join(project, 'pyproject.toml'), join(below, 'project/pyproject.toml')])
    assert.equal(run(uv, ['venv', '-q', join(below, 'named')], { env }).status, 0)
    for (const [words, wanted, more] of [
      [['uv', '--directory', below, 'pip', 'install', '-q', '--target', 'vendor', 'numpy'], 'vendor', {}],
      [['uv', '-q', 'pip', 'install', '--directory=../below', '-p', 'named', 'numpy'], 'named', {}],
      [['uv', 'pip', 'install', '-q', '--target=again', 'numpy'], 'again', { UV_WORKING_DIR: below }],
      [['uv', 'sync', '-q', '--directory', below, '--project', 'project'], 'project/.venv', {}],
    ] as const) {
      const asked = { ...env, ...more }
      const what = words.join(' ')
      const { status, stderr } = run(process.execPath, [WHEELFIX, 'run', '--', ...words], { env: asked, cwd: project })
      assert.equal(status, 0, `${what}\n${stderr}`)
      assert.match(stderr, new RegExp(`wheelfix: \\S*below/${wanted}: \\d+ patched`), what)
    }
  })

  test('odd forms: wrappers, shells, make, folders, and a project that a variable names', () => {
    const away = join(world.root, 'away')
    mkdirSync(away)
    writeFileSync(join(project, 'Makefile'), 'all:\n\tuv sync -q\n')
    const own = join(project, '.venv')
    const other = join(project, 'other')
    const tool = join(world.root, 'home/.local/share/uv/tools/ruff')
    const install = ['uv', 'tool', 'install', '-q', '--reinstall', 'ruff']
    for (const { words, cwd = project, root = own, more = {} } of [
      { words: ['env', '-u', 'X', 'A=1', 'UV_PROJECT_ENVIRONMENT=other', uv, 'sync', '-q'], root: other },
      { words: ['nice', '-n', '1', 'timeout', '600', 'uv', '-q', 'run', 'python', '-c', 'import numpy'] },
      { words: ['sh', '-c', 'uv sync -q'] },
      { words: ['sh', '-c', 'cd project && uv sync -q'], cwd: world.root },
      { words: ['make', '-s'] },
      { words: ['make', '-s', '-C', '../project'], cwd: away },
      { words: ['env', '-C', '../project', 'uv', 'sync', '-q'], cwd: away },
      { words: ['uv', '-q', '--directory', '../project', 'sync'], cwd: away },
      { words: ['uv', 'sync', '-q', '--project=../project'], cwd: away },
      { words: ['uv', 'sync', '-q'], cwd: away, more: { UV_PROJECT: '../project' } },
      { words: ['sh', '-c', install.join(' ')], root: tool },
      { words: ['env', 'A=1', ...install], root: tool },
    ]) {
      const what = words.join(' ')
      run('rm', ['-rf', own, other])
      const asked = { env: { ...env, ...more }, cwd }
      const { status, stderr } = run(process.execPath, [WHEELFIX, 'run', '--', ...words], asked)
      assert.equal(status, 0, `${what}\n${stderr}`)
      assert.match(stderr, new RegExp(`^wheelfix: ${root}: \\d+ patched$`, 'm'), what)
      if (root === tool) continue
      assert.equal(run(join(root, 'bin/python'), ['-c', 'import numpy'], { env }).status, 0, what)
    }
  })

  test('a program of an environment that is there is patched before it starts', () => {
    run(uv, ['sync', '-q'], { env, cwd: project })
    run(process.execPath, [WHEELFIX, 'restore', '-q', join(project, '.venv')], { env })
    assert.ok(!imports())
    const { status, stderr } = wheelfixRun('.venv/bin/python', '-c', 'import numpy; raise SystemExit(4)')
    assert.equal(status, 4)
    assert.match(stderr, /^wheelfix: \S+\.venv: \d+ patched\n$/)
  })

  test('without its cache uv keeps no environment: the advice is printed, and it works', () => {
    const words = ['uv', 'run', '-q', '--no-project', '--with', 'numpy', 'python', '-c', 'import numpy']
    const uncached = { ...env, UV_NO_CACHE: '1' }
    const { status, stderr } = run(process.execPath, [WHEELFIX, 'run', '--', ...words], { env: uncached, cwd: project })
    assert.equal(status, 1)
    assert.match(
      stderr,
      /^wheelfix: uv keeps no environment with UV_NO_CACHE, so nothing was patched: unset UV_NO_CACHE, or/m,
    )
    assert.doesNotMatch(stderr, /run it again/)
    const made = join(world.root, 'made')
    runWell(process.execPath, [WHEELFIX, 'python', '--make', made], { env })
    const own = { ...uncached, UV_PYTHON: join(made, 'bin/python3') }
    assert.equal(run(uv, words.slice(1), { env: own, cwd: project }).status, 0)
  })

  test('a signal while the environment is made ends the command before it starts', async () => {
    // a build that takes long: its backend is in the project, and tells when it runs
    const slow = join(world.root, 'slow')
    mkdirSync(slow)
    const ready = join(slow, 'ready')
    const build = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    writeFileSync(join(slow, 'pyproject.toml'), `[project]\nname = "slow"\nversion = "1"\n${build}`)
    const backend = `def build_editable(*_, **__):\n    open(${JSON.stringify(ready)}, "w").close()\n    time.sleep(600)\n`
    writeFileSync(join(slow, 'backend.py'), `import time\n${backend}`)
    const words = ['uv', 'run', '-q', 'sh', '-c', 'touch started']
    for (const signal of ['SIGTERM', 'SIGINT'] as const) {
      run('rm', ['-f', ready])
      // uv does not end its build
      const command = [process.execPath, WHEELFIX, 'run', '--', ...words] as const
      const { status, by } = await signalled(command, { env, cwd: slow }, ready, signal)
      assert.ok(by === signal || (typeof status === 'number' && status > 128), `${signal}: ${status} ${by}`)
      assert.ok(!existsSync(join(slow, 'started')))
    }
  })

  for (const [how, line] of [
    ['a terminal', 'exec "$@"'],
    ['a pipe, in a terminal', 'echo | "$@"'],
  ] as const) {
    test(`Ctrl-C reaches the whole group once, with standard input from ${how}`, () => {
      const log = join(world.root, `signals-${how.length}`)
      const child = [world.host.python.executable, '-c', COUNT_SIGNALS, log]
      const words = ['sh', '-c', line, 'sh', process.execPath, WHEELFIX, 'run', '--', ...child]
      runWell(world.host.python.executable, ['-c', IN_TERMINAL, log, ...words], { env })
      assert.equal(readFileSync(log, 'utf8'), 'ready\nSIGINT\n')
    })
  }

  for (const [signal, code] of [
    ['SIGTERM', null],
    ['SIGHUP', null],
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

/** Writes each SIGINT that arrives within a second after the first into a file. */
const COUNT_SIGNALS = `
import signal, sys, time
log = open(sys.argv[1], "w", buffering=1)
seen = []
signal.signal(signal.SIGINT, lambda *_: (seen.append(time.time()), log.write("SIGINT\\n")))
log.write("ready\\n")
while not seen or time.time() - seen[0] < 1: time.sleep(0.05)
`

/** Starts a command in a terminal of its own, and presses Ctrl-C when the file says that it is ready. */
const IN_TERMINAL = `
import os, pty, sys, time
pid, terminal = pty.fork()
if pid == 0: os.execvp(sys.argv[2], sys.argv[2:])
while not os.path.exists(sys.argv[1]) or "ready" not in open(sys.argv[1]).read(): time.sleep(0.05)
os.write(terminal, b"\\x03")
try:
    while os.read(terminal, 4096): pass
except OSError: pass
os.waitpid(pid, 0)
`

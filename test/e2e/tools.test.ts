// The environments of real tools that belong to projects: made, failing, one `wheelfix all`, working, a second one that changes
// nothing, and back. Then the same with one `wheelfix run -- COMMAND` from nothing. `npm test` tries two tools, `npm run tools` all
// of them. (test/e2e/all.test.ts has uv, pipx and pre-commit, test/e2e/run-command.test.ts uv and pip.)
import assert from 'node:assert/strict'
import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { after, suite, test } from 'node:test'
import { skip, which } from '../support/requires.ts'
import { run, type RunResult, runWell } from '../support/run.ts'
import { signalled } from '../support/signal.ts'
import { treeContent, treeDifferences, treeState } from '../support/tree.ts'
import { withoutLoader } from '../world/no-loader.ts'
import { installTools } from '../world/tools.ts'
import { WHEELFIX, withWheels } from '../world/venv.ts'
import { buildWorld, type World } from '../world/world.ts'

interface Row {
  readonly tool: string
  /** What `uv tool install` is told. */
  readonly install: readonly string[]
  readonly files?: Readonly<Record<string, string>>
  readonly env?: NodeJS.ProcessEnv
  /** Commands that make the environments. */
  readonly make: readonly (readonly string[])[]
  /** A command that imports numpy in one of them and prints `works`. */
  readonly use: readonly string[]
  /** How many are found. */
  readonly environments: number
  /** What is done before `wheelfix run` with plain commands. */
  readonly before?: readonly (readonly string[])[]
  /** Each is one command for `wheelfix run` in a new project, after which `use` works. FOLDER is the project. */
  readonly once: readonly Once[]
  /** Commands that install and start in one step, and cannot be prepared. */
  readonly late?: readonly Late[]
}

interface Late {
  readonly words: readonly string[]
  /** What wheelfix says after it failed. */
  readonly says: string
  /** What helps then, also with `wheelfix run`. */
  readonly helps: readonly string[]
}

interface Once {
  readonly words: readonly string[]
  /** Is the command started in another folder, beside the project? */
  readonly isBeside?: boolean
  /** Does the command itself use numpy? Then its first run works, and `use` is not asked. */
  readonly works?: boolean
  /** How the command starts an environment that has no libraries; the default is `use`. */
  readonly use?: readonly string[]
  readonly env?: NodeJS.ProcessEnv
}

const PRINT = 'import numpy; print("works", numpy.ones(2).sum())'
const IMPORT = ['python', '-c', PRINT]

/** WHEEL stands for the path of numpy's wheel, MINOR for the version of Python. */
const project = (more: string): string => `[project]
name = "demo-app"
version = "1.0"
requires-python = ">=MINOR"
dependencies = ["numpy @ file://WHEEL"]
${more}`

const script = (needs: string): string =>
  `# /// script\n# dependencies = ["${needs}"]\n# ///\nimport numpy; print("works")\n`

const TOX = `[testenv]
deps = numpy
skip_install = true
commands = python -c "import numpy; print('works')"
[testenv:lint]
deps = ruff
commands =
`

const HOOKS = `repos:
  - repo: local
    hooks:
      - id: numbers
        name: numbers
        language: python
        entry: python -c "import numpy; print('works')"
        additional_dependencies: [numpy, ruff]
        pass_filenames: false
        always_run: true
        verbose: true
`

const NOX = `import nox
@nox.session
def tests(session):
    session.install("numpy", "ruff")
    session.run("python", "-c", "import numpy; print('works')")
`

const ROWS: readonly Row[] = [
  {
    tool: 'poetry',
    install: ['poetry'],
    files: { 'pyproject.toml': project('[tool.poetry]\npackage-mode = false\n') },
    make: [['poetry', 'install']],
    use: ['poetry', 'run', ...IMPORT],
    environments: 1,
    once: [
      { words: ['poetry', 'install'] },
      { words: ['HOME/.local/bin/poetry', '-q', '-C', 'FOLDER', 'install'], isBeside: true },
      { words: ['sh', '-c', 'cd "FOLDER" && poetry install'], isBeside: true },
      {
        words: ['env', 'POETRY_VIRTUALENVS_IN_PROJECT=1', 'poetry', 'install', '-P', 'FOLDER'],
        isBeside: true,
        use: ['FOLDER/.venv/bin/python', '-c', PRINT],
      },
    ],
  },
  {
    tool: 'pdm',
    // pdm 2.29 does not work with the newest hishel
    install: ['pdm', '--with', 'hishel<2'],
    files: { 'pyproject.toml': project('[tool.pdm]\ndistribution = false\n') },
    // its cache: what is installed are links
    env: { PDM_VENV_IN_PROJECT: '0', PDM_INSTALL_CACHE: '1' },
    make: [
      ['pdm', 'config', '--local', 'install.cache', 'true'],
      ['pdm', 'install'],
    ],
    use: ['pdm', 'run', ...IMPORT],
    environments: 1,
    before: [['pdm', 'use', '-f', 'PYTHON']],
    once: [{ words: ['pdm', 'install'] }, { words: ['pdm', 'install', '-p', 'FOLDER'], isBeside: true }],
  },
  {
    tool: 'pdm',
    install: ['pdm', '--with', 'hishel<2'],
    // PEP 582
    files: { 'pyproject.toml': project('[tool.pdm]\ndistribution = false\n'), '__pypackages__/.keep': '' },
    make: [
      ['pdm', 'config', '--local', 'python.use_venv', 'false'],
      ['pdm', 'use', '-f', 'PYTHON'],
      ['pdm', 'install'],
    ],
    use: ['pdm', 'run', ...IMPORT],
    environments: 1,
    before: [
      ['pdm', 'config', '--local', 'python.use_venv', 'false'],
      ['pdm', 'use', '-f', 'PYTHON'],
    ],
    once: [{ words: ['pdm', 'install'] }],
  },
  {
    tool: 'hatch',
    install: ['hatch'],
    files: {
      'pyproject.toml': `${project('[tool.hatch.metadata]\nallow-direct-references = true\n')}
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[tool.hatch.envs.lint]
detached = true
dependencies = ["ruff"]
`,
      'demo_app/__init__.py': '',
    },
    make: [
      ['hatch', 'env', 'create'],
      ['hatch', 'env', 'create', 'lint'],
    ],
    use: ['hatch', 'run', ...IMPORT],
    environments: 2,
    once: [{ words: ['hatch', 'env', 'create'] }, { words: ['hatch', '-q', 'run', ...IMPORT], works: true }],
  },
  {
    tool: 'pipenv',
    install: ['pipenv'],
    files: { Pipfile: '[packages]\nnumpy = "*"\nruff = "*"\n' },
    make: [['pipenv', 'install']],
    use: ['pipenv', 'run', ...IMPORT],
    environments: 1,
    once: [
      { words: ['pipenv', 'install'] },
      { words: ['pipenv', 'install', '-q'], isBeside: true, env: { PIPENV_PIPFILE: 'FOLDER/Pipfile' } },
    ],
  },
  {
    tool: 'tox',
    install: ['tox'],
    files: { 'tox.ini': TOX },
    make: [['tox', 'run', '-e', 'py,lint', '--notest']],
    use: ['tox', 'run', '-e', 'py'],
    environments: 2,
    once: [
      { words: ['tox', '-e', 'py'], works: true },
      { words: ['tox', '-c', 'FOLDER/tox.ini', 'run', '-e', 'py'], isBeside: true, works: true },
      {
        words: ['tox', '-e', 'py', '--workdir', 'FOLDER/w'],
        works: true,
        use: ['tox', '-e', 'py', '--workdir', 'FOLDER/w'],
      },
    ],
    late: [
      {
        words: ['tox', '-re', 'py'],
        says: 'the patch came too late: run it without -r, or',
        helps: ['tox', '-e', 'py'],
      },
      {
        words: ['tox', '-r', '-e', 'py'],
        says: 'wheelfix python --make DIR, then tox -x testenv.base_python=DIR/bin/python3',
        helps: ['tox', '-r', '-e', 'py', '-x', 'testenv.base_python=MADE/bin/python3'],
      },
    ],
  },
  {
    tool: 'nox',
    install: ['nox'],
    files: { 'noxfile.py': NOX },
    make: [['nox', '--install-only']],
    use: ['nox', '-R'],
    environments: 1,
    once: [
      { words: ['nox', '-r'], works: true },
      { words: ['nox', '-r', '-f', 'FOLDER/noxfile.py', '--envdir', 'FOLDER/.nox'], isBeside: true, works: true },
    ],
    late: [
      { words: ['nox'], says: 'the patch came too late: add -r, or', helps: ['nox', '-r'] },
      {
        words: ['nox'],
        says: 'wheelfix python --make DIR, then nox --force-python DIR/bin/python3',
        helps: ['nox', '--force-python', 'MADE/bin/python3'],
      },
    ],
  },
  {
    tool: 'virtualenvwrapper',
    install: ['virtualenv'],
    make: [
      ['virtualenv', 'HOME/.virtualenvs/work'],
      ['HOME/.virtualenvs/work/bin/pip', 'install', 'numpy', 'ruff'],
    ],
    use: ['HOME/.virtualenvs/work/bin/python', '-c', PRINT],
    environments: 1,
    // numpy is there, and a wheel that needs nothing is added
    before: [
      ['virtualenv', '.venv'],
      ['.venv/bin/pip', 'install', 'numpy'],
    ],
    once: [
      { words: ['.venv/bin/pip', 'install', '-U', 'numpy'], use: ['.venv/bin/python', '-c', PRINT] },
      { words: ['.venv/bin/python', '-Im', 'pip', 'install', 'six'], use: ['.venv/bin/python', '-c', PRINT] },
      { words: ['.venv/bin/python', '-c', PRINT], works: true, use: ['.venv/bin/python', '-c', PRINT] },
    ],
  },
  {
    tool: 'pre-commit',
    install: ['pre-commit'],
    files: { '.pre-commit-config.yaml': HOOKS },
    make: [['pre-commit', 'install-hooks']],
    use: ['pre-commit', 'run', '--all-files'],
    environments: 1,
    // the environment of the test before has the same requirements, and would be used again
    before: [['rm', '-rf', 'HOME/.cache/pre-commit']],
    once: [{ words: ['pre-commit', 'run', '--all-files'], works: true }],
  },
  {
    tool: 'prek',
    install: ['prek'],
    files: { '.pre-commit-config.yaml': HOOKS },
    make: [['prek', 'install-hooks']],
    use: ['prek', 'run', '--all-files'],
    environments: 1,
    // the environment of the test before has the same requirements, and would be used again
    before: [['rm', '-rf', 'HOME/.cache/prek']],
    once: [{ words: ['prek', 'run', '--all-files'], works: true }],
  },
  {
    tool: 'pipx',
    install: ['pipx'],
    // their environments are named after what they ask for
    files: { 'script.py': script('numpy'), 'other.py': script('numpy>1') },
    make: [
      ['pipx', 'install', 'ruff'],
      ['pipx', 'inject', 'ruff', 'numpy'],
    ],
    use: ['HOME/.local/share/pipx/venvs/ruff/bin/python', '-c', PRINT],
    environments: 1,
    once: [
      {
        words: ['pipx', 'install', '--python', 'PYTHON', '--preinstall', 'numpy', '--force', 'ruff'],
        use: ['HOME/.local/share/pipx/venvs/ruff/bin/python', '-c', PRINT],
      },
    ],
    late: (['pip', 'uv'] as const).flatMap(backend => {
      const words = ['pipx', 'run', '--backend', backend]
      return [
        {
          words: [...words, '--no-cache', 'script.py'],
          says: 'a patch comes too late: leave out --no-cache, or',
          helps: ['env', 'PIPX_DEFAULT_PYTHON=MADE/bin/python3', ...words, '--no-cache', 'script.py'],
        },
        {
          words: [...words, 'other.py'],
          says: 'the command had started before its files were patched: run it again',
          helps: [...words, 'other.py'],
        },
      ]
    }),
  },
]

/** The tools that are tried: names, or `all`. Those of `npm test` are quick, and one of them links what it installs. */
const asked = (process.env['WHEELFIX_TOOLS_TESTED'] ?? 'tox,pdm').split(',')
const isWhole = process.env['WHEELFIX_TOOLS_TESTED'] !== undefined

suite('environments of tools', () => {
  const world = withWheels(buildWorld())
  const git = which('git')
  if (typeof world === 'string' || git === undefined) {
    test('are patched', { skip: skip(typeof world === 'string' ? world : 'needs git') })
    return
  }
  after(() => world.dispose())
  const uv = installTools(world, ['uv'])
  const home = join(world.root, 'home')
  const env = { ...uv.env, PATH: `${home}/.local/bin:${join(world.root, 'tools/bin')}:${uv.env['PATH'] ?? ''}` }
  const wheels = join(world.root, 'wheels')
  const from = process.env['WHEELFIX_TEST_WHEELS']
  const index = from === undefined ? [] : ['--no-index', '--find-links', from]
  const download = ['-m', 'pip', 'download', '-q', '--no-deps', '-d', wheels, ...index, 'numpy']
  runWell(world.host.python.executable, download, { env: { ...world.env, HOME: process.env['HOME'] } })
  const [wheel = ''] = readdirSync(wheels)
  const minor = world.host.python.version.split('.').slice(0, 2).join('.')
  const hidden = withoutLoader()
  const rows = ROWS.filter(({ tool }) => asked.includes('all') || asked.includes(tool))
  const installed = new Set<string>()
  /** The environments of earlier rows: they are patched, too, and restored. */
  const found = new Set<string>()
  /** The wheels that uv unpacked: what is in its archive and no environment. */
  const unpacked = (): Map<string, string> => {
    const archive = join(home, '.cache/uv/archive-v0')
    const folders = readdirSync(archive).filter(name => !existsSync(join(archive, name, 'pyvenv.cfg')))
    return new Map(
      folders.flatMap(name =>
        [...treeContent(join(archive, name))].map(([path, is]) => [`${name}/${path}`, is] as const),
      ),
    )
  }

  /** A command in a project's folder, with the words of a row. */
  const startIn = (folder: string, more: NodeJS.ProcessEnv = {}, cwd = folder) => {
    const say = (text: string): string =>
      text
        .replaceAll(/\bWHEEL\b/g, join(wheels, wheel))
        .replaceAll(/\bFOLDER\b/g, folder)
        .replaceAll(/\bMADE\b/g, join(world.root, 'made'))
        .replaceAll(/\bHOME\b/g, home)
        .replaceAll(/\bPYTHON\b/g, world.python)
        .replaceAll(/\bMINOR\b/g, minor)
    const said = Object.entries(more).map(([name, value]) => [name, value === undefined ? value : say(value)])
    const own = { ...env, ...Object.fromEntries(said), PYTHON: world.python }
    const start = (words: readonly string[]): RunResult => {
      const [program = '', ...args] = words.map(say)
      return run('/usr/bin/env', [program, ...args], { env: own, cwd })
    }
    return { say, own, start }
  }
  const makeProject = (folder: string, { files = {}, install }: Row): void => {
    const { say, own } = startIn(folder)
    mkdirSync(folder)
    for (const [name, text] of Object.entries(files)) {
      mkdirSync(dirname(join(folder, name)), { recursive: true })
      writeFileSync(join(folder, name), say(text))
    }
    runWell('git', ['init', '-q'], { cwd: folder, env: own })
    runWell('git', ['add', '.'], { cwd: folder, env: own })
    const [name = ''] = install
    if (!installed.has(name)) uv.well('uv', ['tool', 'install', ...install], { cwd: world.root })
    installed.add(name)
    fix(world, ['all'], env, folder)
  }

  test('a tool that handles a signal while it makes the environment: the command is not started', async t => {
    const row = rows.find(({ tool }) => tool === 'tox')
    if (row === undefined) {
      t.skip('tox is not asked for')
      return
    }
    const folder = join(world.root, 'slow')
    const [ready, started] = [join(folder, 'ready'), join(folder, 'started')]
    // a build that takes long: its backend is in the project, and tells when it runs
    const files = {
      'tox.ini': `[testenv]\nskip_install = true\ndeps = FOLDER/late\ncommands = python -c "open('${started}', 'w')"\n`,
      'late/pyproject.toml':
        '[project]\nname = "late"\nversion = "1"\n[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n',
      'late/backend.py': `import time\ndef build_wheel(*_, **__):\n    open('${ready}', 'w').close()\n    time.sleep(600)\n`,
    }
    makeProject(folder, { ...row, files })
    for (const signal of ['SIGINT', 'SIGTERM'] as const) {
      rmSync(ready, { force: true })
      const command = [process.execPath, WHEELFIX, 'run', '--', 'tox', '-e', 'py'] as const
      const { status, by } = await signalled(command, { env: startIn(folder).own, cwd: folder }, ready, signal)
      assert.ok(by === signal || (typeof status === 'number' && status > 0), `${signal}: ${status} ${by}`)
      assert.ok(!existsSync(started))
      t.diagnostic(`${signal}: ${status ?? by}`)
    }
  })

  for (const [number, row] of rows.entries()) {
    const { tool, make, use } = row
    test(`${tool} (${use.join(' ')})`, t => {
      const folder = join(world.root, `project-${number}`)
      const { own, start } = startIn(folder, row.env)
      makeProject(folder, row)
      for (const words of make) {
        const { status, stdout, stderr } = start(words)
        assert.equal(status, 0, `${words.join(' ')}\n${stdout}${stderr}`)
      }

      const failing = start(use)
      assert.notEqual(failing.status, 0)
      assert.match(failing.stdout + failing.stderr, /libstdc\+\+\.so\.6/)
      const only = ['all', '--only', tool]
      const places = fix(world, [...only, '--list'], own, folder)
        .map(({ root }) => root)
        .filter(root => !found.has(root))
      for (const root of places) found.add(root)
      assert.equal(places.length, row.environments, places.join('\n'))
      const before = places.map(path => treeContent(path))
      const wheelsBefore = unpacked()
      const ruff = places.map(path => join(path, 'bin/ruff')).find(path => existsSync(path))
      const lint = (): RunResult | null =>
        typeof hidden === 'string' || ruff === undefined ? null : hidden(ruff, ['--version'], { env: world.env })
      if (typeof hidden === 'string') t.diagnostic(`ruff is not started: ${hidden}`)
      assert.notEqual(lint()?.status, 0)

      const patched = fix(world, only, own, folder)
      assert.ok(
        patched.every(({ status }) => status === 'patched'),
        JSON.stringify(patched, null, 1),
      )
      const working = start(use)
      assert.match(working.stdout + working.stderr, /works/)
      assert.equal(working.status, 0, working.stdout + working.stderr)
      assert.equal(lint()?.status ?? 0, 0)

      fix(world, only, own, folder)
      const state = places.map(path => treeState(path))
      const again = fix(world, only, own, folder)
      assert.ok(
        again.every(({ status }) => status === 'fine'),
        JSON.stringify(again, null, 1),
      )
      assert.deepEqual(
        places.flatMap((path, at) => treeDifferences(treeState(path), state[at] ?? new Map())),
        [],
      )

      fix(world, [...only, '--restore'], own, folder)
      const isKept = ([path]: [string, string]) => !/(?:^|\/)(?:log|tmp|\.tox-info\.json)(?:\/|$)/.test(path)
      const kept = (tree: Map<string, string>) => new Map([...tree].filter(isKept))
      assert.deepEqual(
        places.flatMap((path, at) => treeDifferences(kept(treeContent(path)), kept(before[at] ?? new Map()))),
        [],
      )
      assert.deepEqual(treeDifferences(unpacked(), wheelsBefore), [])
      assert.notEqual(start(use).status, 0)
    })

    for (const [at, { words, says, helps }] of (isWhole ? (row.late ?? []) : []).entries()) {
      test(`wheelfix run -- ${words.join(' ')}: ${says}`, () => {
        const folder = join(world.root, `late-${number}-${at}`)
        makeProject(folder, row)
        const { start } = startIn(folder, row.env)
        const wheelfixRun = (line: readonly string[]): RunResult =>
          start([process.execPath, WHEELFIX, 'run', '--', ...line])
        const first = wheelfixRun(words)
        assert.notEqual(first.status, 0)
        assert.match(first.stdout + first.stderr, /libstdc\+\+\.so\.6/)
        const said = first.stderr.split('\n').filter(line => line.startsWith('wheelfix: ') && line.includes(says))
        assert.equal(said.length, 1, first.stderr)
        assert.equal(says.includes('run it again'), first.stderr.includes('run it again'))
        const made = join(world.root, 'made')
        if (!existsSync(made)) runWell(process.execPath, [WHEELFIX, 'python', '--make', made], { env })
        const helped = wheelfixRun(helps)
        assert.match(helped.stdout + helped.stderr, /works/)
        assert.equal(helped.status, 0, helped.stdout + helped.stderr)
      })
    }

    for (const [at, once] of row.once.slice(0, isWhole ? undefined : 1).entries()) {
      test(`wheelfix run -- ${once.words.join(' ')}`, () => {
        const folder = join(world.root, `once-${number}-${at}`)
        makeProject(folder, row)
        const cwd = once.isBeside === true ? join(world.root, `beside-${number}-${at}`) : folder
        mkdirSync(cwd, { recursive: true })
        const more = { ...row.env, ...once.env }
        const inside = startIn(folder, more)
        const beside = startIn(folder, more, cwd)
        for (const words of row.before ?? []) assert.equal(inside.start(words).status, 0, words.join(' '))
        const wheelfixRun = (...words: readonly string[]): RunResult =>
          beside.start([process.execPath, WHEELFIX, 'run', '--', ...words])

        const first = wheelfixRun(...once.words)
        assert.equal(first.status, 0, first.stdout + first.stderr)
        assert.match(first.stderr, /^wheelfix: \S+: \d+ patched$/m)
        if (once.works === true) assert.match(first.stdout + first.stderr, /works/)
        const words = once.use ?? use
        const working = inside.start(words)
        assert.match(working.stdout + working.stderr, /works/)
        assert.equal(working.status, 0, working.stdout + working.stderr)
        const again = wheelfixRun(...once.words)
        assert.equal(again.status, 0, again.stdout + again.stderr)
        if (!once.words.includes('--force')) assert.doesNotMatch(again.stderr, /^wheelfix:/m)

        const [program = ''] = once.words
        // pipenv itself ends with 0 at any option
        const wrong = [program, ...(tool === 'pipenv' ? ['install'] : []), '--no-such-option']
        const failed = beside.start(wrong)
        assert.notEqual(failed.status, 0)
        assert.deepEqual(wheelfixRun(...wrong), failed)

        // without the patch nothing of this works
        const venv = join(folder, '.venv')
        for (const { root } of fix(world, ['all', '--only', tool, '--restore'], inside.own, folder)) found.add(root)
        if (existsSync(venv)) runWell(process.execPath, [WHEELFIX, 'restore', '-q', venv], { env: inside.own })
        if (existsSync(join(folder, 'w'))) return
        const failing = inside.start(words)
        assert.notEqual(failing.status, 0)
        assert.match(failing.stdout + failing.stderr, /libstdc\+\+\.so\.6/)
      })
    }
  }
})

interface Place {
  readonly root: string
  readonly status: string
  readonly detail: string
}

function fix(world: World, args: readonly string[], env: NodeJS.ProcessEnv, cwd: string): Place[] {
  const { stdout, stderr, status } = run(process.execPath, [WHEELFIX, ...args, '--json'], { env, cwd })
  assert.equal(stderr, '')
  assert.equal(status, 0, `${world.root}: ${args.join(' ')}\n${stdout}`)
  return (JSON.parse(stdout) as { environments: Place[] }).environments
}

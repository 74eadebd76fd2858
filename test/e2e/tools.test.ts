// The environments of real tools that belong to projects: made, failing, one `wheelfix all`, working, a second one that changes
// nothing, and back. `npm test` tries two tools, `npm run tools` all of them. (test/e2e/all.test.ts has uv, pipx and
// pre-commit.)
import assert from 'node:assert/strict'
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { after, suite, test } from 'node:test'
import { skip, which } from '../support/requires.ts'
import { run, type RunResult, runWell } from '../support/run.ts'
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
  },
  {
    tool: 'pipenv',
    install: ['pipenv'],
    files: { Pipfile: '[packages]\nnumpy = "*"\nruff = "*"\n' },
    make: [['pipenv', 'install']],
    use: ['pipenv', 'run', ...IMPORT],
    environments: 1,
  },
  {
    tool: 'tox',
    install: ['tox'],
    files: { 'tox.ini': TOX },
    make: [['tox', 'run', '-e', 'py,lint', '--notest']],
    use: ['tox', 'run', '-e', 'py'],
    environments: 2,
  },
  {
    tool: 'nox',
    install: ['nox'],
    files: { 'noxfile.py': NOX },
    make: [['nox', '--install-only']],
    use: ['nox', '-R'],
    environments: 1,
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
  },
  {
    tool: 'pre-commit',
    install: ['pre-commit'],
    files: { '.pre-commit-config.yaml': HOOKS },
    make: [['pre-commit', 'install-hooks']],
    use: ['pre-commit', 'run', '--all-files'],
    environments: 1,
  },
  {
    tool: 'prek',
    install: ['prek'],
    files: { '.pre-commit-config.yaml': HOOKS },
    make: [['prek', 'install-hooks']],
    use: ['prek', 'run', '--all-files'],
    environments: 1,
  },
  {
    tool: 'pipx',
    install: ['pipx'],
    make: [
      ['pipx', 'install', 'ruff'],
      ['pipx', 'inject', 'ruff', 'numpy'],
    ],
    use: ['HOME/.local/share/pipx/venvs/ruff/bin/python', '-c', PRINT],
    environments: 1,
  },
]

/** The tools that are tried: names, or `all`. Those of `npm test` are quick, and one of them links what it installs. */
const asked = (process.env['WHEELFIX_TOOLS_TESTED'] ?? 'tox,pdm').split(',')

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

  for (const [number, row] of rows.entries()) {
    const { tool, install, files = {}, make, use } = row
    test(`${tool} (${use.join(' ')})`, t => {
      const folder = join(world.root, `project-${number}`)
      const own = { ...env, ...row.env, PYTHON: world.python }
      const say = (text: string): string =>
        text
          .replace('WHEEL', join(wheels, wheel))
          .replace('HOME', home)
          .replace('PYTHON', world.python)
          .replace('MINOR', minor)
      const start = (words: readonly string[]): RunResult => {
        const [program = '', ...args] = words.map(say)
        return run('/usr/bin/env', [program, ...args], { env: own, cwd: folder })
      }
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

// Which command makes the environment of a command line, and starts nothing.
import assert from 'node:assert/strict'
import { relative } from 'node:path'
import { test } from 'node:test'
import { planCommand } from '../../src/tools/command-line.ts'
import { splitOptions } from '../../src/tools/split-options.ts'

const HELP = `
      --extra <EXTRA>
      --all-extras
  -m, --module
  -w, --with <WITH>
  -s, --script
  -p, --python <PYTHON>
      --from <FROM>
      --cache-dir <CACHE_DIR>
      --directory <DIRECTORY>
      --project <PROJECT>
  -e, --env TEXT              The name of the environment
      --data-dir TEXT         A folder
`
const FILES: Readonly<Record<string, string>> = {
  'script.py': '# /// script',
  tool: '# /// script',
  'sub/script.py': '# /// script',
  'keeps.py': 'nox.options.reuse_existing_virtualenvs = True',
  'reuses.py': "@nox.session(reuse_venv='always')",
  'comment.py': '# nox.options.reuse_venv = "yes"',
}
const question = { help: () => HELP, textOf: (path: string) => FILES[relative('.', path)] ?? '' }
const plan = (line: string, env: NodeJS.ProcessEnv = {}) => planCommand(line.split(' '), env, question)
const prepared = (line: string): string | null =>
  plan(line)
    .prepare?.map(word => (word === '' ? "''" : word))
    .join(' ') ?? null

test('uv run keeps its options, and runs nothing in place of the command', () => {
  for (const [line, wanted] of [
    ['uv run pytest -q', "uv run python -c ''"],
    ['uv run --with numpy -p 3.12 --extra x python -c import', "uv run --with numpy -p 3.12 --extra x python -c ''"],
    ['uv run --with=numpy -- tool --with y', "uv run --with=numpy python -c ''"],
    ['uv run -m pytest', "uv run python -c ''"],
    ['uv run plain.py', "uv run python -c ''"],
    ['uv run script.py --flag', 'uv sync --script script.py'],
    ['uv run -s script.py', 'uv sync --script script.py'],
    ['/opt/bin/uv run x', "/opt/bin/uv run python -c ''"],
    ['uv run', null],
    ['uv -q run pytest', "uv -q run python -c ''"],
    ['uv --cache-dir x run -q script.py', 'uv --cache-dir x sync --script script.py'],
    ['python3.12 -m uv run pytest', "python3.12 -m uv run python -c ''"],
  ] as const) {
    assert.equal(prepared(line), wanted, line)
  }
})

test('uvx and uv tool run take the tool’s name as a requirement', () => {
  for (const [line, wanted] of [
    ['uvx ruff check .', "uvx --from ruff python -c ''"],
    ['uvx ruff@0.5.0', "uvx --from ruff==0.5.0 python -c ''"],
    ['uvx ruff@latest', "uvx --from ruff python -c ''"],
    ['uvx --with numpy --from ipython ipython3', "uvx --with numpy --from ipython python -c ''"],
    ['uv tool run black', "uv tool run --from black python -c ''"],
    ['uv -q tool -q run black', "uv -q tool -q run --from black python -c ''"],
    ['uv tool install black', null],
  ] as const) {
    assert.equal(prepared(line), wanted, line)
  }
})

test('a command that installs by itself needs no preparation, and its tool is known', () => {
  const tools = (line: string) => plan(line).tools
  for (const line of ['uv sync', 'uv add numpy', 'pip install x', 'uv tool install ruff', 'pipx install x', 'make']) {
    assert.equal(prepared(line), null, line)
  }
  assert.equal(prepared('pre-commit run --all-files'), 'pre-commit install-hooks')
  assert.deepEqual(tools('uv sync'), [])
  assert.deepEqual(tools('uv tool install ruff'), ['uv'])
  assert.deepEqual(tools('uv python install 3.12'), ['uv'])
  assert.deepEqual(tools('pipx install black'), ['pipx', 'uv'])
  assert.deepEqual(tools('git commit -m x'), ['pre-commit', 'prek'])
  assert.deepEqual(tools('python -m poetry install'), ['poetry'])
  assert.deepEqual(tools('/usr/bin/make'), [])
})

test('tox, nox, hatch and prek install first, where their second run keeps what the first made', () => {
  for (const [line, wanted] of [
    ['tox', 'tox --notest'],
    ['tox -e py,lint', 'tox -e py,lint --notest'],
    ['tox run -e py -- -x', 'tox run -e py --notest'],
    ['python -m tox p', 'python -m tox p --notest'],
    ['tox -r', null],
    ['tox -re py', null],
    ['tox -vre py', null],
    ['tox -er', 'tox -er --notest'],
    ['tox list', null],
    ['tox --version', null],
    ['nox -r -s tests -- -x', 'nox -r -s tests --install-only'],
    ['nox -R', 'nox -r --install-only'],
    ['nox --reuse-venv=yes', 'nox --reuse-venv=yes --install-only'],
    ['nox --reuse-venv always', 'nox --reuse-venv always --install-only'],
    ['nox --reuse-venv no', null],
    ['nox', null],
    ['nox -R -l', null],
    ['hatch run pytest -x', "hatch run python -c ''"],
    ['hatch run lint:ruff check', "hatch run lint:python -c ''"],
    ['hatch -e lint run ruff', "hatch -e lint run python -c ''"],
    ['hatch --data-dir x run +py=3.12 test:cov', "hatch --data-dir x run +py=3.12 test:python -c ''"],
    ['hatch build', null],
    ['prek', 'prek install-hooks'],
    ['prek run -a -c other.yaml', 'prek install-hooks -c other.yaml'],
    ['prek --config=other.yaml', 'prek install-hooks --config=other.yaml'],
    ['prek --version', null],
    ['prek list', null],
    ['pre-commit run --config x.yaml', 'pre-commit install-hooks --config x.yaml'],
    ['python -m pre_commit run', 'python -m pre_commit install-hooks'],
  ] as const) {
    assert.equal(prepared(line), wanted, line)
  }
})

test('the places that pip is told to install into', () => {
  for (const [line, wanted] of [
    ['pip install x', []],
    ['pip install --target vendor x', [{ kind: 'target', path: 'vendor' }]],
    ['pip3.12 install -t vendor x', [{ kind: 'target', path: 'vendor' }]],
    ['python -m pip install --target=a=b x', [{ kind: 'target', path: 'a=b' }]],
    ['pip install --user x', [{ kind: 'user', path: '' }]],
    ['pip --python other install x', [{ kind: 'python', path: 'other' }]],
    ['uv pip install --prefix=p x', [{ kind: 'prefix', path: 'p' }]],
    ['uv -q pip install -p other/bin/python x', [{ kind: 'python', path: 'other/bin/python' }]],
    ['uv add --target x', []],
    ['make --target x', []],
    ['pip install --target', []],
    ['tox --workdir w', [{ kind: 'environments', path: 'w' }]],
    ['nox --envdir=w', [{ kind: 'environments', path: 'w' }]],
  ] as const) {
    assert.deepEqual(plan(line).targets, wanted, line)
  }
  const variables = { PIP_TARGET: 't', UV_PYTHON: 'v/bin/python' }
  assert.deepEqual(plan('pip install x', variables).targets, [{ kind: 'target', path: 't' }])
  assert.deepEqual(plan('pip install -t u x', variables).targets, [{ kind: 'target', path: 'u' }])
  assert.deepEqual(plan('uv pip install x', variables).targets, [{ kind: 'python', path: 'v/bin/python' }])
  assert.deepEqual(plan('uv pip install x', { UV_PYTHON: '3.12' }).targets, [])
})

test('a uv project has its own environment; uv pip takes the active one', () => {
  const isOwn = (line: string) => plan(line).ofUvProject
  assert.deepEqual(['uv sync', 'uv -q run x', 'uv add y'].map(isOwn), [true, true, true])
  assert.deepEqual(['uv pip install x', 'pip install x', 'uvx y', 'poetry install'].map(isOwn), [
    false,
    false,
    false,
    false,
  ])
})

test('options of the program that uv run starts are not options of uv', () => {
  assert.equal(plan('uv -q run -w a pyright --project other').project, null)
  assert.equal(plan('uv run pyright --active').ofUvProject, true)
  assert.equal(plan('uv sync --project other').project, 'other')
})

test('the folder and the project that options or variables name', () => {
  for (const [line, folders, project] of [
    ['poetry install', [], null],
    ['poetry -C a install', ['a'], null],
    ['poetry install -Ca', ['a'], null],
    ['poetry --directory=a --project b install', ['a'], 'b'],
    ['poetry run -C a x -C b', ['a'], null],
    ['pdm run -q -p a x -p b', [], 'a'],
    ['pdm -p a run x -p b', [], 'a'],
    ['poetry -C a run x -C b', ['a'], null],
    ['pdm install -p a', [], 'a'],
    ['pdm --project=a sync', [], 'a'],
    ['uv --directory a sync', ['a'], null],
    ['uv --directory a run --project b x --directory c', ['a'], 'b'],
    ['uv run -- x --directory c', [], null],
    ['tox -c a/tox.ini', [], 'a/tox.ini'],
    ['nox -f a/noxfile.py -- -f b', [], 'a/noxfile.py'],
    ['make -C a all', ['a'], null],
    ['git -C a commit', ['a'], null],
    ['env -C a poetry -C b install', ['a', 'b'], null],
    ['pip install -C a', [], null],
  ] as const) {
    const { folders: into, project: named } = plan(line)
    assert.deepEqual([into, named], [folders, project], line)
  }
  const variables = { UV_PROJECT: 'p', UV_WORKING_DIR: 'w', PDM_PROJECT: 'd', PIPENV_PIPFILE: 'f/Pipfile' }
  assert.deepEqual(plan('uv sync', variables).project, 'p')
  assert.deepEqual(plan('uv sync --project o', variables).project, 'o')
  assert.deepEqual(plan('uv sync', variables).folders, ['w'])
  assert.deepEqual(plan('pdm sync', variables).project, 'd')
  assert.deepEqual(plan('pipenv sync', variables).project, 'f/Pipfile')
})

test('a script is looked for in the folder of the command', () => {
  for (const [line, wanted] of [
    ['uv --directory sub run script.py', 'uv --directory sub sync --script script.py'],
    ['env -C sub uv run script.py', 'env -C sub uv sync --script script.py'],
    ['env -C other uv run script.py', "env -C other uv run python -c ''"],
    ['uv run --script tool', 'uv sync --script tool'],
    ['uv run tool', "uv run python -c ''"],
  ] as const) {
    assert.equal(prepared(line), wanted, line)
  }
})

test('wrappers are seen through: their program counts, with the variables that env sets', () => {
  for (const [line, wanted, tools] of [
    ['env A=1 B= uv run pytest', "env A=1 B= uv run python -c ''", ['uv']],
    [
      '/usr/bin/env -i -u X A=1 nice -n 5 timeout -k 9 60 tox',
      '/usr/bin/env -i -u X A=1 nice -n 5 timeout -k 9 60 tox --notest',
      ['tox'],
    ],
    ['nice -5 uvx ruff', "nice -5 uvx --from ruff python -c ''", ['uv']],
    ['nohup stdbuf -oL pipx install x', null, ['pipx', 'uv']],
    ['env -S uv run x', null, []],
    ['env', null, []],
    ['timeout', null, []],
  ] as const) {
    assert.equal(prepared(line), wanted, line)
    assert.deepEqual(plan(line).tools, tools, line)
  }
  const { env, words } = plan('env -u A B=2 C= env D=4=4 pip install x', { A: '1', B: '1', E: '1' })
  assert.deepEqual(env, { A: undefined, B: '2', C: '', D: '4=4', E: '1' })
  assert.deepEqual(words, ['pip', 'install', 'x'])
  const cleared = plan('env B=0 env -i A=1 uv sync', { B: '1', HOME: '/h', PATH: '/p' }).env
  assert.deepEqual(cleared, { A: '1', HOME: '/h', PATH: '/p' })
})

test('a command line inside of a shell: the tools that it mentions, and all environments that change', () => {
  const tools = (words: readonly string[]) => planCommand(words, {}, question).tools
  assert.deepEqual(tools(['sh', '-c', 'cd x && A=1 poetry sync; /opt/bin/uv tool install y']), ['poetry', 'uv'])
  assert.deepEqual(tools(['nix', 'develop', '-c', 'pipenv', 'install']), ['pipenv'])
  assert.deepEqual(tools(['make', 'poetry']), [])
  const unknown = (line: string) => plan(line).isUnknown
  assert.deepEqual(['sh -c x', 'make', '.venv/bin/pytest', ''].map(unknown), [true, true, true, true])
  for (const line of ['uv sync', 'python -Im pip install x', 'python -W ignore -mtox', 'env pip3 x']) {
    assert.equal(unknown(line), false, line)
  }
})

test('commands that start programs of an environment which may be there', () => {
  const starts = (line: string) => plan(line).starts
  for (const line of ['poetry run x', 'poetry -q run x', 'pdm run x', 'pipenv shell', 'hatch test', 'pytest', 'make']) {
    assert.equal(starts(line), true, line)
  }
  for (const line of ['poetry install', 'poetry add run-x', 'pdm add x', 'pip install x', 'uv sync', 'git pull']) {
    assert.equal(starts(line), false, line)
  }
})

test('what helps where no second run would find the patch', () => {
  const late = (line: string, env: NodeJS.ProcessEnv = {}) => plan(line, env).late?.text.split(', or use')[0] ?? null
  const NOX = 'nox makes its environments again in every run, so the patch came too late: add -r'
  const uv = (option: string, advice = `leave out ${option}`) =>
    `uv keeps no environment with ${option}, so nothing was patched: ${advice}`
  for (const [line, wanted] of [
    ['nox', NOX],
    ['nox -s tests -- -r', NOX],
    ['nox -r', null],
    ['nox -f keeps.py', null],
    ['nox -f keeps.py -N', NOX],
    ['nox -f reuses.py', null],
    ['nox -f comment.py', NOX],
    ['tox -r', 'tox -r makes its environments again, so the patch came too late: run it without -r'],
    ['tox', null],
    ['uvx -n ruff', uv('-n')],
    ['uvx ruff -n', null],
    ['uv tool run --no-cache ruff', uv('--no-cache')],
    ['uv -n run --with numpy x', uv('-n')],
    ['uv run -n script.py', uv('-n')],
    ['uv run -n pytest', null],
    ['uv run pytest -n 4', null],
    ['uv run --with x pytest -n 4', null],
    [
      'pipx run --no-cache x',
      'pipx makes the environment again with --no-cache, so a patch comes too late: leave out --no-cache',
    ],
    ['pipx run x', null],
    [
      'pre-commit try-repo .',
      'pre-commit try-repo keeps no environment, so nothing was patched: name the hook in .pre-commit-config.yaml',
    ],
    ['uv sync -n', null],
  ] as const) {
    assert.equal(late(line), wanted, line)
  }
  assert.equal(late('uvx ruff', { UV_NO_CACHE: '1' }), uv('UV_NO_CACHE', 'unset UV_NO_CACHE'))
  assert.equal(late('uvx ruff', { UV_NO_CACHE: '0' }), null)
  assert.equal(prepared('uvx -n ruff'), null)
  assert.equal(prepared('nox -f keeps.py'), 'nox -f keeps.py --install-only')
})

test('options end at the first word that is not an option, or at two dashes', () => {
  assert.deepEqual(splitOptions(['-w', 'a', '--all-extras', 'x', '-w', 'b'], HELP), {
    options: ['-w', 'a', '--all-extras'],
    command: ['x', '-w', 'b'],
  })
  assert.deepEqual(splitOptions(['-'], HELP), { options: [], command: ['-'] })
})

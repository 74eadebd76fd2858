// Which command makes the environment of a command line, and starts nothing.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { planCommand, splitOptions } from '../../src/tools/command-line.ts'

const HELP = `
      --extra <EXTRA>
      --all-extras
  -m, --module
  -w, --with <WITH>
  -s, --script
  -p, --python <PYTHON>
      --from <FROM>
      --cache-dir <CACHE_DIR>
  -e, --env TEXT              The name of the environment
      --data-dir TEXT         A folder
`
const question = { help: () => HELP, isScript: (path: string) => path === 'script.py' }
const prepared = (line: string): string | null =>
  planCommand(line.split(' '), question)
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
  const tools = (line: string) => planCommand(line.split(' '), question).tools
  for (const line of ['uv sync', 'uv add numpy', 'pip install x', 'uv tool install ruff', 'pipx install x', 'make']) {
    assert.equal(prepared(line), null, line)
  }
  assert.equal(prepared('pre-commit run --all-files'), 'pre-commit install-hooks')
  assert.deepEqual(tools('uv sync'), [])
  assert.deepEqual(tools('uv tool install ruff'), ['uv'])
  assert.deepEqual(tools('uv python install 3.12'), ['uv'])
  assert.deepEqual(tools('pipx install black'), ['pipx'])
  assert.deepEqual(tools('git commit -m x'), ['pre-commit', 'prek'])
  assert.deepEqual(tools('python -m poetry install'), ['poetry'])
  assert.deepEqual(tools('/usr/bin/make'), [])
})

test('a command that makes its environment again in every run is not told to run again', () => {
  const again = (line: string) => planCommand(line.split(' '), question).again
  assert.match(again('nox'), /^nox makes its environments again in every run: run it with -r/)
  assert.match(again('python -m nox -s tests'), /run it with -r/)
  assert.match(again('tox -r -e py'), /run it without -r$/)
  for (const line of ['nox -r', 'tox', 'tox list', 'uvx ruff', 'pip install numpy'])
    assert.match(again(line), /^Run it again/)
})

test('tox, nox, hatch and prek install first, where their second run keeps what the first made', () => {
  for (const [line, wanted] of [
    ['tox', 'tox --notest'],
    ['tox -e py,lint', 'tox -e py,lint --notest'],
    ['tox run -e py -- -x', 'tox run -e py --notest'],
    ['python -m tox p', 'python -m tox p --notest'],
    ['tox -r', null],
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
  ] as const) {
    assert.deepEqual(planCommand(line.split(' '), question).targets, wanted, line)
  }
})

test('only uv itself changes to the folder of --directory', () => {
  const isUv = (line: string) => planCommand(line.split(' '), question).isUv
  assert.deepEqual(['uv --directory d pip install x', 'python -m uv sync', 'uvx y', 'pip install x'].map(isUv), [
    true,
    true,
    false,
    false,
  ])
})

test('a uv project has its own environment; uv pip takes the active one', () => {
  const isOwn = (line: string) => planCommand(line.split(' '), question).ofUvProject
  assert.deepEqual(['uv sync', 'uv -q run x', 'uv add y'].map(isOwn), [true, true, true])
  assert.deepEqual(['uv pip install x', 'pip install x', 'uvx y', 'poetry install'].map(isOwn), [
    false,
    false,
    false,
    false,
  ])
})

test('options of the program that uv run starts are not options of uv', () => {
  const own = (line: string) => planCommand(line.split(' '), question).own
  assert.deepEqual(own('uv -q run -w a pyright --project other'), ['-q', '-w', 'a'])
  assert.deepEqual(own('uv sync --project other'), ['uv', 'sync', '--project', 'other'])
})

test('options end at the first word that is not an option, or at two dashes', () => {
  assert.deepEqual(splitOptions(['-w', 'a', '--all-extras', 'x', '-w', 'b'], HELP), {
    options: ['-w', 'a', '--all-extras'],
    command: ['x', '-w', 'b'],
  })
  assert.deepEqual(splitOptions(['-'], HELP), { options: [], command: ['-'] })
})

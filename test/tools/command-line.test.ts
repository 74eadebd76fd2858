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
  assert.deepEqual(tools('git commit -m x'), ['pre-commit'])
  assert.deepEqual(tools('/usr/bin/make'), [])
})

test('options end at the first word that is not an option, or at two dashes', () => {
  assert.deepEqual(splitOptions(['-w', 'a', '--all-extras', 'x', '-w', 'b'], HELP), {
    options: ['-w', 'a', '--all-extras'],
    command: ['x', '-w', 'b'],
  })
  assert.deepEqual(splitOptions(['-'], HELP), { options: [], command: ['-'] })
})

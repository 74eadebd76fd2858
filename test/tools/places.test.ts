// Where the tools keep their environments: by default, and by their own variables. The folders are those that the tools
// made when they were asked to (uv 0.13, pipx 1.18, pre-commit 4.7, poetry, hatch, pdm, pipenv, tox, nox).
import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, suite, test } from 'node:test'
import { nameOf, placesOf, TOOL_NAMES, type ToolName } from '../../src/tools/places.ts'

suite('the places of tools', () => {
  const root = mkdtempSync(join(realpathSync(tmpdir()), 'wheelfix-places-'))
  after(() => rmSync(root, { recursive: true }))
  const venv = (path: string): string => {
    const folder = join(root, path)
    mkdirSync(folder, { recursive: true })
    writeFileSync(join(folder, 'pyvenv.cfg'), 'home = /x\n')
    return folder
  }
  const python = (path: string): string => {
    const folder = join(root, path)
    mkdirSync(join(folder, 'bin'), { recursive: true })
    writeFileSync(join(folder, 'bin/python3.12'), '')
    return folder
  }
  const found = (tool: ToolName, env: NodeJS.ProcessEnv = {}): string[] =>
    placesOf([tool], { env: { HOME: join(root, 'home'), ...env }, cwd: join(root, 'project') })
      .map(place => place.root.slice(root.length + 1))
      .sort()

  const DEFAULTS: Readonly<Record<string, readonly string[]>> = {
    uv: ['home/.cache/uv/archive-v0/a1', 'home/.cache/uv/environments-v2/script-1', 'home/.local/share/uv/tools/ruff'],
    pipx: ['home/.cache/pipx/run1', 'home/.local/pipx/venvs/old', 'home/.local/share/pipx/venvs/black'],
    'pre-commit': ['home/.cache/pre-commit/repo1/py_env-python3.12'],
    poetry: ['home/.cache/pypoetry/virtualenvs/p-x-py3.11'],
    pipenv: ['home/.local/share/virtualenvs/p-y'],
    hatch: ['home/.local/share/hatch/env/virtual/p/ID/p'],
    pdm: ['home/.local/share/pdm/venvs/p-z-3.11'],
    virtualenvwrapper: ['home/.virtualenvs/w'],
    tox: ['project/.tox/py'],
    nox: ['project/.nox/a'],
  }
  for (const path of Object.values(DEFAULTS).flat()) venv(path)

  test('by default', () => {
    for (const [tool, paths] of Object.entries(DEFAULTS)) {
      const name = TOOL_NAMES.find(known => known === tool)
      assert.ok(name !== undefined)
      assert.deepEqual(found(name), paths, tool)
    }
  })

  test('by their own variables, and by those of XDG', () => {
    for (const [tool, variable, folder, inside] of [
      ['uv', 'UV_TOOL_DIR', 'a', ''],
      ['uv', 'XDG_DATA_HOME', 'b', 'uv/tools'],
      ['uv', 'UV_CACHE_DIR', 'c', 'archive-v3'],
      ['pipx', 'PIPX_HOME', 'd', 'venvs'],
      ['pre-commit', 'PRE_COMMIT_HOME', 'e', 'repo2'],
      ['poetry', 'POETRY_VIRTUALENVS_PATH', 'f', ''],
      ['poetry', 'XDG_CACHE_HOME', 'g', 'pypoetry/virtualenvs'],
      ['pipenv', 'WORKON_HOME', 'h', ''],
      ['hatch', 'HATCH_DATA_DIR', 'i', 'env/virtual/p/ID'],
      ['tox', 'TOX_WORK_DIR', 'j', ''],
    ] as const) {
      const path = join(folder, inside, 'py_env-x')
      venv(path)
      assert.ok(found(tool, { [variable]: join(root, folder) }).includes(path), `${tool} ${variable}`)
    }
  })

  test('Pythons come first; links to them and unfinished ones do not count', () => {
    const managed = python('home/.local/share/uv/python/cpython-3.12.8-linux-x86_64-gnu')
    symlinkSync(managed, join(root, 'home/.local/share/uv/python/cpython-3.12-linux-x86_64-gnu'))
    python('home/.local/share/uv/python/.temp/cpython-3.13.0')
    venv('home/.local/share/uv/tools/.tmp1')
    const places = placesOf(['uv'], { env: { HOME: join(root, 'home') }, cwd: root })
    assert.deepEqual(
      places.filter(({ kind }) => kind === 'python').map(place => place.root),
      [managed],
    )
    assert.equal(places[0]?.root, managed)
    assert.ok(places.every(place => !place.root.includes('/.tmp')))
  })

  test('an environment that two tools share is found once, and names are short', () => {
    const shared = { WORKON_HOME: join(root, 'home/.virtualenvs'), HOME: join(root, 'home') }
    const places = placesOf(['pipenv', 'virtualenvwrapper'], { env: shared, cwd: root })
    assert.deepEqual(places.map(nameOf), ['w'])
  })

  test('without a home nothing is found', () => {
    assert.deepEqual(placesOf([...TOOL_NAMES], { env: {}, cwd: '/' }), [])
  })
})

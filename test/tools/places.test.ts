// Where the tools keep their environments: by default, and by their own variables. The folders are those that the tools
// made when they were asked to (uv 0.13, pipx 1.18, pre-commit 4.7, prek 0.5, poetry 2.5, hatch 1.18, pdm 2.29, pipenv 2026.10,
// tox 4.67, nox 2026.10); test/e2e/tools.test.ts asks them.
import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { after, suite, test } from 'node:test'
import { placesChanged } from '../../src/tools/changed.ts'
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
  const file = (path: string, text = ''): void => {
    mkdirSync(dirname(join(root, path)), { recursive: true })
    writeFileSync(join(root, path), text)
  }
  const found = async (tool: ToolName, env: NodeJS.ProcessEnv = {}, cwd = 'project'): Promise<string[]> =>
    (await placesOf([tool], { env: { HOME: join(root, 'home'), ...env }, cwd: join(root, cwd) }))
      .map(place => place.root.slice(root.length + 1))
      .sort()

  const DEFAULTS: Readonly<Record<string, string[]>> = {
    uv: ['home/.cache/uv/archive-v0/a1', 'home/.cache/uv/environments-v2/script-1', 'home/.local/share/uv/tools/ruff'],
    pipx: ['home/.cache/pipx/run1', 'home/.local/pipx/venvs/old', 'home/.local/share/pipx/venvs/black'],
    'pre-commit': ['home/.cache/pre-commit/repo1/py_env-python3.12'],
    prek: ['home/.cache/prek/hooks/python-1'],
    poetry: ['home/.cache/pypoetry/virtualenvs/p-x-py3.11'],
    pipenv: ['home/.local/share/virtualenvs/p-y'],
    hatch: [
      'home/.local/share/hatch/env/.internal/hatch-static-analysis',
      'home/.local/share/hatch/env/virtual/p/ID/p',
    ],
    pdm: ['home/.local/share/pdm/venvs/p-z-3.11'],
    virtualenvwrapper: ['home/.virtualenvs/w'],
    tox: ['project/.tox/.pkg', 'project/.tox/py', 'project/packages/one/.tox/py'],
    nox: ['project/.nox/a', 'project/packages/one/.nox/a'],
  }
  for (const path of Object.values(DEFAULTS).flat()) venv(path)

  test('by default', async () => {
    for (const [tool, paths] of Object.entries(DEFAULTS)) {
      const name = TOOL_NAMES.find(known => known === tool)
      assert.ok(name !== undefined)
      assert.deepEqual(await found(name), paths, tool)
    }
  })

  test('those that changed since a time, and the environments of the projects below', async () => {
    const question = { env: { HOME: join(root, 'home') }, cwd: join(root, 'project') }
    const changed = async (since: number) =>
      (await placesChanged(question, since)).map(place => place.root.slice(root.length + 1))
    const own = venv('project/one/.venv')
    const kept = join(root, 'home/.local/share/pipx/venvs/black')
    assert.equal((await changed(0)).length, Object.values(DEFAULTS).flat().length + 1)
    await new Promise(settle => setTimeout(settle, 2100))
    const now = Date.now()
    assert.deepEqual(await changed(now), [])
    mkdirSync(join(own, 'lib/python3.12/site-packages/x'), { recursive: true })
    mkdirSync(join(kept, 'bin'))
    assert.deepEqual(await changed(now), ['project/one/.venv', 'home/.local/share/pipx/venvs/black'])
    rmSync(own, { recursive: true })
  })

  test('by their own variables, and by those of XDG', async () => {
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
      ['prek', 'PREK_HOME', 'k', 'hooks'],
      ['poetry', 'POETRY_CACHE_DIR', 'l', 'virtualenvs'],
    ] as const) {
      const path = join(folder, inside, 'py_env-x')
      venv(path)
      assert.ok((await found(tool, { [variable]: join(root, folder) })).includes(path), `${tool} ${variable}`)
    }
  })

  test('a variable may be relative, begin with ~, or be empty', async () => {
    venv('project/tools-here/ruff')
    venv('home/tools-there/black')
    assert.deepEqual(await found('uv', { UV_TOOL_DIR: 'tools-here', UV_CACHE_DIR: '/none' }), [
      'project/tools-here/ruff',
    ])
    assert.deepEqual(await found('pipx', { PIPX_HOME: '~/moved', XDG_CACHE_HOME: '/none' }), [])
    venv('home/moved/venvs/black')
    assert.deepEqual(await found('pipx', { PIPX_HOME: '~/moved', XDG_CACHE_HOME: '/none' }), ['home/moved/venvs/black'])
    assert.deepEqual(await found('pipenv', { WORKON_HOME: '$HOME/tools-there' }), ['home/tools-there/black'])
    assert.deepEqual(await found('pipenv', { WORKON_HOME: '$NOT_SET/tools-there' }), DEFAULTS['pipenv'])
    assert.deepEqual(await found('poetry', { POETRY_VIRTUALENVS_PATH: '', POETRY_CACHE_DIR: '' }), DEFAULTS['poetry'])
  })

  const CONFIGURED: readonly (readonly [tool: ToolName, config: string, text: string, venv: string])[] = [
    ['uv', 'home/.config/uv/uv.toml', 'cache-dir = "~/u"', 'home/u/environments-v2/s'],
    ['uv', 'c1/uv.toml', 'cache-dir = "cache"', 'c1/cache/environments-v2/s'],
    ['uv', 'c2/pyproject.toml', '[tool.uv]\ncache-dir = "cache"', 'c2/cache/archive-v0/s'],
    ['poetry', 'home/.config/pypoetry/config.toml', '[virtualenvs]\npath = "~/p"', 'home/p/x-py3.12'],
    ['poetry', 'c3/poetry.toml', '[virtualenvs]\npath = "{cache-dir}/v"', 'home/.cache/pypoetry/v/x-py3.12'],
    ['poetry', 'c4/poetry.toml', 'cache-dir = "/ROOT/c4/cache"', 'c4/cache/virtualenvs/x-py3.12'],
    ['poetry', 'c5/poetry.lock', '', 'c5/.venv'],
    ['pdm', 'home/.config/pdm/config.toml', '[venv]\nlocation = "~/d"', 'home/d/x-3.12'],
    ['pdm', 'c6/pdm.toml', '[venv]\nlocation = "/ROOT/c6/venvs"', 'c6/venvs/x-3.12'],
    ['pdm', 'c7/pdm.lock', '', 'c7/.venv'],
    ['pipenv', 'c8/Pipfile', '', 'c8/.venv'],
    ['hatch', 'home/.config/hatch/config.toml', '[dirs]\ndata = "~/h"', 'home/h/env/virtual/p/ID/p'],
    ['hatch', 'c9/pyproject.toml', '[tool.hatch.envs.default]\npath = ".venv"', 'c9/.venv'],
    ['hatch', 'c10/hatch.toml', '[envs.test]\npath = "../c10-env"', 'c10-env'],
    ['tox', 'c11/tox.ini', '[tox]\ntoxworkdir = {toxinidir}/work\n', 'c11/work/py'],
    ['tox', 'c12/tox.toml', 'work_dir = "work"', 'c12/work/py'],
    ['tox', 'c13/pyproject.toml', '[tool.tox]\nwork_dir = "work"', 'c13/work/py'],
    ['tox', 'c14/pyproject.toml', '[tool.tox]\nlegacy_tox_ini = "[tox]\\nwork_dir = work\\n"', 'c14/work/py'],
    ['tox', 'c15/setup.cfg', '[tox:tox]\nwork_dir = work\n', 'c15/work/py'],
    ['nox', 'c16/noxfile.py', 'import nox\nnox.options.envdir = "work"\n', 'c16/work/tests'],
  ]
  for (const [tool, config, text, path] of CONFIGURED) {
    test(`${tool} by ${config}: ${text.replaceAll('\n', ' ')}`, async () => {
      venv(path)
      const cwd = /^c\d+/.exec(config)?.[0] ?? 'project'
      assert.ok(!(await found(tool, {}, cwd)).includes(path))
      file(config, text.replaceAll('/ROOT', root))
      mkdirSync(join(root, cwd, 'deep/er'), { recursive: true })
      assert.ok((await found(tool, {}, cwd)).includes(path))
      assert.ok((await found(tool, {}, `${cwd}/deep/er`)).includes(path), 'from a folder below')
      // a file that is broken says nothing
      file(config, `${text}\n[[[`)
      await found(tool, {}, cwd)
      rmSync(join(root, config))
    })
  }

  test('uv without configuration files, and another file', async () => {
    venv('c17/cache/environments-v2/s')
    file('c17/uv.toml', 'cache-dir = "cache"')
    assert.deepEqual(await found('uv', { UV_NO_CONFIG: '1' }, 'c17'), await found('uv'))
    const wanted = { UV_CONFIG_FILE: join(root, 'c17/uv.toml'), UV_TOOL_DIR: '/none' }
    assert.deepEqual(await found('uv', wanted), ['c17/cache/environments-v2/s'])
  })

  test('the file .venv of pipenv names a folder of WORKON_HOME, or a path', async () => {
    venv('home/.local/share/virtualenvs/of-c18')
    venv('c18/far/away')
    file('c18/Pipfile')
    for (const [text, path] of [
      ['of-c18', 'home/.local/share/virtualenvs/of-c18'],
      ['far/away', 'c18/far/away'],
    ] as const) {
      file('c18/.venv', `${text}\n`)
      assert.ok((await found('pipenv', {}, 'c18')).includes(path))
    }
  })

  test('hatch puts its environment where a variable says', async () => {
    venv('of-hatch')
    assert.ok((await found('hatch', { HATCH_ENV_TYPE_VIRTUAL_PATH: join(root, 'of-hatch') })).includes('of-hatch'))
  })

  test('PEP 582: the folders of __pypackages__', async () => {
    mkdirSync(join(root, 'c19/__pypackages__/3.12/lib'), { recursive: true })
    const places = await placesOf(['pdm'], { env: { HOME: join(root, 'home') }, cwd: join(root, 'c19') })
    assert.ok(places.some(({ kind, root: path }) => kind === 'folder' && path.endsWith('c19/__pypackages__/3.12')))
  })

  test('Pythons come first; links to them and unfinished ones do not count', async () => {
    const managed = python('home/.local/share/uv/python/cpython-3.12.8-linux-x86_64-gnu')
    symlinkSync(managed, join(root, 'home/.local/share/uv/python/cpython-3.12-linux-x86_64-gnu'))
    python('home/.local/share/uv/python/.temp/cpython-3.13.0')
    venv('home/.local/share/uv/tools/.tmp1')
    const places = await placesOf(['uv'], { env: { HOME: join(root, 'home') }, cwd: root })
    assert.deepEqual(
      places.filter(({ kind }) => kind === 'python').map(place => place.root),
      [managed],
    )
    assert.equal(places[0]?.root, managed)
    assert.ok(places.every(place => !place.root.includes('/.tmp')))
  })

  test('an environment that two tools share is found once, and names are short', async () => {
    const shared = { WORKON_HOME: join(root, 'home/.virtualenvs'), HOME: join(root, 'home') }
    const places = await placesOf(['pipenv', 'virtualenvwrapper'], { env: shared, cwd: join(root, 'home') })
    assert.deepEqual(places.map(nameOf), ['w'])
  })

  test('without a home nothing is found', async () => {
    assert.deepEqual(await placesOf([...TOOL_NAMES], { env: {}, cwd: '/' }), [])
  })
})

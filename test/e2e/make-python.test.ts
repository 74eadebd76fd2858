// A Python of one's own as everybody's base: what is made with it works at once, with no wheelfix command.
import assert from 'node:assert/strict'
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { basename, join } from 'node:path'
import { after, suite, test } from 'node:test'
import { missing, skip } from '../support/requires.ts'
import { run, runWell } from '../support/run.ts'
import { treeDifferences, treeState } from '../support/tree.ts'
import { RECIPES } from '../world/packages.ts'
import { installTools } from '../world/tools.ts'
import { moduleSource } from '../world/module.ts'
import { makeVenv, wheelfix, withWheels } from '../world/venv.ts'
import { buildWorld } from '../world/world.ts'

suite('wheelfix python --make', () => {
  const world = withWheels(buildWorld())
  if (typeof world === 'string') {
    test('makes a Python whose environments need no patching', { skip: skip(world) })
    return
  }
  after(() => world.dispose())
  const prefix = join(world.root, 'made')
  const python = join(prefix, 'bin/python3')
  const said = (...args: string[]) => wheelfix(world, ['python', ...args])
  const well = (...args: string[]): string => {
    const { status, stdout, stderr } = said(...args)
    assert.equal(status, 0, stdout + stderr)
    return stdout
  }
  well('--make', prefix, '--from', world.python)
  const tools = installTools(world, ['uv', 'pipx', 'virtualenv'])
  const env = { ...tools.env, UV_PYTHON: python, PIPX_DEFAULT_PYTHON: python }
  const uv = (...args: string[]) => tools.run('uv', args, { env, cwd: world.root })
  const IMPORT = 'import numpy; print(numpy.ones(3).sum())'
  const imports = (program: string): void => {
    assert.match(runWell(program, ['-c', IMPORT], { env: world.env }), /3\.0/)
  }

  test('its prefix is its own, without PYTHONHOME, and it finds libraries by name', () => {
    const ask = 'import sys, ctypes; print(sys.prefix, sys.base_prefix, sys.exec_prefix); ctypes.CDLL("libstdc++.so.6")'
    assert.equal(runWell(python, ['-c', ask], { env: world.env }), `${prefix} ${prefix} ${prefix}\n`)
    runWell(python, ['-c', 'import ssl, sqlite3, lzma, ctypes, zlib, venv'], { env: world.env })
  })

  test('uv: venv, run, a script, a tool and uvx', () => {
    const plain = run(join(makeVenv(world, 'plain'), 'bin/python'), [
      '-c',
      'import ctypes; ctypes.CDLL("libstdc++.so.6")',
    ])
    assert.notEqual(plain.status, 0, 'the world has what it should lack')
    const script = join(world.root, 'script.py')
    writeFileSync(script, `# /// script\n# dependencies = ["numpy"]\n# ///\n${IMPORT}\n`)
    const venv = join(world.root, 'by-uv')
    for (const args of [
      ['venv', venv],
      ['pip', 'install', '--python', join(venv, 'bin/python'), 'numpy'],
      ['run', '--no-project', '--with', 'numpy', 'python', '-c', IMPORT],
      ['run', '--script', script],
      ['tool', 'run', '--with', 'numpy', 'python', '-c', IMPORT],
      ['tool', 'install', 'pycowsay', '--with', 'numpy'],
    ]) {
      const { status, stdout, stderr } = uv(...args)
      assert.equal(status, 0, `${args.join(' ')}\n${stdout}${stderr}`)
    }
    imports(join(venv, 'bin/python'))
    imports(join(world.root, 'home/.local/share/uv/tools/pycowsay/bin/python'))
  })

  test('pipx, virtualenv and python -m venv', () => {
    tools.well('pipx', ['install', 'pycowsay'], { env })
    tools.well('pipx', ['inject', 'pycowsay', 'numpy'], { env })
    imports(join(world.root, 'home/.local/share/pipx/venvs/pycowsay/bin/python'))
    const made = join(world.root, 'by-virtualenv')
    tools.well('virtualenv', ['-q', '--python', python, made], { env })
    const venv = join(world.root, 'by-venv')
    runWell(python, ['-m', 'venv', '--without-pip', venv], { env: world.env })
    for (const root of [made, venv]) {
      uv('pip', 'install', '--python', join(root, 'bin/python'), 'numpy')
      imports(join(root, 'bin/python'))
    }
    assert.equal(wheelfix(world, ['check', venv]).status, 0)
  })

  test('a project with a C extension, built from source, as a tool of uvx, of uv tool install and of pipx', t => {
    if (missing('gcc') !== false) return t.skip(missing('gcc') as string)
    const project = join(world.root, 'native')
    mkdirSync(project)
    for (const [name, text] of Object.entries(NATIVE)) writeFileSync(join(project, name), text)
    const said = /works 3\.0/
    for (const args of [
      ['run', '--no-project', '--with', project, 'native-tool'],
      ['tool', 'run', '--from', project, 'native-tool'],
    ]) {
      const { status, stdout, stderr } = uv(...args)
      assert.equal(status, 0, `${args.join(' ')}\n${stdout}${stderr}`)
      assert.match(stdout, said)
    }
    assert.equal(uv('tool', 'install', project).status, 0)
    const program = join(world.root, 'home/.local/bin/native-tool')
    assert.match(runWell(program, [], { env: world.env }), said)
    assert.equal(uv('tool', 'uninstall', 'native-tool').status, 0)
    tools.well('pipx', ['install', project], { env })
    assert.match(runWell(program, [], { env: world.env }), said)
  })

  test('uv sync of a project, every preference of uv, and tox', () => {
    const project = join(world.root, 'synced')
    mkdirSync(project)
    const toml = '[project]\nname = "p"\nversion = "1"\nrequires-python = ">=3.9"\ndependencies = ["numpy"]\n'
    writeFileSync(join(project, 'pyproject.toml'), toml)
    tools.well('uv', ['sync'], { env, cwd: project })
    imports(join(project, '.venv/bin/python'))
    for (const preference of ['managed', 'system', 'only-system']) {
      const chosen = { ...env, UV_PYTHON_PREFERENCE: preference }
      const args = [
        'run',
        '--no-project',
        '--with',
        'numpy',
        'python',
        '-c',
        `${IMPORT}; import sys; print(sys.base_prefix)`,
      ]
      assert.ok(tools.well('uv', args, { env: chosen, cwd: world.root }).includes(prefix), preference)
    }
    const tested = join(world.root, 'tested')
    mkdirSync(tested)
    writeFileSync(
      join(tested, 'tox.ini'),
      `[testenv]\nskip_install = true\ndeps = numpy\ncommands = python -c "${IMPORT}"\n`,
    )
    // tox takes the Python that runs it
    tools.well('uv', ['tool', 'install', 'tox'], { env, cwd: world.root })
    const { status, stdout } = run(join(world.root, 'home/.local/bin/tox'), ['run'], { env, cwd: tested })
    assert.equal(status, 0, stdout)
    assert.match(stdout, /3\.0/)
    assert.ok(!('PYTHONHOME' in env))
  })

  test('a second run changes nothing, and an update is what it was made for', () => {
    const before = treeState(join(prefix, 'bin'))
    assert.match(well('--make', prefix), /is in place/)
    assert.deepEqual(treeDifferences(treeState(join(prefix, 'bin')), before), [])
    well('--make', prefix, '--update', '--from', world.python)
    imports(join(world.root, 'by-uv/bin/python'))
  })

  test('an update takes a new Python of the store, and what was made with the old one works without that', () => {
    const { python: old } = world.outputs
    const rebuilt = join(world.store, `${'z'.repeat(32)}-${basename(old).slice(33)}`)
    const links = { glibc: join(world.root, 'g'), libgcc: join(world.root, 'c') }
    RECIPES.python.install({ ...world.outputs, python: rebuilt }, world.host, links, { compilerInClosure: false })
    well('--make', prefix, '--update', '--from', join(rebuilt, 'bin/python3'))
    renameSync(old, `${old}-away`)
    try {
      imports(join(world.root, 'by-uv/bin/python'))
      assert.match(well('--make', prefix), /is in place/)
      const ask = 'import sys, ssl; print(sys.prefix)'
      assert.equal(runWell(python, ['-c', ask], { env: world.env }), `${prefix}\n`)
    } finally {
      renameSync(`${old}-away`, old)
    }
  })

  test('--dry-run in a folder that does not exist names what the run would make, and makes nothing', () => {
    const planned = join(world.root, 'none/planned')
    const names = (output: string) => output.match(/bin\/[\w.]+/g)?.sort()
    const dry = well('--make', planned, '--from', world.python, '--dry-run')
    assert.match(dry, /^ {2}bin\/python3: its loader would be set: /m)
    assert.equal(existsSync(join(world.root, 'none')), false)
    const done = well('--make', planned, '--from', world.python)
    assert.equal(done, dry.replaceAll('would be set', 'is set'))
    assert.deepEqual(names(dry), names(done))
  })

  test('what the user puts into bin/ stays as it is, and is refused where a name of the Python must be', () => {
    const own = join(world.root, 'with-scripts')
    well('--make', own, '--from', world.python)
    const [script, link] = [join(own, 'bin/python3.99'), join(own, 'bin/python3.98')]
    const text = '#!/bin/sh\necho mine\n'
    writeFileSync(script, text, { mode: 0o755 })
    symlinkSync(world.host.python.executable, link)
    const before = treeState(join(own, 'bin'))
    for (const more of [[], ['--update'], ['--dry-run']]) well('--make', own, ...more)
    assert.deepEqual(treeDifferences(treeState(join(own, 'bin')), before), [])
    rmSync(join(own, 'bin/python3'))
    writeFileSync(join(own, 'bin/python3'), text, { mode: 0o755 })
    const { status, stderr } = said('--make', own, '--from', world.python)
    assert.equal(status, 2)
    assert.equal(stderr, `error: ${join(own, 'bin/python3')} is in the way: remove it\n`)
    assert.equal(readFileSync(join(own, 'bin/python3'), 'utf8'), text)
    const made = treeState(own)
    assert.match(well(own, '--restore', '--dry-run'), /^ {2}bin\/\S+: would be removed$/m)
    assert.deepEqual(treeDifferences(treeState(own), made), [])
    assert.match(well(own, '--restore'), /^ {2}bin\/\S+: removed$/m)
    assert.deepEqual(readdirSync(join(own, 'bin')).sort(), ['python3', 'python3.98', 'python3.99'])
  })

  test('a file where the folder must be is refused in plain words', () => {
    const folder = join(world.root, 'files')
    mkdirSync(join(folder, 'half'), { recursive: true })
    for (const name of ['file', 'half/bin']) writeFileSync(join(folder, name), '')
    symlinkSync('nowhere', join(folder, 'dangling'))
    for (const [name, reason] of [
      ['file', 'file is not a folder'],
      ['file/below', 'file is not a folder'],
      ['dangling/below', 'dangling is a link that leads nowhere'],
      ['half', 'half is not empty'],
    ] as const) {
      const { status, stderr } = said('--make', join(folder, name), '--from', world.python)
      assert.equal(status, 2)
      assert.match(stderr, new RegExp(`^error: ${folder}/${reason}: [^\n]*\n$`))
    }
  })

  test('other folders are left alone, and what was made is removed', () => {
    const full = join(world.root, 'full')
    mkdirSync(full)
    writeFileSync(join(full, 'notes'), '')
    assert.match(said('--make', full, '--from', world.python).stderr, /is not empty/)
    assert.match(said('--make', join(world.outputs.zlib, 'x'), '--from', world.python).stderr, /Nix store/)
    assert.match(
      said('--make', join(world.root, 'new'), '--from', world.host.python.executable).stderr,
      /not a Python from the Nix store/,
    )
    const venv = makeVenv(world, 'a-venv')
    assert.equal(said(venv, '--restore').status, 2)
    assert.ok(existsSync(join(venv, 'bin/python')))
    writeFileSync(join(prefix, 'mine'), '')
    const [file, link] = [join(prefix, 'bin/python3.99'), join(prefix, 'bin/python3.98')]
    symlinkSync(world.host.python.executable, link)
    well('--make', prefix)
    writeFileSync(file, '#!/bin/sh\n', { mode: 0o755 })
    well(prefix, '--restore')
    assert.deepEqual(readdirSync(prefix).sort(), ['bin', 'mine'])
    assert.deepEqual(readdirSync(join(prefix, 'bin')).sort(), ['python3.98', 'python3.99'])
    assert.equal(readlinkSync(link), world.host.python.executable)
    assert.equal(readFileSync(file, 'utf8'), '#!/bin/sh\n')
  })
})

/** A project with a program, a dependency with binaries, and an extension module that needs the C++ library. */
const NATIVE: Readonly<Record<string, string>> = {
  'pyproject.toml': `[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "native-tool"
version = "1.0"
dependencies = ["numpy"]
[project.scripts]
native-tool = "native_tool:main"
[tool.setuptools]
py-modules = ["native_tool"]
`,
  'setup.py': `from setuptools import Extension, setup
link = ["-Wl,--no-as-needed", "-lstdc++"]
setup(ext_modules=[Extension("native_core", ["native_core.c"], extra_link_args=link)])
`,
  'native_tool.py': `def main():
    import native_core, numpy
    print("works", numpy.ones(3).sum())
`,
  'native_core.c': moduleSource('native_core'),
}

// Folders and files that are not virtual environments.
import assert from 'node:assert/strict'
import {
  appendFileSync,
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { test } from 'node:test'
import { MODULE } from '../resolve/venv.ts'
import { run, runWell } from '../support/run.ts'
import { treeContent, treeState } from '../support/tree.ts'
import { buildModule } from '../world/module.ts'
import { installDemoWheel, makeVenv, WHEELFIX, wheelfix } from '../world/venv.ts'
import { worldSuite } from '../world/suite.ts'

worldSuite('wheelfix path', ['gcc', 'g++'], world => {
  const libs = ['--libs', `${world.libs.gcc}:${world.libs.zlib}`]
  const state = join(world.root, 'home/.local/state/wheelfix')
  const folder = (name: string): string => {
    const path = join(world.root, name)
    mkdirSync(path, { recursive: true })
    return path
  }
  const well = (...args: string[]): string => {
    const { status, stdout, stderr } = wheelfix(world, args)
    assert.equal(status, 0, `${args.join(' ')}\n${stdout}${stderr}`)
    return stdout
  }
  const imports = (target: string, module: string): boolean =>
    run(world.python, ['-c', `import sys; sys.path.insert(0, ${JSON.stringify(target)}); import ${module}`], {
      env: world.env,
    }).status === 0
  /** A C++ program that asks for the loader of an ordinary distribution. */
  const program = (path: string): void => {
    writeFileSync(`${path}.cc`, SOURCE)
    runWell('g++', ['-o', path, `${path}.cc`, `-Wl,--dynamic-linker,${FOREIGN}`])
  }
  /** Does it start, with the C++ library of the world? */
  const starts = (path: string): boolean => {
    try {
      return run(path, [], { env: world.env }).stdout.includes(world.store)
    } catch {
      return false // the loader that it asks for is not there
    }
  }

  test('a folder with nothing to patch, before the user has a state folder', () => {
    const target = folder('plain')
    writeFileSync(join(target, 'module.py'), '')
    const env = { XDG_STATE_HOME: join(world.root, 'no/state') }
    const { status, stderr } = wheelfix(world, ['path', target, '--python', world.python, ...libs], env)
    assert.equal(status, 0, stderr)
  })

  test('a folder of pip install --target: loaded by the Python that is named, state kept by the user, undone', () => {
    const target = folder('target')
    buildModule(join(target, 'pkg', `core${MODULE}`))
    mkdirSync(join(target, 'pkg-1.0.dist-info'))
    writeFileSync(join(target, 'pkg-1.0.dist-info/RECORD'), `pkg/core${MODULE},sha256=x,1\n`)
    const before = treeContent(target)
    assert.ok(!imports(target, 'pkg.core'))
    const checked = wheelfix(world, ['path', target, '--check', '--python', world.python, ...libs])
    assert.equal(checked.status, 1)
    assert.match(checked.stdout, /→ to patch: wheelfix path /)
    well('path', target, '--dry-run', '--python', world.python, ...libs)
    assert.deepEqual(treeContent(target), before)
    assert.match(well('path', target, '--python', world.python, ...libs), /pkg .*1 patched/)
    assert.ok(imports(target, 'pkg.core'))
    assert.ok(!existsSync(join(target, '.wheelfix')) && readdirSync(state).length === 1)
    // it is known again, with its Python
    const patched = treeState(target)
    well('check', target)
    well('path', target)
    well('doctor', target, '--import')
    well('why', target, 'pkg.core')
    assert.deepEqual(treeState(target), patched)
    well('restore', target)
    assert.deepEqual(treeContent(target), before)
    assert.deepEqual(readdirSync(state), [])
  })

  test('--state-here keeps the state in the folder, and it is found there', () => {
    const target = folder('here')
    buildModule(join(target, `here${MODULE}`))
    const before = treeContent(target)
    well('path', target, '--state-here', '--python', world.python, ...libs)
    assert.ok(existsSync(join(target, '.wheelfix')) && readdirSync(state).length === 0)
    well('check', target)
    well('path', target)
    assert.ok(readdirSync(state).length === 0)
    well('restore', target)
    assert.deepEqual(treeContent(target), before)
  })

  test('the scripts of the folder name the Python', () => {
    const target = folder('scripts')
    buildModule(join(target, `core${MODULE}`))
    mkdirSync(join(target, 'bin'))
    writeFileSync(join(target, 'bin/tool'), `#!${world.python}\nimport core\n`, { mode: 0o755 })
    const { python } = JSON.parse(well('path', target, '--json', ...libs)) as { python: { executable: string } }
    assert.equal(basename(python.executable), basename(runWell('readlink', ['-f', world.python]).trim()))
    assert.ok(imports(target, 'core'))
  })

  test('programs and libraries without a Python get a loader and libraries of the store', () => {
    const tools = folder('tools/deep/inside')
    program(join(tools, 'tool'))
    assert.ok(!starts(join(tools, 'tool')))
    const root = join(world.root, 'tools')
    const before = treeContent(root)
    const { python, objects } = JSON.parse(well('path', root, '--json', ...libs)) as {
      python: { executable: string | null; interpreter: string }
      objects: { change: { interpreter?: { after: string } } }[]
    }
    assert.equal(python.executable, null)
    assert.equal(objects[0]?.change.interpreter?.after, join(world.libs.glibc, basename(world.host.loader)))
    assert.ok(starts(join(tools, 'tool')))
    well('doctor', root)
    well('path', root)
    well('restore', root)
    assert.deepEqual(treeContent(root), before)
  })

  test('a single file, and no other file beside it', () => {
    const tools = folder('single')
    for (const name of ['one', 'two']) program(join(tools, name))
    const other = treeContent(tools).get('two')
    well('path', join(tools, 'one'), ...libs)
    assert.ok(starts(join(tools, 'one')) && !starts(join(tools, 'two')))
    assert.equal(treeContent(tools).get('two'), other)
    well('check', join(tools, 'one'))
    well('restore', join(tools, 'one'))
    assert.ok(!starts(join(tools, 'one')))
  })

  test('an addon that a program loads is resolved as loaded by it', () => {
    const addons = folder('addons')
    buildModule(join(addons, 'native.node'))
    const loads = ['-e', `process.dlopen({ exports: {} }, ${JSON.stringify(join(addons, 'native.node'))})`]
    const { python } = JSON.parse(well('path', addons, '--program', process.execPath, '--dry-run', '--json')) as {
      python: { executable: string }
    }
    assert.equal(python.executable, runWell('readlink', ['-f', process.execPath]).trim())
    // Node finds it, or has no addon's symbols in it: it is not the loader that fails
    assert.doesNotMatch(run(process.execPath, loads).stderr, /cannot open shared object/)
  })

  test('environments in the folder are runs of their own, with their own Python', () => {
    const cache = folder('cache')
    const venv = makeVenv(world, 'cache/repo/py_env')
    installDemoWheel(world, venv)
    program(join(cache, 'tool'))
    const before = treeContent(cache)
    const said = well('path', cache, ...libs)
    assert.match(said, /cache\/repo\/py_env/)
    assert.ok(starts(join(cache, 'tool')))
    runWell(join(venv, 'bin/python'), ['-c', 'import wheelfix_demo'], { env: world.env })
    // the second time, too
    assert.match(well('path', cache), /cache\/repo\/py_env/)
    well('restore', cache)
    assert.deepEqual(treeContent(cache), before)
  })

  test('several folders: the run continues after a bad one, with the worst status and one document', () => {
    const venvs = ['one', 'two'].map(name => makeVenv(world, `several-${name}`))
    for (const venv of venvs) installDemoWheel(world, venv)
    const gone = join(world.root, 'no-such-folder')
    const [one = '', two = ''] = venvs
    const { status, stderr } = wheelfix(world, ['venv', one, gone, two, ...libs])
    assert.equal(status, 2)
    assert.match(stderr, /no-such-folder/)
    for (const command of ['check', 'doctor']) well(command, one, two)
    const { environments } = JSON.parse(well('check', one, two, '--json')) as { environments: { venv: string }[] }
    assert.deepEqual(
      environments.map(({ venv }) => venv),
      venvs,
    )
    well('restore', one, two)
    assert.equal(wheelfix(world, ['check', one, two, ...libs]).status, 1)
  })

  test('restore needs no record of the folder: it may be lost, or the folder may have been moved', () => {
    const tree = folder('forgotten')
    program(join(tree, 'tool'))
    const before = treeContent(tree)
    for (const lose of [
      () => rmSync(join(world.root, 'home/.local/state'), { recursive: true }),
      () => renameSync(tree, `${tree}-moved`),
    ]) {
      well('path', tree, ...libs)
      assert.notDeepEqual(treeContent(tree), before)
      lose()
      const place = existsSync(tree) ? tree : `${tree}-moved`
      assert.match(well('restore', place), /1 object restored/)
      assert.deepEqual(treeContent(place), before)
      assert.match(well('restore', place), /nothing to restore/)
    }
    const venv = makeVenv(world, 'forgotten-project/.venv')
    for (const [path, reason] of [
      [dirname(venv), /did you mean .*forgotten-project\/\.venv\?/],
      [join(venv, 'lib'), /is a folder of the virtual environment/],
    ] as const) {
      const { status, stderr } = wheelfix(world, ['restore', path])
      assert.equal(status, 2)
      assert.match(stderr, reason)
    }
  })

  test('a program that was edited in place is restored in a moved folder; if its undo is lost, restore says so', () => {
    const tree = folder('to-move')
    const tool = join(tree, 'tool')
    writeFileSync(`${tool}.c`, 'int main(void) { return 0; }')
    runWell('gcc', ['-o', tool, `${tool}.c`, `-Wl,--dynamic-linker,${FOREIGN}`])
    // nothing may follow the payload, so there is no room for an undo note in the file
    appendFileSync(tool, `${'data '.repeat(500)}PAYLOAD`)
    const before = treeContent(tree)
    well('path', tree, ...libs)
    const patched = treeContent(tree)
    assert.notDeepEqual(patched, before)
    const moved = `${tree}-away`
    renameSync(tree, moved)
    assert.match(well('restore', moved, '--dry-run'), /1 object to restore/)
    assert.deepEqual(treeContent(moved), patched)
    assert.match(well('restore', moved), /1 object restored/)
    assert.deepEqual(treeContent(moved), before)

    well('path', moved, ...libs)
    rmSync(join(world.root, 'home/.local/state'), { recursive: true })
    for (const args of [
      ['restore', moved, '--dry-run'],
      ['restore', moved],
    ]) {
      const { stdout, stderr } = wheelfix(world, args)
      assert.match(
        stderr,
        /^warning: tool has a loader from the Nix store, and wheelfix has no record of this\s+folder/,
      )
      assert.match(stdout, /^nothing to restore$/m)
    }
    assert.deepEqual(treeContent(moved), patched)
  })

  test('an empty word, which a shell gives for an unset variable, never means the current folder', () => {
    const tree = folder('unset')
    program(join(tree, 'tool'))
    const before = treeContent(tree)
    for (const args of [
      ['path', ''],
      ['path', '--check', ''],
      ['venv', ''],
      ['restore', ''],
      ['python', ''],
      ['wheel', ''],
    ]) {
      const { status, stderr } = run(process.execPath, [WHEELFIX, ...args], { env: world.env, cwd: tree })
      assert.equal(status, 2, args.join(' '))
      assert.match(stderr, /^error: the word after \S+ is empty: check the variable that it comes from$/m)
      assert.match(stderr, new RegExp(`^For examples: wheelfix ${args[0]} --help$`, 'm'))
    }
    assert.match(wheelfix(world, ['run', '']).stderr, /the command is an empty word/)
    assert.deepEqual(treeContent(tree), before)
  })

  test('a folder of more than one tool or environment is refused, with the reason', () => {
    symlinkSync('/usr/lib', join(world.root, 'link-to-usr'))
    const home = join(world.root, 'home')
    for (const [path, reason] of [
      ['/', /everybody|home folder/],
      ['/usr', /belongs to the system/],
      ['/var/tmp', /holds files of all users/],
      ['/usr/lib/python3', /belongs to the system|does not exist/],
      [join(world.root, 'link-to-usr'), /belongs to the system/],
      [home, /is your home folder/],
      [world.root, /holds your home folder/],
      [world.outputs.zlib, /is in the Nix store/],
      [join(world.root, 'nothing'), /does not exist/],
    ] as const) {
      const { status, stderr } = wheelfix(world, ['path', path, ...libs])
      assert.equal(status, 2, path)
      assert.match(stderr, reason)
    }
  })

  test('a zipapp and a wheel are refused, with what to do; a zipapp that is unpacked imports', () => {
    const source = folder('zipapp')
    buildModule(join(source, `core${MODULE}`))
    writeFileSync(join(source, '__main__.py'), 'import core\n')
    const archive = join(world.root, 'app.pyz')
    runWell(world.host.python.executable, ['-m', 'zipapp', source, '-o', archive, '-p', world.python])
    cpSync(archive, join(world.root, 'app-1.0-py3-none-any.whl'))
    for (const [name, advice] of [
      ['app.pyz', /unpack it/],
      ['app-1.0-py3-none-any.whl', /wheelfix wheel/],
    ] as const) {
      const { status, stdout, stderr } = wheelfix(world, ['path', join(world.root, name), ...libs])
      assert.deepEqual([status, stdout], [2, ''])
      assert.match(stderr, /is an archive/)
      assert.match(stderr, advice)
    }
    const unpacked = folder('unpacked')
    runWell(world.host.python.executable, ['-m', 'zipfile', '-e', archive, unpacked])
    assert.ok(!imports(unpacked, 'core'))
    well('path', unpacked, '--python', world.python, ...libs)
    assert.ok(imports(unpacked, 'core'))
  })

  test('a venv in the Nix store is looked at, and never written to', () => {
    const venv = join(world.store, `${'0'.repeat(32)}-venv`)
    cpSync(makeVenv(world, 'for-the-store'), venv, { recursive: true, verbatimSymlinks: true })
    installDemoWheel(world, venv)
    const before = treeContent(venv)
    assert.equal(wheelfix(world, ['check', venv, ...libs]).status, 1)
    for (const command of ['venv', 'loader']) {
      const { status, stderr } = wheelfix(world, [command, venv, ...libs])
      assert.equal(status, 2)
      assert.match(stderr, /is in the Nix store/)
    }
    assert.deepEqual(treeContent(venv), before)
  })

  test('nothing outside of the named folder is written, where a link leads out', () => {
    const target = folder('leads-out')
    const outside = folder('led-to')
    program(join(outside, 'tool'))
    symlinkSync(outside, join(target, 'folder'))
    symlinkSync(join(outside, 'tool'), join(target, 'file'))
    const before = treeContent(outside)
    wheelfix(world, ['path', target, ...libs])
    assert.deepEqual(treeContent(outside), before)
    chmodSync(outside, 0o755)
  })
})

/** Prints where its C++ library is. */
const SOURCE = `#include <fstream>
#include <iostream>
int main() {
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) if (line.find("libstdc++") != std::string::npos) std::cout << line << std::endl;
}
`

/** A loader that is on no NixOS, in a name that ordinary distributions have. */
const FOREIGN = process.arch === 'arm64' ? '/lib/ld-linux-aarch64.so.1' : '/lib64/ld-linux-x86-64.so.2'

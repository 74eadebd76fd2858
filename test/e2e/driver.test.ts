// A library that opens the graphics driver by name, as CUDA's run time does, with a driver behind /run/opengl-driver/lib. A
// mount namespace gives each test a /run of its own. What real CUDA packages do on a real GPU is seen by `npm run gpu`.
import assert from 'node:assert/strict'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, suite, test } from 'node:test'
import { missing, skip, which } from '../support/requires.ts'
import { run, type RunResult, runWell } from '../support/run.ts'
import { treeContent } from '../support/tree.ts'
import { makeVenv, sitePackages, WHEELFIX } from '../world/venv.ts'
import { buildWorld } from '../world/world.ts'

const RUNTIME = `#include <dlfcn.h>
int count(void) {
  void *driver = dlopen("libcuda.so.1", RTLD_NOW);
  return driver ? ((int (*)(void))dlsym(driver, "devices"))() : -1;
}`

suite('a library that opens the driver by name', () => {
  const lacking = missing('gcc', 'unshare', 'mount')
  const world = lacking === false ? buildWorld() : lacking
  if (typeof world === 'string') {
    test('needs a world and a compiler', { skip: skip(world) })
    return
  }
  after(() => world.dispose())
  const driver = join(world.root, 'driver')
  mkdirSync(join(driver, 'opengl-driver/lib'), { recursive: true })
  const compile = (name: string, source: string, to: string): void => {
    const file = join(world.root, `${name}.c`)
    writeFileSync(file, source)
    runWell('gcc', ['-shared', '-fPIC', '-o', to, file])
  }
  compile('driver', 'int devices(void) { return 3; }', join(driver, 'opengl-driver/lib/libcuda.so.1'))
  const namespace = process.getuid?.() === 0 ? '-m' : '-rm'
  /** Runs a program with a driver in /run, or with an empty /run. */
  const inside = (hasDriver: boolean, program: string, args: readonly string[]): RunResult => {
    const [mount, empty] = [which('mount') ?? '', join(world.root, 'home')]
    const script = `${mount} --bind "$0" /run && exec "$@"`
    const all = [namespace, '/bin/sh', '-c', script, hasDriver ? driver : empty, program, ...args]
    return run(which('unshare') ?? '', all, { env: world.env, cwd: world.root })
  }
  const able = inside(true, which('true') ?? 'true', [])
  if (able.status !== 0) {
    test('needs a mount namespace', { skip: skip(`needs a mount namespace: ${able.stderr.trim()}`) })
    return
  }
  const wheelfix = (hasDriver: boolean, ...args: string[]) => inside(hasDriver, process.execPath, [WHEELFIX, ...args])

  const venv = makeVenv(world, 'venv')
  const folder = join(sitePackages(world, venv), 'cudaish')
  mkdirSync(folder)
  writeFileSync(
    join(folder, '__init__.py'),
    'import ctypes, os\ncount = ctypes.CDLL(os.path.join(os.path.dirname(__file__), "libcudart.so")).count\n',
  )
  compile('runtime', RUNTIME, join(folder, 'libcudart.so'))
  /** The number of devices that the library sees. */
  const devices = () =>
    inside(true, join(venv, 'bin/python'), ['-c', 'import cudaish; print(cudaish.count())']).stdout.trim()
  const before = treeContent(sitePackages(world, venv))

  test('finds it after wheelfix venv, and restore takes that back', () => {
    assert.equal(devices(), '-1')
    const { status, stdout, stderr } = wheelfix(true, 'venv', venv, '--no-scan')
    assert.equal(status, 0, stdout + stderr)
    assert.equal(devices(), '3')
    assert.equal(wheelfix(true, 'check', venv, '--no-scan').status, 0)
    assert.equal(wheelfix(true, 'restore', venv).status, 0)
    assert.deepEqual(treeContent(sitePackages(world, venv)), before)
  })

  test('is patched by the first run after the driver was installed', () => {
    assert.match(wheelfix(false, 'venv', venv, '--no-scan').stdout, /nothing to do/)
    assert.equal(devices(), '-1')
    // the answer of the run before does not hold any more
    assert.match(wheelfix(true, 'venv', venv, '--no-scan').stdout, /1 patched/)
    assert.equal(devices(), '3')
    assert.equal(wheelfix(true, 'restore', venv).status, 0)
  })

  test('finds it through the private loader, without a change', () => {
    const { status, stdout, stderr } = wheelfix(true, 'loader', venv, '--no-scan')
    assert.equal(status, 0, stdout + stderr)
    assert.equal(devices(), '3')
    assert.match(stdout, /nothing to patch/)
    assert.equal(wheelfix(true, 'restore', venv).status, 0)
  })
})

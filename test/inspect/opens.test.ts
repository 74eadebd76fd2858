// What doctor says about libraries that are opened by name. The code of the distributions is cut to the lines that open; the
// names of the real packages stand in the tests that install them.
import assert from 'node:assert/strict'
import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, suite, test } from 'node:test'
import { testVenv, type TestVenv } from '../resolve/venv.ts'
import { skip } from '../support/requires.ts'
import { runWell } from '../support/run.ts'
import { makeVenv, pipInstall, sitePackages, wheelfix, withWheels } from '../world/venv.ts'
import { buildWorld, type World } from '../world/world.ts'
import { worldSuite } from '../world/suite.ts'

interface Found {
  readonly code: string
  readonly severity: string
  readonly message: string
  readonly remedy: string | null
  readonly paths: readonly string[]
}

function findingsIn(world: World, venv: string, ...options: readonly string[]): Found[] {
  const { stdout } = wheelfix(world, ['doctor', venv, '--json', '--no-scan', ...options])
  const { findings } = JSON.parse(stdout) as { findings: readonly Found[] }
  return findings.filter(({ code }) => code === 'opens-by-name')
}

worldSuite('opens-by-name', ['gcc', 'ld'], world => {
  let count = 0
  /** The sonames that are named for each piece of code, each in a distribution of its own. */
  const openedBy = (...codes: readonly string[]): string[][] => {
    const venv = testVenv(world, `code${count++}`)
    for (const [index, code] of codes.entries()) venv.install(`code${index}`, { [`code${index}/__init__.py`]: code })
    return sonamesIn(venv, codes.length)
  }
  const sonamesIn = (venv: TestVenv, codes: number): string[][] => {
    const messages = findingsIn(world, venv.root).map(({ message }) => message)
    return Array.from({ length: codes }, (_, index) => {
      const own = messages.filter(message => message.startsWith(`code${index} `))
      return own.flatMap(message => [...message.matchAll(/lib[\w.+-]+\.so[.\d]*/g)].map(([name]) => name))
    })
  }

  test('ctypes, cffi and find_library, under other names, too', () => {
    const found = openedBy(
      'import ctypes\nctypes.CDLL("libportaudio.so.2")',
      'from ctypes import *\ncdll.LoadLibrary("libzbar.so.0")',
      'ffi = FFI()\nlib = ffi.dlopen("libsodium.so")',
      'from ctypes.util import find_library as look\nlook("magic")',
      'import ctypes\nctypes.cdll["libusb-1.0.so.0"]',
    )
    const sonames = ['libportaudio.so.2', 'libzbar.so.0', 'libsodium.so.26', 'libmagic.so.1', 'libusb-1.0.so.0']
    assert.deepEqual(found.flat(), sonames)
  })

  test('a name in a variable, a loop, a function of the module or of another file', () => {
    const helper = 'def opened(ffi, *names):\n    for name in names:\n        return ffi.dlopen(name)\n'
    const own = 'def dlopen(ffi, names):\n    return [ffi.dlopen(name) for name in names]\n'
    const found = openedBy(
      'NAME = "portaudio"\nfind_library(NAME)',
      'for name in ("portaudio", "bin\\portaudio.dll"):\n    path = find_library(name)',
      `${helper}opened(ffi, "libcairo-2.dll", "libcairo.so.2")`,
      `${own}dlopen(ffi, ("libcairo.so.2", "libcairo.2.dylib"))`,
      'STEM = "zbar"\nctypes.CDLL(f"lib{STEM}.so.0")',
    )
    const sonames = ['libportaudio.so.2', 'libportaudio.so.2', 'libcairo.so.2', 'libcairo.so.2', 'libzbar.so.0']
    assert.deepEqual(found.flat(), sonames)
    const venv = testVenv(world, 'two-files')
    venv.install('code0', {
      'code0/__init__.py': 'def load_shared(name):\n    return find_library(name)',
      'code0/user.py': 'import code0\ncode0.load_shared("zbar")',
    })
    assert.deepEqual(sonamesIn(venv, 1), [['libzbar.so.0']])
  })

  test('what does not run on Linux is left out', () => {
    const none = [
      'if sys.platform == "win32":\n    find_library("portaudio")',
      'if not sys.platform.startswith("linux"):\n    find_library("portaudio")',
      'IS_WINDOWS = os.name == "nt"\nif IS_WINDOWS:\n    find_library("portaudio")',
      'if platform.system() == "Linux":\n    pass\nelse:\n    find_library("portaudio")',
      'def load():\n    if sys.platform == "linux":\n        return None\n    return find_library("portaudio")',
      'name = {"Windows": "libportaudio.so.2", "Linux": "libc.so.6"}[platform.system()]\nctypes.CDLL(name)',
      'ctypes.CDLL("portaudio.dll"); find_library("libportaudio.dylib")',
    ]
    assert.deepEqual(
      openedBy(...none),
      none.map(() => []),
    )
    const linux = 'names = {"Windows": "x.dll", "Linux": "libportaudio.so.2"}\nctypes.CDLL(names[platform.system()])'
    assert.deepEqual(openedBy(linux), [['libportaudio.so.2']])
    const venv = testVenv(world, 'platforms')
    venv.install('code0', {
      'code0/win32.py': 'find_library("portaudio")',
      'code0/tests/t.py': 'find_library("magic")',
    })
    assert.deepEqual(sonamesIn(venv, 1), [[]])
  })

  test('what is found, of the C library, of the driver, brought or unknown to nixpkgs is left out', () => {
    const none = openedBy(
      'ctypes.CDLL("libc.so.6"); find_library("m"); find_library("pthread")',
      'ctypes.CDLL("libcuda.so.1"); ctypes.CDLL("libnvidia-ml.so.1")',
      'ctypes.CDLL("libofnobody.so.7"); find_library("ofnobody")',
      'ctypes.CDLL("libcudart.so.13"); ctypes.CDLL("libtbb.so.12")',
    )
    assert.deepEqual(none, [[], [], [], []])
    const venv = testVenv(world, 'bundles')
    venv.install('opener', {
      'opener/__init__.py': 'find_library("portaudio")',
      'opener.libs/libportaudio-1a2b.so.2': {},
    })
    assert.deepEqual(findingsIn(world, venv.root), [])
    const rtree = {
      'rtree/__init__.py': 'find_library("spatialindex_c")',
      'rtree.libs/libspatialindex-0123abcd.so': {},
    }
    venv.install('rtree', rtree)
    assert.deepEqual(findingsIn(world, venv.root), [])
    // the hash of another wheel's copy is a name that nobody else asks for
    venv.install('other', { 'other/__init__.py': 'find_library("portaudio")' })
    assert.deepEqual(
      findingsIn(world, venv.root).map(({ paths }) => paths.map(path => path.split('/').at(-2))),
      [['other']],
    )
  })

  test('one of several alternatives is enough', () => {
    const either =
      'try:\n    lib = ctypes.CDLL("libportaudio.so.2")\nexcept OSError:\n    lib = ctypes.CDLL("libc.so.6")'
    const both = 'a = ctypes.CDLL("libportaudio.so.2")\nb = ctypes.CDLL("libzbar.so.0")'
    // windows on X11 or Wayland
    const kinds = 'for name in ("libX11.so.6",): ctypes.CDLL(name)\nctypes.CDLL("libwayland-client.so.0")'
    assert.deepEqual(openedBy(either, both, kinds), [[], ['libportaudio.so.2', 'libzbar.so.0'], ['libX11.so.6']])
  })

  test('the strings of an object that calls dlopen, and only of such an object', () => {
    const venv = testVenv(world, 'strings')
    compile(
      world,
      venv,
      'opener/calls.so',
      'void *dlopen(const char *, int);\nvoid *f(void) { return dlopen("libX11.so.6", 1); }',
    )
    compile(world, venv, 'opener/names.so', 'const char *f(void) { return "libX11.so.6"; }')
    compile(
      world,
      venv,
      'opener/text.so',
      'void *dlopen(const char *, int);\nvoid *f(char *n) { return dlopen(n, 1); }\nconst char *t(void) { return "cannot open libX11.so.6"; }',
    )
    venv.install('opener', {})
    const [only, ...others] = findingsIn(world, venv.root)
    assert.deepEqual(others, [])
    assert.equal(only?.severity, 'note')
    assert.match(only?.message ?? '', /opens libX11\.so\.6 by name, and nothing finds it$/)
    assert.equal(only?.remedy, `wheelfix libs build libx11 ${venv.root} && wheelfix loader ${venv.root}`)
    assert.deepEqual(only?.paths, [join(sitePackages(world, ''), 'opener/calls.so')])
    assert.equal(venv.run('doctor', '--no-scan').status, 0)

    // with the library at hand the object's own search path helps, too, and so does the private loader
    const folder = join(world.store, `${'3'.repeat(32)}-libx11-1.8/lib`)
    mkdirSync(folder, { recursive: true })
    runWell('gcc', ['-shared', '-nostdlib', '-Wl,-soname,libX11.so.6', '-o', join(folder, 'libX11.so.6'), empty(world)])
    const remedy = findingsIn(world, venv.root, '--libs', folder)[0]?.remedy ?? ''
    const command = /wheelfix (elf --add-rpath \S+ \S+)$/.exec(remedy)?.[1]?.split(' ') ?? []
    assert.match(remedy, /^wheelfix loader \S+; or for this object alone: wheelfix elf --add-rpath/)
    assert.equal(wheelfix(world, command).status, 0)
    assert.deepEqual(findingsIn(world, venv.root, '--libs', folder), [])
  })

  test('of several versions of a library the newest is named, whatever comes first', () => {
    const venv = testVenv(world, 'versions')
    const code = `#include <dlfcn.h>
      static const char *names[] = { "libudev.so.0", "libudev.so.1" };
      void *f(int which) { return dlopen(names[which], RTLD_NOW); }`
    compile(world, venv, 'opener/calls.so', code)
    venv.install('opener', {})
    const [only] = findingsIn(world, venv.root)
    assert.match(only?.message ?? '', /opens libudev\.so\.1 by name/)
    assert.match(only?.remedy ?? '', /^wheelfix libs build systemd \S+ && wheelfix loader/)
  })

  test('with a private loader that has the library nothing is said', () => {
    const venv = testVenv(world, 'loaded')
    const folder = join(world.store, `${'2'.repeat(32)}-portaudio-19/lib`)
    mkdirSync(folder, { recursive: true })
    const library = join(folder, 'libportaudio.so.2')
    runWell('gcc', ['-shared', '-nostdlib', '-Wl,-soname,libportaudio.so.2', '-o', library, empty(world)])
    venv.install('opener', { 'opener/__init__.py': 'find_library("portaudio")' })
    assert.equal(findingsIn(world, venv.root, '--libs', folder)[0]?.remedy, `wheelfix loader ${venv.root}`)
    assert.equal(venv.run('loader', '--libs', folder, '--no-scan').status, 0)
    assert.deepEqual(findingsIn(world, venv.root, '--libs', folder), [])
  })

  test('bytecode without its source, and hostile files: no crash, no run, no change of status', () => {
    const venv = testVenv(world, 'hostile')
    const nested = `find_library(${'('.repeat(5000)}"portaudio"${')'.repeat(5000)})`
    venv.install('opener', {
      'opener/__init__.py': 'import ctypes\nctypes.CDLL("libzbar.so.0")',
      'opener/nested.py': nested,
      'opener/deep.py': `find_library("a"${'+"a"'.repeat(20_000)})`,
      'opener/broken.py': 'find_library(',
      'opener/nul.py': 'find_library("portaudio\0")',
      'opener/runs.py': `import os\nos.system("touch ${join(world.root, 'ran')}")\nfind_library("x")`,
      'opener/grows.py': `x = "a"\n${'x = x + x\n'.repeat(60)}find_library(x)`,
      'opener/many.py': `${Array.from({ length: 14 }, (_, at) => `v${at} = v${at + 1}\n`.repeat(16)).join('')}find_library(v0)`,
      'opener/long.py': `a = "${'a'.repeat(1 << 20)}"\nb = ${'a + '.repeat(400)}a\nfind_library(b + b)`,
      'opener/circle.py': 'a = b\nb = a\nfind_library(a)\ndef f(x): return f(CDLL(x))',
    })
    const source = join(venv.site, 'opener/bytecode.py')
    writeFileSync(source, 'import ctypes\nctypes.CDLL("libmagic.so.1")\n')
    const compileAll = 'import py_compile, sys; py_compile.compile(sys.argv[1], cfile=sys.argv[1] + "c")'
    runWell(world.python, ['-c', compileAll, source], { env: world.env })
    rmSync(source)
    const { status, stdout, stderr } = venv.run('doctor', '--no-scan')
    assert.equal(stderr, '')
    assert.equal(status, 0)
    assert.match(stdout, /opener opens libmagic\.so\.1 and libzbar\.so\.0 by name/)
    assert.ok(!readdirSync(world.root).includes('ran'))
  })
})

suite('opens-by-name in real packages', () => {
  const world = withWheels(buildWorld())
  if (typeof world === 'string') {
    test('needs PyPI', { skip: skip(world) })
    return
  }
  after(() => world.dispose())
  const expected: Readonly<Record<string, RegExp>> = {
    sounddevice: /^sounddevice opens libportaudio\.so\.2 by name/,
    glfw: /^glfw opens libGL\.so\.1, libX11\.so\.6, libXcursor\.so\.1,/,
    pyvips: /^pyvips opens libgobject-2\.0\.so\.0 and libvips\.so\.42 by name/,
    wgpu: /^wgpu opens libvulkan\.so\.1/,
    'python-magic': /^python-magic opens libmagic\.so\.1 by name/,
  }
  test('are reported without a row of their own; packages that bring what they open are not', () => {
    const venv = makeVenv(world, 'real')
    pipInstall(world, venv, ['--no-deps', ...Object.keys(expected), 'soundfile'])
    const found = findingsIn(world, venv)
    for (const [name, message] of Object.entries(expected)) {
      const said = found.filter(finding => message.test(finding.message))
      assert.equal(said.length, 1, `${name}: ${found.map(finding => finding.message).join('\n')}`)
    }
    assert.equal(found.length, Object.keys(expected).length)
    assert.ok(found.every(({ severity }) => severity === 'note'))
  })
})

function compile(world: World, venv: TestVenv, name: string, code: string): void {
  const [path, source] = [join(venv.site, name), join(world.root, 'code.c')]
  mkdirSync(join(path, '..'), { recursive: true })
  writeFileSync(source, code)
  runWell('gcc', ['-shared', '-fpic', '-o', path, source])
}

function empty(world: World): string {
  writeFileSync(join(world.root, 'empty.c'), '')
  return join(world.root, 'empty.c')
}

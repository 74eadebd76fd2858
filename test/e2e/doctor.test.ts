import assert from 'node:assert/strict'
import {
  cpSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { PT_LOAD } from '../../src/elf/constants.ts'
import { readHeaders } from '../../src/elf/headers.ts'
import { systemRemedy } from '../../src/nix/system-packages.ts'
import { bytesSource } from '../../src/elf/source.ts'
import { workshop } from '../ldso/objects.ts'
import { writeNoted } from '../resolve/noted.ts'
import { MODULE, testVenv, type TestVenv } from '../resolve/venv.ts'
import { runWell } from '../support/run.ts'
import { worldSuite } from '../world/suite.ts'
import { wheelfix } from '../world/venv.ts'

interface Finding {
  readonly code: string
  readonly severity: string
  readonly message: string
  readonly remedy: string | null
  readonly paths: readonly string[]
}

worldSuite('wheelfix doctor', ['gcc', 'ld'], world => {
  const libs = ['--libs', `${world.libs.gcc}:${world.libs.zlib}`, '--no-scan']

  /** A patched venv with one module that needs the C++ library, and whatever a test adds before it is patched. */
  const venvWith = (name: string, prepare: (venv: TestVenv) => void = () => undefined): TestVenv => {
    const venv = testVenv(world, name)
    venv.install('plain', { [`plain/core${MODULE}`]: { needed: ['libstdc++.so.6'] } })
    prepare(venv)
    venv.run('venv', '--quiet', ...libs)
    return venv
  }
  const findingsOf = (venv: TestVenv, env: NodeJS.ProcessEnv = {}, ...options: readonly string[]): Finding[] => {
    const { stdout, stderr } = venv.runWith(env, 'doctor', '--json', '--no-scan', ...options)
    assert.equal(stderr, '')
    return (JSON.parse(stdout) as { findings: Finding[] }).findings
  }
  const one = (findings: readonly Finding[], code: string): Finding => {
    const found = findings.filter(finding => finding.code === code)
    assert.equal(found.length, 1, `${code} among ${findings.map(finding => finding.code).join(' ')}`)
    return found[0] as Finding
  }

  test('finds no problem in a patched venv, whose Python agrees', () => {
    const venv = venvWith('fine')
    const { status, stdout } = venv.run('doctor', '--no-scan')
    assert.match(stdout, /checked 1 object against the real loader: all match/)
    assert.match(stdout, /no problems found/)
    assert.equal(status, 0)
  })

  test('a Python that does not start: python-broken', () => {
    const venv = venvWith('broken')
    rmSync(join(venv.root, 'bin/python'))
    symlinkSync('/nowhere/python3', join(venv.root, 'bin/python'))
    assert.match(one(findingsOf(venv), 'python-broken').message, /\/nowhere\/python3, which does not exist/)
  })

  test('a Python whose loader finds something else: loader-differs', () => {
    const venv = venvWith('differs')
    const other = join(world.root, 'other')
    mkdirSync(other)
    runWell('ld', ['-shared', '-soname', 'libgone.so', '-o', join(other, 'libgone.so'), ...emptyObject(world.root)])
    venv.install('strange', { [`strange/core${MODULE}`]: { needed: ['libgone.so'] } })
    rmSync(join(venv.root, 'bin/python'))
    const script = `#!/bin/sh\nLD_LIBRARY_PATH=${other} exec ${world.python} "$@"\n`
    writeFileSync(join(venv.root, 'bin/python'), script, { mode: 0o755 })
    const { message, remedy, paths } = one(findingsOf(venv), 'loader-differs')
    assert.equal(message, 'wheelfix does not find libgone.so, but the loader does')
    assert.match(remedy ?? '', /a bug in wheelfix: please report/)
    assert.equal(paths[0]?.endsWith(`strange/core${MODULE}`), true)
  })

  test('a missing library: library-missing, an error for a module, a note for a plugin', () => {
    const venv = venvWith('missing', it => {
      it.install('lacks', {
        [`lacks/core${MODULE}`]: { needed: ['libGL.so.1'] },
        'lacks/plugins/libplugin.so': { needed: ['libcups.so.2'] },
      })
    })
    const found = findingsOf(venv).filter(({ code }) => code === 'library-missing')
    assert.deepEqual(
      found.map(({ severity, message }) => [severity, message]),
      [
        ['error', 'libGL.so.1 is missing'],
        ['note', 'only optional plugins need libcups.so.2, which is missing'],
      ],
    )
    // the command names the environment, because the tests run elsewhere
    assert.equal(found[1]?.remedy, `wheelfix libs build cups ${venv.root}`)
    assert.equal(venv.run('doctor', '--no-scan').status, 1)
  })

  test('without Nix, what adds a missing library is a command of the system, in each report', () => {
    const venv = testVenv(world, 'without-nix')
    venv.install('lacks', {
      [`lacks/core${MODULE}`]: { needed: ['libGL.so.1'] },
      'lacks/plugins/libplugin.so': { needed: ['libcups.so.2'] },
    })
    venv.install('pyopengl', { 'OpenGL/__init__.py': '' })
    const env = { NIX_STORE_DIR: '/nonexistent', PATH: '/nonexistent' }
    const command = systemRemedy(['libGL.so.1'])
    assert.deepEqual(
      findingsOf(venv, env).map(({ code, remedy }) => [code, remedy]),
      [
        ['library-missing', command],
        ['library-missing', systemRemedy(['libcups.so.2'])],
        ['run-time-library', command],
      ],
    )
    for (const name of ['check', 'venv']) {
      const { stdout } = venv.runWith(env, name, '--no-scan')
      assert.ok(stdout.includes(`→ to add them: ${command}\n`), stdout)
    }
    const { stdout } = venv.runWith(env, 'why', 'libGL.so.1', '--no-scan')
    assert.ok(stdout.endsWith(`\n→ to add it: ${command}\n`) && !stdout.includes('nixpkgs'), stdout)
    assert.match(venv.runWith(env, 'why', 'lacks', '--no-scan').stdout, / {2}to add it: /)
  })

  test('a venv that was never patched: unpatched', () => {
    const venv = testVenv(world, 'unpatched')
    venv.install('plain', { [`plain/core${MODULE}`]: { needed: ['libstdc++.so.6'] } })
    assert.match(one(findingsOf(venv, {}, ...libs), 'unpatched').message, /^1 object to patch in plain$/)
  })

  test('a package that came later: changed-since', () => {
    const venv = venvWith('changed')
    venv.install('later', { [`later/core${MODULE}`]: { needed: ['libstdc++.so.6'] } })
    const { message, remedy } = one(findingsOf(venv), 'changed-since')
    assert.match(message, /changed since wheelfix ran: later$/)
    assert.equal(remedy, `wheelfix venv ${venv.root}`)
  })

  test('a run that a kill stopped: interrupted-run', () => {
    const venv = venvWith('half')
    writeFileSync(join(venv.site, 'plain', `.core${MODULE}.wheelfix-tmp`), '')
    assert.equal(one(findingsOf(venv), 'interrupted-run').paths.length, 1)
  })

  test('a file that is cut off: unreadable', () => {
    const venv = venvWith('cut')
    venv.install('cut', { 'cut/libcut.so': {} })
    truncateSync(join(venv.site, 'cut/libcut.so'), 100)
    assert.equal(one(findingsOf(venv), 'unreadable').paths[0]?.endsWith('cut/libcut.so'), true)
  })

  test('LD_LIBRARY_PATH that is set: ld-library-path', () => {
    const { message, remedy } = one(findingsOf(venvWith('env'), { LD_LIBRARY_PATH: '/some/lib' }), 'ld-library-path')
    assert.match(message, /LD_LIBRARY_PATH is set \(\/some\/lib\)/)
    assert.match(remedy ?? '', /^wheelfix venv --libs "\$LD_LIBRARY_PATH"/)
  })

  test('a store path that was collected: dead-store-path', () => {
    const venv = venvWith('dead')
    const gone = `${world.outputs.gcc}-gone`
    renameSync(world.outputs.gcc, gone)
    try {
      const dead = findingsOf(venv).filter(({ code }) => code === 'dead-store-path')
      assert.deepEqual(
        dead.map(({ message }) => message),
        [`${world.libs.gcc} is gone from the store`, `${world.libs.gcc}/libstdc++.so.6 is gone from the store`],
      )
    } finally {
      renameSync(gone, world.outputs.gcc)
    }
  })

  test('a collected store path that a file brought along is a note', () => {
    const venv = testVenv(world, 'brought')
    const path = `${world.store}/${'8'.repeat(32)}-builder/lib`
    venv.install('brought', { [`brought/core${MODULE}`]: { needed: [], runpath: path } })
    assert.equal(venv.run('venv', '--quiet', '--no-scan').status, 0)
    const dead = one(findingsOf(venv), 'dead-store-path')
    assert.deepEqual([dead.severity, dead.remedy], ['note', null])
    assert.equal(dead.message, `${path} is gone from the store; the file named it before wheelfix changed it`)
    assert.equal(venv.run('doctor', '--no-scan').status, 0)
  })

  test('a library of the package that lacks a version is not called missing', () => {
    const venv = testVenv(world, 'versions')
    venv.install('versions', {})
    mkdirSync(join(venv.site, 'versions'))
    const library = join(venv.site, 'versions/libv.so.1')
    const script = join(world.root, 'versions.map')
    const build = (version: string, output: string) => {
      writeFileSync(script, `${version} { v; };\n`)
      writeFileSync(join(world.root, 'versions.c'), 'int v(void) { return 1; }\n')
      const flags = ['-shared', '-fPIC', '-Wl,-soname,libv.so.1', `-Wl,--version-script=${script}`]
      runWell('gcc', [...flags, '-o', output, join(world.root, 'versions.c')])
    }
    build('V_2', library)
    writeFileSync(join(world.root, 'wants.c'), 'int v(void); int wants(void) { return v(); }\n')
    const module = join(venv.site, `versions/core${MODULE}`)
    runWell('gcc', ['-shared', '-fPIC', '-o', module, join(world.root, 'wants.c'), library, '-Wl,-rpath,$ORIGIN'])
    build('V_1', library)
    assert.equal(one(findingsOf(venv), 'library-missing').message, 'libv.so.1 does not define V_2')
    renameSync(module, join(venv.site, 'versions/libplugin.so'))
    assert.equal(
      one(findingsOf(venv), 'library-missing').message,
      'only optional plugins need V_2 of libv.so.1, which is missing',
    )
  })

  test('store paths that nothing protects: gc-roots', () => {
    const venv = venvWith('roots')
    assert.equal(findingsOf(venv).length, 0)
    const known = join(world.root, 'nix/var/nix/gcroots/auto')
    rmSync(known, { recursive: true })
    mkdirSync(known)
    assert.match(one(findingsOf(venv), 'gc-roots').message, /would be removed by nix-collect-garbage/)
  })

  test('objects that share their bytes with a cache: hard-links', () => {
    const venv = venvWith('links', it => it.install('linked', { 'linked/libfree.so': {} }))
    linkSync(join(venv.site, 'linked/libfree.so'), join(world.root, 'cached.so'))
    const shared = one(findingsOf(venv), 'hard-links')
    assert.equal(shared.severity, 'note')
    assert.match(shared.message, /^1 object shares its bytes /)
    linkSync(join(venv.site, `plain/core${MODULE}`), join(world.root, 'cached-patched.so'))
    const linked = findingsOf(venv).filter(({ code }) => code === 'hard-links')
    assert.deepEqual(
      linked.map(({ severity }) => severity),
      ['warning', 'note'],
    )
    assert.match(
      linked[0]?.message ?? '',
      /^1 patched object is a hard link: the cache of the installer may share its patched bytes/,
    )
  })

  test('what the plan cannot guarantee: plan-warning', () => {
    const venv = venvWith('warned', it => it.install('here', { [`here/core${MODULE}`]: { runpath: '/nowhere:' } }))
    assert.match(
      one(findingsOf(venv), 'plan-warning').message,
      /search path of \S+here\/core\S+ makes the loader search the current directory/,
    )
    // the wheel brings it, so a run does not warn of it each time
    assert.equal(venv.run('venv', ...libs).stderr, '')
  })

  test('a Qt that cannot open a window: qt-platform', () => {
    const venv = venvWith('qt', it =>
      it.install('pyqt6', { 'PyQt6/Qt6/plugins/platforms/libqxcb.so': { needed: ['libxcb-cursor.so.0'] } }),
    )
    const { message, remedy } = one(findingsOf(venv), 'qt-platform')
    assert.match(message, /Qt cannot open a window with X11: its platform plugin lacks libxcb-cursor\.so\.0/)
    assert.match(remedy ?? '', /^wheelfix libs build .*cursor/)
  })

  test('a library that an object says it opens by name: dlopen-note', () => {
    const venv = venvWith('notes')
    const feature = { feature: 'sound', description: 'plays', priority: 'required' }
    writeNoted(join(venv.site, 'noted/libfound.so'), [{ ...feature, soname: ['libc.so.6'] }])
    writeNoted(join(venv.site, 'noted/liblost.so'), [{ ...feature, soname: ['libcups.so.2'] }])
    const { message, severity, remedy, paths } = one(findingsOf(venv), 'dlopen-note')
    assert.equal(message, 'it opens libcups.so.2 by name and does not find it (required, for sound: plays)')
    assert.deepEqual([severity, remedy], ['warning', `wheelfix libs build cups ${venv.root}`])
    assert.equal(paths[0]?.endsWith('noted/liblost.so'), true)
  })

  test('a package that is known to load by a computed name: run-time-library', () => {
    const venv = venvWith('known', it => it.install('pyopengl', { 'OpenGL/__init__.py': '' }))
    const { message, remedy } = one(findingsOf(venv), 'run-time-library')
    assert.match(message, /^pyopengl looks for libGL\.so\.1 or libGL\.so with ctypes\.util\.find_library/)
    assert.equal(remedy, `wheelfix libs build libGL libGLU ${venv.root} && wheelfix loader ${venv.root}`)
  })

  test('a package that brings what it loads, itself or through another one, gives no finding', () => {
    const venv = venvWith('settled', it => {
      it.install('soundfile', { '_soundfile_data/libsndfile_x86_64.so': {} })
      it.install('torch', { 'torch/lib/libtorch_cuda.so': {} }, ['nvidia-cuda-nvrtc-cu12', 'sympy'])
      it.install('nvidia-cuda-nvrtc-cu12', { 'nvidia/cuda_nvrtc/lib/libnvrtc.so.12': {} })
    })
    assert.deepEqual(findingsOf(venv), [])
  })

  test('the missing parts of the CUDA run time are one finding with one remedy: cuda-stack', () => {
    const venv = venvWith('cuda', it => {
      it.install('torch', { 'torch/lib/libtorch_cuda.so': {} }, ['nvidia-cuda-nvrtc-cu12', 'nvidia-cudnn-cu12'])
      it.install('numba', { 'nvidia/cuda_nvcc/nvvm/libdevice/libdevice.10.bc': '' })
    })
    const { severity, message, remedy } = one(findingsOf(venv), 'cuda-stack')
    assert.equal(severity, 'note')
    assert.match(message, /torch loads nvidia-cuda-nvrtc-cu12 and nvidia-cudnn-cu12 .*; numba looks for libdevice/)
    assert.equal(
      remedy,
      `install nvidia-cuda-nvrtc-cu12 nvidia-cudnn-cu12; then: eval "$(wheelfix env --export ${venv.root})"`,
    )
    assert.equal(venv.run('doctor', '--no-scan').status, 0)
    // a build without CUDA has the same requirements behind markers
    const cpu = venvWith('cpu', it => it.install('torch', {}, ['nvidia-cuda-nvrtc-cu12']))
    assert.deepEqual(findingsOf(cpu), [])
  })

  test('an object that cannot be patched: refused, and no package is said to be changed', () => {
    const venv = venvWith('refused', it => it.install('odd', { [`odd/core${MODULE}`]: { needed: ['libz.so.1'] } }))
    const path = join(venv.site, `odd/core${MODULE}`)
    venv.run('restore')
    // glibc loads it all the same
    const bytes = readFileSync(path)
    const { header, programHeaders } = readHeaders(bytesSource(bytes))
    const load = programHeaders.findIndex(({ type }) => type === PT_LOAD)
    bytes.writeBigUInt64LE(3n, header.phoff + load * 56 + 48)
    writeFileSync(path, bytes)
    for (const _ of ['once', 'again']) {
      assert.equal(venv.run('venv', '--quiet', ...libs).status, 1)
      const findings = findingsOf(venv)
      const { message, remedy, paths } = one(findings, 'refused')
      assert.match(message, /cannot be edited: the PT_LOAD at 0x0 has an alignment that is not a power of two/)
      assert.deepEqual([remedy, paths.map(path => path.endsWith(`odd/core${MODULE}`))], [null, [true]])
      assert.ok(!findings.some(({ code }) => code === 'changed-since' || code === 'unpatched'))
    }
  })

  test('a program that the private loader starts maps that loader', () => {
    const venv = venvWith('program')
    const interpreter = '/lib64/ld-linux-x86-64.so.2'
    const shop = workshop({ compiler: 'gcc', interpreter, openerFlags: [] }, venv.root, world.root)
    shop.program('bin/tool', { needed: ['libz.so.1'] })
    assert.equal(venv.run('loader', ...libs).status, 0)
    const { stdout, status } = venv.run('doctor', '--no-scan')
    assert.match(stdout, /checked 2 objects against the real loader: all match/)
    assert.equal(status, 0, stdout)
  })

  test('a venv that no longer needs libraries keeps none', () => {
    const store = join(world.store, `${'9'.repeat(32)}-kept`)
    mkdirSync(join(store, 'lib'), { recursive: true })
    const library = join(store, 'lib/libkept.so.1')
    runWell('ld', ['-shared', '-soname', 'libkept.so.1', '-o', library, ...emptyObject(world.root)])
    const venv = testVenv(world, 'kept')
    venv.install('kept', { [`kept/core${MODULE}`]: { needed: ['libkept.so.1'] } })
    assert.equal(venv.run('venv', '--quiet', '--no-scan', '--libs', join(store, 'lib')).status, 0)
    for (const name of ['kept', 'kept-1.0.dist-info']) rmSync(join(venv.site, name), { recursive: true })
    rmSync(store, { recursive: true })
    assert.equal(one(findingsOf(venv), 'dead-store-path').severity, 'error')
    assert.equal(venv.run('venv', '--quiet', '--no-scan').status, 0)
    assert.ok(!findingsOf(venv).some(({ code }) => code === 'dead-store-path'))
    assert.equal(venv.run('check', '--no-scan').status, 0)
  })

  test('a private loader that was damaged: loader-fault', () => {
    const venv = venvWith('loader')
    venv.run('loader', ...libs)
    assert.equal(findingsOf(venv).filter(({ code }) => code === 'loader-fault').length, 0)
    const { stdout } = venv.run('check', '--json', '--no-scan')
    const { loader } = JSON.parse(stdout) as { loader: { cache: string } }
    writeFileSync(loader.cache, readFileSync(loader.cache).subarray(0, 60))
    assert.ok(findingsOf(venv).some(({ code }) => code === 'loader-fault'))
  })

  test('a copy that another private loader still serves: loader-fault, and no bug to report', () => {
    const venv = testVenv(world, 'served')
    venv.install('plain', { [`plain/core${MODULE}`]: { needed: ['libstdc++.so.6'] } })
    venv.run('loader', ...libs)
    cpSync(venv.root, `${venv.root}-copy`, { recursive: true, verbatimSymlinks: true })
    const say = (...more: string[]) => wheelfix(world, ['doctor', '--no-scan', `${venv.root}-copy`, ...more]).stdout
    const short = say()
    assert.match(short, /this one was copied {2}loader-fault/)
    assert.match(short, /: \d+ differs?\n/)
    assert.match(short, /\n {2}this explains \d+ differences? from the real loader, not listed here \(-v shows all\)\n/)
    assert.doesNotMatch(short, / {2}loader-differs\n/)
    const long = say('-v')
    assert.match(long, / {2}loader-differs\n.*\n {2}→ the private loader has a fault .*: repair it, then/)
    assert.doesNotMatch(short + long, /this is a bug/)
  })

  test('a module that does not import: import-fails, with --import', () => {
    const venv = venvWith('imports', it =>
      it.install('lacks', { [`lacks/core${MODULE}`]: { needed: ['libnone.so.1'] }, 'lacks/__init__.py': '' }),
    )
    assert.equal(findingsOf(venv).filter(({ code }) => code === 'import-fails').length, 0)
    const failed = findingsOf(venv, {}, '--import').filter(({ code }) => code === 'import-fails')
    // who only looks leaves no bytecode behind
    assert.ok(!readdirSync(join(venv.site, 'lacks')).includes('__pycache__'))
    assert.deepEqual(
      failed.map(({ severity, message }) => [severity, message.replace(/: (?:ImportError: )/, ': ').slice(0, 50)]),
      [
        ['error', 'import lacks.core: libnone.so.1: cannot open share'],
        ['note', 'import plain.core: dynamic module does not define '],
      ],
    )
  })
})

/** An object file with nothing in it, and the linker's arguments that use it. */
function emptyObject(folder: string): string[] {
  const source = join(folder, 'empty.c')
  writeFileSync(source, '')
  runWell('gcc', ['-c', '-fpic', '-o', join(folder, 'empty.o'), source])
  return [join(folder, 'empty.o')]
}

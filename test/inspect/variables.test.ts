// The variables that help an environment. Distributions are made up: a row asks only whether one is installed, and which
// files are there. Real is what the values do: OpenSSL with other paths, Tcl in a link, a shell that evaluates the lines.
import assert from 'node:assert/strict'
import {
  chmodSync,
  copyFileSync,
  cpSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { test } from 'node:test'
import { examine } from '../../src/environment/examine.ts'
import { lookingOnly } from '../../src/environment/run-options.ts'
import { variableFindings } from '../../src/inspect/variables/advice.ts'
import { isThere } from '../../src/inspect/variables/facts.ts'
import { VARIABLES } from '../../src/inspect/variables/table.ts'
import { type Variable, variablesOf } from '../../src/inspect/variables/variables.ts'
import { normaliseName } from '../../src/python/distributions.ts'
import { findVenv } from '../../src/python/pyvenv.ts'
import { testVenv, type TestVenv } from '../resolve/venv.ts'
import { rebuildElf } from '../support/elf.ts'
import { run, runWell } from '../support/run.ts'
import { makeStandalonePython } from '../world/standalone.ts'
import { makeVenv, WHEELFIX, wheelfix } from '../world/venv.ts'
import { worldSuite } from '../world/suite.ts'

test('no row is a search path of libraries, and each has normalised names, a reason and a source', () => {
  for (const { variable, distributions, reason, source } of VARIABLES) {
    assert.match(variable, /^[A-Z][A-Z0-9_]+$/)
    assert.doesNotMatch(variable, /^(?:LD_|LIBRARY_PATH|PYTHONPATH|PYTHONHOME|PATH$)/)
    assert.deepEqual(distributions, distributions.map(normaliseName))
    assert.match(source, /\w[/.(]\w|#\d+/)
    if (typeof reason === 'string') assert.match(reason, /^[a-z]+ .+[^.]$/)
  }
})

test('docs/variables.md has every variable', () => {
  const page = readFileSync(join(import.meta.dirname, '../../../docs/variables.md'), 'utf8')
  for (const { variable } of VARIABLES) assert.ok(page.includes(`\`${variable}\``), variable)
})

worldSuite('wheelfix env', ['gcc', 'ld'], world => {
  const driver = join(world.root, 'driver/lib')
  mkdirSync(driver, { recursive: true })
  for (const name of ['libcuda.so', 'libcuda.so.1']) writeFileSync(join(driver, name), '')

  /**
   * The variables of a venv. The driver's folder is a stand-in: /run/opengl-driver is the machine's, and no file of a driver
   * is read, only looked for. `also` and `without` make other paths of the machine exist or not.
   */
  const variables = (
    venv: TestVenv,
    { env = {}, build = false, libs = [] as string[], also = [] as string[], without = [] as string[] } = {},
  ): readonly Variable[] => {
    const whole = { ...world.env, ...env }
    const found = findVenv({ argument: venv.root, env: whole, cwd: world.root })
    const looking = lookingOnly({ libs, noScan: true, trust: [], env: whole, cwd: world.root })
    const machine = {
      driver,
      isThere: (path: string) => also.includes(path) || (!without.includes(path) && isThere(path)),
    }
    return variablesOf(examine(found, looking), { env: whole, build, machine })
  }
  /** The rows whose value a test has seen, by variable and source. */
  const seen = new Set<string>()
  const value = (found: readonly Variable[], name: string) => {
    const variable = found.find(variable => variable.name === name)
    if (variable !== undefined) seen.add(`${name} ${variable.source}`)
    return variable?.value
  }
  /** A package of the store with libraries that have these sonames. */
  const stored = (hash: string, name: string, sonames: readonly string[]): string => {
    const store = join(world.store, `${hash.repeat(32)}-${name}`)
    mkdirSync(join(store, 'lib'), { recursive: true })
    const source = join(world.root, 'empty.c')
    writeFileSync(source, '')
    for (const soname of sonames) {
      runWell('gcc', ['-shared', '-nostdlib', `-Wl,-soname,${soname}`, '-o', join(store, 'lib', soname), source])
    }
    return store
  }
  const put = (path: string, mode = 0o644): string => {
    mkdirSync(dirname(path), { recursive: true })
    writeFileSync(path, '', { mode })
    return path
  }

  test('says nothing for a venv that needs nothing, and nothing of packages that are not there', () => {
    const venv = testVenv(world, 'plain')
    assert.deepEqual(variables(venv), [])
    const { stdout, status } = venv.run('env', '--no-scan')
    assert.match(stdout, /no variable would help/)
    assert.equal(status, 0)
    assert.equal(venv.run('env', '--no-scan', '--export').stdout, '')
  })

  test('triton: the driver’s folder, a ptxas that starts where its own does not, a compiler where PATH has none', () => {
    const venv = testVenv(world, 'triton')
    venv.install('triton', { 'triton/__init__.py': '', 'nvidia/cuda_nvcc/bin/ptxas': '#!/bin/sh\n' })
    chmodSync(join(venv.site, 'nvidia/cuda_nvcc/bin/ptxas'), 0o755)
    const found = variables(venv)
    assert.equal(value(found, 'TRITON_LIBCUDA_PATH'), driver)
    assert.equal(value(found, 'TRITON_PTXAS_PATH'), join(venv.site, 'nvidia/cuda_nvcc/bin/ptxas'))
    assert.equal(value(found, 'CC'), undefined)
    const tools = join(world.root, 'tools')
    mkdirSync(tools)
    writeFileSync(join(tools, 'cc'), '#!/bin/sh\n', { mode: 0o755 })
    assert.equal(value(variables(venv, { env: { PATH: tools } }), 'CC'), join(tools, 'cc'))
    // a ptxas of its own that starts is better
    const own = join(venv.site, 'triton/backends/nvidia/bin')
    mkdirSync(own, { recursive: true })
    cpSync(world.python, join(own, 'ptxas'))
    assert.equal(value(variables(venv), 'TRITON_PTXAS_PATH'), undefined)
  })

  test('doctor tells of the CUDA run time at once, with the driver that a device asks for', () => {
    const venv = testVenv(world, 'stack')
    venv.install('triton', {})
    const findings = (also: readonly string[], folder: string | null) => {
      const found = findVenv({ argument: venv.root, env: world.env, cwd: world.root })
      const examined = examine(
        found,
        lookingOnly({ libs: [], noScan: true, trust: [], env: world.env, cwd: world.root }),
      )
      const machine = { driver: folder, isThere: (path: string) => also.includes(path) || isThere(path) }
      return variableFindings(examined, { env: { ...world.env, PATH: '/usr/bin' }, machine })
    }
    const without = findings(['/dev/nvidiactl'], null)
    assert.deepEqual(
      without.map(({ code }) => code),
      ['cuda-stack'],
    )
    assert.match(
      without[0]?.message ?? '',
      /the driver's libcuda\.so\.1 is missing from \/run\/opengl-driver\/lib and \/usr\/lib\/wsl\/lib$/,
    )
    const [stack] = findings(['/dev/nvidiactl'], driver)
    assert.match(stack?.message ?? '', /^the CUDA runtime is incomplete: triton asks \/sbin\/ldconfig/)
    assert.equal(stack?.remedy, 'eval "$(wheelfix env --export)"')
    // without a device there is nothing to run on
    assert.deepEqual(findings([], null), [])
  })

  test('numba: the driver’s library and the folder with libdevice', () => {
    const venv = testVenv(world, 'numba')
    venv.install('numba', { 'numba/__init__.py': '', 'nvidia/cuda_nvcc/nvvm/libdevice/libdevice.10.bc': '' })
    const found = variables(venv)
    assert.equal(value(found, 'NUMBA_CUDA_DRIVER'), join(driver, 'libcuda.so.1'))
    assert.equal(value(found, 'CUDA_HOME'), join(venv.site, 'nvidia/cuda_nvcc'))
  })

  test('a library of the set, in the form that each package wants: the file, the folder, the prefix', () => {
    const opened = ['libvlc.so.5', 'libSDL2-2.0.so.0', 'libMagickWand-7.Q16HDRI.so.10', 'libenchant-2.so.2']
    const store = stored('8', 'media-1.0', [...opened, 'libespeak-ng.so.1', 'libmpi.so.40'])
    symlinkSync('libMagickWand-7.Q16HDRI.so.10', join(store, 'lib/libMagickWand-7.Q16HDRI.so'))
    const venv = testVenv(world, 'media')
    for (const name of ['python-vlc', 'pysdl2', 'wand', 'pyenchant', 'phonemizer', 'mpi4py']) venv.install(name, {})
    const found = variables(venv, { libs: [join(store, 'lib')] })
    assert.deepEqual(
      found.map(({ name }) => [name, value(found, name)]),
      [
        ['MAGICK_HOME', store],
        ['PYTHON_VLC_LIB_PATH', join(store, 'lib/libvlc.so.5')],
        ['PYENCHANT_LIBRARY_PATH', join(store, 'lib/libenchant-2.so.2')],
        ['PYSDL2_DLL_PATH', join(store, 'lib')],
        ['PHONEMIZER_ESPEAK_LIBRARY', join(store, 'lib/libespeak-ng.so.1')],
        ['MPI4PY_LIBMPI', join(store, 'lib/libmpi.so.40')],
      ],
    )
    assert.deepEqual(variables(venv), [])
  })

  test('the configuration of ALSA and the image loaders of gdk-pixbuf, beside their libraries', () => {
    const sound = stored('a', 'alsa-lib-1.2', ['libasound.so.2'])
    const pixbuf = stored('b', 'gdk-pixbuf-2.42', ['libgdk_pixbuf-2.0.so.0'])
    const svg = stored('c', 'librsvg-2.58', ['librsvg-2.so.2'])
    const venv = testVenv(world, 'files')
    for (const name of ['pygame', 'cairocffi']) venv.install(name, {})
    const libs = [sound, pixbuf, svg].map(store => join(store, 'lib'))
    const without = ['/usr/share/alsa/alsa.conf']
    assert.deepEqual(variables(venv, { libs, without }), [])
    const conf = put(join(sound, 'share/alsa/alsa.conf'))
    const cache = put(join(svg, 'lib/gdk-pixbuf-2.0/2.10.0/loaders.cache'))
    const found = variables(venv, { libs, without })
    assert.equal(value(found, 'ALSA_CONFIG_PATH'), conf)
    assert.equal(value(found, 'GDK_PIXBUF_MODULE_FILE'), cache)
    // ALSA finds its usual file, and a gdk-pixbuf with a list of loaders its own
    put(join(pixbuf, 'lib/gdk-pixbuf-2.0/2.10.0/loaders.cache'))
    assert.deepEqual(variables(venv, { libs, also: without }), [])
  })

  test('the archive of locales, for a glibc that reads the variable, and only where a locale is asked for', () => {
    const venv = testVenv(world, 'locales')
    const archive = '/run/current-system/sw/lib/locale/locale-archive'
    const asked = { env: { LANG: 'de_DE.UTF-8' }, also: [archive], without: ['/usr/lib/locale/locale-archive'] }
    assert.equal(value(variables(venv, asked), 'LOCALE_ARCHIVE'), undefined)
    // nixpkgs' patch puts the name of the variable into libc; nothing else of that libc matters here
    const libc = join(world.libs.glibc, 'libc.so.6')
    const patched = `${libc}.patched`
    writeFileSync(patched, Buffer.concat([readFileSync(libc), Buffer.from('\0LOCALE_ARCHIVE\0')]), { mode: 0o755 })
    renameSync(patched, libc)
    assert.equal(value(variables(venv, asked), 'LOCALE_ARCHIVE'), archive)
    assert.equal(value(variables(venv, { ...asked, env: { LANG: 'C.UTF-8' } }), 'LOCALE_ARCHIVE'), undefined)
    assert.equal(
      value(
        variables(venv, { ...asked, without: [], also: [archive, '/usr/lib/locale/locale-archive'] }),
        'LOCALE_ARCHIVE',
      ),
      undefined,
    )
    const own = join(world.env['HOME'] ?? '', '.nix-profile/lib/locale/locale-archive')
    assert.equal(value(variables(venv, { ...asked, also: [own] }), 'LOCALE_ARCHIVE'), own)
  })

  test('triton: a ptxas for Blackwell that does not start', () => {
    const venv = testVenv(world, 'blackwell')
    const [own, other] = ['triton/backends/nvidia/bin/ptxas-blackwell', 'nvidia/cu13/bin/ptxas'].map(name =>
      join(venv.site, name),
    )
    venv.install('triton', {})
    for (const path of [own ?? '', other ?? '']) copyFileSync(world.python, put(path))
    assert.equal(value(variables(venv), 'TRITON_PTXAS_BLACKWELL_PATH'), undefined)
    rebuildElf(own ?? '', { interpreter: world.host.loader.replace(/^.*\//, '/lib64/absent-linux-here/') })
    assert.equal(value(variables(venv), 'TRITON_PTXAS_BLACKWELL_PATH'), other)
  })

  test('--build: the nvcc of a wheel for torch, and compilers on PATH or in the store', () => {
    const venv = testVenv(world, 'compilers')
    venv.install('torch', { 'nvidia/cu13/bin/nvcc': '' })
    const empty = join(world.root, 'empty')
    mkdirSync(empty)
    const build = (path: string) => variables(venv, { build: true, env: { PATH: path } })
    const nothing = build(empty)
    assert.equal(value(nothing, 'CUDA_HOME'), join(venv.site, 'nvidia/cu13'))
    assert.deepEqual([value(nothing, 'CC'), value(nothing, 'CXX')], [undefined, undefined])
    const wrapper = join(world.store, `${'d'.repeat(32)}-gcc-wrapper-13.2.0`)
    for (const name of ['cc', 'c++']) put(join(wrapper, 'bin', name), 0o755)
    const inStore = build(empty)
    assert.deepEqual(
      ['CC', 'CXX'].map(name => value(inStore, name)),
      [join(wrapper, 'bin/cc'), join(wrapper, 'bin/c++')],
    )
    const tools = join(world.root, 'compilers-on-path')
    for (const name of ['cc', 'c++', 'nvcc']) put(join(tools, name), 0o755)
    const found = build(tools)
    assert.deepEqual(
      ['CC', 'CXX'].map(name => value(found, name)),
      [join(tools, 'cc'), join(tools, 'c++')],
    )
    assert.equal(value(found, 'CUDA_HOME'), undefined)
  })

  test('the browsers of nixpkgs, only in the version that playwright asks for', () => {
    const venv = testVenv(world, 'browsers')
    const browsers = { browsers: [{ name: 'chromium', revision: '1255' }] }
    venv.install('playwright', { 'playwright/driver/package/browsers.json': JSON.stringify(browsers, null, 2) })
    const folder = (hash: string, revision: string) => {
      const path = join(world.store, `${hash.repeat(32)}-playwright-browsers`)
      mkdirSync(join(path, `chromium-${revision}`), { recursive: true })
      return path
    }
    folder('6', '1200')
    assert.equal(value(variables(venv), 'PLAYWRIGHT_BROWSERS_PATH'), undefined)
    const right = folder('7', '1255')
    const found = variables(venv)
    assert.equal(value(found, 'PLAYWRIGHT_BROWSERS_PATH'), right)
    assert.equal(value(found, 'PLAYWRIGHT_SKIP_VALIDATE_HOST_REQUIREMENTS'), '1')
  })

  test('a variable for plugins of another Qt is named and not changed', () => {
    const venv = testVenv(world, 'qt')
    venv.install('pyqt6-qt6', { 'PyQt6/Qt6/plugins/platforms/note': '' })
    assert.deepEqual(variables(venv), [])
    const [only] = variables(venv, { env: { QT_PLUGIN_PATH: '/run/current-system/sw/lib/qt-6/plugins' } })
    assert.equal(only === undefined ? '' : value([only], 'QT_PLUGIN_PATH'), join(venv.site, 'PyQt6/Qt6/plugins'))
    assert.equal(only?.current, '/run/current-system/sw/lib/qt-6/plugins')
    const { stdout } = venv.runWith({ QT_PLUGIN_PATH: "/it's\nrm -rf ~" }, 'env', '--no-scan', '--export')
    assert.match(stdout, /^# .*already set, to '\/it'\\''s\?rm -rf ~'\n$/)
  })

  test('OpenCL drivers of NixOS, and a Java that is only on PATH', () => {
    const venv = testVenv(world, 'others')
    for (const name of ['pyopencl', 'jpype1']) venv.install(name, {})
    const vendors = '/run/opengl-driver/etc/OpenCL/vendors'
    const java = join(world.root, 'jdk')
    for (const folder of ['bin', 'lib/server']) mkdirSync(join(java, folder), { recursive: true })
    writeFileSync(join(java, 'bin/java'), '', { mode: 0o755 })
    writeFileSync(join(java, 'lib/server/libjvm.so'), '')
    const env = { PATH: join(java, 'bin') }
    const without = ['/etc/OpenCL/vendors', '/usr/lib/jvm', '/usr/java']
    const found = variables(venv, { env, also: [vendors], without })
    assert.equal(value(found, 'OCL_ICD_VENDORS'), vendors)
    assert.equal(value(found, 'JAVA_HOME'), java)
    assert.equal(value(variables(venv, { env, also: [vendors, '/etc/OpenCL/vendors'] }), 'OCL_ICD_VENDORS'), undefined)
  })

  test('--export: lines that a shell evaluates, whatever the folder is called', () => {
    const venv = testVenv(world, `it's "$(touch gone)" \\`)
    venv.install('numba', { 'nvidia/cuda_nvcc/nvvm/libdevice/libdevice.10.bc': '' })
    const { stdout } = venv.run('env', '--no-scan', '--export')
    const said = run('/bin/sh', ['-c', `${stdout}printf %s "$CUDA_HOME"`], {
      env: { PATH: '/usr/bin:/bin' },
      cwd: world.root,
    })
    assert.equal(said.stdout, join(venv.site, 'nvidia/cuda_nvcc'))
    assert.ok(!isThere(join(world.root, 'gone')))
    const again = venv.runWith({ CUDA_HOME: '/mine' }, 'env', '--no-scan', '--export').stdout
    assert.match(again, /^# numba .*already set, to \/mine\n$/)
    // what is set already to the same value needs no word
    assert.equal(venv.runWith({ CUDA_HOME: said.stdout }, 'env', '--no-scan', '--export').stdout, '')
  })

  test('--build: a compiler where the one of sysconfig is not here, and files of pkg-config', () => {
    const venv = testVenv(world, 'build')
    assert.equal(value(variables(venv), 'CC'), undefined)
    const named = `${'5'.repeat(32)}-sound-2.0`
    for (const name of [`${named}/lib`, `${'4'.repeat(32)}-sound-2.0-dev/lib/pkgconfig`]) {
      mkdirSync(join(world.store, name), { recursive: true })
    }
    const source = join(world.root, 'sound.c')
    writeFileSync(source, '')
    const library = join(world.store, named, 'lib/libsound.so.2')
    runWell('gcc', ['-shared', '-nostdlib', '-Wl,-soname,libsound.so.2', '-o', library, source])
    venv.install('noisy', { 'noisy/core.abi3.so': { needed: ['libsound.so.2'] } })
    const found = variables(venv, { build: true, libs: [join(world.store, named, 'lib')] })
    const folder = join(world.store, `${'4'.repeat(32)}-sound-2.0-dev/lib/pkgconfig`)
    assert.ok(value(found, 'PKG_CONFIG_PATH')?.split(':').includes(folder))
  })

  test('a standalone Python whose OpenSSL looks in another place: before no certificates, after all of them', () => {
    const root = join(world.root, 'standalone')
    const program = makeStandalonePython(world.host, root)
    const library = join(root, 'lib', readdirSync(join(root, 'lib')).find(name => name.startsWith('libcrypto')) ?? '')
    // the folder of Debian's OpenSSL, in a spelling that no machine has
    const bytes = readFileSync(library)
    const own = /OPENSSLDIR: "([^"]+)"/.exec(bytes.toString('latin1'))?.[1] ?? ''
    assert.match(own, /^\/[\w/.-]{4,}$/)
    const strange = `${own.slice(0, -2)}~~`
    writeFileSync(library, Buffer.from(bytes.toString('latin1').replaceAll(own, strange), 'latin1'))
    assert.equal(wheelfix(world, ['python', root, '--libc', world.libs.glibc]).status, 0)
    const venv = join(world.root, 'standalone-venv')
    runWell(program, ['-m', 'venv', '--without-pip', venv], { env: world.env })
    // what the machine itself sets would hide the failure
    const { SSL_CERT_FILE: _, SSL_CERT_DIR: __, ...env } = world.env
    const exported = (folder: string) =>
      runWell(process.execPath, [WHEELFIX, 'env', folder, '--no-scan', '--export'], { env, cwd: world.root })
    const count = 'import ssl; print(len(ssl.create_default_context().get_ca_certs()))'
    const python = join(venv, 'bin/python')
    assert.equal(runWell(python, ['-c', count], { env }).trim(), '0')
    const lines = exported(venv)
    assert.match(lines, /looks for certificates in \S+~~\/cert\.pem and \S+~~\/certs/)
    const said = runWell('/bin/sh', ['-c', `${lines}exec ${python} -c '${count}'`], { env })
    assert.ok(Number(said) > 10, said)
    seen.add(`SSL_CERT_FILE ${VARIABLES.find(({ variable }) => variable === 'SSL_CERT_FILE')?.source}`)
    // the world's own Python finds the machine's certificates
    assert.equal(exported(makeVenv(world, 'finds')), '')
  })

  test('a Tcl that looks beside the program: the folder of the standalone Python', () => {
    const root = join(world.root, 'with-tcl')
    const program = makeStandalonePython(world.host, root)
    for (const [folder, file] of [
      ['tcl8.6', 'init.tcl'],
      ['tk8.6', 'tk.tcl'],
    ] as const) {
      mkdirSync(join(root, 'lib', folder))
      writeFileSync(join(root, 'lib', folder, file), '')
    }
    assert.equal(wheelfix(world, ['python', root, '--libc', world.libs.glibc]).status, 0)
    const venv = join(world.root, 'tcl-venv')
    runWell(program, ['-m', 'venv', '--without-pip', venv], { env: world.env })
    const { stdout } = wheelfix(world, ['env', venv, '--no-scan', '--json'])
    const found = (JSON.parse(stdout) as { variables: readonly Variable[] }).variables
    assert.equal(value(found, 'TCL_LIBRARY'), join(root, 'lib/tcl8.6'))
    assert.equal(value(found, 'TK_LIBRARY'), join(root, 'lib/tk8.6'))
    // a _tkinter that looks below sys.base_prefix needs no variable
    const modules = join(root, 'lib', basename(program), 'lib-dynload')
    const name = readdirSync(modules).find(name => name.startsWith('_tkinter')) ?? '_tkinter.abi3.so'
    writeFileSync(join(modules, name), 'base_prefix')
    assert.doesNotMatch(wheelfix(world, ['env', venv, '--no-scan', '--export']).stdout, /TCL_LIBRARY/)
  })

  test('the tests above have seen a value of every row', () => {
    const rows = VARIABLES.map(({ variable, source }) => `${variable} ${source}`)
    assert.deepEqual(
      rows.filter(row => !seen.has(row)),
      [],
    )
  })

  test('wrong usage, and a folder that is not an environment: status 2 and a sentence', () => {
    const { status, stderr } = wheelfix(world, ['env', join(world.root, 'nowhere')])
    assert.equal(status, 2)
    assert.match(stderr, /^error: /)
  })
})

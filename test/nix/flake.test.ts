// The flake, evaluated and built by a real Nix with a nixpkgs of this machine's own files (see nixpkgs/default.nix), so that
// nothing but npm's registry and PyPI is asked.
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { test } from 'node:test'
import { attributeFor } from '../../src/nix/hints.ts'
import { missing, skip } from '../support/requires.ts'
import { run, runWell } from '../support/run.ts'
import { installTools } from '../world/tools.ts'
import { installDemoWheel, makeVenv, pipInstall } from '../world/venv.ts'
import { flakes, flakesWithWheels, OPTIONS, ROOT, succeeds } from './flakes.ts'
import { scratch } from './stores.ts'

const PACKAGE = join(ROOT, 'nix/package.nix')

const needsNix = missing('nix', 'nix-build', 'git', 'npm', 'gcc')

/** Installs what is bundled as the flake does. @returns their folder, or why it cannot */
function installModules(folder: string): string | { readonly skip: string } {
  for (const name of ['package.json', 'package-lock.json', '.npmrc']) cpSync(join(ROOT, name), join(folder, name))
  const { status, stderr } = run('npm', ['ci', '--omit=optional', '--ignore-scripts'], {
    cwd: folder,
    env: { ...process.env, HOME: folder },
  })
  if (status !== 0 && /E(?:NOTFOUND|AI_AGAIN|CONNREFUSED|TIMEDOUT|NETUNREACH)/.test(stderr))
    return { skip: skip("needs npm's registry") }
  assert.equal(status, 0, stderr)
  runWell('find', [join(folder, 'node_modules'), '-depth', '-type', 'd', '-empty', '-delete'])
  const bundled = /bundled = \[([^\]]*)\]/.exec(readFileSync(PACKAGE, 'utf8'))?.[1]?.match(/[\w-]+/g) ?? []
  const modules = join(folder, 'bundled')
  mkdirSync(modules)
  for (const name of bundled) renameSync(join(folder, 'node_modules', name), join(modules, name))
  return modules
}

/** The hash of a folder as Nix reckons it: SHA-256 of its archive format, in which only names, content and run bits are. */
function narHash(path: string): string {
  const hash = createHash('sha256')
  const put = (text: string | Buffer) => {
    const bytes = Buffer.from(text)
    const length = Buffer.alloc(8)
    length.writeBigUInt64LE(BigInt(bytes.length))
    hash.update(length)
    hash.update(bytes)
    hash.update(Buffer.alloc((8 - (bytes.length % 8)) % 8))
  }
  const node = (at: string, kind: 'directory' | 'file' | 'symlink') => {
    put('(')
    put('type')
    if (kind === 'symlink') ['symlink', 'target', readlinkSync(at)].forEach(put)
    else if (kind === 'file') {
      put('regular')
      if ((Number.parseInt(runWell('stat', ['-c', '%a', at]), 8) & 0o100) !== 0) ['executable', ''].forEach(put)
      put('contents')
      put(readFileSync(at))
    } else {
      put('directory')
      const entries = readdirSync(at, { withFileTypes: true })
      for (const entry of entries.sort((a, b) => Buffer.compare(Buffer.from(a.name), Buffer.from(b.name)))) {
        for (const text of ['entry', '(', 'name', entry.name, 'node']) put(text)
        node(join(at, entry.name), entry.isDirectory() ? 'directory' : entry.isSymbolicLink() ? 'symlink' : 'file')
        put(')')
      }
    }
    put(')')
  }
  put('nix-archive-1')
  node(path, 'directory')
  return `sha256-${hash.digest('base64')}`
}

test('the hash of the bundled packages in the flake is the one that npm gives', { skip: missing('npm') }, t => {
  const modules = installModules(scratch(t))
  if (typeof modules !== 'string') {
    t.skip(modules.skip)
    return
  }
  const expected = /outputHash = "([^"]+)"/.exec(readFileSync(PACKAGE, 'utf8'))?.[1]
  assert.equal(narHash(modules), expected)
})

test('the package leaves out of its first stage what the program loads on demand', () => {
  const recipe = readFileSync(PACKAGE, 'utf8')
  const lists = [...recipe.matchAll(/for name in ([^;]*);/g)].map(([, list = '']) => list.match(/[\w/-]+/g) ?? [])
  const [commands = [], work = []] = lists
  const named = [...recipe.matchAll(/--external:\*\/([\w/-]+\.ts)/g)].map(([, name = '']) => name)
  const leftOut = [...commands.map(name => `commands/${name}.ts`), ...work.map(name => `${name}.ts`), ...named]
  const source = join(ROOT, 'src')
  const onDemand = new Set<string>()
  for (const file of readdirSync(source, { recursive: true, encoding: 'utf8' })) {
    if (!file.endsWith('.ts')) continue
    const text = readFileSync(join(source, file), 'utf8')
    for (const [, target = ''] of text.matchAll(/import\('(\.[^']+)'\)/g)) onDemand.add(join(dirname(file), target))
  }
  // the first stage runs this command itself
  onDemand.delete('commands/venv.ts')
  assert.deepEqual(leftOut.sort(), [...onDemand].sort())
})

test('flake.lock pins the nixpkgs that the flake names', () => {
  const lock = JSON.parse(readFileSync(join(ROOT, 'flake.lock'), 'utf8')) as {
    nodes: { nixpkgs: { locked: { rev: string; narHash: string }; original: { ref: string } } }
  }
  const { locked, original } = lock.nodes.nixpkgs
  assert.match(locked.rev, /^[0-9a-f]{40}$/)
  assert.match(locked.narHash, /^sha256-[A-Za-z0-9+/]{43}=$/)
  assert.ok(readFileSync(join(ROOT, 'flake.nix'), 'utf8').includes(`github:NixOS/nixpkgs/${original.ref}"`))
})

test(
  'the library sets know the X11 libraries by their names of 26.05 and by the older ones',
  {
    skip: missing('nix-instantiate'),
  },
  () => {
    const names = (changed: string) => {
      const expression = `
      let
        sets = import ${ROOT}/nix/libraries.nix;
        lib = import ${ROOT}/test/nix/nixpkgs/lib.nix;
        all = import ${ROOT}/test/nix/nixpkgs/default.nix { inherit lib; system = "x86_64-linux"; world = { }; host = { }; };
        now = builtins.mapAttrs (name: _: name) (removeAttrs all [ "lib" "stdenv" "gst_all_1" ])
          // { inherit lib; stdenv.cc.cc = "gcc"; gst_all_1 = builtins.mapAttrs (name: _: "gst_all_1.\${name}") all.gst_all_1; };
      in map builtins.toString (sets.desktop (${changed}))`
      return JSON.parse(runWell('nix-instantiate', ['--eval', '--strict', '--json', '-E', expression])) as string[]
    }
    const helpers = ['cursor', 'image', 'keysyms', 'render-util', 'util', 'wm'].map(name => `libxcb-${name}`)
    const now = names('now')
    const x11 = now.filter(name => /^lib(?:x[^ck]|xc[^br]|ice|sm$|xcb$|xkbfile)/.test(name) && name !== 'libxml2')
    assert.ok(x11.length > 15 && helpers.every(name => now.includes(name)))
    const old = { cursor: 'xcb-util-cursor', image: 'xcbutilimage', wm: 'xcbutilwm' }
    const upstream = 'ICE SM X11 Xcomposite Xcursor Xdamage Xext Xfixes Xi Xinerama Xrandr Xrender Xtst Xxf86vm'.split(
      ' ',
    )
    const sets = [...upstream.map(name => `lib${name}`), 'libxcb', 'libxkbfile', 'libxshmfence']
    const utilities = ['xcbutil', 'xcbutilimage', 'xcbutilkeysyms', 'xcbutilrenderutil', 'xcbutilwm']
    const before = names(`
      removeAttrs now (builtins.filter (name: builtins.match "libx.*|libice|libsm|unixodbc" name != null
        && !builtins.elem name [ "libxml2" "libxkbcommon" "libxcrypt-legacy" ]) (builtins.attrNames now))
      // { unixODBC = "unixODBC"; xcb-util-cursor = "xcb-util-cursor"; xorg = lib.genAttrs
        [ ${[...sets, ...utilities].map(name => `"${name}"`).join(' ')} ] (name: name); }`)
    assert.equal(before.length, now.length)
    assert.ok([...sets, ...Object.values(old), 'unixODBC'].every(name => before.includes(name)))
  },
)

// What the libraries, platform plugins and WebEngine of these wheels need of a system, read from PyQt5 5.15.11 (Qt 5.15.19),
// PyQt6 6.12.0 (Qt 6.11.2) and PySide6 6.12.0 with their WebEngine; without glibc, and without the plugins for SQL servers and
// speech.
const QT_NEEDS =
  'libEGL.so.1 libGL.so.1 libX11-xcb.so.1 libX11.so.6 libXcomposite.so.1 libXdamage.so.1 libXext.so.6 libXfixes.so.3 ' +
  'libXrandr.so.2 libXrender.so.1 libXtst.so.6 libasound.so.2 libatk-1.0.so.0 libbrotlicommon.so.1 libbrotlidec.so.1 ' +
  'libbz2.so.1 libcairo-gobject.so.2 libcairo.so.2 libcups.so.2 libdbus-1.so.3 libdrm.so.2 libexpat.so.1 ' +
  'libfontconfig.so.1 libfreetype.so.6 libgbm.so.1 libgcc_s.so.1 libgdk-3.so.0 libgdk_pixbuf-2.0.so.0 libgio-2.0.so.0 ' +
  'libglib-2.0.so.0 libgobject-2.0.so.0 libgssapi_krb5.so.2 libgstallocators-1.0.so.0 libgstapp-1.0.so.0 ' +
  'libgstaudio-1.0.so.0 libgstbase-1.0.so.0 libgstpbutils-1.0.so.0 libgstreamer-1.0.so.0 libgstvideo-1.0.so.0 ' +
  'libgthread-2.0.so.0 libgtk-3.so.0 libharfbuzz.so.0 libnspr4.so libnss3.so libnssutil3.so libodbc.so.2 ' +
  'libpango-1.0.so.0 libpangocairo-1.0.so.0 libpcsclite.so.1 libplc4.so libplds4.so libpulse-mainloop-glib.so.0 libpulse.so.0 ' +
  'libsmime3.so libstdc++.so.6 libudev.so.1 libwayland-client.so.0 libwayland-cursor.so.0 libwayland-egl.so.1 ' +
  'libwayland-server.so.0 libxcb-cursor.so.0 libxcb-dri3.so.0 libxcb-glx.so.0 libxcb-icccm.so.4 libxcb-image.so.0 ' +
  'libxcb-keysyms.so.1 libxcb-randr.so.0 libxcb-render-util.so.0 libxcb-render.so.0 libxcb-shape.so.0 libxcb-shm.so.0 ' +
  'libxcb-sync.so.1 libxcb-util.so.1 libxcb-xfixes.so.0 libxcb-xinerama.so.0 libxcb-xkb.so.1 libxcb.so.1 ' +
  'libxkbcommon-x11.so.0 libxkbcommon.so.0 libxkbfile.so.1 libz.so.1 libzstd.so.1'

test('libs-desktop has what PyQt5, PyQt6 and PySide6 need', () => {
  const text = readFileSync(join(ROOT, 'nix/libraries.nix'), 'utf8').toLowerCase()
  const words = new Set(text.match(/[\w.+-]+/g) ?? [])
  const lacking = QT_NEEDS.split(' ').filter(soname => {
    const attribute = attributeFor(soname)?.toLowerCase() ?? soname
    return !words.has(attribute) && !words.has(`pkgs.${attribute}`)
  })
  assert.deepEqual(lacking, [])
})

test(
  'nix flake check passes: every output evaluates, and a patched wheel and a Python with libraries work',
  {
    skip: needsNix,
  },
  t => {
    const all = flakes(t)
    if (all === null) return
    const checked = all.nix(['flake', 'check', 'path:.'])
    succeeds(checked)
    // the tests override the input, which is not to be written; Debian's Nix does not know these two outputs, today's does;
    // today's says that it leaves out other machines
    const warnings = checked.stderr
      .split('\n')
      .filter(line => /warning|error/.test(line) && !/lock file|output '(?:lib|homeModules)'|omitted/.test(line))
    assert.deepEqual(warnings, [])
    const folder = scratch(t)
    succeeds(all.nix(['build', 'path:.#wheelfix', '-o', join(folder, 'tool')]))
    succeeds(all.nix(['build', 'path:.#wheelfix', '--rebuild', '--no-link']))
    const about = ['meta.description', 'meta.mainProgram', 'meta.license', 'updateScript', 'meta.maintainers']
    for (const name of about) succeeds(all.nix(['eval', '--json', `path:.#wheelfix.${name}`]))
    const app = all.nix(['eval', '--raw', 'path:.#apps.x86_64-linux.default.meta.description'])
    assert.match(succeeds(app), /PyPI/)
    const tool = join(folder, 'tool/bin/wheelfix')
    const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string }
    assert.equal(runWell(tool, ['--version'], { env: {} }).trim(), version)
    const installed = readdirSync(join(folder, 'tool/lib/wheelfix')).filter(name => name.endsWith('.cache'))
    assert.equal(installed.length, 3, "the package has V8's code cache of each stage")
    for (const [file, words] of [
      ['bash-completion/completions/wheelfix', 'complete -o default -F _wheelfix wheelfix'],
      ['zsh/site-functions/_wheelfix', '#compdef wheelfix'],
      ['fish/vendor_completions.d/wheelfix.fish', 'complete -c wheelfix'],
      ['man/man1/wheelfix.1', '.TH WHEELFIX 1'],
    ] as const) {
      assert.ok(readFileSync(join(folder, 'tool/share', file), 'utf8').includes(words), file)
    }
    // what the wrapper falls back to makes a wheel load without any other source
    const venv = makeVenv(all.world, 'venv')
    installDemoWheel(all.world, venv)
    const python = join(venv, 'bin/python')
    assert.match(run(python, ['-c', 'import wheelfix_demo']).stderr, /cannot open shared object file/)
    const report = JSON.parse(runWell(tool, ['venv', venv, '--no-scan', '--json'], { env: {} })) as {
      libs: { soname: string; source: string }[]
    }
    assert.equal(report.libs.find(({ soname }) => soname === 'libstdc++.so.6')?.source, 'default')
    runWell(python, ['-c', 'import wheelfix_demo'])
  },
)

test('the shell of the template makes a failing import numpy work', { skip: needsNix }, t => {
  const all = flakesWithWheels(t)
  if (all === null) return
  const { world } = all
  const project = scratch(t)
  succeeds(all.nix(['flake', 'init', '-t', `path:${all.project}#uv`], project))
  assert.ok(existsSync(join(project, '.envrc')))
  const venv = makeVenv({ ...world, root: project }, '.venv')
  pipInstall(world, venv, ['numpy'])
  const python = join(venv, 'bin/python')
  assert.match(run(python, ['-c', 'import numpy']).stderr, /libstdc\+\+\.so\.6: cannot open shared object file/)
  const inShell = ['develop', 'path:.', '-c', python, '-c', 'import numpy; print(numpy.linalg.det(numpy.eye(3)))']
  assert.equal(succeeds(all.nix(inShell, project)).trim(), '1.0')
  succeeds(all.nix(['flake', 'check', 'path:.'], project))
})

/** Twenty distributions with compiled modules that are small, and what to import of each. */
const TWENTY: Readonly<Record<string, string>> = {
  bcrypt: 'bcrypt',
  brotli: 'brotli',
  cffi: '_cffi_backend',
  contourpy: 'contourpy',
  frozenlist: 'frozenlist',
  greenlet: 'greenlet',
  kiwisolver: 'kiwisolver',
  lxml: 'lxml.etree',
  lz4: 'lz4.frame',
  markupsafe: 'markupsafe._speedups',
  msgpack: 'msgpack',
  multidict: 'multidict',
  numpy: 'numpy',
  orjson: 'orjson',
  pillow: 'PIL._imaging',
  pyyaml: 'yaml',
  pyzmq: 'zmq',
  rapidfuzz: 'rapidfuzz.fuzz',
  regex: 'regex',
  shapely: 'shapely',
  zstandard: 'zstandard',
}

test(
  'fixWheels over twenty wheels: built once, substituted elsewhere without a build, reproducible, installed by pip',
  {
    skip: needsNix || missing('gcc'),
  },
  t => {
    const all = flakesWithWheels(t)
    if (all === null) return
    const { world } = all
    const team = scratch(t)
    // outside of the flake, whose folder is copied to the store whole
    const outside = scratch(t)
    const wheels = join(team, 'wheels')
    const from = process.env['WHEELFIX_TEST_WHEELS']
    const source = from === undefined ? [] : ['--no-index', '--find-links', from]
    const pip = ['-m', 'pip', '--disable-pip-version-check', '-q']
    const download = ['download', '--no-deps', '--only-binary', ':all:', ...source, '-d', wheels]
    runWell(world.host.python.executable, [...pip, ...download, ...Object.keys(TWENTY)])
    writeFileSync(
      join(team, 'flake.nix'),
      `{
      inputs.nixpkgs.url = "nixpkgs";
      inputs.wheelfix.inputs.nixpkgs.follows = "nixpkgs";
      outputs = { wheelfix, ... }: {
        packages.x86_64-linux = {
          wheels = wheelfix.lib.x86_64-linux.fixWheels { src = ./wheels; };
          venv = wheelfix.lib.x86_64-linux.fixVenv { wheels = ./wheels; };
          python = wheelfix.lib.x86_64-linux.pythonWithLibs { };
          loader = wheelfix.lib.x86_64-linux.mkLoader { };
        };
      };
    }`,
    )
    const first = all.nix(['build', 'path:.#wheels', '-o', join(outside, 'result')], team)
    succeeds(first)
    const result = readlinkSync(join(outside, 'result'))
    assert.equal(readdirSync(result).length, Object.keys(TWENTY).length)

    // what the compressed wheels name stands uncompressed beside them, so that a collection leaves it
    const closure = runWell('nix-store', ['--query', '--requisites', result])
    assert.ok(closure.includes(world.outputs.gcc) && closure.includes(world.outputs.glibc))

    // a second user with a store of their own and this cache: nothing may be built there
    const cache = `file://${join(outside, 'cache')}?compression=none`
    succeeds(all.nix(['copy', '--to', cache, result], team))
    const second = [
      '--store',
      join(outside, 'second'),
      '--option',
      'substitute',
      'true',
      '--option',
      'substituters',
      cache,
    ]
    const noBuild = ['--option', 'require-sigs', 'false', '--max-jobs', '0', '--no-link']
    succeeds(all.nix(['build', 'path:.#wheels', ...second, ...noBuild], team))
    assert.ok(existsSync(join(outside, 'second', result)))
    runWell('chmod', ['-R', 'u+w', join(outside, 'second')])

    // the same bits once more: of a wheel, of a venv and of a Python
    const numpy = closure.split('\n').find(path => /-wheelfix-numpy-/.test(path)) ?? ''
    const check = [...OPTIONS.slice(0, 9), '--realise', '--check']
    const derivers = runWell('nix-store', ['--query', '--deriver', numpy]).trim().split('\n')
    runWell('nix-store', [...check, ...derivers])
    for (const name of ['venv', 'python']) {
      succeeds(all.nix(['build', `path:.#${name}`, '-o', join(outside, name)], team))
      succeeds(all.nix(['build', `path:.#${name}`, '--no-link', '--rebuild'], team))
    }

    // pip takes them, and they import without a run of wheelfix
    const imports = `import ${Object.values(TWENTY).join(', ')}`
    const venv = makeVenv(world, 'patched')
    const target = ['--python', join(venv, 'bin/python'), 'install', '--no-index', '--no-deps', '--no-compile']
    runWell(world.host.python.executable, [...pip, ...target, '--find-links', result, ...Object.keys(TWENTY)])
    runWell(join(venv, 'bin/python'), ['-c', imports], { env: world.env })
    runWell(join(outside, 'venv/bin/python'), ['-c', imports], { env: world.env })
    // and with the Python whose loader knows the libraries, the wheels as they came from PyPI do
    const plain = makeVenv({ ...world, python: join(outside, 'python/bin/python3') }, 'plain')
    pipInstall(world, plain, ['numpy', 'shapely'])
    runWell(join(plain, 'bin/python'), ['-c', 'import numpy, shapely'], { env: world.env })
    // so do those that uv installs with it
    const tools = installTools(world, ['uv'])
    const withIt = { env: { UV_PYTHON: join(outside, 'python/bin/python3') }, cwd: outside }
    const use = ['--with', 'numpy', 'python', '-c', 'import numpy']
    for (const args of [
      ['run', '--no-project', ...use],
      ['tool', 'run', ...use],
    ])
      tools.well('uv', args, withIt)
    // its loader alone serves any program that names it
    succeeds(all.nix(['build', 'path:.#loader', '-o', join(outside, 'loader')], team))
    const program = join(outside, 'program')
    writeFileSync(`${program}.c`, '#include <dlfcn.h>\nint main() { return dlopen("libstdc++.so.6", RTLD_NOW) == 0; }')
    const loads = (folder: string) => {
      const loader = readdirSync(folder).find(name => name.startsWith('ld-linux')) ?? ''
      runWell('gcc', [`${program}.c`, `-Wl,--dynamic-linker=${join(folder, loader)}`, '-o', program])
      return run(program, [], { env: {} }).status === 0
    }
    assert.deepEqual([loads(world.libs.glibc), loads(join(outside, 'loader'))], [false, true])
  },
)

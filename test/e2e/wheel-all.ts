// `npm run wheels [-- NAME…]`: many real wheels, patched before they are installed: what other tools say of the archives,
// and whether everything imports in the world that imports on this machine. Takes some GB and a quarter of an hour.
// LIBS (colon-separated folders) is copied into the world's store, WHEELFIX_TEST_WHEELS names a folder with the wheels.
import { cpSync, existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { run, runWell } from '../support/run.ts'
import { hashFile } from '../support/tree.ts'
import { makeVenv, sitePackages, wheelfix, withWheels } from '../world/venv.ts'
import { buildWorld, type World } from '../world/world.ts'
import { comparedWith, importAll, lackingModules } from './imports.ts'

const NAMES = `
numpy scipy pandas pyarrow shapely pillow lxml cryptography pydantic-core orjson pyzmq ruff opencv-python-headless
scikit-learn matplotlib contourpy kiwisolver h5py numba llvmlite bcrypt cffi pynacl psycopg2-binary grpcio protobuf uv ninja
cmake aiohttp yarl multidict frozenlist greenlet sqlalchemy tokenizers safetensors duckdb lz4 zstandard brotli pyyaml
markupsafe msgpack regex rapidfuzz tiktoken onnxruntime watchfiles rpds-py statsmodels pywavelets PySide6-Essentials`

/** Compares two folders of wheels: entries in order, what is known of each, and the bytes of those that did not change. */
const COMPARE = `
import os, sys, zipfile
changed = same = identical = 0
for name in sorted(os.listdir(sys.argv[2])):
    paths = [os.path.join(folder, name) for folder in sys.argv[1:3]]
    before, after = [zipfile.ZipFile(p) for p in paths]
    assert after.testzip() is None, name
    old, new = [open(p, 'rb').read() for p in paths]
    identical += old == new
    assert before.namelist() == after.namelist(), name
    for a, b in zip(before.infolist(), after.infolist()):
        known = [(i.date_time, i.external_attr, i.create_version, i.create_system, i.extra, i.comment, i.compress_type) for i in (a, b)]
        assert known[0] == known[1], (name, a.filename)
        if a.CRC != b.CRC or a.compress_size != b.compress_size:
            changed += 1
            continue
        length = 30 + len(a.filename.encode()) + a.compress_size
        assert old[a.header_offset:a.header_offset + length] == new[b.header_offset:b.header_offset + length], (name, a.filename)
        same += 1
print(f'{identical} wheels as they were; {changed} entries changed, {same} identical')`

/** What the wheels of a folder hold. */
const LIST = `
import os, sys, zipfile
for name in sorted(os.listdir(sys.argv[1])):
    for i in zipfile.ZipFile(os.path.join(sys.argv[1], name)).infolist():
        print(name, i.filename, i.CRC, i.file_size, i.date_time, i.external_attr, i.compress_type, i.extra)`

const world = withWheels(buildWorld())
if (typeof world === 'string') {
  console.error(world)
  process.exit(1)
}
let faults = 0
try {
  tryWheels(world)
} finally {
  world.dispose()
}
process.exitCode = faults === 0 ? 0 : 1

function fault(text: string): void {
  faults += 1
  console.log(`FAULT: ${text}`)
}

function tryWheels(world: World): void {
  const named = process.argv.slice(2)
  const names = named.length > 0 ? named : NAMES.split(/\s+/).filter(name => name !== '')
  const python = world.host.python.executable
  const env = { ...world.env, HOME: process.env['HOME'] }
  const source = process.env['WHEELFIX_TEST_WHEELS']
  const from = source === undefined ? [] : ['--no-index', '--find-links', source]
  const pip = (...args: string[]): string =>
    runWell(python, ['-m', 'pip', '-q', '--disable-pip-version-check', ...args], { env })
  const folder = (name: string): string => join(world.root, name)
  pip('download', '--only-binary', ':all:', '--dest', folder('plain'), ...from, ...names)
  const wheels = readdirSync(folder('plain')).sort()
  console.log(`${wheels.length} wheels, of ${names.length} named distributions and what they require`)

  const more = (process.env['LIBS'] ?? '').split(':').filter(path => path !== '')
  const copies = more.map((path, index) => {
    const copy = join(world.store, `${String(index).padStart(32, '0')}-libraries-${index}/lib`)
    cpSync(path, copy, { recursive: true, dereference: true })
    return copy
  })
  const libs = ['--libs', [world.libs.gcc, world.libs.zlib, ...copies].join(':')]
  let told: ReadonlyMap<string, string> = new Map()
  for (const out of ['patched', 'again']) {
    const options = ['--no-scan', '--json', '--python', world.python, '--with', folder('plain'), ...libs]
    const start = Date.now()
    const { status, stdout, stderr } = wheelfix(world, ['wheel', folder('plain'), '-o', folder(out), ...options])
    if (out !== 'patched') continue
    console.log(`patched in ${Date.now() - start} ms, status ${status}\n${stderr}`.trim())
    told = toldMissing(stdout)
    console.log(`reported as missing: ${[...told.keys()].join(' ') || 'nothing'}`)
    for (const [name, hint] of told) {
      const isThere = [world.libs.gcc, world.libs.zlib, ...copies].some(path => existsSync(join(path, name)))
      if (isThere && !hint.includes('skipped')) fault(`${name} is reported as missing, and is there`)
    }
  }
  for (const wheel of wheels) {
    const [first, second] = ['patched', 'again'].map(name => readFileSync(join(folder(name), wheel)))
    if (first === undefined || second === undefined || !first.equals(second))
      fault(`${wheel}: other bytes the second time`)
  }
  rmSync(folder('again'), { recursive: true })
  console.log(runWell(python, ['-c', COMPARE, folder('plain'), folder('patched')]).trim())
  tryRestore(world, folder)

  runWell(python, ['-m', 'venv', folder('tools')], { env })
  const tool = (name: string): string => join(folder('tools'), 'bin', name)
  const packages = ['wheel', 'check-wheel-contents', 'auditwheel', 'uv']
  runWell(tool('python'), ['-m', 'pip', '-q', 'install', ...packages], { env })
  for (const wheel of wheels) askOthers(wheel, folder, tool, env)
  console.log(`${wheels.length} wheels shown to wheel unpack, check-wheel-contents and auditwheel show`)

  const requirements = wheels.map(file => {
    const [name = '', version = ''] = file.split('-')
    return `${name}==${version} --hash=sha256:${hashFile(join(folder('patched'), file))}`
  })
  writeFileSync(folder('requirements.txt'), requirements.join('\n'))
  const byPip = makeVenv(world, 'by-pip')
  const links = (name: string): string[] => ['--no-index', '--find-links', folder(name)]
  const into = (venv: string): string[] => ['--python', join(venv, 'bin/python'), 'install', '--no-compile']
  pip(...into(byPip), ...links('patched'), '--require-hashes', '-r', folder('requirements.txt'))
  const byUv = makeVenv(world, 'by-uv')
  const required = ['--require-hashes', '-r', folder('requirements.txt')]
  const uv = ['pip', 'install', '-q', '--python', join(byUv, 'bin/python'), ...links('patched'), ...required]
  runWell(tool('uv'), uv, { env: { ...env, UV_CACHE_DIR: folder('uv-cache'), UV_NO_CONFIG: '1' } })
  const here = folder('here')
  runWell(python, ['-m', 'venv', '--without-pip', here], { env })
  pip(...into(here), ...links('plain'), ...names)

  tryImports(world, here, { pip: byPip, uv: byUv }, told)
}

/**
 * What imports with the host's Python has to import in the world, where the two are alike: of what the world's Python was
 * built without (tkinter), the host's has none either. What imports here only with such a module is told, and what lacks
 * a library that wheelfix `told` to be missing from the set.
 */
function tryImports(
  world: World,
  here: string,
  venvs: Readonly<Record<string, string>>,
  told: ReadonlyMap<string, string>,
): void {
  const python = join(here, 'bin/python')
  const site = sitePackages(world, here)
  const absent = lackingModules(world.python, world.host.python.executable, world.env)
  console.log(`not in the standard library of the world's Python: ${absent.join(', ')}`)
  const all = importAll(python, site, world.env, { absent: [] })
  const reference = importAll(python, site, world.env, { absent })
  for (const [distribution, modules] of all) {
    for (const [module, error] of modules) {
      const without = reference.get(distribution)?.get(module) ?? null
      if (error !== null) console.log(`${module} does not import on this machine: ${error}`)
      if (error !== null || without === null) continue
      const lacks = /import of ([\w.]+) halted; None in sys\.modules/.exec(without)?.[1]
      if (lacks !== undefined && absent.includes(lacks)) console.log(`${module} is left out, it needs ${lacks}`)
      else fault(`${module}: imports on this machine, and not as in the world: ${without}`)
    }
  }
  for (const [name, venv] of Object.entries(venvs)) {
    const imports = importAll(join(venv, 'bin/python'), sitePackages(world, venv), world.env, { absent })
    const { modules, failing } = comparedWith(reference, imports)
    if (modules === 0) fault('no module imports on this machine')
    const lacking = failing.filter(text => told.has(/: (\S+): cannot open shared object/.exec(text)?.[1] ?? ''))
    console.log(`installed by ${name}: ${modules - failing.length} of the ${modules} modules import that import here`)
    if (lacking.length > 0) console.log(`${lacking.length} lack a library that was reported as missing (see LIBS)`)
    for (const text of failing) if (!lacking.includes(text)) fault(`installed by ${name}: ${text}`)
  }
}

/** Sonames that no wheel and no folder of the set brings, with what is said of them. */
function toldMissing(json: string): Map<string, string> {
  const { wheels } = JSON.parse(json) as { wheels: { missing: { soname: string; hint: string | null }[] }[] }
  return new Map(wheels.flatMap(({ missing }) => missing.map(({ soname, hint }) => [soname, hint ?? ''])))
}

/** The restored wheels are the plain ones, or hold the same, and wheelfix says which. */
function tryRestore(world: World, folder: (name: string) => string): void {
  const options = ['--restore', '--json', '--python', world.python]
  const { stdout } = wheelfix(world, ['wheel', folder('patched'), '-o', folder('restored'), ...options])
  const { wheels } = JSON.parse(stdout) as { wheels: { path: string; status: string; original?: string }[] }
  const counts = new Map<string, number>()
  for (const { path, status, original } of wheels) {
    const name = path.slice(path.lastIndexOf('/') + 1)
    const same = hashFile(join(folder('restored'), name)) === hashFile(join(folder('plain'), name))
    const said = original ?? status
    counts.set(said, (counts.get(said) ?? 0) + 1)
    if (same !== (said === 'archive' || said === 'fine')) fault(`${name}: restored as ${said}, the same bytes: ${same}`)
  }
  const contents = ['plain', 'restored'].map(name => runWell(world.host.python.executable, ['-c', LIST, folder(name)]))
  if (contents[0] !== contents[1]) fault('restored wheels hold something else than plain ones')
  rmSync(folder('restored'), { recursive: true })
  console.log(`restored: ${[...counts].map(([said, count]) => `${count} ${said}`).join(', ')}`)
}

function askOthers(
  wheel: string,
  folder: (name: string) => string,
  tool: (name: string) => string,
  env: NodeJS.ProcessEnv,
): void {
  const patched = join(folder('patched'), wheel)
  const unpack = run(tool('python'), ['-m', 'wheel', 'unpack', '--dest', folder('unpacked'), patched], { env })
  if (unpack.status !== 0) fault(`${wheel}: wheel unpack: ${unpack.stdout}${unpack.stderr}`)
  rmSync(folder('unpacked'), { recursive: true, force: true })
  const contents = ['plain', 'patched'].map(name => {
    const path = join(folder(name), wheel)
    return run(tool('check-wheel-contents'), [path], { env }).stdout.replaceAll(path, '')
  })
  if (contents[0] !== contents[1]) fault(`${wheel}: check-wheel-contents: ${contents[1] ?? ''}`)
  if (wheel.endsWith('-any.whl')) return
  const tags = ['plain', 'patched'].map(name => {
    const { status, stdout, stderr } = run(tool('auditwheel'), ['show', join(folder(name), wheel)], { env })
    if (name === 'patched' && status !== 0 && !/no ELF|not contain any/i.test(stdout + stderr))
      fault(`${wheel}: auditwheel show: ${stdout}${stderr}`)
    return /platform\s+tag:?\s+(?:to\s+)?"[^"]*"/.exec(stdout)?.[0].replaceAll(/\s+/g, ' ')
  })
  if (tags[0] !== tags[1]) fault(`${wheel}: auditwheel show: ${tags.join(' before, then ')}`)
}

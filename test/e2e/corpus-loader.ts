// `npm run corpus:loader [-- PACKAGE…]`: many real distributions in an unpatched venv of the world. After `wheelfix
// loader` every module must import that imports on the host, also of distributions that are installed only then; every
// library of the cache must load by its bare name and be what find_library says; and no file of a wheel may have changed
// but programs with another system's loader. What the distributions ask of the system beyond the world's libraries is
// taken from the host. Takes some GB and some minutes.
import { spawnSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { treeContent } from '../support/tree.ts'
import { makeVenv, sitePackages, wheelfix, withWheels } from '../world/venv.ts'
import { buildWorld, type World } from '../world/world.ts'
import { comparedWith, importAll } from './imports.ts'
import { hostLibraries, installWheels } from './install.ts'

const DISTRIBUTIONS = `
numpy scipy pandas scikit-learn matplotlib pillow lxml cryptography pydantic-core orjson pyzmq ruff opencv-python-headless
shapely pyarrow polars h5py tables netCDF4 rasterio fiona pyproj pyogrio numba numexpr bottleneck statsmodels scikit-image
pywavelets lightgbm onnxruntime faiss-cpu soundfile grpcio protobuf psycopg2-binary mysql-connector-python duckdb regex
tokenizers safetensors sentencepiece tiktoken pyyaml uvloop aiohttp msgpack greenlet gevent bcrypt pynacl
argon2-cffi-bindings cffi brotli zstandard lz4 blosc2 av pygame cmake ninja uv mypy coverage cython wrapt watchfiles
httptools websockets ujson rapidfuzz spacy gensim hiredis pymongo asyncpg oracledb psutil setproctitle pymupdf pikepdf
pypdfium2 moderngl cftime contourpy kiwisolver markupsafe sqlalchemy pynng`

/** Installed when the loader is there already; the first four need a C++ runtime. */
const LATER = ['igraph', 'levenshtein', 'rtree', 'ml-dtypes', 'python-crfsuite', 'ijson']

/** Loads each library by its bare name in a child of its own, and asks find_library. Gives what is not as it is to be. */
function faultsByName(world: World, venv: string, libraries: readonly { soname: string; path: string }[]): string[] {
  const code = `
import ctypes, ctypes.util, json, os, re, sys
by_name = {}
for soname, path in json.load(sys.stdin):
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        try: ctypes.CDLL(soname)
        except OSError as error: print(soname, error, flush=True); os._exit(0)
        maps = open("/proc/self/maps").read()
        if os.path.realpath(path) not in maps and path not in maps: print(soname, "is not", path, flush=True)
        os._exit(0)
    if os.waitpid(child, 0)[1] != 0: print(soname, "crashes", flush=True)
    name = re.match(r"lib(.+?)\\.so(?:\\.|$)", soname)
    if name: by_name.setdefault(name[1], set()).add(soname)
for name, sonames in by_name.items():
    said = ctypes.util.find_library(name)
    if said not in sonames: print(name, "is", said, "to find_library", flush=True)
`
  const input = JSON.stringify(libraries.map(({ soname, path }) => [soname, path]))
  const { stdout, stderr, status, signal, error } = spawnSync(join(venv, 'bin/python'), ['-c', code], {
    env: world.env,
    input,
    encoding: 'utf8',
  })
  if (status !== 0) throw error ?? new Error(`${stderr} ended with ${signal ?? status}`)
  return stdout.split('\n').filter(line => line !== '')
}

const world = withWheels(buildWorld())
if (typeof world === 'string') {
  console.error(world)
  process.exit(1)
}
try {
  const named = process.argv.slice(2)
  const names = named.length > 0 ? named : DISTRIBUTIONS.split(/\s+/).filter(name => name !== '')
  const venv = makeVenv(world, 'corpus')
  console.log(`installing ${names.length} distributions`)
  installWheels(world, venv, names)
  const site = sitePackages(world, venv)
  const before = treeContent(site)
  const onHost = importAll(world.host.python.executable, site, world.env)
  const unpatched = comparedWith(onHost, importAll(join(venv, 'bin/python'), site, world.env))
  console.log(`${onHost.size} distributions, ${unpatched.modules} modules import on the host`)
  console.log(`before: ${unpatched.modules - unpatched.failing.length} of them import`)

  const libs = [world.libs.gcc, world.libs.zlib, ...hostLibraries(world, venv)]
  const { status, stdout, stderr } = wheelfix(world, ['loader', venv, '--no-scan', '--json', '--libs', libs.join(':')])
  if (status === 2) throw new Error(stderr)
  const loaded = comparedWith(onHost, importAll(join(venv, 'bin/python'), site, world.env))
  console.log(`with the private loader: ${loaded.modules - loaded.failing.length} of them import`)
  for (const line of loaded.failing) console.log(`  ${line}`)

  const { objects, loader } = JSON.parse(stdout) as {
    objects: { path: string; status: string; kind: string }[]
    loader: { libraries: { soname: string; path: string; hwcap?: string; source: string }[] }
  }
  // the variants for a processor, and the driver of one, are not for this machine to load
  const libraries = loader.libraries.filter(({ hwcap, source }) => hwcap === undefined && source !== 'driver')
  const byName = faultsByName(world, venv, libraries)
  console.log(`by bare name: ${libraries.length} libraries, ${byName.length} do not load or are not found`)
  for (const line of byName) console.log(`  ${line}`)

  const programs = objects.filter(object => object.status === 'patched')
  const allowed = new Set(programs.map(({ path }) => join(venv, path)))
  const after = treeContent(site)
  const changed = [...before]
    .filter(([path, hash]) => after.get(path) !== hash && !allowed.has(join(site, path)))
    .map(([path]) => path)
    // the fields of a changed program are emptied
    .filter(path => !path.endsWith('.dist-info/RECORD'))
  console.log(
    `${programs.length} programs with another system's loader changed, ${changed.length} other files of wheels`,
  )
  for (const path of changed) console.log(`  ${path}`)

  const known = new Set(readdirSync(site))
  installWheels(world, venv, LATER)
  const isLater = (folder: string) => !known.has(folder)
  const laterOnHost = importAll(world.host.python.executable, site, world.env, { wanted: isLater })
  const later = comparedWith(laterOnHost, importAll(join(venv, 'bin/python'), site, world.env, { wanted: isLater }))
  console.log(
    `installed later: ${laterOnHost.size} distributions, ${later.modules - later.failing.length} of ${later.modules} modules import`,
  )
  for (const line of later.failing) console.log(`  ${line}`)

  const faults = [loaded.failing, byName, changed, later.failing]
  const isFine = faults.every(lines => lines.length === 0) && programs.every(({ kind }) => kind === 'executable')
  process.exitCode = isFine ? 0 : 1
} finally {
  world.dispose()
}

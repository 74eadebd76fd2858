// `npm run corpus:loader [-- PACKAGE…]`: many real distributions in an unpatched venv of the world. After `wheelfix
// loader` every module must import that imports on the host, and no file of a wheel may have changed but programs with
// another system's loader. What the distributions ask of the system beyond the world's libraries is taken from the host. Takes some GB and
// some minutes.
import { copyFileSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { editElf } from '../support/elf.ts'
import { which } from '../support/requires.ts'
import { runWell } from '../support/run.ts'
import { treeContent } from '../support/tree.ts'
import { GLIBC_SONAME, traceLibraries } from '../world/host.ts'
import { makeVenv, pipInstall, sitePackages, wheelfix, withWheels } from '../world/venv.ts'
import { buildWorld, type World } from '../world/world.ts'
import { comparedWith, importAll } from './imports.ts'

const DISTRIBUTIONS = `
numpy scipy pandas scikit-learn matplotlib pillow lxml cryptography pydantic-core orjson pyzmq ruff opencv-python-headless
shapely pyarrow polars h5py tables netCDF4 rasterio fiona pyproj pyogrio numba numexpr bottleneck statsmodels scikit-image
pywavelets lightgbm onnxruntime faiss-cpu soundfile grpcio protobuf psycopg2-binary mysql-connector-python duckdb regex
tokenizers safetensors sentencepiece tiktoken pyyaml uvloop aiohttp msgpack greenlet gevent bcrypt pynacl
argon2-cffi-bindings cffi brotli zstandard lz4 blosc2 av pygame cmake ninja uv mypy coverage cython wrapt watchfiles
httptools websockets ujson rapidfuzz spacy gensim hiredis pymongo asyncpg oracledb psutil setproctitle pymupdf pikepdf
pypdfium2 moderngl cftime contourpy kiwisolver markupsafe sqlalchemy pynng`

/** Puts what is missing, and what that needs, into a package of the world's store. Gives its lib folder. */
function hostLibraries(world: World, venv: string): string {
  const { stdout } = wheelfix(world, ['loader', venv, '--no-scan', '--dry-run', '--json', '--libs', world.libs.gcc])
  const { missing } = JSON.parse(stdout) as { missing: { soname: string }[] }
  const lib = join(world.store, '0123456789abcdfghijklmnpqrsvwxyz-host-libraries/lib')
  mkdirSync(lib, { recursive: true })
  // one by one: the loader stops at the first that the host does not have
  const found = new Map(missing.flatMap(({ soname }) => [...traceLibraries(world.host, [soname])]))
  const value = [lib, world.libs.gcc, world.libs.zlib, world.libs.glibc].join(':')
  for (const [soname, path] of found) {
    if (GLIBC_SONAME.test(soname) || /^lib(?:python|stdc|gcc_s|z\.)/.test(soname)) continue
    copyFileSync(path, join(lib, soname))
    editElf(join(lib, soname), { searchPath: { tag: 'DT_RUNPATH', value } })
  }
  return lib
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
  const uv = which('uv')
  if (uv === undefined) pipInstall(world, venv, names)
  else {
    const target = ['--python', join(venv, 'bin/python'), '--only-binary', ':all:', '--no-progress']
    runWell(uv, ['pip', 'install', ...target, ...names], { env: { ...world.env, HOME: process.env['HOME'] } })
  }
  const site = sitePackages(world, venv)
  const before = treeContent(site)
  const onHost = importAll(world.host.python.executable, site, world.env)
  const unpatched = comparedWith(onHost, importAll(join(venv, 'bin/python'), site, world.env))
  console.log(`${onHost.size} distributions, ${unpatched.modules} modules import on the host`)
  console.log(`before: ${unpatched.modules - unpatched.failing.length} of them import`)

  const libs = [world.libs.gcc, world.libs.zlib, hostLibraries(world, venv)]
  const { status, stdout, stderr } = wheelfix(world, ['loader', venv, '--no-scan', '--json', '--libs', libs.join(':')])
  if (status === 2) throw new Error(stderr)
  const loaded = comparedWith(onHost, importAll(join(venv, 'bin/python'), site, world.env))
  console.log(`with the private loader: ${loaded.modules - loaded.failing.length} of them import`)
  for (const line of loaded.failing) console.log(`  ${line}`)

  const { objects } = JSON.parse(stdout) as { objects: { path: string; status: string; kind: string }[] }
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
  const isFine =
    loaded.failing.length === 0 && changed.length === 0 && programs.every(({ kind }) => kind === 'executable')
  process.exitCode = isFine ? 0 : 1
} finally {
  world.dispose()
}

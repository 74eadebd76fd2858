// `npm run corpus [-- PACKAGE…]`: compares our resolution with the real loader's on many real distributions, before and
// after patching, moved and copied, and the report with what imports. Takes some GB and some minutes; LIBS (colon-separated) adds to the world's libraries.
import { makeVenv, withWheels } from '../world/venv.ts'
import { buildWorld } from '../world/world.ts'
import { compareStages, orderDependent } from './corpus.ts'
import { installWheels } from './install.ts'
import { compareFailures, importsOnHost } from './lacking.ts'

const DISTRIBUTIONS = `
numpy scipy pandas scikit-learn matplotlib pillow lxml cryptography pydantic orjson pyzmq ruff opencv-python-headless
shapely pyarrow polars h5py tables netCDF4 rasterio fiona pyproj numba xgboost lightgbm catboost tensorflow-cpu
onnxruntime faiss-cpu soundfile PyQt6 PySide6 vtk playwright grpcio protobuf psycopg2-binary psycopg[binary]
mysql-connector-python duckdb regex tokenizers safetensors sentencepiece pyyaml uvloop aiohttp msgpack greenlet gevent
bcrypt pynacl cffi brotli zstandard lz4 blosc2 numexpr bottleneck statsmodels scikit-image imagecodecs av pygame pyglet
cmake ninja uv mypy black watchfiles httptools ujson rapidfuzz jax spacy hiredis pymongo SimpleITK pymupdf rtree triton
open3d`

const world = withWheels(buildWorld())
if (typeof world === 'string') {
  console.error(world)
  process.exit(1)
}
let differences = 0
try {
  const named = process.argv.slice(2)
  const names = named.length > 0 ? named : DISTRIBUTIONS.split(/\s+/).filter(name => name !== '')
  const libs = [world.libs.gcc, world.libs.zlib, ...(process.env['LIBS'] ?? '').split(':').filter(dir => dir !== '')]
  const venv = makeVenv(world, 'corpus')
  console.log(`installing ${names.length} distributions`)
  installWheels(world, venv, names)
  compareStages(world, venv, libs, ({ name, comparison }) => {
    const { objects, needed, unloadable } = comparison
    differences += comparison.differences.length
    console.log(
      `${name}: ${objects} objects, ${needed} needed compared, ${comparison.differences.length} differences` +
        ` (${unloadable} objects fail for a symbol or a version)`,
    )
    for (const line of comparison.differences) console.log(`  ${line}`)
  })
  const onHost = importsOnHost(world, venv)
  for (const [name, set] of [
    ['these libraries', libs],
    ['zlib alone', [world.libs.zlib]],
  ] as const) {
    const { modules, failing, named, differences: wrong } = compareFailures(world, venv, set, onHost)
    differences += wrong.length
    console.log(
      `with ${name}: of ${modules} modules that import on the host ${failing} do not, ${named} for a library of their own` +
        ` that the report calls missing; ${wrong.length} differences`,
    )
    for (const line of wrong) console.log(`  ${line}`)
  }
  const dependent = orderDependent(world, venv, libs)
  differences += dependent.length
  console.log(`order of listings: ${dependent.length} objects differ`)
  for (const path of dependent) console.log(`  ${path}`)
} finally {
  world.dispose()
}
process.exitCode = differences === 0 ? 0 : 1

import assert from 'node:assert/strict'
import { after, suite, test } from 'node:test'
import { skip } from '../support/requires.ts'
import { run } from '../support/run.ts'
import { makeVenv, pipInstall, withWheels } from '../world/venv.ts'
import { buildWorld } from '../world/world.ts'
import { compareStages, orderDependent, type Stage } from './corpus.ts'
import { compareFailures, importsOnHost } from './lacking.ts'

/** Few, but each with something of its own: vendored libraries, DT_RPATH that is inherited, an executable, chains. */
const SLICE = ['numpy', 'scipy', 'shapely', 'pyzmq', 'psycopg2-binary', 'ruff']
const MODULES = 'numpy.linalg scipy.linalg.cython_lapack scipy.spatial shapely zmq psycopg2'.split(' ')

suite('the resolution of real wheels', () => {
  const world = withWheels(buildWorld())
  if (typeof world === 'string') {
    test('needs a world and wheels', { skip: skip(world) })
    return
  }
  after(() => world.dispose())
  const venv = makeVenv(world, 'corpus')
  const libs = [world.libs.gcc, world.libs.zlib]
  pipInstall(world, venv, SLICE)
  const stages: Stage[] = []
  compareStages(world, venv, libs, stage => stages.push(stage))

  for (const { name, comparison } of stages) {
    test(`is the real loader's, ${name}`, () => {
      assert.deepEqual(comparison.differences, [])
      assert.ok(comparison.objects > 100, `${comparison.objects} objects`)
      assert.ok(comparison.needed > 1000, `${comparison.needed} needed`)
    })
  }

  test('lets a moved and copied venv import what it imported before', () => {
    const { status, stderr } = run(`${venv}/bin/python`, ['-c', `import ${MODULES.join(', ')}`], { env: world.env })
    assert.equal(status, 0, stderr)
  })

  test('gives the same bytes in whatever order directories are listed', () => {
    assert.deepEqual(orderDependent(world, venv, libs), [])
  })
})

suite('the report of what is missing', () => {
  const world = withWheels(buildWorld())
  if (typeof world === 'string') {
    test('needs a world and wheels', { skip: skip(world) })
    return
  }
  after(() => world.dispose())

  test('names exactly what does not import where the library set lacks libraries', () => {
    const venv = makeVenv(world, 'lacking')
    pipInstall(world, venv, ['numpy', 'shapely', 'pyzmq', 'psycopg2-binary', 'lxml', 'orjson', 'contourpy'])
    const onHost = importsOnHost(world, venv)
    const lacking = compareFailures(world, venv, [world.libs.zlib], onHost)
    const { modules, failing, named, differences } = lacking
    assert.deepEqual(differences, [])
    // some for themselves, more for what they import, and some not at all
    assert.ok(named >= 6 && failing > named && modules > failing + 5, JSON.stringify(lacking))
    const whole = compareFailures(world, venv, [world.libs.gcc, world.libs.zlib], onHost)
    assert.deepEqual(whole, { modules, failing: 0, named: 0, differences: [] })
  })
})

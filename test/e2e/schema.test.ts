// Every JSON document keeps to schema/wheelfix-1.json, and the schema would notice if one did not.
import assert from 'node:assert/strict'
import { cpSync, mkdirSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, suite, test } from 'node:test'
import { faultsOf } from '../support/json-schema.ts'
import { skip } from '../support/requires.ts'
import { installDemoWheel, makeVenv, sitePackages, wheelfix } from '../world/venv.ts'
import { buildWorld } from '../world/world.ts'

const ROOT = join(import.meta.dirname, '../../..')
const SCHEMA = JSON.parse(readFileSync(join(ROOT, 'schema/wheelfix-1.json'), 'utf8'))

suite('the schema wheelfix/1', () => {
  const world = buildWorld()
  if (typeof world === 'string') {
    test('holds', { skip: skip(world) })
    return
  }
  after(() => world.dispose())
  const venv = makeVenv(world, 'venv')
  installDemoWheel(world, venv)
  const wheels = join(world.root, 'wheels')
  mkdirSync(wheels)
  cpSync(join(ROOT, 'fixtures/demo-wheel'), wheels, { recursive: true })
  const wheel = join(wheels, readdirSync(wheels).find(name => name.endsWith('.whl')) ?? '')
  const folder = join(world.root, 'folder')
  mkdirSync(folder)
  cpSync(world.python, join(folder, 'tool'))
  const numba = makeVenv(world, 'numba')
  for (const name of ['numba-1.0.dist-info', 'nvidia/cuda_nvcc/nvvm/libdevice']) {
    mkdirSync(join(sitePackages(world, numba), name), { recursive: true })
  }

  const documents: readonly (readonly [what: string, ...args: string[]])[] = [
    ['check', 'check', venv],
    ['a library that is missing', 'check', venv, '--no-scan'],
    ['why', 'why', venv, 'wheelfix_demo'],
    ['venv', 'venv', venv],
    ['doctor', 'doctor', venv],
    ['libs', 'libs', venv],
    ['libs env', 'libs', 'env', venv],
    ['env', 'env', venv, '--build'],
    ['env with a variable', 'env', numba],
    ['nix', 'nix', venv],
    ['config', 'config', venv],
    ['several', 'check', venv, join(world.root, 'none')],
    ['restore', 'restore', venv],
    ['loader', 'loader', venv],
    ['path', 'path', folder, '--check'],
    ['wheel', 'wheel', wheel, '--check', '--python', venv],
    ['elf', 'elf', world.python],
    ['explain', 'explain'],
    ['an error', 'venv', join(world.root, 'none')],
    ['wrong usage', 'venv', '--bogus'],
  ]
  for (const [what, ...args] of documents) {
    test(`holds for ${what}`, () => {
      const { stdout, stderr } = wheelfix(world, [...args, '--json'])
      const document: unknown = JSON.parse(stdout === '' ? `"${stderr}"` : stdout)
      assert.deepEqual(faultsOf(document, SCHEMA), [])
    })
  }

  test('notices a missing field, a new field, and a field of another type', () => {
    const document = JSON.parse(wheelfix(world, ['check', venv, '--json']).stdout)
    const { summary, ...rest } = document
    assert.notDeepEqual(faultsOf(rest, SCHEMA), [])
    assert.notDeepEqual(faultsOf({ ...document, more: 1 }, SCHEMA), [])
    assert.notDeepEqual(faultsOf({ ...document, summary: { ...summary, fine: '1' } }, SCHEMA), [])
    const [object] = document.objects
    assert.notDeepEqual(faultsOf({ ...document, objects: [{ ...object, status: 'good' }] }, SCHEMA), [])
  })
})

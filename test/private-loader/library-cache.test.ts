// What the private loader's cache holds beside the library set.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { lookUpCache, readLoaderCache } from '../../src/ldso/cache/cache.ts'
import { cacheOf, collectLibraries } from '../../src/private-loader/library-cache.ts'
import { pythonOn, treeOf, TRUSTING } from '../resolve/memory.ts'

const SOURCES = { directories: [], pins: new Map(), scan: () => [], store: '/nix/store', trust: TRUSTING }

test('the driver is where this machine has it: in the folder of NixOS, or of WSL', () => {
  for (const folder of ['/run/opengl-driver/lib', '/usr/lib/wsl/lib']) {
    const files = {
      [`${folder}/libcuda.so.1`]: {},
      [`${folder}/libnvidia-odd.so.7`]: {},
      [`${folder}/libother.so.1`]: {},
    }
    const python = pythonOn(treeOf({ objects: {}, files }), [])
    const content = collectLibraries(python, SOURCES, new Map(), folder)
    const entries = readLoaderCache(cacheOf(content, python).bytes)
    const find = (soname: string) => lookUpCache(entries, soname, python.interpreter.object.header, [])
    assert.equal(find('libcuda.so.1'), `${folder}/libcuda.so.1`)
    assert.equal(find('libnvidia-odd.so.7'), `${folder}/libnvidia-odd.so.7`)
    assert.equal(find('libother.so.1'), null)
  }
})

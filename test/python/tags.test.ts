import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseTags, platformPolicy, tagsOfWheelFile, tagsOfWheelName } from '../../src/python/tags.ts'

test('a compressed tag set stands for every combination of its parts (PEP 425)', () => {
  assert.deepEqual(parseTags('cp39.cp310-abi3-manylinux_2_17_x86_64.manylinux2014_x86_64'), [
    { python: 'cp39', abi: 'abi3', platform: 'manylinux_2_17_x86_64' },
    { python: 'cp39', abi: 'abi3', platform: 'manylinux2014_x86_64' },
    { python: 'cp310', abi: 'abi3', platform: 'manylinux_2_17_x86_64' },
    { python: 'cp310', abi: 'abi3', platform: 'manylinux2014_x86_64' },
  ])
})

test('what is no tag gives none', () => {
  for (const text of ['', 'py3', 'py3-none', 'py3--any', 'a-b-c-d']) assert.deepEqual(parseTags(text), [])
})

test('the tags stand in the WHEEL file and in the file name, with or without a build number', () => {
  const tag = { python: 'cp311', abi: 'cp311', platform: 'manylinux_2_28_aarch64' }
  assert.deepEqual(tagsOfWheelFile('Wheel-Version: 1.0\r\nTag: cp311-cp311-manylinux_2_28_aarch64\r\n'), [tag])
  assert.deepEqual(tagsOfWheelName('torch-2.9.0+cpu-cp311-cp311-manylinux_2_28_aarch64.whl'), [tag])
  assert.deepEqual(tagsOfWheelName('torch-2.9.0-1build-cp311-cp311-manylinux_2_28_aarch64.whl'), [tag])
  assert.deepEqual(tagsOfWheelName('torch-2.9.0.tar.gz'), [])
})

test('old manylinux names are the policies that PEP 600 gives them', () => {
  const policy = (platform: string) => platformPolicy(platform)?.name
  assert.equal(policy('manylinux1_i686'), 'manylinux_2_5')
  assert.equal(policy('manylinux2010_x86_64'), 'manylinux_2_12')
  assert.equal(policy('manylinux2014_ppc64le'), 'manylinux_2_17')
})

test('a platform tag tells the libc that it promises, or nothing', () => {
  assert.deepEqual(platformPolicy('manylinux_2_28_x86_64'), {
    kind: 'manylinux',
    name: 'manylinux_2_28',
    libcVersion: '2.28',
    machine: 'x86_64',
  })
  assert.deepEqual(platformPolicy('musllinux_1_2_armv7l'), {
    kind: 'musllinux',
    name: 'musllinux_1_2',
    libcVersion: '1.2',
    machine: 'armv7l',
  })
  for (const platform of ['any', 'linux_x86_64', 'macosx_11_0_arm64', 'win_amd64', 'manylinux_x_y_z', '']) {
    assert.equal(platformPolicy(platform), null)
  }
})

import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  parseTags,
  platformPolicy,
  splitWheelName,
  tagsOfWheelFile,
  tagsOfWheelName,
} from '../../src/python/wheel-tags.ts'

test('a compressed tag set stands for every combination of its parts (PEP 425)', () => {
  assert.deepEqual(parseTags('cp39.cp310-abi3-manylinux_2_17_x86_64.manylinux2014_x86_64'), [
    { python: 'cp39', abi: 'abi3', platform: 'manylinux_2_17_x86_64' },
    { python: 'cp39', abi: 'abi3', platform: 'manylinux2014_x86_64' },
    { python: 'cp310', abi: 'abi3', platform: 'manylinux_2_17_x86_64' },
    { python: 'cp310', abi: 'abi3', platform: 'manylinux2014_x86_64' },
  ])
})

test('a text that is not a tag gives no tags', () => {
  for (const text of ['', 'py3', 'py3-none', 'py3--any', 'a-b-c-d']) assert.deepEqual(parseTags(text), [])
})

test('the tags are in the WHEEL file and in the file name, with or without a build number', () => {
  const tag = { python: 'cp311', abi: 'cp311', platform: 'manylinux_2_28_aarch64' }
  assert.deepEqual(tagsOfWheelFile('Wheel-Version: 1.0\r\nTag: cp311-cp311-manylinux_2_28_aarch64\r\n'), [tag])
  assert.deepEqual(tagsOfWheelName('torch-2.9.0+cpu-cp311-cp311-manylinux_2_28_aarch64.whl'), [tag])
  assert.deepEqual(tagsOfWheelName('torch-2.9.0-1build-cp311-cp311-manylinux_2_28_aarch64.whl'), [tag])
  assert.deepEqual(tagsOfWheelName('torch-2.9.0.tar.gz'), [])
})

test('a wheel variant has its label after the platform, and a build number before the Python tag', () => {
  const tag = { python: 'cp311', abi: 'cp311', platform: 'manylinux_2_28_x86_64' }
  const split = (name: string) => splitWheelName(name)
  assert.deepEqual(tagsOfWheelName('torch-2.9.0-cp311-cp311-manylinux_2_28_x86_64-cu128.whl'), [tag])
  assert.deepEqual(split('torch-2.9.0-2-cp311-cp311-manylinux_2_28_x86_64-x86_64_v3.whl'), {
    distribution: 'torch',
    version: '2.9.0',
    build: '2',
    tag: 'cp311-cp311-manylinux_2_28_x86_64',
    variant: 'x86_64_v3',
  })
  assert.equal(split('torch-2.9.0-2-cp311-cp311-manylinux_2_28_x86_64.whl')?.variant, null)
  assert.equal(split('torch-2.9.0-cp311-cp311-manylinux_2_28_x86_64-cu128.whl')?.build, null)
  for (const name of [
    // longer than a label, with a capital, two labels, a build number that is none
    'torch-2.9.0-cp311-cp311-linux_x86_64-cuda12_8_and_more_.whl',
    'torch-2.9.0-cp311-cp311-linux_x86_64-Cu128.whl',
    'torch-2.9.0-cp311-cp311-linux_x86_64-cu128-v3.whl',
    'torch-2.9.0-b2-cp311-cp311-linux_x86_64-cu128.whl',
  ]) {
    assert.equal(split(name), null, name)
  }
})

test('musllinux, free-threaded and stable free-threaded tags are read', () => {
  assert.deepEqual(tagsOfWheelName('x-1-cp314-cp314t-musllinux_1_2_x86_64.whl'), [
    { python: 'cp314', abi: 'cp314t', platform: 'musllinux_1_2_x86_64' },
  ])
  assert.deepEqual(
    tagsOfWheelName('x-1-cp315-abi3.abi3t-manylinux_2_28_aarch64.whl').map(({ abi }) => abi),
    ['abi3', 'abi3t'],
  )
})

test('old manylinux names are the policies that PEP 600 gives them', () => {
  const policy = (platform: string) => platformPolicy(platform)?.name
  assert.equal(policy('manylinux1_i686'), 'manylinux_2_5')
  assert.equal(policy('manylinux2010_x86_64'), 'manylinux_2_12')
  assert.equal(policy('manylinux2014_ppc64le'), 'manylinux_2_17')
})

test('a platform tag names the libc that it promises, or no libc', () => {
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

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { DRIVER_NAMES, isDriverLibrary } from '../../src/resolve/drivers.ts'

test('what programs ask a driver for belongs to the driver: NVIDIA, Intel, AMD and WSL', () => {
  assert.deepEqual(
    DRIVER_NAMES.filter(name => !isDriverLibrary(name)),
    [],
  )
  for (const part of ['cuda', 'ze_intel_gpu', 'amdocl64', 'dxcore']) {
    assert.ok(
      DRIVER_NAMES.some(name => name.startsWith(`lib${part}.so`)),
      part,
    )
  }
})

test('libraries that packages bring are nobody’s driver', () => {
  const brought =
    'libcudart.so.12 libcudnn.so.9 libnvrtc.so.12 libze_loader.so.1 libOpenCL.so.1 libamdhip64.so.6 ' +
    'libhsa-runtime64.so.1 libdrm_amdgpu.so.1 libd3d12shim.so libcuda.so.1.bak'
  for (const name of brought.split(' ')) {
    assert.ok(!isDriverLibrary(name), name)
  }
})

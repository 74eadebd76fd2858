// Libraries of the graphics driver: they belong to the kernel module that is running, so they are in no store path and in
// no wheel. NixOS links the driver's folder at a fixed path; the link is what is written, so that a new driver is found.
import { existsSync } from 'node:fs'

/**
 * Sonames that only a driver has: CUDA's and NVIDIA's own (nvidia-container-toolkit lists them), Intel's for Level Zero and
 * OpenCL (intel-compute-runtime, intel-npu-driver), AMD's for OpenCL, and those of WSL, which lead to Windows' driver
 * (libdxcore, libd3d12; librocdxg is ROCm's way to it).
 */
const DRIVER =
  /^lib(?:cuda|cudadebugger|nvidia-[\w.-]+|nvcuvid|nvoptix|GLX_nvidia|EGL_nvidia|GLESv[12](?:_CM)?_nvidia|ze_intel_[gnv]pu|igdrcl|amdocl(?:12cl|-orca)?64|dxcore|d3d12(?:core)?|rocdxg)\.so(?:\.\d+)*$/

/** What programs ask a driver for by name: CUDA, NVML, video, ray tracing, OpenCL, Level Zero, and WSL's. */
export const DRIVER_NAMES: readonly string[] = [
  'libcuda.so',
  'libcuda.so.1',
  'libcudadebugger.so.1',
  'libnvcuvid.so.1',
  'libnvidia-encode.so.1',
  'libnvidia-ml.so',
  'libnvidia-ml.so.1',
  'libnvidia-nvvm.so.4',
  'libnvidia-opencl.so.1',
  'libnvidia-opticalflow.so.1',
  'libnvidia-ptxjitcompiler.so.1',
  'libnvoptix.so.1',
  'libze_intel_gpu.so.1',
  'libze_intel_npu.so.1',
  'libze_intel_vpu.so.1',
  'libigdrcl.so',
  'libamdocl64.so',
  'libdxcore.so',
  'libd3d12.so',
  'librocdxg.so',
]

export function isDriverLibrary(soname: string): boolean {
  return DRIVER.test(soname)
}

/** Where NixOS links the driver's libraries. */
export const NIXOS_DRIVER = '/run/opengl-driver/lib'

/** The folders that may hold the driver's libraries: NixOS's first. */
export const DRIVER_DIRECTORIES: readonly string[] = [NIXOS_DRIVER, '/usr/lib/wsl/lib']

/** The driver's folder on this machine: NixOS's, or WSL's; null elsewhere. */
export function driverDirectory(): string | null {
  return DRIVER_DIRECTORIES.find(path => existsSync(path)) ?? null
}

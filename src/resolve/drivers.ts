// The libraries of the graphics driver. They belong to the running kernel module, so no store path and no wheel holds them.
// NixOS links the driver's folder at a fixed path. wheelfix writes the path of that link, so that a new driver is found too.
import { existsSync } from 'node:fs'
import type { ByteSource } from '../elf/source.ts'
import { findConstant, namesSymbol } from '../elf/tables/constant-strings.ts'
import type { ElfObject } from '../elf/types.ts'

/**
 * The sonames that only a driver has: those of CUDA and NVIDIA (nvidia-container-toolkit lists them), those of Intel for
 * Level Zero and OpenCL (intel-compute-runtime, intel-npu-driver), those of AMD for OpenCL, and those of WSL, which lead to
 * the driver of Windows (libdxcore, libd3d12; ROCm reaches it through librocdxg).
 */
const DRIVER =
  /^lib(?:cuda|cudadebugger|nvidia-[\w.-]+|nvcuvid|nvoptix|GLX_nvidia|EGL_nvidia|GLESv[12](?:_CM)?_nvidia|ze_intel_[gnv]pu|igdrcl|amdocl(?:12cl|-orca)?64|dxcore|d3d12(?:core)?|rocdxg)\.so(?:\.\d+)*$/

/** The libraries that programs open by name: CUDA, NVML, video, ray tracing, OpenCL, Level Zero, and those of WSL. */
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

/** Does this library come with the graphics driver, and from nowhere else? */
export function isDriverLibrary(soname: string): boolean {
  return DRIVER.test(soname)
}

/** How the names that DRIVER matches begin, behind the NUL of the string before. A new kind of name needs both. */
const START = /\0lib(?:cuda|nv|GLX_nv|EGL_nv|GLESv[12](?:_CM)?_nv|ze_intel|igdrcl|amdocl|dxcore|d3d12|rocdxg)/g

/**
 * A library of the driver that the object opens by name; null without one. CUDA's run time (libcudart, which many libraries
 * contain) opens libcuda.so.1 in this way, and the loader then searches the folders of the object that called dlopen. Such an
 * object calls dlopen and has the name among its constant strings. `object` needs its tables.
 */
export function openedDriverLibrary(source: ByteSource, object: ElfObject): string | null {
  return namesSymbol(source, object, 'dlopen') ? findConstant(source, object, START, isDriverLibrary) : null
}

/** The folder in which NixOS links the driver's libraries. */
export const NIXOS_DRIVER = '/run/opengl-driver/lib'

/** The folders that may hold the driver's libraries. The one of NixOS comes first. */
export const DRIVER_DIRECTORIES: readonly string[] = [NIXOS_DRIVER, '/usr/lib/wsl/lib']

/** The driver's folder on this machine, of NixOS or of WSL; null on other systems. */
export function driverDirectory(): string | null {
  return DRIVER_DIRECTORIES.find(path => existsSync(path)) ?? null
}

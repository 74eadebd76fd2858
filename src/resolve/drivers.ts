// Libraries of the graphics driver: they belong to the kernel module that is running, so they are in no store path and in
// no wheel. NixOS links the driver's folder at a fixed path; the link is what is written, so that a new driver is found.
import { existsSync } from 'node:fs'

/** Sonames that only a driver has: CUDA's and NVIDIA's own (nvidia-container-toolkit lists them), Intel's for Level Zero and OpenCL. */
const DRIVER =
  /^lib(?:cuda|cudadebugger|nvidia-[\w.-]+|nvcuvid|nvoptix|ze_intel_[gnv]pu|igdrcl|GLX_nvidia|EGL_nvidia|GLESv[12](?:_CM)?_nvidia)\.so(?:\.\d+)*$/

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

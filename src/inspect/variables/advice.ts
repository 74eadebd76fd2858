// What doctor says about variables: one finding for the CUDA run time, whose parts belong together, and one for each
// other variable.
import type { Examination } from '../../environment/examine.ts'
import { agree, listed } from '../../io/words.ts'
import { DRIVER_DIRECTORIES } from '../../resolve/drivers.ts'
import type { Finding } from '../findings.ts'
import { type Facts, inPackages } from './facts.ts'
import { variableFacts, type Variable, variablesOf, type VariableOptions } from './variables.ts'

/** The variables that tell where a part of the CUDA run time is. */
const OF_CUDA = /^(?:TRITON_(?:LIBCUDA|PTXAS)|NUMBA_CUDA|CUDA_)/

/** The distributions that open libcuda by themselves. Others need it through torch or a wheel of NVIDIA. */
const USERS = /^(?:torch|triton|numba-cuda|cupy-cuda.*|jax-cuda.*|cuda-(?:python|bindings)|pycuda|onnxruntime-gpu)$/

/** Wheels with a part of the CUDA run time: nvidia-cuda-nvrtc-cu12, nvidia-cudnn-cu13, nvidia-nccl-cu12. */
const WHEEL = /^nvidia-(?:cu|nccl|nvjitlink|nvtx|nvshmem)/

/** NVIDIA's kernel module, and the device of WSL. A GPU can be used where one of these paths exists. */
const DEVICES = ['/dev/nvidiactl', '/proc/driver/nvidia/version', '/dev/dxg'] as const

/** The findings about variables that would help and are not set. */
export function variableFindings(examination: Examination, options: Omit<VariableOptions, 'build'>): Finding[] {
  const open = variablesOf(examination, { ...options, build: false }).filter(({ current }) => current === null)
  const isOfCuda = ({ name, distribution }: Variable) => OF_CUDA.test(name) || distribution === 'triton'
  const ofCuda = open.filter(isOfCuda)
  const others = open.filter(variable => !isOfCuda(variable))
  const cuda = cudaStack(variableFacts(examination, options), ofCuda)
  const rest: Finding[] = others.map(({ name, reason }) => {
    return {
      code: 'helpful-variable',
      severity: 'note',
      message: `${name} would help: ${reason}`,
      remedy: SET,
      paths: [],
    }
  })
  return cuda === null ? rest : [cuda, ...rest]
}

const SET = 'eval "$(wheelfix env --export)"'

/** The missing parts of the CUDA run time; null if no part is missing, or if nothing here uses CUDA. */
function cudaStack(facts: Facts, variables: readonly Variable[]): Finding | null {
  const { distributions, driver, isThere } = facts
  if (variables.length === 0 && !distributions.all.some(({ name }) => USERS.test(name) || WHEEL.test(name))) return null
  const problems: string[] = []
  const steps: string[] = []

  const absent = absentWheels(facts)
  if (absent.length > 0) {
    const areNot = agree(absent.length, 'it is not', 'they are not')
    problems.push(`torch loads ${listed(absent, 4)} when it is imported, but ${areNot} installed`)
    steps.push(`install ${absent.join(' ')}`)
  }
  if (DEVICES.some(path => isThere(path)) && (driver === null || !isThere(`${driver}/libcuda.so.1`))) {
    problems.push(
      `the driver's libcuda.so.1 is missing from ${listed(driver === null ? DRIVER_DIRECTORIES : [driver])}`,
    )
    steps.push(
      'on NixOS set hardware.graphics.enable = true and enable the NVIDIA driver; elsewhere start Python with nixGL',
    )
  }
  problems.push(...variables.map(({ reason }) => reason))
  if (variables.length > 0) steps.push(SET)
  if (problems.length === 0) return null
  return {
    code: 'cuda-stack',
    severity: 'note',
    message: `the CUDA runtime is incomplete: ${problems.join('; ')}`,
    remedy: steps.join('; then: '),
    paths: [],
  }
}

/**
 * The wheels of NVIDIA that torch requires and lacks (torch/__init__.py, _preload_cuda_deps). Only the build for CUDA has
 * libtorch_cuda.so. Other builds list the same requirements with markers that are false here.
 */
function absentWheels(facts: Facts): string[] {
  const { distributions } = facts
  const torch = distributions.get('torch')
  if (torch === undefined || inPackages('torch/lib/libtorch_cuda.so')(facts) === null) return []
  return torch.requires().filter(name => WHEEL.test(name) && distributions.get(name) === undefined)
}

// `npm run gpu`, on a machine with an NVIDIA GPU whose Python has torch: the CUDA packages of that Python, copied into venvs of
// a world that is made from the machine's own files. The driver's libraries are behind /run/opengl-driver/lib, as on NixOS, and
// no other folder that the world's loader searches holds them. Each program multiplies or compiles on the GPU: before, after
// `wheelfix venv`, and after `wheelfix loader`. Run it as root in a mount namespace of its own to hide /sbin/ldconfig:
// `unshare -m sh -c 'mount --bind /dev/null /sbin/ldconfig; npm run gpu'`.
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { interpreterOf } from '../support/elf.ts'
import { which } from '../support/requires.ts'
import { run, runWell } from '../support/run.ts'
import { copyTree } from '../world/packages.ts'
import { makeVenv, sitePackages, wheelfix } from '../world/venv.ts'
import { buildWorld, type World } from '../world/world.ts'

const DRIVER = '/run/opengl-driver/lib'

/** What each package is asked to do on the GPU. It prints `works`, or it fails. */
const PROGRAMS: Readonly<Record<string, string>> = {
  torch: `
import torch
a = torch.randint(0, 9, (512, 512)).float()
assert torch.equal((a.cuda() @ a.cuda()).cpu(), a @ a), "the products differ"
print("works", torch.__version__, torch.cuda.get_device_name())`,
  'torch (cuDNN, cuFFT, cuSOLVER)': `
import torch
x = torch.randn(1, 3, 32, 32, device="cuda")
assert torch.nn.Conv2d(3, 8, 3).cuda()(x).shape == (1, 8, 30, 30)
assert torch.fft.ifft(torch.fft.fft(x)).real.allclose(x, atol=1e-4)
m = torch.eye(8, device="cuda") * 2
assert torch.linalg.inv(m).allclose(m / 4)
print("works", torch.backends.cudnn.version())`,
  triton: `
import torch, triton, triton.language as tl
@triton.jit
def add(x, y, out, n, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(out + at, tl.load(x + at, mask=at < n) + tl.load(y + at, mask=at < n), mask=at < n)
x = torch.rand(5000, device="cuda")
out = torch.empty_like(x)
add[(triton.cdiv(5000, 1024),)](x, x, out, 5000, BLOCK=1024)
assert torch.equal(out, x + x)
print("works", triton.__version__)`,
  'torch.compile': `
import torch
f = torch.compile(lambda x: torch.sin(x) * 2 + 1)
x = torch.rand(1000, device="cuda")
assert f(x).allclose(torch.sin(x) * 2 + 1)
print("works")`,
  cupy: `
import cupy
assert int(cupy.arange(1000).sum()) == 499500
k = cupy.ElementwiseKernel("float32 x", "float32 y", "y = x * x", "square")
assert float(k(cupy.full(3, 3, dtype="float32")).sum()) == 27
print("works", cupy.__version__)`,
  numba: `
import numpy
from numba import cuda
@cuda.jit
def double(x):
    at = cuda.grid(1)
    if at < x.size:
        x[at] *= 2
x = cuda.to_device(numpy.arange(100.0))
double[4, 32](x)
assert (x.copy_to_host() == numpy.arange(100.0) * 2).all()
print("works")`,
  jax: `
import jax, jax.numpy as jnp
assert jax.devices()[0].platform == "gpu", jax.devices()
assert float(jax.jit(lambda x: (x @ x).sum())(jnp.ones((64, 64)))) == 64 ** 3
print("works", jax.__version__)`,
}

/** Copies what the distributions need, by their RECORD, from the Python that runs it into a folder. Prints how many files. */
const COPY = `
import os, re, shutil, sys
from importlib.metadata import distribution, distributions, PackageNotFoundError
from packaging.requirements import Requirement
target, *queue = sys.argv[1:]
queue += [d.metadata["Name"] for d in distributions() if re.match("(nvidia|cuda|jax|cupy|numba)", d.metadata["Name"])]
done, files = set(), 0
while queue:
    try: found = distribution(queue.pop())
    except PackageNotFoundError: continue
    name = found.metadata["Name"]
    if name in done: continue
    done.add(name)
    for text in found.requires or []:
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}): queue.append(requirement.name)
    for file in found.files or []:
        source, to = str(found.locate_file(file)), os.path.normpath(os.path.join(target, str(file)))
        if not to.startswith(target) or not os.path.isfile(source): continue
        os.makedirs(os.path.dirname(to), exist_ok=True)
        shutil.copy2(source, to)
        files += 1
print(len(done), "distributions,", files, "files")`

/**
 * Puts the driver's libraries where NixOS has them. Each searches its own folder, as nixpkgs makes it do
 * (nvidia-x11/builder.sh): libcuda.so.1 opens the driver's compiler by name.
 */
function installDriver(world: World): string[] {
  const listed = run('sh', ['-c', 'ldconfig.real -p 2>/dev/null || ldconfig -p']).stdout
  const cuda = /libcuda\.so\.1 .*=> (\/\S+)/.exec(listed)?.[1] ?? '/usr/local/nvidia/lib64/libcuda.so.1'
  const folder = dirname(cuda)
  const names = readdirSync(folder).filter(name => /^lib(cuda|nvidia|nvcuvid|nvoptix)[\w.-]*\.so/.test(name))
  mkdirSync(DRIVER, { recursive: true })
  for (const name of names) copyFileSync(realpathSync(join(folder, name)), join(DRIVER, name))
  const paths = names.map(name => join(DRIVER, name))
  const { status, stderr } = wheelfix(world, ['elf', '--set-rpath', DRIVER, ...paths])
  if (status !== 0) throw new Error(stderr)
  return names
}

/** Runs each program and says how it went, in the environment that docs/gpu.md tells users to set. */
function tryAll(world: World, python: string, title: string, wanted = Object.keys(PROGRAMS)): string[] {
  const cache = mkdtempSync(join(world.root, 'cache-'))
  const env = {
    ...(python === 'python3' ? process.env : world.env),
    HOME: cache,
    PATH: `${python === 'python3' ? process.env['PATH'] : world.env['PATH']}:/usr/bin:/bin`,
    CC: which('gcc') ?? 'gcc',
    TRITON_LIBCUDA_PATH: DRIVER,
    NUMBA_CUDA_DRIVER: join(DRIVER, 'libcuda.so.1'),
    XLA_PYTHON_CLIENT_PREALLOCATE: 'false',
  }
  const working: string[] = []
  console.log(`\n${title}`)
  for (const name of wanted) {
    const file = join(cache, 'program.py')
    writeFileSync(file, PROGRAMS[name] ?? '')
    const { stdout, stderr } = run('timeout', ['120', python, file], { env })
    const said = stdout.split('\n').find(line => line.startsWith('works'))
    if (said !== undefined) working.push(name)
    console.log(
      `  ${said === undefined ? '✗' : '✓'} ${name}: ${said ?? stderr.trim().split('\n').slice(-2).join(' | ')}`,
    )
  }
  return working
}

function show(title: string, world: World, args: readonly string[]): void {
  const { status, stdout, stderr } = wheelfix(world, args)
  console.log(`\n$ wheelfix ${title}   (status ${status})\n${stdout}${stderr}`)
}

/** @returns how many programs did not do what they should */
function tryGpu(world: World): number {
  const include = runWell('python3', ['-c', 'import sysconfig; print(sysconfig.get_path("include"))']).trim()
  copyTree(include, join(world.outputs.python, 'include', include.split('/').at(-1) ?? ''))
  const venv = makeVenv(world, 'venv')
  const site = sitePackages(world, venv)
  console.log(runWell('python3', ['-c', COPY, site, 'torch', 'triton', 'setuptools']).trim())
  const python = join(venv, 'bin/python')
  const libs = ['--libs', world.libs.gcc, '--libs', world.libs.zlib]

  const wanted = tryAll(world, 'python3', 'on the host')
  const before = tryAll(world, python, 'before', wanted)
  show('venv', world, ['venv', venv, ...libs])
  const venvWorks = tryAll(world, python, 'after wheelfix venv', wanted)
  const ptxas = join(site, 'triton/backends/nvidia/bin/ptxas')
  if (existsSync(ptxas)) console.log(`  ptxas is started by ${interpreterOf(ptxas)}`)
  show('check', world, ['check', venv, ...libs])
  show('doctor', world, ['doctor', venv, ...libs])
  show('loader', world, ['loader', venv, ...libs])
  const loaderWorks = tryAll(world, python, 'after wheelfix loader', wanted)
  show('restore', world, ['restore', venv])
  const count = wanted.length
  const [after, loaded] = [venvWorks.length, loaderWorks.length]
  console.log(
    `\n${count} programs work on the host: ${before.length} before, ${after} after venv, ${loaded} after loader`,
  )
  return count === 0 ? 1 : count - after + (count - loaded) + before.length
}

function main(): number {
  if (run('sh', ['-c', 'nvidia-smi -L']).status !== 0) return refuse('needs an NVIDIA GPU (nvidia-smi -L)')
  if (run('python3', ['-c', 'import torch']).status !== 0) return refuse('needs a python3 with torch')
  const world = buildWorld()
  if (typeof world === 'string') return refuse(world)
  const isOurs = !existsSync(DRIVER)
  try {
    if (isOurs) console.log(`${DRIVER}: ${installDriver(world).length} libraries of the driver`)
    return tryGpu(world) === 0 ? 0 : 1
  } finally {
    if (isOurs) rmSync(DRIVER, { recursive: true, force: true })
    world.dispose()
  }
}

function refuse(reason: string): number {
  console.error(reason)
  return 1
}

process.exitCode = main()

// The variables that make installed packages work on a Nix system where no search path can. Each row is a fact with its
// source: the code that reads the variable, or the report of what fails without it. A row gives a value only where the
// value helps on this machine. No row may be a search path of libraries: every child process would inherit it.
import { isInside } from '../../io/path.ts'
import { isFoundByName } from '../../resolve/python-process.ts'
import { missingCertificates } from './certificates.ts'
import {
  above,
  below,
  type Facts,
  type Find,
  firstOf,
  holding,
  inPackages,
  inStore,
  ofDriver,
  ofSet,
  onMachine,
  onPath,
  starting,
} from './facts.ts'
import { archiveOfLocales, browsersOfPlaywright, ownCompiler, packageConfigs, tclFolder } from './special.ts'

/** One variable that a package reads. */
interface VariableRow {
  readonly variable: string
  /** Normalised names. The row applies if any of them is installed. Empty: the row applies to every environment. */
  readonly distributions: readonly string[]
  /** Only builds from source read it. */
  readonly forBuild?: true
  readonly value: Find
  /** Why the package does not find it by itself. The sentence begins with the package's name, or `this Python`. */
  readonly reason: string | ((facts: Facts) => string)
  readonly source: string
}

const HAS_PTXAS = inPackages('triton/backends/nvidia/bin/ptxas', 'triton/third_party/cuda/bin/ptxas')
const PTXAS_BLACKWELL = inPackages('triton/backends/nvidia/bin/ptxas-blackwell')
const COMPILER = onPath('cc', 'gcc', 'clang')
/** The wheels of CUDA 12 have one folder each. The wheels of CUDA 13 share a folder. */
const PTXAS = starting(firstOf(inPackages('nvidia/cu13/bin/ptxas', 'nvidia/cuda_nvcc/bin/ptxas'), onPath('ptxas')))
const WRAPPER = inStore(/^(?:gcc|clang)-wrapper-\d[\d.]*$/, (path, { isThere }) => isThere(`${path}/bin/cc`))

/** The value, unless another rule already gives one. */
function unless(other: Find | ((facts: Facts) => boolean), find: Find): Find {
  return facts => {
    const given = other(facts)
    return given === null || given === false ? find(facts) : null
  }
}

export const VARIABLES: readonly VariableRow[] = [
  {
    variable: 'SSL_CERT_FILE',
    distributions: [],
    value: facts => missingCertificates(facts)?.value ?? null,
    reason: facts => missingCertificates(facts)?.reason ?? '',
    source: 'openssl, crypto/x509/x509_def.c; astral-sh/python-build-standalone, docs/quirks.rst',
  },
  {
    variable: 'TCL_LIBRARY',
    distributions: [],
    value: tclFolder('tcl', 'init.tcl'),
    reason: 'has a Tcl that looks for init.tcl beside the program, which is a link in an environment',
    source: 'astral-sh/uv#7036; tcl, generic/tclInterp.c (tclPreInitScript)',
  },
  {
    variable: 'TK_LIBRARY',
    distributions: [],
    value: tclFolder('tk', 'tk.tcl'),
    reason: 'has a Tk that looks for tk.tcl beside the program, which is a link in an environment',
    source: 'astral-sh/uv#7036; tk, generic/tkWindow.c (tk_findLibrary)',
  },
  {
    variable: 'LOCALE_ARCHIVE',
    distributions: [],
    value: archiveOfLocales,
    reason: 'has a glibc from the Nix store, which finds no locale but C.UTF-8',
    source: 'NixOS/nixpkgs, pkgs/development/libraries/glibc/nix-locale-archive.patch',
  },
  {
    variable: 'TRITON_LIBCUDA_PATH',
    distributions: ['triton'],
    value: ofDriver('libcuda.so.1', 'folder'),
    reason: "asks /sbin/ldconfig for libcuda.so.1, and ldconfig does not know the driver's folder",
    source: 'triton/backends/nvidia/driver.py, libcuda_dirs; NixOS/nixpkgs#426296',
  },
  {
    variable: 'TRITON_PTXAS_PATH',
    distributions: ['triton'],
    value: unless(starting(HAS_PTXAS), PTXAS),
    reason: 'brings no ptxas that starts here',
    source: 'triton/knobs.py, env_nvidia_tool',
  },
  {
    variable: 'TRITON_PTXAS_BLACKWELL_PATH',
    distributions: ['triton'],
    value: unless(facts => PTXAS_BLACKWELL(facts) === null || starting(PTXAS_BLACKWELL)(facts) !== null, PTXAS),
    reason: 'brings a ptxas for Blackwell that does not start here',
    source: 'triton/knobs.py, env_nvidia_tool',
  },
  {
    variable: 'CC',
    distributions: ['triton'],
    value: unless(onPath('gcc', 'clang'), firstOf(COMPILER, below(WRAPPER, 'bin/cc'))),
    reason: 'compiles a small C file for each kernel, and finds neither gcc nor clang on PATH',
    source: 'triton/runtime/build.py, _build',
  },
  {
    variable: 'NUMBA_CUDA_DRIVER',
    distributions: ['numba', 'numba-cuda'],
    value: unless(
      facts => isFoundByName('libcuda.so', facts.python) || isFoundByName('libcuda.so.1', facts.python),
      firstOf(ofDriver('libcuda.so.1', 'file'), ofDriver('libcuda.so', 'file')),
    ),
    reason: 'opens libcuda.so by its name or in /usr/lib',
    source: 'numba/cuda/cudadrv/driver.py, locate_driver_and_loader',
  },
  {
    variable: 'CUDA_HOME',
    distributions: ['numba'],
    value: holding(firstOf(inPackages('nvidia/cuda_nvcc', 'nvidia/cu13'), above(onPath('nvcc'), 2)), 'nvvm/libdevice'),
    reason: 'looks for libdevice and NVVM there',
    source: 'numba/cuda/cuda_paths.py, get_cuda_home',
  },
  {
    variable: 'CUDA_HOME',
    distributions: ['torch'],
    forBuild: true,
    value: unless(onPath('nvcc'), holding(inPackages('nvidia/cu13'), 'bin/nvcc')),
    reason: 'builds CUDA extensions with the nvcc there, and finds none on PATH',
    source: 'torch/utils/cpp_extension.py, _find_cuda_home',
  },
  {
    variable: 'OCL_ICD_VENDORS',
    distributions: ['pyopencl'],
    value: unless(onMachine('/etc/OpenCL/vendors'), onMachine('/run/opengl-driver/etc/OpenCL/vendors')),
    reason: 'brings an OpenCL loader that looks for drivers in /etc/OpenCL/vendors',
    source: 'OCL-dev/ocl-icd, ocl_icd_loader.c; the strings of libOpenCL in its wheel',
  },
  {
    variable: 'ALSA_CONFIG_PATH',
    distributions: ['pygame', 'pygame-ce'],
    value: unless(
      onMachine('/usr/share/alsa/alsa.conf'),
      below(ofSet(['libasound.so.2'], 'prefix'), 'share/alsa/alsa.conf'),
    ),
    reason: 'brings an ALSA that reads /usr/share/alsa/alsa.conf, which does not exist here',
    source: 'alsa-lib, src/conf.c (ALSA_CONFIG_PATH_VAR); seen with strace',
  },
  {
    variable: 'PLAYWRIGHT_BROWSERS_PATH',
    distributions: ['playwright'],
    value: browsersOfPlaywright,
    reason: 'runs browsers that it downloads, which do not start on NixOS; these are the same versions from nixpkgs',
    source: 'NixOS/nixpkgs#268004; playwright/driver/package, registry',
  },
  {
    variable: 'PLAYWRIGHT_SKIP_VALIDATE_HOST_REQUIREMENTS',
    distributions: ['playwright'],
    value: facts => (browsersOfPlaywright(facts) === null ? null : '1'),
    reason: 'asks ldd and ldconfig for what its browsers need, although those from nixpkgs bring it',
    source: 'NixOS/nixpkgs#268004; playwright/driver/package, registry/dependencies',
  },
  {
    variable: 'QT_PLUGIN_PATH',
    distributions: ['pyqt5-qt5', 'pyqt6-qt6', 'pyside6-essentials', 'pyside2'],
    // Qt finds its own plugins, unless the desktop has set the variable for another Qt
    value: facts => {
      const entries = (facts.env['QT_PLUGIN_PATH'] ?? '').split(':').filter(entry => entry !== '')
      if (entries.every(entry => isInside(entry, facts.venv.root))) return null
      return inPackages('PyQt6/Qt6/plugins', 'PySide6/Qt/plugins', 'PyQt5/Qt5/plugins', 'PySide2/Qt/plugins')(facts)
    },
    reason: 'must not load the plugins of another Qt, which may crash it',
    source: 'Qt, QCoreApplication::libraryPaths; NixOS/nixpkgs, nixos/modules/config/qt.nix',
  },
  {
    variable: 'GDK_PIXBUF_MODULE_FILE',
    distributions: ['cairocffi', 'pygobject'],
    value: unless(
      below(ofSet(['libgdk_pixbuf-2.0.so.0'], 'folder'), 'gdk-pixbuf-2.0/2.10.0/loaders.cache'),
      below(ofSet(['librsvg-2.so.2'], 'folder'), 'gdk-pixbuf-2.0/2.10.0/loaders.cache'),
    ),
    reason: 'opens gdk-pixbuf, which finds no loaders for image formats',
    source: 'gdk-pixbuf, gdk-pixbuf-io.c (gdk_pixbuf_get_module_file)',
  },
  {
    variable: 'MAGICK_HOME',
    distributions: ['wand'],
    value: holding(
      ofSet(['libMagickWand-7.Q16HDRI.so.10', 'libMagickWand-6.Q16.so.7'], 'prefix'),
      'lib/libMagickWand-7.Q16HDRI.so',
    ),
    reason: 'looks for ImageMagick with ctypes.util.find_library, which does not search the Nix store',
    source: 'emcconville/wand, wand/api.py, library_paths',
  },
  {
    variable: 'PYTHON_VLC_LIB_PATH',
    distributions: ['python-vlc'],
    value: ofSet(['libvlc.so.5'], 'file'),
    reason: 'looks for libvlc with ctypes.util.find_library, which does not search the Nix store',
    source: 'oaubert/python-vlc, vlc.py, find_lib',
  },
  {
    variable: 'PYENCHANT_LIBRARY_PATH',
    distributions: ['pyenchant'],
    value: ofSet(['libenchant-2.so.2'], 'file'),
    reason: 'looks for enchant with ctypes.util.find_library, which does not search the Nix store',
    source: 'pyenchant/pyenchant, enchant/_enchant.py, find_c_enchant_lib',
  },
  {
    variable: 'PYSDL2_DLL_PATH',
    distributions: ['pysdl2'],
    value: unless(inPackages('sdl2dll'), ofSet(['libSDL2-2.0.so.0'], 'folder')),
    reason: 'looks for SDL2 with ctypes.util.find_library, which does not search the Nix store',
    source: 'py-sdl/py-sdl2, sdl2/dll.py',
  },
  {
    variable: 'PHONEMIZER_ESPEAK_LIBRARY',
    distributions: ['phonemizer'],
    value: ofSet(['libespeak-ng.so.1'], 'file'),
    reason: 'looks for espeak-ng with ctypes.util.find_library, which does not search the Nix store',
    source: 'bootphon/phonemizer, phonemizer/backend/espeak/wrapper.py, library',
  },
  {
    variable: 'MPI4PY_LIBMPI',
    distributions: ['mpi4py'],
    value: unless(
      facts => ['libmpi.so', 'libmpi.so.12', 'libmpi.so.40'].some(name => isFoundByName(name, facts.python)),
      ofSet(['libmpi.so.40', 'libmpi.so.12'], 'file'),
    ),
    reason: 'opens libmpi by its name',
    source: 'mpi4py/mpi4py, src/mpi4py/_mpiabi.py, _dlopen_libmpi',
  },
  {
    variable: 'JAVA_HOME',
    distributions: ['jpype1'],
    value: unless(onMachine('/usr/lib/jvm', '/usr/java'), holding(above(onPath('java'), 2), 'lib/server/libjvm.so')),
    reason: 'looks for libjvm.so in JAVA_HOME and /usr/lib/jvm, not beside the java on PATH',
    source: 'jpype-project/jpype, jpype/_jvmfinder.py',
  },
  {
    variable: 'CC',
    distributions: [],
    forBuild: true,
    value: unless(ownCompiler('CC'), firstOf(COMPILER, below(WRAPPER, 'bin/cc'))),
    reason: 'builds extensions with the compiler that it was built with, which is not here',
    source: 'CPython, Lib/sysconfig (CC); setuptools, distutils/sysconfig.py, customize_compiler',
  },
  {
    variable: 'CXX',
    distributions: [],
    forBuild: true,
    value: unless(ownCompiler('CXX'), firstOf(onPath('c++', 'g++', 'clang++'), below(WRAPPER, 'bin/c++'))),
    reason: 'builds extensions with the compiler that it was built with, which is not here',
    source: 'CPython, Lib/sysconfig (CXX); setuptools, distutils/sysconfig.py, customize_compiler',
  },
  {
    variable: 'PKG_CONFIG_PATH',
    distributions: [],
    forBuild: true,
    value: packageConfigs,
    reason: 'uses libraries from the Nix store, whose headers pkg-config does not find by itself',
    source: 'pkg-config(1); NixOS/nixpkgs, pkgs/build-support/pkg-config-wrapper',
  },
]

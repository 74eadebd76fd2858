// The libraries and programs that popular distributions open by name at run time, and whose names neither their code nor
// their objects show (inspect/opens finds the others). Each row is a fact about a distribution, with its source. Other files
// decide what to do about it.

/**
 * A library or program that a distribution opens by name, and that a Nix system does not have in the place where the
 * distribution looks.
 */
export interface KnownCase {
  /** Normalised names. The case applies when any of these distributions is installed. */
  readonly distributions: readonly string[]
  /**
   * The sonames that the distribution looks for, the likeliest first. One of them is enough. Empty when the case is not
   * about a library.
   */
  readonly sonames: readonly string[]
  /**
   * How the distribution looks: by a bare name (dlopen, ctypes), by `ctypes.util.find_library`, or for a program.
   */
  readonly how: 'name' | 'find_library' | 'program'
  /** A sentence that says what to do. Users can paste commands from it. */
  readonly remedy: string
  readonly source: string
}

export const KNOWN_CASES: readonly KnownCase[] = [
  {
    distributions: ['pyopengl'],
    sonames: ['libGL.so.1', 'libGL.so'],
    how: 'find_library',
    remedy: 'wheelfix libs build libGL libGLU && wheelfix loader',
    source: 'mcfletch/pyopengl, OpenGL/platform/ctypesloader.py',
  },
  {
    distributions: ['playwright'],
    sonames: [],
    how: 'program',
    remedy:
      "its browsers are in ~/.cache/ms-playwright, outside the environment: in the project's Nix file, set " +
      'PLAYWRIGHT_BROWSERS_PATH = pkgs.playwright-driver.browsers (of the same version)',
    source: 'NixOS/nixpkgs#268004, NixOS/nixpkgs#548103',
  },
]

/**
 * Libraries that their own distribution opens by path during its import (ctypes, cffi). Nothing links to them, but the
 * import fails when one of their libraries is missing. `path` matches the end of the path.
 */
const OPENED_AT_IMPORT: readonly { readonly distribution: string; readonly path: RegExp; readonly source: string }[] = [
  { distribution: 'xgboost', path: /\/xgboost\/lib\/libxgboost\.so$/, source: 'xgboost/core.py, _load_lib' },
  { distribution: 'lightgbm', path: /\/lightgbm\/lib\/lib_lightgbm\.so$/, source: 'lightgbm/libpath.py' },
  { distribution: 'llvmlite', path: /\/llvmlite\/binding\/libllvmlite\.so$/, source: 'llvmlite/binding/ffi.py' },
  { distribution: 'soundfile', path: /\/_soundfile_data\/libsndfile_.*\.so$/, source: 'soundfile.py' },
  { distribution: 'rtree', path: /\/rtree\/lib\/libspatialindex_c\.so$/, source: 'rtree/finder.py' },
  {
    distribution: 'torch',
    path: /\/torch\/lib\/libtorch_global_deps\.so$/,
    source: 'torch/__init__.py, _load_global_deps',
  },
]

/** Does a distribution open this library by its path during its import? */
export function isOpenedAtImport(path: string): boolean {
  return OPENED_AT_IMPORT.some(known => known.path.test(path))
}

/**
 * Extension modules for optional features. Their distribution imports them in a `try` or only where a program asks for the
 * feature, and works without them. What they miss is optional. `path` matches the end of the path.
 */
const OPTIONAL_MODULES: readonly { readonly distribution: string; readonly path: RegExp; readonly source: string }[] = [
  {
    distribution: 'numba',
    path: /\/numba\/np\/ufunc\/(?:tbb|omp)pool\.[^/]+\.so$/,
    source: 'numba/np/ufunc/parallel.py, select_known_backend',
  },
  {
    distribution: 'cupy',
    path: /\/(?:cupy_backends\/cuda\/libs\/(?:cutensor|nccl)|cupyx\/_cutensor|cupy\/cuda\/nccl)\.[^/]+\.so$/,
    source: 'docs.cupy.dev/en/stable/install.html, Optional Libraries; cupy/cuda/__init__.py, __getattr__',
  },
]

/** Does the object's distribution work without this module? */
export function isOptionalModule(path: string): boolean {
  return OPTIONAL_MODULES.some(known => known.path.test(path))
}

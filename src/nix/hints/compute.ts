// Which nixpkgs package holds a soname: numbers. Data only; row.ts explains the fields.
import type { HintRow } from './row.ts'

export const COMPUTE: readonly HintRow[] = [
  { attribute: 'openblas', sonames: 'libopenblas.so.0 libopenblas.so', source: 'recipe' },
  { attribute: 'blas', sonames: 'libblas.so.3 libcblas.so.3', source: 'recipe' },
  { attribute: 'lapack', sonames: 'liblapack.so.3 liblapacke.so.3', source: 'recipe' },
  { attribute: 'mkl', sonames: 'libmkl_rt.so.2 libmkl_rt.so.1 libmkl_core.so.2', source: 'recipe', note: 'unfree' },
  {
    attribute: 'onetbb',
    packages: 'onetbb tbb',
    sonames: 'libtbb.so.12 libtbbmalloc.so.2 libtbbmalloc_proxy.so.2',
    source: 'recipe',
  },
  { attribute: 'tbb_2020', packages: 'tbb', sonames: 'libtbb.so.2', source: 'recipe' },
  {
    attribute: 'llvmPackages.openmp',
    packages: 'openmp',
    sonames: 'libomp.so libomp.so.5 libiomp5.so',
    source: 'recipe',
  },
  {
    attribute: 'fftw',
    packages: 'fftw-double fftw',
    sonames: 'libfftw3.so.3 libfftw3_threads.so.3 libfftw3_omp.so.3',
    source: 'recipe',
  },
  {
    attribute: 'fftwFloat',
    packages: 'fftw-single fftw',
    sonames: 'libfftw3f.so.3 libfftw3f_threads.so.3',
    source: 'recipe',
  },
  { attribute: 'gmp', sonames: 'libgmp.so.10 libgmpxx.so.4', source: 'recipe' },
  { attribute: 'mpfr', sonames: 'libmpfr.so.6', source: 'recipe' },
  { attribute: 'libmpc', sonames: 'libmpc.so.3', source: 'recipe' },
  { attribute: 'flint', packages: 'flint flint3', sonames: 'libflint.so.19 libflint.so.21', source: 'recipe' },
  { attribute: 'gsl', sonames: 'libgsl.so.28 libgsl.so.27 libgslcblas.so.0', source: 'recipe' },
  { attribute: 'glpk', sonames: 'libglpk.so.40', source: 'recipe' },
  {
    attribute: 'suitesparse',
    sonames: 'libcholmod.so.5 libumfpack.so.6 libamd.so.3 libklu.so.2 libspqr.so.4 libsuitesparseconfig.so.7',
    source: 'recipe',
  },
  { attribute: 'arpack', sonames: 'libarpack.so.2', source: 'recipe' },
  { attribute: 'metis', sonames: 'libmetis.so', source: 'recipe' },
  { attribute: 'onnxruntime', sonames: 'libonnxruntime.so.1', source: 'recipe' },
]

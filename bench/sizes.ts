// The environments of `npm run bench`, by size: what is installed, and what is measured by default.
import { TESTED_PACKAGES } from '../test/e2e/packages.ts'

export interface Size {
  /** Names on PyPI. */
  readonly distributions: readonly string[]
  /** Is what the distributions require installed, too? If not, the list names all of it. */
  readonly requirements: boolean
  /** What is imported from a patched copy. */
  readonly modules: string
  readonly rounds: number
  /** The bytes of one more library for a second comparison; 0 for none. */
  readonly library: number
}

/** 44 distributions with libraries, and what their imports require. */
const MID = `
numpy scipy pandas scikit-learn matplotlib torch pyarrow opencv-python PySide6-Essentials PyQt6 PyQt6-Qt6 PyQt6-sip
llvmlite numba duckdb polars spacy shapely pillow lxml cryptography pydantic-core orjson pyzmq ruff h5py tables netCDF4
grpcio protobuf psycopg2-binary onnxruntime tokenizers safetensors sentencepiece lightgbm statsmodels scikit-image
pywavelets rasterio pyproj fiona contourpy kiwisolver
cycler fonttools packaging pyparsing python-dateutil six`

/** What users of machine learning, science and desktops have besides, with all of CUDA that torch requires. */
const LARGE = `
tensorflow jaxlib xgboost triton ray torchvision torchaudio onnx
nvidia-cublas nvidia-cuda-cupti nvidia-cuda-nvrtc nvidia-cuda-runtime nvidia-cudnn-cu13 nvidia-cufft nvidia-cufile
nvidia-curand nvidia-cusolver nvidia-cusparse nvidia-cusparselt-cu13 nvidia-nccl-cu13 nvidia-nvjitlink nvidia-nvshmem-cu13
nvidia-nvtx
PySide6-Addons shiboken6 PyQt6-WebEngine PyQt6-WebEngine-Qt6 vtk rdkit astropy faiss-cpu gensim biopython pysam
pygame av imagecodecs mypy black cython ninja gevent greenlet aiohttp yarl multidict frozenlist propcache sqlalchemy
psutil pyyaml regex rapidfuzz msgpack zstandard lz4 blosc2 numexpr bottleneck uvloop httptools watchfiles pymongo rtree
soundfile cffi bcrypt pynacl`

const IMPORTED = 'scipy.stats,pandas,matplotlib.pyplot'

/** The sizes by their names. For the longer lists pip installs no requirements, which would be all of CUDA. */
export const SIZES: Readonly<Record<string, Size>> = {
  small: {
    distributions: TESTED_PACKAGES.map(({ name }) => name),
    requirements: true,
    modules: 'scipy.stats,pandas',
    rounds: 3,
    library: 500e6,
  },
  mid: { distributions: words(MID), requirements: false, modules: IMPORTED, rounds: 3, library: 0 },
  large: { distributions: words(MID + LARGE), requirements: false, modules: IMPORTED, rounds: 1, library: 0 },
}

function words(text: string): string[] {
  return text.split(/\s+/).filter(word => word !== '')
}

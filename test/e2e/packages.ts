// The real packages that the end-to-end tests install, and what it means to really use one.

import { join } from 'node:path'
import { run } from '../support/run.ts'

export interface TestedPackage {
  /** The name on PyPI. */
  readonly name: string
  /** Python code that uses it and prints `expected`; or a program of the venv with its arguments. */
  readonly use: string | readonly string[]
  readonly expected: RegExp
  /** Does it miss a library in a world whose Python does not bring one, whatever that Python links to? */
  readonly failsBefore: boolean
}

export const TESTED_PACKAGES: readonly TestedPackage[] = [
  {
    name: 'numpy',
    use: `import numpy as np; a = np.arange(12.0).reshape(4, 3); u, s, v = np.linalg.svd(a, full_matrices=False)
print(np.allclose(u * s @ v, a), np.fft.ifft(np.fft.fft([1, 2, 3])).real.round(6).tolist())`,
    expected: /^True \[1\.0, 2\.0, 3\.0\]$/,
    failsBefore: true,
  },
  {
    name: 'scipy',
    use: `import scipy.optimize, scipy.integrate, scipy.sparse.linalg, scipy.spatial, scipy.special, scipy.stats, scipy.signal, scipy.ndimage
import numpy as np; m = scipy.sparse.eye(5, format="csc") * 2
print(round(scipy.optimize.brentq(lambda x: x * x - 2, 0, 2), 6), scipy.sparse.linalg.spsolve(m, np.ones(5)).tolist())`,
    expected: /^1\.414214 \[0\.5, 0\.5, 0\.5, 0\.5, 0\.5\]$/,
    failsBefore: true,
  },
  {
    name: 'pandas',
    use: `import io, pandas as pd; f = pd.DataFrame({"a": [1, 2], "b": ["x", "y"]})
print(pd.read_csv(io.StringIO(f.to_csv(index=False))).equals(f), f.groupby("b").a.sum().tolist())`,
    expected: /^True \[1, 2\]$/,
    failsBefore: true,
  },
  {
    name: 'shapely',
    use: 'from shapely.geometry import Point, box; print(box(0, 0, 2, 2).union(box(1, 1, 3, 3)).area, Point(0, 0).buffer(1).area > 3)',
    expected: /^7\.0 True$/,
    failsBefore: true,
  },
  {
    name: 'pillow',
    use: `import io; from PIL import Image; f = io.BytesIO()
for kind in "PNG", "JPEG", "WEBP", "TIFF": f = io.BytesIO(); Image.new("RGB", (64, 32), "red").resize((16, 8)).save(f, kind); f.seek(0); print(Image.open(f).size, end=" ")`,
    expected: /^(\(16, 8\) ?){4}$/,
    failsBefore: false,
  },
  {
    name: 'lxml',
    use: 'from lxml import etree, html; print(etree.fromstring("<a><b>1</b></a>").xpath("string(b)"), html.fromstring("<p>x").tag)',
    expected: /^1 p$/,
    failsBefore: false,
  },
  {
    name: 'cryptography',
    use: 'from cryptography.fernet import Fernet; k = Fernet(Fernet.generate_key()); print(k.decrypt(k.encrypt(b"secret")))',
    expected: /^b'secret'$/,
    failsBefore: false,
  },
  {
    name: 'pydantic-core',
    use: 'from pydantic_core import SchemaValidator; print(SchemaValidator({"type": "int"}).validate_python("42"))',
    expected: /^42$/,
    failsBefore: false,
  },
  {
    name: 'orjson',
    use: 'import orjson; print(orjson.loads(orjson.dumps({"a": [1, None]})))',
    expected: /^\{'a': \[1, None\]\}$/,
    failsBefore: false,
  },
  {
    name: 'pyzmq',
    use: `import zmq; c = zmq.Context(); a = c.socket(zmq.PAIR); a.bind("inproc://x"); b = c.socket(zmq.PAIR); b.connect("inproc://x")
a.send(b"hello"); print(b.recv())`,
    expected: /^b'hello'$/,
    failsBefore: true,
  },
  { name: 'ruff', use: ['ruff', '--version'], expected: /^ruff \d+\.\d+/, failsBefore: false },
  {
    name: 'opencv-python-headless',
    use: `import cv2, numpy as np; i = np.zeros((20, 20, 3), np.uint8); cv2.circle(i, (10, 10), 5, (255, 255, 255), -1)
print(cv2.resize(i, (10, 10)).shape, int(cv2.GaussianBlur(i, (3, 3), 0)[10, 10, 0]), cv2.imdecode(cv2.imencode(".png", i)[1], 1).shape)`,
    expected: /^\(10, 10, 3\) 255 \(20, 20, 3\)$/,
    failsBefore: true,
  },
]

/** What one really got of a package. */
export interface Use {
  readonly works: boolean
  /** Standard output and standard error, for the message of a failing test. */
  readonly said: string
}

/** Really uses a package in a venv. */
export function usePackage(venv: string, { use, expected }: TestedPackage, env: NodeJS.ProcessEnv): Use {
  const [program = '', ...args] = typeof use === 'string' ? ['python', '-c', use] : use
  const { status, stdout, stderr } = run(join(venv, 'bin', program), args, { env, cwd: venv })
  return { works: status === 0 && expected.test(stdout.trim()), said: `status ${status}\n${stdout}${stderr}` }
}

// The names of files that are never objects. The scan does not open them.

/** In a venv two of three files have the name of a source. They are not opened. */
const SOURCE_SUFFIXES = new Set([
  '.py',
  '.pyi',
  '.pyc',
  '.pyx',
  '.pxd',
  '.h',
  '.hpp',
  // in a node_modules more than three of four files are these
  '.js',
  '.mjs',
  '.cjs',
  '.ts',
  '.mts',
  '.cts',
  '.map',
  '.json',
  '.md',
  // texts, tables, pictures and fonts: half of the other files
  '.txt',
  '.rst',
  '.csv',
  '.c',
  '.cc',
  '.cpp',
  '.f',
  '.f90',
  '.pxi',
  '.R',
  '.html',
  '.css',
  '.xml',
  '.xsd',
  '.xsl',
  '.toml',
  '.ini',
  '.pem',
  '.pdf',
  '.wav',
  '.arff',
  // the sources and translations of Qt, the includes of compilers and bindings, Meson's and CMake's files
  '.qml',
  '.qmltypes',
  '.qm',
  '.sip',
  '.inc',
  '.geo',
  '.jl',
  '.build',
  '.cmake',
  '.svg',
  '.png',
  '.jpg',
  '.ttf',
  '.afm',
  '.mat',
  '.npy',
  '.npz',
  '.sav',
  '.gz',
  '.mplstyle',
  '.typed',
])

/** Files of a .dist-info folder, and one of a QML module. */
const INFO_NAMES = new Set(['RECORD', 'METADATA', 'INSTALLER', 'WHEEL', 'REQUESTED', 'LICENSE', 'qmldir'])

/** Has the file the name of a source or of a record, so that nobody has to open it? */
export function isSourceName(name: string): boolean {
  const dot = name.lastIndexOf('.')
  return dot > 0 ? SOURCE_SUFFIXES.has(name.slice(dot)) : INFO_NAMES.has(name)
}

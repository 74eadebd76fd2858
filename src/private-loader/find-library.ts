// ctypes.util.find_library under the private loader. find_library asks ldconfig, gcc and ld. These programs do not know the
// loader's cache and are often absent. But many packages (soundfile, python-magic, PyOpenGL …) call find_library before they
// load anything. So Python imports a module at its start, and this module makes find_library look in the cache first. This
// file only makes the texts of the module.
import type { CachedLibrary } from './library-cache.ts'

const MODULE_NAME = '_wheelfix_find_library'
export const FIND_LIBRARY_MODULE = `${MODULE_NAME}.`
/** Every file of this module that site-packages may hold. */
export const FIND_LIBRARY_FILES = [`${MODULE_NAME}.pth`, `${MODULE_NAME}.start`, `${MODULE_NAME}.py`] as const

/**
 * The files that start the module. Python before 3.15 knows only the `import` line of a `.pth` file. Since 3.15 Python calls
 * the function that a `.start` file names, and ignores the `import` line of the `.pth` file beside it. From 3.18 on it
 * ignores that line in any case (PEP 829).
 */
const STARTERS = { '.pth': `import ${MODULE_NAME}\n`, '.start': `${MODULE_NAME}:install\n` }

/**
 * The files in site-packages, for the libraries in a cache.
 * @param version the version of Python: `3.12.8`
 */
export function findLibraryTexts(libraries: readonly CachedLibrary[], version: string): Map<string, string> {
  const byName = new Map<string, CachedLibrary>()
  for (const library of libraries) {
    const name = library.hwcapName == null ? nameInSoname(library.soname) : undefined
    if (name === undefined) continue
    const known = byName.get(name)
    if (known === undefined || isBetter(library.soname, known.soname)) byName.set(name, library)
  }
  const rows = [...byName]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, { soname, path, named }]) => {
      // the cache also has the library under its DT_SONAME, and ldconfig would answer with that name for libz.so.1.3.1
      const said = named != null && nameInSoname(named) === name ? named : soname
      return `    ${quote(name)}: (${quote(said)}, ${quote(path)}),\n`
    })
  const [major = 0, minor = 0] = version.split('.').map(Number)
  const hasStartFiles = major > 3 || (major === 3 && minor >= 15)
  return new Map([
    [`${MODULE_NAME}.pth`, STARTERS['.pth']],
    ...(hasStartFiles ? [[`${MODULE_NAME}.start`, STARTERS['.start']] as const] : []),
    [`${MODULE_NAME}.py`, MODULE.replace('LIBRARIES\n', () => rows.join(''))],
  ])
}

/** Returns `z` for libz.so.1. */
function nameInSoname(soname: string): string | undefined {
  return /^lib(.+?)\.so(?:\.|$)/.exec(soname)?.[1]
}

/**
 * Is one soname a better answer than another? ldconfig answers with a versioned soname. Of several it takes the greatest.
 */
function isBetter(soname: string, other: string): boolean {
  const isPlain = (name: string) => name.endsWith('.so')
  if (isPlain(soname) !== isPlain(other)) return isPlain(other)
  return soname.localeCompare(other, 'en', { numeric: true }) > 0
}

/** A Python string literal. JSON's escapes are also Python's, even for lone surrogates (bytes that are not UTF-8). */
function quote(text: string): string {
  return JSON.stringify(text)
}

const MODULE = `# Written by "wheelfix loader", removed by "wheelfix restore": ctypes.util.find_library answers with what the private
# loader of this environment finds. It costs nothing until ctypes.util is imported.
import sys

_LIBRARIES = {
LIBRARIES
}


class _Finder:
    def find_spec(self, name, path=None, target=None):
        if name != "ctypes.util":
            return None
        sys.meta_path.remove(self)
        from importlib.util import find_spec

        spec = find_spec(name)
        run = spec.loader.exec_module

        def exec_module(module):
            run(module)
            _wrap(module)

        spec.loader.exec_module = exec_module
        return spec


def _wrap(util):
    import os

    original = util.find_library

    def find_library(name):
        soname, path = _LIBRARIES.get(name, (None, None))
        return soname if soname is not None and os.path.exists(path) else original(name)

    find_library.__doc__ = original.__doc__
    util.find_library = find_library


_installed = False


def install():
    global _installed
    if _installed:
        return
    _installed = True
    # something that starts with Python may have imported it already
    if "ctypes.util" in sys.modules:
        _wrap(sys.modules["ctypes.util"])
    else:
        sys.meta_path.insert(0, _Finder())


install()
`

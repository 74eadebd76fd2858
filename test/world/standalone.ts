// A Python of no system's package manager, in the layout of python-build-standalone (uv's, Rye's, mise's Pythons), made of the
// host's: PT_INTERP of an ordinary distribution and DT_RPATH $ORIGIN/../lib. Those builds have what their modules need
// inside of them; here it lies in the lib folder, which the modules' own DT_RPATH names.
import { mkdirSync, symlinkSync } from 'node:fs'
import { basename, join } from 'node:path'
import { rebuildElf } from '../support/elf.ts'
import { GLIBC_SONAME, type Host, traceLibraries } from './host.ts'
import { copy, copyTree, pythonModules } from './packages.ts'

/** Makes it in `root`, a folder that is not there yet. Gives the path of the program. */
export function makeStandalonePython(host: Host, root: string): string {
  const { executable, stdlib, version } = host.python
  const name = `python${version.split('.').slice(0, 2).join('.')}`
  const [bin, lib] = [join(root, 'bin'), join(root, 'lib')]
  const library = join(lib, name)
  mkdirSync(bin, { recursive: true })
  const program = join(bin, name)
  copy(executable, program)
  // python-build-standalone links all but glibc into the program; where the host does not, a venv's copy has to find it too
  const isWhole = [...traceLibraries(host, []).keys()].every(soname => GLIBC_SONAME.test(soname))
  const value = isWhole ? '$ORIGIN/../lib' : `$ORIGIN/../lib:${lib}`
  rebuildElf(program, { searchPath: { tag: 'DT_RPATH', value } })
  for (const link of ['python3', 'python']) symlinkSync(name, join(bin, link))

  copyTree(stdlib, library)
  for (const folder of ['lib-dynload', 'site-packages']) mkdirSync(join(library, folder))
  const modules = pythonModules(host)
  for (const path of modules) {
    const module = join(library, 'lib-dynload', basename(path))
    copy(path, module)
    rebuildElf(module, { searchPath: { tag: 'DT_RPATH', value: '$ORIGIN/../..' } })
  }
  for (const [soname, path] of traceLibraries(host, modules)) {
    if (!GLIBC_SONAME.test(soname) && !modules.includes(path)) copy(path, join(lib, soname))
  }
  return program
}

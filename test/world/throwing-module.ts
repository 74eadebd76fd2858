// Extension modules that show whether C++ exceptions still cross an object.
import { statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { missing, skip } from '../support/requires.ts'
import { runWell } from '../support/run.ts'
import { hashFile } from '../support/tree.ts'
import { buildWorld, type World } from './world.ts'

/** An extension module that throws and catches a C++ exception, and some MiB large where `LARGE` is set. */
const SOURCE = `
#include <Python.h>
#include <stdexcept>
#include <string>
#ifdef LARGE
char ballast[3 << 20] = {1};
#endif
static PyObject *answer(PyObject *, PyObject *) {
  try { throw std::runtime_error("42"); } catch (const std::exception &e) { return PyLong_FromLong(std::stoi(e.what())); }
}
static PyMethodDef methods[] = {{"answer", answer, METH_NOARGS, ""}, {nullptr, nullptr, 0, nullptr}};
static PyModuleDef definition = {PyModuleDef_HEAD_INIT, NAME, "", -1, methods};
PyMODINIT_FUNC INIT(void) { return PyModule_Create(&definition); }
`

/** Are the headers of Python there? The modules need them, and g++. */
export function hasHeaders(world: World): boolean {
  return statSync(join(includes(world), 'Python.h'), { throwIfNoEntry: false }) !== undefined
}

/** Runs a suite in a world where the modules can be built, or skips a test of that name with the reason. */
export function withCompiledWorld(name: string, theSuite: (world: World) => void): void {
  const world = missing('g++') === false ? buildWorld() : (missing('g++') as string)
  if (typeof world === 'string') test(name, { skip: skip(world) })
  else if (!hasHeaders(world)) test(name, { skip: skip('needs the headers of Python') })
  else theSuite(world)
}

function includes(world: World): string {
  return ask(world, 'sysconfig.get_path("include")')
}

function ask(world: World, expression: string): string {
  return runWell(world.host.python.executable, ['-c', `import sysconfig; print(${expression})`]).trim()
}

/** The file names of the modules. */
export function moduleNames(world: World, stems: readonly string[]): string[] {
  const suffix = ask(world, 'sysconfig.get_config_var("EXT_SUFFIX")')
  return stems.map(stem => `${stem}${suffix}`)
}

/** Builds modules into a folder. The one called `large` has some MiB. @returns their rows for RECORD */
export function buildThrowingModules(world: World, folder: string, stems: readonly string[]): string[] {
  const source = join(world.root, 'module.cc')
  writeFileSync(source, SOURCE)
  const include = `-I${includes(world)}`
  return moduleNames(world, stems).map(name => {
    const [stem = ''] = name.split('.')
    const defines = [`-DINIT=PyInit_${stem}`, `-DNAME="${stem}"`, ...(stem === 'large' ? ['-DLARGE'] : [])]
    const path = join(folder, name)
    runWell('g++', ['-shared', '-fPIC', '-O1', include, ...defines, '-o', path, source])
    return recordRow(path, name)
  })
}

/** The row of RECORD for a file. */
export function recordRow(path: string, name: string): string {
  const hash = Buffer.from(hashFile(path), 'hex').toString('base64url')
  return `${name},sha256=${hash},${statSync(path).size}`
}

// A small venv with objects of every kind that is written differently: extension modules of some KiB and of some MiB, one
// with a second link, programs with the loader of another system, and a RECORD that lists them.
import { cpSync, linkSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { run, runWell } from '../support/run.ts'
import { hashFile, treeContent } from '../support/tree.ts'
import { makeVenv, sitePackages } from '../world/venv.ts'
import type { World } from '../world/world.ts'

/** An extension module that throws and catches a C++ exception, and some MiB large where `LARGE` is set. */
const MODULE = `
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

const PROGRAM = `
#include <stdexcept>
int main() { try { throw std::runtime_error("42"); } catch (const std::exception &) { return 42; } }
`

/** Needs the headers of Python and g++. */
export function hasHeaders(world: World): boolean {
  return statSync(join(includes(world), 'Python.h'), { throwIfNoEntry: false }) !== undefined
}

function includes(world: World): string {
  const code = 'import sysconfig; print(sysconfig.get_path("include"))'
  return runWell(world.host.python.executable, ['-c', code]).trim()
}

const MODULES = ['small', 'large', 'linked']

export function makeTemplate(world: World): string {
  const venv = makeVenv(world, 'template')
  const site = sitePackages(world, venv)
  const source = join(world.root, 'module.cc')
  writeFileSync(source, MODULE)
  const code = 'import sysconfig; print(sysconfig.get_config_var("EXT_SUFFIX"))'
  const suffix = runWell(world.host.python.executable, ['-c', code]).trim()
  const rows: string[] = []
  const addRow = (path: string, name: string): void => {
    const hash = Buffer.from(hashFile(path), 'hex').toString('base64url')
    rows.push(`${name},sha256=${hash},${statSync(path).size}`)
  }
  for (const stem of MODULES) {
    const defines = [`-DINIT=PyInit_${stem}`, `-DNAME="${stem}"`, ...(stem === 'large' ? ['-DLARGE'] : [])]
    const path = join(site, `${stem}${suffix}`)
    runWell('g++', ['-shared', '-fPIC', '-O1', `-I${includes(world)}`, ...defines, '-o', path, source])
    addRow(path, `${stem}${suffix}`)
  }
  const program = join(world.root, 'program.cc')
  writeFileSync(program, PROGRAM)
  runWell('g++', ['-O1', '-o', join(venv, 'bin/tool'), program])
  addRow(join(venv, 'bin/tool'), '../../../bin/tool')
  const info = join(site, 'trio-1.0.dist-info')
  mkdirSync(info)
  writeFileSync(join(info, 'METADATA'), 'Metadata-Version: 2.1\nName: trio\nVersion: 1.0\n')
  writeFileSync(join(info, 'RECORD'), [...rows, 'trio-1.0.dist-info/RECORD,,', ''].join('\n'))
  return venv
}

/** Copies the template; one module gets a second link outside, as uv's cache has one. */
export function copyTemplate(world: World, template: string, venv: string): void {
  cpSync(template, venv, { recursive: true, verbatimSymlinks: true, preserveTimestamps: true })
  const site = sitePackages(world, venv)
  const name = [...treeContent(site).keys()].find(name => name.startsWith('linked.')) ?? ''
  try {
    linkSync(join(site, name), join(world.root, 'cache'))
  } catch {
    // the link of an earlier copy
    cpSync(join(world.root, 'cache'), join(site, name))
  }
}

/** What of the venv works: the modules import, the program runs. */
export function whatWorks(world: World, venv: string): { readonly modules: boolean; readonly tool: boolean } {
  const code = `import ${MODULES.join(', ')}; assert ${MODULES.map(name => `${name}.answer()`).join(' + ')} == ${42 * MODULES.length}`
  return {
    modules: runs(join(venv, 'bin/python'), ['-c', code], world, 0),
    tool: runs(join(venv, 'bin/tool'), [], world, 42),
  }
}

/** Does the venv's Python start at all? */
export function pythonStarts(world: World, venv: string): boolean {
  return runs(join(venv, 'bin/python'), ['-c', ''], world, 0)
}

function runs(program: string, args: readonly string[], world: World, wanted: number): boolean {
  try {
    return run(program, args, { env: world.env }).status === wanted
  } catch {
    // ENOENT: its loader is not there
    return false
  }
}

/** The files of a venv but those that wheelfix keeps for itself. */
export function venvFiles(venv: string): Map<string, string> {
  return new Map([...treeContent(venv)].filter(([name]) => !name.startsWith('.wheelfix')))
}

/** The names under `.wheelfix`, but for what is kept for a while. */
export function stateNames(venv: string): string[] {
  return [...treeContent(venv).keys()].filter(
    // The undo of a program is kept before its edit. After a kill between the two it stays, and never applies to other bytes.
    name => name.startsWith('.wheelfix') && !/\/(?:journal\.kept|state\.json|lock|undo\/.*|roots\/.*)$/.test(name),
  )
}

/** RECORD of the template's distribution. */
export function recordOf(world: World, venv: string): string {
  return readFileSync(join(sitePackages(world, venv), 'trio-1.0.dist-info/RECORD'), 'latin1')
}
